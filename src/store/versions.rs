//! Makes versions, writes a version of one key, and disposes of what it superseded.

use super::{Host, Store};
use crate::chain::{
    Bonds, Conditional, Derived, EntryTerms, Linked, Live, Node, NodeRef, Parcel, Record,
    RecordRef, Visible,
};
use crate::commit::{self, Limit, Over, ReadAt};
use crate::reclaim::Reclaim;
use crate::version::State;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

/// A commit that the caller made under its guard, which lives for `'g`.
#[derive(Clone, Copy)]
pub struct Commit<'g> {
    version: u64,
    guard: PhantomData<&'g ()>,
}

impl<'g> Commit<'g> {
    /// # Safety
    /// A commit with this number was made under a guard that is live for `'g`.
    #[inline(always)]
    pub(super) unsafe fn new(version: u64, _: Live<'g>) -> Self {
        Self { version, guard: PhantomData }
    }

    /// The number of the commit.
    #[inline(always)]
    pub fn version(self) -> u64 {
        self.version
    }

    /// The instant of the commit.
    #[inline(always)]
    pub fn at(self) -> ReadAt<'g> {
        // SAFETY: the number was taken under this guard. Whatever is superseded by that number or a
        // later one is retired during the guard.
        unsafe { ReadAt::new(Limit::Now(self.version)) }
    }

    /// The instant just before the commit.
    #[inline(always)]
    pub fn before(self) -> ReadAt<'g> {
        // SAFETY: as above: what was visible just before is superseded by this number or a later
        // one.
        unsafe { ReadAt::new(Limit::Now(self.version - 1)) }
    }
}

/// A version that a commit of the caller installed, until the caller has disposed of what it
/// superseded. There is one for each version, so that is done once.
pub struct OwnVersion<'g, K, V> {
    record: RecordRef<'g, K, V>,
    node: NodeRef<'g, V>,
}

impl<'g, K, V> OwnVersion<'g, K, V> {
    /// # Safety
    /// A commit that the caller owns installed the version under the guard that keeps it. One is
    /// made for each version.
    #[inline(always)]
    pub unsafe fn new(record: RecordRef<'g, K, V>, node: NodeRef<'g, V>) -> Self {
        Self { record, node }
    }

    #[inline(always)]
    pub fn record(&self) -> RecordRef<'g, K, V> {
        self.record
    }

    #[inline(always)]
    pub fn node(&self) -> NodeRef<'g, V> {
        self.node
    }

    /// The value below, cleared or not.
    #[inline(always)]
    pub fn superseded(&self) -> Option<Visible<'g, V>> {
        let prev = self.record.prev_of(self.node).link().target();
        // SAFETY: the link is open until the owner disposes of the version below, so that is the
        // one from the install, and the guard keeps it.
        unsafe { prev.as_ref().map(|prev| NodeRef::new(prev)) }?.visible()
    }
}

/// What a commit of one key wrote. Who has this owns the commit, and settles it.
pub struct Written<'g, K, V> {
    pub own: OwnVersion<'g, K, V>,
    pub state: State,
    pub commit: Commit<'g>,
}

impl<'g, K, V> Written<'g, K, V> {
    /// # Safety
    /// As for [`OwnVersion::new`].
    #[inline(always)]
    pub(super) unsafe fn new(
        record: RecordRef<'g, K, V>,
        node: NodeRef<'g, V>,
        state: State,
    ) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            let commit = Commit::new(state.version(), node.live());
            Self { own: OwnVersion::new(record, node), state, commit }
        }
    }
}

/// The terms and the dependencies of a new value.
pub struct TermsAndBonds {
    pub terms: EntryTerms,
    pub bonds: Option<Box<Bonds>>,
}

impl<K, V, S, R: Reclaim, H: Host<K, V>> Store<K, V, S, R, H> {
    /// Makes a version without terms for `record`. Takes the value out of `value`; without a value
    /// makes a tombstone. The version is in the record's inline slot, if that is free. `state` is
    /// the whole state of the version, with its hits.
    #[inline(always)]
    pub(super) fn make_plain(
        &self,
        guard: &R::Guard<'_>,
        record: &Record<K, V>,
        state: State,
        prev: *mut Node<V>,
        value: Option<&mut Parcel<V>>,
    ) -> *mut Node<V> {
        if record.claim_inline_slot() {
            // SAFETY: the slot was claimed.
            unsafe { record.fill_inline_slot(state, prev, value) };
            return record.inline_slot();
        }
        self.make_linked(guard, state, prev, value)
    }

    /// Makes a witness for `record`. The witness holds the record until it is reclaimed. It is not
    /// in the inline slot, which is for versions that are read.
    pub(super) fn make_witness(
        &self,
        guard: &R::Guard<'_>,
        record: &Record<K, V>,
        state: State,
        prev: *mut Node<V>,
    ) -> *mut Node<V> {
        record.hold();
        self.make_linked(guard, state.witness(), prev, None)
    }

    /// Makes a version without terms, outside the record.
    #[inline(always)]
    fn make_linked(
        &self,
        _guard: &R::Guard<'_>,
        state: State,
        prev: *mut Node<V>,
        value: Option<&mut Parcel<V>>,
    ) -> *mut Node<V> {
        // SAFETY: a guard is live, and the slot is taken for this version.
        unsafe {
            let slot = self.nodes.take().cast::<Linked<V>>();
            Linked::init(slot.as_ptr(), state, prev, value);
            slot.cast().as_ptr()
        }
    }

