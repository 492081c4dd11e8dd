//! A lock-free stack (R. K. Treiber, *Systems Programming: Coping with Parallelism*, 1986).

use crate::pool::{Pool, Shape};
use crate::reclaim::{Garbage, Reclaim};
use crate::sync::hook::{mutant, step};
use crate::sync::{AtomicPtr, Ordering};
use std::alloc::Layout;
use std::mem::{ManuallyDrop, needs_drop};
use std::ptr::{self, NonNull};

struct StackCell<T> {
    item: ManuallyDrop<T>,
    next: *mut StackCell<T>,
}

/// A stack whose cells are taken from a pool by each push, and retired by whoever takes their item out; so a head that
/// a popper remembers does not come back while its guard lives.
///
/// All calls are to name guards of one reclaimer, which is drained before the stack is dropped.
pub struct Stack<T> {
    head: AtomicPtr<StackCell<T>>,
    cells: Pool,
}

// SAFETY: items are handed from the pushing to the popping thread.
unsafe impl<T: Send> Send for Stack<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Stack<T> {}

impl<T> Stack<T> {
    /// No items.
    pub fn new() -> Self {
        let cells = Pool::new(Shape::plain(Layout::new::<StackCell<T>>()));
        Self { head: AtomicPtr::new(ptr::null_mut()), cells }
    }

    /// Whether there was nothing, a moment ago.
    pub fn is_empty(&self) -> bool {
        self.head.load(Ordering::Relaxed).is_null() // a hint only
    }

    /// The memory of its cells, in bytes.
    pub fn bytes(&self) -> usize {
        self.cells.bytes()
    }

    /// A cell of its own for an item.
    fn cell<G>(&self, _guard: &G, item: T, next: *mut StackCell<T>) -> *mut StackCell<T> {
        // SAFETY: a guard is live, and cells come back by it.
        let cell = unsafe { self.cells.take() }.cast::<StackCell<T>>().as_ptr();
        // SAFETY: the slot is ours, and of this layout.
        unsafe { cell.write(StackCell { item: ManuallyDrop::new(item), next }) };
        cell
    }

    /// Puts an item on top.
    pub fn push<G>(&self, guard: &G, item: T) {
        let mut head = self.head.load(Ordering::Relaxed);
        let cell = self.cell(guard, item, head);
        // Release: pairs with the Acquire in `pop`.
        while let Err(now) =
            self.head.compare_exchange_weak(head, cell, Ordering::Release, Ordering::Relaxed)
        {
            head = now;
            // SAFETY: not published yet.
            unsafe { (*cell).next = head };
        }
    }

    /// Takes the top item.
    pub fn pop<R: Reclaim>(&self, reclaim: &R, guard: &R::Guard<'_>) -> Option<T> {
        loop {
            let head = self.head.load(Ordering::Acquire);
            if head.is_null() {
                return None;
            }
            // SAFETY: read from the head under the guard, through which cells are retired.
            let next = unsafe { (*head).next };
            // Acquire, as above; the head does not come back during the guard.
            let popped =
                self.head.compare_exchange(head, next, Ordering::Acquire, Ordering::Relaxed);
            if popped.is_ok() {
                // SAFETY: popped by us alone.
                return Some(unsafe { self.empty(reclaim, guard, head) });
            }
        }
    }

    /// Puts an item on a shelf. False if that is closed. The cell is this stack's.
    pub fn shelve<G>(&self, guard: &G, shelf: &ClosableList<T>, item: T) -> bool
    where
        T: Copy,
    {
        let mut head = shelf.head.load(Ordering::Relaxed);
        if is_closed(head) {
            return false;
        }
        let cell = self.cell(guard, item, head);
        step("shelf.before_push");
        // Release: pairs with `close`.
        while let Err(now) =
            shelf.head.compare_exchange_weak(head, cell, Ordering::Release, Ordering::Relaxed)
        {
            if is_closed(now) && !mutant("shelf.closed_lets_in") {
                // SAFETY: nobody else has seen it.
                unsafe { self.cells.put_back(NonNull::new_unchecked(cell).cast()) };
                return false;
            }
            head = now;
            // SAFETY: not published yet.
            unsafe { (*cell).next = head };
        }
        true
    }

