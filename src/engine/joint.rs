//! Joint commits: the parts of several caches of a domain, from the caller's lists to one outcome.
//!
//! Each part is planned in a frame of its own, under its own guard; the next part runs within that
//! frame. The innermost frame makes all descriptors and decides. On the way back each frame settles
//! its part. So all users' code runs before the first descriptor is made, and all guards are live
//! until the commit is decided.

use super::Engine;
use super::changes::{Changes, WriteTerms};
use super::plan::Plan;
use super::transact::{Demands, ReadSet, ViewReads};
use crate::chain::Parcel;
use crate::commit::{Joint, JointPart, Partner, Precondition};
use crate::metrics::EventKind;
use crate::reclaim::Reclaim;
use crate::relation::Terms;
use crate::store::{PreparedPart, Snapshot};
use crate::sync::hook::{mutant, step};
use crate::version::{Clock, State};
use smallvec::SmallVec;
use std::any::Any;
use std::cell::RefCell;
use std::hash::{BuildHasher, Hash};
use std::mem::forget;
use std::sync::{Arc, Weak};

/// What one cache contributes to a joint commit, without its types.
pub trait Part: Any + Send {
    /// Returns the address of the cache. Parts are installed in the order of their addresses.
    fn address(&self) -> usize;

    /// Returns whether nothing is to be written.
    fn is_empty(&self) -> bool;

    /// Plans this part, runs the rest within, and settles this part. `None` if the commit cannot
    /// be made because of what was read.
    fn run(
        &mut self,
        outer: Option<&PlannedParts<'_>>,
        rest: &mut [Box<dyn Part>],
        clock: &Clock,
    ) -> Option<State>;

    /// Ends the operation: counts what was read if the transaction succeeded, or notes the
    /// conflict, and does maintenance. No guard is live.
    fn finish(&mut self, is_committed: bool);
}

/// The parts of a joint commit.
pub type Parts = SmallVec<[Box<dyn Part>; 4]>;

/// A part that is planned.
trait Planned {
    /// Makes the descriptor, and adds the part to the commit.
    fn prepare(&self, joint: &mut Joint);

    /// Installs the versions of the part, which is prepared.
    fn install(&self, joint: &Joint);
}

/// The planned parts: the one of a frame, and those of the frames around it.
pub struct PlannedParts<'p> {
    part: &'p dyn Planned,
    outer: Option<&'p PlannedParts<'p>>,
}

impl PlannedParts<'_> {
    /// Prepares all parts, the outermost first.
    fn prepare(&self, joint: &mut Joint) {
        if let Some(outer) = self.outer {
            outer.prepare(joint);
        }
        self.part.prepare(joint);
    }

    /// Installs all parts, in the same order.
    fn install(&self, joint: &Joint) {
        if let Some(outer) = self.outer {
            outer.install(joint);
        }
        if self.outer.is_none() || !mutant("joint.ready_early") {
            self.part.install(joint);
        }
    }
}

/// Ends parts that were only read, in one view.
pub fn finish_reads(parts: &mut [Box<dyn Part>]) {
    parts.iter_mut().for_each(|part| part.finish(true));
}

/// Makes one commit of these parts. Returns its number, or `None` if something that was read has
/// changed. The parts are of different caches of the domain of this clock.
pub fn commit_parts(parts: &mut [Box<dyn Part>], clock: &Clock) -> Option<u64> {
    parts.sort_unstable_by_key(|part| part.address());
    let outcome = match parts.split_first_mut() {
        Some((first, rest)) => first.run(None, rest, clock),
        None => Some(State::committed(clock.tick())),
    };
    let outcome = outcome.filter(|outcome| outcome.is_committed());
    parts.iter_mut().for_each(|part| part.finish(outcome.is_some()));
    outcome.map(State::version)
}

/// The part of one cache: the writes to it, and what a transaction has read in it.
pub struct CachePart<K, V, S, R: Reclaim>
where
    K: 'static,
    V: 'static,
    S: 'static,
{
    /// Dropped before `engine`, which it borrows. In a box, because most parts have none.
    reads: Option<Box<ViewReads<'static, K, V, S, R>>>,
    /// Whether a commit of the part was tried.
    is_tried: bool,
    changes: Changes<K, V>,
    engine: Arc<Engine<K, V, S, R>>,
}

impl<K, V, S, R: Reclaim> CachePart<K, V, S, R> {
    /// Returns the number of listed writes.
    pub fn len(&self) -> usize {
        self.changes.len()
    }
}

