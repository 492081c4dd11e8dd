//! One derivation: what it reads, and the values that are derived within it.
//!
//! All reads are as of one view. In addition, values derived so far count as set, although no other
//! thread sees them yet. Therefore a value that is needed on several paths is derived once. A value
//! that ended when an input changed is valid again if that input is derived again and comes out
//! equal. One commit at the end sets all derived values. If a value is derived from another value
//! that the same commit sets, its bonds name that commit's own number (see [`Input`]).

use super::observers::Observers;
use super::{Claim, Engine, KeyLease};
use crate::chain::{Bonds, Input, Inputs, RecordRef, Visible};
use crate::commit::ReadAt;
use crate::config::ConfigSnapshot;
use crate::dependencies::{Beside, Moment, Ties, Walk};
use crate::reclaim::Reclaim;
use crate::store::{Commit, Snapshot};
use crate::sync::hook::{mutant, step};
use crate::version::Version;
use equivalent::Equivalent;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hash};
use std::ptr;

/// The bonds, under construction, of a value that the engine derives.
pub(super) type EngineTies<'e, K, V, S, R> = Ties<'e, K, V, S, R, Observers<K, V>>;

/// A value that was derived and is not set yet.
pub(super) struct DerivedValue<V> {
    /// How this value appears as an input of others. It is present. Its number is the one since
    /// which the value has been equal, or 0 if the value is new. Its record is held.
    pub(super) as_input: Input,
    pub(super) value: V,
    /// The value is set only if no commit after this version wrote its key.
    pub(super) since: u64,
    /// The value replaces one that had ended.
    pub(super) is_recomputed: bool,
    /// The inputs of the value. Their records are held.
    pub(super) inputs: Inputs,
    pub(super) is_nested: bool,
    pub(super) is_lost: bool,
}

/// The progress of a derivation with one key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum DerivationProgress {
    InProgress,
    /// The index of the value in the list of derived values.
    Derived(usize),
}

/// The values and checks that a derivation remembers.
pub(super) struct DerivationMemo<V> {
    /// The address of the record for which the derivation runs.
    pub(super) outermost: usize,
    /// The progress for each record, by the record's address. The records are held.
    pub(super) progress: HashMap<usize, DerivationProgress>,
    /// In order of dependency: the inputs of a value come before the value.
    pub(super) derived: Vec<DerivedValue<V>>,
    /// The addresses of bonds that are valid in the view. The view keeps their versions.
    valid: HashSet<usize>,
    /// The addresses of bonds that are not valid in the view. A value derived later with an old
    /// number may make them valid again.
    broken: HashSet<usize>,
}

impl<V> DerivationMemo<V> {
    fn find(&self, record: *const ()) -> Option<&DerivedValue<V>> {
        if self.derived.is_empty() {
            return None; // no hash is computed
        }
        match self.progress.get(&record.addr())? {
            DerivationProgress::Derived(at) => Some(&self.derived[*at]),
            DerivationProgress::InProgress => None,
        }
    }
}

impl<V> Beside for DerivationMemo<V> {
    fn made(&self, record: *const ()) -> Option<Input> {
        self.find(record).map(|derived| derived.as_input)
    }

    fn are_known(&self, bonds: &Bonds) -> bool {
        self.valid.contains(&ptr::from_ref(bonds).addr())
    }

    fn are_broken(&self, bonds: &Bonds) -> bool {
        self.broken.contains(&ptr::from_ref(bonds).addr())
    }
}

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
        let guard = self.engine.pin();
        for derived in &self.memo.derived {
            self.engine.store.release_input(&guard, &derived.as_input);
            derived.inputs.iter().for_each(|input| self.engine.store.release_input(&guard, input));
        }
    }
}

