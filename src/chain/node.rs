//! One version of one key.

use super::{FEW, Parcel};
use crate::sync::hook::mutant;
use crate::sync::lines::{self, Access};
use crate::sync::{AtomicPtr, AtomicU8, AtomicU64, Ordering};
use crate::version::State;
use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr;

/// One immutable value of one key, or a tombstone, written by one commit.
///
/// | field | read by | written |
/// |---|---|---|
/// | `state` | any guard | by the threads that stamp or finish the commit |
/// | `value` | a guard that saw a committed value | before install; by the owner after an abort |
///
/// The link to the version below is not a field, because few reads need it. It follows the version
/// in [`Linked`]. For a version in a record's inline slot it is stored apart from what look-ups
/// read. [`Chain`] finds it.
#[repr(C)]
pub struct Node<V> {
    state: AtomicU64,
    value: UnsafeCell<MaybeUninit<V>>,
}

/// A version in memory of its own.
#[repr(C)]
pub struct Linked<V> {
    node: Node<V>,
    prev: Prev<V>,
}

/// A version with terms, in memory of its own.
#[repr(C)]
pub struct Conditional<V> {
    linked: Linked<V>,
    pub(super) terms: EntryTerms,
}

/// The terms of a value: until when it is kept, its weight, and the shape of its dependencies.
/// Times are nanoseconds of the cache's timer.
#[repr(C)] // What look-ups read first comes first.
pub struct EntryTerms {
    /// The weight of the value, which counts against the capacity.
    weight: u32,
    /// The shape of the dependencies of the value.
    pub(super) counts: DependencyCounts,
    /// How many loads of a newer value have failed, as far as it is counted.
    pub(super) failures: AtomicU8,
    /// The time from which on the value is absent. If the value is kept as long as it is used, each
    /// use moves this time on. Then the lowest bit is not part of the time: it says that a thread
    /// found the value expired.
    pub(super) deadline: AtomicU64,
    /// The latest deadline.
    pub(super) end: u64,
    /// How long the value is kept without a use; 0: without a use it is kept until `end`;
    /// [`BY_POLICY`](Self::BY_POLICY): a policy moves the deadline.
    pub(super) idle: u64,
    /// The time from which on the value is to be loaded anew. It is served meanwhile.
    pub(super) refresh: AtomicU64,
}

/// Whether a version is a [`Derived`](super::Derived) one, and, in the common cases, how many
/// inputs and tags it has. It is one word, so that a look-up needs one comparison.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct DependencyCounts(u16);

/// The link from a version to the one below. It is written by the install protocol until the
/// version is installed. After the commit, marks are set, and pruning replaces it.
pub struct Prev<V>(AtomicPtr<Node<V>>);

/// Finds the links of the versions of one chain.
pub trait Chain<V> {
    /// The link of `node`.
    ///
    /// # Safety
    /// `node` is a version of this chain, and it is kept as long as the chain is borrowed.
    unsafe fn prev_of(&self, node: *const Node<V>) -> &Prev<V>;
}

// SAFETY: the state is atomic. The value is written before the version is published. From then on
// it is read only, by several threads (hence `V: Sync`), until one thread, perhaps another one
// (hence `V: Send`), takes or drops it.
unsafe impl<V: Send + Sync> Send for Node<V> {}
// SAFETY: as above.
unsafe impl<V: Send + Sync> Sync for Node<V> {}

/// A value of [`Prev`]: the version that was superseded, and the marks.
pub struct Link<V>(*mut Node<V>);

impl<V> Clone for Link<V> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<V> Copy for Link<V> {}
impl<V> PartialEq for Link<V> {
    fn eq(&self, other: &Self) -> bool {
        ptr::eq(self.0, other.0)
    }
}

impl<V> Link<V> {
    /// Everything below is retired, or is being retired, by the thread that set this mark.
    const TAKEN: usize = 1;
    /// A version was taken out here. A reader that needs a version between the two ends must look
    /// elsewhere.
    const SKIPPED: usize = 2;
    /// The owner of the commit has not yet read what it superseded, so the version below must not
    /// be taken out.
    const OPEN: usize = 4;

    const MARKS: usize = Self::TAKEN | Self::SKIPPED | Self::OPEN;

    /// The link of a version that is about to be installed. A null link cannot change and needs no
    /// mark.
    pub fn open(target: *mut Node<V>) -> Self {
        Self(if target.is_null() { target } else { target.map_addr(|a| a | Self::OPEN) })
    }

    /// The link that replaces a link to a version that was taken out.
    pub fn skipping(target: *mut Node<V>) -> Self {
        if mutant("prune.no_skip_mark") {
            return Self(target);
        }
        Self(target.map_addr(|a| a | Self::SKIPPED))
    }