    /// A single item, as if it had been taken from here.
    pub fn one<G>(&self, guard: &G, item: T) -> Drained<T> {
        Drained { next: self.cell(guard, item, ptr::null_mut()) }
    }

    /// The next item of those that were taken from here.
    pub fn next<R: Reclaim>(
        &self,
        reclaim: &R,
        guard: &R::Guard<'_>,
        taken: &mut Drained<T>,
    ) -> Option<T> {
        let cell = taken.next;
        if cell.is_null() {
            return None;
        }
        // SAFETY: made by `shelve` and ours alone since the shelf was closed, or made by `one`.
        unsafe {
            taken.next = (*cell).next;
            Some(self.empty(reclaim, guard, cell))
        }
    }

    /// Takes the item out of a cell.
    ///
    /// # Safety
    /// The cell is the caller's alone, but for poppers who have yet to find that.
    unsafe fn empty<R: Reclaim>(
        &self,
        reclaim: &R,
        guard: &R::Guard<'_>,
        cell: *mut StackCell<T>,
    ) -> T {
        let (object, context) = (cell.cast(), ptr::from_ref(&self.cells).cast());
        // SAFETY: the item is the caller's, who takes it and retires the cell once. The pool is there until the
        // reclaimer is drained.
        unsafe {
            let item = ManuallyDrop::take(&mut (*cell).item);
            reclaim.retire(guard, Garbage { object, context, reclaim: Self::give });
            item
        }
    }

    unsafe fn give(cell: *mut (), cells: *const ()) {
        // SAFETY: retired by `empty`, and a grace period has passed.
        unsafe { (*cells.cast::<Pool>()).give(NonNull::new_unchecked(cell.cast())) };
    }
}

impl<T> Drop for Stack<T> {
    fn drop(&mut self) {
        let mut next = self.head.load(Ordering::Relaxed); // Relaxed: `&mut self` is exclusive.
        while !next.is_null() {
            // SAFETY: in the stack, so not retired; its memory goes with the pool.
            unsafe {
                ManuallyDrop::drop(&mut (*next).item);
                next = (*next).next;
            }
        }
    }
}

/// A list to which items are added until it is closed, in cells of a [`Stack`].
pub struct ClosableList<T> {
    head: AtomicPtr<StackCell<T>>,
}

// SAFETY: items are handed from those who add them to the one who closes it.
unsafe impl<T: Send> Send for ClosableList<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for ClosableList<T> {}

/// The head of a shelf that is closed.
const CLOSED: usize = 1;

fn is_closed<T>(head: *mut StackCell<T>) -> bool {
    head.addr() == CLOSED
}

impl<T> ClosableList<T> {
    /// No items.
    pub fn new() -> Self {
        Self { head: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        // Acquire: pairs with `close`: what was read until then comes before what is done now.
        is_closed(self.head.load(Ordering::Acquire))
    }

    /// Lets no more items in, and takes those that are there. To be called once.
    pub fn close(&self) -> Drained<T> {
        const { assert!(!needs_drop::<T>(), "what is taken may be left") };
        // AcqRel: pairs with `shelve` and `is_closed`.
        Drained { next: self.head.swap(ptr::without_provenance_mut(CLOSED), Ordering::AcqRel) }
    }
}

/// Items taken from a stack, the last pushed first. Their cells are the stack's.
pub struct Drained<T> {
    next: *mut StackCell<T>,
}

// SAFETY: it owns its items.
unsafe impl<T: Send> Send for Drained<T> {}

impl<T> Drained<T> {
    /// Whether none are left.
    pub fn is_empty(&self) -> bool {
        self.next.is_null()
    }
}
