//! One test suite for all backends. Each test is a function generic over the scheme, and `suite!`
//! instantiates all of them for a list of schemes.

use super::{Asymmetric, Garbage, Reclaim};
use crate::sync::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::ptr;
use std::sync::{Arc, Barrier};

/// [`Asymmetric`] as on a system without asymmetric barriers.
struct Fences(Asymmetric);

// SAFETY: every method delegates to a scheme that fulfils the contract.
unsafe impl Reclaim for Fences {
    type Guard<'a> = <Asymmetric as Reclaim>::Guard<'a>;

    fn new() -> Self {
        Self(Asymmetric::with_fences())
    }
    fn pin(&self) -> Self::Guard<'_> {
        self.0.pin()
    }
    unsafe fn retire(&self, guard: &Self::Guard<'_>, garbage: Garbage) {
        // SAFETY: the caller's contract is the callee's.
        unsafe { self.0.retire(guard, garbage) }
    }
    fn collect(&self) {
        self.0.collect();
    }
    unsafe fn drain(&self) {
        // SAFETY: as above.
        unsafe { self.0.drain() }
    }
    fn retired(&self) -> usize {
        self.0.retired()
    }
}

const ALIVE: u64 = 0xA11F_E000_0000_0001;
const DEAD: u64 = 0xDEAD_0000_0000_0000;

/// A scheme and counts of what happened in it. Shared by `Arc`, since retired objects point to it.
struct TrackedScheme<R> {
    scheme: R,
    made: AtomicUsize,
    reclaimed: AtomicUsize,
    /// The number of objects that were dead when they were reclaimed or inspected.
    wrong: AtomicUsize,
    /// Whether reclaimed objects are freed. If not, they stay in `graveyard` until the end, so that
    /// a reader that is too late finds a dead object and not whatever reuses the memory.
    free: bool,
    graveyard: AtomicPtr<TrackedObject>,
}

struct TrackedObject {
    state: AtomicU64,
    /// The number of objects that its reclamation retires.
    children: usize,
    next: AtomicPtr<TrackedObject>,
}

impl<R: Reclaim> TrackedScheme<R> {
    fn new(free: bool) -> Arc<Self> {
        Arc::new(Self {
            scheme: R::new(),
            made: AtomicUsize::new(0),
            reclaimed: AtomicUsize::new(0),
            wrong: AtomicUsize::new(0),
            free,
            graveyard: AtomicPtr::new(ptr::null_mut()),
        })
    }

    fn make(&self, children: usize) -> *mut TrackedObject {
        self.made.fetch_add(1, Ordering::Relaxed);
        let next = AtomicPtr::new(ptr::null_mut());
        Box::into_raw(Box::new(TrackedObject { state: AtomicU64::new(ALIVE), children, next }))
    }

    /// # Safety
    /// As for [`Reclaim::retire`]; `object` comes from `make`.
    unsafe fn retire(&self, guard: &R::Guard<'_>, object: *mut TrackedObject) {
        let context = ptr::from_ref(self).cast();
        let garbage = Garbage { object: object.cast(), context, reclaim: reclaim::<R> };
        // SAFETY: the caller's promise; `self` outlives its scheme.
        unsafe { self.scheme.retire(guard, garbage) };
    }

    /// Makes and retires an object with `children`, then lets the scheme collect.
    fn churn(&self, children: usize) {
        let guard = self.scheme.pin();
        // SAFETY: no other thread has seen the object.
        unsafe { self.retire(&guard, self.make(children)) };
        drop(guard);
        self.scheme.collect();
    }

