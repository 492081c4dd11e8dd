//! Where new slots come from: chunks of memory, cut into spans, one span for one thread.

use super::asan;
use super::shape::Shape;
use crate::memory;
use crate::sync::{AtomicPtr, AtomicUsize, Ordering, hook};
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::{self, NonNull};

/// A pool's first chunk, if it is for small slots. It comes from the allocator, and lies apart from its head.
const SMALL_BYTES: usize = 1024;
/// The first chunk after that; each later one is twice as large, up to the size of a huge page.
const FIRST_BYTES: usize = if cfg!(coeval_loom) { 256 } else { 4096 };
/// A chunk for large slots is larger, so as to hold this many.
const LEAST_SLOTS: usize = if cfg!(coeval_loom) { 2 } else { 8 };
/// The most slots that one thread takes at a time.
const SPAN: usize = if cfg!(coeval_loom) { 2 } else { 32 };
/// A pool's slots never reach this number; the tags of [`super::batch`] rely on it.
pub(super) const MOST_SLOTS: u64 = 1 << 36;

/// The head of a chunk; its slots follow it.
struct Chunk {
    /// The chunk that was newest before this one.
    older: *mut Chunk,
    bytes: usize,
    first: NonNull<u8>,
    slots: usize,
    /// How many slots were handed out; beyond `slots` once the chunk is used up.
    cursor: AtomicUsize,
}

/// Whole cache lines, so that the slots after it are aligned to 64 bytes.
const HEAD: usize = size_of::<Chunk>().next_multiple_of(64);

impl Chunk {
    /// Cuts off the next span, or `None` if the chunk is used up.
    fn cut(&self, shape: &Shape) -> Option<Span> {
        // A small chunk is shared by several threads, as a large one is.
        let want = (self.slots / 8).clamp(1, SPAN);
        let first = self.advance(want);
        let left = want.min(self.slots.checked_sub(first)?);
        // SAFETY: `first <= slots`, so this is within the chunk or just behind it.
        let next = unsafe { self.first.add(shape.offset(first)) };
        (left > 0).then_some(Span { next, left })
    }

    /// Counts `slots` more as handed out, and returns how many were before.
    fn advance(&self, slots: usize) -> usize {
        // Relaxed: the addition alone makes the ranges disjoint, and what the slots hold is of no
        // interest. It cannot wrap: whoever comes too late adds once, then goes to a newer chunk.
        if hook::mutant("pool.cut_in_two_steps") {
            let before = self.cursor.load(Ordering::Relaxed);
            self.cursor.store(before + slots, Ordering::Relaxed);
            return before;
        }
        self.cursor.fetch_add(slots, Ordering::Relaxed)
    }
}

/// Slots that lie side by side and that were never taken.
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
    /// The first slot and what remains of the span.
    #[inline(always)]
    pub(super) fn split_first(self, shape: &Shape) -> Option<(NonNull<u8>, Span)> {
        let left = self.left.checked_sub(1)?;
        // SAFETY: a span of at least one slot; the end of its chunk is not passed.
        let next = unsafe { self.next.add(shape.step(self.next)) };
        Some((self.next, Span { next, left }))
    }
}

/// All chunks of a pool.
pub(super) struct Chunks {
    newest: AtomicPtr<Chunk>,
    bytes: AtomicUsize,
}

impl Chunks {
    /// No chunk yet.
    pub(super) fn new() -> Self {
        Self { newest: AtomicPtr::new(ptr::null_mut()), bytes: AtomicUsize::new(0) }
    }

