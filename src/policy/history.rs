//! The history of evictions: a table of fingerprints that forgets by sampling.
//!
//! Ages are counted in insertions of new entries, and measured in multiples of the number of
//! entries that the cache holds (its size). The history remembers an eviction for one size, and
//! from then on with a probability that falls with its age: an eviction that is `a` sizes old is
//! still remembered with probability `1/a`. (A fingerprint and its time give a random number `u`;
//! the eviction is forgotten at age `1/u`, and in any case at [`REACH`].) The distant past matters
//! if entries return after more insertions than the cache has room for, as in a loop. In that case
//! only a sample of about the cache's size is useful; a larger one would only displace itself.
//! SHARDS (Waldspurger et al., FAST'15) uses such thinning by hash to measure large caches cheaply.
//! Talus (Beckmann & Sanchez, HPCA'15) uses it to turn the cliff of a loop into a slope.
//!
//! There are two slots per entry and six slots per bucket. A slot has 21 bits: 11 of fingerprint,
//! 9 of time, 1 for the queue. All accesses are Relaxed. An update that loses a race is lost: a few
//! evictions too few or too many are remembered.

use super::QueueKind;
use super::bound::Bound;
use crate::memory::Zeroed;
use crate::sync::{AtomicU64, AtomicUsize, Ordering, lazy_array::LazyArray, prefetch};
use crossbeam_utils::CachePadded;

/// The age of the oldest remembered evictions, in sizes of the cache.
pub const REACH: u64 = 16;
/// Slots for each entry of the cache.
const SLOTS_PER_ENTRY: u64 = 2;
/// Words of a bucket, of three slots each.
const WORDS: usize = 2;
const SLOTS_PER_WORD: usize = 3;
const SLOT_BITS: u32 = 21;
const SLOT: u64 = (1 << SLOT_BITS) - 1;
const TIME_BITS: u32 = 9;
const TIME: u64 = (1 << TIME_BITS) - 1;
const FINGERPRINT: u64 = (1 << 11) - 1;
/// The numbers of bits below the slots of a word.
const SHIFTS: [u32; SLOTS_PER_WORD] = [0, SLOT_BITS, 2 * SLOT_BITS];
/// A one at the beginning of each slot of a word.
const ONES: u64 = 1 | 1 << SLOT_BITS | 1 << (2 * SLOT_BITS);
/// The fingerprints of the slots of a word.
const FINGERPRINTS: u64 = ONES * (FINGERPRINT << (TIME_BITS + 1));
/// A cache of this many entries takes more memory than a processor's second-level cache has.
const LARGE: u64 = 1 << 14;
/// The largest number of tables. Each is for at least half as many entries more than the previous.
const TABLES: usize = 64;

/// A time, counted in insertions. The history stores it more coarsely, in ticks.
pub type InsertionTime = u64;

/// A remembered eviction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ghost {
    /// The queue from which the entry was evicted.
    pub queue: QueueKind,
    /// The time of the eviction, in ticks.
    pub tick: u64,
}

/// A table for a fixed number of entries.
struct FingerprintTable {
    entries: u64,
    /// A tick is `1 << shift` insertions, 1/64 to 1/32 of the entries.
    shift: u32,
    buckets: Zeroed<[AtomicU64; WORDS]>,
}

impl FingerprintTable {
    fn new(entries: u64) -> Self {
        let per_bucket = (WORDS * SLOTS_PER_WORD) as u64;
        let buckets = (entries * SLOTS_PER_ENTRY).div_ceil(per_bucket).max(1);
        Self { entries, shift: tick_shift(entries), buckets: Zeroed::new(buckets as usize) }
    }

    /// Returns whether the table is large enough for this number of entries.
    #[inline(always)]
    fn is_for(&self, entries: u64) -> bool {
        entries <= self.entries + self.entries / 2
    }

