//! The descriptor of a commit of several writes: one word decides for all of them.

use super::{Milestones, Order, discard};
use crate::chain::{Chain, Link, Live, Node, NodeRef, Record, RecordRef};
use crate::removal::RemovalCause;
use crate::sync::hook::{mutant, step};
use crate::sync::time::NEVER;
use crate::sync::{AtomicU64, AtomicUsize, Ordering, fence_after_rmw};
use crate::version::State;
use std::cell::Cell;
use std::ptr::NonNull;

/// The status of a version.
pub enum VersionStatus<K, V> {
    /// The version is committed. This is its final state.
    Committed(State),
    /// The version is never visible.
    Aborted,
    /// The commit of the version is still being installed. A writer helps it before it supersedes
    /// the version. A reader goes on to the version below.
    Installing(*const Descriptor<K, V>),
}

/// One write of a commit: the version, and the record that it goes into.
pub struct Entry<K, V> {
    pub record: *const Record<K, V>,
    pub node: *mut Node<V>,
    /// Why it takes away what it supersedes. `None`: it is a witness, put where something is demanded and nothing written.
    pub cause: Option<RemovalCause>,
}

/// After how many entries the hint of what is installed moves on.
const HINT: usize = if cfg!(coeval_loom) { 1 } else { 16 };

/// What must be so for the commit to succeed.
pub struct Expected {
    /// Of which entry's key.
    pub entry: usize,
    pub precondition: Precondition,
}

/// What must be so of a key.
#[derive(Clone, Copy)]
pub enum Precondition {
    /// It holds this version, whose deadline has not come. (`compare_and_set`)
    Holds(u64),
    /// It is absent, for one who looked at this time: what had a deadline until then is. (`compare_and_set`)
    IsAbsent(u64),
    /// If it holds a value, its deadline has not come. (What a transaction has read)
    IsInTime,
    /// No commit after this version has written or cleared it. (A lease)
    UnchangedSince(u64),
    /// It is absent, as it was at this version. (What a transaction has found absent: to clear or end that is no change)
    AbsentSince(u64),
    /// No commit after this version is among these, which invalidate a tag that it has. (What a transaction has read)
    NotEndedSince(NonNull<Milestones<()>>, u64),
}

/// A commit of several writes. Helpers find it through the versions that it has installed.
///
/// `state` goes *installing* → *ready* → *committed at a version* (or *aborted*, when something is
/// not as expected). The owner keeps a guard from before the records were located until the
/// outcome stands in every version; so while it is undecided none of its records can be sealed.
#[repr(align(64))]
pub struct Descriptor<K, V> {
    state: AtomicU64,
    /// How many entries, from the front, are known to be installed. A hint that saves helpers work.
    installed: AtomicUsize,
    entries: NonNull<[Entry<K, V>]>,
    expected: NonNull<[Expected]>,
}

const _: () = assert!(align_of::<Descriptor<(), ()>>() == State::ALIGN);

// SAFETY: it is shared with helpers on other threads: they reach keys and values through it.
unsafe impl<K: Send + Sync, V: Send + Sync> Send for Descriptor<K, V> {}
// SAFETY: as above.
unsafe impl<K: Send + Sync, V: Send + Sync> Sync for Descriptor<K, V> {}

impl<K, V> Descriptor<K, V> {
    /// A commit that has not begun, to be made if all is as `expected`; both lists live as long as it does. Entries
    /// are sorted by the address of their record and name each record once: the order in which all commits install,
    /// which is what lets helping end. It is stable, since a record cannot be replaced while the guard of a commit
    /// that names it lives.
    ///
    /// # Safety
    /// So they do, and nobody changes them.
    pub unsafe fn new(entries: NonNull<[Entry<K, V>]>, expected: NonNull<[Expected]>) -> Self {
        let made = Self {
            state: AtomicU64::new(State::INSTALLING.0),
            installed: AtomicUsize::new(0),
            entries,
            expected,
        };
        debug_assert!(made.entries().is_sorted_by(|a, b| a.record < b.record));
        made
    }

    /// The writes.
    pub fn entries(&self) -> &[Entry<K, V>] {
        // SAFETY: they live as long as the descriptor (`new`).
        unsafe { self.entries.as_ref() }
    }

