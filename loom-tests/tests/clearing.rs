//! Claim: clearing everything is one commit among the others. A compare-and-set aborts if its
//! version was cleared before its own number. A `get` that begins after a clearing has returned
//! finds nothing older. A view beside a clearing never changes its answer, and sees either both
//! keys cleared or neither.
#![cfg(any(coeval_loom, coeval_internals))]
#![allow(clippy::undocumented_unsafe_blocks)]

use coeval::internals::commit::{
    Expected, Limit, Precondition, ReadAt, Registered, ViewPlace, Views,
};
use loom_tests::loom::thread;
use loom_tests::{Keys, explore, leak, must_fail};

struct World {
    keys: &'static Keys<u32, 2>,
    views: Views,
}

impl World {
    /// Both keys hold 0.
    fn new() -> &'static Self {
        let keys = Keys::new();
        keys.write(0, Some(0));
        keys.write(1, Some(0));
        unsafe { &*leak(Self { keys, views: Views::new() }) }
    }

    fn clear(&self) -> u64 {
        unsafe { self.keys.order.clear(&self.views, |_| (), |_| ()) }
    }

    /// Sets key 0 if it holds the version `expected`. Returns its new version if it did.
    fn compare_and_set(&self, expected: Option<u64>) -> Option<u64> {
        let expected = Expected {
            entry: 0,
            precondition: expected.map_or(Precondition::IsAbsent(0), Precondition::Holds),
        };
        let outcome = self.keys.run(self.keys.describe([(0, Some(1))], vec![expected]));
        outcome.is_committed().then(|| outcome.version())
    }

    fn watermark_at(&self, limit: Limit) -> u64 {
        self.keys.order.watermark_at(unsafe { ReadAt::new(limit) })
    }

    fn open(&self) -> Registered {
        let place = std::ptr::NonNull::new(leak(ViewPlace::new())).unwrap();
        unsafe {
            self.views.open(
                &self.keys.order.clock,
                || (self.keys.order.clock.now(), 0),
                place,
                |_| (),
            )
        }
    }
}

/// A clearing beside a compare-and-set, which another thread helps if `helped`.
fn compare_beside_clearing(preemptions: usize, helped: bool) {
    explore(preemptions, move || {
        let world = World::new();
        let was = world.keys.newest(0).unwrap().1;
        let clearer = thread::spawn(move || world.clear());
        let setter = thread::spawn(move || world.compare_and_set(Some(was)));
        let helper = helped.then(|| thread::spawn(move || world.keys.write(0, Some(2))));
        let cleared = clearer.join().unwrap();
        let set = setter.join().unwrap();
        if let Some(helper) = helper {
            helper.join().unwrap();
        } else {
            let expected = set.filter(|&set| set > cleared).map(|_| 1);
            assert_eq!(world.keys.newest(0).map(|(value, _)| *value), expected);
            assert!(set.is_some_and(|set| set < cleared) || set.is_none(), "set a cleared value");
        }
        assert!(set.is_none_or(|set| set < cleared), "set a cleared value");
        world.keys.assert_ordered();
    });
}

/// A clearing beside a compare-and-set of an absent key.
fn set_if_absent_beside_clearing() {
    explore(2, || {
        let world = World::new();
        let clearer = thread::spawn(move || world.clear());
        let setter = thread::spawn(move || world.compare_and_set(None));
        let cleared = clearer.join().unwrap();
        if let Some(set) = setter.join().unwrap() {
            assert!(set > cleared, "set although it was present");
            assert!(world.keys.newest(0).is_some());
        } else {
            assert!(world.keys.newest(0).is_none());
        }
    });
}

/// A view, a get and reads as of now beside a clearing.
fn reads_beside_clearing() {
    explore(2, || {
        let world = World::new();
        let clearer = thread::spawn(move || world.clear());
        let reader = thread::spawn(move || {
            let view = world.open();
            let watermark = world.watermark_at(Limit::View(view.version()));
            let read = |key| world.keys.at(key, Limit::View(view.version()), watermark).is_some();
            let (first, got) = (read(0), world.keys.newest(1).is_some());
            assert_eq!(read(1), first, "a clearing was torn");
            assert!(first || !got, "a get found what an older view has cleared");
            assert_eq!(
                watermark,
                world.watermark_at(Limit::View(view.version())),
                "a view changed its watermark"
            );
            let now = world.keys.order.clock.now();
            let watermark = world.watermark_at(Limit::Now(now));
            let both = [0, 1].map(|key| world.keys.at(key, Limit::Now(now), watermark).is_some());
            assert_eq!(both[0], both[1], "a clearing was torn");
            assert!(got || !both[1], "a cleared value came back");
            unsafe { world.views.close(view, |_| ()) };
        });
        reader.join().unwrap();
        clearer.join().unwrap();
        let left = [0, 1].map(|key| world.keys.newest(key).is_some());
        assert_eq!(left, [false; 2], "a clearing that has returned is missed");
    });
}

