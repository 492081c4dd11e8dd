//! A pool of slots of one size, densely packed. Taking a slot and giving it back need no lock and,
//! once the pool has grown to the number of slots in use, no system allocator.
//!
//! Records and versions live here. The slots of a chunk are contiguous, which reduces TLB misses. A
//! thread that is stopped inside the system's allocator could block others, so no write may depend
//! on that allocator.
//!
//! Every thread has a [`Magazine`]: a list of free slots from which it takes (*outgoing*), a list
//! of slots that it gave back (*incoming*), and a *span* of slots that were never used. A full
//! incoming list goes, as one batch, to a stack that all threads share ([`batch`]), so that slots
//! do not pile up with a thread that only gives back. New spans come from [`chunk`]. A pool with a
//! known number of slots may have [`homes`] for them.
//!
//! A slot may have two parts: one that every look-up reads, and the rest; see [`Shape`].
//!
//! A slot on the shared stack was given back after a grace period. It was never put back directly
//! after it was taken ([`Pool::put_back`] keeps it with its thread). The proof in [`batch`] that no
//! pop takes the wrong batch depends on that.

mod asan;
mod batch;
mod chunk;
mod homes;
mod typed;

use crate::memory;
use crate::sync::lazy_array::LazyArray;
use crate::sync::per_thread::PerThread;
use batch::{BATCH, Batches, FreeSlot, HeaderNumber};
use chunk::{Chunks, Span};
use homes::Homes;
use std::alloc::Layout;
use std::cell::Cell;
use std::ptr::{self, NonNull};
pub use typed::{PoolOf, Pooled};

/// The number of headers without a batch that a thread keeps.
const HEADERS_KEPT: u32 = if cfg!(coeval_loom) { 1 } else { 8 };

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

/// A pool of slots of one layout. The pool allocates nothing before the first slot is taken, and
/// returns no memory to the system before it is dropped.
pub struct Pool {
    shape: Shape,
    homes: Option<Homes>,
    chunks: Chunks,
    /// Made when the first batch is shared, since many pools stay small.
    batches: LazyArray<Batches, 1>,
    magazines: PerThread<Magazine>,
}

/// The slots of one thread. The lists are linked through their slots.
#[derive(Default)]
struct Magazine {
    outgoing: Cell<Option<NonNull<FreeSlot>>>,
    incoming: Cell<Option<NonNull<FreeSlot>>>,
    /// The length of `incoming`.
    incoming_count: Cell<u32>,
    span: Cell<Span>,
    /// Headers without a batch, linked by `Batches::below`.
    headers: Cell<Option<HeaderNumber>>,
    /// The length of that list, or less.
    headers_kept: Cell<u32>,
}

// SAFETY: a magazine owns its slots, and the pointers are valid on any thread.
unsafe impl Send for Magazine {}

impl Drop for Pool {
    fn drop(&mut self) {
        self.chunks.free(&self.shape);
    }
}

impl Pool {
    /// Creates a pool of slots of this shape.
    pub fn new(shape: Shape) -> Self {
        Self {
            shape,
            homes: None,
            chunks: Chunks::new(),
            batches: LazyArray::new(),
            magazines: PerThread::new(),
        }
    }

    /// Creates a pool with homes for `slots` slots, if there is memory for them.
    pub fn with_homes(shape: Shape, slots: usize) -> Self {
        let mut pool = Self::new(shape);
        pool.homes = Homes::new(&shape, slots);
        pool
    }

    /// Returns an address at or shortly before the start of the slot that `take_at` likely takes
    /// for this hash, in the same cache line. `shape` is the pool's; passing it lets the compiler
    /// treat it as a constant.
    #[inline(always)]
    pub fn home(&self, shape: &Shape, hash: u32) -> Option<*const u8> {
        Some(self.homes.as_ref()?.home(shape, hash))
    }

    /// Takes an uninitialised slot, at the home of a hash if that has room.
    ///
    /// # Safety
    /// As for [`take`](Self::take).
    pub unsafe fn take_at(&self, hash: u32) -> NonNull<u8> {
        let Some(slot) = self.homes.as_ref().and_then(|homes| homes.take(&self.shape, hash)) else {
            // SAFETY: the caller's promise.
            return unsafe { self.take() };
        };
        self.unpoison(slot);
        slot
    }

    #[inline(always)]
    fn unpoison(&self, slot: NonNull<u8>) {
        for (start, bytes) in self.shape.parts(slot) {
            asan::unpoison(start, bytes);
        }
    }

    /// Takes an uninitialised slot.
    ///
    /// # Safety
    /// The caller holds a guard of the pool's reclaimer, the one whose grace period passes before
    /// any used slot comes back by [`give`](Self::give).
    #[inline]
    pub unsafe fn take(&self) -> NonNull<u8> {
        let mine = self.magazines.get();
        let slot = match mine.outgoing.get() {
            Some(slot) => {
                // SAFETY: this thread owns the list, and its slots are linked.
                mine.outgoing.set(unsafe { slot.as_ref() }.next);
                slot.cast()
            }
            // SAFETY: the caller's promise.
            None => unsafe { self.refill(mine) },
        };
        self.unpoison(slot);
        slot
    }

