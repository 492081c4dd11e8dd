//! Milestones: commits that change no key and matter by their number only. They clear everything,
//! or all entries of a tag. They form a chain of their own. A version that is older than the newest
//! milestone that the reader may see is absent. So a milestone costs the same for ten entries as
//! for ten million, and delays no other operation.

use super::{Limit, ReadAt, ViewPlace, Views, prune, take_out, take_suffix};
use crate::chain::{Chain, Linked, Live, Node, NodeRef, Prev};
use crate::sync::hook::{mutant, step};
use crate::sync::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};
use crate::version::{Clock, State};
use std::ptr;

/// A chain of milestones, newest first. Of the milestones between two neighbouring views only the
/// newest one stays.
pub struct Milestones<T> {
    head: AtomicPtr<Node<Milestone<T>>>,
    /// The number of milestones that are in the chain, or about to be.
    count: AtomicUsize,
    /// Whether a thread has the right to take milestones out of the middle.
    trimming: AtomicU32,
}

/// A commit that matters by its number only.
pub struct Milestone<T> {
    /// The period that begins with the milestone.
    begins: T,
    /// The milestone that this one superseded, for readers as of an earlier instant. Set before
    /// this one is installed.
    superseded: AtomicPtr<Node<Milestone<T>>>,
}

impl<T> Milestone<T> {
    /// Makes a milestone with which `begins` begins.
    pub fn new(begins: T) -> Self {
        Self { begins, superseded: AtomicPtr::new(ptr::null_mut()) }
    }
}

/// Closes the link of `node`: other threads may take out the version below.
///
/// # Safety
/// `node` is a version of the chain, and the caller's guard keeps it.
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
        // SAFETY: the caller's promise. All nodes of the chain are made as a `Linked` (`add`).
        unsafe { Linked::prev_of(node) }
    }
}

impl<T> Milestones<T> {
    /// Makes an empty chain.
    pub fn new() -> Self {
        let (count, trimming) = (AtomicUsize::new(0), AtomicU32::new(0));
        Self { head: AtomicPtr::new(ptr::null_mut()), count, trimming }
    }

    #[inline(always)]
    fn head(&self) -> *mut Node<Milestone<T>> {
        // Acquire: pairs with the install in `add`.
        self.head.load(Ordering::Acquire)
    }