/// Two threads clear beside a view. The nodes of the watermark are retired once, and none that the
/// view needs is retired.
fn two_clear() {
    explore(2, || {
        let world = World::new();
        world.clear();
        let retired: &'static _ = unsafe { &*leak(std::sync::Mutex::new(Vec::new())) };
        let clear = move || {
            let retire = |node| retired.lock().unwrap().push(loom_tests::Shared(node));
            unsafe { world.keys.order.clear(&world.views, retire, |_| ()) }
        };
        let clearers = [(); 2].map(|()| thread::spawn(clear));
        let cleared = clearers.map(|clearer| clearer.join().unwrap());
        assert_ne!(cleared[0], cleared[1]);
        let mut retired: Vec<_> = retired.lock().unwrap().iter().map(|node| node.get()).collect();
        retired.sort_unstable();
        let count = retired.len();
        retired.dedup();
        assert_eq!(retired.len(), count, "retired twice");
        assert_eq!(count, 2, "forgotten");
    });
}

/// Two threads clear beside an older view, and a third reads as of now. Clearings that no view
/// needs are unlinked from the middle of the list and retired once. Every reader that may ask for a
/// clearing still finds it.
fn two_clear_beside_a_view(claimed: bool) {
    explore(2, move || {
        let world = World::new();
        let view = world.open();
        world.clear();
        let retired: &'static _ = unsafe { &*leak(std::sync::Mutex::new(Vec::new())) };
        let clear = move || {
            let retire = |node| retired.lock().unwrap().push(loom_tests::Shared(node));
            unsafe { world.keys.order.clear(&world.views, retire, |_| ()) }
        };
        let clearers = [(); 2].map(|()| thread::spawn(clear));
        let reader = claimed.then(|| {
            thread::spawn(move || {
                let now = world.keys.order.clock.now();
                (now, world.watermark_at(Limit::Now(now)))
            })
        });
        let mut cleared = clearers.map(|clearer| clearer.join().unwrap());
        cleared.sort_unstable();
        if let Some(reader) = reader {
            let (now, watermark) = reader.join().unwrap();
            let first = view.version() + 1;
            let expected = cleared.into_iter().rev().find(|number| *number <= now);
            assert_eq!(watermark, expected.unwrap_or(first), "a clearing is missed");
        }
        let mut retired: Vec<_> = retired.lock().unwrap().iter().map(|node| node.get()).collect();
        retired.sort_unstable();
        let count = retired.len();
        retired.dedup();
        assert_eq!(retired.len(), count, "retired twice");
        let mut left = 0;
        unsafe {
            world.keys.order.watermark.each(|node| {
                assert!(!retired.contains(&node), "reached although it is retired");
                left += 1;
            });
        }
        assert_eq!(left + count, 3, "forgotten");
        assert_eq!(
            world.watermark_at(Limit::View(view.version())),
            0,
            "a view sees a later clearing"
        );
    });
}

#[test]
fn a_compare_and_set() {
    compare_beside_clearing(3, false);
}

#[test]
fn a_compare_and_set_that_is_helped() {
    compare_beside_clearing(1, true);
}

#[test]
fn a_set_if_absent() {
    set_if_absent_beside_clearing();
}

#[test]
fn readers() {
    reads_beside_clearing();
}

#[test]
fn two_clearings() {
    two_clear();
}

#[test]
fn two_clearings_beside_a_view() {
    two_clear_beside_a_view(true);
}

#[test]
fn defect_two_threads_unlink_clearings_at_once() {
    must_fail("milestones.unclaimed", "retired", || two_clear_beside_a_view(false));
}

#[test]
fn defect_looking_as_of_now_along_the_links() {
    must_fail("milestones.by_links", "a clearing is missed", || two_clear_beside_a_view(true));
}

#[test]
fn defect_a_verdict_without_the_watermark() {
    must_fail("commit.unaware_of_floor", "set a cleared value", || {
        compare_beside_clearing(2, false)
    });
}

#[test]
fn defect_passing_by_a_ready_clearing() {
    must_fail("floor.pass_by_ready", "a clearing that has returned", reads_beside_clearing);
}
