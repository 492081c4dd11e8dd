//! The layout of a pool's slots in groups, and the numbers of slots.

use crate::memory;
use std::alloc::Layout;
use std::ptr::{self, NonNull};

/// The number of chunks, one more than there are.
pub(super) const CHUNKS: usize = 64;
/// The width of a slot's number within its chunk.
pub(super) const CHUNK_BITS: u32 = u32::BITS - CHUNKS.ilog2();

/// A pool's first chunk has about this many bytes, if its slots are small.
const FIRST_BYTES: usize = if cfg!(coeval_loom) { 64 } else { 512 };
/// A chunk holds at least this many slots, even if they are large.
const MIN_SLOTS: usize = if cfg!(coeval_loom) { 2 } else { 8 };

/// A group has about this many slots, or a few more.
const MIN_GROUP_SLOTS: usize = 16;
/// The size of a cache line. A first part of this size gains nothing from a separate second part.
const LINE: usize = 64;
/// The number of slots in a block of homes if each slot is a group of its own.
const SINGLE_BLOCK_SLOTS: usize = if cfg!(coeval_loom) { 2 } else { 16 };

/// The memory layout of a pool's slots.
///
/// If a slot has two parts, the first parts of several slots are contiguous, followed by their
/// second parts, in a *group*. So a look-up that reads several slots finds more of them in one
/// cache line. A group begins at a multiple of its size, which is a power of two, so the address of
/// one part determines that of the other.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The distance from one slot to the next within a group.
    pub(super) stride: usize,
    /// The size of the second part; 0 without one.
    rest: usize,
    /// The offset of the second parts in a group.
    rest_at: usize,
    /// The size of a group.
    pub(super) group: usize,
    /// The number of slots in a group.
    pub(super) slots: usize,
    /// The alignment of a group beyond a cache line: its size, or for a group of one slot only the
    /// alignment of the parts.
    align: usize,
}

/// Slots are aligned to a page at most, since chunks of memory have no larger alignment.
const MAX_ALIGN: usize = memory::PAGE;

impl Shape {
    /// Slots of one part, at least as large as a pointer, and aligned to a page at most.
    pub const fn plain(slot: Layout) -> Self {
        Self::split(slot, Layout::new::<()>())
    }

    /// Slots of two parts. The first part has the same limits as a plain slot.
    pub const fn split(slot: Layout, rest: Layout) -> Self {
        assert!(slot.size() >= size_of::<usize>(), "a slot is at least as large as a pointer");
        assert!(
            slot.align() <= MAX_ALIGN && rest.align() <= MAX_ALIGN,
            "keys and values of a cache are aligned to a page (4096 bytes) at most"
        );
        let align = max(slot.align(), align_of::<usize>());
        let stride = slot.size().next_multiple_of(align);
        let rest_size = rest.size().next_multiple_of(align_of::<usize>());
        if rest_size == 0 || stride >= LINE || rest.align() > LINE {
            let rest_at = stride.next_multiple_of(rest.align());
            let all = max(align, rest.align());
            let group = (rest_at + rest_size).next_multiple_of(all);
            // All chunks are aligned to a cache line.
            let align = if all > LINE { all } else { 1 };
            return Self { stride, rest: rest_size, rest_at, group, slots: 1, align };
        }
        let group = (MIN_GROUP_SLOTS * (stride + rest_size)).next_power_of_two();
        let most = group / (stride + rest_size);
        let all = (most * stride).next_multiple_of(rest.align()) + most * rest_size;
        let slots = if all <= group { most } else { most - 1 };
        let rest_at = (slots * stride).next_multiple_of(rest.align());
        Self { stride, rest: rest_size, rest_at, group, slots, align: group }
    }

    /// Returns whether every slot's first part lies in one cache line.
    pub const fn fits_lines(&self) -> bool {
        self.slots > 1 && 64 % self.stride == 0
    }

    /// Returns the alignment of a chunk's first slot, beyond 64 bytes.
    pub(super) const fn align(&self) -> usize {
        self.align
    }

    /// Returns the address of the second part of the slot at `address`.
    #[inline(always)]
    pub const fn rest_of(&self, address: usize) -> usize {
        if self.slots == 1 {
            return address + self.rest_at;
        }
        let within = address & (self.group - 1);
        address - within + self.rest_at + within / self.stride * self.rest
    }

    /// Returns the distance from the slot at `slot` to the next.
    #[inline(always)]
    pub(super) fn step(&self, slot: NonNull<u8>) -> usize {
        if self.slots == 1 {
            return self.group;
        }
        let within = slot.as_ptr().addr() & (self.group - 1);
        if within == (self.slots - 1) * self.stride { self.group - within } else { self.stride }
    }

    /// Returns the offset of the slot with this number from the first slot.
    pub(super) const fn offset(&self, number: usize) -> usize {
        number / self.slots * self.group + number % self.slots * self.stride
    }

