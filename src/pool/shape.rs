//! How the slots of a pool lie in memory.
//!
//! A slot may have two parts: what every look-up reads, and the rest. Then the first parts of several
//! slots lie side by side, and behind them their rests, in a *group*: a look-up that reads one slot
//! after another has more of them in a cache line. A group begins at a multiple of its size, which
//! is a power of two, so the one part's address tells the other's.

use crate::memory;
use std::alloc::Layout;
use std::ptr::{self, NonNull};

/// So many slots share a group, or a few more.
const SHARING: usize = 16;
/// What is larger than this, a cache line, gains nothing by being apart from its rest.
const LARGE: usize = 64;
/// So many slots that are groups of their own make a block of homes.
const SINGLES: usize = if cfg!(coeval_loom) { 2 } else { 16 };

/// See the module's header.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// From one slot to the next within a group.
    stride: usize,
    /// The size of the second part; 0 without one.
    rest: usize,
    /// Where in a group the second parts begin.
    rest_at: usize,
    /// The size of a group.
    group: usize,
    /// How many slots a group has.
    slots: usize,
    /// What a group is aligned to, beside a cache line: its size, but a group of one only to what its parts ask for.
    align: usize,
}

/// Slots are aligned to a page at most: that is what chunks of memory are aligned to.
const MOST_ALIGN: usize = memory::PAGE;

impl Shape {
    /// Slots of one part: of a pointer's size at least, aligned to a page at most.
    pub const fn plain(slot: Layout) -> Self {
        Self::split(slot, Layout::new::<()>())
    }

    /// Slots of two parts, the first like a plain slot.
    pub const fn split(slot: Layout, rest: Layout) -> Self {
        assert!(slot.size() >= size_of::<usize>(), "a slot holds a pointer at least");
        assert!(
            slot.align() <= MOST_ALIGN && rest.align() <= MOST_ALIGN,
            "keys and values of a cache are aligned to a page (4096 bytes) at most"
        );
        let align = max(slot.align(), align_of::<usize>());
        let stride = slot.size().next_multiple_of(align);
        let rest_size = rest.size().next_multiple_of(align_of::<usize>());
        if rest_size == 0 || stride >= LARGE || rest.align() > LARGE {
            let rest_at = stride.next_multiple_of(rest.align());
            let all = max(align, rest.align());
            let group = (rest_at + rest_size).next_multiple_of(all);
            // Chunks are aligned to a line anyway.
            let align = if all > LARGE { all } else { 1 };
            return Self { stride, rest: rest_size, rest_at, group, slots: 1, align };
        }
        let group = (SHARING * (stride + rest_size)).next_power_of_two();
        let most = group / (stride + rest_size);
        let all = (most * stride).next_multiple_of(rest.align()) + most * rest_size;
        let slots = if all <= group { most } else { most - 1 };
        let rest_at = (slots * stride).next_multiple_of(rest.align());
        Self { stride, rest: rest_size, rest_at, group, slots, align: group }
    }

    /// Whether no slot's first part lies in two cache lines.
    pub const fn fits_lines(&self) -> bool {
        self.slots > 1 && 64 % self.stride == 0
    }

    /// What a chunk's first slot is aligned to, beside 64 bytes.
    pub(super) const fn align(&self) -> usize {
        self.align
    }

    /// The address of the second part of the slot at `address`.
    #[inline(always)]
    pub const fn rest_of(&self, address: usize) -> usize {
        if self.slots == 1 {
            return address + self.rest_at;
        }
        let within = address & (self.group - 1);
        address - within + self.rest_at + within / self.stride * self.rest
    }

    /// From the slot at `slot` to the next.
    #[inline(always)]
    pub(super) fn step(&self, slot: NonNull<u8>) -> usize {
        if self.slots == 1 {
            return self.group;
        }
        let within = slot.as_ptr().addr() & (self.group - 1);
        if within == (self.slots - 1) * self.stride { self.group - within } else { self.stride }
    }

    /// From the first slot to the one with this number.
    pub(super) const fn offset(&self, number: usize) -> usize {
        number / self.slots * self.group + number % self.slots * self.stride
    }

    /// How many slots so much memory holds.
    pub const fn slots_in(&self, bytes: usize) -> usize {
        bytes / self.group * self.slots
    }

    /// How much memory so many slots take.
    pub(super) const fn bytes(&self, slots: usize) -> usize {
        slots.div_ceil(self.slots) * self.group
    }

    /// How many slots make a block of homes: a group, or so many groups of one.
    pub(super) const fn block_slots(&self) -> usize {
        if self.slots == 1 { SINGLES } else { self.slots }
    }

    /// How much memory a block takes.
    pub(super) const fn block_bytes(&self) -> usize {
        if self.slots == 1 { SINGLES * self.group } else { self.group }
    }

    /// How many slots make a bin: those that share a cache line, if none lies in two.
    pub(super) const fn bin_slots(&self) -> usize {
        if self.fits_lines() { LARGE / self.stride } else { 1 }
    }

    /// The block, of so many, and in it the first slot of the bin, that is a hash's home.
    #[inline(always)]
    pub(super) const fn home(&self, hash: u32, blocks: usize) -> (usize, usize) {
        // The product's upper half is a number below `blocks`; the lower half, what is left of the hash, does the same
        // for the bins.
        let product = hash as u64 * blocks as u64;
        let bins = (self.block_slots() / self.bin_slots()) as u64;
        let bin = ((product & u32::MAX as u64) * bins) >> 32;
        ((product >> 32) as usize, bin as usize * self.bin_slots())
    }

    /// From the first block to the slot of this number in a block.
    #[inline(always)]
    pub(super) const fn offset_in(&self, block: usize, number: usize) -> usize {
        block * self.block_bytes() + number * if self.slots == 1 { self.group } else { self.stride }
    }

    /// The number of the slot that is so far from a block's beginning.
    pub(super) const fn number_in_block(&self, distance: usize) -> usize {
        distance / if self.slots == 1 { self.group } else { self.stride }
    }

    /// Both parts of a slot: where they begin, and their sizes.
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
                    // SAFETY: both are the slot's.
                    unsafe {
                        first.write_bytes(1, bytes);
                        second.write_bytes(2, rest_bytes);
                    }
                }
            }
        }
    }

    #[test]
    fn small_entries_lie_two_a_line_and_waste_little() {
        let shape = Shape::split(layout(32, 8), layout(16, 8));
        assert_eq!((shape.stride, shape.group, shape.slots), (32, 1024, 21));
        assert!((0..21).all(|slot| shape.rest_of(4096 + slot * 32) == 4096 + 21 * 32 + slot * 16));
        assert_eq!(shape.bytes(22), 2048);
        assert_eq!((shape.offset(20), shape.offset(21)), (640, 1024));
    }
}