/// The reads of the derivation of one value.
pub struct Reading<'s, K, V, S, R: Reclaim> {
    engine: &'s Engine<K, V, S, R>,
    snapshot: &'s Snapshot,
    /// The address of the record of that value.
    address: usize,
    ties: EngineTies<'s, K, V, S, R>,
    memo: &'s mut DerivationMemo<V>,
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
        Self { engine, snapshot, address: memo.outermost, ties: Ties::new(&engine.store), memo }
    }

    /// Begins the derivation of another key on behalf of this one.
    pub fn nested(&mut self, lease: &KeyLease<K, V>) -> Reading<'_, K, V, S, R> {
        let Self { engine, snapshot, ref mut memo, .. } = *self;
        memo.progress.insert(lease.address(), DerivationProgress::InProgress);
        Reading { engine, snapshot, address: lease.address(), ties: Ties::new(&engine.store), memo }
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
        self.read(engine.store.know(&guard, key, make_key))
    }

    /// Claims a key that is to be derived on behalf of this derivation.
    pub fn claim(&self, key: K) -> Claim<'s, K, V, S, R> {
        self.engine.claim_keeping_cleared(key)
    }

    /// Returns the value of a claimed key. The key becomes an input only if it has a value.
    pub fn get_claimed(&mut self, lease: &KeyLease<K, V>) -> Option<V> {
        let engine = self.engine;
        let guard = engine.pin();
        let before = self.ties.inputs.len();
        let found = self.read(engine.leased_record(&guard, lease));
        if found.is_none() {
            self.ties.forget_from(before);
        }
        found
    }

    fn read(&mut self, record: RecordRef<'_, K, V>) -> Option<V> {
        if let Some(derived) = self.memo.find(ptr::from_ref(record.get()).cast()) {
            let value = derived.value.clone();
            self.ties.push(record, derived.as_input.number(), true);
            self.ties.is_nested = true;
            self.ties.is_lost |= derived.is_lost;
            return Some(value);
        }
        let (store, at) = (&self.engine.store, self.snapshot.at(record.live()));
        let held =
            store.order.version_at(record, at).expect("the view keeps the versions that it shows");
        let found = held.and_then(|(node, state)| node.visible_as(state));
        let moment = Moment::at(&self.engine.timer, self.snapshot.opened());
        let present = found.filter(|found| {
            found.number() > self.snapshot.floor()
                && found.terms().is_none_or(|terms| store.is_in_time(terms, false, &moment))
                && found.bonds().is_none_or(|bonds| self.are_valid((bonds, found.number()), at))
        });
        if let Some(found) = present {
            store.note_use(found);
        }
        self.ties.note(record, held, present.is_some());
        present.map(|found| found.value().clone())
    }

    /// Returns whether the bonds of a version that the view keeps are valid.
    fn are_valid<'g>(&mut self, bonds: (&'g Bonds, u64), at: ReadAt<'g>) -> bool
    where
        's: 'g,
    {
        let (store, is_nested) = (&self.engine.store, bonds.0.is_nested());
        if self.memo.are_known(bonds.0)
            || is_nested && store.still_stand(bonds.0, self.snapshot.version())
        {
            return true;
        }
        if self.memo.are_broken(bonds.0) {
            return false;
        }
        let moment = Moment::at(&self.engine.timer, self.snapshot.opened());
        let (mut walk, floor) = (Walk::default(), self.snapshot.floor());
        let holds = store.walk(bonds, (at, floor), (false, &moment), &*self.memo, &mut walk);
        let holds = holds.expect("the view keeps the versions that it shows");
        // If the bonds are valid because a key is absent, a value derived later may break them.
        let address = |bonds: &Bonds| ptr::from_ref(bonds).addr();
        if holds && is_nested && !walk.is_any_absent {
            self.memo.valid.extend(walk.all().chain([bonds.0]).map(address));
        }
        if !holds {
            self.memo.broken.extend(walk.broken.into_iter().map(address));
        }
        holds
    }

    /// Ends a derivation on behalf of another one. Its value counts as set from now on.
    pub fn finish(mut self, lease: &KeyLease<K, V>, value: V)
    where
        V: PartialEq,
    {
        self.add_derived(lease, self.snapshot.version(), value);
    }

    fn add_derived(&mut self, lease: &KeyLease<K, V>, since: u64, value: V)
    where
        V: PartialEq,
    {
        let guard = self.engine.pin();
        let record = self.engine.leased_record(&guard, lease);
        let ended = self.ended(record);
        let equal = ended.filter(|(old, _)| *old == &value).map(|(_, number)| number);
        if equal.is_some() {
            self.memo.broken.clear(); // bonds that name the old number are valid again
        }
        record.hold(); // replaces the hold of the claim, which ends
        let ties = &mut self.ties;
        self.memo.derived.push(DerivedValue {
            as_input: Input::new(record.get(), equal.unwrap_or(0), true),
            value,
            since,
            is_recomputed: ended.is_some(),
            inputs: std::mem::take(&mut ties.inputs),
            is_nested: ties.is_nested,
            is_lost: ties.is_lost,
        });
        self.memo
            .progress
            .insert(lease.address(), DerivationProgress::Derived(self.memo.derived.len() - 1));
    }

    /// Returns the derived value of a record that the view keeps and that has ended, with the
    /// number since which it has been equal. An expired value counts as removed.
    fn ended(&self, record: RecordRef<'_, K, V>) -> Option<(&'s V, u64)> {
        let (order, at) = (&self.engine.store.order, self.snapshot.at(record.live()));
        let found = order
            .at(record, at, self.snapshot.floor())
            .expect("the view keeps the versions that it shows")?;
        let since = found.bonds()?.since(found.number());
        let is_over = found.is_over(Moment::new(&self.engine.timer).time());
        // SAFETY: the value is visible in the view, and the view is registered for 's.
        (!is_over).then(|| (unsafe { found.kept_by_view() }.value(), since))
    }

    /// Returns whether a claimed key, which was not read, has no valid value.
    fn is_absent(&mut self, lease: &KeyLease<K, V>) -> bool {
        let engine = self.engine;
        let guard = engine.pin();
        let record = engine.leased_record(&guard, lease);
        let (order, at) = (&engine.store.order, self.snapshot.at(record.live()));
        let found = order
            .at(record, at, self.snapshot.floor())
            .expect("the view keeps the versions that it shows");
        found.is_none_or(|found| {
            found.bonds().is_some_and(|bonds| !self.are_valid((bonds, found.number()), at))
        })
    }

    /// Sets the leased key to the value derived from these reads, and sets the values derived on
    /// its behalf. A value is valid only if no commit has written its key or one of its inputs
    /// since the reads; a later commit ends it. Returns the version if the value of the leased key
    /// is valid.
    pub(super) fn commit(mut self, lease: &KeyLease<K, V>, value: &mut Option<V>) -> Option<Version>
    where
        V: PartialEq,
    {
        let engine = self.engine;
        if !self.memo.derived.is_empty() {
            let was_absent = self.is_absent(lease);
            self.add_derived(lease, lease.since, value.take()?);
            return engine.commit_derived(self.memo, was_absent.then(|| self.snapshot.version()));
        }
        let ties = std::mem::replace(&mut self.ties, Ties::new(&engine.store));
        engine.fill_by([lease], |guard, [record]| {
            engine.commit_one_derived(guard, record, lease.since, value, ties)
        })
    }
}

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Commits a derivation in which no other value was derived. This is the usual case.
    fn commit_one_derived<'g, 'r>(
        &'r self,
        guard: &'g R::Guard<'r>,
        record: RecordRef<'g, K, V>,
        since: u64,
        value: &mut Option<V>,
        mut ties: EngineTies<'_, K, V, S, R>,
    ) -> Option<Version>
    where
        V: PartialEq,
    {
        let moment = Moment::new(&self.timer);
        let before = self.store.order.newest(record);
        let ended = self.ended(record, since, &moment);
        let new = value.as_ref()?;
        let equal = ended.filter(|(old, _)| *old == new).map(|(_, number)| number);
        let config: ConfigSnapshot<'r, K, V> = self.observers().config.snapshot();
        let mut requested = self.rules.requested(config.times(), record.key(), new, None, &moment);
        self.store.inherit_tags(record, since, &moment, &mut ties).ok()?;
        // No user code runs from here on. A panic in it would separate the bonds from their
        // version.
        let mut bonds = ties.into_bonds(guard)?;
        if let Some(equal) = equal {
            bonds.carry(equal);
        }
        requested.get_or_insert_default().bonds = Some(bonds);
        step("derive.before_fill");
        let is_recomputed = ended.is_some();
        let value = std::slice::from_mut(value);
        let commit = self.fill_requested(guard, &config, [record], since, value, [requested])?;
        self.observers().counters.mine().recomputed.add(u64::from(is_recomputed));
        if self.was_absent(before, commit, &moment) {
            self.store.quiet.note(commit.version());
        }
        self.version_if_valid(record, commit, &moment)
    }

    /// Returns whether the version that the caller's commit superseded was not valid just before
    /// the commit: there was none, or it had ended.
    fn was_absent<'g>(
        &'g self,
        before: Option<Visible<'g, V>>,
        commit: Commit<'g>,
        moment: &Moment<'_>,
    ) -> bool {
        let Some(before) = before else { return true };
        let Some(bonds) = before.bonds() else { return false };
        let stands = self.store.stands((bonds, before.number()), commit.before(), false, moment);
        stands.is_ok_and(|stands| !stands)
    }

    /// Returns the version of the commit that set a record, if the value is valid. The reason is
    /// the same as in `fill_records`.
    pub(super) fn version_if_valid<'g>(
        &'g self,
        record: RecordRef<'g, K, V>,
        commit: Commit<'g>,
        moment: &Moment<'_>,
    ) -> Option<Version> {
        step("derive.filled");
        let is_seen = self.is_newest(record, commit, moment);
        (is_seen || mutant("derive.unchecked")).then(|| Version::from_u64(commit.version()))
    }

    /// Returns the newest value if it is derived and no newer than `since`, which means that it has
    /// ended, with the number since which it has been equal. An expired value counts as removed.
    fn ended<'g>(
        &self,
        record: RecordRef<'g, K, V>,
        since: u64,
        moment: &Moment<'_>,
    ) -> Option<(&'g V, u64)> {
        let found = self.store.order.newest(record)?;
        let bonds = found.bonds()?;
        let has_ended = found.number() <= since && !found.is_over(moment.time());
        has_ended.then(|| (found.value(), bonds.since(found.number())))
    }
}
