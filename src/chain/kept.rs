//! References that carry the proof of a live guard: their target stays in memory for `'g`.
//!
//! Only code that finds a record under a guard makes a [`RecordRef`], and it states why the guard
//! keeps the record. From there on, the steps from a record to its versions, and from a version to
//! its terms and its value, are safe code.

use super::{Bonds, Chain, Dependency, EntryTerms, FEW, Head, Node, Prev, Record};
use crate::reclaim::Reclaim;
use crate::version::State;
use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::{self, NonNull};

/// Proof that a guard of the cache is live for `'g`.
#[derive(Clone, Copy)]
pub struct Live<'g>(PhantomData<&'g ()>);

impl<'g> Live<'g> {
    /// Takes the proof from a guard that is borrowed for `'g`.
    #[inline(always)]
    pub fn by<R: Reclaim>(_guard: &'g R::Guard<'_>) -> Self {
        Self(PhantomData)
    }

    /// # Safety
    /// A guard is live for `'g`, or nothing that it would keep is reclaimed during `'g`.
    #[inline(always)]
    pub unsafe fn assumed() -> Self {
        Self(PhantomData)
    }
}

/// A record that a guard keeps, with all versions from its head down to the visible one.
pub struct RecordRef<'g, K, V>(&'g Record<K, V>);

/// A version that a guard keeps, with its terms and its bonds.
pub struct NodeRef<'g, V>(&'g Node<V>);

/// A version that was seen committed to a value, with the state that was seen.
pub struct Visible<'g, V> {
    node: NodeRef<'g, V>,
    state: State,
}

/// A version that was seen committed to a value with terms.
pub struct Tied<'g, V>(Visible<'g, V>);

impl<V> Clone for Tied<'_, V> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}
impl<V> Copy for Tied<'_, V> {}

/// A record that its owner holds, by a count or by a flag, so that the record does not end. A guard
/// makes it a [`RecordRef`]. The owner drops this when it lets go of the record.
pub struct HeldRecord<K, V>(NonNull<Record<K, V>>);

// SAFETY: records are shared between threads, and the hold keeps the pointer valid on any thread.
unsafe impl<K: Send + Sync, V: Send + Sync> Send for HeldRecord<K, V> {}
// SAFETY: as above.
unsafe impl<K: Send + Sync, V: Send + Sync> Sync for HeldRecord<K, V> {}

impl<K, V> HeldRecord<K, V> {
    /// # Safety
    /// The record is held, by a count or a flag that nobody else takes off, until this is dropped.
    pub unsafe fn new(record: NonNull<Record<K, V>>) -> Self {
        Self(record)
    }

    /// The record's address. No other record lies there while this one is held.
    pub fn address(&self) -> usize {
        self.0.addr().get()
    }

    /// The record, which was held until the guard began or later.
    #[inline(always)]
    pub fn kept<'g>(&self, _: Live<'g>) -> RecordRef<'g, K, V> {
        // SAFETY: held until now, the record is not reclaimed before a guard ends that is live now.
        RecordRef(unsafe { &*self.0.as_ptr() })
    }
}

impl<K, V> Clone for RecordRef<'_, K, V> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}
impl<K, V> Copy for RecordRef<'_, K, V> {}

impl<V> Clone for NodeRef<'_, V> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}
impl<V> Copy for NodeRef<'_, V> {}

impl<V> Clone for Visible<'_, V> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}
impl<V> Copy for Visible<'_, V> {}

impl<K, V> Deref for RecordRef<'_, K, V> {
    type Target = Record<K, V>;

    #[inline(always)]
    fn deref(&self) -> &Record<K, V> {
        self.0
    }
}

impl<V> Deref for NodeRef<'_, V> {
    type Target = Node<V>;

    #[inline(always)]
    fn deref(&self) -> &Node<V> {
        self.0
    }
}

impl<'g, V> Deref for Visible<'g, V> {
    type Target = NodeRef<'g, V>;

    #[inline(always)]
    fn deref(&self) -> &NodeRef<'g, V> {
        &self.node
    }
}

