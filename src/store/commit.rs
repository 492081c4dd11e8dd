//! A commit of several writes, from a write set to its outcome; and the memory of its descriptor.

use super::{Commit, Host, Store, TermsAndBonds, Write, WriteSet};
use crate::chain::{Live, NodeRef, Parcel, Record, RecordRef};
use crate::commit::{Descriptor, Entry, Expected, Joint, JointPool, Precondition};
use crate::memory;
use crate::pool::{Pool, Shape};
use crate::reclaim::Reclaim;
use crate::removal::RemovalCause;
use crate::sync::lines::{self, Access};
use crate::version::State;
use std::alloc::Layout;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Arc;

/// A write of a commit: its record, its version, and why it takes a value away; `None` for a
/// witness.
type DecidedWrite<'g, K, V> = (RecordRef<'g, K, V>, NodeRef<'g, V>, Option<RemovalCause>);

/// The preconditions of a commit: on records of the write set, and on keys without a record.
pub type Preconditions<'a, 'g, K, V> =
    (&'a [(RecordRef<'g, K, V>, Precondition)], &'a [Precondition]);

/// A commit of several writes, or a part of a joint commit, that is not decided yet. Its owner
/// decides it, and passes it to [`conclude`](Store::conclude).
#[must_use]
pub struct Prepared<K, V> {
    descriptor: *const Descriptor<K, V>,
    has_witnesses: bool,
    /// Whether it has preconditions.
    pub is_conditional: bool,
}

impl<K, V> Prepared<K, V> {
    /// The descriptor, as a joint commit knows it.
    pub fn part(&self) -> *const () {
        self.descriptor.cast()
    }
}

/// A commit of several writes that is decided.
pub struct Decided<'g, K, V> {
    outcome: State,
    descriptor: &'g Descriptor<K, V>,
    has_witnesses: bool,
    live: Live<'g>,
}

/// A value that an aborted commit did not set. The owner of the commit owns it, and no other thread
/// reads it. It is dropped with this.
pub struct UnsetValue<'g, V>(NodeRef<'g, V>);

impl<V> UnsetValue<'_, V> {
    /// Moves the value into an empty place.
    pub fn give_back(self, place: &mut Parcel<V>) {
        // SAFETY: `self` owns the value, and is forgotten.
        unsafe { place.move_from(self.0.value_place()) };
        std::mem::forget(self);
    }
}

impl<V> Drop for UnsetValue<'_, V> {
    fn drop(&mut self) {
        // SAFETY: `self` owns the value.
        unsafe { self.0.value_place().drop_in_place() };
    }
}

/// The values of an aborted commit. Those that were not taken are dropped with it, also if the
/// destructor of one of them panics.
struct UnsetValues<'g, K, V, I: Iterator<Item = DecidedWrite<'g, K, V>>>(I)
where
    K: 'g,
    V: 'g;

impl<'g, K, V, I: Iterator<Item = DecidedWrite<'g, K, V>>> UnsetValues<'g, K, V, I> {
    fn next(&mut self) -> Option<(RecordRef<'g, K, V>, UnsetValue<'g, V>)> {
        let (record, node, _) = self.0.find(|(_, node, _)| !node.state().is_tombstone())?;
        Some((record, UnsetValue(node)))
    }
}

impl<'g, K, V, I: Iterator<Item = DecidedWrite<'g, K, V>>> Drop for UnsetValues<'g, K, V, I> {
    fn drop(&mut self) {
        while let Some((_, value)) = self.next() {
            // A panic of one destructor is on its way already. A further one ends here.
            let dropping = std::panic::AssertUnwindSafe(|| drop(value));
            let _ = std::panic::catch_unwind(dropping);
        }
    }
}

impl<'g, K, V> Decided<'g, K, V> {
    /// Whether the commit was made. Otherwise a precondition was not met.
    pub fn is_committed(&self) -> bool {
        self.outcome.is_committed()
    }

