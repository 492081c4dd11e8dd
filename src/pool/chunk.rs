//! New slots: chunks of memory, divided into spans. Each span goes to one thread.
//!
//! A slot has a number for life, which leads to its address by one table of 64 addresses. The upper
//! six bits of a number are those of its chunk, from 1 on, and the others count within the chunk.
//! Each chunk is twice as large as the one before, up to all numbers that it may have. The system
//! gives a chunk's pages when they are first used, so the unused part of the newest chunk takes no
//! memory. The pool's homes are the last chunks, which are contiguous.

use super::asan;
use super::{Shape, max, memory_of};
use crate::memory;
use crate::sync::{AtomicU64, AtomicUsize, Ordering, hook};
use crossbeam_utils::CachePadded;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::num::NonZeroU32;
use std::ptr::NonNull;

/// The number of chunks, one more than there are.
pub(super) const CHUNKS: usize = 64;
/// The width of a slot's number within its chunk.
pub(super) const CHUNK_BITS: u32 = u32::BITS - CHUNKS.ilog2();

/// A pool's first chunk has about this many bytes, if its slots are small.
const FIRST_BYTES: usize = if cfg!(coeval_loom) { 64 } else { 512 };
/// A chunk holds at least this many slots, even if they are large.
const MIN_SLOTS: usize = if cfg!(coeval_loom) { 2 } else { 8 };

/// The largest number of slots in a span.
const SPAN_SLOTS: usize = if cfg!(coeval_loom) { 2 } else { 32 };
/// A pool has no more slots than this. The proof in [`super::batch`] depends on it.
pub(super) const MAX_SLOTS: u64 = 1 << u32::BITS;

/// Contiguous slots that were never taken.
#[derive(Clone, Copy)]
pub(super) struct Span {
    next: NonNull<u8>,
    left: usize,
}

impl Default for Span {
    fn default() -> Self {
        Self { next: NonNull::dangling(), left: 0 }
    }
}

impl Span {
    /// Returns the first slot and the remaining span.
    #[inline(always)]
    pub(super) fn split_first(self, shape: &Shape) -> Option<(NonNull<u8>, Span)> {
        let left = self.left.checked_sub(1)?;
        // SAFETY: the span has at least one slot, so the address is at most the end of its chunk.
        let next = unsafe { self.next.add(shape.step(self.next)) };
        Some((self.next, Span { next, left }))
    }
}

/// All chunks of a pool. `shape`, here and below, is the pool's.
pub(super) struct Chunks {
    /// By chunk: the address that a slot with the number 0 would have, if the slots of the chunk
    /// went on below it; 0 if there is no such chunk. The entry 0 is not used.
    origins: [AtomicUsize; CHUNKS],
    /// The first chunk of the pool's homes, and their size.
    homes: (usize, usize),
    /// How far slots were handed out, as a [`Cut`]. Look-ups read the origins, so they share no line
    /// with it.
    cut: CachePadded<AtomicU64>,
}

/// The newest chunk, and the number of its slots that were handed out. This exceeds the number of
/// its slots once the chunk is used up.
#[derive(Clone, Copy)]
struct Cut {
    chunk: usize,
    slots: usize,
}

impl Cut {
    fn unpack(word: u64) -> Self {
        Self { chunk: (word >> 32) as usize, slots: word as u32 as usize }
    }

    fn pack(self) -> u64 {
        (self.chunk as u64) << 32 | self.slots as u64
    }
}

impl Chunks {
    /// Creates an empty list of chunks.
    pub(super) fn new() -> Self {
        Self {
            origins: std::array::from_fn(|_| AtomicUsize::new(0)),
            homes: (CHUNKS, 0),
            cut: CachePadded::new(AtomicU64::new(Cut { chunk: 1, slots: 0 }.pack())),
        }
    }

    /// Returns the size of the memory that was handed out, in whole pages of the size that the
    /// system uses.
    pub(super) fn bytes(&self, shape: &Shape) -> usize {
        let cut = Cut::unpack(self.cut.load(Ordering::Relaxed)); // Relaxed: a statistic.
        let bytes = |chunk: usize| match self.origins[chunk].load(Ordering::Relaxed) {
            0 => 0,
            _ if chunk < cut.chunk => shape.chunk_bytes(chunk),
            _ => {
                let (used, all) = (shape.bytes(cut.slots), shape.chunk_bytes(chunk));
                used.max(1).next_multiple_of(memory::HUGE).min(all)
            }
        };
        (1..=cut.chunk).map(bytes).sum()
    }

