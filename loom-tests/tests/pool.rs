//! Claim: no slot of a pool is in two hands, although the headers of the shared stack are reused at
//! once, as long as slots come back only after a grace period.
//!
//! Thread P pops once, under a guard, and may be stopped at any step. Thread Q pops, gives back the
//! slots that were retired before P's guard began, and pops again. It gives back the slots that it
//! retired itself only if it does not find P in its guard. In the models' build the tag of the
//! stack's top has two bits and a batch has one slot, so the tag wraps after four pops. The models
//! therefore also test the argument in `pool/batch.rs` that a guard does not last for so many pops.
//!
//! The claim also covers slots that are taken at home, by one bit each. A thread that takes such a
//! slot sees all earlier accesses to it.
//!
//! A number leads each thread that was told it to its slot.
#![cfg(any(coeval_loom, coeval_internals))]

use coeval::internals::{Pool, PoolOf, Pooled, Shape};
use loom_tests::loom::cell::UnsafeCell;
use loom_tests::loom::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
use loom_tests::loom::thread;
use loom_tests::{NONE, explore, must_fail};
use std::alloc::Layout;
use std::collections::HashSet;
use std::num::NonZeroU32;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex};

/// The pool, the holder of each slot, and P's guard.
struct Scene {
    pool: Pool,
    in_hands: Mutex<HashSet<usize>>,
    guarded: AtomicBool,
}

impl Scene {
    fn take(&self) -> NonNull<u8> {
        // SAFETY: P is the only thread that others do not wait for, and it has set `guarded`.
        let slot = unsafe { self.pool.take() };
        let is_new = self.in_hands.lock().unwrap().insert(slot.as_ptr().addr());
        assert!(is_new, "a slot is in two hands");
        slot
    }

    fn give(&self, slot: NonNull<u8>) {
        assert!(self.in_hands.lock().unwrap().remove(&slot.as_ptr().addr()));
        // SAFETY: a grace period has passed, unless the model is to fail.
        unsafe { self.pool.give(slot) };
    }

    fn p_takes(&self) {
        self.guarded.store(true, Ordering::Relaxed);
        // Pairs with the fence in `p_is_guarded`: Q sees the guard, or P sees what Q popped.
        fence(Ordering::SeqCst);
        self.take();
        self.guarded.store(false, Ordering::Release); // Pairs with the load in `p_is_guarded`.
    }

    fn p_is_guarded(&self) -> bool {
        fence(Ordering::SeqCst); // Pairs with the fence in `p_takes`.
        self.guarded.load(Ordering::Acquire)
    }
}

fn two_threads(q: fn(&Scene, NonNull<u8>)) {
    explore(3, move || {
        let scene = Arc::new(Scene {
            pool: Pool::new(Shape::plain(Layout::new::<[u64; 3]>())),
            in_hands: Mutex::default(),
            guarded: AtomicBool::new(false),
        });
        let [a, b, retired] = std::array::from_fn(|_| scene.take());
        scene.give(a);
        scene.give(b);
        let p = thread::spawn({
            let scene = scene.clone();
            move || scene.p_takes()
        });
        q(&scene, retired);
        p.join().unwrap();
        // All slots that are on the stack now are free.
        for _ in 0..4 {
            scene.take();
        }
    });
}

/// Q: pops all slots, gives back those that were retired long ago, pops them again, and then
/// retires all.
fn q_waits_for_grace(scene: &Scene, retired: NonNull<u8>) {
    let [x, y] = [scene.take(), scene.take()];
    scene.give(retired);
    let z = scene.take();
    for slot in [x, y, z] {
        if !scene.p_is_guarded() {
            scene.give(slot);
        }
    }
}

/// Q gives its slots straight back, as if P had no guard.
fn q_does_not_wait(scene: &Scene, retired: NonNull<u8>) {
    let [x, y] = [scene.take(), scene.take()];
    scene.give(retired);
    for slot in [x, y] {
        scene.take();
        scene.give(slot);
    }
}

/// Two threads begin with an empty pool and use up its first chunks.
fn two_threads_with_an_empty_pool() {
    explore(3, || {
        let pool = Arc::new(Pool::new(Shape::plain(Layout::new::<[u64; 8]>())));
        let in_hands = Arc::new(Mutex::new(HashSet::new()));
        let take_three = {
            let (pool, in_hands) = (pool.clone(), in_hands.clone());
            move || {
                for _ in 0..3 {
                    // SAFETY: nothing is ever given back.
                    let slot = unsafe { pool.take() }.as_ptr().addr();
                    assert!(in_hands.lock().unwrap().insert(slot), "a slot is in two hands");
                }
            }
        };
        let other = thread::spawn(take_three.clone());
        take_three();
        other.join().unwrap();
    });
}

