//! One derivation: what it reads, and the values that are derived within it.
//!
//! All reads are as of one view. In addition, values derived so far count as set, although no other
//! thread sees them yet. Therefore a value that is needed on several paths is derived once. A value
//! that ended when an input changed is valid again if that input is derived again and comes out
//! equal. One commit at the end sets all derived values. If a value is derived from another value
//! that the same commit sets, its bonds name that commit's own number (see [`Dependency`]).

use super::memo::{DerivationMemo, DerivationProgress, DerivedValue, EngineBonds};
use super::{Claim, Engine, KeyLease};
use crate::chain::{Bonds, Dependency, RecordRef};
use crate::commit::ReadAt;
use crate::dependencies::{BondsBuilder, DependencyWalk, Moment, WalkOverlay};
use crate::reclaim::Reclaim;
use crate::store::{KEPT, Snapshot};
use crate::sync::hook::planted;
use equivalent::Equivalent;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hash};
use std::ptr;

/// A derivation. Derived values that were not committed are dropped with it.
pub struct Derivation<'e, K, V, S, R: Reclaim> {
    engine: &'e Engine<K, V, S, R>,
    memo: DerivationMemo<V>,
}

impl<'e, K, V, S, R: Reclaim> Derivation<'e, K, V, S, R> {
    pub(super) fn new(engine: &'e Engine<K, V, S, R>, lease: &KeyLease<K, V>) -> Self {
        let (progress, derived) = (HashMap::new(), Vec::new());
        let (valid, broken) = (HashSet::new(), HashSet::new());
        Self {
            engine,
            memo: DerivationMemo { outermost: lease.address(), progress, derived, valid, broken },
        }
    }
}

impl<K, V, S, R: Reclaim> Drop for Derivation<'_, K, V, S, R> {
    fn drop(&mut self) {
        if self.memo.derived.is_empty() {
            return;
        }
        let (store, guard) = (&self.engine.store, self.engine.pin());
        for derived in &self.memo.derived {
            let inputs = derived.inputs.iter().chain([&derived.as_input]);
            // SAFETY: the memo holds these records, and is dropped now.
            inputs.for_each(|input| unsafe { store.release_input(&guard, input) });
        }
    }
}

/// What a read of a derivation found.
enum FoundValue<'s, V> {
    None,
    /// The view keeps the value.
    Kept(&'s V),
    /// The value was derived before. This is its index in the list of derived values.
    Derived(usize),
}

/// The reads of the derivation of one value.
pub struct Reading<'s, K, V, S, R: Reclaim> {
    pub(super) engine: &'s Engine<K, V, S, R>,
    pub(super) snapshot: &'s Snapshot,
    /// The address of the record of that value.
    address: usize,
    pub(super) ties: EngineBonds<'s, K, V, S, R>,
    pub(super) memo: &'s mut DerivationMemo<V>,
}

impl<K, V, S, R: Reclaim> Drop for Reading<'_, K, V, S, R> {
    fn drop(&mut self) {
        if self.memo.progress.get(&self.address) == Some(&DerivationProgress::InProgress) {
            self.memo.progress.remove(&self.address);
        }
    }
}

