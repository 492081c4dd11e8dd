//! Commits of which only the number matters, in a chain of their own: those that clear everything, or all entries
//! of a tag. A version that is older than the newest of them that the reader may see is absent. So one costs the same for
//! ten entries as for ten million and holds nobody up.

use super::{Views, take_suffix};
use crate::chain::{Chain, Linked, Node, Prev};
use crate::sync::hook::{mutant, step};
use crate::sync::{AtomicPtr, Ordering};
use crate::version::{Clock, State};
use std::ptr;

/// A chain of such commits, newest first, each with something that begins with it.
pub struct Milestones<T> {
    head: AtomicPtr<Node<T>>,
}

impl<T> Chain<T> for Milestones<T> {
    unsafe fn prev_of(&self, node: *const Node<T>) -> &Prev<T> {
        // SAFETY: the caller's promise; all here are made so (`add`).
        unsafe { Linked::prev_of(node) }
    }
}

impl<T> Milestones<T> {
    /// None yet.
    pub fn new() -> Self {
        Self { head: AtomicPtr::new(ptr::null_mut()) }
    }

    #[inline(always)]
    fn head(&self) -> *mut Node<T> {
        // Acquire: pairs with the install in `add`.
        self.head.load(Ordering::Acquire)
    }

    /// Whether there are none.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.head.load(Ordering::Relaxed).is_null() // a hint
    }

    /// The number of the newest; 0 if there is none. Stamps one that is ready.
    #[inline(always)]
    pub fn newest(&self, clock: &Clock) -> u64 {
        let head = self.head();
        if head.is_null() { 0 } else { Self::version(head, clock) }
    }

    /// The same, unless it is yet to be stamped.
    ///
    /// # Safety
    /// A guard is live.
    #[inline(always)]
    pub unsafe fn newest_settled(&self) -> Option<u64> {
        let head = self.head();
        if head.is_null() {
            return Some(0);
        }
        // SAFETY: reached from the head; kept by the caller's guard.
        let state = unsafe { &*head }.state();
        state.is_committed().then(|| state.version())
    }

    /// What begins with the newest, which is decided then.
    ///
    /// # Safety
    /// A guard is live for `'g`.
    #[inline(always)]
    pub unsafe fn newest_of<'g>(&'g self, clock: &Clock) -> Option<&'g T> {
        let head = self.head();
        if head.is_null() {
            return None;
        }
        Self::version(head, clock);
        // SAFETY: kept by the guard; all here hold a value.
        Some(unsafe { (*head).value() })
    }

    #[cold]
    fn version(node: *mut Node<T>, clock: &Clock) -> u64 {
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

    /// The number of the newest at or before `limit`, and what begins with it.
    ///
    /// # Safety
    /// A guard is live for `'g`, and `limit` is a registered view's version, or the version of a
    /// commit made, or of the clock read, under that guard.
    pub unsafe fn at<'g>(&'g self, clock: &Clock, limit: u64) -> Option<(u64, &'g T)> {
        let mut next = self.head();
        while !next.is_null() {
            let version = Self::version(next, clock);
            // SAFETY: kept by the guard, or by the view; see `Order::at`.
            let node: &'g Node<T> = unsafe { &*next };
            if version <= limit {
                // SAFETY: committed to a value, as all here are.
                return Some((version, unsafe { node.value() }));
            }
            // SAFETY: as above.
            next = unsafe { self.prev_of(next) }.link().target();
        }
        None
    }

    /// One commit. Returns its number.
    ///
    /// # Safety
    /// A guard is live. `fresh` was made as a `Linked`, ready, with a value, for this chain, and nobody else has seen
    /// it. `retire` retires one of this chain.
    pub unsafe fn add(
        &self,
        clock: &Clock,
        views: &Views,
        fresh: *mut Node<T>,
        retire: impl Fn(*mut Node<T>),
    ) -> u64 {
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

    /// Retires those that no view needs. Those between views stay: one a commit while an older view is held.
    ///
    /// # Safety
    /// As for [`add`](Self::add).
    pub unsafe fn trim(&self, clock: &Clock, views: &Views, retire: impl Fn(*mut Node<T>)) {
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

    /// Hands out all that were not retired.
    pub fn drain(&mut self, free: impl Fn(*mut Node<T>)) {
        let mut next = self.head.swap(ptr::null_mut(), Ordering::Relaxed); // exclusive
        while !next.is_null() {
            // SAFETY: exclusive; what is above an end was not retired.
            let link = unsafe { self.prev_of(next) }.link();
            free(next);
            next = if link.is_end() { ptr::null_mut() } else { link.target() };
        }
    }
}
