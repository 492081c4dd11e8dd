//! Commits with a condition on one key: `compare_and_set` and repairs. Fills are in `fill.rs`,
//! computed writes in `compute.rs`.

use super::Engine;
use super::plan::Plan;
use super::transact::{Demands, demand_tags};
use crate::chain::{Bonds, EntryTerms, NodeRef, Parcel, RecordRef};
use crate::commit::{Precondition, ReadAt};
use crate::dependencies::Moment;
use crate::error::Conflict;
use crate::metrics::EventKind;
use crate::reclaim::Reclaim;
use crate::relation::Terms;
use crate::removal::RemovalCause;
use crate::store::{Decided, version_of};
use crate::sync::hook::step;
use crate::version::Version;
use smallvec::SmallVec;
use std::hash::{BuildHasher, Hash};
use std::mem;

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Sets `key` and its related entries if `key` has the version `expected`.
    pub fn compare_and_set(
        &self,
        key: K,
        expected: Option<Version>,
        value: &mut Parcel<V>,
    ) -> Result<Version, Conflict> {
        let hash = self.hash(&key);
        let unwound = self.collect_on_unwind();
        let guard = self.pin();
        let record = self.store.locate(&guard, hash, key, None);
        let result = loop {
            let (found, related) = match self.set_if(&guard, record, expected, value, None) {
                Ok(version) => break Ok(version),
                Err(refused) => refused,
            };
            if found != expected || expected.is_none() {
                break Err((found, related));
            }
            // A commit wrote one of the inputs in the meantime, and the value is valid again.
            drop(related);
        };
        if result.is_err() {
            self.observers().conflicted(hash);
            self.store.try_condemn(&guard, record);
        }
        drop(guard);
        mem::forget(unwound);
        self.tend_after_several();
        // Dropping the values of the related entries may panic.
        result.map_err(|(found, _related)| Conflict::new(found, value.take_to_heap()))
    }

    /// Sets a located record to the value in `value`, with its related entries, or removes its
    /// value alone if there is none, provided that the record has the version `expected`. Tries
    /// once. On failure, returns the version that the record has and the values of related entries.
    /// The value itself is back in `value` then. Without `terms`, the settings determine the terms.
    pub(super) fn set_if<'g, 'r>(
        &'r self,
        guard: &'g R::Guard<'r>,
        record: RecordRef<'g, K, V>,
        expected: Option<Version>,
        value: &mut Parcel<V>,
        terms: Option<&Terms>,
    ) -> Result<Version, (Option<Version>, Vec<Parcel<V>>)> {
        let since = self.store.version();
        let moment = Moment::new(&self.timer);
        // Read before the look-up: an input that has expired by this time was absent for the
        // look-up.
        let look_up_time = if self.deadlines.may_be() { moment.time() } else { 0 };
        let current = self.store.present(record, false, &moment);
        let found = current.map(|found| version_of(found.seen()));
        if found != expected {
            return Err((found, Vec::new()));
        }
        if expected.is_none() {
            self.end_broken(guard, record, &moment);
        }
        let config = self.observers().config.snapshot();
        let mut plan = Plan::new(self, guard, &config);
        let requested = match terms {
            None => plan.requested_for(record, value),
            Some(terms) => plan.requested_by_caller(record, value, terms.clone()),
        };
        let applies_relations = value.is_some();
        plan.push(record, applies_relations.then_some(value), requested, applies_relations, None);
        self.relate(&mut plan);
        let absent = || Precondition::IsAbsent(plan.moment.time());
        let precondition =
            expected.map_or_else(absent, |version| Precondition::Holds(version.get()));
        let mut preconditions = SmallVec::<[_; 1]>::from_buf([(record, precondition)]);
        if let Some(bonds) = current.and_then(|found| found.bonds()) {
            let ties = self.demand_inputs(record, bonds, since, look_up_time);
            plan.set.witness(ties.iter().map(|(record, _)| *record));
            preconditions.extend(ties);
        }
        step("expect.planned");
        let decided = self.run(&mut plan, &preconditions);
        if let Some(commit) = decided.commit() {
            return Ok(Version::from_u64(commit.version()));
        }
        let below = decided.found_in(record);
        let mut related = Vec::new();
        decided.take_values(|of, taken| {
            let is_own = of.is(record.get());
            taken.give_back(if is_own { value } else { Parcel::add_to(&mut related) });
        });
        Err((self.version_below(below, record, expected), related))
    }

    /// Returns preconditions that keep a value valid until the commit is decided. The value's bonds
    /// were valid after `since` and after the time `look_up_time`.
    #[cold]
    fn demand_inputs<'g>(
        &'g self,
        record: RecordRef<'g, K, V>,
        bonds: &'g Bonds,
        since: u64,
        look_up_time: u64,
    ) -> Demands<'g, K, V> {
        let live = record.live();
        let inputs = bonds.inputs().iter().map(|input| self.store.record_of(live, input));
        let as_of = (since, ReadAt::newest(live));
        // A value may be valid because an expired entry is absent. That entry need not be in time.
        let was_in_time = |terms: &EntryTerms| !terms.is_expired(look_up_time);
        let mut preconditions = self.preconditions(inputs.collect(), as_of, was_in_time, |_| false);
        demand_tags(&mut preconditions, record, bonds, since);
        preconditions
    }

    /// Ends the derived value of a record if a change of an input has made it invalid. The verdict
    /// of a commit takes deadlines into account, but not inputs.
    fn end_broken<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        record: RecordRef<'g, K, V>,
        moment: &Moment<'_>,
    ) {
        let Some(found) = self.store.order.newest(record) else { return };
        // The version was the newest before the look-up. If it is the newest when it ends, the
        // look-up judged this version.
        if found.bonds().is_some() && self.store.present(record, false, moment).is_none() {
            self.end_absent(guard, record, found, moment);
        }
    }

    /// Returns the version that a record had below an aborted commit, if it was not `expected` but
    /// valid.
    fn version_below<'g>(
        &'g self,
        below: Option<NodeRef<'g, V>>,
        record: RecordRef<'g, K, V>,
        expected: Option<Version>,
    ) -> Option<Version> {
        let found = below?.visible()?;
        // If the expectation was "absent", the value was present when the commit was decided, even
        // if a clear came later. Otherwise the value's absence now is an equally correct answer.
        let is_valid = || {
            let (moment, at) = (Moment::new(&self.timer), ReadAt::newest(record.live()));
            found.number() > self.store.watermark(record.live())
                && matches!(self.store.judge(found, at, false, &moment), Ok(None))
        };
        (expected.is_none() || is_valid()).then(|| version_of(found.seen()))
    }

    /// Repairs a group: removes `key` alone if it still has `version`, with the cause `Related`.
    /// Returns whether it did.
    pub fn remove_if(&self, key: &K, version: Version) -> bool {
        let is_removed = {
            let guard = self.pin();
            let record = self.store.find_alive(&guard, self.hash(key), key);
            record.is_some_and(|record| {
                let config = self.observers().config.snapshot();
                let mut plan = Plan::new(self, &guard, &config);
                plan.push(record, None, None, false, Some(RemovalCause::Related));
                let precondition = Precondition::Holds(version.get());
                let decided: Decided<'_, K, V> = self.run(&mut plan, &[(record, precondition)]);
                if let Some(commit) = decided.commit() {
                    let (hash, version) = (Some(record.hash()), Some(commit.version()));
                    self.observers().record(EventKind::Repaired, hash, version);
                }
                decided.is_committed()
            })
        };
        self.tend_after_several();
        is_removed
    }
}