impl<'s, K, V, S, R> Reading<'s, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    pub fn new(snapshot: &'s Snapshot, derivation: &'s mut Derivation<'_, K, V, S, R>) -> Self {
        let (engine, memo) = (derivation.engine, &mut derivation.memo);
        Self {
            engine,
            snapshot,
            address: memo.outermost,
            ties: BondsBuilder::new(&engine.store),
            memo,
        }
    }

    /// Begins the derivation of another key on behalf of this one.
    pub fn nested(&mut self, lease: &KeyLease<K, V>) -> Reading<'_, K, V, S, R> {
        let Self { engine, snapshot, ref mut memo, .. } = *self;
        memo.progress.insert(lease.address(), DerivationProgress::InProgress);
        Reading {
            engine,
            snapshot,
            address: lease.address(),
            ties: BondsBuilder::new(&engine.store),
            memo,
        }
    }

    /// Returns whether this derivation, or one on whose behalf it runs, already derives the key.
    pub fn is_cycle(&self, lease: &KeyLease<K, V>) -> bool {
        lease.address() == self.memo.outermost
            || self.memo.progress.get(&lease.address()) == Some(&DerivationProgress::InProgress)
    }

    /// Returns the value of `key`, which becomes an input.
    pub fn get<Q>(&mut self, key: &Q, make_key: impl FnOnce() -> K) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let engine = self.engine;
        let guard = engine.pin();
        let found = self.read(engine.store.find_or_create(&guard, key, make_key));
        drop(guard);
        self.found_value(found).cloned()
    }

    /// Claims a key that is to be derived on behalf of this derivation.
    pub fn claim(&self, key: K) -> Claim<'s, K, V, S, R> {
        self.engine.claim_keeping_cleared(key)
    }

    /// Returns the value of a claimed key. The key becomes an input only if it has a value.
    pub fn get_claimed(&mut self, lease: &KeyLease<K, V>) -> Option<&V> {
        let engine = self.engine;
        let guard = engine.pin();
        let before = self.ties.inputs.len();
        let found = self.read(engine.leased_record(&guard, lease));
        if matches!(found, FoundValue::None) {
            self.ties.truncate_inputs(before);
        }
        drop(guard);
        self.found_value(found)
    }

    /// Returns the value that was read.
    fn found_value(&self, found: FoundValue<'s, V>) -> Option<&V> {
        match found {
            FoundValue::None => None,
            FoundValue::Kept(value) => Some(value),
            FoundValue::Derived(at) => Some(&self.memo.derived[at].value),
        }
    }

    /// Reads a record, which becomes an input.
    fn read(&mut self, record: RecordRef<'_, K, V>) -> FoundValue<'s, V> {
        if let Some(at) = self.memo.find(ptr::from_ref(record.get()).cast()) {
            let derived = &self.memo.derived[at];
            self.ties.add_input(record, derived.as_input.number(), true);
            self.ties.is_nested = true;
            self.ties.has_unheld_input |= derived.is_lost;
            return FoundValue::Derived(at);
        }
        let (store, at) = (&self.engine.store, self.snapshot.at(record.live()));
        let held = store.order.resolve(record, at).expect(KEPT);
        let moment = Moment::at(&self.engine.timer, self.snapshot.opened());
        let present = held.value().filter(|found| {
            found.terms().is_none_or(|terms| store.is_in_time(terms, false, &moment))
                && found.bonds().is_none_or(|bonds| self.are_valid((bonds, found.number()), at))
        });
        if let Some(found) = present {
            store.note_use(found);
        }
        let noted = match planted("derive.input_read_twice") {
            true => store.order.resolve(record, ReadAt::newest(record.live())).expect(KEPT),
            false => held,
        };
        self.ties.add_version(record, noted, present.is_some());
        match present {
            // SAFETY: the value is visible in the view, and the view is registered for 's.
            Some(found) => FoundValue::Kept(unsafe { found.kept() }.value()),
            None => FoundValue::None,
        }
    }

    /// Returns whether the bonds of a version that the view keeps are valid.
    fn are_valid<'g>(&mut self, bonds: (&'g Bonds, u64), at: ReadAt<'g>) -> bool
    where
        's: 'g,
    {
        let (store, is_nested) = (&self.engine.store, bonds.0.is_nested());
        if self.memo.is_known_to_hold(bonds.0)
            || is_nested && store.are_verified_at(bonds.0, self.snapshot.version())
        {
            return true;
        }
        if self.memo.is_known_broken(bonds.0) {
            return false;
        }
        let moment = Moment::at(&self.engine.timer, self.snapshot.opened());
        let mut walk = DependencyWalk::default();
        let holds = store.walk(bonds, at, (false, &moment), &*self.memo, &mut walk).expect(KEPT);
        // If the bonds are valid because a key is absent, a value derived later may break them.
        let address = |bonds: &Bonds| ptr::from_ref(bonds).addr();
        if holds && is_nested && !walk.has_absent_input {
            self.memo.valid.extend(walk.all().chain([bonds.0]).map(address));
        }
        if !holds {
            self.memo.broken.extend(walk.broken.into_iter().map(address));
        }
        holds
    }

    /// Ends a derivation on behalf of another one. Its value counts as set from now on.
    pub fn finish(mut self, lease: &KeyLease<K, V>, value: Box<V>)
    where
        V: PartialEq,
    {
        self.add_derived(lease, self.snapshot.version(), value);
    }

    pub(super) fn add_derived(&mut self, lease: &KeyLease<K, V>, since: u64, value: Box<V>)
    where
        V: PartialEq,
    {
        let guard = self.engine.pin();
        let record = self.engine.leased_record(&guard, lease);
        let ended = self.ended(record);
        let equal = ended.filter(|(old, _)| **old == *value).map(|(_, number)| number);
        if equal.is_some() {
            self.memo.broken.clear(); // bonds that name the old number are valid again
        }
        record.hold(); // replaces the hold of the claim, which ends
        let ties = &mut self.ties;
        self.memo.derived.push(DerivedValue {
            as_input: Dependency::new(record.get(), equal.unwrap_or(0), true),
            value,
            since,
            is_recomputed: ended.is_some(),
            inputs: std::mem::take(&mut ties.inputs),
            is_nested: ties.is_nested,
            is_lost: ties.has_unheld_input,
        });
        self.memo
            .progress
            .insert(lease.address(), DerivationProgress::Derived(self.memo.derived.len() - 1));
    }

    /// Returns the derived value of a record that the view keeps and that has ended, with the
    /// number since which it has been equal. An expired value counts as removed.
    fn ended(&self, record: RecordRef<'_, K, V>) -> Option<(&'s V, u64)> {
        let (order, at) = (&self.engine.store.order, self.snapshot.at(record.live()));
        let found = order.resolve(record, at).expect(KEPT).value()?;
        let since = found.bonds()?.equal_since(found.number());
        let is_expired = found.is_expired(Moment::new(&self.engine.timer).time());
        // SAFETY: the value is visible in the view, and the view is registered for 's.
        (!is_expired).then(|| (unsafe { found.kept() }.value(), since))
    }

    /// Returns whether a claimed key, which was not read, has no valid value.
    pub(super) fn is_absent(&mut self, lease: &KeyLease<K, V>) -> bool {
        let engine = self.engine;
        let guard = engine.pin();
        let record = engine.leased_record(&guard, lease);
        let (order, at) = (&engine.store.order, self.snapshot.at(record.live()));
        let found = order.resolve(record, at).expect(KEPT).value();
        found.is_none_or(|found| {
            found.bonds().is_some_and(|bonds| !self.are_valid((bonds, found.number()), at))
        })
    }
}
