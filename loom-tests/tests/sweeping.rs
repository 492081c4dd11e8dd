//! Claim: when all threads are at rest and some more writes have tended to the leftover work, no
//! cleared entry is left in the index, regardless of what other threads were doing during the
//! sweep.
//!
//! The models run the engine on a reclamation scheme that reclaims as early as the contract allows.
#![cfg(any(coeval_loom, coeval_internals))]
#![allow(clippy::undocumented_unsafe_blocks)]

use coeval::internals::engine::{self, EngineSettings, WriteTerms};
use loom_tests::loom::thread;
use loom_tests::{Exact, Hash, explore_steps as explore, must_fail};
use std::sync::Arc;

type Engine = engine::Engine<usize, u32, Hash, Exact>;

fn engine() -> Arc<Engine> {
    Arc::new(Engine::new(EngineSettings::default(), Hash))
}

fn spawn(engine: &Arc<Engine>, act: impl FnOnce(&Engine) + 'static) -> thread::JoinHandle<()> {
    let engine = Arc::clone(engine);
    thread::spawn(move || act(&engine))
}

/// Checks at rest that each of the first `keys` keys holds a value or is not in the index.
fn assert_swept(engine: &Engine, keys: usize) {
    for _ in 0..6 {
        engine.tend();
    }
    let guard = engine.pin();
    for key in 0..keys {
        let is_absent = engine.find(&guard, engine.hash(&key), &key).is_none();
        assert!(
            is_absent || engine.newest::<_, false>(&guard, &key).is_some(),
            "a cleared entry is left"
        );
    }
}

fn clear(engine: &Engine) {
    engine.invalidate_all();
}

/// A clearing beside a write of a key, which has a value if `present`.
fn write_beside_clearing(preemptions: usize, present: bool) {
    explore(preemptions, move || {
        let engine = engine();
        if present {
            engine.insert(0, 2, None);
        }
        let writer = spawn(&engine, |engine| _ = engine.insert(0, 1, None));
        let clearer = spawn(&engine, clear);
        writer.join().unwrap();
        clearer.join().unwrap();
        assert_swept(&engine, 1);
    });
}

/// As above, with a commit of two writes.
fn batch_beside_clearing(preemptions: usize) {
    explore(preemptions, || {
        let engine = engine();
        let writer = spawn(&engine, |engine| {
            let mut changes = engine.changes();
            for key in [0, 1] {
                changes.set(engine.hash(&key), key, key as u32 + 1, WriteTerms::Default);
            }
            engine.commit(changes);
        });
        let clearer = spawn(&engine, clear);
        writer.join().unwrap();
        clearer.join().unwrap();
        assert_swept(&engine, 2);
    });
}

/// A view opens and closes beside a clearing.
fn view_beside_clearing(preemptions: usize) {
    explore(preemptions, || {
        let engine = engine();
        engine.insert(0, 1, None);
        let clearer = spawn(&engine, clear);
        let viewer = spawn(&engine, |engine| engine.close(engine.open()));
        clearer.join().unwrap();
        viewer.join().unwrap();
        assert_swept(&engine, 1);
    });
}

/// A thread takes a lease and gives it back beside a clearing.
fn lease_beside_clearing(preemptions: usize) {
    explore(preemptions, || {
        let engine = engine();
        engine.insert(0, 1, None);
        let clearer = spawn(&engine, clear);
        let leaser = spawn(&engine, |engine| engine.let_go(&engine.lease(&0, || 0)));
        clearer.join().unwrap();
        leaser.join().unwrap();
        assert_swept(&engine, 1);
    });
}

/// A thread finds the record beside a clearing and holds it from then on. Its value goes
/// nevertheless.
fn hold_beside_clearing(preemptions: usize) {
    explore(preemptions, || {
        let engine = engine();
        engine.insert(0, 1, None);
        let clearer = spawn(&engine, clear);
        let holder = spawn(&engine, |engine| {
            let guard = engine.pin();
            let found = engine.find(&guard, engine.hash(&0_usize), &0);
            found.filter(|record| record.revive()).into_iter().for_each(|record| record.hold());
        });
        clearer.join().unwrap();
        holder.join().unwrap();
        (0..6).for_each(|_| engine.tend());
        let guard = engine.pin();
        if let Some(record) = engine.find(&guard, engine.hash(&0_usize), &0) {
            let state = unsafe { &*record.head().node() }.state();
            assert!(state.is_tombstone(), "a cleared entry is left");
        }
    });
}

/// Two threads clear, and each of them may walk over the index.
fn two_clear(preemptions: usize) {
    explore(preemptions, || {
        let engine = engine();
        engine.insert(0, 1, None);
        let clearers = [(); 2].map(|()| spawn(&engine, clear));
        clearers.into_iter().for_each(|clearer| clearer.join().unwrap());
        assert_swept(&engine, 1);
    });
}

#[test]
fn a_write() {
    write_beside_clearing(2, false);
    write_beside_clearing(2, true);
}

#[test]
fn a_batch() {
    batch_beside_clearing(1);
}

#[test]
fn a_view() {
    view_beside_clearing(2);
}

#[test]
fn a_lease() {
    lease_beside_clearing(2);
}

#[test]
fn a_hold() {
    hold_beside_clearing(2);
}

#[test]
fn two_clearings() {
    two_clear(1);
}

#[test]
#[ignore = "takes minutes"]
fn two_clearings_at_length() {
    two_clear(2);
}

const LEFT: &str = "a cleared entry is left";

#[test]
fn defect_skipping_unstamped_versions() {
    must_fail("sweep.unjudged", LEFT, || write_beside_clearing(2, false));
}

#[test]
fn defect_leaving_records_that_cannot_be_condemned() {
    must_fail("sweep.condemns_only", LEFT, || hold_beside_clearing(2));
}

#[test]
fn defect_forgetting_records_that_cannot_be_sealed() {
    must_fail("sweep.forgets", LEFT, || hold_beside_clearing(2));
}
