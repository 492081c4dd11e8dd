//! Promise: a writer that a signal stops at any instruction holds up no other thread.
//!
//! `tests/stall.rs` stops threads at the named steps; this program stops them between the steps,
//! too. The outcome does not depend on time. A thread stays frozen until two others have each
//! completed operations; if they cannot, the test hangs.
#![cfg(target_os = "linux")]

mod common;

use coeval::reclaim::{Asymmetric, Reclaim};
use coeval::{Domain, ForeignCache};
use common::random::{Random, run_seed};
use common::{Store, on_every_reclaimer, store, stress, within};
use std::alloc::{GlobalAlloc, Layout, System};
use std::any::TypeId;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, Once, mpsc};
use std::time::Duration;

/// The system's allocator takes locks, so a thread that is stopped inside it may hold up others
/// that allocate. The default backend does not need the allocator (except to grow the index, which
/// this test does at its beginning). The other backends do, and with them no thread is frozen
/// inside the allocator.
struct Marked;

std::thread_local! {
    static ALLOCATING: Cell<bool> = const { Cell::new(false) };
    /// The number of calls of the allocator.
    static ASKED: Cell<u64> = const { Cell::new(0) };
}

fn allocating<T>(body: impl FnOnce() -> T) -> T {
    ALLOCATING.set(true);
    ASKED.set(ASKED.get() + 1);
    let result = body();
    ALLOCATING.set(false);
    result
}

// SAFETY: forwards every call to the system's allocator.
unsafe impl GlobalAlloc for Marked {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `alloc`.
        allocating(|| unsafe { System.alloc(layout) })
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        allocating(|| unsafe { System.dealloc(memory, layout) })
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `realloc`.
        allocating(|| unsafe { System.realloc(memory, layout, size) })
    }
}

#[global_allocator]
static ALLOCATOR: Marked = Marked;

/// Whether threads are also frozen inside the allocator.
static ANYWHERE: AtomicBool = AtomicBool::new(false);

/// The operations of the two undisturbed threads, and whether these threads still run.
static READS: AtomicU64 = AtomicU64::new(0);
static WRITES: AtomicU64 = AtomicU64::new(0);
static GOING: AtomicBool = AtomicBool::new(false);
/// How many freezes have begun, and how many have ended.
static FROZEN: AtomicU64 = AtomicU64::new(0);
static THAWED: AtomicU64 = AtomicU64::new(0);
/// Runs one test at a time, because all tests share the counts.
static ALONE: Mutex<()> = Mutex::new(());

/// Sleeps wherever the thread is, for 20 ms and until others have done three more reads and writes.
extern "C" fn freeze(_: libc::c_int) {
    if ALLOCATING.get() && !ANYWHERE.load(Ordering::SeqCst) {
        return;
    }
    FROZEN.fetch_add(1, Ordering::SeqCst);
    let (reads, writes) = (READS.load(Ordering::SeqCst), WRITES.load(Ordering::SeqCst));
    let done =
        || READS.load(Ordering::SeqCst) >= reads + 3 && WRITES.load(Ordering::SeqCst) >= writes + 3;
    // SAFETY: a signal handler may call `nanosleep`; the handler restores errno, which the call may
    // set.
    unsafe {
        let errno = *libc::__errno_location();
        let mut rest = libc::timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        libc::nanosleep(&rest, std::ptr::null_mut());
        rest.tv_nsec = 1_000_000;
        while !done() && GOING.load(Ordering::SeqCst) {
            libc::nanosleep(&rest, std::ptr::null_mut());
        }
        *libc::__errno_location() = errno;
    }
    THAWED.fetch_add(1, Ordering::SeqCst);
}

fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // SAFETY: zero is a valid `sigaction`, and the handler does only what a handler may.
        let failed = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = freeze as extern "C" fn(libc::c_int) as libc::sighandler_t;
            action.sa_flags = libc::SA_RESTART;
            libc::sigaction(libc::SIGUSR2, &action, std::ptr::null_mut())
        };
        assert_eq!(failed, 0, "the handler could not be installed");
    });
}

const GROUP: [u64; 8] = [0, 1, 2, 3, 4, 5, 6, 7];

/// Does one write of any kind. The keys of the group are only written together.
fn write<R: Reclaim>(cache: &Store<u64, u64, R>, random: &mut Random) {
    let value = random.next();
    match random.below(8) {
        0 => drop(cache.remove(&(8 + random.below(8)))),
        1 if random.one_in(20) => {
            cache.invalidate_all();
        }
        1..4 => {
            let key = random.below(1 << 16);
            cache.insert(16 + key, value);
            cache.remove(&(16 + key / 2));
        }
        4..6 => {
            cache.insert(8 + random.below(8), value);
        }
        _ => {
            let batch = cache.batch().insert(8 + random.below(8), value);
            GROUP.iter().fold(batch, |batch, key| batch.insert(*key, value)).commit();
        }
    }
}

