//! Slots of one size, densely packed, taken and given back without a lock and, once the pool has
//! grown to what is in use, without the system's allocator.
//!
//! Records and versions live here. Slots of one chunk lie side by side, which spares page-table
//! misses, and a thread that is stopped inside the system's allocator would stop others, so no
//! write may depend on it.
//!
//! Every thread has a [`Magazine`]: free slots that it takes from (*outgoing*), slots that were
//! given back by it (*incoming*), and a *span* of slots that were never used. A full incoming list
//! goes, as one batch, to a stack that all threads share ([`batch`]), so that slots do not pile up
//! with a thread that only gives back. New spans come from [`chunk`]. A pool of which it is known how many
//! slots it will have may have [`homes`] for them.
//!
//! A slot that comes to the shared stack was given back after a grace period, never put back
//! straight after it was taken ([`Pool::put_back`] keeps it with its thread). The argument why a
//! pop takes what it means to take, in [`batch`], rests on that.

mod asan;
mod batch;
mod chunk;
mod homes;
mod shape;

pub use shape::Shape;

use crate::sync::lazy_array::LazyArray;
use crate::sync::per_thread::PerThread;
use batch::{BATCH, Batches, Free, Number};
use chunk::{Chunks, Span};
use homes::Homes;
use std::cell::Cell;
use std::ptr::NonNull;

/// How many headers without a batch a thread keeps.
const HEADERS_KEPT: u32 = if cfg!(coeval_loom) { 1 } else { 8 };

/// A pool of slots of one layout. Nothing is allocated before the first is taken, and nothing goes
/// back to the system before the pool is dropped.
pub struct Pool {
    shape: Shape,
    homes: Option<Homes>,
    chunks: Chunks,
    /// Made when the first batch is shared: many a pool stays small.
    batches: LazyArray<Batches, 1>,
    magazines: PerThread<Magazine>,
}

/// What one thread has of a pool. The lists are linked through their slots.
#[derive(Default)]
struct Magazine {
    outgoing: Cell<Option<NonNull<Free>>>,
    incoming: Cell<Option<NonNull<Free>>>,
    /// The length of `incoming`.
    given: Cell<u32>,
    span: Cell<Span>,
    /// Headers without a batch, linked by `Batches::below`.
    headers: Cell<Option<Number>>,
    /// The length of that list, or less.
    headers_kept: Cell<u32>,
}

// SAFETY: the slots of a magazine are its own; the pointers work from any thread.
unsafe impl Send for Magazine {}

impl Drop for Pool {
    fn drop(&mut self) {
        self.chunks.free(&self.shape);
    }
}

impl Pool {
    /// A pool of slots of this shape.
    pub fn new(shape: Shape) -> Self {
        Self {
            shape,
            homes: None,
            chunks: Chunks::new(),
            batches: LazyArray::new(),
            magazines: PerThread::new(),
        }
    }

    /// The same, with homes for so many slots, if there is memory for them.
    pub fn with_homes(shape: Shape, slots: usize) -> Self {
        let mut pool = Self::new(shape);
        pool.homes = Homes::new(&shape, slots);
        pool
    }

    /// Where a slot that was taken by this hash is likely to begin, or shortly before that in the same line. `shape` is the
    /// pool's, told by the caller as a constant.
    #[inline(always)]
    pub fn home(&self, shape: &Shape, hash: u32) -> Option<*const u8> {
        Some(self.homes.as_ref()?.home(shape, hash))
    }

    /// A slot, uninitialised, at the home of a hash if there is room.
    ///
    /// # Safety
    /// As for [`take`](Self::take).
    pub unsafe fn take_at(&self, hash: u32) -> NonNull<u8> {
        let Some(slot) = self.homes.as_ref().and_then(|homes| homes.take(&self.shape, hash)) else {
            // SAFETY: the caller's promise.
            return unsafe { self.take() };
        };
        self.allow(slot);
        slot
    }

    fn allow(&self, slot: NonNull<u8>) {
        for (start, bytes) in self.shape.parts(slot) {
            asan::allow(start, bytes);
        }
    }

    /// A slot, uninitialised.
    ///
    /// # Safety
    /// The caller holds a guard of the reclaimer through whose grace periods all slots of this pool
    /// come back.
    #[inline]
    pub unsafe fn take(&self) -> NonNull<u8> {
        let mine = self.magazines.get();
        let slot = match mine.outgoing.get() {
            Some(slot) => {
                // SAFETY: the list is this thread's, and its slots are linked.
                mine.outgoing.set(unsafe { slot.as_ref() }.next);
                slot.cast()
            }
            // SAFETY: the caller's promise.
            None => unsafe { self.refill(mine) },
        };
        self.allow(slot);
        slot
    }