    /// What is expected.
    pub fn expected(&self) -> &[Expected] {
        // SAFETY: as above.
        unsafe { self.expected.as_ref() }
    }

    fn state(&self) -> State {
        // Acquire: pairs with the CASes below: who sees ready sees every version installed, who sees
        // an outcome sees what led to it.
        State(self.state.load(Ordering::Acquire))
    }

    fn advance(&self, from: State, to: State) -> State {
        // AcqRel: pairs with `state` on both sides.
        match self.state.compare_exchange(from.0, to.0, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => to,
            Err(now) => State(now),
        }
    }

    /// The outcome, stamping a ready commit first. `None`: still installing.
    pub fn outcome(&self, order: &Order, live: Live<'_>) -> Option<State> {
        let state = self.state();
        if state.is_ready() {
            if mutant("commit.pass_by_ready") {
                return None;
            }
            return Some(self.stamp(order, live));
        }
        (state != State::INSTALLING).then_some(state)
    }

    /// Installs what is not installed yet and decides. An error names a commit that stands in the way.
    ///
    /// # Safety
    /// As for [`Order::help`].
    pub unsafe fn complete(
        &self,
        order: &Order,
        retire: &impl Fn(&Record<K, V>, *mut Node<V>),
    ) -> Result<State, *const Self> {
        // SAFETY: the caller's promise.
        let live = unsafe { Live::assumed() };
        // Before an entry is touched: while the commit is undecided its records live, and our guard
        // keeps them from now on.
        if let Some(outcome) = self.outcome(order, live) {
            return Ok(outcome);
        }
        // Acquire: pairs with the Release below, so that *ready* is set after every install.
        let relaxed = mutant("commit.relaxed_hint");
        let acquire = if relaxed { Ordering::Relaxed } else { Ordering::Acquire };
        let start = self.installed.load(acquire);
        for (index, entry) in self.entries().iter().enumerate().skip(start) {
            // SAFETY: the caller's promise, and the argument above.
            if !unsafe { self.install(entry, order, retire) }? {
                break;
            }
            if (index + 1).is_multiple_of(HINT) {
                self.installed.fetch_max(index + 1, Ordering::AcqRel);
            }
            if mutant("commit.ready_early") {
                break;
            }
        }
        step("commit.before_ready");
        self.advance(State::INSTALLING, State::READY);
        step("commit.ready");
        Ok(self.stamp(order, live))
    }

    /// Makes one version the head of its record; false if the commit is decided already.
    ///
    /// A helper may be arbitrarily late, so the order matters: `prev`, then the head, then the
    /// state. Undecided at the last means that our version was not superseded, hence (the head being
    /// another) not yet installed when the head was read; and a head never comes back, so the CAS on
    /// the head succeeds only if that is still so.
    unsafe fn install(
        &self,
        entry: &Entry<K, V>,
        order: &Order,
        retire: &impl Fn(&Record<K, V>, *mut Node<V>),
    ) -> Result<bool, *const Self> {
        // SAFETY: the commit was undecided under the caller's guard, so the record is alive and its
        // memory, and that of the version, is kept by that guard.
        let (record, prev) = unsafe { (&*entry.record, (*entry.record).prev_of(entry.node)) };
        loop {
            let link = prev.link();
            let head = record.head();
            if self.state() != State::INSTALLING {
                return Ok(false);
            }
            if head.node() == entry.node {
                return Ok(true);
            }
            // SAFETY: the caller's guard.
            let below = unsafe { order.below(RecordRef::new(record), head) }?;
            if link.target() != below {
                step("install.before_prev");
                let linked = prev.replace(link, Link::open(below));
                // Going on although it failed would lose a version: `prev` must be the head replaced.
                if !linked && !mutant("commit.ignore_failed_prev") {
                    continue;
                }
            }
            step("install.before_head");
            if record.install(head, entry.node) {
                step("install.installed");
                // SAFETY: superseded by this very CAS.
                unsafe { discard(record, head, below, retire) };
                return Ok(true);
            }
        }
    }