    /// The newest milestone, which may be ready only.
    #[inline(always)]
    fn top<'g>(&self, _: Live<'g>) -> Option<NodeRef<'g, Milestone<T>>> {
        // SAFETY: read from the head. A superseded milestone is retired through the guard.
        unsafe { self.head().as_ref().map(|node| NodeRef::new(node)) }
    }

    /// Whether there is no milestone.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.head.load(Ordering::Relaxed).is_null() // Relaxed: a hint.
    }

    /// The number of the newest milestone; 0 if there is none. Stamps a ready one.
    #[inline(always)]
    pub fn newest(&self, clock: &Clock, live: Live<'_>) -> u64 {
        self.top(live).map_or(0, |top| Self::version(top, clock))
    }

    /// The number of the newest milestone; 0 if there is none. `None` if it is not stamped yet.
    #[inline(always)]
    pub fn newest_stamped(&self, live: Live<'_>) -> Option<u64> {
        let Some(top) = self.top(live) else { return Some(0) };
        let state = top.state();
        state.is_committed().then(|| state.version())
    }

    /// The period that begins with the newest milestone. Stamps a ready one.
    #[inline(always)]
    pub fn newest_of<'g>(&self, clock: &Clock, live: Live<'g>) -> Option<&'g T> {
        let top = self.top(live)?;
        Self::version(top, clock);
        Some(&Self::milestone(top).begins)
    }

    /// The milestone of a node.
    fn milestone<'g>(node: NodeRef<'g, Milestone<T>>) -> &'g Milestone<T> {
        // SAFETY: each node of a chain is made with a milestone, which is taken out only when the
        // node is freed.
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

    /// The number of the newest milestone as of an instant, and the period that begins with it.
    /// Visits the milestones that are newer. As of a view, there are not many more of these than
    /// open views; as of now, there are those that came during the guard.
    #[inline(always)]
    pub fn at<'g>(&self, clock: &Clock, at: ReadAt<'g>) -> Option<(u64, &'g T)> {
        let top = self.top(at.live())?;
        self.at_from(top, clock, at)
    }

    #[inline(never)]
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
            let (version, milestone) = (Self::version(node, clock), Self::milestone(node));
            if version <= limit {
                return Some((version, &milestone.begins));
            }
            // A milestone that no registered view needs may have been taken out of the chain. As of
            // now, `superseded` is still valid: that milestone was superseded after the limit was
            // read, so it was retired during the guard.
            let below = if is_registered || mutant("milestones.by_links") {
                // SAFETY: a node of this chain, which is kept.
                unsafe { self.prev_of(node.get()) }.link().target()
            } else {
                milestone.superseded.load(Ordering::Relaxed) // Relaxed: set before the install.
            };
            // SAFETY: the guard or the view keeps it; see above, and `Order::resolve`.
            next = unsafe { below.as_ref().map(|below| NodeRef::new(below)) };
        }
        None
    }

    /// Adds a milestone by one commit. Returns its number.
    ///
    /// # Safety
    /// A guard is live. `fresh` was made for this chain as a `Linked` with a value, in state
    /// *ready*, and no other thread has seen it. `retire` retires a node of this chain,
    /// `retire_place` a view's place.
    pub unsafe fn add(
        &self,
        clock: &Clock,
        views: &Views,
        fresh: *mut Node<Milestone<T>>,
        retire: impl Fn(*mut Node<Milestone<T>>),
        retire_place: impl Fn(*mut ViewPlace),
    ) -> u64 {
        // SAFETY: the caller's promise: a guard is live, and it keeps the node that this call adds.
        let (own, live) = unsafe { (NodeRef::new(&*fresh), Live::assumed()) };
        let milestone = Self::milestone(own);
        self.count.fetch_add(1, Ordering::Relaxed);
        let before = loop {
            let head = self.head();
            // SAFETY: read from the head under the guard.
            let top = unsafe { head.as_ref().map(|node| NodeRef::new(node)) };
            // An undecided version must not be superseded.
            let before = top.map_or(0, |top| Self::version(top, clock));
            // SAFETY: made for this chain, and not seen by any other thread.
            unsafe { self.prev_of(fresh) }.init(head);
            // Relaxed: the install publishes it.
            milestone.superseded.store(head, Ordering::Relaxed);
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
        // SAFETY: the caller's guard is live, and the commit is decided.
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

    /// Whether the milestones are so many that they are to be trimmed.
    fn is_long(&self, views: &Views) -> bool {
        self.count.load(Ordering::Relaxed) > 2 * views.count() + 1
    }

    /// Claims the right to take milestones out of the middle, and acts. If another thread has the
    /// right, does nothing: the milestones are trimmed later.
    fn trimming(&self, clock: &Clock, live: Live<'_>, act: impl FnOnce(&Node<Milestone<T>>)) {
        // Acquire and Release pair with each other: each holder of the right sees what the previous
        // one did.
        if self.trimming.swap(1, Ordering::Acquire) == 0 || mutant("milestones.unclaimed") {
            step("milestones.claimed");
            // The newest milestone is read after the claim. One that was read before may have been
            // taken out.
            if let Some(top) = self.top(live) {
                Self::version(top, clock);
                act(&top);
            }
            self.trimming.store(0, Ordering::Release);
        }
    }

    /// Retires the milestones that no view needs, if there are more than twice as many milestones
    /// as views. So the cost is bounded by the number of milestones that are retired.
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
        // SAFETY: the caller's promise. The newest milestone is decided, the guard keeps the views,
        // and this thread has the right.
        unsafe {
            self.trimming(clock, Live::assumed(), |top| {
                let newest = views.first_below(clock, top.state().version(), retire_place);
                prune(self, top, newest, retire);
            });
        }
    }

    /// Shows all milestones of the chain.
    ///
    /// # Safety
    /// No other thread uses the chain meanwhile.
    #[cfg(any(coeval_loom, coeval_internals))]
    pub unsafe fn each(&self, mut show: impl FnMut(*mut Node<Milestone<T>>)) {
        let mut next = self.head();
        while !next.is_null() {
            show(next);
            // SAFETY: the caller's promise.
            let link = unsafe { self.prev_of(next) }.link();
            next = if link.is_end() { ptr::null_mut() } else { link.target() };
        }
    }

    /// Passes all milestones that were not retired to `free`.
    pub fn drain(&mut self, free: impl Fn(*mut Node<Milestone<T>>)) {
        // Relaxed: `&mut self` is exclusive.
        let mut next = self.head.swap(ptr::null_mut(), Ordering::Relaxed);
        while !next.is_null() {
            // SAFETY: the access is exclusive. Nodes above an end were not retired.
            let link = unsafe { self.prev_of(next) }.link();
            free(next);
            next = if link.is_end() { ptr::null_mut() } else { link.target() };
        }
    }
}
