//! Claims about the capacity bound, and about deadlines that uses extend:
//! - at rest the policy knows each entry that is present, and the account is the weight of the
//!   visible entries and within the bound;
//! - no reader sees an older value after a newer one, or a value again after its eviction;
//! - a view that was opened before an eviction still shows the entry;
//! - a record is not freed while the policy holds it, and is freed when it is empty and nothing
//!   holds it;
//! - when one thread has found a value idle for too long, a late use by another thread does not
//!   bring it back.
//!
//! The models run the engine, with room for one entry or two, on a reclamation scheme that reclaims
//! as early as the contract allows.
#![cfg(any(coeval_loom, coeval_internals))]
#![allow(clippy::undocumented_unsafe_blocks)]

use coeval::ManualClock;
use coeval::internals::chain::flags;
use coeval::internals::engine::{self, EngineSettings, WriteTerms};
use loom_tests::loom::thread;
use loom_tests::{Exact, Hash, explore_steps as explore, must_fail, spawn_deep};
use std::sync::Arc;
use std::time::Duration;

type Engine = engine::Engine<usize, u32, Hash, Exact>;

/// An engine with room for `capacity` entries, in which `keys` hold a value.
fn engine(capacity: u64, keys: impl IntoIterator<Item = usize>) -> Arc<Engine> {
    let settings = EngineSettings {
        max_capacity: Some(capacity),
        initial_capacity: 14,
        ..EngineSettings::default()
    };
    let engine = Arc::new(Engine::new(settings, Hash));
    for key in keys {
        engine.insert(key, 0, None);
    }
    engine
}

