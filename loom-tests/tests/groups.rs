//! Claim: one commit sets all keys of a group that was loaded, and only if none of them has changed
//! since the source was read. No look-up shows a part of the group. A value that was read before a
//! change of its key is not in the cache after the change.
//!
//! The source is a number. Its accesses are relaxed, so that all ordering comes from the cache. The
//! models run the whole cache, on the asymmetric backend.
#![cfg(any(coeval_loom, coeval_internals))]

use loom_tests::loom::sync::atomic::{AtomicU32, Ordering::Relaxed};
use loom_tests::loom::thread;
use loom_tests::with_one_order;
use loom_tests::{Hash, Scheme, Small, explore, must_fail};
use std::sync::Arc;

const KEYS: [usize; 2] = [0, 1];

/// A cache and its source.
struct World {
    cache: Small,
    source: AtomicU32,
}

impl World {
    fn new() -> Arc<Self> {
        let cache: Small = coeval::Cache::builder().hasher(Hash).reclaimer::<Scheme>().build();
        Arc::new(Self { cache, source: AtomicU32::new(0) })
    }

    fn load(&self) -> [u32; 2] {
        self.cache.get_many_with(KEYS, || [self.source.load(Relaxed); 2])
    }

    /// What the cache holds of the group.
    fn look(&self) -> [Option<u32>; 2] {
        self.cache.get_many(KEYS.each_ref())
    }
}

/// One thread loads the group. Another changes the source, and then tells the cache that the second
/// key has changed.
fn load_beside_a_removal(preemptions: usize) {
    explore(preemptions, || {
        let world = World::new();
        let loader = thread::spawn({
            let world = Arc::clone(&world);
            move || _ = world.load()
        });
        let changer = thread::spawn({
            let world = Arc::clone(&world);
            move || {
                world.source.store(1, Relaxed);
                world.cache.remove(&1);
            }
        });
        loader.join().unwrap();
        changer.join().unwrap();
        assert_ne!(
            world.look()[1],
            Some(0),
            "a value from before the change is in the cache after it"
        );
    });
}

/// One thread loads the group, while another looks at it twice.
fn load_beside_a_look(preemptions: usize) {
    explore(preemptions, || {
        let world = World::new();
        let loader = thread::spawn({
            let world = Arc::clone(&world);
            move || _ = world.load()
        });
        let reader = thread::spawn({
            let world = Arc::clone(&world);
            move || {
                let (first, second) = (world.look(), world.look());
                for look in [first, second] {
                    assert_eq!(look[0], look[1], "only a part of the group is visible");
                }
                assert!(first[0].is_none() || second[0].is_some(), "the group disappeared again");
            }
        });
        loader.join().unwrap();
        reader.join().unwrap();
        assert_eq!(world.look(), [Some(0); 2]);
    });
}

#[test]
fn a_load_beside_a_removal_of_one() {
    with_one_order(|| load_beside_a_removal(1));
}

#[test]
fn a_load_beside_a_look() {
    with_one_order(|| load_beside_a_look(1));
}

#[test]
fn defect_checking_the_first_alone() {
    let model = || with_one_order(|| load_beside_a_removal(1));
    must_fail("fill.checks_one", "a value from before the change", model);
}
