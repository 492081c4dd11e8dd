//! Claim: no write is lost in a record that is being removed, and a key ends with one living record:
//! condemn, grace, seal and unlink beside a write, a batch and a compare-and-set that fails, on the
//! whole cache with the asymmetric backend.
#![cfg(coeval_loom)]

use coeval::Cache;
use loom::thread;
use loom_tests::{Hash, explore, must_fail};
use std::sync::Arc;

type Small = Cache<u32, u32, Hash>;

fn cache() -> Arc<Small> {
    Arc::new(Cache::builder().hasher(Hash).build())
}

/// What another thread does while the record of key 0, which held 1, is being removed.
#[derive(Clone, Copy)]
enum Beside {
    Insert,
    Batch,
    Compare,
}

fn removal(preemptions: usize, turns: usize, beside: Beside) {
    explore(preemptions, move || {
        let cache = cache();
        cache.insert(0, 1);
        let remover = {
            let cache = Arc::clone(&cache);
            thread::spawn(move || {
                let removed = cache.remove(&0);
                // Writes and removals of another key: the epoch advances, and what is due is done.
                (0..turns).for_each(|_| drop(cache.insert(1, 0)));
                removed
            })
        };
        let writer = {
            let cache = Arc::clone(&cache);
            thread::spawn(move || match beside {
                Beside::Insert => drop(cache.insert(0, 2)),
                Beside::Batch => drop(cache.batch().insert(0, 2).insert(2, 2).commit()),
                Beside::Compare => {
                    let wrong = coeval::Version::from_u64(u64::MAX >> 3);
                    assert!(cache.compare_and_set(0, Some(wrong), 3).is_err());
                    drop(cache.insert(0, 2));
                }
            })
        };
        let removed = remover.join().unwrap();
        writer.join().unwrap();
        let expected = match removed {
            Some(1) => Some(2),
            Some(2) => None,
            other => panic!("removed {other:?}"),
        };
        assert_eq!(cache.get(&0), expected, "a write was lost");
        assert_eq!(
            cache.view().iter().filter(|(key, _)| **key == 0).count(),
            expected.into_iter().count()
        );
    });
}

#[test]
fn beside_an_insert() {
    removal(1, 2, Beside::Insert);
}

#[test]
fn beside_a_batch() {
    removal(1, 2, Beside::Batch);
}

#[test]
fn beside_a_failed_compare_and_set() {
    removal(1, 2, Beside::Compare);
}

#[test]
fn defect_sealing_at_once() {
    must_fail("record.no_grace", "", || removal(2, 0, Beside::Insert));
}
