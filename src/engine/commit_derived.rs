//! The end of a derivation: one commit sets all values that were derived.
//!
//! If another thread has set one of the keys in the meantime, its value stays. Values derived from
//! this derivation's value for that key are then committed only if the two are equal.

use super::Engine;
use super::derivation::{Derivation, Reading};
use super::group::on_behalf_of;
use super::lease::KeyLease;
use super::load::Load;
use super::memo::{DerivationMemo, DerivationProgress, DerivedValue, EngineBonds};
use super::plan::Plan;
use super::terms::RequestedTerms;
use super::views::EngineView;
use crate::chain::{Parcel, Record, RecordRef, Visible, clone_to_heap};
use crate::commit::{Precondition, ReadAt, Resolved};
use crate::config::ConfigSnapshot;
use crate::dependencies::{BondsBuilder, Moment};
use crate::metrics::EventKind;
use crate::reclaim::Reclaim;
use crate::removal::RemovalCause;
use crate::store::{Commit, Decided};
use crate::sync::hook::{mutant, step};
use crate::version::Version;
use std::hash::{BuildHasher, Hash};

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + PartialEq + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Sets all derived values. Returns the version if the value of the outermost key is valid.
    /// `absent_at` is the version at which the outermost key had no valid value, as the other keys
    /// had none. The caller calls [`tend`](Self::tend).
    pub(super) fn commit_derived(
        &self,
        memo: &DerivationMemo<V>,
        absent_at: Option<u64>,
    ) -> Option<Version> {
        let guard = self.pin();
        for derived in &memo.derived {
            let revived = self.derived_record(&guard, derived).revive();
            debug_assert!(revived, "a held record is not sealed");
        }
        // Repeated only if a commit wrote one of the keys in the meantime. The next try keeps that
        // value.
        loop {
            if let Ok(version) = self.try_commit_derived(&guard, memo, absent_at) {
                return version;
            }
        }
    }

    /// Returns the record of a derived value, which is held until the derivation ends.
    fn derived_record<'g>(
        &self,
        guard: &'g R::Guard<'_>,
        derived: &DerivedValue<V>,
    ) -> RecordRef<'g, K, V> {
        self.store.record_of(self.store.live(guard), &derived.as_input)
    }

    /// Tries this once. Fails if a commit wrote one of the keys between the check and this commit.
    fn try_commit_derived<'r>(
        &'r self,
        guard: &R::Guard<'r>,
        memo: &DerivationMemo<V>,
        absent_at: Option<u64>,
    ) -> Result<Option<Version>, ()> {
        let config = self.observers().config.snapshot();
        let mut plan = Plan::new(self, guard, &config);
        let mut planned =
            DerivedWrites { engine: self, memo, numbers: Vec::new(), writes: Vec::new() };
        for derived in &memo.derived {
            let number = planned.resolve(guard, derived, &plan);
            planned.numbers.push(number);
        }
        let DerivedWrites { writes, numbers, .. } = planned;
        // No user code runs from here on. A panic in it would separate the bonds from their
        // versions.
        let mut preconditions = Vec::with_capacity(writes.len());
        let (mut recomputed, mut last) = (0, None);
        for (derived, mut value, mut requested, ties) in writes {
            let record = self.derived_record(guard, derived);
            let mut bonds = ties.into_bonds(guard).expect("the inputs were checked before");
            bonds.set_equal_since(derived.as_input.number());
            requested.get_or_insert_default().bonds = Some(bonds);
            // A value that had ended stays ended, independent of the other writes of this commit.
            let cause = derived.is_recomputed.then_some(RemovalCause::Related);
            plan.push(record, value.first_mut(), requested, false, cause);
            preconditions.push((record, Precondition::UnchangedSince(derived.since)));
            recomputed += u64::from(derived.is_recomputed);
            last = Some(record);
        }
        step("derive.before_fill");
        let mut version = None;
        if let Some(last) = last {
            let moment = Moment::new(&self.timer);
            let decided: Decided<'_, K, V> = self.run(&mut plan, &preconditions);
            let Some(commit) = decided.commit() else {
                decided.take_values(|_, unset| drop(unset));
                return Err(());
            };
            // A value that had ended may have become valid again since then. Only for the very next
            // commit it is certain that it had not.
            let is_next = |absent_at: u64| recomputed == 0 || commit.version() == absent_at + 1;
            if absent_at.is_some_and(is_next) {
                self.store.quiet.note(commit.version());
            }
            for (record, _) in &preconditions {
                let (hash, version) = (Some(record.hash()), Some(commit.version()));
                self.observers().record(EventKind::Loaded, hash, version);
            }
            let is_last_set = numbers.last().is_some_and(Option::is_some);
            version = is_last_set.then(|| self.version_if_valid(last, commit, &moment)).flatten();
        }
        // If the outermost value is not valid, it counts as refused, as in a commit of one value.
        let is_invalid = version.is_none() && numbers.last().is_some_and(Option::is_some);
        let mine = self.observers().counters.mine();
        mine.loads.add(preconditions.len() as u64 - u64::from(is_invalid));
        mine.recomputed.add(recomputed);
        let refused =
            |at: &usize| numbers[*at].is_none() || (is_invalid && at + 1 == numbers.len());
        for at in (0..numbers.len()).filter(refused) {
            let hash = self.derived_record(guard, &memo.derived[at]).hash();
            self.observers().refused(hash);
            self.tell_refused(hash);
        }
        Ok(version)
    }
}