/// Another cache of a domain. Its group is only written together with that of the first cache.
struct Beside<R: Reclaim> {
    domain: Domain,
    cache: Store<u64, u64, R>,
}

impl<R: Reclaim> Beside<R> {
    /// Writes to both caches, by one commit.
    fn write(&self, first: &Store<u64, u64, R>, random: &mut Random) {
        let value = random.next();
        if random.one_in(3) {
            let done = self.domain.transact(|tx| {
                let seen = tx.of(first)?.get(&(8 + value % 8)).unwrap_or(0);
                tx.of(&self.cache)?.insert(8 + value % 8, seen);
                Ok::<_, ForeignCache>(())
            });
            drop(done);
            return;
        }
        let mut batch = self.domain.batch();
        for cache in [first, &self.cache] {
            batch.of(cache).unwrap().extend(GROUP.map(|key| (key, value)));
        }
        batch.commit();
    }

    /// Checks both caches in one view.
    fn read(&self, first: &Store<u64, u64, R>) {
        let view = self.domain.view();
        for cache in [first, &self.cache] {
            let shown = view.of(cache).unwrap();
            assert!(GROUP.iter().all(|key| shown.get(key) == shown.get(&0)), "torn");
        }
    }
}

fn read<R: Reclaim>(cache: &Store<u64, u64, R>, is_full: bool, random: &mut Random) {
    // A full cache may have evicted some keys of the group. The others then have one age.
    let found = cache.get_many(GROUP.each_ref());
    let present = || found.iter().flatten();
    let is_one = [0, GROUP.len()].contains(&present().count()) || is_full;
    assert!(is_one && present().all(|value| Some(value) == present().next()), "torn: {found:?}");
    cache.get(&random.below(16));
    let view = cache.view();
    let (first, last) = (view.get(&0), view.get(&7));
    assert!(first == last || is_full && (first.is_none() || last.is_none()), "torn view");
}

/// An undisturbed thread: runs `operation`, and counts.
fn undisturbed(count: &AtomicU64, mut operation: impl FnMut()) {
    // If it panics, no other thread waits for it any more.
    let _stop = StopOnPanic;
    while GOING.load(Ordering::SeqCst) {
        operation();
        count.fetch_add(1, Ordering::SeqCst);
    }
}

struct StopOnPanic;

impl Drop for StopOnPanic {
    fn drop(&mut self) {
        GOING.store(false, Ordering::SeqCst);
    }
}

/// A write of one cache, or of both.
fn write_any<R: Reclaim>(
    (cache, beside): (&Store<u64, u64, R>, Option<&Beside<R>>),
    random: &mut Random,
) {
    match beside {
        Some(beside) if random.one_in(2) => beside.write(cache, random),
        _ => write(cache, random),
    }
}

/// A victim: writes until the undisturbed threads stop, and lives until the last signal was sent.
fn victim<R: Reclaim>(
    caches: (&Store<u64, u64, R>, Option<&Beside<R>>),
    seed: u64,
    signalling: &AtomicBool,
) {
    let mut random = Random::new(seed);
    let work = || {
        while GOING.load(Ordering::SeqCst) {
            write_any(caches, &mut random);
        }
    };
    let result = catch_unwind(AssertUnwindSafe(work));
    while signalling.load(Ordering::Acquire) {
        std::thread::yield_now();
    }
    if let Err(panic) = result {
        resume_unwind(panic);
    }
}

fn frozen_writers_hold_no_thread_up<R: Reclaim>() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    // Under a sanitizer all memory comes from its allocator, which takes locks.
    let anywhere = TypeId::of::<R>() == TypeId::of::<Asymmetric>() && !cfg!(coeval_lsan);
    ANYWHERE.store(anywhere, Ordering::SeqCst);
    beside_frozen_writers::<R>(store(), false, None);
}

/// A cache that is always at its bound, with deadlines that pass all the time. (The structure that
/// holds the deadlines grows through the system's allocator.)
fn frozen_writers_of_a_full_cache_hold_no_thread_up<R: Reclaim>() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    ANYWHERE.store(false, Ordering::SeqCst);
    let builder = coeval::Cache::builder().max_capacity(500);
    let builder = builder.time_to_live(Duration::from_millis(30));
    let cache: Store<u64, u64, R> = builder.reclaimer().build();
    beside_frozen_writers(cache.clone(), true, None);
    // Expired values go when the threads are at rest: each write removes some of them.
    std::thread::sleep(Duration::from_millis(40));
    for _ in 0..1_000_000 {
        cache.insert_with_ttl(0, 0, Duration::from_secs(3_600));
        if cache.len() == 1 {
            break;
        }
    }
    assert_eq!((cache.len(), cache.weighted_size()), (1, 1));
}

