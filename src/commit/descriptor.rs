//! The descriptor of a commit of several writes: one word decides all of them.

use super::{Joint, Milestones, Order, discard};
use crate::chain::{Chain, Link, Live, Node, NodeRef, Record, RecordRef};
use crate::removal::RemovalCause;
use crate::sync::hook::{mutant, planted, step, too_early};
use crate::sync::time::NEVER;
use crate::sync::{AtomicU64, AtomicUsize, Ordering, fence_after_rmw};
use crate::version::State;
use std::cell::Cell;
use std::ptr::{self, NonNull};

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

/// One write of a commit: the version, and the record that receives it.
pub struct Entry<K, V> {
    pub record: *const Record<K, V>,
    pub node: *mut Node<V>,
    /// Why the version ends the value that it supersedes. `None` for a witness, which a commit
    /// installs where it has a precondition and writes nothing.
    pub cause: Option<RemovalCause>,
}

/// The number of entries after which the hint about installed entries advances.
const HINT_INTERVAL: usize = if cfg!(coeval_loom) { 1 } else { 16 };

/// A precondition of a commit on one of its keys.
pub struct Expected {
    /// The index of the entry with that key. Without meaning for an unknown key.
    pub entry: usize,
    pub precondition: Precondition,
}

/// What a commit requires of a key when it is decided.
#[derive(Clone, Copy)]
pub enum Precondition {
    /// The key holds this version, whose deadline has not passed. (`compare_and_set`)
    Holds(u64),
    /// The key is absent to an observer at this time: a value whose deadline passed until then
    /// counts as absent. (`compare_and_set`)
    IsAbsent(u64),
    /// If the key holds a value, its deadline has not passed. (A read of a transaction)
    IsInTime,
    /// No commit after this version wrote or cleared the key. (A lease)
    UnchangedSince(u64),
    /// The key is absent, as it was at this version. To clear or to end an absent value is no
    /// change. (A read of a transaction that found nothing)
    AbsentSince(u64),
    /// No commit after this version is among these, which invalidate a tag of the key's value. (A
    /// read of a transaction)
    NotEndedSince(NonNull<Milestones<()>>, u64),
    /// No commit after this version wrote a key with the hash of this one. (A read of a transaction
    /// that found no record)
    UnknownSince(UnknownKey, u64),
}

/// A key of which no record was found. It is known by its hash alone.
#[derive(Clone, Copy)]
pub struct UnknownKey {
    hash: u32,
    store: NonNull<()>,
    is_still_unknown: IsStillUnknown,
}

/// Whether no commit after a number wrote a key with this hash. It takes the store, the hash, the
/// number, and the address of the descriptor of the asking commit, whose own writes do not count.
type IsStillUnknown = unsafe fn(NonNull<()>, u32, u64, usize) -> bool;

impl UnknownKey {
    /// # Safety
    /// `is_still_unknown` may be called with this store as long as the store lives.
    pub unsafe fn new(hash: u32, store: NonNull<()>, is_still_unknown: IsStillUnknown) -> Self {
        Self { hash, store, is_still_unknown }
    }
}

/// A commit of several writes. Helpers find it through the versions that it has installed.
///
/// `state` goes *installing* → *ready* → *committed at a version*, or *aborted* if a precondition
/// is not met. The owner keeps a guard from before it locates the records until the outcome is in
/// every version. So no record of an undecided commit can be sealed.
///
/// The descriptor of a part of a [joint commit](Joint) stays *installing*, for good. The word of the
/// joint commit decides.
#[repr(align(64))]
pub struct Descriptor<K, V> {
    state: AtomicU64,
    /// How many entries, from the front, are known to be installed. A hint that saves helpers work.
    installed: AtomicUsize,
    entries: NonNull<[Entry<K, V>]>,
    expected: NonNull<[Expected]>,
    /// The joint commit of which this is a part, or null.
    joint: *const Joint,
}

const _: () = assert!(align_of::<Descriptor<(), ()>>() == State::ALIGN);

// SAFETY: helpers on other threads share it, and reach keys and values through it.
unsafe impl<K: Send + Sync, V: Send + Sync> Send for Descriptor<K, V> {}
// SAFETY: as above.
unsafe impl<K: Send + Sync, V: Send + Sync> Sync for Descriptor<K, V> {}

impl<K, V> Descriptor<K, V> {
    /// Makes a commit that has not begun. It succeeds if all of `expected` is met. Both lists live
    /// as long as the descriptor. Entries are sorted by the address of their record and name each
    /// record once. All commits install in this order, so helping ends. The order is stable,
    /// because a record cannot be replaced while the guard of a commit that names it lives. The
    /// commit is a part of `joint`, unless that is null.
    ///
    /// # Safety
    /// Both lists and the joint commit live that long, and no thread changes the lists.
    pub unsafe fn new(
        joint: *const Joint,
        entries: NonNull<[Entry<K, V>]>,
        expected: NonNull<[Expected]>,
    ) -> Self {
        let made = Self {
            state: AtomicU64::new(State::INSTALLING.0),
            installed: AtomicUsize::new(0),
            entries,
            expected,
            joint,
        };
        debug_assert!(made.entries().is_sorted_by(|a, b| a.record < b.record));
        made
    }

