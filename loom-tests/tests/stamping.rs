//! Claim: a thread that meets a ready commit stamps it before judging it, and takes a number only
//! after it has seen the commit ready. Hence, for readers beside a commit:
//! - if a `get` returned the old value after a view was opened, that view never returns the new
//!   value;
//! - a view never changes its answer, and finds a batch in all keys or in none;
//! - the same holds for reads as of what the clock showed (which `get_many` makes);
//! - a `get`, a view and a read as of now that begin after a commit has returned see the commit.
#![cfg(any(coeval_loom, coeval_internals))]
#![allow(clippy::undocumented_unsafe_blocks)]

use coeval::internals::commit::{Limit, Registered, ViewPlace, Views};
use loom_tests::loom::sync::atomic::{AtomicBool, Ordering};
use loom_tests::loom::thread;
use loom_tests::{Keys, explore, leak, must_fail};

/// How the keys are written.
#[derive(Clone, Copy, PartialEq)]
enum Writer {
    /// Key 0 alone.
    Single,
    /// Both keys, in one commit.
    Batch,
}

struct World {
    keys: &'static Keys<u32, 2>,
    views: Views,
    /// Set when the commit has returned.
    returned: AtomicBool,
}

impl World {
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

    /// Both keys hold 0.
    fn new() -> &'static Self {
        let keys = Keys::new();
        keys.write(0, Some(0));
        keys.write(1, Some(0));
        unsafe { &*leak(Self { keys, views: Views::new(), returned: AtomicBool::new(false) }) }
    }

    /// Sets both keys, or key 0 alone, to 1.
    fn write(&self, how: Writer) {
        match how {
            Writer::Single => drop(self.keys.write(0, Some(1))),
            Writer::Batch => {
                self.keys.run(self.keys.describe([(0, Some(1)), (1, Some(1))], vec![]));
            }
        }
        self.returned.store(true, Ordering::Release);
    }

    fn get(&self, key: usize) -> u32 {
        *self.keys.newest(key).expect("never absent").0
    }

    fn at(&self, key: usize, limit: Limit) -> u32 {
        *self.keys.at(key, limit, 0).expect("never absent").0
    }
}

fn beside(preemptions: usize, how: Writer, read: fn(&World, Writer)) {
    explore(preemptions, move || {
        let world = World::new();
        let writer = thread::spawn(move || world.write(how));
        let reader = thread::spawn(move || read(world, how));
        writer.join().unwrap();
        reader.join().unwrap();
        assert_eq!(world.get(0), 1);
        world.keys.assert_ordered();
    });
}

/// Opens a view, then gets one key; the view reads before and after.
fn view_and_get(world: &World, how: Writer) {
    let after = world.returned.load(Ordering::Acquire);
    let view = Limit::View(world.open().version());
    let before = world.at(0, view);
    let got = world.get(0);
    let seen = world.at(0, view);
    assert_eq!(before, seen, "a view changed its answer");
    assert!(got >= seen, "a get missed a write that an older view sees");
    assert!(!after || seen == 1, "a commit that has returned is missed");
    if how == Writer::Batch {
        assert_eq!(world.at(1, view), seen, "a batch was torn");
    }
}

/// Gets a key between the opening of a view and the first read of the view.
fn get_before_view_reads(world: &World, how: Writer) {
    let view = Limit::View(world.open().version());
    let got = world.get(0);
    let seen = world.at(usize::from(how == Writer::Batch), view);
    assert!(got >= seen, "a get missed a write that an older view sees");
}

/// Reads both keys as of now, between gets.
fn as_of_now(world: &World, how: Writer) {
    let after = world.returned.load(Ordering::Acquire);
    let now = Limit::Now(world.keys.order.clock.now());
    let (one, other) = (world.at(1, now), world.at(0, now));
    if how == Writer::Batch {
        assert_eq!(one, other, "a batch was torn");
    }
    assert!(world.get(0) >= other, "a get missed a write that was seen before");
    assert!(!after || other == 1, "a commit that has returned is missed");
}

#[test]
fn a_view_beside_a_single_write() {
    beside(3, Writer::Single, view_and_get);
    beside(3, Writer::Single, get_before_view_reads);
}

#[test]
fn a_view_beside_a_batch() {
    beside(2, Writer::Batch, view_and_get);
    beside(2, Writer::Batch, get_before_view_reads);
}

#[test]
fn reads_as_of_now() {
    beside(3, Writer::Single, as_of_now);
    beside(2, Writer::Batch, as_of_now);
}

#[test]
fn defect_passing_by_a_ready_write() {
    let model = || beside(2, Writer::Single, get_before_view_reads);
    must_fail("commit.pass_by_ready", "a get missed", model);
}

#[test]
fn defect_passing_by_a_ready_batch() {
    let model = || beside(2, Writer::Batch, get_before_view_reads);
    must_fail("commit.pass_by_ready", "a get missed", model);
}

#[test]
fn defect_publishing_what_is_stamped() {
    let model = || beside(2, Writer::Single, view_and_get);
    must_fail("commit.stamped_first", "a view changed", model);
}
