//! Claim: a range of quiet commits never covers the number of a commit that was not noted as one.
#![cfg(any(coeval_loom, coeval_internals))]

use coeval::internals::commit::Quiet;
use loom_tests::loom::thread;
use loom_tests::{explore, must_fail};
use std::sync::Arc;

/// All commits except commit 3 are quiet. Two threads note their commits, and one thread checks.
fn a_gap(preemptions: usize) {
    explore(preemptions, || {
        let quiet = Arc::new(Quiet::new());
        quiet.note(2);
        let spawn = |act: fn(&Quiet)| {
            let quiet = Arc::clone(&quiet);
            thread::spawn(move || act(&quiet))
        };
        let one = spawn(|quiet| quiet.note(4));
        let other = spawn(|quiet| quiet.note(5));
        let reader = spawn(|quiet| {
            for last in [3, 4, 5] {
                assert!(!quiet.are_all(2, last), "up to {last}, and 3 was not quiet");
            }
            assert!(!quiet.are_all(1, 4), "3 was not quiet");
        });
        [one, other, reader].into_iter().for_each(|thread| thread.join().unwrap());
        assert!(!quiet.are_all(2, 5), "at rest, and 3 was not quiet");
        assert!(quiet.are_all(4, 5), "the last was noted");
    });
}

#[test]
fn a_commit_that_was_not_noted_is_not_covered() {
    a_gap(3);
}

#[test]
fn defect_the_end_of_the_range_before_its_beginning() {
    must_fail("quiet.last_first", "3 was not quiet", || a_gap(3));
}