    #[inline(always)]
    pub fn target(self) -> *mut Node<V> {
        self.0.map_addr(|a| a & !Self::MARKS)
    }

    pub fn is_taken(self) -> bool {
        self.0.addr() & Self::TAKEN != 0
    }

    pub fn is_skipped(self) -> bool {
        self.0.addr() & Self::SKIPPED != 0
    }

    pub fn is_open(self) -> bool {
        self.0.addr() & Self::OPEN != 0
    }

    /// Whether each version below is retired or being retired.
    pub fn is_end(self) -> bool {
        self.target().is_null() || self.is_taken()
    }

    pub fn taken(self) -> Self {
        Self(self.0.map_addr(|a| a | Self::TAKEN))
    }

    pub fn closed(self) -> Self {
        Self(self.0.map_addr(|a| a & !Self::OPEN))
    }
}

impl<V> Prev<V> {
    /// The link of a version that is about to be installed above `target`.
    pub fn new(target: *mut Node<V>) -> Self {
        Self(AtomicPtr::new(Link::open(target).0))
    }

    #[inline(always)]
    pub fn link(&self) -> Link<V> {
        // Acquire: pairs with `replace`. A thread that follows a link sees the version at its
        // target.
        Link(self.0.load(Ordering::Acquire))
    }

    /// Sets the link of a version that no other thread has seen.
    pub fn init(&self, target: *mut Node<V>) {
        // Relaxed: the install that follows publishes it.
        self.0.store(Link::open(target).0, Ordering::Relaxed);
    }

