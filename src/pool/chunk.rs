//! New slots: chunks of memory, divided into spans. Each span goes to one thread.

use super::Shape;
use super::asan;
use crate::memory;
use crate::sync::{AtomicPtr, AtomicUsize, Ordering, hook};
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::{self, NonNull};

/// The size of a pool's first chunk, if its slots are small. This chunk comes from the allocator,
/// and its head is allocated separately.
const SMALL_BYTES: usize = 1024;
/// The size of the first mapped chunk. Each later one is twice as large, up to the pool's limit.
const FIRST_BYTES: usize = if cfg!(coeval_loom) { 256 } else { 4096 };
/// A chunk holds at least this many slots, even if they are large.
const MIN_SLOTS: usize = if cfg!(coeval_loom) { 2 } else { 8 };
/// The largest number of slots in a span.
const SPAN_SLOTS: usize = if cfg!(coeval_loom) { 2 } else { 32 };
/// A pool has fewer slots than this. The proof in [`super::batch`] depends on it.
pub(super) const MAX_SLOTS: u64 = 1 << 36;

/// The head of a chunk. The slots follow it, except in a small chunk.
struct Chunk {
    /// The next older chunk.
    older: *mut Chunk,
    bytes: usize,
    first: NonNull<u8>,
    slots: usize,
    /// 1 for the oldest chunk, and one more for each later one.
    place: usize,
    /// The number of slots handed out. It exceeds `slots` once the chunk is used up.
    cursor: AtomicUsize,
}

/// The head's size in whole cache lines, so that the slots after it are aligned to 64 bytes.
const HEAD: usize = size_of::<Chunk>().next_multiple_of(64);

impl Chunk {
    /// Takes the next span, or returns `None` if the chunk is used up.
    fn take_span(&self, shape: &Shape) -> Option<Span> {
        // Several threads share even a small chunk, so a span is at most an eighth of it.
        let want = (self.slots / 8).clamp(1, SPAN_SLOTS);
        let first = self.advance(want);
        let left = want.min(self.slots.checked_sub(first)?);
        // SAFETY: `first <= slots`, so the address is within the chunk or at its end.
        let next = unsafe { self.first.add(shape.offset(first)) };
        (left > 0).then_some(Span { next, left })
    }

    /// Adds `slots` to the number of slots handed out, and returns the previous number.
    fn advance(&self, slots: usize) -> usize {
        // Relaxed: the addition alone makes the ranges disjoint, and the content of the slots does
        // not matter. It cannot wrap: a thread that is too late adds once, then uses a newer chunk.
        if hook::mutant("pool.cut_in_two_steps") {
            let before = self.cursor.load(Ordering::Relaxed);
            hook::lapse();
            self.cursor.store(before + slots, Ordering::Relaxed);
            return before;
        }
        self.cursor.fetch_add(slots, Ordering::Relaxed)
    }
}

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

/// All chunks of a pool.
pub(super) struct Chunks {
    newest: AtomicPtr<Chunk>,
    bytes: AtomicUsize,
    limits: Limits,
}

/// How large chunks may be, and how many there may be.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) bytes: usize,
    pub(super) chunks: usize,
}

/// A chunk, as [`Chunks::visit`] shows it.
pub(super) struct Range {
    /// 1 for the oldest chunk, and one more for each later one.
    pub(super) place: usize,
    /// The address of the first slot.
    pub(super) first: usize,
    /// The size of all slots.
    pub(super) bytes: usize,
}

impl Chunks {
    /// Creates an empty list of chunks.
    pub(super) fn new() -> Self {
        let limits = Limits { bytes: memory::HUGE, chunks: usize::MAX };
        Self { newest: AtomicPtr::new(ptr::null_mut()), bytes: AtomicUsize::new(0), limits }
    }