    /// The commit, if it was made.
    pub fn commit(&self) -> Option<Commit<'g>> {
        // SAFETY: made under the guard that lives for 'g.
        let commit = || unsafe { Commit::new(self.outcome.version(), self.live) };
        self.is_committed().then(commit)
    }

    /// The writes, in the order of their records' addresses.
    pub fn entries(&self) -> &'g [Entry<K, V>] {
        self.descriptor.entries()
    }

    /// The writes.
    pub fn writes(&self) -> impl Iterator<Item = DecidedWrite<'g, K, V>> + use<'g, K, V> {
        // SAFETY: of a commit that was made under the guard, which keeps both.
        let kept = |entry: &'g Entry<K, V>| unsafe {
            (RecordRef::new(&*entry.record), NodeRef::new(&*entry.node), entry.cause)
        };
        self.entries().iter().map(kept)
    }

    /// Takes the values of an aborted commit back, with their records. No other thread reads these
    /// values, and reclamation does not drop them.
    #[cold]
    #[inline(never)]
    pub fn take_values(self, mut take: impl FnMut(RecordRef<'g, K, V>, UnsetValue<'g, V>)) {
        assert!(self.outcome.is_aborted(), "only the values of an aborted commit can be taken");
        let mut unset = UnsetValues(self.writes());
        while let Some((record, value)) = unset.next() {
            take(record, value);
        }
    }

    /// The version that `record` held when the commit was aborted.
    pub fn found_in(&self, record: RecordRef<'g, K, V>) -> Option<NodeRef<'g, V>> {
        let (_, node, _) = self.writes().find(|(of, ..)| record.is(of.get()))?;
        let prev = record.prev_of(node).link().target();
        // SAFETY: the guard keeps the version that an aborted one was installed above.
        unsafe { prev.as_ref().map(|prev| NodeRef::new(prev)) }
    }
}

impl<K, V, S, R: Reclaim, H: Host<K, V>> Store<K, V, S, R, H> {
    /// Makes the versions and the descriptor. No user code runs from here to the outcome.
    ///
    /// The commit is a part of `joint`, unless that is null. `unknown` has preconditions on keys
    /// without a record.
    #[inline(never)]
    fn make_descriptor<'g>(
        &self,
        guard: &'g R::Guard<'_>,
        joint: *const Joint,
        set: &mut WriteSet<'g, K, V>,
        (preconditions, unknown): Preconditions<'_, 'g, K, V>,
        mut terms_of: impl FnMut(RecordRef<'g, K, V>, u32) -> TermsAndBonds,
    ) -> *mut Descriptor<K, V> {
        let memory = self.descriptors.take(guard, set.len(), preconditions.len() + unknown.len());
        let state = State::undecided(memory.descriptor.expose_provenance());
        let plain = self.new_version.with_outcome(state);
        let (writes, order) = set.in_order();
        for (room, &(_, place)) in memory.entries.iter_mut().zip(order) {
            let write = &mut writes[place];
            // SAFETY: it was made from a `RecordRef<'g>`.
            let record = unsafe { RecordRef::new(&*write.record()) };
            // A guess, which is right unless another thread writes the key meanwhile. The install
            // checks it.
            let below = record.head().node();
            let (terms, value) = (write.terms, &mut write.value);
            let node = if write.cause.is_none() {
                self.make_witness(guard, &record, state, below)
            } else if terms == Write::<K, V>::PLAIN {
                self.make_plain(guard, &record, plain, below, Some(value))
            } else {
                let terms = terms_of(record, terms);
                self.make_conditional(guard, state, below, value, terms)
            };
            let entry = Entry { record: write.record(), node, cause: write.cause };
            lines::note(room.write(entry), Access::Write);
        }
        for (at, &(record, precondition)) in preconditions.iter().enumerate() {
            let address = ptr::from_ref(record.get()).addr();
            let entry = order.binary_search_by_key(&address, |(address, _)| *address);
            let entry = entry.expect("each precondition is on a key of the write set");
            memory.expected[at].write(Expected { entry, precondition });
        }
        for (at, &precondition) in unknown.iter().enumerate() {
            memory.expected[preconditions.len() + at].write(Expected { entry: 0, precondition });
        }
        set.clear();
        // SAFETY: the lists were written above, and live as long as the descriptor. So does the
        // joint commit, which ends with its last part.
        unsafe {
            let (count, all) = (memory.entries.len(), memory.expected.len());
            let entries = NonNull::from(memory.entries).cast();
            let entries = NonNull::slice_from_raw_parts(entries, count);
            let expected =
                NonNull::slice_from_raw_parts(NonNull::from(memory.expected).cast(), all);
            memory.descriptor.write(Descriptor::new(joint, entries, expected));
        }
        lines::note(memory.descriptor, Access::Write);
        memory.descriptor
    }