struct Wide {
    _words: [u64; 8],
}

impl Pooled for Wide {
    const SHAPE: Shape = Shape::plain(Layout::new::<Self>());
}

/// Two threads take slots of an empty pool. Each tells the number of its slot, and looks for the
/// one that it was told.
fn two_tell_numbers() {
    explore(2, || {
        let pool = Arc::new(PoolOf::<Wide>::with_homes(0));
        let told = Arc::new(AtomicU32::new(0));
        let addresses = Arc::new(Mutex::new(HashSet::new()));
        let tell = {
            let (pool, addresses) = (pool.clone(), addresses.clone());
            move || {
                // SAFETY: nothing is ever given back.
                let slot = unsafe { pool.take() };
                addresses.lock().unwrap().insert(slot.as_ptr().addr());
                let number = pool.number(slot.cast());
                // Release and Acquire: as a bucket tells a number.
                let other = NonZeroU32::new(told.swap(number.get(), Ordering::AcqRel));
                if let Some(other) = other {
                    let address = pool.slot(other).addr();
                    assert!(addresses.lock().unwrap().contains(&address), "no slot");
                }
            }
        };
        let other = thread::spawn(tell.clone());
        tell();
        other.join().unwrap();
    });
}

/// A block of two homes, and its contents.
struct AtHome {
    pool: Pool,
    in_hands: Mutex<HashSet<usize>>,
    contents: [UnsafeCell<()>; 2],
}

// SAFETY: loom watches the contents; finding races on them is the purpose of the model.
unsafe impl Sync for AtHome {}

impl AtHome {
    /// Takes a slot at home, uses it, and gives it back, unless both are taken.
    fn visit(&self) {
        const SIZE: usize = 24;
        // SAFETY: no slot is given back that came from elsewhere.
        let slot = unsafe { self.pool.take_at(0) };
        let address = slot.as_ptr().addr();
        let is_new = self.in_hands.lock().unwrap().insert(address);
        assert!(is_new, "a slot is in two hands");
        let shape = Shape::plain(Layout::new::<[u8; SIZE]>());
        let number = address - self.pool.home(&shape, 0).unwrap().addr();
        if let Some(content) = self.contents.get(number / SIZE) {
            content.with_mut(|_| ());
            assert!(self.in_hands.lock().unwrap().remove(&address));
            // SAFETY: no thread has access to the slot.
            unsafe { self.pool.give(slot) };
        }
    }
}

fn three_visits_at_home() {
    explore(3, || {
        let shape = Shape::plain(Layout::new::<[u64; 3]>());
        let scene = Arc::new(AtHome {
            pool: Pool::with_homes(shape, 1),
            in_hands: Mutex::default(),
            contents: Default::default(),
        });
        let others = [(); 2].map(|()| {
            let scene = scene.clone();
            thread::spawn(move || scene.visit())
        });
        scene.visit();
        for other in others {
            other.join().unwrap();
        }
    });
}

#[test]
fn no_slot_is_in_two_hands() {
    two_threads(q_waits_for_grace);
}

#[test]
fn no_slot_at_home_is_in_two_hands() {
    three_visits_at_home();
}

#[test]
fn new_slots_are_not_in_two_hands() {
    two_threads_with_an_empty_pool();
}

#[test]
fn numbers_lead_to_their_slots() {
    two_tell_numbers();
}

const TWO_HANDS: &str = "a slot is in two hands";

#[test]
fn defect_cutting_spans_in_two_steps() {
    must_fail("pool.cut_in_two_steps", TWO_HANDS, two_threads_with_an_empty_pool);
}

#[test]
fn defect_a_number_that_teaches_nobody() {
    // A thread learns where a chunk is, and keeps it to itself.
    must_fail("pool.number_untaught", "no slot", two_tell_numbers);
}

#[test]
fn defect_taking_at_home_in_two_steps() {
    // Both threads use the slot, and loom reports that first.
    must_fail("pool.home_in_two_steps", "Causality violation", three_visits_at_home);
}

#[test]
fn defect_giving_home_relaxed() {
    must_fail("pool.home_given_relaxed", "Causality violation", three_visits_at_home);
}

#[test]
fn defect_the_tag_stands_still() {
    must_fail("pool.tag_stands_still", TWO_HANDS, || two_threads(q_waits_for_grace));
}

#[test]
fn defect_the_push_is_relaxed() {
    // The thread that popped a batch did not see that the batch was filled.
    must_fail("pool.push_relaxed", "a batch has slots", || two_threads(q_waits_for_grace));
}

#[test]
fn misuse_no_grace_period() {
    must_fail(NONE, TWO_HANDS, || two_threads(q_does_not_wait));
}
