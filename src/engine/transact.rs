//! Transactions: what was read as of one view, and one commit that is made only if none of that has changed since.
//!
//! This is optimistic concurrency control (Kung and Robinson, "On optimistic methods for concurrency control", 1981), its
//! validation being the verdict of a commit: each key that was read is to be as it was. For a key that the commit does not
//! write it has a *witness*, a version that is never visible. As any version it stops later writers of the key until the
//! commit is decided, and by what it was put upon every helper finds the same verdict; so there is no write skew. A
//! grace period later it is taken away again.

use super::Engine;
use super::keep::Moment;
use super::plan::Change;
use super::read::{Opened, Snapshot, version_of};
use super::said::{Changes, Keep};
use crate::chain::{Bonds, Node, Record, Terms};
use crate::commit::{Demand, Descriptor, Limit};
use crate::reclaim::Reclaim;
use crate::relation::TagCell;
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
pub(super) type Demands<'g, K, V> = Vec<(&'g Record<K, V>, Demand)>;

impl<K, V, S, R: Reclaim> Drop for Reads<'_, K, V, S, R> {
    fn drop(&mut self) {
        {
            let guard = self.engine.reclaim.pin();
            for record in self.records.drain(..) {
                // SAFETY: held until now, and kept by our guard from now on.
                let record = unsafe { record.as_ref() };
                record.let_go();
                self.engine.condemn_or_leave(&guard, record);
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
        Self { engine, view: Opened::new(engine), reads, changes: engine.changes() }
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
        let record = engine.know(&guard, key, own);
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
            let settings = engine.in_force.whole();
            let mut plan = engine.plan(&guard, &settings, changes);
            let kept = plan.as_it_was(view.snapshot());
            let demands = reads.demands(&guard, view.snapshot(), kept);
            demands.ok_or_else(Vec::new).and_then(|mut demands| {
                if mutant("transact.reads_unwitnessed") {
                    demands.clear();
                }
                plan.witness(demands.iter().map(|(record, _)| *record));
                step("transact.planned");
                // The view is for the verdict; and what is superseded need not wait for it.
                let decided = || view.close_within(&guard);
                let (outcome, descriptor) = engine.run_and(&guard, plan, &demands, decided);
                match outcome.is_committed() {
                    true => {
                        reads.are_used(&guard);
                        Ok(version_of(outcome))
                    }
                    // SAFETY: the commit is ours, aborted, and kept by our guard; once.
                    false => Err(unsafe { take_all_aborted(&*descriptor) }),
                }
            })
        };
        if committed.is_err() {
            engine.conflicted(reads.hash());
        }
        engine.tend();
        committed.ok()
    }
}