    /// Makes the versions and the descriptor of a commit, or of a part of `joint`, unless that is
    /// null. Each precondition is on a record of the write set, or on a key without a record.
    /// `terms_of` makes the terms at an index that the caller chose.
    #[inline(always)]
    pub fn prepare<'g>(
        &self,
        guard: &'g R::Guard<'_>,
        joint: *const Joint,
        set: &mut WriteSet<'g, K, V>,
        preconditions: Preconditions<'_, 'g, K, V>,
        terms_of: impl FnMut(RecordRef<'g, K, V>, u32) -> TermsAndBonds,
    ) -> Prepared<K, V> {
        self.assist(guard);
        let has_witnesses = set.has_witnesses();
        let is_conditional = !preconditions.0.is_empty() || !preconditions.1.is_empty();
        let descriptor = self.make_descriptor(guard, joint, set, preconditions, terms_of);
        Prepared { descriptor, has_witnesses, is_conditional }
    }

    /// Installs and decides a commit, which is made only if all preconditions are met. Arguments as
    /// for [`prepare`](Self::prepare). The owner ends the commit by [`forget`](Self::forget).
    #[inline(always)]
    pub fn commit<'g>(
        &self,
        guard: &'g R::Guard<'_>,
        set: &mut WriteSet<'g, K, V>,
        preconditions: &[(RecordRef<'g, K, V>, Precondition)],
        terms_of: impl FnMut(RecordRef<'g, K, V>, u32) -> TermsAndBonds,
    ) -> Decided<'g, K, V> {
        let prepared = self.prepare(guard, ptr::null(), set, (preconditions, &[]), terms_of);
        // SAFETY: this thread owns the commit, under the guard that located its records. `help`
        // passes each version that it superseded once. Then the commit is decided.
        unsafe {
            let retire = |record: &Record<K, V>, node| self.retire_node(guard, record, node);
            let outcome = self.order.help(prepared.descriptor, &retire);
            self.conclude(guard, prepared, outcome)
        }
    }

    /// Copies the outcome of a commit, or of the joint commit of a part, into its versions. The
    /// owner ends it by [`forget`](Self::forget).
    ///
    /// # Safety
    /// The caller owns the commit, which was prepared under this guard, and was decided so.
    #[inline(always)]
    pub unsafe fn conclude<'g>(
        &self,
        guard: &'g R::Guard<'_>,
        Prepared { descriptor, has_witnesses, .. }: Prepared<K, V>,
        outcome: State,
    ) -> Decided<'g, K, V> {
        // SAFETY: it is retired by `forget` at the earliest, under this guard, which keeps it.
        let descriptor = unsafe { &*descriptor };
        let decided = Decided { outcome, descriptor, has_witnesses, live: self.live(guard) };
        decided.writes().for_each(|(_, node, _)| node.set_outcome(outcome));
        decided
    }

    /// Retires the descriptor of a commit. No version names it any more.
    ///
    /// # Safety
    /// The commit was made under this guard, and this is called once for it.
    #[inline(always)]
    pub unsafe fn forget(&self, guard: &R::Guard<'_>, decided: &Decided<'_, K, V>) {
        let descriptor = ptr::from_ref(decided.descriptor).cast_mut();
        // SAFETY: the caller's promise.
        unsafe { self.retire_commit(guard, descriptor, decided.has_witnesses) };
    }
}

/// The places of a small commit: for its entries and its preconditions.
const FEW: usize = 8;
/// The places of a larger commit.
const MANY: usize = 64;

/// A descriptor with places for `N` entries. The preconditions follow the entries that are used.
#[repr(C)]
struct DescriptorSlot<K, V, const N: usize> {
    descriptor: MaybeUninit<Descriptor<K, V>>,
    entries: [MaybeUninit<Entry<K, V>>; N],
}

