//! Claim: an object that a thread reaches under a guard of the asymmetric backend is not reclaimed
//! while the guard lives, and everything that the thread does under the guard happens before the
//! reclaiming.
//!
//! The models run the library's code. Under loom both of its barriers are `fence(SeqCst)`. For
//! these, the memory model promises what `reclaim/barrier.rs` requires; no model can cover what
//! `membarrier` itself promises. The content of an object is a loom cell that reclaiming
//! overwrites. So the models find a read that is not ordered before the reclaiming even if it
//! returns the old content.
//!
//! Three orderings have no defect here: the Acquire of the load of the epoch in `pin` and in
//! `collect`, and the Release of the CAS that advances the epoch. Under loom, the fence that
//! follows or precedes each of them has the same effect, except in one schedule of three threads,
//! which takes too long to reach. These orderings matter where the light barrier is not a fence.
//!
//! Of the other backends, crossbeam-epoch has a build for loom, under its own cfg. With `--cfg
//! crossbeam_loom`, as in `ci/loom.sh`, this file has models of the adapter and of the parts that
//! it uses. seize (0.5.1) always uses the atomics of std, with no cfg to change that. loom sees
//! none of its steps, so a model of it would explore nothing.
#![cfg(any(coeval_loom, coeval_internals))]
// The models are small programs that meet the preconditions of the unsafe interface.
#![allow(clippy::undocumented_unsafe_blocks)]

use coeval::internals::reclaim::{Asymmetric, Garbage, Reclaim};
use loom_tests::loom::cell::UnsafeCell;
use loom_tests::loom::sync::Arc;
use loom_tests::loom::sync::atomic::{AtomicPtr, Ordering};
use loom_tests::{NONE, must_fail};
use std::sync::atomic::{AtomicUsize as Count, Ordering::Relaxed};

const ALIVE: u32 = 1;
const DEAD: u32 = 2;

struct Object {
    content: UnsafeCell<u32>,
}

/// A scheme, and one place that holds an object.
struct World<R = Asymmetric> {
    scheme: R,
    place: AtomicPtr<Object>,
    /// Not loom's atomics, because these counts are not part of the model.
    made: Count,
    reclaimed: Count,
}

/// Called by the scheme. Does not free the object, so that a late reader finds it dead.
unsafe fn kill<R>(object: *mut (), context: *const ()) {
    let (object, world) = unsafe { (&*object.cast::<Object>(), &*context.cast::<World<R>>()) };
    object.content.with_mut(|content| unsafe {
        assert_eq!(*content, ALIVE, "reclaimed twice");
        *content = DEAD;
    });
    world.reclaimed.fetch_add(1, Relaxed);
}

impl<R: Reclaim> World<R> {
    fn new() -> Arc<Self> {
        let world = Self {
            scheme: R::new(),
            place: AtomicPtr::new(std::ptr::null_mut()),
            made: Count::new(0),
            reclaimed: Count::new(0),
        };
        world.place.store(world.make(), Ordering::Release);
        Arc::new(world)
    }

    /// Leaks the object, because loom's cells must not be accessed after the model. This costs a
    /// few bytes per execution.
    fn make(&self) -> *mut Object {
        self.made.fetch_add(1, Relaxed);
        Box::into_raw(Box::new(Object { content: UnsafeCell::new(ALIVE) }))
    }

    fn pin(&self) -> R::Guard<'_> {
        self.scheme.pin()
    }

    fn retire(&self, guard: &R::Guard<'_>, object: *mut Object) {
        let context = std::ptr::from_ref(self).cast();
        let garbage = Garbage { object: object.cast(), context, reclaim: kill::<R> };
        unsafe { self.scheme.retire(guard, garbage) };
    }

    /// Reads the object in the place, twice; more often, where no schedule is explored to its end.
    fn read(&self) {
        let guard = self.pin();
        let object = self.place.load(Ordering::Acquire);
        (0..if cfg!(coeval_loom) { 2 } else { 12 }).for_each(|_| self.look(object));
        drop(guard);
    }

    fn look(&self, object: *mut Object) {
        let content = unsafe { &*object }.content.with(|content| unsafe { *content });
        assert_eq!(content, ALIVE, "read after it was reclaimed");
    }

    /// Reclaims what is due. Under loom, a batch is one retirement.
    fn collect(&self) {
        if !cfg!(coeval_loom) {
            self.scheme.hurry();
        }
        self.scheme.collect();
    }

    /// Puts a new object into the place, and retires the old one.
    fn replace(&self) {
        let guard = self.pin();
        let old = self.place.swap(self.make(), Ordering::AcqRel);
        self.retire(&guard, old);
        drop(guard);
        self.collect();
    }

    /// One opportunity to advance the epoch: retires an object that no other thread has seen, and
    /// collects.
    fn turn(&self) {
        let guard = self.pin();
        self.retire(&guard, self.make());
        drop(guard);
        self.collect();
    }

    fn finish(&self) {
        unsafe { self.scheme.drain() };
        assert_eq!(self.reclaimed.load(Relaxed) + 1, self.made.load(Relaxed));
    }
}

fn explore<R: Reclaim>(preemptions: usize, model: impl Fn(Arc<World<R>>) + Send + Sync + 'static) {
    loom_tests::explore(preemptions, move || model(World::new()));
}

/// A reader beside a writer that replaces the object and gives the scheme every opportunity to
/// reclaim.
fn reader_beside_writer<R: Reclaim>(preemptions: usize, turns: usize) {
    explore(preemptions, move |world: Arc<World<R>>| {
        let reader = {
            let world = world.clone();
            loom_tests::loom::thread::spawn(move || world.read())
        };
        world.replace();
        (0..turns).for_each(|_| world.turn());
        reader.join().unwrap();
        world.finish();
    });
}

