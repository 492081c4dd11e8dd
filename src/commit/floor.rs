//! The floor: commits that cleared everything.
//!
//! Clearing is one commit of one version in a chain of its own. A key's version is visible only if
//! it is newer than the newest clearing commit that the reader may see. So it costs the same for ten
//! keys as for ten million and holds nobody up; what it hid is swept out later, a little by each write.

use super::{Views, take_suffix};
use crate::chain::{Chain, Linked, Node, Prev};
use crate::memory::Mapped;
use crate::sync::hook::{mutant, step};
use crate::sync::per_thread::PerThread;
use crate::sync::{AtomicPtr, AtomicU64, Ordering};
use crate::version::{Clock, State};
use crossbeam_utils::CachePadded;
use std::ptr;

/// The time between two clearing commits, how many keys are present in it, and what they weigh.
pub struct Era {
    present: PerThread<AtomicU64>,
    /// Written by all; what look-ups read is not to lie beside it.
    weight: CachePadded<AtomicU64>,
}

impl Era {
    /// Nothing present.
    pub fn new() -> Self {
        Self { present: PerThread::new(), weight: CachePadded::new(AtomicU64::new(0)) }
    }

    /// Counts keys that became present, less those that became absent.
    pub fn count(&self, change: i64) {
        let mine = self.present.get();
        // Relaxed, and no read-modify-write: only its own thread writes it, and the sum is exact
        // once writers have come to rest.
        let now = mine.load(Ordering::Relaxed);
        mine.store(now.wrapping_add(change as u64), Ordering::Relaxed);
    }

    /// Adds to the weight, and says what it is then. One sum for all threads, since the bound is kept by it: each
    /// of them sees what it added itself at least.
    pub fn weigh(&self, change: i64) -> u64 {
        if change == 0 {
            return self.weight();
        }
        // Relaxed: it is read through nothing but itself.
        sum(self.weight.fetch_add(change as u64, Ordering::Relaxed).wrapping_add(change as u64))
    }

    /// The weight of what is present.
    pub fn weight(&self) -> u64 {
        sum(self.weight.load(Ordering::Relaxed))
    }

    /// How many keys are present.
    pub fn present(&self) -> usize {
        // SAFETY: only the atomics are touched.
        let counts = unsafe { self.present.iter() };
        let sum = counts.fold(0u64, |sum, n| sum.wrapping_add(n.load(Ordering::Relaxed)));
        usize::try_from(sum as i64).unwrap_or(0) // a moment's view may be short of an insert
    }
}

/// A sum of what came less what went, which may be counted before it was counted as come.
fn sum(bits: u64) -> u64 {
    u64::try_from(bits as i64).unwrap_or(0)
}

/// The chain of clearing commits.
pub struct Floor {
    head: AtomicPtr<Node<Era>>,
    first: Era,
}

impl Chain<Era> for Floor {
    unsafe fn prev_of(&self, node: *const Node<Era>) -> &Prev<Era> {
        // SAFETY: the caller's promise; `clear` makes all of them so.
        unsafe { Linked::prev_of(node) }
    }
}

impl Floor {
    /// Nothing cleared yet.
    pub fn new() -> Self {
        Self { head: AtomicPtr::new(ptr::null_mut()), first: Era::new() }
    }

    #[inline(always)]
    fn head(&self) -> *mut Node<Era> {
        // Acquire: pairs with the install in `clear`.
        self.head.load(Ordering::Acquire)
    }

    /// Whether anything was ever cleared.
    #[inline(always)]
    pub fn is_raised(&self) -> bool {
        !self.head.load(Ordering::Relaxed).is_null() // a hint
    }

    /// The version of the newest clearing commit; 0 if there is none. Stamps one that is ready.
    #[inline(always)]
    pub fn newest(&self, clock: &Clock) -> u64 {
        let head = self.head();
        if head.is_null() { 0 } else { Self::version(head, clock) }
    }

    #[cold]
    fn version(node: *mut Node<Era>, clock: &Clock) -> u64 {
        // SAFETY: reached from the head; callers hold a guard, through which these are retired.
        let node = unsafe { &*node };
        let mut state = node.state();
        if state.is_ready() && mutant("floor.pass_by_ready") {
            return 0;
        }
        if state.is_ready() {
            state = node.stamp(state, State::committed(clock.tick()));
        }
        state.version()
    }

