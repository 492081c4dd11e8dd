//! How versions are installed, decided by one atomic step, and disposed of.
//!
//! This module receives records and looks up no key. Its rules are in `docs/protocol.md`.

mod clear_watermark;
mod descriptor;
mod dispose;
mod guarded;
mod instant;
mod joint;
mod joint_pool;
mod joint_view;
mod milestones;
mod opener;
mod quiet;
mod resolve;
mod stack;
mod view_place;
mod views;

pub use clear_watermark::{ClearWatermark, Era};
pub use descriptor::{Descriptor, Entry, Expected, Precondition, UnknownKey, VersionStatus};
pub use dispose::{PruneOutcome, prune, take_out, withdraw};
pub use guarded::GuardedInstant;
pub use instant::{Limit, ReadAt, TakenOut};
pub use joint::{Joint, JointPart, Partner};
pub use joint_pool::{JointPool, Membership};
pub use joint_view::JointInstant;
pub use milestones::{Milestone, Milestones, close_link};
pub use opener::{CodePlace, Opener};
pub use quiet::Quiet;
pub use resolve::Resolved;
pub use stack::{ClosableList, Drained, Stack};
pub use view_place::{AnnouncedPlace, DeferredPrune, Registered, ViewPlace};
pub use views::{ShownView, ViewCursor, Views};

use crate::chain::{Chain, Head, Node, NodeRef, Record, RecordRef};
use crate::sync::hook::{mutant, step};
use crate::sync::time::Timer;
use crate::sync::{AtomicU32, Ordering, fence_after_rmw};
use crate::version::{Clock, State};
use std::ptr;

/// The order of the commits of one cache: the clock, which is that of its domain, and the commits
/// that clear everything.
pub struct Order {
    pub clock: Clock,
    pub watermark: ClearWatermark,
    /// The time for deadlines.
    timer: Timer,
    /// The reasons why a look-up must do more than find a plain version; 0 if there is none.
    notable: AtomicU32,
}

/// Everything was cleared at least once, so a version may be at or below the clear watermark.
const CLEARED: u32 = 1;
/// Look-ups are recorded.
const WATCHED: u32 = 2;

impl Order {
    /// Makes the order of an empty cache, with a timer of its own.
    #[cfg(any(coeval_loom, coeval_internals))]
    pub fn new() -> Self {
        Self::timed(Clock::new(), Timer::new())
    }

    /// Makes the order of an empty cache of a domain with this clock, with a timer of its own.
    #[cfg(any(coeval_loom, coeval_internals))]
    pub fn in_domain(clock: &Clock) -> Self {
        Self::timed(clock.clone(), Timer::new())
    }

    /// Makes the order of an empty cache. Caches of one domain have one clock.
    pub fn timed(clock: Clock, timer: Timer) -> Self {
        Self { clock, watermark: ClearWatermark::new(), timer, notable: AtomicU32::new(0) }
    }

    /// The timer.
    pub fn timer(&self) -> &Timer {
        &self.timer
    }

    /// Clears everything by one commit. Returns its number.
    ///
    /// # Safety
    /// As for [`ClearWatermark::clear`].
    pub unsafe fn clear(
        &self,
        views: &Views,
        retire: impl Fn(*mut Node<Milestone<Era>>),
        retire_place: impl Fn(*mut ViewPlace),
    ) -> u64 {
        // Before the commit is visible. Relaxed: a thread that sees this commit or a later one sees
        // the number that was taken after this write, and so sees this write.
        self.notable.fetch_or(CLEARED, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { self.watermark.clear(&self.clock, views, retire, retire_place) }
    }

    /// Turns the recording of look-ups on or off. While it is on, no look-up takes the fast path.
    pub fn watch(&self, on: bool) {
        // Relaxed: threads may see the change later.
        if on {
            self.notable.fetch_or(WATCHED, Ordering::Relaxed);
        } else {
            self.notable.fetch_and(!WATCHED, Ordering::Relaxed);
        }
    }

    /// Whether look-ups are recorded.
    #[inline(always)]
    pub fn is_watched(&self) -> bool {
        // Models record nothing. The load would only multiply their schedules.
        !cfg!(coeval_loom) && self.notable.load(Ordering::Relaxed) & WATCHED != 0
    }

    /// The clear watermark at the instant `at` of a commit, and the era of that instant.
    #[inline(always)]
    pub fn era_at<'g>(&'g self, at: impl FnOnce() -> ReadAt<'g>) -> (u64, &'g Era) {
        // A commit that cleared everything at or before the instant took its number after this bit
        // was set, so a thread that has seen the instant's number sees the bit.
        if self.notable.load(Ordering::Relaxed) & CLEARED == 0 {
            return (0, &self.watermark.first);
        }
        self.watermark.at(&self.clock, at())
    }