    /// Replaces the link if it is still `seen`.
    pub fn replace(&self, seen: Link<V>, link: Link<V>) -> bool {
        // AcqRel: pairs with `link` on both sides.
        self.0.compare_exchange(seen.0, link.0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

impl<V> Linked<V> {
    /// Makes a version above `prev` that is not installed yet. `None` makes a tombstone.
    pub fn new(state: State, prev: *mut Node<V>, value: Option<V>) -> Self {
        Self { node: Node::new(state, value), prev: Prev::new(prev) }
    }

    /// Makes a version above `prev` in `place`. Takes the value out of `value`; without a value
    /// makes a tombstone.
    ///
    /// # Safety
    /// The caller may write to `place`.
    #[inline(always)]
    pub unsafe fn init(
        place: *mut Self,
        state: State,
        prev: *mut Node<V>,
        value: Option<&mut Parcel<V>>,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            Node::init(&raw mut (*place).node, state, value);
            (&raw mut (*place).prev).write(Prev::new(prev));
            lines::note(&raw const (*place).prev, Access::Write);
        }
    }

    /// The link of a version that is part of a `Linked`.
    ///
    /// # Safety
    /// The version is part of a `Linked`, which lives for `'a`.
    pub unsafe fn prev_of<'a>(node: *const Node<V>) -> &'a Prev<V> {
        // SAFETY: the caller's promise.
        unsafe { &(*node.cast::<Self>()).prev }
    }
}

impl<V> Conditional<V> {
    /// Makes a version above `prev` in `place`. Takes the value out of `value`.
    ///
    /// # Safety
    /// The caller may write to `place`.
    #[inline(always)]
    pub unsafe fn init(
        place: *mut Self,
        state: State,
        prev: *mut Node<V>,
        value: &mut Parcel<V>,
        terms: EntryTerms,
    ) {
        debug_assert!(value.is_some(), "only values have terms");
        // SAFETY: the caller's promise.
        unsafe {
            Linked::init(&raw mut (*place).linked, state.with_terms(), prev, Some(value));
            (&raw mut (*place).terms).write(terms);
            lines::note(&raw const (*place).terms, Access::Write);
        }
    }
}

impl DependencyCounts {
    /// The version is not derived.
    pub const NONE: Self = Self(0);
    /// The version is derived; the counts are not known.
    pub const UNKNOWN: Self = Self(u16::MAX);
    pub const ONE_TAG: Self = Self::inline(0, 1);

    /// The version is derived and has no deadline. Its inputs and tags, of these numbers, are
    /// stored in it, and no input is derived. That is all that most look-ups need.
    pub const fn inline(inputs: u8, tags: u8) -> Self {
        Self(u16::from_le_bytes([inputs, tags]))
    }

    /// The numbers of inputs and tags that [`inline`](Self::inline) received.
    #[inline(always)]
    pub fn counts(self) -> Option<(usize, usize)> {
        let [inputs, tags] = self.0.to_le_bytes();
        (self != Self::NONE && self != Self::UNKNOWN).then_some((inputs.into(), tags.into()))
    }

    /// The number of inputs, if there are no tags.
    #[inline(always)]
    pub fn inputs_only(self) -> Option<usize> {
        let inputs = usize::from(self.0);
        (1..=FEW).contains(&inputs).then_some(inputs)
    }
}

impl EntryTerms {
    /// A bit in the deadline of a value that is kept as long as it is used: a thread found the
    /// value expired.
    pub(super) const EXPIRED: u64 = 1;
    /// In place of the time without a use: a policy of the user moves the deadline.
    pub(super) const BY_POLICY: u64 = u64::MAX;

    /// The value is kept until `end`. If `idle` is not 0, it is kept no longer than `idle` without
    /// a use; the first use is at `now`.
    pub fn new(now: u64, end: u64, idle: u64, refresh: u64, weight: u32) -> Self {
        let deadline = AtomicU64::new(end);
        let refresh = AtomicU64::new(refresh);
        let (counts, failures) = (DependencyCounts::NONE, AtomicU8::new(0));
        let terms = Self { deadline, end, idle, refresh, weight, counts, failures };
        let deadline = if idle == 0 { end } else { terms.after_use(now) };
        Self { deadline: AtomicU64::new(deadline), ..terms }
    }

    /// The same terms for a value that a policy keeps until `until`, at most. If the value is kept
    /// The same terms for a derived version.
    pub(super) fn with_counts(self, counts: DependencyCounts) -> Self {
        Self { counts, ..self }
    }

    /// The same terms, for a version that replaces this one and has the same weight.
    pub fn again(&self) -> Self {
        let deadline =
            AtomicU64::new(self.deadline() & if self.idle == 0 { !0 } else { !Self::EXPIRED });
        let Self { end, idle, weight, .. } = *self;
        let refresh = AtomicU64::new(self.refresh.load(Ordering::Relaxed));
        let (counts, failures) = (DependencyCounts::NONE, AtomicU8::new(self.failures()));
        Self { deadline, end, idle, refresh, weight, counts, failures }
    }

    /// How many loads of a newer value have failed.
    pub fn failures(&self) -> u8 {
        self.failures.load(Ordering::Relaxed) // Relaxed: it orders nothing.
    }

    /// The latest deadline, the time without a use, and the time from which on the value is to be
    /// loaded anew.
    pub fn times(&self) -> (u64, u64, u64) {
        (self.end, self.idle, self.refresh.load(Ordering::Relaxed)) // Relaxed: as in `is_stale`.
    }

    /// Whether the value is to be loaded anew at `time`.
    pub fn is_stale(&self, time: u64) -> bool {
        self.refresh.load(Ordering::Relaxed) <= time // Relaxed: it orders nothing.
    }

    /// The time from which on the value is absent, unless it is used before.
    #[inline]
    pub fn deadline(&self) -> u64 {
        // Relaxed, as below: no other memory depends on it.
        self.deadline.load(Ordering::Relaxed)
    }

    /// The weight of the value.
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// Whether the value is expired at `time`. A value that was found expired stays expired, so
    /// that no reader sees it come back. Lock-free: the loop repeats only if another thread used
    /// the value meanwhile.
    pub fn is_expired(&self, time: u64) -> bool {
        let relaxed = Ordering::Relaxed;
        let mut deadline = self.deadline();
        loop {
            let mark = if self.idle == 0 { 0 } else { deadline & Self::EXPIRED };
            if deadline - mark > time {
                return false;
            }
            if self.idle == 0 || mark != 0 || mutant("terms.unmarked") {
                return true;
            }
            let expired = deadline | Self::EXPIRED;
            match self.deadline.compare_exchange(deadline, expired, relaxed, relaxed) {
                Ok(_) => return true,
                Err(now) => deadline = now,
            }
        }
    }

    /// Notes a use. The deadline moves only if that changes it by a thousandth of the idle time, so
    /// that frequent hits do not write.
    pub fn touch(&self, now: u64) {
        let seen = self.deadline();
        // 0 and `BY_POLICY`
        if self.idle.wrapping_sub(1) >= Self::BY_POLICY - 1 || seen & Self::EXPIRED != 0 {
            return;
        }
        let deadline = self.after_use(now);
        if deadline > seen.saturating_add(self.idle >> 10) {
            // If this fails, another thread has noted a use or found the value expired.
            let relaxed = Ordering::Relaxed;
            let _ = self.deadline.compare_exchange(seen, deadline, relaxed, relaxed);
        }
    }

    fn after_use(&self, now: u64) -> u64 {
        self.end.min(now.saturating_add(self.idle)) & !Self::EXPIRED
    }
}

impl<V> Node<V> {
    /// Makes a version that is not installed yet. `None` makes a tombstone.
    pub(super) fn new(state: State, value: Option<V>) -> Self {
        let state = state.tombstone(value.is_none());
        let value = value.map_or_else(MaybeUninit::uninit, MaybeUninit::new);
        Self { state: AtomicU64::new(state.0), value: UnsafeCell::new(value) }
    }

    /// Makes a version in `place`. Takes the value out of `value`; without a value makes a
    /// tombstone.
    ///
    /// # Safety
    /// The caller may write to `place`.
    #[inline(always)]
    pub(super) unsafe fn init(place: *mut Self, state: State, value: Option<&mut Parcel<V>>) {
        // SAFETY: the caller's promise.
        unsafe {
            let room = (&raw mut (*place).value).cast::<V>();
            let is_value = value.is_some_and(|value| value.move_to(room));
            (&raw mut (*place).state).write(AtomicU64::new(state.tombstone(!is_value).0));
            lines::note(place, Access::Write);
        }
    }

    #[inline(always)]
    pub fn state(&self) -> State {
        // Acquire: pairs with the Release of `set_outcome` and `stamp`. A thread that sees an
        // outcome sees all that came before it, in all other keys of the commit too.
        State(self.state.load(Ordering::Acquire))
    }

    /// Copies the outcome of the commit into the version. All threads write the same outcome.
    pub fn set_outcome(&self, outcome: State) {
        debug_assert!(outcome.is_committed() || outcome.is_aborted());
        // Relaxed: only the kind is used, which does not change.
        let state = State(self.state.load(Ordering::Relaxed));
        // Release: pairs with `state`.
        self.state.store(state.with_outcome(outcome).0, Ordering::Release);
    }

    /// Tries to replace `ready` by `outcome`. Returns the state after that.
    pub fn stamp(&self, ready: State, outcome: State) -> State {
        let outcome = ready.with_outcome(outcome);
        // AcqRel: pairs with `state` on both sides.
        match self.state.compare_exchange(ready.0, outcome.0, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => outcome,
            Err(now) => State(now),
        }
    }

    /// Sets how many hits of a committed version are yet to be counted.
    pub fn set_hits_left(&self, state: State, hits: u32) {
        debug_assert!(state.is_committed());
        // Release: pairs with `state`. A thread that sees this state instead of the state that the
        // stamp stored sees as much. The read and the write are two steps, so one of two
        // simultaneous hits may not be counted. Nothing else of a committed state changes.
        self.state.store(state.with_hits_left(hits).0, Ordering::Release);
    }

    /// Counts a hit of a committed version, unless enough hits have been counted.
    #[inline(always)]
    pub fn count_hit(&self, state: State) {
        let left = state.hits_left();
        if left > 0 {
            self.set_hits_left(state, left - 1);
        }
    }

    /// The terms of the value.
    ///
    /// # Safety
    /// The version lives for `'g`.
    #[inline(always)]
    pub unsafe fn terms<'g>(&self) -> Option<&'g EntryTerms> {
        let conditional = ptr::from_ref(self).cast::<Conditional<V>>();
        // SAFETY: a version whose state says that it has terms is made as a `Conditional`. The rest
        // is the caller's promise.
        self.state().has_terms().then(|| unsafe { &(*conditional).terms })
    }

    /// The value.
    ///
    /// # Safety
    /// The state was seen committed to a value, under a guard or a registered view. That guard or
    /// view has kept this version since, and lives as long as the reference is used.
    #[inline(always)]
    pub unsafe fn value<'g>(&self) -> &'g V {
        lines::note(self.value_place(), Access::Read);
        // SAFETY: a version that was committed to a value was initialised with one before it was
        // installed, and is not written again until it is reclaimed. The caller keeps it from that.
        unsafe { (*self.value.get()).assume_init_ref() }
    }

    /// Where the value is. A caller may move it out or drop it, once, if the version has a value
    /// and no other thread reads it now or later: the version is unpublished, or it is aborted and
    /// the caller owns the commit, or it is being reclaimed.
    pub fn value_place(&self) -> *mut V {
        self.value.get().cast()
    }

    /// Drops the value in place, if the version was committed to one.
    ///
    /// # Safety
    /// As for [`value_place`](Self::value_place).
    pub unsafe fn drop_value(&self) {
        if self.state().is_value() {
            // SAFETY: the version was committed to a value. The rest is the caller's promise.
            unsafe { (*self.value.get()).assume_init_drop() }
        }
    }
}