    /// # Safety
    /// A live guard protects the object.
    unsafe fn look(&self, object: *mut TrackedObject) {
        // SAFETY: the caller's promise.
        if unsafe { &*object }.state.load(Ordering::Relaxed) != ALIVE {
            self.wrong.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn count(&self) -> usize {
        self.reclaimed.load(Ordering::Relaxed)
    }

    /// Drains the scheme, and checks that every object was reclaimed exactly once.
    fn finish(&self) {
        // SAFETY: the tests call this after their threads have ended and their guards are dropped.
        unsafe { self.scheme.drain() };
        assert_eq!(self.wrong.load(Ordering::Relaxed), 0, "a thread found a dead object");
        assert_eq!(self.count(), self.made.load(Ordering::Relaxed));
        assert_eq!(self.scheme.retired(), 0);
        let mut next = self.graveyard.swap(ptr::null_mut(), Ordering::Acquire);
        while !next.is_null() {
            // SAFETY: `reclaim` left it here, and no thread uses it any more.
            next = unsafe { Box::from_raw(next) }.next.load(Ordering::Relaxed);
        }
    }
}

/// # Safety
/// Only a scheme calls it, once per object.
unsafe fn reclaim<R: Reclaim>(object: *mut (), context: *const ()) {
    let object = object.cast::<TrackedObject>();
    // SAFETY: `TrackedScheme::retire` passed these pointers.
    let (tracked, this) = unsafe { (&*context.cast::<TrackedScheme<R>>(), &*object) };
    if this.state.swap(DEAD, Ordering::Relaxed) != ALIVE {
        tracked.wrong.fetch_add(1, Ordering::Relaxed);
        return;
    }
    for _ in 0..this.children {
        tracked.churn(this.children - 1);
    }
    tracked.reclaimed.fetch_add(1, Ordering::Relaxed);
    if tracked.free {
        // SAFETY: the scheme guarantees that no thread uses the object any more.
        drop(unsafe { Box::from_raw(object) });
        return;
    }
    let mut top = tracked.graveyard.load(Ordering::Relaxed);
    loop {
        this.next.store(top, Ordering::Relaxed);
        // Release: pairs with the swap in `finish`.
        match tracked.graveyard.compare_exchange(top, object, Ordering::Release, Ordering::Relaxed)
        {
            Ok(_) => break,
            Err(now) => top = now,
        }
    }
}

const MANY: usize = 20_000;

/// The factor by which a stress test runs longer, from the environment variable `COEVAL_STRESS`:
/// `short` (the default), `normal` or `long`.
fn times() -> usize {
    match std::env::var("COEVAL_STRESS").as_deref() {
        Ok("long") => 100,
        Ok("normal") => 10,
        _ => 1,
    }
}

fn drains_each_object_once<R: Reclaim>() {
    let tracked = TrackedScheme::<R>::new(true);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..MANY / 4 + 7).for_each(|_| tracked.churn(0)));
        }
    });
    assert!(tracked.count() + tracked.scheme.retired() == tracked.made.load(Ordering::Relaxed));
    tracked.finish();
    tracked.churn(0); // A drained scheme remains usable.
    tracked.finish();
}

fn own_guard_keeps_objects<R: Reclaim>() {
    let tracked = TrackedScheme::<R>::new(true);
    let guard = tracked.scheme.pin();
    for _ in 0..MANY {
        tracked.churn(0);
    }
    assert_eq!(tracked.count(), 0);
    assert_eq!(tracked.scheme.retired(), MANY);
    drop(guard);
    tracked.finish();
}

/// A guard on one thread, however nested, keeps all objects and blocks no other thread. After it is
/// dropped, the objects are reclaimed.
fn guard_of_another_thread_keeps_objects<R: Reclaim>() {
    let tracked = TrackedScheme::<R>::new(true);
    let (pinned, checked) = (Barrier::new(2), Barrier::new(2));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let outer = tracked.scheme.pin();
            let inner = tracked.scheme.pin();
            drop(outer);
            let third = tracked.scheme.pin();
            drop(third);
            pinned.wait();
            checked.wait();
            drop(inner);
            pinned.wait();
        });
        pinned.wait();
        for _ in 0..MANY {
            tracked.churn(0);
        }
        assert_eq!(tracked.count(), 0);
        checked.wait();
        pinned.wait();
        for _ in 0..MANY {
            tracked.churn(0);
        }
        assert!(tracked.count() >= MANY, "{}", tracked.count());
    });
    tracked.finish();
}

/// A reclaim function pins, retires and collects.
fn reclaim_functions_may_retire<R: Reclaim>() {
    let tracked = TrackedScheme::<R>::new(true);
    for _ in 0..MANY / 50 {
        tracked.churn(4); // 1 + 4 + 4·3 + 4·3·2 + 4·3·2 = 65 objects.
    }
    tracked.finish();
    assert_eq!(tracked.count(), MANY / 50 * 65);
    tracked.churn(6); // `drain` reclaims all of these.
    tracked.finish();
}

