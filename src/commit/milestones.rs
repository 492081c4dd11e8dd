//! Commits of which only the number matters, in a chain of their own: those that clear everything, or all entries
//! of a tag. A version that is older than the newest of them that the reader may see is absent. So one costs the same for
//! ten entries as for ten million and holds nobody up.

use super::{Limit, Place, Views, prune, take_out, take_suffix};
use crate::chain::{Chain, Linked, Node, Prev};
use crate::sync::hook::{mutant, step};
use crate::sync::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};
use crate::version::{Clock, State};
use std::ptr;

/// A chain of such commits, newest first, each with something that begins with it. Of those between two views that are
/// next to each other only the newest stays.
pub struct Milestones<T> {
    head: AtomicPtr<Node<Mark<T>>>,
    /// How many are in the chain, or about to be.
    count: AtomicUsize,
    /// Whether somebody has the right to take some out of the middle.
    trimming: AtomicU32,
}

/// What such a commit says.
pub struct Mark<T> {
    /// What begins with it.
    begins: T,
    /// The one that it superseded, for those who may ask what was before this commit. Set before it is installed.
    superseded: AtomicPtr<Node<Mark<T>>>,
}

impl<T> Mark<T> {
    /// With it begins this.
    pub fn new(begins: T) -> Self {
        Self { begins, superseded: AtomicPtr::new(ptr::null_mut()) }
    }
}

/// Lets others take out what lies below `node`.
///
/// # Safety
/// `node` is of the chain and kept by the caller's guard.
pub unsafe fn close_link<V>(chain: &impl Chain<V>, node: &Node<V>) {
    // SAFETY: the caller's promise.
    let prev = unsafe { chain.prev_of(node) };
    loop {
        let link = prev.link();
        if !link.is_open() || prev.replace(link, link.closed()) {
            return;
        }
    }
}

impl<T> Chain<Mark<T>> for Milestones<T> {
    unsafe fn prev_of(&self, node: *const Node<Mark<T>>) -> &Prev<Mark<T>> {
        // SAFETY: the caller's promise; all here are made so (`add`).
        unsafe { Linked::prev_of(node) }
    }
}

impl<T> Milestones<T> {
    /// None yet.
    pub fn new() -> Self {
        let (count, trimming) = (AtomicUsize::new(0), AtomicU32::new(0));
        Self { head: AtomicPtr::new(ptr::null_mut()), count, trimming }
    }

    #[inline(always)]
    fn head(&self) -> *mut Node<Mark<T>> {
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
        Some(&unsafe { (*head).value() }.begins)
    }

    #[cold]
    fn version(node: *mut Node<Mark<T>>, clock: &Clock) -> u64 {
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

    /// The number of the newest within `limit`, and what begins with it. Goes over those that are newer: as of a view,
    /// of which there are not many more than open views; as of now, those that came during the guard.
    ///
    /// # Safety
    /// A guard is live for `'g`, and `limit` is what it says; or, as `Now`, the version of a commit made under that guard.
    #[inline(always)]
    pub unsafe fn at<'g>(&'g self, clock: &Clock, limit: Limit) -> Option<(u64, &'g T)> {
        let head = self.head();
        if head.is_null() {
            return None;
        }
        // SAFETY: the caller's promise.
        unsafe { self.at_from(head, clock, limit) }
    }