/// As above, but the reader goes on reading without a guard. That the model detects this shows that
/// the object is reclaimed while both threads run.
fn reads_too_long<R: Reclaim>() {
    explore(2, |world: Arc<World<R>>| {
        let reader = {
            let world = world.clone();
            loom_tests::loom::thread::spawn(move || {
                let guard = world.pin();
                let object = world.place.load(Ordering::Acquire);
                drop(guard);
                world.look(object);
            })
        };
        world.replace();
        (0..3).for_each(|_| world.turn());
        reader.join().unwrap();
        world.finish();
    });
}

/// The inner guard protects after the outer guard was dropped, and the outer guard after the inner
/// one was dropped.
fn nested_guards() {
    explore(2, |world: Arc<World>| {
        let reader = {
            let world = world.clone();
            loom_tests::loom::thread::spawn(move || {
                let first = world.pin();
                let object = world.place.load(Ordering::Acquire);
                let second = world.pin();
                drop(first);
                world.look(object);
                world.read();
                world.look(object);
                drop(second);
            })
        };
        world.replace();
        (0..3).for_each(|_| world.turn());
        reader.join().unwrap();
        world.finish();
    });
}

/// The other thread advances the epoch `turns` times before it reads `reads` times. Meanwhile the
/// writer may stop anywhere: between reading the epoch and announcing it, or while it retires.
fn late_writer(preemptions: usize, turns: usize, reads: usize) {
    explore(preemptions, move |world: Arc<World>| {
        let reader = {
            let world = world.clone();
            loom_tests::loom::thread::spawn(move || {
                (0..turns).for_each(|_| world.turn());
                (0..reads).for_each(|_| world.read());
            })
        };
        world.replace();
        (0..2).for_each(|_| world.turn());
        reader.join().unwrap();
        world.finish();
    });
}

/// A third thread advances the epoch, so the writer reclaims because of an advance by another
/// thread.
fn advanced_by_a_third() {
    explore(1, |world: Arc<World>| {
        let reader = {
            let world = world.clone();
            loom_tests::loom::thread::spawn(move || world.read())
        };
        let third = {
            let world = world.clone();
            loom_tests::loom::thread::spawn(move || world.turn())
        };
        world.replace();
        (0..2).for_each(|_| world.turn());
        reader.join().unwrap();
        third.join().unwrap();
        world.finish();
    });
}

/// When no thread is pinned, everything is reclaimed without `drain`, including objects that a
/// reclaim function retired.
#[test]
fn garbage_is_reclaimed_in_passing() {
    explore(2, |world: Arc<World>| {
        let other = {
            let world = world.clone();
            loom_tests::loom::thread::spawn(move || world.read())
        };
        world.replace();
        other.join().unwrap();
        // The first attempt may have failed because of the reader.
        (0..4).for_each(|_| world.turn());
        assert!(world.reclaimed.load(Relaxed) >= 1);
        world.finish();
    });
}

#[test]
fn a_reader_never_meets_a_reclaimed_object() {
    reader_beside_writer::<Asymmetric>(4, 3);
}

#[test]
fn a_nested_guard_protects() {
    nested_guards();
}

#[test]
fn a_writer_that_announces_late_stamps_rightly() {
    late_writer(2, 3, 1);
}

#[test]
fn a_writer_beside_an_advance_stamps_rightly() {
    late_writer(3, 1, 2);
}

#[test]
fn an_advance_by_another_thread_passes_on_its_view() {
    advanced_by_a_third();
}

/// loom's message when an object is reclaimed and a read of it does not happen before that.
const TOO_EARLY: &str = "Concurrent read and write accesses";

#[test]
fn defect_no_light_barrier() {
    must_fail("reclaim.no_light_barrier", TOO_EARLY, || reader_beside_writer::<Asymmetric>(3, 3));
}

#[test]
fn defect_leaving_without_release() {
    must_fail("reclaim.leave_relaxed", TOO_EARLY, || reader_beside_writer::<Asymmetric>(3, 3));
}

#[test]
fn defect_reclaimed_two_epochs_early() {
    must_fail("reclaim.grace_one", TOO_EARLY, || reader_beside_writer::<Asymmetric>(3, 3));
}

#[test]
fn defect_reclaimed_one_epoch_early() {
    must_fail("reclaim.grace_two", TOO_EARLY, || late_writer(2, 1, 1));
}

#[test]
fn defect_stamped_with_the_announced_epoch() {
    must_fail("reclaim.stamp_announced", TOO_EARLY, || late_writer(2, 3, 1));
}

#[test]
fn defect_an_inner_guard_leaves() {
    must_fail("reclaim.inner_guard_leaves", TOO_EARLY, nested_guards);
}

#[test]
fn defect_scan_without_acquire() {
    must_fail("reclaim.scan_relaxed", TOO_EARLY, || late_writer(3, 1, 2));
}

#[test]
fn defect_announce_without_release() {
    must_fail("reclaim.announce_relaxed", TOO_EARLY, || late_writer(3, 1, 2));
}

#[test]
fn misuse_a_read_after_the_guard() {
    must_fail(NONE, TOO_EARLY, reads_too_long::<Asymmetric>);
}

/// Run by `ci/loom.sh crossbeam`.
#[cfg(crossbeam_loom)]
mod crossbeam {
    use super::*;
    use coeval::internals::reclaim::CrossbeamEpoch;

    #[test]
    fn a_reader_never_meets_a_reclaimed_object() {
        reader_beside_writer::<CrossbeamEpoch>(2, 3);
    }

    #[test]
    fn misuse_a_read_after_the_guard() {
        must_fail(NONE, TOO_EARLY, reads_too_long::<CrossbeamEpoch>);
    }
}
