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

/// A stack whose cells come from a pool. A push takes a cell, and the thread that takes the item
/// out retires it. So a head that a popper remembers does not come back while its guard lives.
///
/// All calls name guards of one reclaimer, which is drained before the stack is dropped.
pub struct Stack<T> {
    head: AtomicPtr<StackCell<T>>,
    cells: Pool,
}

// SAFETY: the pushing thread hands items to the popping thread.
unsafe impl<T: Send> Send for Stack<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Stack<T> {}

impl<T> Stack<T> {
    /// Makes an empty stack.
    pub fn new() -> Self {
        let cells = Pool::new(Shape::plain(Layout::new::<StackCell<T>>()));
        Self { head: AtomicPtr::new(ptr::null_mut()), cells }
    }

    /// Whether the stack was empty at some instant of the call.
    pub fn is_empty(&self) -> bool {
        self.head.load(Ordering::Relaxed).is_null() // Relaxed: a hint.
    }

    /// The memory of the cells, in bytes.
    pub fn bytes(&self) -> usize {
        self.cells.bytes()
    }

    /// Makes a cell for an item.
    fn cell<G>(&self, _guard: &G, item: T, next: *mut StackCell<T>) -> *mut StackCell<T> {
        // SAFETY: a guard is live, and cells are retired through it.
        let cell = unsafe { self.cells.take() }.cast::<StackCell<T>>().as_ptr();
        // SAFETY: this thread owns the slot, which has this layout.
        unsafe { cell.write(StackCell { item: ManuallyDrop::new(item), next }) };
        cell
    }

    /// Pushes an item.
    pub fn push<G>(&self, guard: &G, item: T) {
        let mut head = self.head.load(Ordering::Relaxed);
        let cell = self.cell(guard, item, head);
        // Release: pairs with the Acquire in `pop`.
        while let Err(now) =
            self.head.compare_exchange_weak(head, cell, Ordering::Release, Ordering::Relaxed)
        {
            head = now;
            // SAFETY: this thread has not published the cell.
            unsafe { (*cell).next = head };
        }
    }

    /// Pops an item.
    pub fn pop<R: Reclaim>(&self, reclaim: &R, guard: &R::Guard<'_>) -> Option<T> {
        loop {
            let head = self.head.load(Ordering::Acquire);
            if head.is_null() {
                return None;
            }
            // SAFETY: read from the head under the guard, through which cells are retired.
            let next = unsafe { (*head).next };
            // Acquire: pairs with the Release in `push`. The head does not come back during the
            // guard.
            let popped =
                self.head.compare_exchange(head, next, Ordering::Acquire, Ordering::Relaxed);
            if popped.is_ok() {
                // SAFETY: this thread alone popped the cell.
                return Some(unsafe { self.take_item(reclaim, guard, head) });
            }
        }
    }

    /// Adds an item to a list, in a cell of this stack. Returns false if the list is closed.
    pub fn push_unless_closed<G>(&self, guard: &G, list: &ClosableList<T>, item: T) -> bool
    where
        T: Copy,
    {
        let mut head = list.head.load(Ordering::Relaxed);
        if is_closed_head(head) {
            return false;
        }
        let cell = self.cell(guard, item, head);
        step("shelf.before_push");
        // Release: pairs with `close`.
        while let Err(now) =
            list.head.compare_exchange_weak(head, cell, Ordering::Release, Ordering::Relaxed)
        {
            if is_closed_head(now) && !mutant("shelf.closed_lets_in") {
                // SAFETY: no other thread has seen it.
                unsafe { self.cells.put_back(NonNull::new_unchecked(cell).cast()) };
                return false;
            }
            head = now;
            // SAFETY: this thread has not published the cell.
            unsafe { (*cell).next = head };
        }
        true
    }

    /// Makes a list of a single item, as if it had been taken from a list of this stack's cells.
    pub fn single<G>(&self, guard: &G, item: T) -> Drained<T> {
        Drained { next: self.cell(guard, item, ptr::null_mut()) }
    }

    /// Takes the next item of a list whose cells are of this stack.
    pub fn next<R: Reclaim>(
        &self,
        reclaim: &R,
        guard: &R::Guard<'_>,
        drained: &mut Drained<T>,
    ) -> Option<T> {
        let cell = drained.next;
        if cell.is_null() {
            return None;
        }
        // SAFETY: made by `push_unless_closed` and owned by this thread since the list was closed,
        // or made by `single`.
        unsafe {
            drained.next = (*cell).next;
            Some(self.take_item(reclaim, guard, cell))
        }
    }

    /// Takes the item out of a cell.
    ///
    /// # Safety
    /// The caller owns the cell. Only poppers that will fail may still read it.
    unsafe fn take_item<R: Reclaim>(
        &self,
        reclaim: &R,
        guard: &R::Guard<'_>,
        cell: *mut StackCell<T>,
    ) -> T {
        let (object, context) = (cell.cast(), ptr::from_ref(&self.cells).cast());
        // SAFETY: the caller owns the item, takes it once and retires the cell once. The pool lives
        // until the reclaimer is drained.
        unsafe {
            let item = ManuallyDrop::take(&mut (*cell).item);
            reclaim.retire(guard, Garbage { object, context, reclaim: Self::give });
            item
        }
    }

    unsafe fn give(cell: *mut (), cells: *const ()) {
        // SAFETY: retired by `take_item`, and a grace period has passed.
        unsafe { (*cells.cast::<Pool>()).give(NonNull::new_unchecked(cell.cast())) };
    }
}

impl<T> Drop for Stack<T> {
    fn drop(&mut self) {
        let mut next = self.head.load(Ordering::Relaxed); // Relaxed: `&mut self` is exclusive.
        while !next.is_null() {
            // SAFETY: the cell is in the stack, so it is not retired. The pool frees its memory.
            unsafe {
                ManuallyDrop::drop(&mut (*next).item);
                next = (*next).next;
            }
        }
    }
}

/// A list that takes items until it is closed. Its cells are of a [`Stack`].
pub struct ClosableList<T> {
    head: AtomicPtr<StackCell<T>>,
}

// SAFETY: the threads that add items hand them to the thread that closes the list.
unsafe impl<T: Send> Send for ClosableList<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for ClosableList<T> {}

/// The head of a closed list.
const CLOSED: usize = 1;

fn is_closed_head<T>(head: *mut StackCell<T>) -> bool {
    head.addr() == CLOSED
}

impl<T> ClosableList<T> {
    /// Makes an empty list.
    pub fn new() -> Self {
        Self { head: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Whether the list is closed.
    pub fn is_closed(&self) -> bool {
        // Acquire: pairs with `close`. What was read before the list was closed happens before what
        // this thread does now.
        is_closed_head(self.head.load(Ordering::Acquire))
    }

    /// Closes the list and takes its items. Called once.
    pub fn close(&self) -> Drained<T> {
        const { assert!(!needs_drop::<T>(), "items that are not taken are not dropped") };
        // AcqRel: pairs with `push_unless_closed` and `is_closed`.
        Drained { next: self.head.swap(ptr::without_provenance_mut(CLOSED), Ordering::AcqRel) }
    }
}

/// The items of a closed list, the last one first. Their cells are of a [`Stack`].
pub struct Drained<T> {
    next: *mut StackCell<T>,
}

// SAFETY: it owns its items.
unsafe impl<T: Send> Send for Drained<T> {}

impl<T> Drained<T> {
    /// Whether no item is left.
    pub fn is_empty(&self) -> bool {
        self.next.is_null()
    }
}
