//! What was evicted, when, and from where: a table of fingerprints that forgets by sampling.
//!
//! Ages are counted in insertions of new entries, and measured in multiples of the number of entries
//! that the cache holds. An eviction is remembered for as long as the cache is large, and from then on
//! with a probability that falls with its age: what was evicted `a` sizes ago is still there with
//! probability `1/a`. (A fingerprint and its time give a random number `u`, and the memory ends at
//! age `1/u`, at [`REACH`] in any case.) The far past matters where entries come back after more
//! insertions than the cache has room for, as in a loop: then a sample of about the cache's size is
//! what can be kept with any use, and more would only displace each other. Such thinning by hash is how
//! SHARDS (Waldspurger et al., FAST'15) measures large caches with little, and how Talus (Beckmann &
//! Sanchez, HPCA'15) turns the cliff that a loop is into a slope.
//!
//! Two slots an entry, six to a bucket, 21 bits each: 11 of fingerprint, 9 of time, 1 of place. All
//! accesses are Relaxed, and an update that loses a race is lost: a memory less, or one too many.

use super::Place;
use crate::sync::{AtomicU64, AtomicUsize, Ordering, lazy_array::LazyArray};

/// The oldest memories, in sizes of the cache.
pub const REACH: u64 = 16;
/// Slots for each entry of the cache.
const SLOTS_PER_ENTRY: u64 = 2;
/// A bucket: so many words, of three slots each.
const WORDS: usize = 2;
const SLOTS_PER_WORD: usize = 3;
const SLOT_BITS: u32 = 21;
const SLOT: u64 = (1 << SLOT_BITS) - 1;
const TIME_BITS: u32 = 9;
const TIME: u64 = (1 << TIME_BITS) - 1;
const PRINT: u64 = (1 << 11) - 1;
/// Tables at most; each is for half as many entries more as the one before, at least.
const TABLES: usize = 64;

/// A time in insertions: from it the coarse times are made that are kept.
pub type Time = u64;

/// An eviction that is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// The queue that it was evicted from.
    pub place: Place,
    /// When, in ticks.
    pub tick: u64,
}

/// A table for so many entries.
struct Table {
    entries: u64,
    /// A tick is `1 << shift` insertions, 1/64 to 1/32 of the entries.
    shift: u32,
    buckets: Box<[[AtomicU64; WORDS]]>,
}

impl Table {
    fn new(entries: u64) -> Self {
        let per_bucket = (WORDS * SLOTS_PER_WORD) as u64;
        let buckets = (entries * SLOTS_PER_ENTRY).div_ceil(per_bucket).max(1);
        Self {
            entries,
            shift: tick_shift(entries),
            buckets: (0..buckets).map(|_| std::array::from_fn(|_| AtomicU64::new(0))).collect(),
        }
    }

