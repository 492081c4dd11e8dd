//! Claim: a version that a registered view needs is not retired while the view is registered. Each
//! version is retired once, even if the owners of two commits, one of them slow, and a pruner
//! dispose of versions at the same time. A read as of now that is not registered finds its version
//! or learns that the version is unknown; it never finds a wrong one. A look-up of the newest version
//! finds no version that was superseded before it.
//!
//! The value of a version is a loom cell. Retiring overwrites the cell, and a view accesses the
//! cell that it found until it closes. So the models find a retirement that is not ordered after
//! the closing even if no read was wrong.
#![cfg(any(coeval_loom, coeval_internals))]
#![allow(clippy::undocumented_unsafe_blocks)]

use coeval::internals::chain::{Chain, Node, flags};
use coeval::internals::commit::{
    Limit, PruneOutcome, Registered, TakenOut, ViewCursor, ViewPlace, Views, close_link, prune,
    take_out, take_suffix,
};
use loom_tests::loom::cell::UnsafeCell;
use loom_tests::loom::thread;
use loom_tests::{Keys, NONE, Shared, explore, leak, must_fail};
use std::ptr::NonNull;

/// Set when its version is retired.
type Value = UnsafeCell<bool>;

struct World {
    keys: &'static Keys<Value, 1>,
    views: Views,
    /// Whether a pruner claims the right to prune.
    claims: bool,
}

unsafe fn retire(node: *mut Node<Value>) {
    let value = unsafe { (*node).value() };
    value.with_mut(|retired| unsafe {
        assert!(!*retired, "retired twice");
        *retired = true;
    });
}

impl World {
    /// Creates `versions` settled versions, and opens a view of each.
    fn new(versions: usize, claims: bool) -> (&'static Self, Vec<Registered>) {
        let world = Self { keys: Keys::new(), views: Views::new(), claims };
        let world = unsafe { &*leak(world) };
        let views = (0..versions).map(|_| {
            let node = world.write();
            world.close_link(node);
            world.open()
        });
        (world, views.collect())
    }

    fn write(&self) -> &'static Node<Value> {
        self.keys.write(0, Some(UnsafeCell::new(false))).0
    }

    fn close_link(&self, node: &Node<Value>) {
        unsafe { close_link(self.keys.records[0], node) };
    }

    fn open(&self) -> Registered {
        let place = NonNull::new(leak(ViewPlace::new())).unwrap();
        unsafe {
            self.views.open(
                &self.keys.order.clock,
                || (self.keys.order.clock.now(), 0),
                place,
                |_| (),
            )
        }
    }

    fn first_below(&self, version: u64) -> Option<ViewCursor<'_>> {
        unsafe { self.views.first_below(&self.keys.order.clock, version, |_| ()) }
    }

    /// Does what the owner of a commit must do, as the engine does it (except for the queue).
    fn dispose(&self, node: &Node<Value>) {
        let record = self.keys.records[0];
        let none = self.views.none();
        let Some(view) = (!none).then(|| self.first_below(node.state().version())).flatten() else {
            unsafe { take_suffix(record, node, true, |node| retire(node)) };
            return;
        };
        let before = unsafe { record.prev_of(node) }.link().target();
        self.close_link(node);
        let version = unsafe { &*before }.state().version();
        // A version that a view needs waits until the view closes.
        if version > view.version() || view.waiting().is_closed() {
            self.prune_for(Some(version));
        }
    }

    /// Prunes as the engine does, except that the holder of the right goes on until no other pruner
    /// has come in the meantime.
    fn prune(&self) {
        self.prune_for(None);
    }

    fn prune_for(&self, mut known: Option<u64>) {
        let record = self.keys.records[0];
        let claimed = record.change_flags(|now| {
            let busy = now & flags::PRUNING != 0;
            Some(now | if busy { flags::PRUNE_AGAIN } else { flags::PRUNING })
        });
        if self.claims && claimed.unwrap() & flags::PRUNING != 0 {
            return;
        }
        loop {
            let _ = record.change_flags(|now| Some(now & !flags::PRUNE_AGAIN));
            self.prune_once(known.take());
            let end = |now| (now & flags::PRUNE_AGAIN == 0).then_some(now & !flags::PRUNING);
            if record.change_flags(end).is_ok() || !self.claims {
                return;
            }
        }
    }

    fn prune_once(&self, known: Option<u64>) -> PruneOutcome {
        let record = self.keys.records[0];
        let mut top = unsafe { &*record.head().node() };
        while !top.state().is_committed() {
            top = unsafe { &*record.prev_of(top).link().target() };
        }
        match known {
            Some(version) => unsafe { take_out(record, top, version, |node| retire(node)) },
            None => {
                let view = self.first_below(top.state().version());
                unsafe { prune(record, top, view, |node| retire(node)) }
            }
        }
    }

    fn touch(&self, view: u64) {
        let found = self.keys.at(0, Limit::View(view), 0);
        let Some((value, version)) = found else { panic!("a view lost its version") };
        assert!(version <= view);
        value.with(|retired| assert!(!unsafe { *retired }, "needed, but retired"));
    }

    /// Reads and closes a view, and prunes as a closing view does.
    fn finish(&self, view: Registered) {
        self.touch(view.version());
        self.close(view);
        self.prune();
    }

    fn close(&self, view: Registered) {
        unsafe { self.views.close(view, |_| ()) };
    }

    /// Checks at rest, without views, that one more pass leaves only the newest version, and that
    /// all versions below it were retired.
    fn assert_clean(&self) {
        self.prune();
        for (node, _) in self.keys.chain(0).iter().skip(1) {
            let retired = unsafe { (*node.get()).value() }.with(|retired| unsafe { *retired });
            assert!(retired, "forgotten");
        }
    }
}