/// The pools of descriptors with their entries and preconditions. One pool serves small commits,
/// another one larger commits. A very large commit has pages of its own.
pub(super) struct Descriptors<K, V> {
    few: Pool,
    many: Pool,
    /// For the joint commits whose last part ends here.
    joints: Option<Arc<JointPool>>,
    of: PhantomData<fn(K, V)>,
}

/// The memory of a commit, not written yet.
struct DescriptorMemory<'g, K, V> {
    pub descriptor: *mut Descriptor<K, V>,
    pub entries: &'g mut [MaybeUninit<Entry<K, V>>],
    pub expected: &'g mut [MaybeUninit<Expected>],
}

impl<K, V> Descriptors<K, V> {
    pub fn new(joints: Option<Arc<JointPool>>) -> Self {
        let pool = |slot| Pool::new(Shape::plain(slot));
        let few = pool(Layout::new::<DescriptorSlot<K, V, FEW>>());
        let many = pool(Layout::new::<DescriptorSlot<K, V, MANY>>());
        Self { few, many, joints, of: PhantomData }
    }

    /// The bytes of the pools.
    pub fn bytes(&self) -> usize {
        self.few.bytes() + self.many.bytes()
    }

    /// Takes memory for a commit with these numbers of entries and preconditions.
    #[inline(always)]
    fn take<'g, G>(
        &self,
        _guard: &'g G,
        entries: usize,
        expected: usize,
    ) -> DescriptorMemory<'g, K, V> {
        let places = Self::places(entries, expected);
        // SAFETY: a guard is live, and the slot is used for one commit.
        unsafe {
            let slot = if places <= FEW {
                self.few.take()
            } else if places <= MANY {
                self.many.take()
            } else {
                memory::map_zeroed(Self::size(places))
            };
            Self::room(slot, entries, expected)
        }
    }

    /// The number of entry-sized places that the two lists of a commit take.
    fn places(entries: usize, expected: usize) -> usize {
        const { assert!(align_of::<Expected>() <= align_of::<Entry<K, V>>()) };
        if expected == 0 {
            return entries; // without a division
        }
        entries + (expected * size_of::<Expected>()).div_ceil(size_of::<Entry<K, V>>())
    }

    /// The size of a slot with more than [`MANY`] places.
    fn size(places: usize) -> usize {
        size_of::<DescriptorSlot<K, V, 0>>() + places * size_of::<Entry<K, V>>()
    }

    /// # Safety
    /// The slot has that many places behind the descriptor, whatever size it was made for. For `'g`
    /// it is used for nothing else.
    unsafe fn room<'g>(
        slot: NonNull<u8>,
        entries: usize,
        expected: usize,
    ) -> DescriptorMemory<'g, K, V> {
        let slot = slot.cast::<DescriptorSlot<K, V, 0>>().as_ptr();
        // SAFETY: the caller's promise.
        unsafe {
            let first = (&raw mut (*slot).entries).cast::<MaybeUninit<Entry<K, V>>>();
            DescriptorMemory {
                descriptor: slot.cast(),
                entries: slice::from_raw_parts_mut(first, entries),
                expected: slice::from_raw_parts_mut(first.add(entries).cast(), expected),
            }
        }
    }

    /// Keeps the memory of a joint commit that is over.
    #[inline(never)]
    fn keep(&self, over: Box<Joint>) {
        if let Some(joints) = &self.joints {
            joints.keep(over);
        }
    }

    /// Gives the memory of a commit back.
    ///
    /// # Safety
    /// The memory came from `take` and was written. The commit was retired, and a grace period has
    /// passed.
    #[inline(never)]
    pub unsafe fn give(&self, descriptor: *mut Descriptor<K, V>) {
        // SAFETY: the caller's promise. Neither descriptors nor entries have a destructor.
        unsafe {
            if let Some(joint) = (*descriptor).joint()
                && let Some(over) = Joint::release(joint)
            {
                self.keep(over);
            }
            let (entries, expected) = ((*descriptor).entries(), (*descriptor).expected());
            let places = Self::places(entries.len(), expected.len());
            let slot = NonNull::new_unchecked(descriptor).cast();
            if places <= FEW {
                self.few.give(slot);
            } else if places <= MANY {
                self.many.give(slot);
            } else {
                memory::unmap(slot, Self::size(places));
            }
        }
    }
}
