//! Claim: a removal of a key and a restore of it do not both miss the other: either the removal
//! finds the record held, on which it leaves a tombstone, or the restore finds the mark of the
//! removal.
#![cfg(any(coeval_loom, coeval_internals))]

use coeval::internals::engine::GoneMarks;
use loom_tests::loom::sync::atomic::{AtomicBool, Ordering, fence};
use loom_tests::loom::thread;
use loom_tests::{explore, must_fail};
use std::sync::Arc;

/// The hash of the key.
const HASH: u32 = 7;

/// A removal, as in `Engine::remove`, beside a restore, as in `GroupWork::restore`. The record
/// is no more than whether it is held.
fn a_removal_beside_a_restore() {
    explore(3, || {
        let marks = GoneMarks::new();
        marks.begin();
        let world = Arc::new((marks, AtomicBool::new(false)));
        let removal = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                world.0.note_now(HASH);
                world.1.load(Ordering::Relaxed)
            })
        };
        let restore = thread::spawn(move || {
            world.1.store(true, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            world.0.is_noted(HASH)
        });
        let (is_held, is_noted) = (removal.join().unwrap(), restore.join().unwrap());
        assert!(is_held || is_noted, "a removed key returns");
    });
}

#[test]
fn a_key_that_is_removed_does_not_return() {
    a_removal_beside_a_restore();
}

#[test]
fn defect_no_fence_after_the_mark() {
    must_fail("gone.unfenced", "a removed key returns", a_removal_beside_a_restore);
}
