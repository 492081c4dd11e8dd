//! A pool whose slots hold values of one type, and have numbers.
//!
//! A slot has a number of four bytes for life, which leads to its address by one table of 64
//! addresses. The upper six bits of a number are those of its chunk, from 1 on. The others count
//! within the chunk. So that 64 chunks are enough, each is twice as large as the one before, up to
//! all numbers that it may have. The system gives a chunk's pages when they are first used. The
//! pool's homes have the numbers of the last chunks.
//!
//! Threads *learn* of a chunk: whoever asks for the number of a slot enters the slot's chunk into
//! the table, unless it is there. All write the same, so they need no order among themselves. A
//! thread that was told a number finds its chunk in the table: the teller has seen it there, or has
//! written it.

use super::chunk::Limits;
use super::homes::Homes;
use super::{Pool, Shape};
use crate::sync::{AtomicUsize, Ordering, hook};
use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::ops::Deref;
use std::ptr::{self, NonNull};

/// The number of chunks, and one more: there is no chunk 0.
const CHUNKS: usize = if cfg!(coeval_loom) { 4 } else { 64 };
/// The width of a slot's number within its chunk.
const CHUNK_BITS: u32 = u32::BITS - CHUNKS.ilog2();
/// The number of chunks that homes take at most.
const MOST_CHUNKS_OF_HOMES: usize = if cfg!(coeval_loom) { 1 } else { 24 };
/// The origin of a chunk that nobody has learnt of. No slot is at an address beyond it.
const UNKNOWN: usize = 1 << (usize::BITS - 1);

/// A word for each chunk. The stacks of models are small.
#[cfg(not(coeval_loom))]
type Table = [AtomicUsize; CHUNKS];
#[cfg(coeval_loom)]
type Table = Box<[AtomicUsize]>;

#[cfg(not(coeval_loom))]
fn table(value: usize) -> Table {
    std::array::from_fn(|_| AtomicUsize::new(value))
}

#[cfg(coeval_loom)]
fn table(value: usize) -> Table {
    (0..CHUNKS).map(|_| AtomicUsize::new(value)).collect()
}

/// What a pool may hold in slots of a shape of its own.
pub trait Pooled {
    /// The shape of the slots.
    const SHAPE: Shape;
}

/// A pool of slots for values of type `T`. It owns the memory, not the values.
pub struct PoolOf<T> {
    #[cfg(not(coeval_loom))]
    pool: Pool,
    #[cfg(coeval_loom)]
    pool: Box<Pool>,
    /// By chunk: the address that a slot with the number 0 would have, if the slots of the chunk
    /// went on below it.
    origins: Table,
    /// By chunk: the size of its slots.
    sizes: Table,
    /// The newest chunk that is known, apart from homes.
    newest: AtomicUsize,
    /// The first of the chunks that are homes.
    homes: usize,
    slots_for: PhantomData<fn() -> T>,
}

impl<T: Pooled> PoolOf<T> {
    /// Creates a pool with this number of homes, if there is memory and numbers for them.
    pub fn with_homes(homes: usize) -> Self {
        let pool = match homes {
            0 => Pool::new(T::SHAPE),
            _ => Pool::with_homes(T::SHAPE, homes),
        };
        #[cfg(coeval_loom)]
        let pool = Box::new(pool);
        let mut pool = Self {
            pool,
            origins: table(UNKNOWN),
            sizes: table(0),
            newest: AtomicUsize::new(0),
            homes: CHUNKS,
            slots_for: PhantomData,
        };
        pool.number_homes();
        // A chunk has no more bytes than there are numbers for.
        let bytes = T::SHAPE.distance(1 << CHUNK_BITS);
        pool.pool.chunks.limit(Limits { bytes, chunks: pool.homes - 1 });
        pool
    }

    /// Gives the last numbers to the homes. If these are too many, there are none.
    fn number_homes(&mut self) {
        let range = |homes: &Homes| homes.range(&T::SHAPE);
        let Some((first, bytes)) = self.pool.homes.as_ref().map(range) else { return };
        let chunks = T::SHAPE.number_at(bytes).div_ceil(1 << CHUNK_BITS);
        if chunks > MOST_CHUNKS_OF_HOMES {
            self.pool.homes = None;
            return;
        }
        self.homes = CHUNKS - chunks;
        self.sizes[self.homes] = AtomicUsize::new(bytes);
        let origin = first.wrapping_sub(T::SHAPE.distance(self.homes << CHUNK_BITS));
        self.origins[self.homes..].fill_with(|| AtomicUsize::new(origin));
    }

    /// Returns the slot with this number, which another thread has told or this one has asked for.
    #[inline(always)]
    pub fn slot(&self, number: NonZeroU32) -> *const T {
        let number = number.get() as usize;
        // Relaxed: the thread that told the number has read or written this origin before that.
        let origin = self.origins[number >> CHUNK_BITS].load(Ordering::Relaxed);
        // The pool exposes the provenance of its memory.
        ptr::with_exposed_provenance(origin.wrapping_add(T::SHAPE.distance(number)))
    }