    /// The memory in all chunks.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed) // Relaxed: a figure to look at.
    }

    /// A span that nobody else gets. `shape`, here and below, is the pool's.
    pub(super) fn span(&self, shape: &Shape) -> Span {
        // Acquire: pairs with the CAS in `add`: the chunk's head is written.
        let mut newest = self.newest.load(Ordering::Acquire);
        loop {
            // SAFETY: a chunk lives as long as the pool.
            if let Some(span) = unsafe { newest.as_ref() }.and_then(|chunk| chunk.cut(shape)) {
                return span;
            }
            newest = self.add(newest, shape);
        }
    }

    /// Publishes a chunk after `newest`, unless another thread did; returns the one after it.
    #[cold]
    fn add(&self, newest: *mut Chunk, shape: &Shape) -> *mut Chunk {
        let small = if newest.is_null() { Self::small(shape) } else { None };
        let fresh = small.unwrap_or_else(|| self.map(newest, shape));
        // Release: the chunk's head is written for those who load it in `span` or here (Acquire).
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

    /// The layout of a small chunk, if the slots are small.
    fn small_layout(shape: &Shape) -> Option<Layout> {
        let bytes = shape.bytes(LEAST_SLOTS);
        let bytes = if bytes > SMALL_BYTES / 2 { bytes } else { SMALL_BYTES / 2 };
        let is_small = bytes <= SMALL_BYTES && !cfg!(coeval_loom);
        is_small.then(|| Layout::from_size_align(bytes, shape.align().max(64)).ok()).flatten()
    }

    /// A small first chunk.
    fn small(shape: &Shape) -> Option<*mut Chunk> {
        let layout = Self::small_layout(shape)?;
        // SAFETY: the size is not zero.
        let Some(first) = NonNull::new(unsafe { alloc_zeroed(layout) }) else {
            handle_alloc_error(layout);
        };
        asan::forbid(first.as_ptr(), layout.size());
        first.as_ptr().expose_provenance(); // for what lies apart from its slot
        let (bytes, slots) = (layout.size(), shape.slots_in(layout.size()));
        let cursor = AtomicUsize::new(0);
        Some(Box::into_raw(Box::new(Chunk { older: ptr::null_mut(), bytes, first, slots, cursor })))
    }

    /// A new chunk to follow `older`, which may be null.
    fn map(&self, older: *mut Chunk, shape: &Shape) -> *mut Chunk {
        // SAFETY: a chunk lives as long as the pool.
        let double = unsafe { older.as_ref() }.map_or(0, |older| 2 * older.bytes);
        // The first group begins at a multiple of its size.
        let most_head = HEAD + shape.align();
        let least = (most_head + shape.bytes(LEAST_SLOTS)).next_power_of_two();
        let bytes = double.clamp(FIRST_BYTES, memory::HUGE).max(least);
        if shape.slots_in(self.bytes()) as u64 >= MOST_SLOTS / 2 {
            // Half the bound leaves room for those who add a chunk at the same time.
            handle_alloc_error(Layout::new::<Chunk>());
        }
        let memory = memory::map_zeroed(bytes);
        let head = HEAD + (memory.as_ptr().addr() + HEAD).wrapping_neg() % shape.align();
        let slots = shape.slots_in(bytes - head);
        // SAFETY: `head < bytes`, as `least` counts it in.
        let first = unsafe { memory.add(head) };
        asan::forbid(first.as_ptr(), bytes - head);
        memory.as_ptr().expose_provenance(); // for what lies apart from its slot
        let chunk = memory.cast::<Chunk>().as_ptr();
        // SAFETY: the memory is ours alone, aligned to 64 bytes, and holds `HEAD` bytes and more.
        unsafe { chunk.write(Chunk { older, bytes, first, slots, cursor: AtomicUsize::new(0) }) };
        chunk
    }

    /// # Safety
    /// `chunk` came from `map` or `small`, and nobody uses it or its slots any more.
    unsafe fn unmap(chunk: *mut Chunk, shape: &Shape) {
        // SAFETY: the caller's promise; `map` wrote the head and mapped this many bytes. Less than a page is a small chunk's,
        // which `small` made.
        unsafe {
            let bytes = (*chunk).bytes;
            if let Some(layout) = Self::small_layout(shape)
                && layout.size() == bytes
            {
                let first = Box::from_raw(chunk).first.as_ptr();
                asan::allow(first, bytes);
                return dealloc(first, layout);
            }
            ptr::drop_in_place(chunk);
            let memory = NonNull::new_unchecked(chunk.cast::<u8>());
            asan::allow(memory.as_ptr(), bytes);
            memory::unmap(memory, bytes);
        }
    }

    /// Frees all chunks. Nobody uses a slot any more.
    pub(super) fn free(&mut self, shape: &Shape) {
        let mut chunk = self.newest.swap(ptr::null_mut(), Ordering::Relaxed); // Relaxed: `&mut self` is exclusive.
        while !chunk.is_null() {
            // SAFETY: with the pool dropped nobody uses a slot; `older` is read before.
            unsafe {
                let older = (*chunk).older;
                Self::unmap(chunk, shape);
                chunk = older;
            }
        }
    }
}