impl<'g, K, V> RecordRef<'g, K, V> {
    /// # Safety
    /// A guard is live for `'g`. The record was found in the index under that guard, or it is held,
    /// so that it is not reclaimed before the guard ends.
    #[inline(always)]
    pub unsafe fn new(record: &'g Record<K, V>) -> Self {
        Self(record)
    }

    /// The proof that the guard of this record is live.
    #[inline(always)]
    pub fn live(self) -> Live<'g> {
        Live(PhantomData)
    }

    /// The record as a plain reference.
    #[inline(always)]
    pub fn get(self) -> &'g Record<K, V> {
        self.0
    }

    /// The newest version and its state, unless the head is marked or null.
    #[inline(always)]
    pub fn top(self) -> Option<(NodeRef<'g, V>, State)> {
        // SAFETY: read from the head under the guard.
        let top = NodeRef(unsafe { self.0.top()?.as_ref() });
        Some((top, top.0.state()))
    }

    /// The head and the version that it points to, even if the head is marked.
    #[inline(always)]
    pub fn read_head(self) -> (Head<V>, Option<NodeRef<'g, V>>) {
        let head = self.0.head();
        // SAFETY: read from the head under the guard.
        (head, unsafe { head.node().as_ref() }.map(NodeRef))
    }

    /// The version that the head points to, even if the head is marked.
    #[inline(always)]
    pub fn newest(self) -> Option<NodeRef<'g, V>> {
        self.read_head().1
    }

    /// The link from a version of this record to the one below it.
    #[inline(always)]
    pub fn prev_of(self, node: NodeRef<'g, V>) -> &'g Prev<V> {
        // SAFETY: the version is of this record, and the guard keeps it.
        unsafe { Chain::prev_of(self.0, ptr::from_ref(node.0)) }
    }

    /// Holds the record by a count, which is already added.
    ///
    /// # Safety
    /// The caller has added a hold that is this one's.
    pub unsafe fn held(self) -> HeldRecord<K, V> {
        HeldRecord(NonNull::from(self.0))
    }

    /// Holds the record, unless so many do that the holds might not be counted.
    pub fn try_to_hold(self) -> Option<HeldRecord<K, V>> {
        self.0.try_hold().then(|| HeldRecord(NonNull::from(self.0)))
    }

    /// Whether this is the record at that address.
    #[inline(always)]
    pub fn is(self, other: *const Record<K, V>) -> bool {
        ptr::eq(self.0, other)
    }
}

impl<'g, V> NodeRef<'g, V> {
    /// The proof that the guard of this version is live, or that a registered view keeps it.
    #[inline(always)]
    pub fn live(self) -> Live<'g> {
        Live(PhantomData)
    }

    /// # Safety
    /// A guard, or a registered view, keeps the version for `'g`.
    #[inline(always)]
    pub unsafe fn new(node: &'g Node<V>) -> Self {
        Self(node)
    }

    /// The version as a plain reference.
    #[inline(always)]
    pub fn get(self) -> &'g Node<V> {
        self.0
    }

    /// The terms of the value.
    #[inline(always)]
    pub fn terms(self) -> Option<&'g EntryTerms> {
        // SAFETY: the version is kept for 'g.
        unsafe { self.0.terms() }
    }

    /// The dependencies of the value.
    #[inline(always)]
    pub fn bonds(self) -> Option<&'g Bonds> {
        // SAFETY: the version is kept for 'g.
        unsafe { self.0.bonds() }
    }

    /// Whether the value's deadline has passed at `time`.
    #[inline(always)]
    pub fn is_expired(self, time: u64) -> bool {
        self.terms().is_some_and(|terms| terms.is_expired(time))
    }

    /// The version with its value, if it is committed to a value.
    #[inline(always)]
    pub fn visible(self) -> Option<Visible<'g, V>> {
        self.visible_as(self.0.state())
    }

    /// The version with its value, if `state`, which was read from it, is committed to a value.
    #[inline(always)]
    pub fn visible_as(self, state: State) -> Option<Visible<'g, V>> {
        state.is_value().then_some(Visible { node: self, state })
    }

    /// The version with its value, if `state` is plain: the value has no terms, and its hits are
    /// counted.
    #[inline(always)]
    pub fn plain_as(self, state: State) -> Option<Visible<'g, V>> {
        state.is_plain().then_some(Visible { node: self, state })
    }

    /// The version with its value, if `state` is tied: the value has terms, and its hits are
    /// counted.
    #[inline(always)]
    pub fn tied_as(self, state: State) -> Option<Tied<'g, V>> {
        state.is_tied().then_some(Tied(Visible { node: self, state }))
    }

    /// Whether this is the version at that address.
    #[inline(always)]
    pub fn is(self, other: *const Node<V>) -> bool {
        ptr::eq(self.0, other)
    }
}