    /// The bucket and the fingerprint of a hash.
    fn place(&self, hash: u32) -> (&[AtomicU64; WORDS], u64) {
        let mut bits = u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        bits = (bits ^ (bits >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        let bucket = ((bits >> 32) * self.buckets.len() as u64) >> 32;
        (&self.buckets[bucket as usize], ((bits >> 21) & PRINT).max(1))
    }

    /// How far a memory is on its way to being forgotten; beyond `limit`, it is.
    fn staleness(slot: u64, tick: u64) -> u64 {
        let age = tick.wrapping_sub(slot >> 1) & TIME;
        let u = u64::from(((slot >> 1) as u32).wrapping_mul(0x9E37_79B1) >> 24) + 1;
        age * u.max(256 / REACH)
    }

    fn limit(&self) -> u64 {
        (self.entries * 256) >> self.shift
    }

    fn remember(&self, hash: u32, tick: u64, place: Place) {
        let (bucket, print) = self.place(hash);
        let slot = print << (TIME_BITS + 1) | (tick & TIME) << 1 | place as u64;
        // The same fingerprint, or a free slot, or the memory that is nearest its end.
        let mut best = (0, 0, 0, 0);
        for (index, word) in bucket.iter().enumerate() {
            let word = word.load(Ordering::Relaxed);
            for place in 0..SLOTS_PER_WORD {
                let old = (word >> (place as u32 * SLOT_BITS)) & SLOT;
                let is_same = old >> (TIME_BITS + 1) == print;
                let rank = if old == 0 || is_same { u64::MAX } else { Self::staleness(old, tick) };
                if rank >= best.0 && best.0 != u64::MAX {
                    best = (rank, index, place as u32 * SLOT_BITS, word);
                }
            }
        }
        let (_, index, at, word) = best;
        exchange(&bucket[index], word, word & !(SLOT << at) | slot << at);
    }

    fn recall(&self, hash: u32, tick: u64) -> Option<Memory> {
        let (bucket, print) = self.place(hash);
        for cell in bucket {
            let word = cell.load(Ordering::Relaxed);
            for at in (0..SLOTS_PER_WORD as u32).map(|place| place * SLOT_BITS) {
                let slot = (word >> at) & SLOT;
                if slot >> (TIME_BITS + 1) == print {
                    exchange(cell, word, word & !(SLOT << at));
                    let is_known = Self::staleness(slot, tick) <= self.limit();
                    let age = tick.wrapping_sub(slot >> 1) & TIME;
                    let place = if slot & 1 == 0 { Place::Small } else { Place::Main };
                    return is_known.then(|| Memory { place, tick: tick.wrapping_sub(age) });
                }
            }
        }
        None
    }
}

/// Replaces a word, or lets it be if somebody else was at it.
fn exchange(cell: &AtomicU64, from: u64, to: u64) {
    let _ = cell.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
}

fn tick_shift(entries: u64) -> u32 {
    entries.max(1).ilog2().saturating_sub(TIME_BITS - 4)
}

/// The table, which is replaced by a larger one when the cache turns out to hold more entries, and
/// the clock.
pub struct History {
    tables: LazyArray<Table, TABLES>,
    current: AtomicUsize,
    /// For how many entries the next table is made; 0: for as many as there are at that time.
    planned: u64,
    clock: AtomicU64,
}

impl History {
    /// Nothing. `entries` is how many the cache will hold, or 0 when nobody knows.
    pub fn new(entries: u64) -> Self {
        let (current, clock) = (AtomicUsize::new(0), AtomicU64::new(0));
        Self { tables: LazyArray::new(), current, planned: entries, clock }
    }

    fn table(&self) -> Option<&Table> {
        // Relaxed: the tables themselves are published by `LazyArray`.
        self.tables.get(self.current.load(Ordering::Relaxed))
    }

    /// Counts an insertion, and says when it was.
    pub fn advance(&self) -> Time {
        self.clock.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The time.
    pub fn now(&self) -> Time {
        self.clock.load(Ordering::Relaxed)
    }

    /// How many entries the cache holds when it is full, as far as is known; at least one.
    pub fn entries(&self) -> u64 {
        self.table().map_or(self.planned, |table| table.entries).max(1)
    }

    /// A time in ticks.
    pub fn tick(&self, time: Time) -> u64 {
        time >> self.table().map_or_else(|| tick_shift(self.planned), |table| table.shift)
    }

    /// Remembers an eviction, at a time when there are so many `entries`: asked only if nobody knew before.
    pub fn remember(&self, hash: u32, time: Time, place: Place, entries: impl FnOnce() -> u64) {
        let entries = if self.planned > 0 { self.planned } else { entries() };
        let current = self.current.load(Ordering::Relaxed);
        let table = match self.table() {
            Some(table) if entries <= table.entries + table.entries / 2 => table,
            // Larger than planned, as entries have become lighter. What is remembered stays behind.
            Some(_) if current + 1 < TABLES => {
                let table = self.tables.get_or_make(current + 1, || Table::new(entries));
                self.current.store(current + 1, Ordering::Relaxed);
                table
            }
            Some(table) => table,
            None => self.tables.get_or_make(0, || Table::new(entries)),
        };
        table.remember(hash, time >> table.shift, place);
    }

    /// Forgets an eviction, and tells of it.
    pub fn recall(&self, hash: u32, time: Time) -> Option<Memory> {
        let table = self.table()?;
        table.recall(hash, time >> table.shift)
    }

    /// Bytes of all tables.
    pub fn bytes(&self) -> usize {
        let tables = (0..TABLES).map_while(|place| self.tables.get(place));
        tables.map(|table| size_of_val(&*table.buckets)).sum()
    }
}

#[cfg(all(test, not(coeval_loom)))]
#[path = "tests/history.rs"]
mod tests;