impl<K, V, S, R> CachePart<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
    R: Reclaim,
{
    /// Makes a part that only writes.
    pub fn writing(engine: Arc<Engine<K, V, S, R>>) -> Self {
        Self { reads: None, is_tried: false, changes: engine.changes(), engine }
    }

    /// Makes a part that also reads, as of this view of the cache.
    pub fn reading(engine: Arc<Engine<K, V, S, R>>, view: &Snapshot) -> Self {
        // SAFETY: the engine stays where it is and lives as long as the `Arc` beside it, which is
        // dropped after the reads. Nobody gets the reads out of this type.
        let borrowed: &'static Engine<K, V, S, R> = unsafe { &*Arc::as_ptr(&engine) };
        let reads = Some(Box::new(ViewReads::new(borrowed, borrowed.share_view(view))));
        Self { reads, is_tried: false, changes: engine.changes(), engine }
    }

    /// Lists a write of `key`, which applies its declared relations.
    pub fn set(&mut self, key: K, value: V, terms: WriteTerms) {
        self.changes.set(self.engine.hash(&key), key, value, terms);
    }

    /// Does the same with terms that the caller gives.
    pub fn set_with(&mut self, key: K, value: V, terms: Terms) {
        let terms = self.changes.add_terms(terms);
        self.set(key, value, terms);
    }

    /// Lists a removal of `key`; `related`: which applies its declared relations.
    pub fn remove(&mut self, key: K, related: bool) {
        self.changes.remove(self.engine.hash(&key), key, related);
    }

    /// Passes the value that this part writes to `key`, otherwise the one in the view, to `give`.
    pub fn read<Q, T>(&mut self, key: &Q, give: impl FnOnce(&V) -> T) -> Option<T>
    where
        Q: Hash + equivalent::Equivalent<K> + ?Sized,
    {
        let reads = self.reads.as_mut().expect("the part of a transaction has a view");
        reads.read(&self.changes, key, give)
    }
}

/// A part under its guard, planned and then prepared.
struct PlannedPart<'g, 'r, K: 'g, V: 'g, S, R: Reclaim> {
    plan: RefCell<Plan<'g, 'r, K, V, S, R>>,
    engine: &'r Arc<Engine<K, V, S, R>>,
    demands: RefCell<PartDemands<'g, K, V>>,
    prepared: RefCell<Option<PreparedPart<K, V>>>,
}

/// The preconditions of a part: on records, and on keys without a record.
struct PartDemands<'g, K, V> {
    preconditions: Demands<'g, K, V>,
    unknown: Vec<Precondition>,
}

impl<'g, K, V> PartDemands<'g, K, V> {
    fn none() -> Self {
        Self { preconditions: Vec::new(), unknown: Vec::new() }
    }

    /// Adds to a plan what the commit requires of what was read in the view. `None` if that cannot
    /// be required.
    fn of<'r, S, R: Reclaim>(
        plan: &mut Plan<'g, 'r, K, V, S, R>,
        view: &Snapshot,
        (reads, hashes): (&'g ReadSet<'static, K, V, S, R>, &[u32]),
    ) -> Option<Self>
    where
        K: Hash + Eq + Send + Sync + 'static,
        V: Send + Sync + 'static,
        S: BuildHasher,
    {
        // SAFETY: the caller closes the view when the commit is decided.
        let kept = unsafe { plan.read_preserved(view) };
        let mut preconditions = reads.preconditions(plan.guard, view, kept)?;
        let store = &plan.engine.store;
        let unknown =
            |hash: &u32| Precondition::UnknownSince(store.unknown_key(*hash), view.version());
        let unknown = hashes.iter().map(unknown).collect();
        if mutant("transact.reads_unwitnessed") {
            preconditions.clear();
        }
        plan.set.witness(preconditions.iter().map(|(record, _)| *record));
        Some(Self { preconditions, unknown })
    }
}

impl<K, V, S, R> PlannedPart<'_, '_, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Settles the part if it was prepared. Returns the values that were not set.
    fn conclude(&self, outcome: Option<State>) -> Vec<Parcel<V>> {
        let mut unset = Vec::new();
        let (Some(part), Some(outcome)) = (self.prepared.take(), outcome) else { return unset };
        let plan = self.plan.borrow();
        // SAFETY: prepared under this guard, and decided so. It is concluded once.
        let decided = unsafe {
            let decided = plan.engine.store.conclude_part(plan.guard, part, outcome);
            plan.engine.conclude(plan.guard, &decided, &plan.moment);
            decided
        };
        if !decided.is_committed() {
            decided.take_values(|_, value| value.give_back(Parcel::add_to(&mut unset)));
        }
        unset
    }
}

