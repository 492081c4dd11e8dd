//! A lock-free stack (R. K. Treiber, *Systems Programming: Coping with Parallelism*, 1986).

use crate::reclaim::{Garbage, Reclaim};
use crate::sync::{AtomicPtr, Ordering};
use std::mem::ManuallyDrop;
use std::ptr;

struct Cell<T> {
    item: ManuallyDrop<T>,
    next: *mut Cell<T>,
}

/// A stack whose cells are made anew by each push and retired by each pop; so a head that a popper
/// remembers does not come back while its guard lives.
pub struct Stack<T> {
    head: AtomicPtr<Cell<T>>,
}

// SAFETY: items are handed from the pushing to the popping thread.
unsafe impl<T: Send> Send for Stack<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Stack<T> {}

impl<T> Stack<T> {
    /// No items.
    pub fn new() -> Self {
        Self { head: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Whether there was nothing, a moment ago.
    pub fn is_empty(&self) -> bool {
        self.head.load(Ordering::Relaxed).is_null() // a hint only
    }

    /// Puts an item on top.
    pub fn push(&self, item: T) {
        let mut head = self.head.load(Ordering::Relaxed);
        let cell = Box::into_raw(Box::new(Cell { item: ManuallyDrop::new(item), next: head }));
        // Release: pairs with the Acquire in `pop` and `take_all`.
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
                // SAFETY: popped by us alone: the item is ours, the cell is retired once.
                unsafe {
                    let item = ManuallyDrop::take(&mut (*head).item);
                    let object = head.cast();
                    let reclaim_cell = Self::reclaim_cell;
                    let garbage = Garbage { object, context: ptr::null(), reclaim: reclaim_cell };
                    reclaim.retire(guard, garbage);
                    return Some(item);
                }
            }
        }
    }

    unsafe fn reclaim_cell(cell: *mut (), _context: *const ()) {
        // SAFETY: `pop` retired a cell made by `push`, its item already moved out.
        drop(unsafe { Box::from_raw(cell.cast::<Cell<T>>()) });
    }

    /// Takes all items in one step. Not for a stack that others `pop` from: a popper may still read
    /// a cell that is freed here.
    pub fn take_all(&self) -> Taken<T> {
        // Acquire: pairs with `push`. Pushers compare the head, but never look into it.
        Taken { next: self.head.swap(ptr::null_mut(), Ordering::Acquire) }
    }
}

impl<T> Drop for Stack<T> {
    fn drop(&mut self) {
        self.take_all();
    }
}

/// Items taken from a stack, the last pushed first.
pub struct Taken<T> {
    next: *mut Cell<T>,
}

// SAFETY: it owns its items.
unsafe impl<T: Send> Send for Taken<T> {}

impl<T> Taken<T> {
    /// A single item, as if it had been taken.
    pub fn one(item: T) -> Self {
        let cell = Cell { item: ManuallyDrop::new(item), next: ptr::null_mut() };
        Self { next: Box::into_raw(Box::new(cell)) }
    }

    /// Whether none are left.
    pub fn is_empty(&self) -> bool {
        self.next.is_null()
    }
}

impl<T> Iterator for Taken<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        if self.next.is_null() {
            return None;
        }
        // SAFETY: the cells were made by `push`, and ours alone since `take_all`, or by `one`.
        let cell = unsafe { Box::from_raw(self.next) };
        self.next = cell.next;
        Some(ManuallyDrop::into_inner(cell.item))
    }
}

impl<T> Drop for Taken<T> {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}
