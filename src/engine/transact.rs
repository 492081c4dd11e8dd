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
use super::read::{Snapshot, version_of};
use crate::chain::{Node, Record};
use crate::commit::{Demand, Descriptor, Limit};
use crate::reclaim::Reclaim;
use crate::relation::TagCell;
use crate::sync::hook::{mutant, step};
use crate::version::Version;
use equivalent::Equivalent;
use std::collections::HashSet;
use std::hash::{BuildHasher, Hash};
use std::ptr::{self, NonNull};

/// One try of a transaction: what it has read, as of one view, and is to write.
pub struct Attempt<'s, K, V, S, R: Reclaim> {
    engine: &'s Engine<K, V, S, R>,
    snapshot: &'s Snapshot,
    /// The records of the keys that were read, each held as often as it stands here.
    reads: Vec<NonNull<Record<K, V>>>,
    /// A record could not be held, as too many hold it.
    is_lost: bool,
    changes: Vec<Change<K, V>>,
}

/// What a commit demands, and of which record.
type Demands<'g, K, V> = Vec<(&'g Record<K, V>, Demand)>;

impl<K, V, S, R: Reclaim> Drop for Attempt<'_, K, V, S, R> {
    fn drop(&mut self) {
        let guard = self.engine.reclaim.pin();
        for record in self.reads.drain(..) {
            // SAFETY: held until now, and kept by our guard from now on.
            let record = unsafe { record.as_ref() };
            record.let_go();
            self.engine.try_condemn(&guard, record);
        }
    }
}

impl<'s, K, V, S, R> Attempt<'s, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    pub fn new(engine: &'s Engine<K, V, S, R>, snapshot: &'s Snapshot) -> Self {
        let (reads, changes) = (Vec::new(), engine.changes());
        Self { engine, snapshot, reads, is_lost: false, changes }
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
        if let Some(change) = self.changes.iter().rev().find(is_it) {
            return change.value.clone();
        }
        let guard = engine.pin();
        let record = engine.know(&guard, key, own);
        if record.try_hold() {
            self.reads.push(NonNull::from(record));
        } else {
            self.is_lost = true;
            engine.try_condemn(&guard, record);
        }
        engine.read_record(record, self.snapshot).map(|(value, _)| value.clone())
    }

    /// Plans a write of `key`; relations are followed if it is `related`.
    pub fn write(&mut self, key: K, value: Option<V>, related: bool) {
        self.changes.push(self.engine.change(key, value, None, related));
    }

    /// Writes, by one commit, if all that was read is still so. `None`: it is not.
    pub fn commit(mut self) -> Option<Version> {
        let engine = self.engine;
        if self.changes.is_empty() {
            return Some(Version::from_u64(self.snapshot.version())); // Then it was as the view shows.
        }
        let changes = std::mem::take(&mut self.changes);
        let (version, _aborted) = {
            let guard = engine.pin();
            let settings = engine.in_force.whole();
            let mut plan = engine.plan(&guard, &settings, changes);
            match self.demands(&guard, &plan.moment) {
                None => (None, Vec::new()),
                Some(mut demands) => {
                    if mutant("transact.reads_unwitnessed") {
                        demands.clear();
                    }
                    plan.witness(demands.iter().map(|(record, _)| *record));
                    step("transact.planned");
                    let (outcome, descriptor) = engine.run(&guard, plan, &demands);
                    match outcome.is_committed() {
                        true => (Some(version_of(outcome)), Vec::new()),
                        // SAFETY: the commit is ours, aborted, and kept by our guard; once.
                        false => (None, unsafe { take_all_aborted(&*descriptor) }),
                    }
                }
            }
        };
        if version.is_none() {
            let first = self.reads.first();
            // SAFETY: held.
            engine.conflicted(first.map_or(0, |record| unsafe { record.as_ref() }.hash()));
        }
        engine.tend();
        version
    }

    /// What must be so of all that was read, and of what that was derived from, on whatever way. `None`: something has
    /// come to its deadline since, or cannot be demanded.
    fn demands<'g>(
        &'g self,
        _guard: &'g R::Guard<'_>,
        moment: &Moment<'_>,
    ) -> Option<Demands<'g, K, V>> {
        let (order, since) = (&self.engine.order, self.snapshot.version());
        let (mut demands, mut known) = (Vec::with_capacity(self.reads.len()), HashSet::new());
        // SAFETY: held.
        let mut todo: Vec<_> = self.reads.iter().map(|r| unsafe { r.as_ref() }).collect();
        while let Some(record) = todo.pop() {
            if !known.insert(ptr::from_ref(record)) {
                continue;
            }
            let revived = record.revive();
            debug_assert!(revived, "a record that is held is not sealed");
            demands.push((record, Demand::UnchangedSince(since)));
            // SAFETY: held, under the guard; a registered view's version.
            let found = unsafe { order.version_at(record, Limit::View(since)) };
            let Some((node, _)) = found.expect("a view can tell") else { continue };
            if self.has_come_due(node, moment) {
                return None;
            }
            // SAFETY: kept by the view, for 's; and with it all that it is tied to, whose records it holds.
            let Some(bonds) = (unsafe { node.bonds() }) else { continue };
            for tag in bonds.tags().iter().filter(|_| !mutant("transact.tags_undemanded")) {
                // SAFETY: as above.
                let ended = unsafe { &(*tag.cell::<TagCell>()).ended };
                demands.push((record, Demand::NotEndedSince(NonNull::from(ended), since)));
            }
            // SAFETY: as above.
            let inputs = bonds.inputs().iter().map(|input| unsafe { &*input.record() });
            todo.extend(inputs.map(|record: &Record<K, V>| record));
        }
        (!self.is_lost).then_some(demands)
    }

    /// Whether the deadline of a version has passed since the view was opened.
    fn has_come_due(&self, node: &Node<V>, moment: &Moment<'_>) -> bool {
        // SAFETY: kept by the view.
        let terms = unsafe { node.terms() };
        let opened = self.snapshot.opened;
        terms.is_some_and(|terms| !terms.is_over(opened) && terms.is_over(moment.time()))
    }
}

/// The values of an aborted commit.
///
/// # Safety
/// It is the caller's, and kept by its guard; this is called once.
unsafe fn take_all_aborted<K, V>(descriptor: &Descriptor<K, V>) -> Vec<V> {
    // SAFETY: the caller's promise.
    let nodes = descriptor.entries().iter().map(|entry| unsafe { &*entry.node });
    let values = nodes.filter(|node| !node.state().is_tombstone());
    // SAFETY: as above: nobody else reads them, and reclamation does not drop them.
    values.map(|node| unsafe { node.take_value() }).collect()
}
