//! Joint commits: the parts of several caches of a domain, from the caller's lists to one outcome.
//!
//! Each part is planned in a frame of its own, under its own guard; the next part runs within that
//! frame. The innermost frame makes all descriptors and decides. On the way back each frame settles
//! its part. So all users' code runs before the first descriptor is made, and all guards are live
//! until the commit is decided.

use super::Engine;
use super::parts::{CachePart, JointCommits, ListedPart, Part, Parts, Planned};
use super::plan::Plan;
use super::transact::{Demands, ReadSet, ViewReads};
use crate::chain::Parcel;
use crate::commit::{Joint, JointPart, Partner, Precondition};
use crate::metrics::EventKind;
use crate::reclaim::Reclaim;
use crate::store::{Prepared, Snapshot};
use crate::sync::hook::{mutant, step};
use crate::version::State;
use std::hash::{BuildHasher, Hash};
use std::mem::forget;
use std::sync::{Arc, Weak};

/// Makes one commit of these parts. Returns its number, or `None` if something that was read has
/// changed. The parts are of different caches of the domain.
#[inline]
pub fn commit_parts(mut parts: Parts, domain: &JointCommits) -> Option<u64> {
    let outcome = run(None, parts.in_order(), domain).filter(|outcome| outcome.is_committed());
    parts.finish(domain, outcome.is_some());
    outcome.map(State::version)
}

/// Runs these parts within the planned ones, and makes the commit of all.
fn run(
    planned: Option<&mut dyn Planned>,
    parts: &mut [ListedPart],
    domain: &JointCommits,
) -> Option<State> {
    if let Some((next, rest)) = parts.split_first_mut() {
        return next.part.run(planned, rest, domain);
    }
    Some(match planned {
        Some(planned) => decide(planned, domain),
        None => State::committed(domain.clock.tick()), // nothing is to be written
    })
}

/// Makes the commit of all planned parts, and decides it.
#[inline(always)]
fn decide<P: Planned + ?Sized>(parts: &mut P, domain: &JointCommits) -> State {
    // It ends with its last part, and all parts are ended by frames around this one.
    let joint = Box::leak(domain.joints.take());
    parts.prepare(joint);
    step("joint.prepared");
    parts.install(joint);
    joint.decide(&domain.clock)
}

/// A part under its guard, planned and then prepared; and the part of the frame around.
struct PlannedPart<'p, 'g, 'r, K: 'g, V: 'g, S, R: Reclaim> {
    plan: &'p mut Plan<'g, 'r, K, V, S, R>,
    engine: &'p Arc<Engine<K, V, S, R>>,
    demands: Option<&'p PartDemands<'g, K, V>>,
    prepared: Option<Prepared<K, V>>,
    outer: Option<&'p mut dyn Planned>,
}

impl<'p, 'g, 'r, K: 'g, V: 'g, S, R: Reclaim> PlannedPart<'p, 'g, 'r, K, V, S, R> {
    fn new<'o: 'p>(
        plan: &'p mut Plan<'g, 'r, K, V, S, R>,
        engine: &'p Arc<Engine<K, V, S, R>>,
        demands: Option<&'p PartDemands<'g, K, V>>,
        outer: Option<&'p mut (dyn Planned + 'o)>,
    ) -> Self {
        // One by one, because only so its lifetime can become shorter.
        let outer = outer.map(|outer| -> &mut dyn Planned { outer });
        Self { plan, engine, demands, prepared: None, outer }
    }
}

/// The preconditions of a part: on records, and on keys without a record.
struct PartDemands<'g, K, V> {
    preconditions: Demands<'g, K, V>,
    unknown: Vec<Precondition>,
}