    /// A slot from elsewhere than the empty outgoing list.
    ///
    /// # Safety
    /// As for `take`.
    unsafe fn refill(&self, mine: &Magazine) -> NonNull<u8> {
        if let Some((slot, rest)) = mine.span.get().split_first(&self.shape) {
            mine.span.set(rest);
            return slot;
        }
        let mut list = mine.incoming.take();
        mine.given.set(0);
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
                // SAFETY: the list is this thread's, and its slots are linked.
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

    /// Gives back a slot that was not used after all.
    ///
    /// # Safety
    /// The slot was taken by this thread, and no other thread has ever seen it.
    #[inline]
    pub unsafe fn put_back(&self, slot: NonNull<u8>) {
        // SAFETY: the slot is the caller's, who gives it up.
        if unsafe { self.give_home(slot) } {
            return;
        }
        let mine = self.magazines.get();
        // SAFETY: the slot is the caller's, who gives it up.
        mine.outgoing.set(Some(unsafe { self.link(slot, mine.outgoing.get()) }));
    }

    /// Gives back a slot after it was used.
    ///
    /// # Safety
    /// The slot was taken from this pool, was retired, and a grace period of the reclaimer has
    /// passed since: nobody has access to it.
    #[inline]
    pub unsafe fn give(&self, slot: NonNull<u8>) {
        // SAFETY: the slot is the caller's, who gives it up.
        if unsafe { self.give_home(slot) } {
            return;
        }
        let mine = self.magazines.get();
        // SAFETY: the slot is the caller's, who gives it up.
        let list = unsafe { self.link(slot, mine.incoming.get()) };
        mine.incoming.set(Some(list));
        mine.given.set(mine.given.get() + 1);
        if mine.given.get() >= BATCH {
            self.share(mine, list);
        }
    }

    /// Makes a slot free if it is one of the homes.
    ///
    /// # Safety
    /// The slot is of this pool, and nobody has access to it.
    #[inline(always)]
    unsafe fn give_home(&self, slot: NonNull<u8>) -> bool {
        let Some(homes) = self.homes.as_ref().filter(|homes| homes.own(&self.shape, slot)) else {
            return false;
        };
        // SAFETY: one of these; the caller's promise.
        unsafe { homes.give(&self.shape, slot) };
        true
    }

    /// Makes a free slot the first of a list.
    ///
    /// # Safety
    /// The slot is of this pool, and nobody has access to it.
    #[inline(always)]
    unsafe fn link(&self, slot: NonNull<u8>, next: Option<NonNull<Free>>) -> NonNull<Free> {
        let free = slot.cast::<Free>();
        // SAFETY: the slot is nobody else's, and large and aligned enough (`new`).
        unsafe { free.write(Free { next }) };
        let link = size_of::<Free>();
        let [(start, bytes), (rest, rest_bytes)] = self.shape.parts(slot);
        asan::forbid(start.wrapping_add(link), bytes - link);
        asan::forbid(rest, rest_bytes);
        free
    }

    /// Leaves the incoming list, which begins with `list`, to all threads.
    #[cold]
    fn share(&self, mine: &Magazine, list: NonNull<Free>) {
        // Without a header the list stays and grows.
        let batches = self.batches.get_or_make(0, Batches::new);
        if let Some(header) = Self::header(batches, mine) {
            mine.incoming.set(None);
            mine.given.set(0);
            batches.push(header, list);
        }
    }

    /// A header without a batch: one of the thread's own, one that was left, or a new one.
    fn header(batches: &Batches, mine: &Magazine) -> Option<Number> {
        let Some(header) = mine.headers.get().or_else(|| batches.left_headers()) else {
            return batches.make_header();
        };
        mine.headers.set(batches.below(header));
        mine.headers_kept.set(mine.headers_kept.get().saturating_sub(1));
        Some(header)
    }

    /// Keeps the header of a batch that was popped, or leaves it to others.
    fn keep_header(batches: &Batches, mine: &Magazine, header: Number) {
        let kept = mine.headers_kept.get();
        if kept < HEADERS_KEPT {
            batches.set_below(header, mine.headers.replace(Some(header)));
            mine.headers_kept.set(kept + 1);
        } else {
            batches.leave_header(header);
        }
    }

    /// How much memory the pool holds.
    pub fn bytes(&self) -> usize {
        let homes = self.homes.as_ref().map_or(0, Homes::bytes);
        homes + self.chunks.bytes() + self.batches.get(0).map_or(0, Batches::bytes)
    }
}

#[cfg(all(test, not(coeval_loom)))]
mod tests;
