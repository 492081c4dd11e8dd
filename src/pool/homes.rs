//! Slots at an address that a hash determines.
//!
//! A look-up by hash reads one cache line to find the address of its slot, and then reads the slot.
//! If the slot is usually at its *home*, an address computed from the hash alone, the look-up can
//! prefetch both lines at once, and waits for one cache miss instead of two. Homes are only an
//! optimisation: a slot that finds no room at its home is placed elsewhere.
//!
//! Homes are one range of memory, with room for slightly more slots than expected. The range is
//! divided into *blocks* of slots, and a block into *bins*. The slots of a bin share a cache line,
//! if several fit into one. The home of a hash is one bin. If that is full, `take` tries the other
//! slots of the block, and then some following blocks.
//!
//! One bit of the block's word says whether a slot is taken, and taking or giving a slot changes
//! only this bit. As elsewhere in the pool, slots are given back a grace period after their last
//! use.

use super::Shape;
use super::asan;
use crate::memory::{self, Zeroable, Zeroed};
use crate::sync::{AtomicU32, Ordering, hook};
use std::ptr::NonNull;

/// One slot is added for this many slots, so that fewer bins are full.
const SLACK_DIVISOR: usize = 8;
/// The number of blocks in which `take` searches for a slot.
const BLOCKS_TRIED: usize = if cfg!(coeval_loom) { 1 } else { 4 };

/// The word of a block: which of its slots, fewer than 32, are taken.
struct TakenBits(AtomicU32);

// SAFETY: an atomic zero is all zeroes, and has no destructor.
unsafe impl Zeroable for TakenBits {
    fn zero() -> Self {
        Self(AtomicU32::new(0))
    }
}

/// See the module's documentation.
pub(super) struct Homes {
    first: NonNull<u8>,
    blocks: usize,
    taken: Zeroed<TakenBits>,
    /// The mapped memory that contains the blocks, and its size.
    mapped: (NonNull<u8>, usize),
}

// SAFETY: it owns its memory, and atomics determine the owner of each slot.
unsafe impl Send for Homes {}
// SAFETY: as above.
unsafe impl Sync for Homes {}

impl Homes {
    /// Creates homes for `slots` slots, or `None` if there is not enough memory.
    pub(super) fn new(shape: &Shape, slots: usize) -> Option<Self> {
        let blocks = slots.checked_add(slots / SLACK_DIVISOR)?.div_ceil(shape.block_slots()).max(1);
        u32::try_from(blocks).ok()?; // The product of a hash and this has 64 bits.
        let bytes = blocks.checked_mul(shape.block_bytes())?;
        let mapped = bytes.checked_add(shape.align())?;
        let memory = memory::try_map_zeroed(mapped)?;
        let head = memory.as_ptr().addr().wrapping_neg() % shape.align();
        // SAFETY: `head` is less than the alignment, which was added to the size.
        let first = unsafe { memory.add(head) };
        asan::poison(memory.as_ptr(), mapped);
        memory.as_ptr().expose_provenance(); // For the second parts, see `Shape::parts`.
        Some(Self { first, blocks, taken: Zeroed::new(blocks), mapped: (memory, mapped) })
    }

    /// Returns the address of the first slot, and the size of all slots.
    pub(super) fn range(&self, shape: &Shape) -> (usize, usize) {
        (self.first.as_ptr().addr(), self.blocks * shape.block_bytes())
    }

    /// Returns the address of the first slot of a hash's bin.
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
        let next = (home + 1..home + BLOCKS_TRIED).map(|block| (block % self.blocks, whole));
        let (block, slot) = [(home, bin), (home, whole)]
            .into_iter()
            .chain(next)
            .find_map(|(block, among)| Some((block, self.taken[block].take(among)?)))?;
        // SAFETY: the offset is within the mapped range.
        Some(unsafe { self.first.add(shape.offset_in(block, slot)) })
    }

    /// Returns whether a slot is one of these homes.
    #[inline(always)]
    pub(super) fn contains(&self, shape: &Shape, slot: NonNull<u8>) -> bool {
        self.distance(slot) < self.blocks * shape.block_bytes()
    }

    /// Frees a slot.
    ///
    /// # Safety
    /// The slot is one of these homes, is taken, and no thread has access to it.
    pub(super) unsafe fn give(&self, shape: &Shape, slot: NonNull<u8>) {
        for (start, bytes) in shape.parts(slot) {
            asan::poison(start, bytes);
        }
        let distance = self.distance(slot);
        let (block, within) = (distance / shape.block_bytes(), distance % shape.block_bytes());
        let slot = shape.number_in_block(within);
        // Release: pairs with the Acquire in `TakenBits::take`: all uses of the slot are over.
        let order = match hook::mutant("pool.home_given_relaxed") {
            true => Ordering::Relaxed,
            false => Ordering::Release,
        };
        self.taken[block].0.fetch_and(!(1 << slot), order);
    }

    fn distance(&self, slot: NonNull<u8>) -> usize {
        slot.as_ptr().addr().wrapping_sub(self.first.as_ptr().addr())
    }

    /// Returns the size of the memory.
    pub(super) fn bytes(&self) -> usize {
        self.mapped.1
    }
}

impl Drop for Homes {
    fn drop(&mut self) {
        let (memory, bytes) = self.mapped;
        asan::unpoison(memory.as_ptr(), bytes);
        // SAFETY: mapped in `new` with this size; the pool is dropped, so no slot is in use.
        unsafe { memory::unmap(memory, bytes) };
    }
}

impl TakenBits {
    /// Takes the last free slot of those in the mask `among`.
    fn take(&self, among: u32) -> Option<usize> {
        let mut free = !self.0.load(Ordering::Relaxed) & among; // Relaxed: only a guess.
        while free != 0 {
            let slot = free.ilog2();
            // Acquire: pairs with the Release in `Homes::give`.
            let before = if hook::mutant("pool.home_in_two_steps") {
                let before = self.0.load(Ordering::Acquire);
                hook::lapse();
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
