//! Slots that are found by a hash, without asking anybody.
//!
//! Who looks something up by a hash reads one cache line to learn which slot it means, and then that slot. Where
//! the slot usually lies in memory that the hash alone tells, its *home*, a look-up can ask for both at once and
//! waits for one miss instead of two. Nothing depends on it: what has no room at home is put elsewhere.
//!
//! Homes lie in one stretch of memory for as many slots as are expected, and some more. It is divided into *blocks* of
//! slots, a block into *bins*: slots that share a cache line, where they do. A hash has one bin as its home. If
//! that is full the slot is another one of the block, or of one of the next blocks.
//!
//! A slot is free or not by one bit of its block's word, which is all that takers and givers do. As elsewhere in the pool
//! slots come back a grace period after they were last in use.

use super::asan;
use super::shape::Shape;
use crate::memory::{self, Zeroable, Zeroed};
use crate::sync::{AtomicU32, Ordering, hook};
use std::ptr::NonNull;

/// Of so many slots one more is made, so that fewer find their bin full.
const SPARE: usize = 8;
/// How many blocks are looked at for a slot.
const TRIED: usize = if cfg!(coeval_loom) { 1 } else { 4 };

/// A block's word: which of its slots, fewer than 32, are taken.
struct Taken(AtomicU32);

// SAFETY: an atomic zero is all zeroes, and has no destructor.
unsafe impl Zeroable for Taken {
    fn zero() -> Self {
        Self(AtomicU32::new(0))
    }
}

/// See the module's header.
pub(super) struct Homes {
    first: NonNull<u8>,
    blocks: usize,
    taken: Zeroed<Taken>,
    /// The memory that the blocks are in, and its size.
    mapped: (NonNull<u8>, usize),
}

// SAFETY: the memory is its own, and whose a slot is, is told by atomics.
unsafe impl Send for Homes {}
// SAFETY: as above.
unsafe impl Sync for Homes {}

impl Homes {
    /// Homes for so many slots, or none if there is not so much memory.
    pub(super) fn new(shape: &Shape, slots: usize) -> Option<Self> {
        let blocks = slots.checked_add(slots / SPARE)?.div_ceil(shape.block_slots()).max(1);
        u32::try_from(blocks).ok()?; // The product of a hash and this has 64 bits.
        let bytes = blocks.checked_mul(shape.block_bytes())?;
        let mapped = bytes.checked_add(shape.align())?;
        let memory = memory::try_map_zeroed(mapped)?;
        let head = memory.as_ptr().addr().wrapping_neg() % shape.align();
        // SAFETY: less than the alignment, by which the stretch is longer.
        let first = unsafe { memory.add(head) };
        asan::forbid(memory.as_ptr(), mapped);
        memory.as_ptr().expose_provenance(); // for what lies apart from its slot
        Some(Self { first, blocks, taken: Zeroed::new(blocks), mapped: (memory, mapped) })
    }

    /// The address of the first slot of a hash's bin.
    #[inline(always)]
    pub(super) fn home(&self, shape: &Shape, hash: u32) -> *const u8 {
        let (block, slot) = shape.home(hash, self.blocks);
        self.first.as_ptr().wrapping_add(shape.offset_in(block, slot))
    }

    /// Takes a slot at a hash's home, or near it.
    pub(super) fn take(&self, shape: &Shape, hash: u32) -> Option<NonNull<u8>> {
        let (home, slot) = shape.home(hash, self.blocks);
        let bin = ((1 << shape.bin_slots()) - 1) << slot;
        let whole = u32::MAX >> (32 - shape.block_slots());
        let next = (home + 1..home + TRIED).map(|block| (block % self.blocks, whole));
        let (block, slot) = [(home, bin), (home, whole)]
            .into_iter()
            .chain(next)
            .find_map(|(block, among)| Some((block, self.taken[block].take(among)?)))?;
        // SAFETY: within the stretch.
        Some(unsafe { self.first.add(shape.offset_in(block, slot)) })
    }

    /// Whether a slot is one of these.
    #[inline(always)]
    pub(super) fn own(&self, shape: &Shape, slot: NonNull<u8>) -> bool {
        self.distance(slot) < self.blocks * shape.block_bytes()
    }

    /// Makes a slot free again.
    ///
    /// # Safety
    /// It is one of these, was taken, and nobody has access to it.
    pub(super) unsafe fn give(&self, shape: &Shape, slot: NonNull<u8>) {
        for (start, bytes) in shape.parts(slot) {
            asan::forbid(start, bytes);
        }
        let distance = self.distance(slot);
        let (block, within) = (distance / shape.block_bytes(), distance % shape.block_bytes());
        let slot = shape.number_in_block(within);
        // Release: pairs with the Acquire in `Taken::take`: what was done to the slot is over.
        let order = match hook::mutant("pool.home_given_relaxed") {
            true => Ordering::Relaxed,
            false => Ordering::Release,
        };
        self.taken[block].0.fetch_and(!(1 << slot), order);
    }

    fn distance(&self, slot: NonNull<u8>) -> usize {
        slot.as_ptr().addr().wrapping_sub(self.first.as_ptr().addr())
    }

    /// The memory in it.
    pub(super) fn bytes(&self) -> usize {
        self.mapped.1
    }
}

impl Drop for Homes {
    fn drop(&mut self) {
        let (memory, bytes) = self.mapped;
        asan::allow(memory.as_ptr(), bytes);
        // SAFETY: mapped so in `new`; with the pool dropped nobody uses a slot.
        unsafe { memory::unmap(memory, bytes) };
    }
}

impl Taken {
    /// Takes the last free slot among those.
    fn take(&self, among: u32) -> Option<usize> {
        let mut free = !self.0.load(Ordering::Relaxed) & among; // Relaxed: a guess.
        while free != 0 {
            let slot = free.ilog2();
            // Acquire: pairs with the Release in `Homes::give`.
            let before = if hook::mutant("pool.home_in_two_steps") {
                let before = self.0.load(Ordering::Acquire);
                self.0.store(before | 1 << slot, Ordering::Relaxed);
                before
            } else {
                self.0.fetch_or(1 << slot, Ordering::Acquire)
            };
            if before & 1 << slot == 0 {
                return Some(slot as usize);
            }
            free &= !before;
        }
        None
    }
}