/// A planned write: the derived value, a clone to commit, the requested terms, and the bonds.
type DerivedWrite<'m, K, V, S, R> =
    (&'m DerivedValue<V>, Vec<Parcel<V>>, Option<RequestedTerms>, EngineBonds<'m, K, V, S, R>);

/// The planned writes for the derived values.
struct DerivedWrites<'m, K, V, S, R: Reclaim> {
    engine: &'m Engine<K, V, S, R>,
    memo: &'m DerivationMemo<V>,
    /// For each derived value, in order: the number that the bonds of other values store for it.
    /// `None` if the value is not committed; then the values derived from it are not either.
    numbers: Vec<Option<u64>>,
    /// The values to commit.
    writes: Vec<DerivedWrite<'m, K, V, S, R>>,
}

impl<'m, K, V, S, R> DerivedWrites<'m, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + PartialEq + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Decides about the next derived value, and returns its number.
    fn resolve<'r>(
        &mut self,
        guard: &R::Guard<'r>,
        derived: &'m DerivedValue<V>,
        plan: &Plan<'_, 'r, K, V, S, R>,
    ) -> Option<u64> {
        let engine = self.engine;
        let (store, record) = (&engine.store, engine.derived_record(guard, derived));
        let newest = store.order.resolve(record, ReadAt::newest(record.live()));
        if newest.map_or(0, Resolved::number).max(store.watermark(record.live())) > derived.since {
            return self.adopt_current(guard, derived, &plan.moment);
        }
        let mut ties = self.ties(guard, derived)?;
        store.inherit_tags(record, derived.since, &plan.moment, &mut ties).ok()?;
        let value = Parcel::clones(std::slice::from_ref(&*derived.value));
        let requested = engine.rules.requested(
            plan.config.times(),
            record.key(),
            &derived.value,
            None,
            &plan.moment,
            || engine.lifetime_of(record),
        );
        self.writes.push((derived, value, requested, ties));
        Some(derived.as_input.number())
    }

    /// Decides about a key that another thread has set. If its value is equal, returns the number
    /// of that value. The outermost key is an exception, because it needs a commit of its own.
    fn adopt_current(
        &self,
        guard: &R::Guard<'_>,
        derived: &DerivedValue<V>,
        moment: &Moment<'_>,
    ) -> Option<u64> {
        let is_outermost = derived.as_input.record::<()>().addr() == self.memo.outermost;
        if is_outermost || derived.is_lost {
            return None;
        }
        let record = self.engine.derived_record(guard, derived);
        let found = self.engine.store.present(record, false, moment)?;
        let number = found.number();
        let number = found.bonds().map_or(number, |bonds| bonds.equal_since(number));
        (*found.value() == *derived.value).then_some(number)
    }

    /// Returns the bonds of a derived value, if all inputs are known. Inputs that were themselves
    /// derived have their final numbers by now.
    fn ties(
        &self,
        guard: &R::Guard<'_>,
        derived: &DerivedValue<V>,
    ) -> Option<EngineBonds<'m, K, V, S, R>> {
        let (store, mut ties) = (&self.engine.store, BondsBuilder::new(&self.engine.store));
        ties.is_nested = derived.is_nested;
        ties.has_unheld_input = derived.is_lost;
        for input in &derived.inputs {
            let (record, mut number) = (input.record::<Record<K, V>>(), input.number());
            if let Some(DerivationProgress::Derived(at)) = self.memo.progress.get(&record.addr()) {
                // If the input was noted with other properties, the key was absent then and was
                // derived later.
                let is_same = *input == self.memo.derived[*at].as_input;
                number = self.numbers.get(*at).copied().flatten().filter(|_| is_same)?;
            }
            ties.add_input(store.record_of(store.live(guard), input), number, input.is_present());
        }
        (!ties.is_unkeepable()).then_some(ties)
    }
}