    /// Returns the address of the slot with this number.
    #[inline(always)]
    pub(super) fn address(&self, shape: &Shape, number: NonZeroU32) -> usize {
        let number = number.get() as usize;
        // Relaxed: the caller has the number from a thread that took a slot of this chunk, and that
        // loaded the origin before, in `span` (Acquire).
        let origin = self.origins[number >> CHUNK_BITS].load(Ordering::Relaxed);
        origin.wrapping_add(shape.distance(number))
    }

    /// Returns the number of the slot at this address.
    #[inline(always)]
    pub(super) fn number(&self, shape: &Shape, slot: usize) -> NonZeroU32 {
        let (homes, bytes) = self.homes;
        if bytes != 0
            && let Some(number) = self.number_within(shape, homes, bytes, slot)
        {
            return number;
        }
        // Relaxed: as in `address`. The newest chunk comes first, as it has half of all slots.
        let mut chunk = Cut::unpack(self.cut.load(Ordering::Relaxed)).chunk;
        let mut bytes = shape.chunk_bytes(chunk);
        loop {
            if let Some(number) = self.number_within(shape, chunk, bytes, slot) {
                return number;
            }
            bytes = if chunk > shape.chunks_that_double() { bytes } else { bytes / 2 };
            chunk -= 1;
            assert!(chunk > 0, "a slot of this pool");
        }
    }

    /// Returns the number of the slot at this address, if it is in this chunk, of this size.
    #[inline(always)]
    fn number_within(
        &self,
        shape: &Shape,
        chunk: usize,
        bytes: usize,
        slot: usize,
    ) -> Option<NonZeroU32> {
        // Relaxed: as in `address`.
        let origin = self.origins[chunk % CHUNKS].load(Ordering::Relaxed);
        let distance = slot.wrapping_sub(origin.wrapping_add(shape.distance(first_number(chunk))));
        if distance >= bytes {
            return None;
        }
        NonZeroU32::new((first_number(chunk) + shape.number_at(distance)) as u32)
    }

    /// Numbers the pool's homes, which are at this address and take this much memory.
    pub(super) fn number_homes(&mut self, shape: &Shape, address: usize, bytes: usize) {
        let first = CHUNKS - chunks_of_homes(shape, bytes);
        self.homes = (first, bytes);
        let origin = address.wrapping_sub(shape.distance(first_number(first)));
        self.origins[first..].fill_with(|| AtomicUsize::new(origin));
    }

    /// Takes a span that no other thread gets.
    pub(super) fn span(&self, shape: &Shape) -> Span {
        loop {
            // Acquire: pairs with the CAS in `add`. Whoever sees a chunk here sees its origin.
            let seen = Cut::unpack(self.cut.load(Ordering::Acquire));
            let origin = &self.origins[seen.chunk];
            // Acquire: pairs with the CAS in `make`, for the first chunk.
            if origin.load(Ordering::Acquire) == 0 {
                self.make(shape, seen.chunk);
            }
            // Several threads share even a small chunk, so a span is at most an eighth of it.
            let want = (shape.chunk_slots(seen.chunk) / 8).clamp(1, SPAN_SLOTS);
            let Cut { chunk, slots: first } = self.advance(want);
            let left = shape.chunk_slots(chunk).saturating_sub(first);
            if left > 0 {
                let next = self.slot(shape, chunk, first);
                return Span { next, left: want.min(left) };
            }
            self.add(shape, chunk);
        }
    }

    /// Adds `slots` to the number of slots handed out, and returns what it was before.
    fn advance(&self, slots: usize) -> Cut {
        // Relaxed would do for the slots: the addition alone makes the ranges disjoint. It cannot
        // wrap: a thread that is too late adds once, then uses a newer chunk. Acquire: as in
        // `span`, if there is a newer chunk by now.
        Cut::unpack(if hook::mutant("pool.cut_in_two_steps") {
            let before = self.cut.load(Ordering::Acquire);
            hook::lapse();
            self.cut.store(before + slots as u64, Ordering::Relaxed);
            before
        } else {
            self.cut.fetch_add(slots as u64, Ordering::Acquire)
        })
    }

    /// Returns a slot of a chunk, by its place in there.
    fn slot(&self, shape: &Shape, chunk: usize, place: usize) -> NonNull<u8> {
        let origin = self.origins[chunk].load(Ordering::Relaxed); // Relaxed: seen before.
        let first = origin.wrapping_add(shape.distance(first_number(chunk)));
        let slot = memory_of(first + shape.offset(place));
        NonNull::new(slot).expect("a chunk is not at address 0")
    }

