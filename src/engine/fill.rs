//! Fills: what was read elsewhere is set under leases, as long as nobody has written it since.
//!
//! A fill's values take the place of others, and are tied to what those are tied to.

use super::plan::Plan;
use super::terms::Asked;
use super::{Engine, Hold};
use crate::chain::{Bonds, RecordRef};
use crate::commit::Precondition;
use crate::config::ConfigSnapshot;
use crate::dependencies::Moment;
use crate::metrics::EventKind;
use crate::reclaim::Reclaim;
use crate::store::Commit;
use crate::sync::hook::{mutant, step};
use crate::version::Version;
use std::hash::{BuildHasher, Hash};

/// A fill that was committed.
pub struct Filled {
    pub version: Version,
    /// Whether the values were to be had then: what they are tied to had not changed meanwhile.
    pub is_had: bool,
}

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Sets the key to `value`, which is taken, unless it was written, removed or cleared since the lease was taken.
    pub fn fill(&self, hold: &Hold<K, V>, value: &mut Option<V>) -> Option<Filled> {
        let filled = self.fill_many([hold], std::slice::from_mut(value));
        self.tend();
        filled
    }

    /// Sets the keys to these values by one commit, the last of a key, unless one was written, removed or cleared since
    /// the leases were taken, which all are as of one version. Those that are set are taken. The caller tends.
    pub fn fill_many<const N: usize>(
        &self,
        holds: [&Hold<K, V>; N],
        values: &mut [Option<V>],
    ) -> Option<Filled> {
        self.fill_by(holds, |guard, records| {
            self.fill_records(guard, records, holds[0].since, values)
        })
    }

    /// Has `fill` set the keys that leases are on, and counts whether it did. The caller tends.
    pub(super) fn fill_by<'r, T, const N: usize>(
        &'r self,
        holds: [&Hold<K, V>; N],
        fill: impl for<'g> FnOnce(&'g R::Guard<'r>, [RecordRef<'g, K, V>; N]) -> Option<T>,
    ) -> Option<T> {
        let guard = self.pin();
        let records = holds.map(|hold| self.held(&guard, hold));
        for record in records {
            let revived = record.revive();
            debug_assert!(revived, "a record that is held is not sealed");
        }
        let filled = fill(&guard, records);
        match &filled {
            Some(_) => self.observers().counters.mine().loads.add(N as u64),
            None => records.iter().for_each(|record| self.observers().refused(record.hash())),
        }
        filled
    }

    /// Sets the keys of records, which leases hold, to what was loaded for them, unless one was written or cleared
    /// after `since`. Relations are not followed: what is loaded is no change.
    fn fill_records<'g, 'r, const N: usize>(
        &'r self,
        guard: &'g R::Guard<'r>,
        records: [RecordRef<'g, K, V>; N],
        since: u64,
        values: &mut [Option<V>],
    ) -> Option<Filled> {
        let config = self.observers().config.snapshot();
        let moment = Moment::new(&self.timer);
        for at in 0..N {
            if records[at + 1..].iter().any(|later| later.is(records[at].get())) {
                values[at] = None; // the last of a key counts
            }
        }
        let mut asked = std::array::from_fn(|at| {
            let (key, value) = (records[at].key(), values[at].as_ref()?);
            self.rules.asked(config.times(), key, value, None, &moment)
        });
        // From here on no user's code runs that could keep the bonds from their versions.
        let is_tied = self.tie_all(guard, records, since, values, &mut asked).ok()?;
        step("fill.tied");
        let commit = self.fill_asked(guard, &config, records, since, values, asked)?;
        // If they are to be had now, then since their commit: whoever came before that may have them.
        let is_newest = |record| self.is_newest(record, commit, &moment);
        let is_had = !is_tied || records.into_iter().all(is_newest);
        let is_had = is_had || mutant("fill.unchecked");
        Some(Filled { version: Version::from_u64(commit.version()), is_had })
    }

    /// BondsBuilder what is offered to what is tied to that in whose place it comes. Whether any is; an error: some of that was
    /// written, or a tag invalidated, after `since`.
    fn tie_all<'g, const N: usize>(
        &'g self,
        guard: &'g R::Guard<'_>,
        records: [RecordRef<'g, K, V>; N],
        since: u64,
        values: &[Option<V>],
        asked: &mut [Option<Asked>; N],
    ) -> Result<bool, ()> {
        let mut is_tied = false;
        for at in (0..N).filter(|at| values[*at].is_some()) {
            match self.store.inherited_bonds(guard, records[at], since) {
                Ok(None) => {}
                Ok(bonds) => {
                    asked[at].get_or_insert_default().bonds = bonds;
                    is_tied = true;
                }
                Err(()) => {
                    let asked = asked.iter_mut().flatten();
                    let tied = asked.filter_map(|asked| asked.bonds.take());
                    tied.for_each(|bonds: Box<Bonds>| self.store.release_bonds(guard, &bonds));
                    return Err(());
                }
            }
        }
        Ok(is_tied)
    }

    /// Whether a record holds what a commit wrote, and that is valid.
    pub(super) fn is_newest<'g>(
        &'g self,
        record: RecordRef<'g, K, V>,
        commit: Commit<'g>,
        moment: &Moment<'_>,
    ) -> bool {
        let present = self.store.present(record, false, moment);
        present.is_some_and(|present| present.number() == commit.version())
    }

    /// Sets the keys of records, which leases hold, to those of the values that there are, with what
    /// is asked for them, unless one was written or cleared after `since`.
    pub(super) fn fill_asked<'g, 'r, const N: usize>(
        &'r self,
        guard: &'g R::Guard<'r>,
        config: &'g ConfigSnapshot<'r, K, V>,
        records: [RecordRef<'g, K, V>; N],
        since: u64,
        values: &mut [Option<V>],
        asked: [Option<Asked>; N],
    ) -> Option<Commit<'g>> {
        let mut plan = Plan::new(self, guard, config);
        for ((record, value), asked) in records.iter().zip(&mut *values).zip(asked) {
            if value.is_some() {
                plan.push(*record, value, asked, false, None);
            }
        }
        let preconditions = records.map(|record| (record, Precondition::UnchangedSince(since)));
        let few = if mutant("fill.checks_one") { 1 } else { N };
        let decided = self.run(plan, &preconditions[..few]);
        if let Some(commit) = decided.commit() {
            for record in records {
                let (hash, version) = (Some(record.hash()), Some(commit.version()));
                self.observers().record(EventKind::Loaded, hash, version);
            }
            return Some(commit);
        }
        decided.take_values(|of, value| {
            let at = records.iter().rposition(|record| record.is(of.get()));
            values[at.expect("one of them")] = value;
        });
        None
    }
}