/// First all threads retire objects at the same time: a thread that is descheduled while pinned may
/// keep everything. Then the threads take turns, and nothing is kept.
fn reclaimed_without_drain<R: Reclaim>() {
    let tracked = TrackedScheme::<R>::new(true);
    for threads in [1, 3] {
        let next = Barrier::new(threads);
        std::thread::scope(|scope| {
            for me in 0..threads {
                let (tracked, next) = (&tracked, &next);
                scope.spawn(move || {
                    let churn = || (0..2 * MANY).for_each(|_| tracked.churn(0));
                    churn();
                    for turn in 0..threads {
                        next.wait();
                        if turn == me {
                            churn();
                        }
                    }
                });
            }
        });
        let (made, left) = (tracked.made.load(Ordering::Relaxed), tracked.scheme.retired());
        assert!(left < made / 2, "{left} of {made}");
    }
    tracked.finish();
}

/// Threads replace the objects in a few shared cells and inspect the objects that they find there.
fn stress<R: Reclaim>(free: bool) {
    let tracked = TrackedScheme::<R>::new(free);
    let cells: [AtomicPtr<TrackedObject>; 4] =
        std::array::from_fn(|_| AtomicPtr::new(tracked.make(0)));
    std::thread::scope(|scope| {
        for seed in 1..=4_u64 {
            let (tracked, cells) = (&tracked, &cells);
            scope.spawn(move || {
                let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
                for _ in 0..MANY * times() {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    let cell = &cells[(random % 4) as usize];
                    let guard = tracked.scheme.pin();
                    let found = cell.load(Ordering::Acquire);
                    if random & 0x300 == 0 {
                        std::thread::yield_now();
                    }
                    // SAFETY: loaded under the guard.
                    unsafe { tracked.look(found) };
                    if random & 0x30 == 0 {
                        let _nested = tracked.scheme.pin();
                        let old = cell.swap(tracked.make(0), Ordering::AcqRel);
                        // SAFETY: the swap unlinked it, and only this thread received it.
                        unsafe { tracked.retire(&guard, old) };
                    }
                    // SAFETY: as above.
                    unsafe { tracked.look(found) };
                    drop(guard);
                    tracked.scheme.collect();
                }
            });
        }
    });
    let guard = tracked.scheme.pin();
    for cell in &cells {
        let old = cell.swap(ptr::null_mut(), Ordering::Acquire);
        // SAFETY: as above.
        unsafe { tracked.retire(&guard, old) };
    }
    drop(guard);
    tracked.finish();
}

macro_rules! suite {
    ($($(#[$when:meta])* $name:ident: $scheme:ty;)*) => {$(
        $(#[$when])*
        mod $name {
            #[test]
            fn drains_each_object_once() {
                super::drains_each_object_once::<$scheme>();
            }
            #[test]
            fn own_guard_keeps_objects() {
                super::own_guard_keeps_objects::<$scheme>();
            }
            #[test]
            fn guard_of_another_thread_keeps_objects() {
                super::guard_of_another_thread_keeps_objects::<$scheme>();
            }
            #[test]
            fn reclaim_functions_may_retire() {
                super::reclaim_functions_may_retire::<$scheme>();
            }
            #[test]
            fn reclaimed_without_drain() {
                super::reclaimed_without_drain::<$scheme>();
            }
            #[test]
            fn stress_with_dead_objects_kept() {
                super::stress::<$scheme>(false);
            }
            #[test]
            fn stress_with_dead_objects_freed() {
                super::stress::<$scheme>(true);
            }
        }
    )*};
}

suite! {
    asymmetric: super::Asymmetric;
    fences: super::Fences;
    #[cfg(feature = "crossbeam-epoch")]
    crossbeam_epoch: super::super::CrossbeamEpoch;
    #[cfg(feature = "seize")]
    seize: super::super::Seize;
}

#[test]
fn the_system_offers_asymmetric_barriers() {
    // This is no promise of the library. It shows that the tests here covered both kinds.
    if cfg!(all(target_os = "linux", not(miri))) {
        assert!(Asymmetric::new().is_asymmetric());
    }
    assert!(!Asymmetric::with_fences().is_asymmetric());
}

#[test]
fn a_thread_may_hold_a_limited_number_of_guards() {
    let scheme = Asymmetric::new();
    let most = (1 << 20) - 1;
    let mut guards: Vec<_> = (0..most).map(|_| scheme.pin()).collect();
    let one_more = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(scheme.pin())));
    assert!(one_more.is_err());
    guards.pop();
    drop(scheme.pin());
    assert_eq!(guards.len(), most - 1);
}