    /// Returns the number of a slot that was taken from this pool, and is not given back yet. Takes
    /// a step for each chunk, of which there are few.
    #[inline(never)]
    pub fn number(&self, slot: NonNull<T>) -> NonZeroU32 {
        let slot = slot.as_ptr().addr();
        let homes = (self.homes < CHUNKS).then_some(self.homes);
        if let Some(number) = homes.and_then(|homes| self.number_within(homes, slot)) {
            return number;
        }
        // Relaxed: what is missing is learnt.
        let mut chunk = self.newest.load(Ordering::Relaxed);
        while chunk > 0 {
            // The newest chunks come first, as they have most slots.
            if let Some(number) = self.number_within(chunk, slot) {
                return number;
            }
            chunk -= 1;
        }
        self.learn(slot)
    }

    /// Returns the number of the slot at this address, if it is in this chunk, which is known.
    #[inline(always)]
    fn number_within(&self, chunk: usize, slot: usize) -> Option<NonZeroU32> {
        // Relaxed, both: every thread writes the same. If only one of the two is seen, no slot is
        // within the chunk.
        let origin = self.origins[chunk].load(Ordering::Relaxed);
        let first = origin.wrapping_add(T::SHAPE.distance(chunk << CHUNK_BITS));
        let distance = slot.wrapping_sub(first);
        if distance >= self.sizes[chunk].load(Ordering::Relaxed) {
            return None;
        }
        NonZeroU32::new(((chunk << CHUNK_BITS) + T::SHAPE.number_at(distance)) as u32)
    }

    /// Enters all chunks into the table. Returns the number of the slot at this address.
    #[cold]
    fn learn(&self, slot: usize) -> NonZeroU32 {
        let mut number = None;
        self.pool.chunks.visit(&T::SHAPE, |chunk| {
            let place = chunk.place;
            let origin = chunk.first.wrapping_sub(T::SHAPE.distance(place << CHUNK_BITS));
            // Relaxed, all: see `slot` and `number_within`.
            if !hook::mutant("pool.number_untaught") {
                self.origins[place].store(origin, Ordering::Relaxed);
            }
            self.sizes[place].store(chunk.bytes, Ordering::Relaxed);
            self.newest.fetch_max(place, Ordering::Relaxed);
            let distance = slot.wrapping_sub(chunk.first);
            if distance < chunk.bytes {
                let within = (place << CHUNK_BITS) + T::SHAPE.number_at(distance);
                number = NonZeroU32::new(within as u32);
            }
        });
        hook::step("pool.learnt");
        number.expect("a slot of this pool")
    }
}

impl<T> Deref for PoolOf<T> {
    type Target = Pool;

    fn deref(&self) -> &Pool {
        &self.pool
    }
}

#[cfg(all(test, not(coeval_loom)))]
mod tests {
    use super::*;
    use std::alloc::Layout;
    use std::collections::HashSet;

    /// Takes up `BYTES` bytes, with as many behind them as the rest of a record.
    struct Of<const BYTES: usize>;

    impl<const BYTES: usize> Pooled for Of<BYTES> {
        const SHAPE: Shape = match Layout::from_size_align(BYTES, 8) {
            Ok(layout) => Shape::split(layout, Layout::new::<[u64; 2]>()),
            Err(_) => panic!("a layout"),
        };
    }

    fn numbers_lead_to_slots<const BYTES: usize>(homes: usize, count: u32) {
        let pool = PoolOf::<Of<BYTES>>::with_homes(homes);
        let mut numbers = HashSet::new();
        for hash in 0..count {
            // SAFETY: no slot is ever given back.
            let slot = unsafe { pool.take_at(hash.wrapping_mul(0x9e37_79b1)) }.cast();
            let number = pool.number(slot);
            assert!(numbers.insert(number));
            assert_eq!(pool.slot(number), slot.as_ptr().cast_const());
        }
        let all: Vec<_> = numbers.into_iter().collect();
        assert!(
            all.iter()
                .all(|number| pool.number(NonNull::new(pool.slot(*number).cast_mut()).unwrap())
                    == *number)
        );
    }

    #[test]
    fn each_slot_has_a_number_that_leads_to_it() {
        for homes in [0, 1, 1000, 10_000] {
            numbers_lead_to_slots::<8>(homes, 12_000);
            numbers_lead_to_slots::<32>(homes, 12_000);
            numbers_lead_to_slots::<40>(homes, 12_000);
            numbers_lead_to_slots::<200>(homes, 12_000);
            numbers_lead_to_slots::<300_000>(homes.min(100), 300);
        }
    }

    #[test]
    fn there_are_numbers_for_a_billion_slots() {
        fn check<const BYTES: usize>() {
            let shape = Of::<BYTES>::SHAPE;
            let most = shape.distance(1 << CHUNK_BITS);
            let double = |bytes: &usize| Some((2 * bytes).min(most));
            let chunks = std::iter::successors(Some(4096), double).take(CHUNKS - 2);
            let slots: usize = chunks.map(|bytes| shape.slots_in(bytes)).sum();
            assert!(slots > 1_000_000_000, "{slots}: {shape:?}");
            for number in [0, 1, 20, 21, 63, 64, 1000, 12_345] {
                let offset = shape.offset(number);
                assert_eq!(shape.distance(shape.number_at(offset)), offset, "{shape:?}");
            }
        }
        check::<8>();
        check::<32>();
        check::<40>();
        check::<56>();
        check::<200>();
        check::<5000>();
    }
}
