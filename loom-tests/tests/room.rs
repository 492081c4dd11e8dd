//! Claims about making room, and about entries that are spared in the meantime:
//! - for a weight for which no thread has made room, the mark that says so is set, or the thread
//!   that takes the mark off sees the weight, so at rest there is no such weight;
//! - at rest the weight is within the bound, regardless of how much weight the threads have brought
//!   and how few entries one guard may evict;
//! - a record that the policy spares for a thread is not freed before the thread comes back to it,
//!   and is freed afterwards if it is empty.
//!
//! The first model checks the mark alone, and the second one the policy. The others run the engine,
//! which evicts one entry at a time, on a reclamation scheme that reclaims as early as the contract
//! allows.
#![cfg(any(coeval_loom, coeval_internals))]
#![allow(clippy::undocumented_unsafe_blocks)]

use coeval::internals::chain::flags;
use coeval::internals::engine::{self, DueWork, EngineSettings, due};
use coeval::internals::policy::{EvictionOutcome, Policy, Residents, SpareDecision};
use coeval::internals::queue::Handle;
use loom_tests::loom::sync::atomic::{AtomicUsize, Ordering};
use loom_tests::loom::thread;
use loom_tests::{Exact, Hash, explore, explore_steps, must_fail, spawn_deep};
use std::sync::Arc;

type Engine = engine::Engine<usize, u32, Hash, Exact>;

/// An engine with this capacity, in which `keys` keys weigh one each. If it has a weigher, a value
/// is its own weight. It is made on a larger stack than that of the model.
fn engine(capacity: u64, keys: usize, is_weighed: bool) -> Arc<Engine> {
    let make = move || {
        let settings = EngineSettings {
            max_capacity: Some(capacity),
            initial_capacity: 14,
            weigher: is_weighed.then(|| Box::new(|_: &usize, value: &u32| *value) as Box<_>),
            ..EngineSettings::default()
        };
        let engine = Arc::new(Engine::new(settings, Hash));
        (0..keys).for_each(|key| _ = engine.insert(key, 1, None));
        engine
    };
    spawn_deep(make).join().unwrap()
}

fn spawn(
    engine: &Arc<Engine>,
    act: impl FnOnce(&Engine) + Send + 'static,
) -> thread::JoinHandle<()> {
    let engine = Arc::clone(engine);
    spawn_deep(move || act(&engine))
}