impl<K, V, S, R> Planned for PlannedPart<'_, '_, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
    R: Reclaim,
{
    fn prepare(&self, joint: &mut Joint) {
        let mut plan = self.plan.borrow_mut();
        let Plan { engine, guard, config, ref mut set, ref mut requested, .. } = *plan;
        engine.observers().record(EventKind::CommitBegun, None, None);
        let times = config.times();
        let demands = self.demands.borrow();
        let preconditions = (&demands.preconditions[..], &demands.unknown[..]);
        let prepared =
            engine.store.prepare_part(guard, joint, set, preconditions, |record, index| {
                engine.retention(guard, record, &mut requested[index as usize], times)
            });
        let partner: Weak<Engine<K, V, S, R>> = Arc::downgrade(self.engine);
        let (descriptor, is_conditional) = (prepared.descriptor(), prepared.is_conditional());
        joint.add(JointPart { partner, descriptor, is_conditional });
        self.prepared.replace(Some(prepared));
    }

    fn install(&self, joint: &Joint) {
        let plan = self.plan.borrow();
        step("joint.before_install");
        if let Some(part) = &*self.prepared.borrow() {
            // SAFETY: prepared under this guard, as a part of this commit.
            unsafe { plan.engine.store.install_under(plan.guard, part.descriptor(), joint) };
        }
    }
}

/// Makes the commit of all planned parts, and decides it.
fn decide(parts: &PlannedParts<'_>, clock: &Clock) -> State {
    let mut joint = Joint::new();
    parts.prepare(&mut joint);
    let joint = Box::into_raw(joint);
    step("joint.prepared");
    // SAFETY: it ends with its last part, and all parts are ended by frames around this one.
    let joint = unsafe { &*joint };
    parts.install(joint);
    joint.decide(clock)
}

impl<K, V, S, R> Part for CachePart<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
    R: Reclaim,
{
    fn address(&self) -> usize {
        Arc::as_ptr(&self.engine).addr()
    }

    fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    fn run(
        &mut self,
        outer: Option<&PlannedParts<'_>>,
        rest: &mut [Box<dyn Part>],
        clock: &Clock,
    ) -> Option<State> {
        let engine: &Engine<K, V, S, R> = &self.engine;
        self.is_tried = true;
        let (mut reads, unwound) = (self.reads.take(), engine.collect_on_unwind());
        let (outcome, unset) = {
            let guard = engine.pin();
            let config = engine.observers().config.snapshot();
            let mut view = None;
            let planned = PlannedPart {
                plan: RefCell::new(engine.plan(&guard, &config, self.changes.take())),
                engine: &self.engine,
                demands: RefCell::new(PartDemands::none()),
                prepared: RefCell::new(None),
            };
            let can_run = match reads.as_deref_mut() {
                None => true,
                Some(ViewReads { view: opened, reads, unknown, .. }) => {
                    let mut plan = planned.plan.borrow_mut();
                    let demands = PartDemands::of(&mut plan, opened.snapshot(), (reads, unknown));
                    view = Some(opened);
                    demands.map(|demands| *planned.demands.borrow_mut() = demands).is_some()
                }
            };
            step("joint.planned");
            let planned_parts = PlannedParts { part: &planned, outer };
            let outcome = match rest.split_first_mut() {
                _ if !can_run => None,
                Some((next, rest)) => next.run(Some(&planned_parts), rest, clock),
                None => Some(decide(&planned_parts, clock)),
            };
            if let Some(view) = view {
                view.close_early(&guard); // what was superseded need not wait for it
            }
            (outcome, planned.conclude(outcome))
        };
        drop(unset);
        forget(unwound);
        self.reads = reads;
        outcome
    }

    fn finish(&mut self, is_committed: bool) {
        if let Some(reads) = self.reads.take() {
            let ViewReads { reads, unknown, .. } = &*reads;
            if is_committed {
                reads.note_uses(&self.engine.pin());
            } else if self.is_tried {
                let hash = unknown.first().copied();
                self.engine.observers().conflicted(hash.unwrap_or_else(|| reads.hash()));
            }
        }
        self.engine.tend();
    }
}

impl<K, V, S, R> Partner for Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
    R: Reclaim,
{
    unsafe fn install_part(&self, part: *const (), joint: &Joint) {
        // SAFETY: the caller's promise.
        unsafe { self.store.install_part(part, joint) };
    }

    unsafe fn is_part_met(&self, part: *const (), joint: &Joint, version: u64) -> Option<bool> {
        // SAFETY: the caller's promise.
        unsafe { self.store.is_part_met(part, joint, version) }
    }
}