    /// Takes a slot when the outgoing list is empty.
    ///
    /// # Safety
    /// As for `take`.
    unsafe fn refill(&self, mine: &Magazine) -> NonNull<u8> {
        if let Some((slot, rest)) = mine.span.get().split_first(&self.shape) {
            mine.span.set(rest);
            return slot;
        }
        let mut list = mine.incoming.take();
        mine.incoming_count.set(0);
        if list.is_none() {
            list = self.batches.get(0).and_then(|batches| {
                // SAFETY: the caller's promise.
                let (header, slots) = unsafe { batches.pop() }?;
                Self::keep_header(batches, mine, header);
                Some(slots)
            });
        }
        match list {
            Some(slot) => {
                // SAFETY: this thread owns the list, and its slots are linked.
                mine.outgoing.set(unsafe { slot.as_ref() }.next);
                slot.cast()
            }
            None => {
                let span = self.chunks.span(&self.shape);
                let (slot, rest) = span.split_first(&self.shape).expect("a span has slots");
                mine.span.set(rest);
                slot
            }
        }
    }

    /// Gives back a slot that was not used.
    ///
    /// # Safety
    /// The slot was taken by this thread, and no other thread has ever seen it.
    #[inline]
    pub unsafe fn put_back(&self, slot: NonNull<u8>) {
        // SAFETY: the caller owns the slot and gives it up.
        if unsafe { self.give_home(slot) } {
            return;
        }
        let mine = self.magazines.get();
        // SAFETY: the caller owns the slot and gives it up.
        mine.outgoing.set(Some(unsafe { self.link(slot, mine.outgoing.get()) }));
    }

    /// Gives back a slot after its use.
    ///
    /// # Safety
    /// The slot was taken from this pool and retired, and a grace period of the reclaimer has
    /// passed since: no thread has access to it.
    #[inline]
    pub unsafe fn give(&self, slot: NonNull<u8>) {
        // SAFETY: the caller owns the slot and gives it up.
        if unsafe { self.give_home(slot) } {
            return;
        }
        let mine = self.magazines.get();
        // SAFETY: the caller owns the slot and gives it up.
        let list = unsafe { self.link(slot, mine.incoming.get()) };
        mine.incoming.set(Some(list));
        mine.incoming_count.set(mine.incoming_count.get() + 1);
        if mine.incoming_count.get() >= BATCH {
            self.share_incoming(mine, list);
        }
    }

    /// Frees a slot if it is one of the homes, and returns whether it is.
    ///
    /// # Safety
    /// The slot is of this pool, and no thread has access to it.
    #[inline(always)]
    unsafe fn give_home(&self, slot: NonNull<u8>) -> bool {
        let Some(homes) = self.homes.as_ref().filter(|homes| homes.contains(&self.shape, slot))
        else {
            return false;
        };
        // SAFETY: the slot is one of the homes; for the rest, the caller's promise.
        unsafe { homes.give(&self.shape, slot) };
        true
    }

    /// Links a free slot in front of a list.
    ///
    /// # Safety
    /// The slot is of this pool, and no thread has access to it.
    #[inline(always)]
    unsafe fn link(&self, slot: NonNull<u8>, next: Option<NonNull<FreeSlot>>) -> NonNull<FreeSlot> {
        let free = slot.cast::<FreeSlot>();
        // SAFETY: the slot is exclusively owned, and large and aligned enough (`Shape::plain`).
        unsafe { free.write(FreeSlot { next }) };
        let link = size_of::<FreeSlot>();
        let [(start, bytes), (rest, rest_bytes)] = self.shape.parts(slot);
        asan::poison(start.wrapping_add(link), bytes - link);
        asan::poison(rest, rest_bytes);
        free
    }

    /// Shares the incoming list, which begins with `list`, with all threads.
    #[cold]
    fn share_incoming(&self, mine: &Magazine, list: NonNull<FreeSlot>) {
        // Without a header, the list stays and grows.
        let batches = self.batches.get_or_make(0, Batches::new);
        if let Some(header) = Self::header(batches, mine) {
            mine.incoming.set(None);
            mine.incoming_count.set(0);
            batches.push(header, list);
        }
    }

    /// Returns a header without a batch: one of the thread's own, a released one, or a new one.
    fn header(batches: &Batches, mine: &Magazine) -> Option<HeaderNumber> {
        let Some(header) = mine.headers.get().or_else(|| batches.take_released_headers()) else {
            return batches.make_header();
        };
        mine.headers.set(batches.below(header));
        mine.headers_kept.set(mine.headers_kept.get().saturating_sub(1));
        Some(header)
    }

    /// Keeps the header of a popped batch, or releases it to other threads.
    fn keep_header(batches: &Batches, mine: &Magazine, header: HeaderNumber) {
        let kept = mine.headers_kept.get();
        if kept < HEADERS_KEPT {
            batches.set_below(header, mine.headers.replace(Some(header)));
            mine.headers_kept.set(kept + 1);
        } else {
            batches.release_header(header);
        }
    }

    /// Returns the size of the pool's memory.
    pub fn bytes(&self) -> usize {
        let homes = self.homes.as_ref().map_or(0, Homes::bytes);
        homes + self.chunks.bytes(&self.shape) + self.batches.get(0).map_or(0, Batches::bytes)
    }
}

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
    const fn distance(&self, number: usize) -> usize {
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
    const fn number_at(&self, distance: usize) -> usize {
        let (group, within) = (distance / self.group, distance % self.group);
        group * self.slots.next_power_of_two() + within / self.stride
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
mod tests;