fn join<const N: usize>(threads: [thread::JoinHandle<()>; N]) {
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// The mark, and a weight for which there is no room.
fn marked(preemptions: usize) {
    explore(preemptions, || {
        let shared = Arc::new((DueWork::new(), AtomicUsize::new(0)));
        let make_up = |(mark, weight): &(DueWork, AtomicUsize)| {
            if !mark.is_empty() {
                mark.clear(due::ROOM);
                if weight.load(Ordering::Relaxed) > 0 {
                    weight.store(0, Ordering::Relaxed);
                }
            }
        };
        shared.0.set(due::ROOM); // Others have made room for that weight since.
        let (ours, theirs) = (Arc::clone(&shared), Arc::clone(&shared));
        let brings = thread::spawn(move || {
            ours.1.fetch_add(1, Ordering::Relaxed);
            ours.0.set(due::ROOM);
            make_up(&ours);
        });
        let carries_on = thread::spawn(move || make_up(&theirs));
        join([brings, carries_on]);
        assert_eq!(shared.1.load(Ordering::Relaxed), 0, "above the bound at rest");
    });
}

/// The entries of two threads, each of weight one, as one of the threads sees them. Both are in the
/// queues, and there is room for one.
struct Seen {
    own: Handle,
    both: Arc<Both>,
}

struct Both {
    policy: Policy,
    weight: AtomicUsize,
    /// By the number of the entry.
    is_gone: [AtomicUsize; 2],
}

fn entry(number: u64) -> Handle {
    Handle::new((number + 1) * 2)
}

impl Seen {
    fn is_gone(&self, entry: Handle) -> &AtomicUsize {
        &self.both.is_gone[entry.bits() as usize / 2 - 1]
    }
}

impl Residents for Seen {
    fn weight(&self) -> u64 {
        self.both.weight.load(Ordering::Relaxed) as u64
    }

    fn count(&self) -> u64 {
        self.weight()
    }

    fn hash(&self, entry: Handle) -> u32 {
        entry.bits() as u32
    }

    fn hits(&self, entry: Handle) -> Option<u32> {
        (self.is_gone(entry).load(Ordering::Relaxed) == 0).then_some(0)
    }

    fn set_hits(&self, _: Handle, _: u32) {}

    fn spare(&self, entry: Handle) -> SpareDecision {
        if entry == self.own { SpareDecision::EndSearch } else { SpareDecision::Evict }
    }

    fn evict(&self, entry: Handle) -> EvictionOutcome {
        let is_first = self.is_gone(entry).swap(1, Ordering::Relaxed) == 0;
        if is_first {
            self.both.weight.fetch_sub(1, Ordering::Relaxed);
        }
        EvictionOutcome { is_gone: is_first, is_released: false }
    }

    fn release(&self, _: Handle) -> bool {
        true
    }
}

/// Two threads make room, and each spares its own entry.
fn two_searches(preemptions: usize) {
    explore_steps(preemptions, || {
        let both = Arc::new(Both {
            policy: Policy::counting(1),
            weight: AtomicUsize::new(0),
            is_gone: Default::default(),
        });
        let seen = [0, 1].map(|number| Seen { own: entry(number), both: Arc::clone(&both) });
        seen.iter().for_each(|seen| _ = both.policy.admit(seen, seen.own));
        both.weight.store(2, Ordering::Relaxed);
        let search =
            |seen: Seen| thread::spawn(move || while !seen.both.policy.make_room(&seen, 1) {});
        join(seen.map(search));
        assert!(both.weight.load(Ordering::Relaxed) < 2, "above the bound at rest");
    });
}

/// Two threads bring more weight than one guard evicts.
fn two_heavy_entries(preemptions: usize) {
    explore(preemptions, || {
        let engine = engine(4, 4, true);
        let bring = |key| spawn(&engine, move |engine| _ = engine.insert(key, 4, None));
        join([bring(10), bring(11)]);
        assert!(engine.weight() <= 4, "above the bound at rest");
    });
}

/// There is room for one entry only, so the entry of one thread is evicted for that of another.
fn spared_beside_an_eviction(preemptions: usize) {
    explore(preemptions, || {
        let engine = engine(1, 0, false);
        let brings = spawn(&engine, |engine| {
            engine.insert(0, 0, None);
            thread::yield_now(); // So that the interesting executions come early.
            engine.insert(1, 0, None);
        });
        let evicts = spawn(&engine, |engine| _ = engine.insert(2, 0, None));
        join([brings, evicts]);
        assert!(engine.weight() <= 1, "above the bound at rest");
        (0..8).for_each(|_| engine.tend());
        let guard = engine.pin();
        for key in 0..3 {
            if let Some(record) = engine.find(&guard, engine.hash(&key), &key)
                && engine.newest::<_, false>(&guard, &key).is_none()
            {
                assert!(record.flags() & flags::HELD != 0, "a record is never freed");
            }
        }
    });
}

#[test]
fn a_mark_and_a_weight() {
    marked(3);
}

#[test]
fn two_threads_that_spare_their_own() {
    two_searches(1);
}

#[test]
fn two_threads_that_bring_weight() {
    two_heavy_entries(0);
}

#[test]
#[ignore = "takes minutes"]
fn two_threads_that_bring_weight_at_length() {
    two_heavy_entries(1);
}

#[test]
fn a_spared_entry_and_an_eviction() {
    spared_beside_an_eviction(0);
}

#[test]
#[ignore = "takes minutes"]
fn a_spared_entry_and_an_eviction_at_length() {
    spared_beside_an_eviction(1);
}

#[test]
fn defect_taking_the_mark_off_without_acquire() {
    must_fail("room.clear_relaxed", "above the bound at rest", || marked(3));
}

#[test]
fn defect_a_search_ends_beside_others_in_hand() {
    must_fail("room.gives_up", "above the bound at rest", || two_searches(1));
}

#[test]
fn defect_spared_records_are_not_held() {
    let kind = "a queued record was freed";
    must_fail("room.fresh_unheld", kind, || spared_beside_an_eviction(1));
}

#[test]
fn defect_no_look_at_spared_records() {
    must_fail("room.forgets", "a record is never freed", || spared_beside_an_eviction(1));
}