    /// Decides a ready commit: the one atomic step that publishes all its writes.
    fn stamp(&self, order: &Order, live: Live<'_>) -> State {
        loop {
            let state = self.state();
            if !state.is_ready() {
                return state;
            }
            let early = mutant("commit.time_first").then(|| order.timer.now());
            let version = order.clock.tick(); // only after ready was seen
            step("commit.ticked");
            let time = Cell::new(early);
            match self.verdict(order, version, &time, live) {
                None => continue, // everything was cleared after we took the number: take another
                Some(outcome) => return self.advance(State::READY, outcome),
            }
        }
    }

    /// What a commit at `version` would be. A helper computes it from what no longer changes, the `prev` of an
    /// installed version and the watermark as of `version`, and from what may change, but then for larger numbers only: a
    /// tag may be invalidated, and a deadline may come, after that was looked at. So one helper may say so, and another,
    /// later and by a larger number, otherwise: each is right, and the one counts that is first to say it.
    fn verdict(
        &self,
        order: &Order,
        version: u64,
        time: &Cell<Option<u64>>,
        live: Live<'_>,
    ) -> Option<State> {
        if self.expected().is_empty() {
            return Some(State::committed(version));
        }
        let unaware = mutant("commit.unaware_of_floor");
        let watermark = if unaware { 0 } else { order.watermark.newest(&order.clock, live) };
        if watermark > version {
            return None;
        }
        let all = self
            .expected()
            .iter()
            .all(|expected| self.is_so(expected, order, (watermark, live), time));
        Some(if all { State::committed(version) } else { State::ABORTED })
    }

    /// The time by which a verdict goes: read once, and after its number was taken. Who has judged by a later time
    /// before, as of a smaller number, did so before this commit; see `docs/protocol.md`.
    fn time(order: &Order, time: &Cell<Option<u64>>) -> u64 {
        if time.get().is_none() {
            fence_after_rmw(); // partner: the fences in `Order::instant` and `Engine::present`
            time.set(Some(order.timer.now()));
        }
        time.get().expect("read")
    }

    /// Whether a key is as expected, beneath what is installed, when everything up to `watermark` was
    /// cleared.
    fn is_so(
        &self,
        expected: &Expected,
        order: &Order,
        (watermark, live): (u64, Live<'_>),
        time: &Cell<Option<u64>>,
    ) -> bool {
        let Entry { record, node, .. } = &self.entries()[expected.entry];
        // SAFETY: the commit is undecided, so record and version are kept by its owner and by the
        // guard. What an undecided version supersedes is kept likewise, and its state is final.
        let prev = unsafe {
            let below = (**record).prev_of(*node).link().target();
            below.as_ref().map(|below| NodeRef::new(below))
        };
        let visible =
            || prev.and_then(NodeRef::visible).filter(|visible| visible.number() > watermark);
        match expected.precondition {
            Precondition::Holds(version) => visible().is_some_and(|visible| {
                visible.number() == version && Self::is_in_time(visible.node(), order, time)
            }),
            Precondition::IsAbsent(time) => {
                visible().is_none_or(|visible| visible.is_expired(time))
            }
            Precondition::IsInTime => {
                visible().is_none_or(|visible| Self::is_in_time(visible.node(), order, time))
            }
            Precondition::UnchangedSince(version) => {
                let newest = prev.map_or(0, |node| node.state().version());
                newest.max(watermark) <= version
            }
            Precondition::AbsentSince(version) => prev
                .and_then(NodeRef::visible)
                .is_none_or(|value| value.number() <= version.max(watermark)),
            Precondition::NotEndedSince(ended, version) => {
                // SAFETY: of a tag of a value that was read. The owner's view keeps both while the
                // commit is undecided, which it was under our guard.
                unsafe { ended.as_ref() }.newest(&order.clock, live) <= version
            }
        }
    }

    /// Whether a value's deadline, if it has one, has not come.
    fn is_in_time(node: NodeRef<'_, V>, order: &Order, time: &Cell<Option<u64>>) -> bool {
        let terms = node.terms().filter(|terms| terms.deadline() != NEVER);
        terms.is_none_or(|terms| !terms.is_expired(Self::time(order, time)))
    }
}
