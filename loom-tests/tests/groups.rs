//! Claim: what is loaded as a group is set by one commit, and only if nobody has changed any of it since it was read: no
//! look shows some of it without the rest, and what was read before a change of one is not there after it.
//!
//! The source is a number; its accesses are relaxed, so that all order comes from the cache. The whole cache,
//! on the asymmetric backend.
#![cfg(coeval_loom)]

use coeval::internals::hook::with_one_order;
use loom::sync::atomic::{AtomicU32, Ordering::Relaxed};
use loom::thread;
use loom_tests::{Hash, Small, explore, must_fail};
use std::sync::Arc;

const KEYS: [usize; 2] = [0, 1];

/// A cache and its source.
struct World {
    cache: Small,
    source: AtomicU32,
}

impl World {
    fn new() -> Arc<Self> {
        let cache: Small = coeval::Cache::builder().hasher(Hash).build();
        Arc::new(Self { cache, source: AtomicU32::new(0) })
    }

    fn load(&self) -> [u32; 2] {
        self.cache.get_many_with(KEYS, || [self.source.load(Relaxed); 2])
    }

    /// What the cache has of the group.
    fn look(&self) -> [Option<u32>; 2] {
        self.cache.get_many(KEYS.each_ref())
    }
}

/// One loads the group, beside another who changes the source and then tells the cache, of the second key alone.
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
        assert_ne!(world.look()[1], Some(0), "what was read before the change is there after it");
    });
}

/// One loads the group, beside another who looks at it twice.
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
                    assert_eq!(look[0], look[1], "a part of the group is there");
                }
                assert!(first[0].is_none() || second[0].is_some(), "it went again");
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
    must_fail("fill.checks_one", "what was read before the change", model);
}
