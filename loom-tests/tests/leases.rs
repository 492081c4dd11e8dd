//! Claim: a value that was read from the source before a change is not in the cache after the call
//! that told the cache of the change. The models check a fill of a lease beside an invalidation or
//! a removal of the absent key, beside a batch, and beside a clearing, and a caller that joins a
//! load in progress. Every commit that is newer than the version of a lease refuses the lease,
//! including a commit that finds nothing to remove.
//!
//! The source is a number. Its accesses are relaxed, so that all ordering comes from the cache. The
//! models run the whole cache, on the asymmetric backend.
#![cfg(any(coeval_loom, coeval_internals))]

use coeval::Version;
use loom_tests::loom::sync::atomic::{AtomicU32, Ordering::Relaxed};
use loom_tests::loom::thread;
use loom_tests::with_one_order;
use loom_tests::{Hash, Scheme, Small, explore, must_fail};
use std::sync::Arc;

/// A cache and its source.
struct World {
    cache: Small,
    source: AtomicU32,
}

/// The initial state of key 0.
#[derive(Clone, Copy)]
enum Was {
    Unknown,
    /// Absent, but its record exists.
    Removed,
    Present,
}

impl World {
    fn new(was: Was) -> Arc<Self> {
        let cache: Small = coeval::Cache::builder().hasher(Hash).reclaimer::<Scheme>().build();
        if !matches!(was, Was::Unknown) {
            cache.insert(0, 0);
        }
        if matches!(was, Was::Removed) {
            cache.remove(&0);
        }
        Arc::new(Self { cache, source: AtomicU32::new(0) })
    }

    /// Takes a lease and reads the source.
    fn read(&self) -> (Lease, u32) {
        let lease = self.cache.lease(&0);
        (lease, self.source.load(Relaxed))
    }

    /// Changes the source and tells the cache.
    fn change(&self, change: Change) -> Option<Version> {
        self.source.store(1, Relaxed);
        change(&self.cache)
    }
}

type Lease = coeval::Lease<usize, u32, Hash, Scheme>;
/// Tells the cache of a change. Returns the version of the commit, if it has one in any case.
type Change = fn(&Small) -> Option<Version>;

fn invalidate(cache: &Small) -> Option<Version> {
    Some(cache.invalidate(&0))
}

fn remove(cache: &Small) -> Option<Version> {
    cache.remove(&0);
    None
}

fn batch(cache: &Small) -> Option<Version> {
    Some(cache.batch().insert(1, 1).remove(0).commit())
}

fn clear(cache: &Small) -> Option<Version> {
    Some(cache.invalidate_all())
}

/// One thread takes a lease and reads the source, while another changes the source and tells the
/// cache. Then the lease is filled.
fn lease_beside(preemptions: usize, was: Was, change: Change) {
    explore(preemptions, move || {
        let world = World::new(was);
        let reader = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.read())
        };
        let changer = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.change(change))
        };
        let (lease, read) = reader.join().unwrap();
        let changed = changer.join().unwrap();
        let since = lease.version();
        if lease.fill(read).is_ok() {
            assert_eq!(read, 1, "a value from before the change is in the cache after it");
            let refused = changed.is_some_and(|changed| changed > since);
            assert!(!refused, "a commit after the lease did not refuse it");
        }
    });
}

/// As above, with the fill beside the change. `change_first` says which thread is explored first.
/// It affects only how long the exploration takes.
fn fill_beside_in(change_first: bool, preemptions: usize, was: Was, change: Change) {
    explore(preemptions, move || {
        let world = World::new(was);
        let begin_to_change = || {
            let world = Arc::clone(&world);
            thread::spawn(move || world.change(change))
        };
        let changer = change_first.then(begin_to_change);
        let filler = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                let (lease, read) = world.read();
                let since = lease.version();
                (since, lease.fill(read).ok())
            })
        };
        let changed = changer.unwrap_or_else(begin_to_change).join().unwrap();
        let (since, filled) = filler.join().unwrap();
        let stale = world.cache.get(&0) == Some(0);
        assert!(!stale, "a value from before the change is in the cache after it");
        let refused = changed.is_some_and(|changed| changed > since && filled > Some(changed));
        assert!(!refused, "a commit after the lease did not refuse it");
    });
}

fn fill_beside(preemptions: usize, was: Was, change: Change) {
    fill_beside_in(false, preemptions, was, change);
}

/// Finds nothing to remove, except perhaps the lease.
fn nothing_to_remove(change: Change) {
    for was in [Was::Unknown, Was::Removed] {
        lease_beside(4, was, change);
    }
}

#[test]
fn a_lease_beside_an_invalidation_of_nothing() {
    nothing_to_remove(invalidate);
}

