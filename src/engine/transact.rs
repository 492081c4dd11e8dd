//! Transactions: what was read as of one view, and one commit that is made only if none of that has changed since.
//!
//! This is optimistic concurrency control (Kung and Robinson, "On optimistic methods for concurrency control", 1981), its
//! validation being the verdict of a commit: each key that was read is to be as it was. For a key that the commit does not
//! write it has a *witness*, a version that is never visible. As any version it stops later writers of the key until the
//! commit is decided, and by what it was put upon every helper finds the same verdict; so there is no write skew. A
//! grace period later it is taken away again.

use super::Engine;
use super::read::Opened;
use super::said::{Change, Changes, Keep};
use crate::chain::{Bonds, EntryTerms, NodeRef, Record, RecordRef};
use crate::commit::{Precondition, ReadAt};
use crate::dependencies::Moment;
use crate::reclaim::Reclaim;
use crate::store::{Snapshot, cell_of};
use crate::sync::hook::{mutant, step};
use crate::sync::time::NEVER;
use crate::version::{State, Version};
use equivalent::Equivalent;
use std::collections::HashSet;
use std::hash::{BuildHasher, Hash};
use std::ptr::{self, NonNull};

/// One try of a transaction: what it has read, as of one view, and is to write.
pub struct Attempt<'e, K, V, S, R: Reclaim> {
    engine: &'e Engine<K, V, S, R>,
    view: Opened<'e, K, V, S, R>,
    reads: Reads<'e, K, V, S, R>,
    pub changes: Changes<K, V>,
}

/// The records of the keys that were read, each held as often as it stands here.
struct Reads<'e, K, V, S, R: Reclaim> {
    engine: &'e Engine<K, V, S, R>,
    records: Vec<NonNull<Record<K, V>>>,
    /// One could not be held, as too many hold it.
    is_lost: bool,
}

/// What a commit demands, and of which record.
pub(super) type Preconditions<'g, K, V> = Vec<(RecordRef<'g, K, V>, Precondition)>;

impl<K, V, S, R: Reclaim> Drop for Reads<'_, K, V, S, R> {
    fn drop(&mut self) {
        {
            let guard = self.engine.pin();
            for record in self.records.drain(..) {
                let record = self.engine.store.held(&guard, record);
                record.let_go();
                self.engine.store.condemn_or_queue(&guard, record);
            }
        }
        self.engine.collect_some();
    }
}

impl<'e, K, V, S, R> Attempt<'e, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    pub fn new(engine: &'e Engine<K, V, S, R>) -> Self {
        let reads = Reads { engine, records: Vec::new(), is_lost: false };
        Self { engine, view: engine.open_view(), reads, changes: engine.changes() }
    }

    /// How many writes are planned.
    pub fn writes(&self) -> usize {
        self.changes.len()
    }

    /// What `key` holds: as this is to write it, or else as of the view.
    pub fn get<Q>(&mut self, key: &Q, own: impl FnOnce() -> K) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        V: Clone,
    {
        let engine = self.engine;
        let hash = engine.hash(key);
        let is_it = |change: &&Change<K, V>| change.hash == hash && key.equivalent(&change.key);
        if let Some(change) = self.changes.list.iter().rev().find(is_it) {
            return change.value.clone();
        }
        let guard = engine.pin();
        let record = engine.store.find_or_create(&guard, key, own);
        self.reads.note(&guard, record);
        engine.read_record(record, self.view.snapshot()).map(|(value, _)| value.clone())
    }

    /// Plans a write of `key`; relations are followed if it is `related`.
    pub fn write(&mut self, key: K, value: Option<V>, keep: Keep, related: bool) {
        self.changes.push(self.engine.change(key, value, keep, related));
    }

    /// Writes, by one commit, if all that was read is still so. `None`: it is not.
    pub fn commit(self) -> Option<Version> {
        let Self { engine, view, reads, changes } = self;
        if changes.is_empty() {
            reads.are_used(&engine.pin());
            return Some(Version::from_u64(view.snapshot().version())); // It was as the view shows.
        }
        let committed = {
            let guard = engine.pin();
            let config = engine.observers().config.snapshot();
            let mut plan = engine.plan(&guard, &config, changes);
            // SAFETY: the view is registered until the commit is decided.
            let kept = unsafe { plan.as_it_was(view.snapshot()) };
            let preconditions = reads.preconditions(&guard, view.snapshot(), kept);
            preconditions.ok_or_else(Vec::new).and_then(|mut preconditions| {
                if mutant("transact.reads_unwitnessed") {
                    preconditions.clear();
                }
                plan.set.witness(preconditions.iter().map(|(record, _)| *record));
                step("transact.planned");
                // The view is for the verdict; and what is superseded need not wait for it.
                let decided = engine.run_and(plan, &preconditions, || view.close(&guard));
                if let Some(commit) = decided.commit() {
                    reads.are_used(&guard);
                    return Ok(Version::from_u64(commit.version()));
                }
                let mut values = Vec::new();
                decided.take_values(|_, value| values.extend(value));
                Err(values)
            })
        };
        if committed.is_err() {
            engine.observers().conflicted(reads.hash());
        }
        engine.tend();
        committed.ok()
    }
}