    /// Returns the status of a version. **Each thread that meets a ready commit stamps it before it
    /// judges the version.** So no two threads judge a version differently, and a number is taken
    /// only after *ready* was seen.
    #[inline(always)]
    pub fn status<K, V>(&self, node: NodeRef<'_, V>) -> VersionStatus<K, V> {
        let state = node.state();
        if state.is_committed() {
            return VersionStatus::Committed(state);
        }
        self.status_of_undecided(node, state)
    }

    #[cold]
    fn status_of_undecided<K, V>(&self, node: NodeRef<'_, V>, state: State) -> VersionStatus<K, V> {
        if state.is_aborted() {
            return VersionStatus::Aborted;
        }
        if state.is_ready() {
            if mutant("commit.pass_by_ready") {
                return VersionStatus::Aborted;
            }
            return VersionStatus::Committed(self.stamp_single(&node, state));
        }
        let descriptor = ptr::with_exposed_provenance::<Descriptor<K, V>>(state.descriptor());
        // SAFETY: the state of a version names its descriptor until the outcome is copied, and the
        // descriptor is retired only after the outcome was copied to all its versions. The guard
        // that keeps the version was live when this thread read the name, so it keeps the
        // descriptor.
        let outcome = unsafe { &*descriptor }.outcome(self, node.live());
        match outcome {
            None => VersionStatus::Installing(descriptor),
            Some(outcome) => {
                step("commit.outcome_seen");
                node.set_outcome(outcome);
                let state = state.with_outcome(outcome);
                if state.is_committed() {
                    VersionStatus::Committed(state)
                } else {
                    VersionStatus::Aborted
                }
            }
        }
    }

    /// Gives a ready single write its number, and returns its final state.
    pub fn stamp_single<V>(&self, node: &Node<V>, ready: State) -> State {
        // The number is taken after *ready* was seen, so it is larger than the version of any view
        // that was opened before.
        let version = self.clock.tick();
        step("commit.ticked");
        node.stamp(ready, State::committed(version))
    }

    /// Completes the commit `descriptor`, and first each commit that blocks it. Returns the
    /// outcome. Lock-free: each round installs a version, or finds that another thread did.
    ///
    /// # Safety
    /// `descriptor` was found undecided under a guard that is still live. `retire` retires a
    /// version that was superseded in `record`; it is called once for each.
    pub unsafe fn help<K, V>(
        &self,
        descriptor: *const Descriptor<K, V>,
        retire: &impl Fn(&Record<K, V>, *mut Node<V>),
    ) -> State {
        let mut current = descriptor;
        loop {
            // SAFETY: for `descriptor`, the caller's promise. `status` found a blocking commit
            // under the same guard.
            match unsafe { (*current).complete(self, retire) } {
                // A blocking commit has installed all its versions in records with smaller
                // addresses, and in this one. So it can be blocked only at a larger address, and
                // the chain of blocking commits ends.
                Err(blocking) => current = blocking,
                Ok(outcome) if ptr::eq(current, descriptor) => return outcome,
                Ok(_) => current = descriptor,
            }
        }
    }

    /// Installs the *ready* version `node` above `record`'s chain and stamps it. Returns its final
    /// state. If `node` would supersede another version than `over` says, installs nothing and
    /// returns `None`.
    ///
    /// # Safety
    /// `record` was revived under a guard that is still live. `node` was made for it under the same
    /// guard, its state is `READY`, and no other thread has seen it. (While no other thread knows
    /// the cache, its state may be committed, to a number that no version of the record exceeds.)
    /// `retire` as for [`help`](Self::help).
    #[inline(always)]
    pub unsafe fn write<'g, K, V>(
        &self,
        record: RecordRef<'g, K, V>,
        node: *mut Node<V>,
        over: Over<'g, V>,
        retire: &impl Fn(&Record<K, V>, *mut Node<V>),
    ) -> Option<State> {
        // SAFETY: no other thread has seen it.
        let new = unsafe { &*node };
        loop {
            let head = record.head();
            debug_assert!(!head.is_sealed());
            // SAFETY: read from the record's head.
            let below = match unsafe { self.below(record, head) } {
                Ok(below) => below,
                Err(blocking) => {
                    // SAFETY: found under the caller's guard.
                    unsafe { self.help(blocking, retire) };
                    continue;
                }
            };
            if !over.is(below) {
                return None;
            }
            // SAFETY: made for this record, and not seen by any other thread.
            unsafe { record.get().prev_of(node) }.init(below);
            if mutant("commit.stamped_first") {
                new.set_outcome(State::committed(self.clock.tick()));
            }
            step("write.before_install");
            if over.install(&record, head, node) {
                step("write.installed");
                // SAFETY: the caller's guard keeps the head; this install alone superseded it.
                unsafe { discard(record.get(), head, below, retire) };
                let state = new.state(); // another thread may have stamped it
                let ready = state.is_ready();
                return Some(if ready { self.stamp_single(new, state) } else { state });
            }
        }
    }

    /// Returns the version that a version installed above `head` supersedes: the newest one that is
    /// not aborted. An error names the commit to help first.
    ///
    /// # Safety
    /// `head` was read from the record under the guard that keeps it.
    unsafe fn below<K, V>(
        &self,
        record: RecordRef<'_, K, V>,
        head: Head<V>,
    ) -> Result<*mut Node<V>, *const Descriptor<K, V>> {
        let top = head.node();
        // SAFETY: the caller's promise.
        let Some(node) = (unsafe { top.as_ref().map(|top| NodeRef::new(top)) }) else {
            return Ok(top);
        };
        match self.status::<K, V>(node) {
            VersionStatus::Committed(_) => Ok(top),
            // An aborted version supersedes nothing, and the version installed above it skips it.
            // So the version below it is not aborted.
            VersionStatus::Aborted => Ok(record.prev_of(node).link().target()),
            VersionStatus::Installing(descriptor) => Err(descriptor),
        }
    }
}