impl<K, V, S, R: Reclaim> Reads<'_, K, V, S, R> {
    /// Holds a record that was located under the guard.
    fn note(&mut self, guard: &R::Guard<'_>, record: &Record<K, V>) {
        if record.try_hold() {
            self.records.push(NonNull::from(record));
        } else {
            self.is_lost = true;
            self.engine.try_condemn(guard, record);
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
            // SAFETY: held. As any look-up is that counts.
            engine.present(guard, unsafe { record.as_ref() }, true, &moment);
        }
    }

    /// The hash of the first key, for the record of what has happened.
    fn hash(&self) -> u32 {
        // SAFETY: held.
        self.records.first().map_or(0, |record| unsafe { record.as_ref() }.hash())
    }

    /// What must be so of all that was read in a view, these records too, which are located, and of what that was derived
    /// from, on whatever way. `None`: something cannot be demanded.
    fn demands<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        snapshot: &Snapshot,
        mut todo: Vec<&'g Record<K, V>>,
    ) -> Option<Demands<'g, K, V>> {
        // SAFETY: held.
        todo.extend(self.records.iter().map(|record| unsafe { record.as_ref() }));
        todo.sort_unstable_by_key(|record| ptr::from_ref(*record));
        todo.dedup_by_key(|record| ptr::from_ref(*record));
        let since = snapshot.version();
        let was_in_time = |terms: &Terms| !terms.is_over(snapshot.opened());
        let is_gone = |found: Option<(&Node<V>, State)>| self.engine.is_gone(found, snapshot);
        let as_of = (since, Limit::View(since));
        let demands = || self.engine.demands(guard, todo, as_of, was_in_time, is_gone);
        (!self.is_lost).then(demands)
    }
}

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// What must be so for all that these records, which are held, and what that was derived from, held up to a number to
    /// be so still; as of a limit, up to which no other is demanded to have written them. What was not in time was absent;
    /// what `is_gone` is so for good, and demanded only to be absent.
    pub(super) fn demands<'g>(
        &self,
        _guard: &'g R::Guard<'_>,
        mut todo: Vec<&'g Record<K, V>>,
        (since, limit): (u64, Limit),
        was_in_time: impl Fn(&Terms) -> bool,
        is_gone: impl Fn(Option<(&Node<V>, State)>) -> bool,
    ) -> Demands<'g, K, V> {
        let (mut demands, mut known, mut at) = (Vec::with_capacity(todo.len()), HashSet::new(), 0);
        // Of what was read itself, as opposed to what that was derived from: where it is demanded.
        let (read, mut absent) = (todo.len(), Vec::new());
        while let Some(&record) = todo.get(at) {
            at += 1;
            let revived = record.revive();
            debug_assert!(revived, "a record that is held is not sealed");
            // SAFETY: held, under the guard; the limit is what it says, and exact.
            let found = unsafe { self.order.version_at(record, limit) }.expect("it can be told");
            demands.push((record, Demand::UnchangedSince(since)));
            if at <= read && is_gone(found) {
                absent.push(demands.len() - 1);
                continue;
            }
            let Some((node, _)) = found else { continue };
            // SAFETY: kept by the view, or by the guard; and with it all that it is tied to, whose records it holds.
            let Some(terms) = (unsafe { node.terms() }) else { continue };
            if terms.deadline() != NEVER && was_in_time(terms) {
                demands.push((record, Demand::IsInTime));
            }
            // SAFETY: as above.
            let Some(bonds) = (unsafe { node.bonds() }) else { continue };
            demand_tags(&mut demands, record, bonds, since);
            if known.is_empty() && !bonds.inputs().is_empty() {
                known.extend(todo.iter().map(|record| ptr::from_ref(*record)));
            }
            for input in bonds.inputs().iter().filter(|input| known.insert(input.record())) {
                // SAFETY: as above.
                todo.push(unsafe { &*input.record() });
            }
        }
        // What is absent for good stays so whatever is cleared. Not if something was derived from its absence, perhaps,
        // which ends with any change.
        if known.is_empty() {
            absent.into_iter().for_each(|at: usize| demands[at].1 = Demand::AbsentSince(since));
        }
        demands
    }

    /// Whether a version, which a view keeps, was no value, cleared, invalidated by a tag, or over when that was opened.
    /// Not if it was derived from what has changed: that may be as it was once more.
    fn is_gone(&self, found: Option<(&Node<V>, State)>, snapshot: &Snapshot) -> bool {
        let Some((node, state)) = found else { return true };
        if !state.is_value() || state.version() <= snapshot.floor {
            return true;
        }
        // SAFETY: the caller's view keeps it, and with it all that it is tied to.
        let (is_over, bonds) = unsafe { (node.is_over(snapshot.opened()), node.bonds()) };
        let as_of = Limit::View(snapshot.version());
        let stays = |bonds: &Bonds| self.have_stayed(bonds.tags(), state.version(), as_of);
        is_over || !bonds.is_none_or(stays)
    }
}

/// Demands of the tags that a record's value has, which is kept, that none is invalidated after a number.
pub(super) fn demand_tags<'g, K, V>(
    demands: &mut Demands<'g, K, V>,
    record: &'g Record<K, V>,
    bonds: &Bonds,
    since: u64,
) {
    for tag in bonds.tags().iter().filter(|_| !mutant("transact.tags_undemanded")) {
        // SAFETY: the value holds the tag's cell.
        let ended = unsafe { &(*tag.cell::<TagCell>()).ended };
        demands.push((record, Demand::NotEndedSince(NonNull::from(ended), since)));
    }
}

/// The values of an aborted commit.
///
/// # Safety
/// It is the caller's, and kept by its guard; this is called once.
pub(super) unsafe fn take_all_aborted<K, V>(descriptor: &Descriptor<K, V>) -> Vec<V> {
    // SAFETY: the caller's promise.
    let nodes = descriptor.entries().iter().map(|entry| unsafe { &*entry.node });
    let values = nodes.filter(|node| !node.state().is_tombstone());
    // SAFETY: as above: nobody else reads them, and reclamation does not drop them.
    values.map(|node| unsafe { node.take_value() }).collect()
}
