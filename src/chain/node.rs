//! One version of one key.

use super::FEW;
use crate::sync::hook::mutant;
use crate::sync::{AtomicPtr, AtomicU64, Ordering};
use crate::version::State;
use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr;

/// One immutable value of one key, or a tombstone, written by one commit.
///
/// | field | read | written |
/// |---|---|---|
/// | `state` | any guard | installing → outcome, by whoever stamps or finishes the commit |
/// | `value` | any guard that saw `state` committed to a value | before it is installed; taken by the owner of an aborted commit |
///
/// The link to the version below is not among them: few reads need it. It follows the version in
/// [`Linked`]; of a version in a record's room it lies where a look-up does not come. [`Chain`] knows.
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

/// A version that is kept on terms, in memory of its own.
#[repr(C)]
pub struct Conditional<V> {
    linked: Linked<V>,
    pub(super) terms: EntryTerms,
}

/// On which terms a value is kept. Times are nanoseconds of the cache's timer.
#[repr(C)] // What look-ups ask first comes first.
pub struct EntryTerms {
    /// What it counts for against the capacity.
    weight: u32,
    /// What the value is tied to.
    pub(super) counts: DependencyCounts,
    /// From here on the value is absent. Moved on by those who use the value, if it is kept as long as it is used;
    /// then the lowest bit is no part of the time: it says that somebody found the value over.
    deadline: AtomicU64,
    /// Beyond this it is not moved.
    end: u64,
    /// How long the value is kept without a use; 0: as long as with.
    idle: u64,
    /// From here on it is to be loaded anew, while it is served.
    refresh: AtomicU64,
}

/// Whether a version is a [`Derived`](super::Derived) one; and how it is tied, if that is soon told. One word, so that a
/// look-up has it in one comparison.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct DependencyCounts(u16);

/// The place of a version's link to the one below. Written until the version is installed by the install
/// protocol; after its commit, marked, and moved by `prune`.
pub struct Prev<V>(AtomicPtr<Node<V>>);

/// What knows the places of its versions' links.
pub trait Chain<V> {
    /// The link of `node`.
    ///
    /// # Safety
    /// `node` is a version of this chain, and kept as long as the chain is borrowed.
    unsafe fn prev_of(&self, node: *const Node<V>) -> &Prev<V>;
}

// SAFETY: the state is atomic; the value is written before the version is published, and from then
// on only read, shared (hence `V: Sync`), until one thread, perhaps another (hence `V: Send`), takes or drops it.
unsafe impl<V: Send + Sync> Send for Node<V> {}
// SAFETY: as above.
unsafe impl<V: Send + Sync> Sync for Node<V> {}

/// The link from a version to the one that it supersedes, with its marks.
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
    /// Everything below was retired, or is being retired, by whoever set this.
    const TAKEN: usize = 1;
    /// A version was taken out here: one who needs a version between the two ends must ask elsewhere.
    const SKIPPED: usize = 2;
    /// The commit's owner has not yet read what it superseded: do not take the version below out.
    const OPEN: usize = 4;

    const MARKS: usize = Self::TAKEN | Self::SKIPPED | Self::OPEN;

    /// The link of a version that is about to be installed. One that leads nowhere cannot change and
    /// needs no mark.
    pub fn open(target: *mut Node<V>) -> Self {
        Self(if target.is_null() { target } else { target.map_addr(|a| a | Self::OPEN) })
    }

    /// The link that replaces one whose target was taken out.
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

    /// Nothing lies below that is not being retired.
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
    /// The link of a version that is about to be installed upon `target`.
    pub fn new(target: *mut Node<V>) -> Self {
        Self(AtomicPtr::new(Link::open(target).0))
    }

    #[inline(always)]
    pub fn link(&self) -> Link<V> {
        // Acquire: pairs with `replace`: who follows a link sees the version it leads to.
        Link(self.0.load(Ordering::Acquire))
    }

    /// Sets the link of a version that nobody else has seen yet.
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
    /// A version that is not installed yet, upon `prev`. `None` makes a tombstone.
    pub fn new(state: State, prev: *mut Node<V>, value: Option<V>) -> Self {
        Self { node: Node::new(state, value), prev: Prev::new(prev) }
    }

    /// Makes a version in its place, upon `prev`, with what is taken out of `value`; of nothing, a tombstone.
    ///
    /// # Safety
    /// The place is the caller's to write.
    #[inline(always)]
    pub unsafe fn init(place: *mut Self, state: State, prev: *mut Node<V>, value: &mut Option<V>) {
        // SAFETY: the caller's promise.
        unsafe {
            Node::init(&raw mut (*place).node, state, value);
            (&raw mut (*place).prev).write(Prev::new(prev));
        }
    }

    /// The link of a version that was made as one of these.
    ///
    /// # Safety
    /// It was, and it lives for `'a`.
    pub unsafe fn prev_of<'a>(node: *const Node<V>) -> &'a Prev<V> {
        // SAFETY: the caller's promise.
        unsafe { &(*node.cast::<Self>()).prev }
    }
}

