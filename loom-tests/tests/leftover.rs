//! Claims about versions that wait for views, and about the work that later writers take over:
//! - when a view has closed, all threads are at rest and some more writes have tended to the
//!   leftover work, no version is kept that only that view needed;
//! - a record to which a thread will come back is not freed before, and is freed afterwards.
//!
//! The models run the engine on a reclamation scheme that reclaims as early as the contract allows.
//! A closing view and a write process one version each, and a pruner goes over its chain once, so
//! that the models produce leftover work.
#![cfg(any(coeval_loom, coeval_internals))]
#![allow(clippy::undocumented_unsafe_blocks)]

use coeval::internals::chain::{Chain, Record, RecordRef};
use coeval::internals::engine::{self, EngineSettings};
use loom_tests::loom::thread;
use loom_tests::{Exact, Hash, Shared, explore_steps as explore, must_fail};
use std::sync::Arc;

type Engine = engine::Engine<usize, u32, Hash, Exact>;

/// An engine in which `keys` hold a value.
fn engine(keys: impl IntoIterator<Item = usize>) -> Arc<Engine> {
    let engine = Arc::new(Engine::new(EngineSettings::default(), Hash));
    for key in keys {
        engine.insert(key, 0, None);
    }
    engine
}

fn spawn(engine: &Arc<Engine>, act: impl FnOnce(&Engine) + 'static) -> thread::JoinHandle<()> {
    let engine = Arc::clone(engine);
    thread::spawn(move || act(&engine))
}

/// Checks the claim at rest, after as many turns of `tend` as are needed, when no view needs more
/// than the newest versions.
fn assert_clean(engine: &Engine, keys: usize) {
    for _ in 0..=keys {
        engine.tend();
    }
    let guard = engine.pin();
    for key in 0..keys {
        let record = engine.find(&guard, engine.hash(&key), &key).expect("all hold a value");
        let below = unsafe { record.get().prev_of(record.head().node()) }.link();
        assert!(below.is_end(), "a version is kept for a view that has closed");
    }
}

/// A write leaves the version that it supersedes to a view, and the view closes at the same time.
/// If `queued`, the record already waits for that view. Another view, older than the key, stays
/// open. So the writer cannot tell from the number of views that one has closed.
fn write_beside_closing(preemptions: usize, queued: bool) {
    explore(preemptions, move || {
        let engine = engine([]);
        let _old = engine.open();
        engine.insert(0, 0, None);
        let view = engine.open();
        if queued {
            engine.insert(0, 1, None);
        }
        let writer = spawn(&engine, |engine| _ = engine.insert(0, 2, None));
        let closer = spawn(&engine, |engine| engine.close(view));
        writer.join().unwrap();
        closer.join().unwrap();
        assert_clean(&engine, 1);
    });
}

/// Two views close at the same time. Each needs one version of the same record.
fn two_close(preemptions: usize) {
    explore(preemptions, || {
        let engine = engine([0]);
        let first = engine.open();
        engine.insert(0, 1, None);
        let second = engine.open();
        engine.insert(0, 2, None);
        let closers = [first, second].map(|view| spawn(&engine, |engine| engine.close(view)));
        closers.into_iter().for_each(|closer| closer.join().unwrap());
        assert_clean(&engine, 1);
    });
}

/// One record more than a closing view processes.
const MANY: usize = if cfg!(coeval_loom) { 2 } else { 257 };

/// A view closes for which many records wait. It leaves one of them to later writes, beside a write
/// of `key`.
fn closing_leaves_one(preemptions: usize, key: usize) {
    explore(preemptions, move || {
        let engine = engine(0..MANY);
        let view = engine.open();
        (0..MANY).for_each(|key| _ = engine.insert(key, 1, None));
        let closer = spawn(&engine, |engine| engine.close(view));
        let writer = spawn(&engine, move |engine| _ = engine.insert(key, 2, None));
        closer.join().unwrap();
        writer.join().unwrap();
        assert_clean(&engine, MANY);
    });
}

/// Two threads tend to what a closing has left, beside the closing of another view that also needs
/// it.
fn two_tend(preemptions: usize) {
    explore(preemptions, || {
        let engine = engine([0, 1]);
        let first = engine.open();
        let second = engine.open();
        engine.insert(0, 1, None);
        engine.insert(1, 1, None);
        engine.close(first);
        let tending = [(); 2].map(|()| spawn(&engine, Engine::tend));
        let closer = spawn(&engine, |engine| engine.close(second));
        tending.into_iter().for_each(|tending| tending.join().unwrap());
        closer.join().unwrap();
        assert_clean(&engine, 2);
    });
}