    /// Goes on to the chunk after this one, unless another thread has.
    #[cold]
    fn add(&self, shape: &Shape, used_up: usize) {
        let chunk = used_up + 1;
        if chunk >= self.homes.0 {
            handle_alloc_error(shape.chunk_layout(used_up)); // All numbers are in use.
        }
        if !hook::mutant("pool.chunk_before_origin") {
            self.make(shape, chunk);
        }
        let mut word = self.cut.load(Ordering::Relaxed); // Relaxed: only compared.
        while Cut::unpack(word).chunk == used_up {
            let next = Cut { chunk, slots: 0 }.pack();
            // Release: publishes the origin to threads that load the cut (Acquire). Later additions
            // are read-modify-writes, so they continue the release sequence.
            match self.cut.compare_exchange(word, next, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return hook::step("pool.chunk_added"),
                Err(now) => word = now,
            }
        }
    }

    /// Makes a chunk, unless another thread has.
    #[cold]
    fn make(&self, shape: &Shape, chunk: usize) {
        let fresh = map(shape, chunk);
        let first = shape.distance(first_number(chunk));
        let origin = fresh.as_ptr().expose_provenance().wrapping_sub(first);
        // Release: publishes the memory, which is zeroed, to threads that load the origin. Acquire:
        // for that of the winner.
        let publish =
            self.origins[chunk].compare_exchange(0, origin, Ordering::AcqRel, Ordering::Acquire);
        if publish.is_err() {
            // SAFETY: mapped above and never published.
            unsafe { unmap(shape, chunk, fresh) };
        }
    }

    /// Frees all chunks. The caller ensures that no slot is in use.
    pub(super) fn free(&mut self, shape: &Shape) {
        for chunk in 1..self.homes.0 {
            // Relaxed: `&mut self` is exclusive.
            if self.origins[chunk].load(Ordering::Relaxed) != 0 {
                let first = self.slot(shape, chunk, 0);
                // SAFETY: the pool is dropped, so no slot is in use.
                unsafe { unmap(shape, chunk, first) };
                self.origins[chunk].store(0, Ordering::Relaxed);
            }
        }
    }
}

/// Returns the smallest number in a chunk.
const fn first_number(chunk: usize) -> usize {
    chunk << CHUNK_BITS
}

/// Returns the number of chunks that homes of this size take.
pub(super) const fn chunks_of_homes(shape: &Shape, bytes: usize) -> usize {
    shape.number_at(bytes).div_ceil(1 << CHUNK_BITS)
}

/// Whether a chunk is so small that the allocator serves it. Only the first one may be: a stopped
/// thread may hold the allocator's locks.
fn is_small(shape: &Shape, chunk: usize) -> bool {
    chunk == 1 && shape.chunk_bytes(chunk) < memory::PAGE
}

/// The size of the pages of a chunk that is not small. They are aligned to a page, which suffices
/// for groups of any shape.
fn mapped_bytes(shape: &Shape, chunk: usize) -> usize {
    shape.chunk_bytes(chunk).max(memory::PAGE)
}

/// Maps the memory of a chunk.
fn map(shape: &Shape, chunk: usize) -> NonNull<u8> {
    let (layout, bytes) = (shape.chunk_layout(chunk), shape.chunk_bytes(chunk));
    let memory = if is_small(shape, chunk) {
        // SAFETY: the size is not zero.
        NonNull::new(unsafe { alloc_zeroed(layout) })
    } else {
        memory::try_map_zeroed(mapped_bytes(shape, chunk))
    };
    let memory = memory.unwrap_or_else(|| handle_alloc_error(layout));
    asan::poison(memory.as_ptr(), bytes);
    memory
}

/// # Safety
/// `memory` came from `map`, for this chunk, and no thread uses it any more.
unsafe fn unmap(shape: &Shape, chunk: usize, memory: NonNull<u8>) {
    asan::unpoison(memory.as_ptr(), shape.chunk_bytes(chunk));
    // SAFETY: the caller's promise.
    unsafe {
        if is_small(shape, chunk) {
            dealloc(memory.as_ptr(), shape.chunk_layout(chunk));
        } else {
            memory::unmap(memory, mapped_bytes(shape, chunk));
        }
    }
}

impl Shape {
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

    /// The layout of a chunk.
    fn chunk_layout(&self, chunk: usize) -> Layout {
        Layout::from_size_align(self.chunk_bytes(chunk), self.align().max(64))
            .expect("a size below isize::MAX")
    }
}