impl<'s, K, V, S, R> Reading<'s, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + PartialEq + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Sets the leased key to the value derived from these reads, and sets the values derived on
    /// its behalf. A value is valid only if no commit has written its key or one of its inputs
    /// since the reads; a later commit ends it. Returns the version if the value of the leased key
    /// is valid.
    pub(super) fn commit(mut self, lease: &KeyLease<K, V>, value: &V) -> Option<Version> {
        let engine = self.engine;
        if !self.memo.derived.is_empty() {
            let was_absent = self.is_absent(lease);
            self.add_derived(lease, lease.since, clone_to_heap(value));
            return engine.commit_derived(self.memo, was_absent.then(|| self.snapshot.version()));
        }
        let ties = std::mem::replace(&mut self.ties, BondsBuilder::new(&engine.store));
        let mut value = Parcel::clones(std::slice::from_ref(value));
        engine.fill_by([lease], |guard, [record]| {
            engine.commit_one_derived(guard, record, lease.since, &mut value, ties)
        })
    }
}

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + PartialEq + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Commits a derivation in which no other value was derived. This is the usual case.
    fn commit_one_derived<'g, 'r>(
        &'r self,
        guard: &'g R::Guard<'r>,
        record: RecordRef<'g, K, V>,
        since: u64,
        value: &mut [Parcel<V>],
        mut ties: EngineBonds<'_, K, V, S, R>,
    ) -> Option<Version> {
        let moment = Moment::new(&self.timer);
        let before = self.store.order.newest(record);
        let ended = self.ended(record, since, &moment);
        let new = value[0].get()?;
        let equal = ended.filter(|(old, _)| *old == new).map(|(_, number)| number);
        let config: ConfigSnapshot<'r, K, V> = self.observers().config.snapshot();
        let (times, replaced) = (config.times(), || self.lifetime_of(record));
        let mut requested = self.rules.requested(times, record.key(), new, None, &moment, replaced);
        self.store.inherit_tags(record, since, &moment, &mut ties).ok()?;
        // No user code runs from here on. A panic in it would separate the bonds from their
        // version.
        let mut bonds = ties.into_bonds(guard)?;
        if let Some(equal) = equal {
            bonds.set_equal_since(equal);
        }
        requested.get_or_insert_default().bonds = Some(bonds);
        step("derive.before_fill");
        let is_recomputed = ended.is_some();
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
        let has_ended = found.number() <= since && !found.is_expired(moment.time());
        has_ended.then(|| (found.value(), bonds.equal_since(found.number())))
    }
}

impl<'e, K, V, S, R> Load<'e, K, V, S, R, 1>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Opens a view for the derivation of the value.
    pub fn view(&self) -> EngineView<'e, K, V, S, R> {
        self.engine().open_view()
    }

    /// Begins a derivation of the value.
    pub fn derivation(&self) -> Derivation<'e, K, V, S, R> {
        Derivation::new(self.engine(), self.claims.each[0].lease())
    }

    /// Ends the load of a derived value. The value is cached and shared, unless a commit has
    /// written the key or one of its inputs in the meantime. The rules for user code are those of
    /// [`finish`](Self::finish).
    pub fn finish_derived(mut self, value: Box<[V]>, reading: Reading<'_, K, V, S, R>) -> Box<[V]>
    where
        V: PartialEq,
    {
        self.set_failing(true); // as in `finish`
        let engine = self.engine();
        let Self { leader, claims, .. } = &mut self;
        let keep = || reading.commit(claims.each[0].lease(), &value[0]);
        let value = match on_behalf_of(leader, keep) {
            Some(version) => {
                step("load.filled");
                self.share(value, version)
            }
            None => {
                self.set_failing(false);
                drop(self);
                value
            }
        };
        engine.tend_after_several();
        value
    }
}
