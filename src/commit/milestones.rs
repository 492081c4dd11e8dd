//! Commits of which only the number matters, in a chain of their own: those that clear everything, or all entries
//! of a tag. A version that is older than the newest of them that the reader may see is absent. So one costs the same for
//! ten entries as for ten million and holds nobody up.

use super::{Limit, ReadAt, ViewPlace, Views, prune, take_out, take_suffix};
use crate::chain::{Chain, Linked, Live, Node, NodeRef, Prev};
use crate::sync::hook::{mutant, step};
use crate::sync::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};
use crate::version::{Clock, State};
use std::ptr;

/// A chain of such commits, newest first, each with something that begins with it. Of those between two views that are
/// next to each other only the newest stays.
pub struct Milestones<T> {
    head: AtomicPtr<Node<Milestone<T>>>,
    /// How many are in the chain, or about to be.
    count: AtomicUsize,
    /// Whether somebody has the right to take some out of the middle.
    trimming: AtomicU32,
}

/// What such a commit says.
pub struct Milestone<T> {
    /// What begins with it.
    begins: T,
    /// The one that it superseded, for those who may ask what was before this commit. Set before it is installed.
    superseded: AtomicPtr<Node<Milestone<T>>>,
}

impl<T> Milestone<T> {
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

impl<T> Chain<Milestone<T>> for Milestones<T> {
    unsafe fn prev_of(&self, node: *const Node<Milestone<T>>) -> &Prev<Milestone<T>> {
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
    fn head(&self) -> *mut Node<Milestone<T>> {
        // Acquire: pairs with the install in `add`.
        self.head.load(Ordering::Acquire)
    }

    /// The newest commit of the chain, which may be ready only.
    #[inline(always)]
    fn top<'g>(&self, _: Live<'g>) -> Option<NodeRef<'g, Milestone<T>>> {
        // SAFETY: reached from the head. What is superseded is retired through the guard.
        unsafe { self.head().as_ref().map(|node| NodeRef::new(node)) }
    }

