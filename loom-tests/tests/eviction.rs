//! Claims about the capacity bound, and about deadlines that uses put off:
//! - at rest the policy knows each entry that is present, and the account is of what is visible, and within the bound;
//! - nobody sees an older value after a newer one, nor a value again that was evicted;
//! - a view that was opened before an eviction goes on showing the entry;
//! - a record is not freed while the policy holds it, and goes when nobody does and it is empty;
//! - a value whose idle time was over for one is not brought back by another whose use came too late.
//!
//! The models run the engine, with room for one entry or two, on a reclamation scheme that reclaims as early as the
//! contract allows.
#![cfg(coeval_loom)]
#![allow(clippy::undocumented_unsafe_blocks)]

use coeval::ManualClock;
use coeval::internals::chain::flags;
use coeval::internals::engine::{self, Keep, Settings};
use loom::thread;
use loom_tests::{Exact, Hash, explore_steps as explore, must_fail};
use std::sync::Arc;
use std::time::Duration;

type Engine = engine::Engine<usize, u32, Hash, Exact>;

/// An engine with room for so many entries, in which these keys hold a value.
fn engine(capacity: u64, keys: impl IntoIterator<Item = usize>) -> Arc<Engine> {
    let settings =
        Settings { max_capacity: Some(capacity), initial_capacity: 14, ..Settings::default() };
    let engine = Arc::new(Engine::new(settings, Hash));
    for key in keys {
        engine.insert(key, 0, None);
    }
    engine
}

fn spawn(engine: &Arc<Engine>, act: impl FnOnce(&Engine) + 'static) -> thread::JoinHandle<()> {
    let engine = Arc::clone(engine);
    thread::spawn(move || act(&engine))
}

fn join<const N: usize>(threads: [thread::JoinHandle<()>; N]) {
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

fn version(engine: &Engine, key: usize) -> Option<u64> {
    let guard = engine.pin();
    engine.get_versioned(&guard, &key).map(|(_, version)| version.get())
}

/// At rest, with all that may be there among these keys.
fn assert_whole(engine: &Engine, capacity: u64, keys: usize) {
    let mut visible = 0;
    {
        let guard = engine.pin();
        for key in 0..keys {
            let record = engine.find(&guard, engine.hash(&key), &key);
            if engine.contains(&guard, &key) {
                let record = record.expect("it holds a value");
                let is_known = record.flags() & flags::ADMITTED != 0;
                assert!(is_known, "a present entry that the policy does not know");
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
    // Known, and in a queue: when others come, they go, if not at once.
    for other in 0..2 * capacity as usize + 1 {
        engine.insert(100 + other, 0, None);
    }
    assert!((0..keys).all(|key| version(engine, key).is_none()), "an entry cannot be evicted");
    assert_eq!(engine.weight(), capacity, "the account is wrong");
    // What is empty goes, unless the policy will come to it.
    (0..8).for_each(|_| engine.tend());
    let guard = engine.pin();
    for key in 0..keys {
        let left = engine.find(&guard, engine.hash(&key), &key);
        let is_held = left.is_none_or(|record| record.flags() & flags::HELD != 0);
        assert!(is_held, "a record is forgotten");
    }
}

/// An entry is evicted beside an overwrite of it: whoever comes to release it finds a new value or the writer finds
/// it released.
fn eviction_beside_a_write(preemptions: usize) {
    explore(preemptions, || {
        let engine = engine(1, [0]);
        let evicts = spawn(&engine, |engine| _ = engine.insert(1, 0, None));
        let writes = spawn(&engine, |engine| _ = engine.insert(0, 1, None));
        join([evicts, writes]);
        assert_whole(&engine, 1, 2);
    });
}

/// The same, where the entry is removed, and written again.
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

/// An entry is removed beside one who makes room, and finds its handle without a value: one of the two has the record end.
/// (Its tombstone is in the room of the record: so nobody comes to look at it later, when the room is free. Nor is it
/// spared on behalf of who has brought it: he would come back to it.)
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

/// A batch that brings two entries, for one of which there is room, and of which one is about to be evicted.
fn eviction_beside_a_batch(preemptions: usize) {
    explore(preemptions, || {
        let engine = engine(1, [0]);
        let evicts = spawn(&engine, |engine| _ = engine.insert(1, 0, None));
        let commits = spawn(&engine, |engine| {
            let change = |key| engine.change(key, Some(1), Keep::AsUsual, false);
            let mut changes = engine.changes();
            [0, 1].into_iter().for_each(|key| changes.push(change(key)));
            engine.commit(changes);
        });
        join([evicts, commits]);
        assert_whole(&engine, 1, 2);
    });
}

/// One looks for an entry, as it is now and in views, while it is evicted, and perhaps written.
fn eviction_beside_reads(preemptions: usize, is_written: bool) {
    explore(preemptions, move || {
        let engine = engine(1, [0]);
        let evicts = spawn(&engine, move |engine| {
            engine.insert(1, 0, None);
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
            // The first is gone if the second look found none.
            let came_back = seen[0].is_some() && seen[1].is_none() && seen[2] == seen[0];
            assert!(!came_back, "it came back");
            assert_eq!(in_view(&view), seen[0], "the view has changed");
            engine.close(view.registered);
        });
        join([evicts, reads]);
        assert_whole(&engine, 1, 2);
    });
}

/// Two who evict, at the same time.
fn two_evict(preemptions: usize) {
    explore(preemptions, || {
        let engine = engine(1, [0]);
        let evict = [1, 2].map(|key| spawn(&engine, move |engine| _ = engine.insert(key, 0, None)));
        join(evict);
        assert_whole(&engine, 1, 3);
    });
}

/// Everything is cleared while an entry is evicted.
fn eviction_beside_a_clearing(preemptions: usize) {
    explore(preemptions, || {
        let engine = engine(1, [0]);
        let evicts = spawn(&engine, |engine| _ = engine.insert(1, 0, None));
        let clears = spawn(&engine, |engine| _ = engine.invalidate_all());
        join([evicts, clears]);
        assert_whole(&engine, 1, 2);
    });
}

/// One whose clock shows an earlier time uses a value that another finds over.
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
            assert!(first.is_some() || second.is_none(), "it came back");
        });
        join([uses, looks]);
    });
}

#[test]
fn an_eviction_and_a_write() {
    eviction_beside_a_write(1);
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
    eviction_beside_reads(2, false);
}

#[test]
fn an_eviction_a_write_and_reads() {
    eviction_beside_reads(1, true);
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
    let kind = "a present entry that the policy does not know";
    must_fail("evict.release_blindly", kind, || eviction_beside_a_write(1));
}

#[test]
fn defect_only_looking_whether_it_is_held() {
    let model = || removal_beside_its_release(1);
    must_fail("record.held_looks_only", "a record is forgotten", model);
}

#[test]
fn defect_what_is_over_is_not_marked() {
    must_fail("terms.unmarked", "it came back", || late_use(2));
}