    /// The writes.
    pub fn entries(&self) -> &[Entry<K, V>] {
        // SAFETY: they live as long as the descriptor (`new`).
        unsafe { self.entries.as_ref() }
    }

    /// The preconditions.
    pub fn expected(&self) -> &[Expected] {
        // SAFETY: as above.
        unsafe { self.expected.as_ref() }
    }

    fn state(&self) -> State {
        // Acquire: pairs with the compare-and-swap in `advance`. A thread that sees *ready* sees
        // every version installed. A thread that sees an outcome sees what led to it.
        State(self.state.load(Ordering::Acquire))
    }

    fn advance(&self, from: State, to: State) -> State {
        // AcqRel: pairs with `state` on both sides.
        match self.state.compare_exchange(from.0, to.0, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => to,
            Err(now) => State(now),
        }
    }

    /// The outcome. Stamps a ready commit first. Returns `None` while the commit is being
    /// installed.
    pub fn outcome(&self, order: &Order, live: Live<'_>) -> Option<State> {
        let state = self.state();
        if state.is_ready() {
            if mutant("commit.pass_by_ready") {
                return None;
            }
            return Some(self.stamp(order, live));
        }
        if state.is_installing() {
            return self.joint()?.outcome(&order.clock); // its word decides
        }
        Some(state)
    }

    /// The joint commit of which this is a part.
    #[inline]
    pub fn joint(&self) -> Option<&Joint> {
        // SAFETY: the joint commit lives as long as its parts (`new`).
        unsafe { self.joint.as_ref() }
    }