#[test]
fn a_lease_beside_a_removal_of_nothing() {
    nothing_to_remove(remove);
}

#[test]
fn a_lease_beside_a_batch() {
    lease_beside(2, Was::Removed, batch);
}

#[test]
fn a_fill_beside_a_removal() {
    with_one_order(|| fill_beside(1, Was::Present, remove));
}

#[test]
#[ignore = "takes minutes"]
fn a_fill_beside_a_removal_at_length() {
    fill_beside(1, Was::Present, remove);
}

#[test]
fn a_fill_beside_an_invalidation() {
    with_one_order(|| fill_beside(1, Was::Removed, invalidate));
}

#[test]
#[ignore = "takes minutes"]
fn a_fill_beside_an_invalidation_at_length() {
    fill_beside(1, Was::Removed, invalidate);
}

/// The lease is filled and given back while another thread checks whether there is anything to
/// remove.
fn fill_that_ends_beside(preemptions: usize, was: Was, change: Change) {
    with_one_order(|| fill_beside(preemptions, was, change));
}

#[test]
fn a_fill_that_ends_beside_a_removal_of_nothing() {
    fill_that_ends_beside(1, Was::Removed, remove);
}

#[test]
#[ignore = "takes minutes"]
fn a_fill_that_ends_beside_a_removal_of_nothing_at_length() {
    fill_that_ends_beside(2, Was::Removed, remove);
}

#[test]
fn a_fill_that_ends_beside_an_invalidation_of_nothing() {
    fill_that_ends_beside(2, Was::Removed, invalidate);
}

#[test]
#[ignore = "takes minutes"]
fn a_fill_that_ends_beside_an_invalidation_of_nothing_at_length() {
    fill_that_ends_beside(3, Was::Removed, invalidate);
}

#[test]
fn defect_looking_for_leases_after_their_fills_in_a_removal() {
    let model = || fill_that_ends_beside(2, Was::Removed, remove);
    must_fail("lease.look_late", "after", model);
}

#[test]
fn defect_looking_for_leases_after_their_fills_in_an_invalidation() {
    let model = || with_one_order(|| fill_beside_in(true, 3, Was::Removed, invalidate));
    must_fail("lease.look_late", "after", model);
}

#[test]
fn defect_looking_for_fills_as_of_the_number_alone() {
    let model = || with_one_order(|| fill_beside_in(true, 3, Was::Removed, invalidate));
    must_fail("lease.as_of_number", "after", model);
}

#[test]
fn a_fill_beside_a_batch() {
    with_one_order(|| fill_beside(1, Was::Removed, batch));
}

#[test]
fn a_fill_beside_a_clearing() {
    fill_beside(1, Was::Removed, clear);
}

#[test]
#[ignore = "takes minutes"]
fn a_fill_beside_a_clearing_at_length() {
    fill_beside(2, Was::Removed, clear);
}

#[test]
fn a_fill_of_a_present_key_beside_a_clearing() {
    with_one_order(|| fill_beside(1, Was::Present, clear));
}

#[test]
fn defect_the_clock_is_read_before_the_fence() {
    must_fail("lease.clock_first", "a commit after the lease", || nothing_to_remove(invalidate));
}

#[test]
fn defect_looking_for_leases_before_the_number_is_taken() {
    must_fail("lease.look_first", "after", || nothing_to_remove(invalidate));
}

#[test]
fn defect_no_fence_between_the_hold_and_the_read() {
    must_fail("lease.unfenced", "a value from before the change", || nothing_to_remove(remove));
}

/// One thread loads the key. When it has read the source, another thread changes the source, tells
/// the cache, and wants the key.
fn load_beside(preemptions: usize) {
    explore(preemptions, || {
        let world = World::new(Was::Unknown);
        let loader = thread::spawn({
            let world = Arc::clone(&world);
            move || {
                let mut changer = None;
                let load = || {
                    let (read, world) = (world.source.load(Relaxed), Arc::clone(&world));
                    changer = Some(thread::spawn(move || {
                        world.change(invalidate);
                        let wanted = world.cache.get_with(0, || world.source.load(Relaxed));
                        assert_eq!(
                            wanted, 1,
                            "a value loaded before the change is returned after it"
                        );
                    }));
                    read
                };
                world.cache.get_with(0, load);
                changer.expect("spawned by the load")
            }
        });
        loader.join().unwrap().join().unwrap();
        assert_eq!(world.cache.get(&0), Some(1));
    });
}

#[test]
fn a_caller_after_a_change_gets_a_value_loaded_after_it() {
    with_one_order(|| load_beside(1)); // This claim does not depend on fences.
}

#[test]
fn defect_sharing_an_unchecked_load() {
    must_fail("load.take_blindly", "a value loaded before the change", || load_beside(2));
}