    unsafe fn at_from<'g>(
        &'g self,
        head: *mut Node<Mark<T>>,
        clock: &Clock,
        limit: Limit,
    ) -> Option<(u64, &'g T)> {
        let (limit, is_registered) = match limit {
            Limit::Newest => (u64::MAX, true),
            Limit::View(version) => (version, true),
            Limit::Now(version) => (version, false),
        };
        let mut next = head;
        while !next.is_null() {
            let version = Self::version(next, clock);
            // SAFETY: kept by the guard, or by the view; see below, and `Order::version_at`.
            let node: &'g Node<Mark<T>> = unsafe { &*next };
            // SAFETY: committed to a value, as all here are.
            let mark = unsafe { node.value() };
            if version <= limit {
                return Some((version, &mark.begins));
            }
            // What no registered view needs may have been taken out of the chain. As of now it is still there: it was
            // superseded after the limit was read, so retired during the guard.
            next = if is_registered || mutant("milestones.by_links") {
                // SAFETY: as above.
                unsafe { self.prev_of(next) }.link().target()
            } else {
                mark.superseded.load(Ordering::Relaxed) // set before it was installed
            };
        }
        None
    }

    /// One commit. Returns its number.
    ///
    /// # Safety
    /// A guard is live. `fresh` was made as a `Linked`, ready, with a value, for this chain, and nobody else has seen
    /// it. `retire` retires one of this chain, `retire_place` a place of a view.
    pub unsafe fn add(
        &self,
        clock: &Clock,
        views: &Views,
        fresh: *mut Node<Mark<T>>,
        retire: impl Fn(*mut Node<Mark<T>>),
        retire_place: impl Fn(*mut Place),
    ) -> u64 {
        // SAFETY: the caller's promise.
        let mark = unsafe { (*fresh).value() };
        self.count.fetch_add(1, Ordering::Relaxed);
        let before = loop {
            let head = self.head();
            // Nobody supersedes an undecided version.
            let before = if head.is_null() { 0 } else { Self::version(head, clock) };
            // SAFETY: just made for this chain; nobody else has seen it.
            unsafe { self.prev_of(fresh) }.init(head);
            mark.superseded.store(head, Ordering::Relaxed); // published by what follows
            step("clear.before_install");
            // AcqRel: Release pairs with `head`.
            let done = self.head.compare_exchange(head, fresh, Ordering::AcqRel, Ordering::Relaxed);
            if done.is_ok() {
                break before;
            }
        };
        step("clear.installed");
        let version = Self::version(fresh, clock);
        let retire = |node| {
            self.count.fetch_sub(1, Ordering::Relaxed);
            retire(node);
        };
        // SAFETY: the caller's guard; the commit is decided.
        unsafe {
            match views.first_below(clock, version, &retire_place) {
                None => take_suffix(self, &*fresh, true, retire),
                Some(view) => {
                    close_link(self, &*fresh);
                    if view.version() < before {
                        self.trimming(clock, |top| _ = take_out(self, top, before, retire));
                    }
                    self.trim_if(clock, views, retire, retire_place);
                }
            }
        }
        version
    }

    /// Whether there are so many that they are to be trimmed.
    fn is_long(&self, views: &Views) -> bool {
        self.count.load(Ordering::Relaxed) > 2 * views.count() + 1
    }

    /// Claims the right to take some out of the middle, and acts, unless somebody has it: they are trimmed later.
    ///
    /// # Safety
    /// As for [`add`](Self::add), and there is one.
    unsafe fn trimming(&self, clock: &Clock, act: impl FnOnce(&Node<Mark<T>>)) {
        // Acquire and Release: each sees what the last one did.
        if self.trimming.swap(1, Ordering::Acquire) == 0 || mutant("milestones.unclaimed") {
            step("milestones.claimed");
            // Only now: what was newest before may have been taken out.
            let top = self.head();
            Self::version(top, clock);
            // SAFETY: reached from the head under the caller's guard.
            act(unsafe { &*top });
            self.trimming.store(0, Ordering::Release);
        }
    }

    /// Retires those that no view needs, if they are many: more than twice as many as there are views. So it costs no more
    /// than what it retires.
    ///
    /// # Safety
    /// As for [`add`](Self::add).
    pub unsafe fn trim(
        &self,
        clock: &Clock,
        views: &Views,
        retire: impl Fn(*mut Node<Mark<T>>),
        retire_place: impl Fn(*mut Place),
    ) {
        let retire = |node| {
            self.count.fetch_sub(1, Ordering::Relaxed);
            retire(node);
        };
        // SAFETY: the caller's promise.
        unsafe { self.trim_if(clock, views, retire, retire_place) };
    }

    unsafe fn trim_if(
        &self,
        clock: &Clock,
        views: &Views,
        retire: impl Fn(*mut Node<Mark<T>>),
        retire_place: impl Fn(*mut Place),
    ) {
        if self.is_empty() || !self.is_long(views) {
            return;
        }
        // SAFETY: the caller's promise; what is newest is decided, the guard keeps the views, and ours is the right.
        unsafe {
            self.trimming(clock, |top| {
                let newest = views.first_below(clock, top.state().version(), retire_place);
                prune(self, top, newest, retire);
            });
        }
    }

    /// Shows all that are in the chain.
    ///
    /// # Safety
    /// Nobody else uses it meanwhile.
    #[cfg(coeval_loom)]
    pub unsafe fn each(&self, mut show: impl FnMut(*mut Node<Mark<T>>)) {
        let mut next = self.head();
        while !next.is_null() {
            show(next);
            // SAFETY: the caller's promise.
            let link = unsafe { self.prev_of(next) }.link();
            next = if link.is_end() { ptr::null_mut() } else { link.target() };
        }
    }

    /// Hands out all that were not retired.
    pub fn drain(&mut self, free: impl Fn(*mut Node<Mark<T>>)) {
        let mut next = self.head.swap(ptr::null_mut(), Ordering::Relaxed); // exclusive
        while !next.is_null() {
            // SAFETY: exclusive; what is above an end was not retired.
            let link = unsafe { self.prev_of(next) }.link();
            free(next);
            next = if link.is_end() { ptr::null_mut() } else { link.target() };
        }
    }
}