    /// Returns the distance of the slot with this number from one with the number 0. The slots of a
    /// group have contiguous numbers, and the first one of each group is a multiple of a power of
    /// two.
    #[inline(always)]
    pub(super) const fn distance(&self, number: usize) -> usize {
        if self.slots == 1 {
            return number.wrapping_mul(self.group);
        }
        let most = self.slots.next_power_of_two();
        if self.group == most * self.stride {
            return number.wrapping_mul(self.stride); // The usual case takes one multiplication.
        }
        (number / most).wrapping_mul(self.group).wrapping_add(number % most * self.stride)
    }

    /// Returns the number of the slot at this distance from one with the number 0.
    #[inline(always)]
    pub(super) const fn number_at(&self, distance: usize) -> usize {
        let (group, within) = (distance / self.group, distance % self.group);
        group * self.slots.next_power_of_two() + within / self.stride
    }

    /// Returns the number of groups in the first chunk, a power of two.
    #[inline(always)]
    const fn first_groups(&self) -> usize {
        let fitting = FIRST_BYTES / self.group;
        let least = if self.slots == 1 { MIN_SLOTS } else { 1 };
        1 << max(fitting, least).ilog2()
    }

    /// Returns the number of the last chunk that is twice as large as the one before. From then on
    /// each has all numbers that it may have.
    #[inline(always)]
    pub(super) const fn chunks_that_double(&self) -> usize {
        let numbers = self.first_groups() * self.slots.next_power_of_two();
        (CHUNK_BITS - numbers.ilog2()) as usize + 1
    }

    /// Returns the number of groups in a chunk. The first chunk is 1.
    #[inline(always)]
    const fn chunk_groups(&self, chunk: usize) -> usize {
        let last = self.chunks_that_double();
        let doubled = if chunk < last { chunk - 1 } else { last - 1 };
        self.first_groups() << doubled
    }

    /// Returns the number of slots in a chunk.
    #[inline(always)]
    pub(super) const fn chunk_slots(&self, chunk: usize) -> usize {
        self.chunk_groups(chunk) * self.slots
    }

    /// Returns the size of a chunk.
    #[inline(always)]
    pub(super) const fn chunk_bytes(&self, chunk: usize) -> usize {
        self.chunk_groups(chunk).saturating_mul(self.group)
    }

    /// Returns the number of slots in `bytes` of memory.
    pub const fn slots_in(&self, bytes: usize) -> usize {
        bytes / self.group * self.slots
    }

    /// Returns the size of the memory for `slots` slots.
    pub(super) const fn bytes(&self, slots: usize) -> usize {
        slots.div_ceil(self.slots) * self.group
    }

    /// Returns the number of slots in a block of homes: a group, or several groups of one slot.
    pub(super) const fn block_slots(&self) -> usize {
        if self.slots == 1 { SINGLE_BLOCK_SLOTS } else { self.slots }
    }

    /// Returns the size of a block of homes.
    pub(super) const fn block_bytes(&self) -> usize {
        if self.slots == 1 { SINGLE_BLOCK_SLOTS * self.group } else { self.group }
    }

    /// Returns the number of slots in a bin: those that share a cache line, if none crosses a line.
    pub(super) const fn bin_slots(&self) -> usize {
        if self.fits_lines() { LINE / self.stride } else { 1 }
    }

    /// Returns the block of a hash's home, out of `blocks`, and the first slot of its bin in there.
    #[inline(always)]
    pub(super) const fn home(&self, hash: u32, blocks: usize) -> (usize, usize) {
        // The upper half of the product is a number below `blocks`. The lower half, the remaining
        // bits of the hash, selects the bin in the same way.
        let product = hash as u64 * blocks as u64;
        let bins = (self.block_slots() / self.bin_slots()) as u64;
        let bin = ((product & u32::MAX as u64) * bins) >> 32;
        ((product >> 32) as usize, bin as usize * self.bin_slots())
    }

    /// Returns the offset of the slot with this number in a block, from the first block.
    #[inline(always)]
    pub(super) const fn offset_in(&self, block: usize, number: usize) -> usize {
        block * self.block_bytes() + number * if self.slots == 1 { self.group } else { self.stride }
    }

    /// Returns the number of the slot at this distance from the start of its block.
    pub(super) const fn number_in_block(&self, distance: usize) -> usize {
        distance / if self.slots == 1 { self.group } else { self.stride }
    }

    /// Returns the start and the size of both parts of a slot.
    #[inline(always)]
    pub(super) fn parts(&self, slot: NonNull<u8>) -> [(*mut u8, usize); 2] {
        let slot = slot.as_ptr();
        let rest = memory_of(self.rest_of(slot.addr()));
        [(slot, self.stride), (rest, self.rest)]
    }
}

/// Memory of a pool. Pools expose the provenance of their memory.
#[inline(always)]
pub(super) fn memory_of(address: usize) -> *mut u8 {
    ptr::with_exposed_provenance_mut(address)
}

#[inline(always)]
const fn max(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}