    /// Returns the bucket and the fingerprint of a hash.
    #[inline]
    fn locate(&self, hash: u32) -> (&[AtomicU64; WORDS], u64) {
        let mut bits = u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        bits = (bits ^ (bits >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        let bucket = ((bits >> 32) * self.buckets.len() as u64) >> 32;
        (&self.buckets[bucket as usize], ((bits >> 21) & FINGERPRINT).max(1))
    }

    /// Returns the staleness of a slot, which grows with its age. The eviction in it is forgotten
    /// once the staleness exceeds `limit`.
    #[inline]
    fn staleness(slot: u64, tick: u64) -> u64 {
        let age = tick.wrapping_sub(slot >> 1) & TIME;
        let u = u64::from(((slot >> 1) as u32).wrapping_mul(0x9E37_79B1) >> 24) + 1;
        age * u.max(256 / REACH)
    }

    #[inline]
    fn limit(&self) -> u64 {
        (self.entries * 256) >> self.shift
    }

    #[inline(always)]
    fn remember(&self, hash: u32, tick: u64, queue: QueueKind) {
        let (bucket, fingerprint) = self.locate(hash);
        let slot = fingerprint << (TIME_BITS + 1) | (tick & TIME) << 1 | queue as u64;
        let words: [u64; WORDS] = std::array::from_fn(|at| bucket[at].load(Ordering::Relaxed));
        // The slot of the same fingerprint, or a free slot, or the stalest one.
        let place = |sought| (0..WORDS).find_map(|at| Some((at, place_of(words[at], sought)?)));
        let (at, shift) =
            place(fingerprint).or_else(|| place(0)).unwrap_or_else(|| Self::stalest(words, tick));
        // A store: what another thread writes to the word at the same time is lost.
        bucket[at].store(words[at] & !(SLOT << shift) | slot << shift, Ordering::Relaxed);
    }

    /// Returns the place of the stalest slot: its word, and the number of bits below it.
    #[inline(always)]
    fn stalest(words: [u64; WORDS], tick: u64) -> (usize, u32) {
        let (mut most, mut stalest) = (0, (0, 0));
        for (at, word) in words.into_iter().enumerate() {
            for shift in SHIFTS {
                let staleness = Self::staleness(word >> shift & SLOT, tick);
                if staleness >= most {
                    (most, stalest) = (staleness, (at, shift));
                }
            }
        }
        stalest
    }

    #[cfg_attr(not(coeval_loom), inline(always))]
    fn take(&self, hash: u32, tick: u64) -> Option<Ghost> {
        let (bucket, fingerprint) = self.locate(hash);
        bucket.iter().find_map(|cell| {
            let word = cell.load(Ordering::Relaxed);
            let shift = place_of(word, fingerprint)?;
            cell.store(word & !(SLOT << shift), Ordering::Relaxed);
            let slot = word >> shift & SLOT;
            let is_remembered = Self::staleness(slot, tick) <= self.limit();
            let age = tick.wrapping_sub(slot >> 1) & TIME;
            let queue = if slot & 1 == 0 { QueueKind::Small } else { QueueKind::Main };
            Some(is_remembered.then(|| Ghost { queue, tick: tick.wrapping_sub(age) }))
        })?
    }
}

/// Returns the number of bits below the first slot of a word that has this fingerprint; 0 is the
/// fingerprint of an empty slot.
#[inline(always)]
fn place_of(word: u64, fingerprint: u64) -> Option<u32> {
    let others = (word ^ (ONES * (fingerprint << (TIME_BITS + 1)))) & FINGERPRINTS;
    // A slot with another fingerprint carries into the bit above it, and no further.
    let found = !(others + FINGERPRINTS) & (ONES << SLOT_BITS);
    (found != 0).then(|| found.trailing_zeros() - SLOT_BITS)
}

fn tick_shift(entries: u64) -> u32 {
    entries.max(1).ilog2().saturating_sub(TIME_BITS - 4)
}

/// The history of one cache: its table, and the clock of insertions. A larger table replaces the
/// table when the cache turns out to hold more entries.
pub struct History {
    tables: LazyArray<FingerprintTable, TABLES>,
    current: AtomicUsize,
    /// The number of entries for which the next table is made. 0 means: as many as there are at
    /// that time.
    planned: Bound,
    /// Each insertion writes it, so it shares no line with what is only read.
    clock: CachePadded<AtomicU64>,
}

impl History {
    /// Creates an empty history. `entries` is the number of entries that the cache will hold, or 0
    /// if it is unknown.
    pub fn new(entries: u64) -> Self {
        let (current, clock) = (AtomicUsize::new(0), CachePadded::new(AtomicU64::new(0)));
        Self { tables: LazyArray::new(), current, planned: Bound::new(entries), clock }
    }

    /// Plans the next table for this number of entries, if the number was known at first.
    pub fn plan(&self, entries: u64) {
        if self.planned.now() > 0 {
            self.planned.change(entries.max(1));
        }
    }

    #[inline]
    fn table(&self) -> Option<&FingerprintTable> {
        // Relaxed: `LazyArray` publishes the tables.
        self.tables.get(self.current.load(Ordering::Relaxed))
    }

    /// Counts several insertions. Returns the time of the last one.
    #[inline]
    pub fn advance_by(&self, insertions: u64) -> InsertionTime {
        self.clock.fetch_add(insertions, Ordering::Relaxed) + insertions
    }

    /// Returns whether the entries and the history are too many to be near the processor.
    #[inline(always)]
    pub fn is_large(&self) -> bool {
        self.table().is_some_and(|table| table.entries >= LARGE)
    }

    /// Prefetches the bucket of a hash.
    #[inline(always)]
    pub fn prefetch(&self, hash: u32) {
        if let Some(table) = self.table() {
            prefetch::line(table.locate(hash).0);
        }
    }

    /// Returns the present time.
    #[inline]
    pub fn now(&self) -> InsertionTime {
        self.clock.load(Ordering::Relaxed)
    }

    /// Returns the number of entries that the full cache holds, as far as it is known; at least
    /// one.
    #[inline]
    pub fn entries(&self) -> u64 {
        self.table().map_or_else(|| self.planned.now(), |table| table.entries).max(1)
    }

    /// Converts a time to ticks.
    #[inline]
    pub fn tick(&self, time: InsertionTime) -> u64 {
        time >> self.table().map_or_else(|| tick_shift(self.planned.now()), |table| table.shift)
    }

    /// Remembers an eviction. `entries` returns the present number of entries. It is called only if
    /// the number was unknown when the history was created, or if there may be need for a table.
    #[inline(always)]
    pub fn remember(
        &self,
        hash: u32,
        time: InsertionTime,
        queue: QueueKind,
        entries: impl Fn() -> u64,
    ) {
        let planned = self.planned.now();
        let sought = if planned > 0 { planned } else { entries() };
        let table = match self.table() {
            Some(table) if table.is_for(sought) => table,
            // The bound may have grown just now, and says how many entries there may be one day.
            _ if planned > 0 => self.table_for(planned.min(entries().saturating_mul(2)).max(1)),
            _ => self.table_for(sought),
        };
        table.remember(hash, time >> table.shift, queue);
    }

    /// Returns the table for this number of entries, and makes it if there is none.
    #[cold]
    fn table_for(&self, entries: u64) -> &FingerprintTable {
        let current = self.current.load(Ordering::Relaxed);
        match self.table() {
            Some(table) if table.is_for(entries) || current + 1 == TABLES => table,
            // Entries became lighter, or the bound has grown, so there are more. The old table's
            // evictions are forgotten.
            Some(_) => {
                let make = || FingerprintTable::new(entries);
                let table = self.tables.get_or_make(current + 1, make);
                self.current.store(current + 1, Ordering::Relaxed);
                table
            }
            None => self.tables.get_or_make(0, || FingerprintTable::new(entries)),
        }
    }

    /// Removes and returns the remembered eviction of a key with this hash.
    #[cfg_attr(not(coeval_loom), inline(always))]
    pub fn take(&self, hash: u32, time: InsertionTime) -> Option<Ghost> {
        let table = self.table()?;
        table.take(hash, time >> table.shift)
    }

    /// Returns the bytes of all tables.
    pub fn bytes(&self) -> usize {
        let tables = (0..TABLES).map_while(|place| self.tables.get(place));
        tables.map(|table| size_of_val(&*table.buckets)).sum()
    }
}

#[cfg(all(test, not(coeval_loom)))]
#[path = "tests/history.rs"]
mod tests;