impl<K, V, S, R: Reclaim> Reads<'_, K, V, S, R> {
    /// Holds a record that was located under the guard.
    fn note(&mut self, guard: &R::Guard<'_>, record: RecordRef<'_, K, V>) {
        if record.try_hold() {
            self.records.push(NonNull::from(record.get()));
        } else {
            self.is_lost = true;
            self.engine.store.try_condemn(guard, record);
        }
    }

    /// What was read is used, if somebody wants to know: it was committed.
    fn are_used(&self, guard: &R::Guard<'_>) {
        let engine = self.engine;
        if engine.policy.is_none() && !engine.deadlines.may_be() {
            return;
        }
        let moment = Moment::new(&engine.timer);
        for record in &self.records {
            // As any look-up is that counts.
            engine.store.present(engine.store.held(guard, *record), true, &moment);
        }
    }

    /// The hash of the first key, for the record of what has happened.
    fn hash(&self) -> u32 {
        let first = self.records.first();
        let guard = self.engine.pin();
        first.map_or(0, |record| self.engine.store.held(&guard, *record).hash())
    }

    /// What must be so of all that was read in a view, these records too, which are located, and of
    /// what that was derived from, on whatever way. `None`: something cannot be demanded.
    fn preconditions<'g: 'v, 'v>(
        &'g self,
        guard: &'g R::Guard<'_>,
        snapshot: &'v Snapshot,
        mut todo: Vec<RecordRef<'g, K, V>>,
    ) -> Option<Preconditions<'g, K, V>> {
        let address = |record: &RecordRef<'g, K, V>| ptr::from_ref(record.get());
        todo.extend(self.records.iter().map(|record| self.engine.store.held(guard, *record)));
        todo.sort_unstable_by_key(address);
        todo.dedup_by_key(|record| address(record));
        let at = snapshot.at(self.engine.store.live(guard));
        let was_in_time = |terms: &EntryTerms| !terms.is_expired(snapshot.opened());
        let is_gone =
            |found: Option<(NodeRef<'v, V>, State)>| self.engine.is_gone(found, snapshot, at);
        let as_of = (snapshot.version(), at);
        let preconditions = || self.engine.preconditions(todo, as_of, was_in_time, is_gone);
        (!self.is_lost).then(preconditions)
    }
}

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// What must be so for all that these records, which are held, and what that was derived from,
    /// held up to a number to be so still; as of an instant, up to which no other is demanded to have
    /// written them. What was not in time was absent; what `is_gone` is so for good, and demanded
    /// only to be absent.
    pub(super) fn preconditions<'g: 'v, 'v>(
        &'g self,
        mut todo: Vec<RecordRef<'g, K, V>>,
        (since, at): (u64, ReadAt<'v>),
        was_in_time: impl Fn(&EntryTerms) -> bool,
        is_gone: impl Fn(Option<(NodeRef<'v, V>, State)>) -> bool,
    ) -> Preconditions<'g, K, V> {
        let (mut preconditions, mut known, mut next) =
            (Vec::with_capacity(todo.len()), HashSet::new(), 0);
        // Of what was read itself, as opposed to what that was derived from: where it is demanded.
        let (read, mut absent) = (todo.len(), Vec::new());
        while let Some(&record) = todo.get(next) {
            next += 1;
            let revived = record.revive();
            debug_assert!(revived, "a record that is held is not sealed");
            let found = self.store.order.version_at(record, at).expect("it can be told");
            preconditions.push((record, Precondition::UnchangedSince(since)));
            if next <= read && is_gone(found) {
                absent.push(preconditions.len() - 1);
                continue;
            }
            // The view, or the guard, keeps all that it is tied to, whose records it holds.
            let Some(terms) = found.and_then(|(node, _)| node.terms()) else { continue };
            if terms.deadline() != NEVER && was_in_time(terms) {
                preconditions.push((record, Precondition::IsInTime));
            }
            let Some(bonds) = found.and_then(|(node, _)| node.bonds()) else { continue };
            demand_tags(&mut preconditions, record, bonds, since);
            if known.is_empty() && !bonds.inputs().is_empty() {
                known.extend(todo.iter().map(|record| ptr::from_ref(record.get())));
            }
            for input in bonds.inputs().iter().filter(|input| known.insert(input.record())) {
                todo.push(self.store.record_of(record.live(), input));
            }
        }
        // What is absent for good stays so whatever is cleared. Not if something was derived from its
        // absence, perhaps, which ends with any change.
        if known.is_empty() {
            absent
                .into_iter()
                .for_each(|at: usize| preconditions[at].1 = Precondition::AbsentSince(since));
        }
        preconditions
    }

    /// Whether a version, which a view keeps, was no value, cleared, invalidated by a tag, or over
    /// when that was opened. Not if it was derived from what has changed: that may be as it was once
    /// more.
    fn is_gone<'g>(
        &self,
        found: Option<(NodeRef<'g, V>, State)>,
        snapshot: &Snapshot,
        at: ReadAt<'g>,
    ) -> bool {
        let Some((node, state)) = found else { return true };
        if !state.is_value() || state.version() <= snapshot.watermark() {
            return true;
        }
        let stays = |bonds: &Bonds| self.store.are_tags_valid(bonds.tags(), state.version(), at);
        node.is_expired(snapshot.opened()) || !node.bonds().is_none_or(stays)
    }
}

/// Preconditions of the tags that a record's value has, which is kept, that none is invalidated after a
/// number.
pub(super) fn demand_tags<'g, K, V>(
    preconditions: &mut Preconditions<'g, K, V>,
    record: RecordRef<'g, K, V>,
    bonds: &Bonds,
    since: u64,
) {
    for tag in bonds.tags().iter().filter(|_| !mutant("transact.tags_undemanded")) {
        let ended = NonNull::from(&cell_of(tag).ended);
        preconditions.push((record, Precondition::NotEndedSince(ended, since)));
    }
}