/// A view opens beside a writer that disposes of the version that it superseded.
fn opening_beside_a_write() {
    explore(3, || {
        let (world, _) = World::new(0, true);
        world.close_link(world.write());
        let reader = thread::spawn(move || {
            let view = world.open();
            world.touch(view.version());
            world.finish(view);
        });
        let writer = thread::spawn(move || world.dispose(world.write()));
        reader.join().unwrap();
        writer.join().unwrap();
        world.assert_clean();
    });
}

/// As above, but another view causes the pruning.
fn opening_beside_a_pruner() {
    explore(2, || {
        let (world, mut views) = World::new(1, true);
        world.close_link(world.write());
        let reader = thread::spawn(move || {
            let view = world.open();
            world.touch(view.version());
            world.touch(view.version());
            world.close(view);
        });
        let writer = thread::spawn(move || world.dispose(world.write()));
        reader.join().unwrap();
        writer.join().unwrap();
        world.finish(views.pop().unwrap());
        world.assert_clean();
    });
}

/// Two views open beside two writes. One view may enter the list before the other has its version.
fn two_open(preemptions: usize) {
    explore(preemptions, || {
        let (world, mut views) = World::new(1, true);
        let readers = [(); 2].map(|()| {
            thread::spawn(move || {
                let view = world.open();
                world.touch(view.version());
                view
            })
        });
        let writer = thread::spawn(move || {
            world.dispose(world.write());
            world.dispose(world.write());
        });
        let opened = readers.map(|reader| reader.join().unwrap());
        writer.join().unwrap();
        opened.into_iter().for_each(|view| world.finish(view));
        world.finish(views.pop().unwrap());
        world.assert_clean();
    });
}

/// Two views that are neighbours in the middle of the list close. The list then holds the open
/// views, and no place that was retired.
fn neighbours_close(preemptions: usize) {
    explore(preemptions, || {
        let (world, mut views) = World::new(4, true);
        let retired: &'static std::sync::Mutex<Vec<usize>> =
            unsafe { &*leak(std::sync::Mutex::new(Vec::new())) };
        let retire = move |place: *mut ViewPlace| {
            let mut retired = retired.lock().unwrap();
            assert!(!retired.contains(&place.addr()), "a place is retired twice");
            retired.push(place.addr());
        };
        let (newest, third, second) =
            (views.pop().unwrap(), views.pop().unwrap(), views.pop().unwrap());
        let closers = [third, second].map(|view| {
            thread::spawn(move || unsafe {
                world.views.close(view, retire);
                // Goes past all views in the list.
                world.views.first_below(&world.keys.order.clock, 0, retire);
            })
        });
        closers.into_iter().for_each(|closer| closer.join().unwrap());
        let mut listed = Vec::new();
        unsafe { world.views.each(|place| listed.push(std::ptr::from_ref(place).addr())) };
        assert!(listed.iter().all(|place| !retired.lock().unwrap().contains(place)), "still there");
        assert_eq!(world.views.count(), 2);
        world.finish(views.pop().unwrap());
        world.finish(newest);
        world.assert_clean();
    });
}

/// An owner that has yet to dispose of the version that it superseded, a writer above it, and a
/// view below it that closes.
fn slow_owner(preemptions: usize) {
    explore(preemptions, || {
        let (world, mut views) = World::new(1, true);
        let slow = Shared(std::ptr::from_ref(world.write()).cast_mut());
        let owner = thread::spawn(move || world.dispose(unsafe { &*slow.get() }));
        let closer = {
            let view = views.pop().unwrap();
            thread::spawn(move || world.finish(view))
        };
        let writer = thread::spawn(move || world.dispose(world.write()));
        owner.join().unwrap();
        closer.join().unwrap();
        writer.join().unwrap();
        world.assert_clean();
    });
}