/// A write, the closing of the view for which the write leaves a version, and a thread that tends
/// to what another closing has left.
fn three_meet(preemptions: usize) {
    explore(preemptions, || {
        let engine = engine([0, 1]);
        let first = engine.open();
        let second = engine.open();
        engine.insert(1, 1, None);
        engine.insert(0, 1, None);
        engine.close(first);
        let writer = spawn(&engine, |engine| _ = engine.insert(1, 2, None));
        let closer = spawn(&engine, |engine| engine.close(second));
        let tending = spawn(&engine, Engine::tend);
        [writer, closer, tending].into_iter().for_each(|thread| thread.join().unwrap());
        assert_clean(&engine, 2);
    });
}

/// Two writes beside the closing of the view for which both leave a version.
fn two_writes_beside_closing(preemptions: usize) {
    explore(preemptions, || {
        let engine = engine([]);
        let _old = engine.open();
        engine.insert(0, 0, None);
        let view = engine.open();
        let writers =
            [1, 2].map(|value| spawn(&engine, move |engine| _ = engine.insert(0, value, None)));
        let closer = spawn(&engine, |engine| engine.close(view));
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        closer.join().unwrap();
        assert_clean(&engine, 1);
    });
}

/// A record of an absent key is condemned while two threads that came to prune have it in hand. If
/// the two meet, they put the record into a queue. Then views that need nothing of it close, and
/// reclaim what is due.
fn removal_beside_pruners(preemptions: usize) {
    explore(preemptions, || {
        let engine = engine([]);
        let views = [(); 3].map(|()| engine.open());
        let early = engine.pin();
        engine.insert(0, 0, None);
        engine.remove(&0, |_| ());
        drop(early); // from now on the room can be reclaimed, and the record condemned
        let in_hand = engine.pin();
        let found = engine.find(&in_hand, engine.hash(&0_usize), &0).expect("not condemned yet");
        let record = Shared(std::ptr::from_ref::<Record<_, _>>(found.get()).cast_mut());
        let prune = move |engine: &Engine| {
            engine.prune(&engine.pin(), unsafe { RecordRef::new(&*record.get()) })
        };
        // One more than the rounds that a pruner goes.
        let pruners = [(); if cfg!(coeval_loom) { 2 } else { 3 }].map(|()| spawn(&engine, prune));
        let remover = spawn(&engine, Engine::tend);
        pruners.into_iter().for_each(|pruner| pruner.join().unwrap());
        remover.join().unwrap();
        drop(in_hand);
        views.into_iter().for_each(|view| engine.close(view));
        (0..3).for_each(|_| engine.tend());
        let guard = engine.pin();
        let found = engine.find(&guard, engine.hash(&0_usize), &0);
        assert!(found.is_none(), "the record is never freed");
    });
}

#[test]
fn a_write_beside_the_closing_of_its_view() {
    write_beside_closing(3, false);
}

#[test]
fn a_write_to_a_record_that_waits() {
    write_beside_closing(2, true);
}

#[test]
fn two_views_close() {
    two_close(1);
}

#[test]
#[ignore = "takes minutes"]
fn two_views_close_at_length() {
    two_close(2);
}

#[test]
fn a_closing_that_leaves_a_record() {
    closing_leaves_one(2, 0);
    closing_leaves_one(2, 1);
}

#[test]
fn two_threads_tend_to_leftovers() {
    two_tend(1);
}

#[test]
fn a_write_a_closing_and_a_tending_thread() {
    three_meet(1);
}

#[test]
#[ignore = "takes many minutes; ci/long.sh runs it"]
fn two_writes_beside_the_closing_of_their_view() {
    two_writes_beside_closing(1);
}

#[test]
fn a_record_in_the_queue_is_not_freed() {
    removal_beside_pruners(2);
}

const KEPT: &str = "a version is kept";

#[test]
fn defect_adding_to_a_closed_list() {
    must_fail("shelf.closed_lets_in", KEPT, || write_beside_closing(2, false));
}

#[test]
fn defect_forgetting_a_concurrent_pruner() {
    must_fail("prune.no_again", KEPT, || write_beside_closing(2, true));
}

#[test]
fn defect_dropping_surplus_work() {
    must_fail("leftover.no_orphans", KEPT, || closing_leaves_one(1, 0));
}

#[test]
fn defect_sealing_a_queued_record() {
    must_fail("leftover.seal_queued", "a queued record", || removal_beside_pruners(2));
}