/// Commits of two caches of a domain, and views of it, which call the allocator.
#[test]
fn frozen_writers_of_a_domain_hold_no_thread_up() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    ANYWHERE.store(false, Ordering::SeqCst);
    let domain = Domain::new();
    let beside = Beside::<Asymmetric> { cache: domain.cache(), domain };
    beside_frozen_writers(beside.domain.cache(), false, Some(&beside));
    assert_eq!(beside.cache.stats().views, 0);
}

/// Two writers are frozen again and again. A reader and a writer are not, and make progress.
fn beside_frozen_writers<R: Reclaim>(
    cache: Store<u64, u64, R>,
    is_full: bool,
    beside: Option<&Beside<R>>,
) {
    install();
    let (seed, signals) = (run_seed(), stress(60, 1_000, 20_000));
    let signalling = AtomicBool::new(true);
    let (reads, writes) = (READS.load(Ordering::SeqCst), WRITES.load(Ordering::SeqCst));
    GOING.store(true, Ordering::SeqCst);
    let limit = Duration::from_secs(120 + signals);
    within(limit, "work beside frozen writers", || {
        std::thread::scope(|scope| {
            let (send, victims) = mpsc::channel();
            let (cache, signalling) = (&cache, &signalling);
            for number in 0..2 {
                let send = send.clone();
                scope.spawn(move || {
                    // SAFETY: no preconditions.
                    send.send(unsafe { libc::pthread_self() }).expect("the receiver waits");
                    victim((cache, beside), seed ^ number, signalling);
                });
            }
            let mut random = Random::new(seed ^ 10);
            let mut own = random.clone();
            scope.spawn(move || {
                undisturbed(&READS, || {
                    read(cache, is_full, &mut own);
                    if let Some(beside) = beside {
                        beside.read(cache);
                    }
                });
            });
            let mut own = Random::new(seed ^ 11);
            scope.spawn(move || {
                undisturbed(&WRITES, || write_any((cache, beside), &mut own));
            });
            let victims = [victims.recv().unwrap(), victims.recv().unwrap()];
            for _ in 0..signals {
                std::thread::sleep(Duration::from_micros(random.below(40_000)));
                // SAFETY: the victims live until `signalling` is false.
                unsafe { libc::pthread_kill(random.pick(&victims), libc::SIGUSR2) };
            }
            while THAWED.load(Ordering::SeqCst) != FROZEN.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
            signalling.store(false, Ordering::Release);
            GOING.store(false, Ordering::SeqCst);
        });
    });
    let (reads, writes) =
        (READS.load(Ordering::SeqCst) - reads, WRITES.load(Ordering::SeqCst) - writes);
    println!("{reads} reads and {writes} writes; {FROZEN:?} freezes");
    assert!(reads > 0 && writes > 0 && FROZEN.load(Ordering::SeqCst) > 0);
    let view = cache.view();
    assert_eq!(view.len(), view.iter().count());
    // Expired values may still be counted.
    assert!(view.len() == cache.len() || is_full && view.len() < cache.len());
}

/// A thread that is stopped inside the allocator holds up no other thread, because no operation
/// here calls the allocator. This test counts calls; freezing shows a problem only if two threads
/// share one of the allocator's locks.
#[test]
#[cfg(not(coeval_lsan))]
fn the_allocator_is_not_called() {
    let cache: Store<u64, u64, Asymmetric> = store();
    let mut random = Random::new(run_seed());
    let mut work = || {
        for _ in 0..3_000 {
            let old = cache.view();
            (0..5).for_each(|_| write(&cache, &mut random));
            let new = cache.view();
            (0..5).for_each(|_| write(&cache, &mut random));
            read(&cache, false, &mut random);
            drop(old);
            read(&cache, false, &mut random);
            drop(new);
        }
    };
    // Values that a thread takes once, growth of the index, and stacks of free slots, which are made
    // when first a whole batch of them comes back at a time.
    (0..8).for_each(|_| work());
    let before = ASKED.get();
    work();
    assert_eq!(ASKED.get() - before, 0);
}

/// The same of commits of two caches of a domain, once a thread has the memory of enough of them.
#[test]
#[cfg(not(coeval_lsan))]
fn commits_of_a_domain_use_their_memory_again() {
    let domain = Domain::new();
    let (left, right) = (domain.cache::<u64, u64>(), domain.cache::<u64, u64>());
    let work = || {
        for round in 0..3_000 {
            let mut batch = domain.batch();
            for key in 0..4 {
                batch.insert(&left, (round + key) % 16, round).unwrap();
                batch.insert(&right, key, round).unwrap();
            }
            batch.commit();
        }
    };
    work();
    let before = ASKED.get();
    work();
    assert_eq!(ASKED.get() - before, 0);
}

on_every_reclaimer!(
    frozen_writers_hold_no_thread_up,
    frozen_writers_of_a_full_cache_hold_no_thread_up,
);