impl<V> Conditional<V> {
    /// Makes a version in its place, upon `prev`, with the value that is taken out of `value`.
    ///
    /// # Safety
    /// The place is the caller's to write.
    #[inline(always)]
    pub unsafe fn init(
        place: *mut Self,
        state: State,
        prev: *mut Node<V>,
        value: &mut Option<V>,
        terms: EntryTerms,
    ) {
        debug_assert!(value.is_some(), "terms are kept of values");
        // SAFETY: the caller's promise.
        unsafe {
            Linked::init(&raw mut (*place).linked, state.with_terms(), prev, value);
            (&raw mut (*place).terms).write(terms);
        }
    }
}

impl DependencyCounts {
    /// It is not.
    pub const NONE: Self = Self(0);
    /// It is.
    pub const UNKNOWN: Self = Self(u16::MAX);
    pub const ONE_TAG: Self = Self::inline(0, 1);

    /// It is, and has no deadline, and so many inputs and tags, which lie in it, none of them derived: what most
    /// look-ups need to know.
    pub const fn inline(inputs: u8, tags: u8) -> Self {
        Self(u16::from_le_bytes([inputs, tags]))
    }

    /// The inputs and tags that [`plain`](Self::plain) was told of.
    #[inline(always)]
    pub fn counts(self) -> Option<(usize, usize)> {
        let [inputs, tags] = self.0.to_le_bytes();
        (self != Self::NONE && self != Self::UNKNOWN).then_some((inputs.into(), tags.into()))
    }

    /// The inputs, if there are no tags.
    #[inline(always)]
    pub fn inputs_only(self) -> Option<usize> {
        let inputs = usize::from(self.0);
        (1..=FEW).contains(&inputs).then_some(inputs)
    }
}

impl EntryTerms {
    /// In the deadline of what is kept as long as it is used: it has been found over.
    const OVER: u64 = 1;

    /// Kept until `end`, and no longer than `idle` (if that is not 0) without a use, the first being now.
    pub fn new(now: u64, end: u64, idle: u64, refresh: u64, weight: u32) -> Self {
        let deadline = AtomicU64::new(end);
        let refresh = AtomicU64::new(refresh);
        let terms = Self { deadline, end, idle, refresh, weight, counts: DependencyCounts::NONE };
        let deadline = if idle == 0 { end } else { terms.after_use(now) };
        Self { deadline: AtomicU64::new(deadline), ..terms }
    }

    /// The terms of a derived version.
    pub(super) fn with_counts(self, counts: DependencyCounts) -> Self {
        Self { counts, ..self }
    }

    /// The same terms, for a version that takes the place of this one's and counts for as much.
    pub fn again(&self) -> Self {
        let deadline =
            AtomicU64::new(self.deadline() & if self.idle == 0 { !0 } else { !Self::OVER });
        let Self { end, idle, weight, .. } = *self;
        let refresh = AtomicU64::new(self.refresh.load(Ordering::Relaxed));
        Self { deadline, end, idle, refresh, weight, counts: DependencyCounts::NONE }
    }

    /// Until when the value is kept at the longest, how long without a use, and from when on it is to be loaded anew.
    pub fn times(&self) -> (u64, u64, u64) {
        (self.end, self.idle, self.refresh.load(Ordering::Relaxed)) // a time alone
    }

    /// Whether it is to be loaded anew at `time`.
    pub fn is_stale(&self, time: u64) -> bool {
        self.refresh.load(Ordering::Relaxed) <= time // Relaxed: it orders nothing.
    }

    /// It is not to be loaded anew before that time.
    pub fn postpone_refresh(&self, until: u64) {
        self.refresh.fetch_max(until, Ordering::Relaxed);
    }

    /// When the value is absent, unless it is used before.
    #[inline]
    pub fn deadline(&self) -> u64 {
        // Relaxed, here and below: the value does not come with it.
        self.deadline.load(Ordering::Relaxed)
    }

    /// What the value counts for.
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// Whether the deadline has passed at `time`. What was found over once is not used again: nobody sees a
    /// value come back. Lock-free: tried again only if somebody used the value meanwhile.
    pub fn is_expired(&self, time: u64) -> bool {
        let relaxed = Ordering::Relaxed;
        let mut deadline = self.deadline();
        loop {
            let mark = if self.idle == 0 { 0 } else { deadline & Self::OVER };
            if deadline - mark > time {
                return false;
            }
            if self.idle == 0 || mark != 0 || mutant("terms.unmarked") {
                return true;
            }
            let over = deadline | Self::OVER;
            match self.deadline.compare_exchange(deadline, over, relaxed, relaxed) {
                Ok(_) => return true,
                Err(now) => deadline = now,
            }
        }
    }

