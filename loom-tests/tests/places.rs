//! Claim: a thread that goes over the values of all threads misses no thread that has a place,
//! although it skips the places of threads that have ended, and others take those places.
//!
//! A thread that takes a place and a thread that goes over all places meet as in Dekker's
//! algorithm, like a thread that pins and a thread that advances the epoch. At the same time, the
//! place of a thread that has ended is emptied.
#![cfg(any(coeval_loom, coeval_internals))]

use coeval::internals::hook::step;
use coeval::internals::per_thread::PerThread;
use loom_tests::loom::sync::atomic::{AtomicU64, Ordering, fence};
use loom_tests::loom::thread;
use loom_tests::{explore, must_fail, run_to_its_end, with_ends};
use std::sync::Arc;

#[derive(Default)]
struct Word(AtomicU64);

struct Scene {
    values: PerThread<Word>,
    flag: AtomicU64,
}

impl Scene {
    /// Announces itself, as a thread that pins does.
    fn announces(&self) -> bool {
        self.values.get().0.store(7, Ordering::Release);
        fence(Ordering::SeqCst); // Pairs with the fence in `scans`.
        self.flag.load(Ordering::Relaxed) != 0
    }

    /// Goes over all values, as a thread that advances the epoch does. Returns whether a thread had
    /// announced itself.
    fn scans(&self) -> bool {
        self.flag.store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst); // Pairs with the fence in `announces`.
        // SAFETY: only atomics are touched.
        unsafe { self.values.iter() }.any(|word| word.0.load(Ordering::Acquire) == 7)
    }

    /// Gives up the places of threads that have ended.
    fn vacates(&self) {
        self.values.vacate(|word| word.0.load(Ordering::Relaxed) == 0);
    }
}

/// One thread takes a place while another gives up the places of threads that have ended, and goes
/// over all places.
fn taking_while_one_vacates() {
    explore(3, || {
        let scene = Arc::new(Scene { values: PerThread::new(), flag: AtomicU64::new(0) });
        let of = |body: fn(&Scene) -> bool| {
            let scene = scene.clone();
            thread::spawn(move || body(&scene))
        };
        let first = scene.clone();
        run_to_its_end(move || _ = first.values.get());
        let taker = of(Scene::announces);
        let other = of(|scene| {
            scene.vacates();
            scene.scans()
        });
        let (sees_the_other, is_seen) = (taker.join().unwrap(), other.join().unwrap());
        assert!(sees_the_other || is_seen, "a thread was missed");
    });
}

/// The count of a thread that has ended is moved while another thread sums.
fn summing_while_one_moves() {
    explore(3, || {
        let scene = Arc::new(Scene { values: PerThread::new(), flag: AtomicU64::new(0) });
        let of = |body: fn(&Scene) -> u64| {
            let scene = scene.clone();
            thread::spawn(move || body(&scene))
        };
        let first = scene.clone();
        run_to_its_end(move || first.values.get().0.store(3, Ordering::Relaxed));
        let mover = of(|scene| {
            scene.values.vacate(|word| {
                let count = word.0.swap(0, Ordering::Relaxed);
                step("model.moving");
                scene.flag.fetch_add(count, Ordering::Relaxed);
                true
            });
            0
        });
        let sum = of(|scene| {
            let sum = scene.values.try_read_stable(|| {
                // SAFETY: only atomics are touched.
                let words = unsafe { scene.values.iter() };
                let left: u64 = words.map(|word| word.0.load(Ordering::Relaxed)).sum();
                left + scene.flag.load(Ordering::Relaxed)
            });
            sum.unwrap_or(3)
        });
        assert_eq!(sum.join().unwrap(), 3, "a sum during the move is wrong");
        mover.join().unwrap();
    });
}

#[test]
fn no_thread_is_missed() {
    with_ends(taking_while_one_vacates);
}

#[test]
fn sums_are_whole() {
    with_ends(summing_while_one_moves);
}

#[test]
fn defect_taking_a_place_silently() {
    with_ends(|| {
        must_fail("per_thread.taken_silently", "a thread was missed", taking_while_one_vacates);
    });
}

#[test]
fn defect_beginning_to_move_silently() {
    with_ends(|| {
        must_fail(
            "per_thread.moves_silently",
            "a sum during the move is wrong",
            summing_while_one_moves,
        );
    });
}