    /// Whether there are none.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.head.load(Ordering::Relaxed).is_null() // a hint
    }

    /// The number of the newest; 0 if there is none. Stamps one that is ready.
    #[inline(always)]
    pub fn newest(&self, clock: &Clock, live: Live<'_>) -> u64 {
        self.top(live).map_or(0, |top| Self::version(top, clock))
    }

    /// The same, unless it is yet to be stamped.
    #[inline(always)]
    pub fn newest_stamped(&self, live: Live<'_>) -> Option<u64> {
        let Some(top) = self.top(live) else { return Some(0) };
        let state = top.state();
        state.is_committed().then(|| state.version())
    }

    /// What begins with the newest, which is decided then.
    #[inline(always)]
    pub fn newest_of<'g>(&self, clock: &Clock, live: Live<'g>) -> Option<&'g T> {
        let top = self.top(live)?;
        Self::version(top, clock);
        Some(&Self::mark(top).begins)
    }

    /// What such a commit says.
    fn mark<'g>(node: NodeRef<'g, Milestone<T>>) -> &'g Milestone<T> {
        // SAFETY: each node of a chain is made with a mark, which is taken out only when the node
        // is freed.
        unsafe { node.get().value() }
    }

    #[cold]
    fn version(node: NodeRef<'_, Milestone<T>>, clock: &Clock) -> u64 {
        let mut state = node.state();
        if state.is_ready() && mutant("floor.pass_by_ready") {
            return 0;
        }
        if state.is_ready() {
            state = node.stamp(state, State::committed(clock.tick()));
        }
        state.version()
    }

    /// The number of the newest as of an instant, and what begins with it. Goes over those that are
    /// newer: as of a view, of which there are not many more than open views; as of now, those that
    /// came during the guard.
    #[inline(always)]
    pub fn at<'g>(&self, clock: &Clock, at: ReadAt<'g>) -> Option<(u64, &'g T)> {
        let top = self.top(at.live())?;
        self.at_from(top, clock, at)
    }

    fn at_from<'g>(
        &self,
        top: NodeRef<'g, Milestone<T>>,
        clock: &Clock,
        at: ReadAt<'g>,
    ) -> Option<(u64, &'g T)> {
        let (limit, is_registered) = match at.limit() {
            Limit::Newest => (u64::MAX, true),
            Limit::View(version) => (version, true),
            Limit::Now(version) => (version, false),
        };
        let mut next = Some(top);
        while let Some(node) = next {
            let (version, mark) = (Self::version(node, clock), Self::mark(node));
            if version <= limit {
                return Some((version, &mark.begins));
            }
            // What no registered view needs may have been taken out of the chain. As of now it is
            // still there: it was superseded after the limit was read, so retired during the guard.
            let below = if is_registered || mutant("milestones.by_links") {
                // SAFETY: of this chain, and kept.
                unsafe { self.prev_of(node.get()) }.link().target()
            } else {
                mark.superseded.load(Ordering::Relaxed) // set before it was installed
            };
            // SAFETY: kept by the guard, or by the view; see above, and `Order::version_at`.
            next = unsafe { below.as_ref().map(|below| NodeRef::new(below)) };
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
        fresh: *mut Node<Milestone<T>>,
        retire: impl Fn(*mut Node<Milestone<T>>),
        retire_place: impl Fn(*mut ViewPlace),
    ) -> u64 {
        // SAFETY: the caller's promise: a guard is live, and ours keeps what we put there.
        let (own, live) = unsafe { (NodeRef::new(&*fresh), Live::assumed()) };
        let mark = Self::mark(own);
        self.count.fetch_add(1, Ordering::Relaxed);
        let before = loop {
            let head = self.head();
            // SAFETY: reached from the head under the guard.
            let top = unsafe { head.as_ref().map(|node| NodeRef::new(node)) };
            // Nobody supersedes an undecided version.
            let before = top.map_or(0, |top| Self::version(top, clock));
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
        let version = Self::version(own, clock);
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
                        self.trimming(clock, live, |top| _ = take_out(self, top, before, retire));
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

    /// Claims the right to take some out of the middle, and acts, unless somebody has it: they are
    /// trimmed later.
    fn trimming(&self, clock: &Clock, live: Live<'_>, act: impl FnOnce(&Node<Milestone<T>>)) {
        // Acquire and Release: each sees what the last one did.
        if self.trimming.swap(1, Ordering::Acquire) == 0 || mutant("milestones.unclaimed") {
            step("milestones.claimed");
            // Only now: what was newest before may have been taken out.
            if let Some(top) = self.top(live) {
                Self::version(top, clock);
                act(&top);
            }
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
        retire: impl Fn(*mut Node<Milestone<T>>),
        retire_place: impl Fn(*mut ViewPlace),
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
        retire: impl Fn(*mut Node<Milestone<T>>),
        retire_place: impl Fn(*mut ViewPlace),
    ) {
        if self.is_empty() || !self.is_long(views) {
            return;
        }
        // SAFETY: the caller's promise; what is newest is decided, the guard keeps the views, and ours is the right.
        unsafe {
            self.trimming(clock, Live::assumed(), |top| {
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
    pub unsafe fn each(&self, mut show: impl FnMut(*mut Node<Milestone<T>>)) {
        let mut next = self.head();
        while !next.is_null() {
            show(next);
            // SAFETY: the caller's promise.
            let link = unsafe { self.prev_of(next) }.link();
            next = if link.is_end() { ptr::null_mut() } else { link.target() };
        }
    }

    /// Hands out all that were not retired.
    pub fn drain(&mut self, free: impl Fn(*mut Node<Milestone<T>>)) {
        let mut next = self.head.swap(ptr::null_mut(), Ordering::Relaxed); // exclusive
        while !next.is_null() {
            // SAFETY: exclusive; what is above an end was not retired.
            let link = unsafe { self.prev_of(next) }.link();
            free(next);
            next = if link.is_end() { ptr::null_mut() } else { link.target() };
        }
    }
}