    /// Notes a use. The deadline is moved only if that is by a thousandth of the idle time, so that frequent hits
    /// do not write.
    pub fn touch(&self, now: u64) {
        let seen = self.deadline();
        if self.idle == 0 || seen & Self::OVER != 0 {
            return;
        }
        let deadline = self.after_use(now);
        if deadline > seen.saturating_add(self.idle >> 10) {
            // If somebody else was quicker, they have noted a use, or found the value over.
            let relaxed = Ordering::Relaxed;
            let _ = self.deadline.compare_exchange(seen, deadline, relaxed, relaxed);
        }
    }

    fn after_use(&self, now: u64) -> u64 {
        self.end.min(now.saturating_add(self.idle)) & !Self::OVER
    }
}

impl<V> Node<V> {
    /// A version that is not installed yet. `None` makes a tombstone.
    pub(super) fn new(state: State, value: Option<V>) -> Self {
        let state = state.tombstone(value.is_none());
        let value = value.map_or_else(MaybeUninit::uninit, MaybeUninit::new);
        Self { state: AtomicU64::new(state.0), value: UnsafeCell::new(value) }
    }

    /// Makes one in its place, with what is taken out of `value`: a large value is moved but once.
    ///
    /// # Safety
    /// The place is the caller's to write.
    #[inline(always)]
    pub(super) unsafe fn init(place: *mut Self, state: State, value: &mut Option<V>) {
        let state = state.tombstone(value.is_none());
        // SAFETY: the caller's promise. What is moved out is forgotten where it was.
        unsafe {
            (&raw mut (*place).state).write(AtomicU64::new(state.0));
            if let Some(held) = value {
                ptr::copy_nonoverlapping(held, (&raw mut (*place).value).cast::<V>(), 1);
                ptr::write(value, None);
            }
        }
    }

    #[inline(always)]
    pub fn state(&self) -> State {
        // Acquire: pairs with the Release of `set_outcome` and `stamp`: who sees an outcome sees
        // all that came before it, in all other keys of the commit too.
        State(self.state.load(Ordering::Acquire))
    }

    /// Copies the commit's outcome here. Whoever does it writes the same.
    pub fn set_outcome(&self, outcome: State) {
        debug_assert!(outcome.is_committed() || outcome.is_aborted());
        let state = State(self.state.load(Ordering::Relaxed)); // for the kind, which never changes
        // Release: pairs with `state`.
        self.state.store(state.with_outcome(outcome).0, Ordering::Release);
    }

    /// Tries to turn `ready` into `outcome`; returns the state that it then has.
    pub fn stamp(&self, ready: State, outcome: State) -> State {
        let outcome = ready.with_outcome(outcome);
        // AcqRel: pairs with `state` on both sides.
        match self.state.compare_exchange(ready.0, outcome.0, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => outcome,
            Err(now) => State(now),
        }
    }

    /// Sets how many hits are yet to be counted, of a version that was seen committed.
    pub fn set_hits_left(&self, state: State, hits: u32) {
        debug_assert!(state.is_committed());
        // Release: pairs with `state`: who sees this state instead of the stamper's sees as much. (Not one
        // step: of two hits at once one may go uncounted. Nothing else of a committed state changes.)
        self.state.store(state.with_hits_left(hits).0, Ordering::Release);
    }

    /// Counts a hit of a version that was seen committed, unless enough have been counted.
    #[inline(always)]
    pub fn count_hit(&self, state: State) {
        let left = state.hits_left();
        if left > 0 {
            self.set_hits_left(state, left - 1);
        }
    }

    /// On which terms the value is kept.
    ///
    /// # Safety
    /// The version lives for `'g`.
    #[inline(always)]
    pub unsafe fn terms<'g>(&self) -> Option<&'g EntryTerms> {
        let conditional = ptr::from_ref(self).cast::<Conditional<V>>();
        // SAFETY: whoever says that it has terms makes it in such memory; the caller's promise.
        self.state().has_terms().then(|| unsafe { &(*conditional).terms })
    }

    /// The value.
    ///
    /// # Safety
    /// The state was seen committed to a value, under a guard or a registered view that has kept
    /// this version since, and lives as long as the reference is used.
    #[inline(always)]
    pub unsafe fn value<'g>(&self) -> &'g V {
        // SAFETY: a version that was committed to a value was initialised with one before it was
        // installed, and is not written again until reclaimed; the caller keeps it from that.
        unsafe { (*self.value.get()).assume_init_ref() }
    }

    /// Moves the value out.
    ///
    /// # Safety
    /// There is one, nobody else reads it now or later, and nobody moves it out or drops it again:
    /// the version is unpublished, aborted and the caller owns the commit, or it is being reclaimed.
    pub unsafe fn take_value(&self) -> V {
        // SAFETY: the caller's promise.
        unsafe { (*self.value.get()).assume_init_read() }
    }

    /// Drops the value in place, if the version was committed to one.
    ///
    /// # Safety
    /// As for [`take_value`](Self::take_value).
    pub unsafe fn drop_value(&self) {
        if self.state().is_value() {
            // SAFETY: committed to a value, so there is one; the rest is the caller's promise.
            unsafe { (*self.value.get()).assume_init_drop() }
        }
    }
}
