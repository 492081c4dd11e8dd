//! One suite for all backends: each test is a function generic in the scheme, and `suite!` runs all
//! of them for a list of schemes.

use super::{Asymmetric, Garbage, Reclaim};
use crate::sync::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::ptr;
use std::sync::{Arc, Barrier};

/// [`Asymmetric`] where the system offers no asymmetric barrier.
struct Fences(Asymmetric);

// SAFETY: it only delegates.
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

/// A scheme and what happened in it. On the heap, since objects point to it.
struct World<R> {
    scheme: R,
    made: AtomicUsize,
    reclaimed: AtomicUsize,
    /// Objects that were not alive when they were reclaimed or looked at.
    wrong: AtomicUsize,
    /// Whether reclaimed objects are freed. If not they are laid in `grave` until the end, so that a
    /// late reader finds them dead instead of finding whatever the allocator put there.
    free: bool,
    grave: AtomicPtr<Object>,
}

struct Object {
    state: AtomicU64,
    /// How many objects its reclaiming retires in turn.
    children: usize,
    below: AtomicPtr<Object>,
}

impl<R: Reclaim> World<R> {
    fn new(free: bool) -> Arc<Self> {
        Arc::new(Self {
            scheme: R::new(),
            made: AtomicUsize::new(0),
            reclaimed: AtomicUsize::new(0),
            wrong: AtomicUsize::new(0),
            free,
            grave: AtomicPtr::new(ptr::null_mut()),
        })
    }

    fn make(&self, children: usize) -> *mut Object {
        self.made.fetch_add(1, Ordering::Relaxed);
        let below = AtomicPtr::new(ptr::null_mut());
        Box::into_raw(Box::new(Object { state: AtomicU64::new(ALIVE), children, below }))
    }

    /// SAFETY (to call): as [`Reclaim::retire`]; `object` comes from `make`.
    unsafe fn retire(&self, guard: &R::Guard<'_>, object: *mut Object) {
        let context = ptr::from_ref(self).cast();
        let garbage = Garbage { object: object.cast(), context, reclaim: reclaim::<R> };
        // SAFETY: the caller's; the world outlives its scheme.
        unsafe { self.scheme.retire(guard, garbage) };
    }

    /// Makes and retires an object with `children`, then gives the scheme its opportunity.
    fn churn(&self, children: usize) {
        let guard = self.scheme.pin();
        // SAFETY: nobody else ever saw the object.
        unsafe { self.retire(&guard, self.make(children)) };
        drop(guard);
        self.scheme.collect();
    }

    /// SAFETY (to call): the object is protected by a live guard.
    unsafe fn look(&self, object: *mut Object) {
        // SAFETY: the caller's.
        if unsafe { &*object }.state.load(Ordering::Relaxed) != ALIVE {
            self.wrong.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn count(&self) -> usize {
        self.reclaimed.load(Ordering::Relaxed)
    }

    /// Drains; everything must have been reclaimed exactly once.
    fn finish(&self) {
        // SAFETY: the tests call this when their threads have ended and their guards are dropped.
        unsafe { self.scheme.drain() };
        assert_eq!(self.wrong.load(Ordering::Relaxed), 0, "a dead object was met");
        assert_eq!(self.count(), self.made.load(Ordering::Relaxed));
        assert_eq!(self.scheme.retired(), 0);
        let mut next = self.grave.swap(ptr::null_mut(), Ordering::Acquire);
        while !next.is_null() {
            // SAFETY: `reclaim` left it here and nobody has it any more.
            next = unsafe { Box::from_raw(next) }.below.load(Ordering::Relaxed);
        }
    }
}

/// SAFETY (to call): by a scheme, once per object.
unsafe fn reclaim<R: Reclaim>(object: *mut (), context: *const ()) {
    let object = object.cast::<Object>();
    // SAFETY: `World::retire` passed these.
    let (world, this) = unsafe { (&*context.cast::<World<R>>(), &*object) };
    if this.state.swap(DEAD, Ordering::Relaxed) != ALIVE {
        world.wrong.fetch_add(1, Ordering::Relaxed);
        return;
    }
    for _ in 0..this.children {
        world.churn(this.children - 1);
    }
    world.reclaimed.fetch_add(1, Ordering::Relaxed);
    if world.free {
        // SAFETY: the scheme says that nobody has it any more.
        drop(unsafe { Box::from_raw(object) });
        return;
    }
    let mut top = world.grave.load(Ordering::Relaxed);
    loop {
        this.below.store(top, Ordering::Relaxed);
        // Release: pairs with the swap in `finish`.
        match world.grave.compare_exchange(top, object, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => break,
            Err(now) => top = now,
        }
    }
}

const MANY: usize = 20_000;

/// How many times as much as by default a stress test does, by the environment variable
/// `COEVAL_STRESS`: `short` (the default), `normal` or `long`.
fn times() -> usize {
    match std::env::var("COEVAL_STRESS").as_deref() {
        Ok("long") => 100,
        Ok("normal") => 10,
        _ => 1,
    }
}

fn drained_exactly_once<R: Reclaim>() {
    let world = World::<R>::new(true);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..MANY / 4 + 7).for_each(|_| world.churn(0)));
        }
    });
    assert!(world.count() + world.scheme.retired() == world.made.load(Ordering::Relaxed));
    world.finish();
    world.churn(0); // A drained scheme goes on working.
    world.finish();
}

