//! Fills: values that were read elsewhere are set under leases, unless a commit has written their
//! keys since.
//!
//! A filled value takes over the bonds of the value that it replaces.

use super::plan::Plan;
use super::terms::RequestedTerms;
use super::{Engine, KeyLease};
use crate::chain::{Bonds, Parcel, RecordRef};
use crate::commit::Precondition;
use crate::config::ConfigSnapshot;
use crate::dependencies::Moment;
use crate::metrics::EventKind;
use crate::reclaim::Reclaim;
use crate::store::Commit;
use crate::sync::hook::{mutant, step};
use crate::version::Version;
use std::hash::{BuildHasher, Hash};

/// A committed fill.
pub struct Filled {
    pub version: Version,
    /// Whether the values were valid after the commit: nothing in their bonds had changed.
    pub is_valid: bool,
}

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Sets the key to `value` and takes the value, unless the key was written, removed or cleared
    /// since the lease was taken.
    pub fn fill(&self, lease: &KeyLease<K, V>, value: &mut Parcel<V>) -> Option<Filled> {
        let filled = self.fill_many([lease], std::slice::from_mut(value));
        self.tend_after_several();
        filled
    }

    /// Sets the keys to these values by one commit, unless a key was written, removed or cleared
    /// since the leases were taken. All leases are as of one version. If a key occurs several
    /// times, its last value counts. The values that are set are taken. The caller calls
    /// [`tend`](Self::tend).
    pub fn fill_many<const N: usize>(
        &self,
        leases: [&KeyLease<K, V>; N],
        values: &mut [Parcel<V>],
    ) -> Option<Filled> {
        self.fill_by(leases, |guard, records| {
            self.fill_records(guard, records, leases[0].since, values)
        })
    }

    /// Lets `fill` set the leased keys, and counts the success or refusal. The caller calls
    /// [`tend`](Self::tend).
    pub(super) fn fill_by<'r, T, const N: usize>(
        &'r self,
        leases: [&KeyLease<K, V>; N],
        fill: impl for<'g> FnOnce(&'g R::Guard<'r>, [RecordRef<'g, K, V>; N]) -> Option<T>,
    ) -> Option<T> {
        let guard = self.pin();
        self.fill_by_under(&guard, leases, |records| fill(&guard, records))
    }

    /// Does the same under a guard.
    pub(super) fn fill_by_under<'g, T, const N: usize>(
        &self,
        guard: &'g R::Guard<'_>,
        leases: [&KeyLease<K, V>; N],
        fill: impl FnOnce([RecordRef<'g, K, V>; N]) -> Option<T>,
    ) -> Option<T> {
        let records = leases.map(|lease| self.leased_record(guard, lease));
        for record in records {
            let revived = record.revive();
            debug_assert!(revived, "a held record is not sealed");
        }
        let filled = fill(records);
        match &filled {
            Some(_) => self.observers().counters.mine().loads.add(N as u64),
            None => records.iter().for_each(|record| {
                self.observers().refused(record.hash());
                self.tell_refused(record.hash());
            }),
        }
        filled
    }

    /// Sets the keys of leased records to their loaded values, unless a key was written or cleared
    /// after `since`. Relations do not apply, because loading a value does not change it at its
    /// source.
    fn fill_records<'g, 'r, const N: usize>(
        &'r self,
        guard: &'g R::Guard<'r>,
        records: [RecordRef<'g, K, V>; N],
        since: u64,
        values: &mut [Parcel<V>],
    ) -> Option<Filled> {
        let config = self.observers().config.snapshot();
        let moment = Moment::new(&self.timer);
        for at in 0..N {
            if records[at + 1..].iter().any(|later| later.is(records[at].get())) {
                values[at].clear(); // the last value of a key counts
            }
        }
        let mut requested = std::array::from_fn(|at| {
            let (key, value) = (records[at].key(), values[at].get()?);
            let replaced = || self.lifetime_of(records[at]);
            self.rules.requested(config.times(), key, value, None, &moment, replaced)
        });
        // No user code runs from here on. A panic in it would separate the bonds from their
        // versions.
        let is_tied = self.inherit_bonds(guard, records, since, values, &mut requested).ok()?;
        step("fill.tied");
        let commit = self.fill_requested(guard, &config, records, since, values, requested)?;
        // If the values are valid now, they have been valid since their commit, so a caller that
        // came before the commit may have them.
        let is_newest = |record| self.is_newest(record, commit, &moment);
        let is_valid = !is_tied || records.into_iter().all(is_newest);
        let is_valid = is_valid || mutant("fill.unchecked");
        Some(Filled { version: Version::from_u64(commit.version()), is_valid })
    }

    /// Gives each value the bonds of the value that it replaces. Returns whether any value has
    /// bonds. Fails if one of their inputs was written, or one of their tags invalidated, after
    /// `since`.
    fn inherit_bonds<'g, const N: usize>(
        &'g self,
        guard: &'g R::Guard<'_>,
        records: [RecordRef<'g, K, V>; N],
        since: u64,
        values: &[Parcel<V>],
        requested: &mut [Option<RequestedTerms>; N],
    ) -> Result<bool, ()> {
        let mut is_tied = false;
        for at in (0..N).filter(|at| values[*at].is_some()) {
            match self.store.inherited_bonds(guard, records[at], since) {
                Ok(None) => {}
                Ok(bonds) => {
                    requested[at].get_or_insert_default().bonds = bonds;
                    is_tied = true;
                }
                Err(()) => {
                    let requested = requested.iter_mut().flatten();
                    let tied = requested.filter_map(|requested| requested.bonds.take());
                    // SAFETY: the bonds were taken from requests that are not made.
                    tied.for_each(|bonds: Box<Bonds>| unsafe {
                        self.store.release_bonds(guard, &bonds);
                    });
                    return Err(());
                }
            }
        }
        Ok(is_tied)
    }

    /// Returns whether a record's value is the one that the commit wrote, and is valid.
    pub(super) fn is_newest<'g>(
        &'g self,
        record: RecordRef<'g, K, V>,
        commit: Commit<'g>,
        moment: &Moment<'_>,
    ) -> bool {
        let present = self.store.present(record, false, moment);
        present.is_some_and(|present| present.number() == commit.version())
    }

    /// Sets the keys of leased records to the values that are given, on the requested terms, unless
    /// a key was written or cleared after `since`.
    pub(super) fn fill_requested<'g, 'r, const N: usize>(
        &'r self,
        guard: &'g R::Guard<'r>,
        config: &'g ConfigSnapshot<'r, K, V>,
        records: [RecordRef<'g, K, V>; N],
        since: u64,
        values: &mut [Parcel<V>],
        requested: [Option<RequestedTerms>; N],
    ) -> Option<Commit<'g>> {
        let mut plan = Plan::new(self, guard, config);
        for ((record, value), requested) in records.iter().zip(&mut *values).zip(requested) {
            if value.is_some() {
                plan.push(*record, Some(value), requested, false, None);
            }
        }
        let preconditions = records.map(|record| (record, Precondition::UnchangedSince(since)));
        let few = if mutant("fill.checks_one") { 1 } else { N };
        let decided = self.run(&mut plan, &preconditions[..few]);
        if let Some(commit) = decided.commit() {
            for record in records {
                let (hash, version) = (Some(record.hash()), Some(commit.version()));
                self.observers().record(EventKind::Loaded, hash, version);
            }
            return Some(commit);
        }
        decided.take_values(|of, unset| {
            let at = records.iter().rposition(|record| record.is(of.get()));
            unset.give_back(&mut values[at.expect("the commit wrote one of these records")]);
        });
        None
    }
}