    /// The version of the newest clearing commit at or before `limit` (0 if none), and its era.
    ///
    /// # Safety
    /// A guard is live for `'g`, and `limit` is a registered view's version, or the version of a
    /// commit made, or of the clock read, under that guard.
    pub unsafe fn at<'g>(&'g self, clock: &Clock, limit: u64) -> (u64, &'g Era) {
        let mut next = self.head();
        while !next.is_null() {
            let version = Self::version(next, clock);
            // SAFETY: kept by the guard, or by the view; see `Order::at`.
            let node: &'g Node<Era> = unsafe { &*next };
            if version <= limit {
                // SAFETY: committed to a value, as all here are.
                return (version, unsafe { node.value() });
            }
            // SAFETY: as above.
            next = unsafe { self.prev_of(next) }.link().target();
        }
        (0, &self.first)
    }

    /// Clears everything: one commit. Returns its version.
    ///
    /// # Safety
    /// A guard is live. `retire` retires a node of this chain (to be [`free`](Self::free)d).
    pub unsafe fn clear(
        &self,
        clock: &Clock,
        views: &Views,
        retire: impl Fn(*mut Node<Era>),
    ) -> u64 {
        let fresh = Linked::new(State::READY, ptr::null_mut(), Some(Era::new()));
        let fresh: *mut Node<Era> = Mapped::new(fresh).into_raw().cast();
        loop {
            let head = self.head();
            if !head.is_null() {
                Self::version(head, clock); // nobody supersedes an undecided version
            }
            // SAFETY: just made for this chain; nobody else has seen it.
            unsafe { self.prev_of(fresh) }.init(head);
            step("clear.before_install");
            // AcqRel: Release pairs with `head`.
            let done = self.head.compare_exchange(head, fresh, Ordering::AcqRel, Ordering::Relaxed);
            if done.is_ok() {
                break;
            }
        }
        step("clear.installed");
        let version = Self::version(fresh, clock);
        // SAFETY: the caller's guard; the commit is decided.
        unsafe { self.trim(clock, views, retire) };
        version
    }

    /// Retires the clearing commits that no view needs. Those between views stay: one per
    /// `invalidate_all` while an older view is held.
    ///
    /// # Safety
    /// As for [`clear`](Self::clear).
    pub unsafe fn trim(&self, clock: &Clock, views: &Views, retire: impl Fn(*mut Node<Era>)) {
        let mut next = self.head();
        if next.is_null() {
            return;
        }
        Self::version(next, clock);
        let seen = views.seen();
        while !next.is_null() {
            // SAFETY: reached from the head under the caller's guard, and not below an end.
            let node = unsafe { &*next };
            // SAFETY: as above.
            let link = unsafe { self.prev_of(node) }.link();
            if link.is_end() {
                return;
            }
            if !seen.any_below(node.state().version()) {
                // SAFETY: no registered view, nor any to come, needs what is below.
                unsafe { take_suffix(self, node, true, &retire) };
                return;
            }
            next = link.target();
        }
    }

    /// Drops a clearing commit that `clear` made.
    ///
    /// # Safety
    /// Nobody else has access to it.
    pub unsafe fn free(node: *mut Node<Era>) {
        // SAFETY: `clear` made it so, and it holds an era; the caller's promise.
        unsafe {
            (*node).drop_value();
            drop(Mapped::from_raw(node.cast::<Linked<Era>>()));
        }
    }

    /// The newest era.
    ///
    /// # Safety
    /// A guard is live for `'g`.
    pub unsafe fn era<'g>(&'g self, clock: &Clock) -> &'g Era {
        let head = self.head();
        if head.is_null() {
            return &self.first;
        }
        Self::version(head, clock);
        // SAFETY: kept by the guard; all here hold an era.
        unsafe { (*head).value() }
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let mut next = self.head();
        while !next.is_null() {
            // SAFETY: exclusive; what is above an end was not retired.
            let link = unsafe { self.prev_of(next) }.link();
            // SAFETY: as above.
            unsafe { Self::free(next) };
            next = if link.is_end() { ptr::null_mut() } else { link.target() };
        }
    }
}
