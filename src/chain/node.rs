//! One version of one key, and the place from which its value comes.

use super::EntryTerms;
use crate::sync::hook::mutant;
use crate::sync::lines::{self, Access};
use crate::sync::{AtomicPtr, AtomicU64, Ordering};
use crate::version::State;
use std::cell::UnsafeCell;
use std::mem::{MaybeUninit, needs_drop};
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

    /// The word of the state, for its record.
    #[inline(always)]
    pub(super) fn state_word(&self) -> &AtomicU64 {
        &self.state
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

/// A place that may have a value. A value travels through the cache as a reference to such a place,
/// and is moved straight from one place to the next. An `Option` would move it through the stack,
/// in each call that fills or empties it.
///
/// An unoptimized build copies a variable each time that it is passed by move. So whoever gets a
/// value by move [puts](Self::put) it into a place at once.
pub struct Parcel<V> {
    has_value: bool,
    /// Initialised if `has_value`.
    value: MaybeUninit<V>,
}

impl<V> Parcel<V> {
    /// An empty place.
    #[inline]
    pub const fn empty() -> Self {
        Self { has_value: false, value: MaybeUninit::uninit() }
    }

    /// Adds an empty place to a list.
    #[inline(always)]
    pub fn add_to(list: &mut Vec<Self>) -> &mut Self {
        list.reserve(1);
        let at = list.len();
        // SAFETY: there is room for one more. A place without a value needs no other field.
        unsafe {
            (&raw mut (*list.as_mut_ptr().add(at)).has_value).write(false);
            list.set_len(at + 1);
            list.get_unchecked_mut(at)
        }
    }

    /// Clones of these values, in places on the heap.
    pub fn clones(values: &[V]) -> Vec<Self>
    where
        V: Clone,
    {
        let mut clones = Vec::with_capacity(values.len());
        values.iter().for_each(|value| Self::add_to(&mut clones).put_clone(value));
        clones
    }

    /// Makes an empty place in memory.
    ///
    /// # Safety
    /// The caller may write to `place`.
    #[inline(always)]
    pub unsafe fn init(place: *mut Self) {
        // SAFETY: the caller's promise.
        unsafe { (&raw mut (*place).has_value).write(false) };
    }

    /// Puts a value into the empty place.
    #[cfg_attr(not(debug_assertions), inline(always))] // else its copies would stay in the caller
    pub fn put(&mut self, value: V) {
        debug_assert!(!self.has_value);
        // SAFETY: the place is the caller's.
        unsafe { self.value.as_mut_ptr().write(value) };
        self.has_value = true;
    }

    /// Puts a clone of a value into the empty place.
    #[inline(never)]
    pub fn put_clone(&mut self, value: &V)
    where
        V: Clone,
    {
        self.put(value.clone());
    }

    /// Whether there is a value.
    #[inline(always)]
    pub fn is_some(&self) -> bool {
        self.has_value
    }

    /// The value, if there is one.
    #[inline(always)]
    pub fn get(&self) -> Option<&V> {
        // SAFETY: there is a value.
        if self.has_value { Some(unsafe { self.value.assume_init_ref() }) } else { None }
    }

    /// Moves the value to `place`, if there is one. Returns whether there was.
    ///
    /// # Safety
    /// The caller may write a value to `place`.
    #[inline(always)]
    pub unsafe fn move_to(&mut self, place: *mut V) -> bool {
        let has_value = std::mem::take(&mut self.has_value);
        if has_value {
            // SAFETY: the caller's promise. From now on the value is there and not here.
            unsafe { ptr::copy_nonoverlapping(self.value.as_ptr(), place, 1) };
        }
        has_value
    }

    /// Moves a value from `place` to this place, which is empty.
    ///
    /// # Safety
    /// There is a value in `place`, and nobody uses or drops it there from now on.
    #[inline(always)]
    pub unsafe fn move_from(&mut self, place: *const V) {
        debug_assert!(!self.has_value);
        // SAFETY: the caller's promise.
        unsafe { ptr::copy_nonoverlapping(place, self.value.as_mut_ptr(), 1) };
        self.has_value = true;
    }

    /// Moves the value of another place to this one, which is empty.
    #[inline(always)]
    pub fn take_from(&mut self, other: &mut Self) {
        // SAFETY: the place is the caller's.
        self.has_value = unsafe { other.move_to(self.value.as_mut_ptr()) };
    }

    /// Drops the value.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.has_value) {
            // SAFETY: there was a value, which nobody uses any more.
            unsafe { self.value.assume_init_drop() };
        }
    }

    /// Takes the value out, which is there.
    pub fn take(&mut self) -> V {
        assert!(std::mem::take(&mut self.has_value), "there is a value");
        // SAFETY: there was a value, which nobody uses here any more.
        unsafe { self.value.as_ptr().read() }
    }

    /// Moves the value, which is there, to the heap.
    pub fn take_to_heap(&mut self) -> Box<V> {
        assert!(self.has_value, "there is a value");
        let mut place = Box::new_uninit();
        // SAFETY: the place has room for a value, which is there afterwards.
        unsafe {
            self.move_to(place.as_mut_ptr());
            place.assume_init()
        }
    }
}

impl<V> Drop for Parcel<V> {
    #[inline(always)]
    fn drop(&mut self) {
        if const { needs_drop::<V>() } {
            self.clear();
        }
    }
}

/// Puts what a small closure returns on the heap. Not inlined, so that no other frame
/// has room for it.
#[inline(never)]
pub fn write_on_heap<T>(make: impl FnOnce() -> T) -> Box<T> {
    let mut place = Box::<T>::new_uninit();
    // SAFETY: the place has room for a `T`, which is there afterwards.
    unsafe {
        place.as_mut_ptr().write(make());
        place.assume_init()
    }
}

/// Clones a value to the heap.
#[inline(never)]
pub fn clone_to_heap<V: Clone>(value: &V) -> Box<V> {
    write_on_heap(|| value.clone())
}