/// Two threads come to prune when the views between which they prune have closed.
fn two_pruners(claims: bool) {
    explore(2, move || {
        let (world, mut views) = World::new(4, claims);
        let newest = views.pop().unwrap();
        let (third, second) = (views.pop().unwrap(), views.pop().unwrap());
        let closers = [third, second].map(|view| thread::spawn(move || world.finish(view)));
        closers.into_iter().for_each(|closer| closer.join().unwrap());
        world.finish(newest);
        world.finish(views.pop().unwrap());
        world.assert_clean();
    });
}

/// A read as of now beside a pruner that unlinks the version that the read needs.
fn reader_that_is_not_registered() {
    explore(3, || {
        let (world, mut views) = World::new(2, true);
        let wanted = world.keys.order.clock.now();
        let middle = views.pop().unwrap();
        world.close_link(world.write());
        let reader = thread::spawn(move || match world.keys.try_at(0, Limit::Now(wanted), 0) {
            Ok(Some((_, version))) => assert_eq!(version, wanted, "a wrong version"),
            Ok(None) => panic!("never absent"),
            Err(TakenOut) => {}
        });
        let closer = thread::spawn(move || world.finish(middle));
        reader.join().unwrap();
        closer.join().unwrap();
        world.finish(views.pop().unwrap());
        world.assert_clean();
    });
}

/// A look-up of the newest version, beside an owner that commits and then takes out the version that
/// it superseded. The look-up may pass by the commit before it is decided.
fn newest_beside_an_owner() {
    explore(3, || {
        let (world, mut views) = World::new(1, true);
        let before = world.write();
        world.close_link(before);
        let commit = world.keys.describe([(0, Some(UnsafeCell::new(false)))], Vec::new());
        let reader = thread::spawn(move || {
            let (_, version) = world.keys.newest(0).expect("never absent");
            assert!(version >= before.state().version(), "an old version");
        });
        let owner = thread::spawn(move || {
            world.keys.run(commit);
            world.dispose(unsafe { &*(*commit.get()).entries()[0].node });
        });
        reader.join().unwrap();
        owner.join().unwrap();
        world.finish(views.pop().unwrap());
        world.assert_clean();
    });
}

#[test]
fn a_view_that_opens_beside_a_write() {
    opening_beside_a_write();
}

#[test]
fn a_view_that_opens_beside_a_pruner() {
    opening_beside_a_pruner();
}

#[test]
fn two_views_that_open() {
    two_open(2);
}

#[test]
fn places_leave_the_list() {
    neighbours_close(3);
}

#[test]
fn an_owner_that_comes_late() {
    slow_owner(1);
}

#[test]
fn pruners_that_claim() {
    two_pruners(true);
}

#[test]
fn an_unregistered_reader() {
    reader_that_is_not_registered();
}

#[test]
fn the_newest_version_beside_an_owner() {
    newest_beside_an_owner();
}

// The next two are loom's messages about the cell in a version if neither access happens before the
// other.
/// The version was retired while a view read it.
const WHILE_READ: &str = "Concurrent read and write accesses";
/// The version was retired twice.
const TWICE: &str = "Concurrent write accesses";

#[test]
fn defect_no_fence_before_none() {
    must_fail("views.no_fence", WHILE_READ, opening_beside_a_write);
}

#[test]
fn defect_no_fence_before_seen() {
    must_fail("views.no_fence", WHILE_READ, opening_beside_a_pruner);
}

#[test]
fn defect_pruning_beneath_an_open_link() {
    must_fail("prune.ignore_open", TWICE, || slow_owner(2));
}

#[test]
fn defect_two_pruners_at_once() {
    must_fail(NONE, TWICE, || two_pruners(false));
}

#[test]
fn defect_a_skip_that_is_not_marked() {
    must_fail("prune.no_skip_mark", "a wrong version", reader_that_is_not_registered);
}

#[test]
fn defect_a_skip_below_a_commit_that_was_undecided() {
    must_fail("resolve.newest_goes_on", "an old version", newest_beside_an_owner);
}

#[test]
fn defect_opening_on_a_view_without_a_version() {
    must_fail("views.upon_unversioned", WHILE_READ, || two_open(2));
}

#[test]
fn defect_unlinking_an_unmarked_place() {
    must_fail("views.unmarked", "a place is retired twice", || neighbours_close(3));
}
