//! The end of a derivation: all that was derived is set, by one commit.
//!
//! A key that somebody else has set meanwhile stays as that is. What was derived from it is kept only if it is equal.

use super::Engine;
use super::derivation::{DerivationMemo, DerivationProgress, DerivedValue, EngineTies};
use super::plan::Plan;
use super::terms::RequestedTerms;
use crate::chain::{Record, RecordRef};
use crate::commit::Demand;
use crate::dependencies::{Moment, Ties};
use crate::metrics::EventKind;
use crate::reclaim::Reclaim;
use crate::removal::RemovalCause;
use crate::store::Decided;
use crate::sync::hook::step;
use crate::version::Version;
use std::hash::{BuildHasher, Hash};

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + PartialEq + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Sets all that was derived. The version if the last of it is to be seen. `absent_at`: when the key of that held nothing that
    /// was to be had, as the others did. The caller tends.
    pub(super) fn commit_derived(
        &self,
        memo: &DerivationMemo<V>,
        absent_at: Option<u64>,
    ) -> Option<Version> {
        let guard = self.pin();
        for derived in &memo.derived {
            let revived = self.derived_record(&guard, derived).revive();
            debug_assert!(revived, "a record that is held is not sealed");
        }
        // Tried again only if somebody wrote one of the keys meanwhile, which then stays as it is.
        loop {
            if let Ok(version) = self.try_commit_derived(&guard, memo, absent_at) {
                return version;
            }
        }
    }

    /// The record of what was derived, which holds it until the derivation ends.
    fn derived_record<'g>(
        &self,
        guard: &'g R::Guard<'_>,
        derived: &DerivedValue<V>,
    ) -> RecordRef<'g, K, V> {
        self.store.record_of(self.store.live(guard), &derived.as_input)
    }

    /// The same, once. An error: a key was written in the very middle of it.
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
        // From here on no user's code runs that could keep the bonds from their versions.
        let mut demands = Vec::with_capacity(writes.len());
        let (mut recomputed, mut last) = (0, None);
        for (derived, mut value, mut requested, ties) in writes {
            let record = self.derived_record(guard, derived);
            let mut bonds = ties.into_bonds(guard).expect("nothing is lost, for it was looked");
            bonds.carry(derived.as_input.number());
            requested.get_or_insert_default().bonds = Some(bonds);
            // What has ended stays so, whatever else this commit does.
            let cause = derived.is_recomputed.then_some(RemovalCause::Related);
            plan.push(record, &mut value, requested, false, cause);
            demands.push((record, Demand::UnchangedSince(derived.since)));
            recomputed += u64::from(derived.is_recomputed);
            last = Some(record);
        }
        step("derive.before_fill");
        let mut version = None;
        if let Some(last) = last {
            let moment = Moment::new(&self.timer);
            let decided: Decided<'_, K, V> = self.run(plan, &demands);
            let Some(commit) = decided.commit() else {
                decided.take_values(|_, value| drop(value));
                return Err(());
            };
            // If one of them had ended, it may have been there again since: of the next commit it is known.
            let is_next = |absent_at: u64| recomputed == 0 || commit.version() == absent_at + 1;
            if absent_at.is_some_and(is_next) {
                self.store.quiet.note(commit.version());
            }
            for (record, _) in &demands {
                let (hash, version) = (Some(record.hash()), Some(commit.version()));
                self.observers().record(EventKind::Loaded, hash, version);
            }
            let is_last_set = numbers.last().is_some_and(Option::is_some);
            version = is_last_set.then(|| self.version_if_valid(last, commit, &moment)).flatten();
        }
        // What nobody sees of the outermost one is refused, as where it is set alone.
        let is_invalid = version.is_none() && numbers.last().is_some_and(Option::is_some);
        let mine = self.observers().counters.mine();
        mine.loads.add(demands.len() as u64 - u64::from(is_invalid));
        mine.recomputed.add(recomputed);
        let refused =
            |at: &usize| numbers[*at].is_none() || (is_invalid && at + 1 == numbers.len());
        for at in (0..numbers.len()).filter(refused) {
            self.observers().refused(self.derived_record(guard, &memo.derived[at]).hash());
        }
        Ok(version)
    }
}

/// What is to be set, and what ties it.
type DerivedWrite<'m, K, V, S, R> =
    (&'m DerivedValue<V>, Option<V>, Option<RequestedTerms>, EngineTies<'m, K, V, S, R>);

/// What is to become of what was derived.
struct DerivedWrites<'m, K, V, S, R: Reclaim> {
    engine: &'m Engine<K, V, S, R>,
    memo: &'m DerivationMemo<V>,
    /// For each, in order: the number by which it goes in the bonds of others. `None`: it is not kept, nor are those.
    numbers: Vec<Option<u64>>,
    /// What is to be set.
    writes: Vec<DerivedWrite<'m, K, V, S, R>>,
}

impl<'m, K, V, S, R> DerivedWrites<'m, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + PartialEq + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Of the next one.
    fn resolve<'r>(
        &mut self,
        guard: &R::Guard<'r>,
        derived: &'m DerivedValue<V>,
        plan: &Plan<'_, 'r, K, V, S, R>,
    ) -> Option<u64> {
        let engine = self.engine;
        let (store, record) = (&engine.store, engine.derived_record(guard, derived));
        let newest = store.order.newest_number(record);
        if newest.max(store.floor(record.live())) > derived.since {
            return self.adopt_current(guard, derived, &plan.moment);
        }
        let mut ties = self.ties(guard, derived)?;
        store.inherit_tags(record, derived.since, &plan.moment, &mut ties).ok()?;
        let value = Some(derived.value.clone());
        let requested = engine.rules.requested(
            plan.config.times(),
            record.key(),
            &derived.value,
            None,
            &plan.moment,
        );
        self.writes.push((derived, value, requested, ties));
        Some(derived.as_input.number())
    }

    /// Somebody has set the key: that is as good if it is equal. But for what the derivation is of, which is to be of its
    /// own commit.
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
        let number = found.bonds().map_or(number, |bonds| bonds.since(number));
        (*found.value() == derived.value).then_some(number)
    }

    /// What ties it, if none of that is lost: what it was derived from that was derived, too, has its number by now.
    fn ties(
        &self,
        guard: &R::Guard<'_>,
        derived: &DerivedValue<V>,
    ) -> Option<EngineTies<'m, K, V, S, R>> {
        let (store, mut ties) = (&self.engine.store, Ties::new(&self.engine.store));
        ties.is_nested = derived.is_nested;
        ties.is_lost = derived.is_lost;
        for input in &derived.inputs {
            let (record, mut number) = (input.record::<Record<K, V>>(), input.number());
            if let Some(DerivationProgress::Derived(at)) = self.memo.progress.get(&record.addr()) {
                // If it was noted as something else, it was absent, and derived only after that.
                let is_same = *input == self.memo.derived[*at].as_input;
                number = self.numbers.get(*at).copied().flatten().filter(|_| is_same)?;
            }
            ties.push(store.record_of(store.live(guard), input), number, input.is_present());
        }
        (!ties.are_lost()).then_some(ties)
    }
}