    /// Makes a version with terms.
    #[inline(never)]
    pub(super) fn make_conditional(
        &self,
        _guard: &R::Guard<'_>,
        state: State,
        prev: *mut Node<V>,
        value: &mut Parcel<V>,
        TermsAndBonds { terms, bonds }: TermsAndBonds,
    ) -> *mut Node<V> {
        let state = self.new_version.with_outcome(state);
        // SAFETY: a guard is live, and the slot is taken for this version.
        unsafe {
            let Some(bonds) = bonds else {
                let slot = self.conditional.take().cast::<Conditional<V>>();
                Conditional::init(slot.as_ptr(), state, prev, value, terms);
                return slot.cast().as_ptr();
            };
            let slot = self.derived.take().cast::<Derived<V>>();
            Derived::init(slot.as_ptr(), state, prev, value, terms, *bonds);
            slot.cast().as_ptr()
        }
    }

    /// Gives the memory of a version that was made here back. No other thread has seen it.
    fn give_back_node(&self, record: &Record<K, V>, node: *mut Node<V>) {
        if ptr::eq(node, record.inline_slot()) {
            record.free_inline_slot();
            return;
        }
        // SAFETY: taken by this thread, and not seen by any other thread.
        unsafe { self.pool_of(&*node).put_back(NonNull::new_unchecked(node).cast()) };
    }

    /// Installs and stamps a version of one key, unless it would supersede another version than
    /// `over` says. Takes the value out of `value`. A value supersedes any version, because it
    /// would be lost otherwise.
    #[inline(always)]
    pub fn write<'g>(
        &self,
        guard: &'g R::Guard<'_>,
        record: RecordRef<'g, K, V>,
        value: Option<&mut Parcel<V>>,
        retention: Option<TermsAndBonds>,
        over: Over<'g, V>,
    ) -> Option<Written<'g, K, V>> {
        let is_value = value.as_ref().is_some_and(|value| value.is_some());
        debug_assert!(!is_value || matches!(over, Over::Any));
        self.assist(guard);
        let Some(retention) = retention else {
            return match over {
                Over::Any => self.write_plain(guard, record, value),
                _ => self.write_tombstone(guard, record, over),
            };
        };
        let value = value.expect("only values have terms");
        let node = self.make_conditional(guard, State::READY, ptr::null_mut(), value, retention);
        // SAFETY: made just now, for this record.
        unsafe { self.install(guard, record, node, over) }
    }

    /// Installs and stamps a version without terms. All its steps are in one function, because
    /// the calls would take longer than the steps.
    #[inline(never)]
    fn write_plain<'g>(
        &self,
        guard: &'g R::Guard<'_>,
        record: RecordRef<'g, K, V>,
        value: Option<&mut Parcel<V>>,
    ) -> Option<Written<'g, K, V>> {
        let node = self.make_plain(guard, &record, self.new_ready, ptr::null_mut(), value);
        // SAFETY: made just now, for this record.
        unsafe { self.install(guard, record, node, Over::Any) }
    }

    /// Installs and stamps a tombstone on a version. In one function, as above.
    #[inline(never)]
    fn write_tombstone<'g>(
        &self,
        guard: &'g R::Guard<'_>,
        record: RecordRef<'g, K, V>,
        over: Over<'g, V>,
    ) -> Option<Written<'g, K, V>> {
        let node = self.make_plain(guard, &record, self.new_ready, ptr::null_mut(), None);
        // SAFETY: made just now, for this record.
        unsafe { self.install(guard, record, node, over) }
    }

    /// Installs and stamps a version.
    ///
    /// # Safety
    /// The caller has made it for the record, which was located and revived under the guard. No
    /// other thread has seen it.
    #[inline(always)]
    unsafe fn install<'g>(
        &self,
        guard: &'g R::Guard<'_>,
        record: RecordRef<'g, K, V>,
        node: *mut Node<V>,
        over: Over<'g, V>,
    ) -> Option<Written<'g, K, V>> {
        // SAFETY: the caller's promise. `write` passes each version that it superseded once.
        let state = unsafe {
            let retire = |record: &Record<K, V>, node| self.retire_node(guard, record, node);
            self.order.write(record, node, over, &retire)
        };
        if state.is_none() {
            self.give_back_node(&record, node);
        }
        // SAFETY: installed by this thread's commit, under the guard.
        state.map(|state| unsafe { Written::new(record, NodeRef::new(&*node), state) })
    }

    /// Disposes of the version that the caller's superseded, if there is one.
    #[inline]
    pub fn dispose_superseded(&self, guard: &R::Guard<'_>, own: OwnVersion<'_, K, V>) {
        let OwnVersion { record, node } = own;
        if !self.views.none() {
            return self.dispose_beside_views(guard, record, node);
        }
        // SAFETY: the version is committed, no view is registered, and later views begin at its
        // version or later. What is taken out is passed once.
        unsafe {
            let retire = |node| self.retire_node(guard, &record, node);
            commit::take_suffix(record.get(), node.get(), true, retire);
        }
    }

    /// Stamps the first version of a record.
    ///
    /// # Safety
    /// The caller has just published `record` with a ready version in its inline slot, under the
    /// guard.
    pub unsafe fn stamp_first<'g>(&self, record: RecordRef<'g, K, V>) -> Written<'g, K, V> {
        // SAFETY: the inline slot contains a version, which is not reclaimed under the guard; see
        // above.
        unsafe {
            let node = NodeRef::new(&*record.inline_slot());
            let state = node.state();
            let is_ready = state.is_ready();
            let state = if is_ready { self.order.stamp_single(&node, state) } else { state };
            Written::new(record, node, state)
        }
    }
}
