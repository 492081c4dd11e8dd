//! Commits that are made only if a key is what is expected: `compare_and_set`, repairs; fills are in `fill.rs`.

use super::Engine;
use super::keep::Moment;
use super::plan::Plan;
use super::read::version_of;
use super::transact::{Demands, demand_tags};
use crate::chain::{Bonds, Chain, Record};
use crate::commit::{Demand, Descriptor, Found, Limit};
use crate::error::Conflict;
use crate::metrics::EventKind;
use crate::reclaim::Reclaim;
use crate::removal::RemovalCause;
use crate::sync::hook::step;
use crate::version::Version;
use smallvec::SmallVec;
use std::hash::{BuildHasher, Hash};
use std::{mem, ptr};

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
        let record = self.locate(&guard, hash, key, &mut None);
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
            self.conflicted(hash);
            self.try_condemn(&guard, record);
        }
        drop(guard);
        mem::forget(unwound);
        self.tend();
        // Here the values of related entries are dropped, which may panic.
        result.map_err(|(found, _related)| Conflict::new(found, value.expect("just put back")))
    }

    /// The same, once, of a located record. An error: what it was found to hold, and the values of related entries; the
    /// value is where it was.
    fn set_if<'g, 'r>(
        &'r self,
        guard: &'g R::Guard<'r>,
        record: &'g Record<K, V>,
        expected: Option<Version>,
        value: &mut Option<V>,
    ) -> Result<Version, (Option<Version>, Vec<V>)> {
        let since = self.order.clock.now();
        let moment = Moment::new(&self.timer);
        let current = self.present(guard, record, false, &moment);
        let found = current.map(|(_, state)| version_of(state));
        if found != expected {
            return Err((found, Vec::new()));
        }
        if expected.is_none() {
            self.end_broken(guard, record, &moment);
        }
        let settings = self.in_force.whole();
        let mut plan = Plan::new(self, guard, &settings);
        let asked = plan.asked_for(record, value);
        plan.push(record, value, asked, true, None);
        self.relate(&mut plan);
        let absent = || Demand::IsAbsent(plan.moment.time());
        let demand = expected.map_or_else(absent, |version| Demand::Holds(version.get()));
        let mut demands = SmallVec::<[_; 1]>::from_buf([(record, demand)]);
        // SAFETY: kept by the guard.
        if let Some(bonds) = current.and_then(|(node, _)| unsafe { node.bonds() }) {
            let ties = self.demand_ties(guard, record, bonds, since);
            plan.witness(ties.iter().map(|(record, _)| *record));
            demands.extend(ties);
        }
        step("expect.planned");
        let (outcome, descriptor) = self.run(guard, plan, &demands);
        if outcome.is_committed() {
            return Ok(version_of(outcome));
        }
        // SAFETY: the commit is ours, aborted, and kept by our guard.
        let related = unsafe { self.take_aborted(&*descriptor, record, value) };
        // SAFETY: as above.
        Err((unsafe { self.below_aborted(&*descriptor, record, expected) }, related))
    }

    /// What must be so for what ties a record's value to others, and which it was found to stand on after `since`, to be as
    /// it was.
    #[cold]
    fn demand_ties<'g>(
        &self,
        guard: &'g R::Guard<'_>,
        record: &'g Record<K, V>,
        bonds: &'g Bonds,
        since: u64,
    ) -> Demands<'g, K, V> {
        // SAFETY: held by the version, which the guard keeps.
        let inputs = bonds.inputs().iter().map(|input| unsafe { &*input.record() });
        let mut demands =
            self.demands(guard, inputs.collect(), (since, Limit::Newest), |_| true, |_| false);
        demand_tags(&mut demands, record, bonds, since);
        demands
    }

    /// Ends the derived value of a record if it is absent, as what it was made from has changed: a commit's verdict knows
    /// deadlines, but not that.
    fn end_broken(&self, guard: &R::Guard<'_>, record: &Record<K, V>, moment: &Moment<'_>) {
        // SAFETY: callers located it under the guard.
        let Found::Value(node, _) = (unsafe { self.order.newest(record) }) else { return };
        // SAFETY: kept by the guard.
        let is_derived = unsafe { node.bonds() }.is_some();
        // It was newest before that look, so if it still is when it ends, the look was at it.
        if is_derived && self.present(guard, record, false, moment).is_none() {
            self.end_absent(guard, record, node, moment);
        }
    }

    /// Puts the value that was to be set in `record` back, and returns the other values of an aborted commit. Nobody reads
    /// them, and reclamation does not drop them.
    ///
    /// # Safety
    /// The commit was aborted, it is the caller's, and kept by its guard; this is called once.
    #[cold]
    #[inline(never)]
    pub(super) unsafe fn take_aborted(
        &self,
        descriptor: &Descriptor<K, V>,
        record: &Record<K, V>,
        value: &mut Option<V>,
    ) -> Vec<V> {
        let mut related = Vec::new();
        for entry in descriptor.entries() {
            // SAFETY: kept by the caller's guard.
            let node = unsafe { &*entry.node };
            // SAFETY: the caller's promise.
            let taken = (!node.state().is_tombstone()).then(|| unsafe { node.take_value() });
            if ptr::eq(entry.record, record) {
                *value = taken;
            } else {
                related.extend(taken);
            }
        }
        related
    }

    /// Puts the values that were to be set in `records` back, of an aborted commit that writes nothing else; the last has it
    /// if one is there twice.
    ///
    /// # Safety
    /// As for [`take_aborted`](Self::take_aborted).
    #[cold]
    #[inline(never)]
    pub(super) unsafe fn take_each_aborted<const N: usize>(
        &self,
        descriptor: &Descriptor<K, V>,
        records: [&Record<K, V>; N],
        values: &mut [Option<V>],
    ) {
        for entry in descriptor.entries() {
            let at = records.iter().rposition(|record| ptr::eq(*record, entry.record));
            // SAFETY: kept by the caller's guard; the caller's promise.
            values[at.expect("one of them")] = Some(unsafe { (*entry.node).take_value() });
        }
    }

    /// What `record` held instead of what was expected when our commit was aborted.
    ///
    /// # Safety
    /// As for [`take_aborted`](Self::take_aborted), but as often as wanted.
    unsafe fn below_aborted(
        &self,
        descriptor: &Descriptor<K, V>,
        record: &Record<K, V>,
        expected: Option<Version>,
    ) -> Option<Version> {
        let entry = descriptor.entries().iter().find(|entry| ptr::eq(entry.record, record))?;
        // SAFETY: installed in this record by our commit, and kept by our guard.
        let prev = unsafe { record.prev_of(entry.node) }.link().target();
        // SAFETY: what an aborted version was installed upon is kept by our guard.
        let below = (!prev.is_null()).then(|| unsafe { &*prev })?;
        let state = below.state();
        let floor = self.order.floor.newest(&self.order.clock);
        // If nothing was expected, the value was there when that was decided, even if everything was
        // cleared since. Otherwise its absence now is as good an answer.
        let is_found = || {
            let moment = Moment::new(&self.timer);
            state.version() > floor
                && self.serves(below, state, Limit::Newest, false, &moment).is_ok_and(|is| is)
        };
        (state.is_value() && (expected.is_none() || is_found())).then(|| version_of(state))
    }

    /// Writes a tombstone upon nothing, by which those who have a lease on the key learn that it was removed.
    /// False if there is something by now.
    pub(super) fn mark_absent<'g, 'r>(
        &'r self,
        guard: &'g R::Guard<'r>,
        record: &'g Record<K, V>,
    ) -> bool {
        let settings = self.in_force.whole();
        let mut plan = Plan::new(self, guard, &settings);
        plan.push(record, &mut None, None, false, None);
        let demand = Demand::IsAbsent(plan.moment.time());
        self.run(guard, plan, &[(record, demand)]).0.is_committed()
    }

    /// Removes `key` alone, as what a relation takes away, if it still holds `version`: a repair. True if it did.
    pub fn remove_if(&self, key: &K, version: Version) -> bool {
        let is_removed = {
            let guard = self.pin();
            let record = self.find(&guard, self.hash(key), key).filter(|record| record.revive());
            record.is_some_and(|record| {
                let settings = self.in_force.whole();
                let mut plan = Plan::new(self, &guard, &settings);
                plan.push(record, &mut None, None, false, Some(RemovalCause::Related));
                let demand = Demand::Holds(version.get());
                let (outcome, _) = self.run(&guard, plan, &[(record, demand)]);
                if outcome.is_committed() {
                    self.record(EventKind::Repaired, Some(record.hash()), Some(outcome.version()));
                }
                outcome.is_committed()
            })
        };
        self.tend();
        is_removed
    }
}
