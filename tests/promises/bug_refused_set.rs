//! A refused `compare_and_set` once reported the state of another instant than the one at which it
//! was refused. It expected an absent key, met a value, and reported "absent", because all keys had
//! been invalidated between its decision and its report.

use crate::common::{StopOnDrop, disturb, stress};
use coeval::Cache;
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn a_refusal_reports_an_unexpected_version() {
    disturb(); // Without this, the bug hardly ever shows on two cores.
    let rounds = stress(30_000, 1_000_000, 20_000_000);
    let cache = Cache::new();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    cache.insert(1, 0);
                    cache.invalidate_all();
                }
            });
        }
        let _stop = StopOnDrop(&stop);
        for round in 0..rounds {
            let expected = cache.get_versioned(&1).map(|(_, version)| version);
            let expected = expected.filter(|_| round % 2 == 0);
            if let Err(conflict) = cache.compare_and_set(1, expected, 1) {
                assert_ne!(
                    conflict.found(),
                    expected,
                    "refused although it found what it expected"
                );
            }
        }
    });
}