/// An engine with room for a weight of 2, in which a value is its own weight. It is made on a
/// larger stack than that of the model.
fn weighing_engine() -> Arc<Engine> {
    let make = || {
        let settings = EngineSettings {
            max_capacity: Some(2),
            initial_capacity: 14,
            weigher: Some(Box::new(|_: &usize, value: &u32| *value)),
            ..EngineSettings::default()
        };
        Arc::new(Engine::new(settings, Hash))
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

fn version(engine: &Engine, key: usize) -> Option<u64> {
    let guard = engine.pin();
    engine.newest::<_, true>(&guard, &key).map(|found| found.number())
}

/// Checks the claims at rest. Only keys below `keys` may be present.
fn assert_whole(engine: &Engine, capacity: u64, keys: usize) {
    let mut visible = 0;
    {
        let guard = engine.pin();
        for key in 0..keys {
            let record = engine.find(&guard, engine.hash(&key), &key);
            if engine.newest::<_, false>(&guard, &key).is_some() {
                let record = record.expect("it holds a value");
                let is_known = record.flags() & flags::ADMITTED != 0;
                assert!(is_known, "the policy does not know a present entry");
                visible += 1;
            }
        }
    }
    assert_eq!(
        (engine.weight(), engine.len()),
        (visible, visible as usize),
        "the account is wrong"
    );
    assert!(visible <= capacity, "above the bound");
    // Each entry is known and in a queue: other insertions displace it, though not always at once.
    for other in 0..6 * capacity as usize {
        engine.insert(100 + other, 0, None);
    }
    // Where there is room for more entries than one, the policy keeps some that came first.
    let is_gone = |key| capacity > 1 || version(engine, key).is_none();
    assert!((0..keys).all(is_gone), "an entry cannot be evicted");
    assert_eq!(engine.weight(), capacity, "the account is wrong");
    // Empty records are freed, unless the policy still has to visit them.
    (0..8).for_each(|_| engine.tend());
    let guard = engine.pin();
    for key in 0..keys {
        let left = engine.find(&guard, engine.hash(&key), &key);
        let is_held = left.is_none_or(|record| record.flags() & flags::HELD != 0);
        assert!(is_held, "a record is never freed");
    }
}

/// An entry is evicted beside an overwrite of it. Either the thread that releases it finds a new
/// value, or the writer finds it released. With room for one entry, the record is held for the
/// thread that brought the entry. With room for two, the record begins to end by the eviction.
fn eviction_beside_a_write(preemptions: usize, capacity: usize) {
    explore(preemptions, move || {
        let engine = engine(capacity as u64, 0..capacity);
        let evicts = spawn(&engine, move |engine| _ = engine.insert(capacity, 0, None));
        let writes = spawn(&engine, |engine| _ = engine.insert(0, 1, None));
        join([evicts, writes]);
        assert_whole(&engine, capacity as u64, capacity + 1);
    });
}

/// An entry is evicted beside an overwrite whose value weighs nothing. The policy then lets go of
/// the record, so nothing but its value keeps it. Such a value is never evicted.
fn eviction_beside_a_weightless_write(preemptions: usize) {
    explore(preemptions, || {
        let engine = weighing_engine();
        // The second write ends what spares the first entry.
        [0, 2].into_iter().for_each(|key| _ = engine.insert(key, 1, None));
        let evicts = spawn(&engine, |engine| _ = engine.insert(1, 1, None));
        let writes = spawn(&engine, |engine| _ = engine.insert(0, 0, None));
        join([evicts, writes]);
        (0..8).for_each(|_| engine.tend());
        assert!(version(&engine, 0).is_some(), "a write was lost");
        assert!(engine.weight() <= 2, "above the bound");
    });
}

/// As above, but the entry is removed and then written again.
fn eviction_beside_a_removal(preemptions: usize) {
    explore(preemptions, || {
        let engine = engine(1, [0]);
        let evicts = spawn(&engine, |engine| _ = engine.insert(1, 0, None));
        let removes = spawn(&engine, |engine| {
            engine.remove(&0, |_| ());
            engine.insert(0, 1, None);
        });
        join([evicts, removes]);
        assert_whole(&engine, 1, 2);
    });
}

/// An entry is removed beside a thread that makes room and finds its handle without a value. One of
/// the two ends the record. (The tombstone is in the room of the record, so no thread comes back
/// to it later, when the room is free. The policy does not spare the record for the thread that
/// brought it either; that thread would come back to it.)
fn removal_beside_its_release(preemptions: usize) {
    explore(preemptions, || {
        let engine = engine(1, [0, 0]);
        engine.collect();
        let makes_room = spawn(&engine, |engine| _ = engine.insert(1, 0, None));
        let removes = spawn(&engine, |engine| _ = engine.remove(&0, |_| ()));
        join([makes_room, removes]);
        assert_whole(&engine, 1, 2);
    });
}

/// A batch inserts two entries. There is room for one of them, and one is about to be evicted.
fn eviction_beside_a_batch(preemptions: usize) {
    explore(preemptions, || {
        let engine = engine(1, [0]);
        let evicts = spawn(&engine, |engine| _ = engine.insert(1, 0, None));
        let commits = spawn(&engine, |engine| {
            let mut changes = engine.changes();
            for key in [0, 1] {
                changes.set(engine.hash(&key), key, 1, WriteTerms::Default);
            }
            engine.commit(changes);
        });
        join([evicts, commits]);
        assert_whole(&engine, 1, 2);
    });
}

/// An entry is written again after its eviction, while a guard keeps its record from being sealed.
/// So only the value of before ends, and later the record.
fn eviction_before_a_write(preemptions: usize) {
    explore(preemptions, || {
        let engine = engine(2, 0..2);
        let guard = engine.pin();
        // The last two writes end what spares the first ones.
        let writes = spawn(&engine, |engine| {
            [2, 0, 1, 3, 4].into_iter().for_each(|key| _ = engine.insert(key, 1, None));
        });
        join([writes]);
        drop(guard);
        assert_whole(&engine, 2, 5);
    });
}

/// One thread looks an entry up, as of now and in views, while it is evicted and, if `is_written`,
/// written. With room for two entries, the record begins to end by the eviction.
fn eviction_beside_reads(preemptions: usize, capacity: usize, is_written: bool) {
    explore(preemptions, move || {
        let engine = engine(capacity as u64, 0..capacity);
        let evicts = spawn(&engine, move |engine| {
            engine.insert(capacity, 0, None);
            if is_written {
                engine.insert(0, 1, None);
            }
        });
        let reads = spawn(&engine, |engine| {
            let view = engine.open();
            let in_view = |view| engine.read(view, &0).map(|(_, version)| version.get());
            let seen = [in_view(&view), version(engine, 0), version(engine, 0)];
            for pair in seen.windows(2) {
                let is_older = pair[1].is_some() && pair[1] < pair[0];
                assert!(!is_older, "an older value after a newer one");
            }
            // The first value is gone if the second look-up found none.
            let came_back = seen[0].is_some() && seen[1].is_none() && seen[2] == seen[0];
            assert!(!came_back, "an evicted or expired value came back");
            assert_eq!(in_view(&view), seen[0], "the view changed its answer");
            engine.close(view);
        });
        join([evicts, reads]);
        assert_whole(&engine, capacity as u64, capacity + 1);
    });
}

/// Two threads evict at the same time.
fn two_evict(preemptions: usize) {
    explore(preemptions, || {
        let engine = engine(1, [0]);
        let evict = [1, 2].map(|key| spawn(&engine, move |engine| _ = engine.insert(key, 0, None)));
        join(evict);
        assert_whole(&engine, 1, 3);
    });
}

/// A clearing beside the eviction of an entry.
fn eviction_beside_a_clearing(preemptions: usize) {
    explore(preemptions, || {
        let engine = engine(1, [0]);
        let evicts = spawn(&engine, |engine| _ = engine.insert(1, 0, None));
        let clears = spawn(&engine, |engine| _ = engine.invalidate_all());
        join([evicts, clears]);
        assert_whole(&engine, 1, 2);
    });
}

/// One thread uses a value. Its clock shows an earlier time than that of another thread, which
/// finds the value expired.
fn late_use(preemptions: usize) {
    explore(preemptions, || {
        let clock = ManualClock::new();
        let builder = coeval::Cache::builder().manual_clock(&clock).hasher(Hash);
        let cache = builder.time_to_idle(Duration::from_nanos(10)).reclaimer::<Exact>().build();
        cache.insert(0, 0);
        clock.advance(Duration::from_nanos(9));
        let other = cache.clone();
        let uses = thread::spawn(move || _ = other.get(&0));
        let looks = thread::spawn(move || {
            clock.advance(Duration::from_nanos(1));
            let (first, second) = (cache.get(&0), cache.get(&0));
            assert!(first.is_some() || second.is_none(), "an evicted or expired value came back");
        });
        join([uses, looks]);
    });
}

#[test]
fn an_eviction_and_a_write() {
    eviction_beside_a_write(1, 1);
}

#[test]
#[ignore = "takes a minute; its mutant stops early"]
fn an_eviction_that_ends_the_record_and_a_write() {
    eviction_beside_a_write(1, 2);
}

#[test]
fn an_eviction_and_a_weightless_write() {
    eviction_beside_a_weightless_write(1);
}

#[test]
fn an_eviction_and_a_removal() {
    eviction_beside_a_removal(1);
}

#[test]
fn a_removal_and_its_release() {
    removal_beside_its_release(1);
}

#[test]
#[ignore = "takes minutes"]
fn a_removal_and_its_release_at_length() {
    removal_beside_its_release(2);
}

#[test]
#[ignore = "takes minutes"]
fn an_eviction_and_a_batch() {
    eviction_beside_a_batch(1);
}

#[test]
#[ignore = "takes minutes"]
fn an_eviction_and_reads() {
    eviction_beside_reads(2, 1, false);
}

#[test]
fn an_eviction_that_ends_the_record_and_reads() {
    eviction_beside_reads(1, 2, false);
}

#[test]
fn an_eviction_before_a_write() {
    eviction_before_a_write(1);
}

#[test]
fn an_eviction_a_write_and_reads() {
    eviction_beside_reads(1, 1, true);
}

#[test]
#[ignore = "takes minutes"]
fn two_evictions() {
    two_evict(1);
}

#[test]
fn an_eviction_and_a_clearing() {
    eviction_beside_a_clearing(1);
}

#[test]
#[ignore = "takes minutes"]
fn an_eviction_and_a_clearing_at_length() {
    eviction_beside_a_clearing(2);
}

#[test]
fn a_use_that_comes_too_late() {
    late_use(3);
}

#[test]
fn defect_releasing_without_a_look_at_the_value() {
    let kind = "the policy does not know a present entry";
    must_fail("evict.release_blindly", kind, || eviction_beside_a_write(1, 1));
}

#[test]
fn defect_not_freeing_the_slot_of_a_record_that_lives_on() {
    let model = || eviction_before_a_write(1);
    must_fail("evict.keeps_slot", "a record is never freed", model);
}

#[test]
fn defect_not_giving_the_record_back_to_the_policy() {
    let kind = "the policy does not know a present entry";
    must_fail("evict.forgets", kind, || eviction_beside_a_write(1, 3));
}

#[test]
fn defect_ending_a_record_that_a_view_needs() {
    let kind = "the view changed its answer";
    must_fail("evict.unseen", kind, || eviction_beside_reads(2, 2, false));
}

#[test]
fn defect_keeping_the_right_to_end_a_record_that_goes_on() {
    let model = || eviction_beside_reads(1, 2, false);
    must_fail("evict.keeps_right", "a record is never freed", model);
}

#[test]
fn defect_only_checking_whether_a_record_is_held() {
    let model = || removal_beside_its_release(1);
    must_fail("record.held_looks_only", "a record is never freed", model);
}

#[test]
fn defect_expired_values_are_not_marked() {
    must_fail("terms.unmarked", "an evicted or expired value came back", || late_use(2));
}
