//! Commits that are made only if a key is as expected: `compare_and_set`, repairs. Fills are in
//! `fill.rs`.

use super::Engine;
use super::plan::Plan;
use super::transact::{Preconditions, demand_tags};
use crate::chain::{Bonds, EntryTerms, NodeRef, RecordRef};
use crate::commit::{Precondition, ReadAt};
use crate::dependencies::Moment;
use crate::error::Conflict;
use crate::metrics::EventKind;
use crate::reclaim::Reclaim;
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
    /// Sets `key` and its related entries if `key` holds `expected`.
    pub fn compare_and_set(
        &self,
        key: K,
        expected: Option<Version>,
        value: V,
    ) -> Result<Version, Conflict> {
        let hash = self.hash(&key);
        let unwound = self.unless_it_panics();
        let guard = self.pin();
        let record = self.store.locate(&guard, hash, key, &mut None);
        let mut value = Some(value);
        let result = loop {
            let (found, related) = match self.set_if(&guard, record, expected, &mut value) {
                Ok(version) => break Ok(version),
                Err(refused) => refused,
            };
            if found != expected || expected.is_none() {
                break Err((found, related));
            }
            // What it is tied to was written meanwhile, and it is whole again.
            drop(related);
        };
        if result.is_err() {
            self.observers().conflicted(hash);
            self.store.try_condemn(&guard, record);
        }
        drop(guard);
        mem::forget(unwound);
        self.tend();
        // Here the values of related entries are dropped, which may panic.
        result.map_err(|(found, _related)| Conflict::new(found, value.expect("just put back")))
    }

    /// The same, once, of a located record. An error: what it was found to hold, and the values of
    /// related entries; the value is where it was.
    fn set_if<'g, 'r>(
        &'r self,
        guard: &'g R::Guard<'r>,
        record: RecordRef<'g, K, V>,
        expected: Option<Version>,
        value: &mut Option<V>,
    ) -> Result<Version, (Option<Version>, Vec<V>)> {
        let since = self.store.version();
        let moment = Moment::new(&self.timer);
        // Before the look: an input that is over by this time was absent for it.
        let looked = if self.deadlines.may_be() { moment.time() } else { 0 };
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
        let asked = plan.asked_for(record, value);
        plan.push(record, value, asked, true, None);
        self.relate(&mut plan);
        let absent = || Precondition::IsAbsent(plan.moment.time());
        let precondition =
            expected.map_or_else(absent, |version| Precondition::Holds(version.get()));
        let mut preconditions = SmallVec::<[_; 1]>::from_buf([(record, precondition)]);
        if let Some(bonds) = current.and_then(|found| found.bonds()) {
            let ties = self.demand_ties(record, bonds, since, looked);
            plan.set.witness(ties.iter().map(|(record, _)| *record));
            preconditions.extend(ties);
        }
        step("expect.planned");
        let decided = self.run(plan, &preconditions);
        if let Some(commit) = decided.commit() {
            return Ok(Version::from_u64(commit.version()));
        }
        let below = decided.found_in(record);
        let mut related = Vec::new();
        decided.take_values(|of, taken| {
            if of.is(record.get()) {
                *value = taken;
            } else {
                related.extend(taken);
            }
        });
        Err((self.version_below(below, record, expected), related))
    }

    /// What must be so for what ties a record's value to others, and which it was found to stand on
    /// after `since` and the time `looked`, to be as it was.
    #[cold]
    fn demand_ties<'g>(
        &'g self,
        record: RecordRef<'g, K, V>,
        bonds: &'g Bonds,
        since: u64,
        looked: u64,
    ) -> Preconditions<'g, K, V> {
        let live = record.live();
        let inputs = bonds.inputs().iter().map(|input| self.store.record_of(live, input));
        let as_of = (since, ReadAt::newest(live));
        // A value may hold by the absence of an entry whose time is up. It is not to be in time.
        let was_in_time = |terms: &EntryTerms| !terms.is_expired(looked);
        let mut preconditions = self.preconditions(inputs.collect(), as_of, was_in_time, |_| false);
        demand_tags(&mut preconditions, record, bonds, since);
        preconditions
    }

    /// Ends the derived value of a record if it is absent, as what it was made from has changed: a
    /// commit's verdict knows deadlines, but not that.
    fn end_broken<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        record: RecordRef<'g, K, V>,
        moment: &Moment<'_>,
    ) {
        let Some(found) = self.store.order.newest(record) else { return };
        // It was newest before that look, so if it still is when it ends, the look was at it.
        if found.bonds().is_some() && self.store.present(record, false, moment).is_none() {
            self.end_absent(guard, record, found.node(), moment);
        }
    }

    /// What a record held instead of what was expected, if it held that below an aborted commit.
    fn version_below<'g>(
        &'g self,
        below: Option<NodeRef<'g, V>>,
        record: RecordRef<'g, K, V>,
        expected: Option<Version>,
    ) -> Option<Version> {
        let found = below?.visible()?;
        // If nothing was expected, the value was there when that was decided, even if everything was
        // cleared since. Otherwise its absence now is as good an answer.
        let is_valid = || {
            let (moment, at) = (Moment::new(&self.timer), ReadAt::newest(record.live()));
            found.number() > self.store.watermark(record.live())
                && self.store.is_valid(found, at, false, &moment).is_ok_and(|is| is)
        };
        (expected.is_none() || is_valid()).then(|| version_of(found.seen()))
    }

    /// Removes `key` alone, as what a relation takes away, if it still holds `version`: a repair.
    /// True if it did.
    pub fn remove_if(&self, key: &K, version: Version) -> bool {
        let is_removed = {
            let guard = self.pin();
            let record = self.store.find_alive(&guard, self.hash(key), key);
            record.is_some_and(|record| {
                let config = self.observers().config.snapshot();
                let mut plan = Plan::new(self, &guard, &config);
                plan.push(record, &mut None, None, false, Some(RemovalCause::Related));
                let precondition = Precondition::Holds(version.get());
                let decided: Decided<'_, K, V> = self.run(plan, &[(record, precondition)]);
                if let Some(commit) = decided.commit() {
                    let (hash, version) = (Some(record.hash()), Some(commit.version()));
                    self.observers().record(EventKind::Repaired, hash, version);
                }
                decided.is_committed()
            })
        };
        self.tend();
        is_removed
    }
}