impl<'g, V> Visible<'g, V> {
    /// The version.
    #[inline(always)]
    pub fn node(self) -> NodeRef<'g, V> {
        self.node
    }

    /// The state in which it was seen.
    #[inline(always)]
    pub fn seen(self) -> State {
        self.state
    }

    /// The number of the commit that wrote the version.
    #[inline(always)]
    pub fn number(self) -> u64 {
        self.state.version()
    }

    /// The value.
    #[inline(always)]
    pub fn value(self) -> &'g V {
        // SAFETY: the version was seen committed to a value, and it is kept for 'g.
        unsafe { self.node.0.value() }
    }

    /// The same version for a longer lifetime.
    ///
    /// # Safety
    /// A guard that is live for `'v` keeps the version, or the version is visible in a view that is
    /// registered for `'v`.
    #[inline(always)]
    pub unsafe fn kept<'v>(self) -> Visible<'v, V> {
        // SAFETY: the caller's promise.
        let node = NodeRef(unsafe { &*ptr::from_ref(self.node.0) });
        Visible { node, state: self.state }
    }
}

impl<'g, V> Tied<'g, V> {
    /// The version with its value.
    #[inline(always)]
    pub fn found(self) -> Visible<'g, V> {
        self.0
    }

    /// Decides quickly whether the value is valid, if it has no deadline and either at most
    /// [`FEW`](super::FEW) plain inputs or one tag. Returns `None` for any other value.
    #[inline(always)]
    pub fn stands_on_few(
        self,
        is_as_seen: impl Fn(&Dependency) -> bool,
        has_stayed: impl Fn(&Dependency) -> bool,
    ) -> Option<bool> {
        let node = self.0.node.0;
        // SAFETY: the version has terms and is kept. The indices are less than the counts.
        unsafe {
            let Some(inputs) = node.few_inputs() else {
                return node.has_one_tag().then(|| has_stayed(node.dependency_at(0)));
            };
            // The bound is a constant, so the compiler unrolls the loop.
            for at in 0..FEW {
                if !is_as_seen(node.dependency_at(at)) {
                    return Some(false);
                }
                if at + 1 == inputs {
                    break;
                }
            }
        }
        Some(true)
    }

    /// Decides whether the value is valid, for any number of plain inputs and tags that are stored
    /// in the version. `false` says nothing.
    #[inline(always)]
    pub fn stands_plainly(
        self,
        is_as_seen: impl Fn(&Dependency) -> bool,
        has_stayed: impl Fn(&Dependency) -> bool,
    ) -> bool {
        let node = self.0.node.0;
        // SAFETY: as above.
        unsafe {
            let Some((inputs, tags)) = node.inline_counts() else { return false };
            (0..inputs).all(|at| is_as_seen(node.dependency_at(at)))
                && (inputs..inputs + tags).all(|at| has_stayed(node.dependency_at(at)))
        }
    }

    /// The same version, from its address.
    ///
    /// # Safety
    /// As for [`NodeRef::new`], and a `Tied` of this version existed.
    #[inline(always)]
    pub unsafe fn again(node: &'g Node<V>) -> Self {
        Self(Visible { node: NodeRef(node), state: node.state() })
    }
}
