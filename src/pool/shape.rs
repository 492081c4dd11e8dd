//! The memory layout of a pool's slots.
//!
//! A slot may have two parts: one that every look-up reads, and the rest. Then the first parts of
//! several slots are contiguous, followed by their second parts, in a *group*. So a look-up that
//! reads several slots finds more of them in one cache line. A group begins at a multiple of its
//! size, which is a power of two, so the address of one part determines that of the other.

use crate::memory;
use std::alloc::Layout;
use std::ptr::{self, NonNull};

/// A group has about this many slots, or a few more.
const MIN_GROUP_SLOTS: usize = 16;
/// The size of a cache line. A first part of this size gains nothing from a separate second part.
const LINE: usize = 64;
/// The number of slots in a block of homes if each slot is a group of its own.
const SINGLE_BLOCK_SLOTS: usize = if cfg!(coeval_loom) { 2 } else { 16 };

/// See the module's documentation.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The distance from one slot to the next within a group.
    stride: usize,
    /// The size of the second part; 0 without one.
    rest: usize,
    /// The offset of the second parts in a group.
    rest_at: usize,
    /// The size of a group.
    group: usize,
    /// The number of slots in a group.
    slots: usize,
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
        let rest = ptr::with_exposed_provenance_mut(self.rest_of(slot.addr()));
        [(slot, self.stride), (rest, self.rest)]
    }
}

const fn max(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}

#[cfg(all(test, not(coeval_loom)))]
mod tests {
    use super::*;
    use crate::pool::Pool;
    use std::collections::HashSet;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    #[test]
    fn no_two_parts_overlap() {
        let rests = [layout(16, 8), layout(24, 8), layout(64, 64), layout(128, 128), layout(0, 1)];
        let small = [(8, 8), (24, 8), (32, 8), (32, 16), (40, 8), (63, 1), (64, 64), (200, 8)];
        let wide = [(128, 128), (384, 128), (256, 256), (1024, 1024), (4096, 4096), (12_288, 4096)];
        for (size, align) in small.into_iter().chain(wide) {
            for rest in rests {
                let shape = Shape::split(layout(size, align), rest);
                let pool = Pool::new(shape);
                let mut taken = HashSet::new();
                for _ in 0..if size > 200 { 30 } else { 1000 } {
                    // SAFETY: no slot is ever given back.
                    let slot = unsafe { pool.take() };
                    let [(first, bytes), (second, rest_bytes)] = shape.parts(slot);
                    assert!(bytes >= size && rest_bytes >= rest.size());
                    assert_eq!(first.addr() % align, 0);
                    assert!(rest.size() == 0 || second.addr() % rest.align() == 0);
                    for at in (first.addr()..first.addr() + bytes)
                        .chain(second.addr()..second.addr() + rest_bytes)
                    {
                        assert!(taken.insert(at), "{shape:?}");
                    }
                    // SAFETY: the slot owns both ranges.
                    unsafe {
                        first.write_bytes(1, bytes);
                        second.write_bytes(2, rest_bytes);
                    }
                }
            }
        }
    }

    #[test]
    fn small_slots_share_a_line_and_waste_little() {
        let shape = Shape::split(layout(32, 8), layout(16, 8));
        assert_eq!((shape.stride, shape.group, shape.slots), (32, 1024, 21));
        assert!((0..21).all(|slot| shape.rest_of(4096 + slot * 32) == 4096 + 21 * 32 + slot * 16));
        assert_eq!(shape.bytes(22), 2048);
        assert_eq!((shape.offset(20), shape.offset(21)), (640, 1024));
    }
}