    /// Installs what is not installed yet, and decides the commit. An error names a commit that
    /// blocks this one.
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
        // The outcome is checked before an entry is accessed. The records live while the commit is
        // undecided, and from then on the caller's guard keeps them.
        if let Some(outcome) = self.outcome(order, live) {
            return Ok(outcome);
        }
        if let Some(joint) = self.joint() {
            return Ok(joint.complete(&order.clock));
        }
        // SAFETY: the caller's promise, and the commit was undecided under the guard.
        unsafe { self.install_all(&self.state, order, retire) }?;
        step("commit.before_ready");
        self.advance(State::INSTALLING, State::READY);
        step("commit.ready");
        Ok(self.stamp(order, live))
    }

    /// Installs what is not installed yet, unless the commit is ready or decided. An error names a
    /// commit that blocks this one. `decision` is the word that decides the commit.
    ///
    /// # Safety
    /// As for [`complete`](Self::complete). The commit was undecided under the caller's guard.
    pub unsafe fn install_all(
        &self,
        decision: &AtomicU64,
        order: &Order,
        retire: &impl Fn(&Record<K, V>, *mut Node<V>),
    ) -> Result<(), *const Self> {
        // Acquire: pairs with the Release below, so that *ready* is set after every install.
        let relaxed = mutant("commit.relaxed_hint");
        let acquire = if relaxed { Ordering::Relaxed } else { Ordering::Acquire };
        let start = self.installed.load(acquire);
        for (index, entry) in self.entries().iter().enumerate().skip(start) {
            // SAFETY: the caller's promise, and the commit was undecided under the guard.
            if !unsafe { self.install(entry, decision, order, retire) }? {
                break;
            }
            if (index + 1).is_multiple_of(HINT_INTERVAL) {
                self.installed.fetch_max(index + 1, Ordering::AcqRel);
            }
            if mutant("commit.ready_early") {
                break;
            }
        }
        Ok(())
    }

    /// Makes one version the head of its record. Returns false if the commit is decided already.
    ///
    /// A helper may be arbitrarily late, so it reads in this order: `prev`, the head, the state. If
    /// the commit is undecided at the last read, the version was not superseded. If the head is
    /// another version, this version was therefore not installed when the head was read. A head
    /// never comes back, so the compare-and-swap of the head succeeds only if that is still true.
    unsafe fn install(
        &self,
        entry: &Entry<K, V>,
        decision: &AtomicU64,
        order: &Order,
        retire: &impl Fn(&Record<K, V>, *mut Node<V>),
    ) -> Result<bool, *const Self> {
        // SAFETY: the commit was undecided under the caller's guard. So the record is alive, and
        // that guard keeps the memory of the record and of the version.
        let (record, prev) = unsafe { (&*entry.record, (*entry.record).prev_of(entry.node)) };
        loop {
            let link = prev.link();
            let head = record.head();
            // Acquire: as in `state`.
            if !State(decision.load(Ordering::Acquire)).is_installing() {
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
                // To go on after a failure would lose a version: `prev` must be the head that is
                // replaced.
                if !linked && !mutant("commit.ignore_failed_prev") {
                    continue;
                }
            }
            step("install.before_head");
            if record.install(head, entry.node) {
                step("install.installed");
                // SAFETY: this compare-and-swap superseded it.
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
            let early = too_early("commit.time_first", || order.timer.now());
            let version = order.clock.tick(); // after ready was seen
            step("commit.ticked");
            let time = Cell::new(early);
            match self.verdict(order, version, &time, live) {
                // Everything was cleared after the number was taken. Another number is taken.
                None => continue,
                Some(outcome) => return self.advance(State::READY, outcome),
            }
        }
    }

    /// The outcome of a commit at `version`; `None` if everything was cleared after that.
    ///
    /// A helper computes it from values that do not change any more, namely the `prev` of an
    /// installed version and the clear watermark as of `version`, and from values that change only
    /// for larger numbers: after this thread reads them, a tag may be invalidated or a deadline may
    /// pass. So a later helper with a larger number may reach another verdict. Each verdict is
    /// right for its number, and the first one to be stored counts.
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
        let all = self.are_met(order, version, time, live)?;
        Some(if all { State::committed(version) } else { State::ABORTED })
    }

    /// Whether all preconditions are met at `version`; `None` if everything was cleared after that.
    pub fn are_met(
        &self,
        order: &Order,
        version: u64,
        time: &Cell<Option<u64>>,
        live: Live<'_>,
    ) -> Option<bool> {
        let unaware = mutant("commit.unaware_of_floor");
        let watermark = if unaware { 0 } else { order.watermark.newest(&order.clock, live) };
        if watermark > version {
            return None;
        }
        let is_met = |expected| self.is_met(expected, order, (watermark, live), time);
        Some(self.expected().iter().all(is_met))
    }

    /// The time of a verdict. It is read once, after the number was taken. An operation that judged
    /// by a later time, as of a smaller number, did so before this commit; see `docs/protocol.md`.
    fn time(order: &Order, time: &Cell<Option<u64>>) -> u64 {
        if time.get().is_none() {
            fence_after_rmw(); // partner: the fences in `Order::instant` and `Store::present`
            time.set(Some(order.timer.now()));
        }
        time.get().expect("the time was read above")
    }

    /// Whether a precondition is met by the version below the installed one, given the clear
    /// watermark.
    fn is_met(
        &self,
        expected: &Expected,
        order: &Order,
        (watermark, live): (u64, Live<'_>),
        time: &Cell<Option<u64>>,
    ) -> bool {
        if let Precondition::UnknownSince(key, version) = expected.precondition {
            let own = ptr::from_ref(self).expose_provenance();
            // SAFETY: the order that decides the commit is a part of the store.
            return unsafe { (key.is_still_unknown)(key.store, key.hash, version, own) };
        }
        let Entry { record, node, .. } = &self.entries()[expected.entry];
        // SAFETY: the commit is undecided, so its owner and the guard keep record and version. They
        // keep the version that an undecided version supersedes, too, and its state is final.
        let prev = unsafe {
            let below = (**record).prev_of(*node).link().target();
            below.as_ref().map(|below| NodeRef::new(below))
        };
        let visible =
            || prev.and_then(NodeRef::visible).filter(|visible| visible.number() > watermark);
        match expected.precondition {
            Precondition::Holds(version) => visible().is_some_and(|visible| {
                (visible.number() == version || planted("set.unchecked"))
                    && Self::is_in_time(visible.node(), order, time)
            }),
            Precondition::IsAbsent(time) => {
                visible().is_none_or(|visible| visible.is_expired(time))
            }
            Precondition::IsInTime => {
                visible().is_none_or(|visible| Self::is_in_time(visible.node(), order, time))
            }
            Precondition::UnchangedSince(version) => {
                let newest = prev.map_or(0, |node| node.state().version());
                newest.max(watermark) <= version || planted("lease.unchecked")
            }
            Precondition::AbsentSince(version) => prev
                .and_then(NodeRef::visible)
                .is_none_or(|value| value.number() <= version.max(watermark)),
            Precondition::NotEndedSince(ended, version) => {
                // SAFETY: the chain of a tag of a value that was read. The owner's view keeps both
                // while the commit is undecided, and it was undecided under this guard.
                unsafe { ended.as_ref() }.newest(&order.clock, live) <= version
            }
            Precondition::UnknownSince(..) => unreachable!("decided above, without an entry"),
        }
    }

    /// Whether the value has no deadline, or its deadline has not passed.
    fn is_in_time(node: NodeRef<'_, V>, order: &Order, time: &Cell<Option<u64>>) -> bool {
        let terms = node.terms().filter(|terms| terms.deadline() != NEVER);
        terms.is_none_or(|terms| {
            !terms.is_expired(Self::time(order, time)) || planted("commit.deadline_unchecked")
        })
    }
}