impl<'g, K, V> PartDemands<'g, K, V> {
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

impl<K, V, S, R> Planned for PlannedPart<'_, '_, '_, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
    R: Reclaim,
{
    #[inline(always)]
    fn prepare(&mut self, joint: &mut Joint) {
        if let Some(outer) = &mut self.outer {
            outer.prepare(joint);
        }
        let Plan { engine, guard, config, ref mut set, ref mut requested, .. } = *self.plan;
        engine.observers().record(EventKind::CommitBegun, None, None);
        let times = config.times();
        let preconditions = self.demands.map_or((&[][..], &[][..]), |demands| {
            (&demands.preconditions[..], &demands.unknown[..])
        });
        let prepared = engine.store.prepare(guard, joint, set, preconditions, |record, index| {
            engine.retention(guard, record, &mut requested[index as usize], times)
        });
        let partner: Weak<Engine<K, V, S, R>> = Arc::downgrade(self.engine);
        let (descriptor, is_conditional) = (prepared.part(), prepared.is_conditional);
        joint.add(JointPart { partner, descriptor, is_conditional });
        self.prepared = Some(prepared);
    }

    #[inline(always)]
    fn install(&self, joint: &Joint) {
        if let Some(outer) = &self.outer {
            outer.install(joint);
            if mutant("joint.ready_early") {
                return;
            }
        }
        step("joint.before_install");
        if let Some(part) = &self.prepared {
            // SAFETY: prepared under this guard, as a part of this commit.
            unsafe { self.plan.engine.store.install_under(self.plan.guard, part.part(), joint) };
        }
    }
}

impl<K, V, S, R> PlannedPart<'_, '_, '_, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
    R: Reclaim,
{
    /// Runs the rest within this part, and settles it. Calls `decided` before it is settled. The
    /// values that were not set are in `unset` afterwards.
    #[inline(always)]
    fn run(
        mut self,
        rest: &mut [ListedPart],
        domain: &JointCommits,
        decided: impl FnOnce(),
        unset: &mut Option<Vec<Parcel<V>>>,
    ) -> Option<State> {
        let outcome = match rest.split_first_mut() {
            Some((next, rest)) => next.part.run(Some(&mut self), rest, domain),
            None => Some(decide(&mut self, domain)),
        };
        let Self { plan, prepared, .. } = self;
        decided();
        if let (Some(part), Some(outcome)) = (prepared, outcome) {
            let Plan { engine, guard, ref moment, .. } = *plan;
            // SAFETY: prepared under this guard, and decided so. It is concluded once.
            let decided = unsafe {
                let decided = engine.store.conclude(guard, part, outcome);
                engine.conclude(guard, &decided, moment);
                decided
            };
            if !decided.is_committed() {
                let unset = unset.insert(Vec::new());
                decided.take_values(|_, value| value.give_back(Parcel::add_to(unset)));
            }
        }
        outcome
    }
}

impl<K, V, S, R> CachePart<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
    R: Reclaim,
{
    /// Runs the part of a transaction, as [`run`](Part::run) does.
    #[inline(never)]
    fn run_reading(
        &mut self,
        outer: Option<&mut dyn Planned>,
        rest: &mut [ListedPart],
        domain: &JointCommits,
    ) -> Option<State> {
        self.is_tried = true;
        let Self { reads: opened, changes, engine, .. } = self;
        let shared = engine.as_ref().expect("it is not finished");
        let engine: &Engine<K, V, S, R> = shared;
        let (mut reads, unwound) = (opened.take(), engine.collect_on_unwind());
        let mut unset = None;
        let outcome = {
            let ViewReads { view, reads, unknown, .. } = reads.as_deref_mut().expect("it has read");
            let guard = engine.pin();
            let config = engine.observers().config.snapshot();
            let mut plan = Plan::new(engine, &guard, &config);
            plan.add_changes(changes);
            let demands = PartDemands::of(&mut plan, view.snapshot(), (reads, unknown));
            step("joint.planned");
            // What was superseded need not wait for the view.
            let mut close = || view.close_early(&guard);
            match &demands {
                Some(demands) => PlannedPart::new(&mut plan, shared, Some(demands), outer)
                    .run(rest, domain, close, &mut unset),
                None => {
                    close();
                    None
                }
            }
        };
        drop(unset);
        forget(unwound);
        self.reads = reads;
        outcome
    }
}

impl<K, V, S, R> Part for CachePart<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
    R: Reclaim,
{
    fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    fn run(
        &mut self,
        outer: Option<&mut dyn Planned>,
        rest: &mut [ListedPart],
        domain: &JointCommits,
    ) -> Option<State> {
        if self.reads.is_some() {
            return self.run_reading(outer, rest, domain);
        }
        if self.changes.is_empty() {
            return run(outer, rest, domain);
        }
        let Self { changes, engine, .. } = self;
        let shared = engine.as_ref().expect("it is not finished");
        let engine: &Engine<K, V, S, R> = shared;
        let (unwound, mut unset) = (engine.collect_on_unwind(), None);
        let outcome = {
            let guard = engine.pin();
            let config = engine.observers().config.snapshot();
            let mut plan = Plan::new(engine, &guard, &config);
            plan.add_changes(changes);
            step("joint.planned");
            PlannedPart::new(&mut plan, shared, None, outer).run(rest, domain, || (), &mut unset)
        };
        drop(unset);
        forget(unwound);
        outcome
    }

    fn finish(mut self: Box<Self>, is_committed: bool) {
        let engine = self.engine.take().expect("it is finished once");
        if let Some(reads) = self.reads.take() {
            let ViewReads { reads, unknown, .. } = &*reads;
            if is_committed {
                reads.note_uses(&engine.pin());
            } else if self.is_tried {
                let hash = unknown.first().copied();
                engine.observers().conflicted(hash.unwrap_or_else(|| reads.hash()));
            }
        }
        self.keep(&engine);
        engine.tend_after_several();
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
