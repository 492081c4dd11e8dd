//! Claim: no write is lost in a record that is being removed, and a key ends with one living
//! record. The models run condemn, grace period, seal and unlink beside a write, a batch and a
//! compare-and-set that fails, on the whole cache with the asymmetric backend.
#![cfg(any(coeval_loom, coeval_internals))]

use loom_tests::loom::thread;
use loom_tests::with_one_order;
use loom_tests::{Small, advance, explore, must_fail, small_cache};
use std::sync::Arc;

/// What another thread does while the record of key 0, which held 1, is being removed.
#[derive(Clone, Copy)]
enum Beside {
    Insert,
    Batch,
    Compare,
}

impl Beside {
    fn run(self, cache: &Small) {
        match self {
            Self::Insert => drop(cache.insert(0, 2)),
            Self::Batch => drop(cache.batch().insert(0, 2).insert(1, 2).commit()),
            Self::Compare => {
                // Takes the mark off, and does not change the key.
                let wrong = coeval::Version::from_u64(u64::MAX >> 3);
                assert!(cache.compare_and_set(0, Some(wrong), 3).is_err());
                cache.insert(0, 2);
            }
        }
    }
}

fn assert_holds(cache: &Small, expected: Option<u32>) {
    assert_eq!(cache.get(&0), expected, "a write was lost");
    let view = cache.view();
    let records = view.iter().filter(|(key, _)| **key == 0).count();
    assert_eq!(records, expected.into_iter().count(), "two living records");
}

/// The key is removed beside the write. The thread that removed it has `turns` opportunities to
/// finish the removal of the record.
fn removal_beside(preemptions: usize, turns: usize, beside: Beside) {
    explore(preemptions, move || {
        let cache = small_cache();
        let remover = {
            let cache = Arc::clone(&cache);
            thread::spawn(move || {
                let removed = cache.remove(&0);
                advance(&cache, turns);
                removed
            })
        };
        let writer = {
            let cache = Arc::clone(&cache);
            thread::spawn(move || beside.run(&cache))
        };
        let removed = remover.join().unwrap();
        writer.join().unwrap();
        let expected = match removed {
            Some(1) => Some(2),
            Some(2) => None,
            other => panic!("removed {other:?}"),
        };
        assert_holds(&cache, expected);
        advance(&cache, 5);
        assert_holds(&cache, expected);
    });
}

#[test]
fn a_removal_beside_an_insert() {
    removal_beside(1, 0, Beside::Insert);
    removal_beside(1, 4, Beside::Insert);
}

#[test]
fn a_removal_beside_a_batch() {
    with_one_order(|| removal_beside(1, 0, Beside::Batch)); // Takes minutes otherwise.
}

#[test]
fn a_removal_beside_a_failed_compare_and_set() {
    removal_beside(1, 0, Beside::Compare);
    removal_beside(1, 4, Beside::Compare);
}

#[test]
fn the_end_of_grace_within_an_insert() {
    with_one_order(|| removal_beside(2, 3, Beside::Insert)); // Takes minutes otherwise.
}

#[test]
fn defect_sealing_at_once() {
    must_fail("record.no_grace", "a write was lost", || removal_beside(1, 0, Beside::Insert));
}

#[test]
fn defect_leaving_the_mark_on() {
    let model = || with_one_order(|| removal_beside(2, 3, Beside::Insert));
    must_fail("record.no_revive", "a write was lost", model);
}