    /// Returns the size of all chunks, without the huge pages of the newest one that were not used.
    pub(super) fn bytes(&self, shape: &Shape) -> usize {
        let all = self.bytes.load(Ordering::Relaxed); // Relaxed: a statistic.
        // SAFETY: a chunk lives as long as the pool. Acquire: as in `span`.
        let Some(newest) = (unsafe { self.newest.load(Ordering::Acquire).as_ref() }) else {
            return all;
        };
        let used = newest.cursor.load(Ordering::Relaxed).min(newest.slots);
        let used = (HEAD + shape.align() + shape.bytes(used)).next_multiple_of(memory::HUGE);
        all - newest.bytes.saturating_sub(used).min(all)
    }

    /// Sets the limits of chunks to come.
    pub(super) fn limit(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Visits all chunks, from the newest to the oldest.
    pub(super) fn visit(&self, shape: &Shape, mut each: impl FnMut(Range)) {
        // Acquire: pairs with the CAS in `add`.
        let mut next = self.newest.load(Ordering::Acquire);
        // SAFETY: a chunk lives as long as the pool.
        while let Some(chunk) = unsafe { next.as_ref() } {
            let (first, bytes) = (chunk.first.as_ptr().addr(), shape.bytes(chunk.slots));
            each(Range { place: chunk.place, first, bytes });
            next = chunk.older;
        }
    }

    /// Takes a span that no other thread gets. `shape`, here and below, is the pool's.
    pub(super) fn span(&self, shape: &Shape) -> Span {
        // Acquire: pairs with the CAS in `add`, which publishes the chunk's head.
        let mut newest = self.newest.load(Ordering::Acquire);
        loop {
            // SAFETY: a chunk lives as long as the pool.
            if let Some(span) = unsafe { newest.as_ref() }.and_then(|chunk| chunk.take_span(shape))
            {
                return span;
            }
            newest = self.add(newest, shape);
        }
    }

    /// Publishes a chunk after `newest`, unless another thread has. Returns the chunk after it.
    #[cold]
    fn add(&self, newest: *mut Chunk, shape: &Shape) -> *mut Chunk {
        let small = if newest.is_null() { Self::make_small(shape) } else { None };
        let fresh = small.unwrap_or_else(|| self.map(newest, shape));
        // Release: publishes the chunk's head to threads that load it in `span` or here (Acquire).
        let publish =
            self.newest.compare_exchange(newest, fresh, Ordering::AcqRel, Ordering::Acquire);
        match publish {
            Ok(_) => {
                // SAFETY: published just now; chunks live as long as the pool.
                let bytes = unsafe { (*fresh).bytes };
                self.bytes.fetch_add(bytes, Ordering::Relaxed); // Relaxed: see `bytes`.
                hook::step("pool.chunk_added");
                fresh
            }
            Err(winner) => {
                // SAFETY: mapped above and never published.
                unsafe { Self::unmap(fresh, shape) };
                winner
            }
        }
    }

    /// Returns the layout of a small chunk, if the slots are small.
    fn small_layout(shape: &Shape) -> Option<Layout> {
        let bytes = shape.bytes(MIN_SLOTS);
        let bytes = if bytes > SMALL_BYTES / 2 { bytes } else { SMALL_BYTES / 2 };
        let is_small = bytes <= SMALL_BYTES && !cfg!(coeval_loom);
        is_small.then(|| Layout::from_size_align(bytes, shape.align().max(64)).ok()).flatten()
    }

    /// Allocates a small first chunk, if the slots are small.
    fn make_small(shape: &Shape) -> Option<*mut Chunk> {
        let layout = Self::small_layout(shape)?;
        // SAFETY: the size is not zero.
        let Some(first) = NonNull::new(unsafe { alloc_zeroed(layout) }) else {
            handle_alloc_error(layout);
        };
        asan::poison(first.as_ptr(), layout.size());
        first.as_ptr().expose_provenance(); // For the second parts, see `Shape::parts`.
        let (bytes, slots) = (layout.size(), shape.slots_in(layout.size()));
        let (older, cursor) = (ptr::null_mut(), AtomicUsize::new(0));
        Some(Box::into_raw(Box::new(Chunk { older, bytes, first, slots, place: 1, cursor })))
    }

    /// Maps a new chunk that follows `older`, which may be null.
    fn map(&self, older: *mut Chunk, shape: &Shape) -> *mut Chunk {
        // SAFETY: a chunk lives as long as the pool.
        let (double, place) = unsafe { older.as_ref() }
            .map_or((0, 1), |older| (older.bytes.saturating_mul(2), older.place + 1));
        // The first group begins at a multiple of its size, which may lengthen the head.
        let most_head = HEAD + shape.align();
        let least = (most_head + shape.bytes(MIN_SLOTS)).next_power_of_two();
        let bytes = double.clamp(FIRST_BYTES, self.limits.bytes).max(least);
        let all = self.bytes.load(Ordering::Relaxed); // Relaxed: only a bound.
        // Half the bound leaves a margin for threads that add a chunk at the same time.
        let is_last = shape.slots_in(all) as u64 >= MAX_SLOTS / 2 || place > self.limits.chunks;
        let (memory, bytes) = if is_last { None } else { Self::map_at_most(bytes, least) }
            .unwrap_or_else(|| handle_alloc_error(Layout::new::<Chunk>()));
        let head = HEAD + (memory.as_ptr().addr() + HEAD).wrapping_neg() % shape.align();
        let slots = shape.slots_in(bytes - head);
        // SAFETY: `head < bytes`, since `least` includes the longest head.
        let first = unsafe { memory.add(head) };
        asan::poison(first.as_ptr(), bytes - head);
        memory.as_ptr().expose_provenance(); // For the second parts, see `Shape::parts`.
        let chunk = memory.cast::<Chunk>().as_ptr();
        // SAFETY: the memory is exclusively owned, aligned to 64 bytes, and larger than `HEAD`.
        unsafe {
            let cursor = AtomicUsize::new(0);
            chunk.write(Chunk { older, bytes, first, slots, place, cursor });
        }
        chunk
    }

    /// Maps `most` bytes or, if the system refuses that, fewer, but at least `least`. The system
    /// gives a page when it is first used, but it may have to keep room for all of them.
    fn map_at_most(most: usize, least: usize) -> Option<(NonNull<u8>, usize)> {
        let sizes = std::iter::successors(Some(most), |bytes| Some(bytes / 2));
        let mut sizes = sizes.take_while(|bytes| *bytes >= least.max(FIRST_BYTES));
        sizes.find_map(|bytes| Some((memory::try_map_zeroed(bytes)?, bytes)))
    }

    /// # Safety
    /// `chunk` came from `map` or `make_small`, and no thread uses it or its slots any more.
    unsafe fn unmap(chunk: *mut Chunk, shape: &Shape) {
        // SAFETY: the caller's promise. `map` wrote the head and mapped this many bytes. A chunk of
        // less than a page is a small one, which `make_small` made.
        unsafe {
            let bytes = (*chunk).bytes;
            if let Some(layout) = Self::small_layout(shape)
                && layout.size() == bytes
            {
                let first = Box::from_raw(chunk).first.as_ptr();
                asan::unpoison(first, bytes);
                return dealloc(first, layout);
            }
            ptr::drop_in_place(chunk);
            let memory = NonNull::new_unchecked(chunk.cast::<u8>());
            asan::unpoison(memory.as_ptr(), bytes);
            memory::unmap(memory, bytes);
        }
    }

    /// Frees all chunks. The caller ensures that no slot is in use.
    pub(super) fn free(&mut self, shape: &Shape) {
        // Relaxed: `&mut self` is exclusive.
        let mut chunk = self.newest.swap(ptr::null_mut(), Ordering::Relaxed);
        while !chunk.is_null() {
            // SAFETY: the pool is dropped, so no slot is in use; `older` is read before.
            unsafe {
                let older = (*chunk).older;
                Self::unmap(chunk, shape);
                chunk = older;
            }
        }
    }
}