/// Which version a write of one key may supersede.
pub enum Over<'g, V> {
    /// Whatever is the newest version.
    Any,
    /// Only this version.
    Only(NodeRef<'g, V>),
    /// Only this version; and the record is condemned by the same step.
    Last(NodeRef<'g, V>),
}

impl<V> Clone for Over<'_, V> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<V> Copy for Over<'_, V> {}

impl<V> Over<'_, V> {
    #[inline(always)]
    fn is(self, below: *mut Node<V>) -> bool {
        match self {
            Over::Any => true,
            Over::Only(over) | Over::Last(over) => over.is(below),
        }
    }

    #[inline(always)]
    fn install<K>(self, record: &Record<K, V>, seen: Head<V>, node: *mut Node<V>) -> bool {
        match self {
            Over::Last(_) => record.install_last(seen, node),
            _ => record.install(seen, node),
        }
    }
}

impl Views {
    /// Whether no view seems to be registered. Only a hint.
    #[inline(always)]
    pub fn seem_none(&self) -> bool {
        self.registered.load(Ordering::Relaxed) == 0
    }

    /// Whether no view can need what a commit superseded. Called after the stamp of the commit was
    /// seen, and after a `SeqCst` read-modify-write by the caller.
    #[inline(always)]
    pub fn none(&self) -> bool {
        if !mutant("views.no_fence") {
            fence_after_rmw(); // partners: the fences in `open` and `ViewPlace::version`
        }
        // Acquire: pairs with `close`.
        self.registered.load(Ordering::Acquire) == 0
    }
}

/// Retires the version in `head` if it was aborted, after a version installed above it superseded
/// it together with `below`. A witness is retired with its commit instead.
///
/// # Safety
/// The caller's install superseded the version in `head`, under the guard under which `head` was
/// read.
pub unsafe fn discard<K, V>(
    record: &Record<K, V>,
    head: Head<V>,
    below: *mut Node<V>,
    retire: &impl Fn(&Record<K, V>, *mut Node<V>),
) {
    let top = head.node();
    // SAFETY: the caller's guard keeps it.
    if below != top && !unsafe { (*top).state() }.is_witness() {
        retire(record, top);
    }
}

/// Retires every version below `node`, none of which a later reader needs. The thread that marks a
/// link retires its target, so each version is retired once, however many threads do this at a
/// time.
///
/// `own` says that the caller owns the commit of `node` and is done with what it superseded.
///
/// # Safety
/// `node` is committed and was reached under a live guard. Each view that is registered now or
/// later is at its version or later. `retire` retires a version of this chain.
#[inline(always)]
pub unsafe fn take_suffix<V>(
    chain: &impl Chain<V>,
    node: &Node<V>,
    own: bool,
    retire: impl Fn(*mut Node<V>),
) {
    let mut node = ptr::from_ref(node);
    let mut own = own;
    // SAFETY: the caller's promise.
    while let Some(next) = unsafe { take_one(chain, node, own) } {
        own = false;
        retire(next);
        // It was retired during the caller's guard at the earliest, so that guard keeps it.
        node = next;
    }
}

/// Marks the link of `node`. Returns its old target, which the caller retires; `None` if the chain
/// ends here.
///
/// # Safety
/// As for [`take_suffix`]; `node` is of this chain, and the caller's guard keeps it.
#[inline(always)]
unsafe fn take_one<V>(
    chain: &impl Chain<V>,
    node: *const Node<V>,
    own: bool,
) -> Option<*mut Node<V>> {
    // SAFETY: the caller's promise.
    let prev = unsafe { chain.prev_of(node) };
    loop {
        let link = prev.link();
        if link.is_end() {
            return None;
        }
        let taken = if own { link.taken().closed() } else { link.taken() };
        if prev.replace(link, taken) {
            step("dispose.taken");
            return Some(link.target());
        }
    }
}