fn kept_under_own_guard<R: Reclaim>() {
    let world = World::<R>::new(true);
    let guard = world.scheme.pin();
    for _ in 0..MANY {
        world.churn(0);
    }
    assert_eq!(world.count(), 0);
    assert_eq!(world.scheme.retired(), MANY);
    drop(guard);
    world.finish();
}

/// A guard on one thread keeps everything and hinders nobody, however it is nested; once it is gone,
/// what it kept is given back.
fn kept_under_the_guard_of_another<R: Reclaim>() {
    let world = World::<R>::new(true);
    let (pinned, checked) = (Barrier::new(2), Barrier::new(2));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let outer = world.scheme.pin();
            let inner = world.scheme.pin();
            drop(outer);
            let third = world.scheme.pin();
            drop(third);
            pinned.wait();
            checked.wait();
            drop(inner);
            pinned.wait();
        });
        pinned.wait();
        for _ in 0..MANY {
            world.churn(0);
        }
        assert_eq!(world.count(), 0);
        checked.wait();
        pinned.wait();
        for _ in 0..MANY {
            world.churn(0);
        }
        assert!(world.count() >= MANY, "{}", world.count());
    });
    world.finish();
}

/// A reclaim function pins, retires and collects.
fn reentrant<R: Reclaim>() {
    let world = World::<R>::new(true);
    for _ in 0..MANY / 50 {
        world.churn(4); // 1 + 4 + 4·3 + 4·3·2 + 4·3·2 = 65 objects.
    }
    world.finish();
    assert_eq!(world.count(), MANY / 50 * 65);
    world.churn(6); // All of it in `drain`.
    world.finish();
}

/// Threads retire together, when one that is descheduled while it is pinned may keep all that the others retire; then
/// each retires in its turn, when nobody keeps anything.
fn given_back_without_drain<R: Reclaim>() {
    let world = World::<R>::new(true);
    for threads in [1, 3] {
        let next = Barrier::new(threads);
        std::thread::scope(|scope| {
            for me in 0..threads {
                let (world, next) = (&world, &next);
                scope.spawn(move || {
                    let churn = || (0..2 * MANY).for_each(|_| world.churn(0));
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
        let (made, left) = (world.made.load(Ordering::Relaxed), world.scheme.retired());
        assert!(left < made / 2, "{left} of {made}");
    }
    world.finish();
}

/// Threads swap objects into a few shared places and look at what they find there.
fn stress<R: Reclaim>(free: bool) {
    let world = World::<R>::new(free);
    let places: [AtomicPtr<Object>; 4] = std::array::from_fn(|_| AtomicPtr::new(world.make(0)));
    std::thread::scope(|scope| {
        for seed in 1..=4_u64 {
            let (world, places) = (&world, &places);
            scope.spawn(move || {
                let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
                for _ in 0..2 * MANY * times() {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    let place = &places[(random % 4) as usize];
                    let guard = world.scheme.pin();
                    let found = place.load(Ordering::Acquire);
                    if random & 0x300 == 0 {
                        std::thread::yield_now();
                    }
                    // SAFETY: loaded under the guard.
                    unsafe { world.look(found) };
                    if random & 0x30 == 0 {
                        let _nested = world.scheme.pin();
                        let old = place.swap(world.make(0), Ordering::AcqRel);
                        // SAFETY: the swap unlinked it, and gave it to this thread only.
                        unsafe { world.retire(&guard, old) };
                    }
                    // SAFETY: as above.
                    unsafe { world.look(found) };
                    drop(guard);
                    world.scheme.collect();
                }
            });
        }
    });
    let guard = world.scheme.pin();
    for place in &places {
        let old = place.swap(ptr::null_mut(), Ordering::Acquire);
        // SAFETY: as above.
        unsafe { world.retire(&guard, old) };
    }
    drop(guard);
    world.finish();
}

macro_rules! suite {
    ($($(#[$when:meta])* $name:ident: $scheme:ty;)*) => {$(
        $(#[$when])*
        mod $name {
            #[test]
            fn drained_exactly_once() {
                super::drained_exactly_once::<$scheme>();
            }
            #[test]
            fn kept_under_own_guard() {
                super::kept_under_own_guard::<$scheme>();
            }
            #[test]
            fn kept_under_the_guard_of_another() {
                super::kept_under_the_guard_of_another::<$scheme>();
            }
            #[test]
            fn reentrant() {
                super::reentrant::<$scheme>();
            }
            #[test]
            fn given_back_without_drain() {
                super::given_back_without_drain::<$scheme>();
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
    // Not a promise of the library: it tells that the tests here covered both kinds.
    if cfg!(all(target_os = "linux", not(miri))) {
        assert!(Asymmetric::new().is_asymmetric());
    }
    assert!(!Asymmetric::with_fences().is_asymmetric());
}

#[test]
fn a_thread_may_hold_so_many_guards() {
    let scheme = Asymmetric::new();
    let most = (1 << 20) - 1;
    let mut guards: Vec<_> = (0..most).map(|_| scheme.pin()).collect();
    let one_more = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(scheme.pin())));
    assert!(one_more.is_err());
    guards.pop();
    drop(scheme.pin());
    assert_eq!(guards.len(), most - 1);
}
