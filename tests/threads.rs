//! Promise: a cache takes memory for the threads that use it, not for all threads that exist.
//! Threads that have ended leave nothing behind that takes memory.

#[path = "common/bytes.rs"]
mod bytes;
mod common;

use bytes::IN_USE;
use coeval::Cache;
use coeval::reclaim::Reclaim;
use common::{Store, on_every_reclaimer, store};
use std::cell::RefCell;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Barrier, LazyLock, Mutex, MutexGuard};

/// Runs one test at a time, because all tests count the same bytes.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The bytes that the process has touched, from the allocator and from the system.
#[cfg(target_os = "linux")]
fn touched() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux has this file");
    // SAFETY: no preconditions.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64;
    statm.split(' ').nth(1).expect("resident pages").parse::<u64>().expect("a number") * page
}

#[cfg(not(target_os = "linux"))]
fn touched() -> u64 {
    0
}

/// Runs `body` on a thread whose number is above `others`.
fn beside<T: Send>(others: usize, body: impl FnOnce() -> T + Send) -> T {
    let known: Cache<u64, u64> = Cache::new();
    let gate = Barrier::new(others + 1);
    std::thread::scope(|scope| {
        for _ in 0..others {
            scope.spawn(|| {
                known.insert(1, 1);
                gate.wait();
                gate.wait();
            });
        }
        gate.wait();
        let result = scope.spawn(body).join();
        gate.wait();
        result.unwrap()
    })
}

/// The memory that a cache takes at its first uses does not depend on the number of the thread.
#[test]
#[cfg(all(target_os = "linux", not(any(coeval_asan, coeval_lsan))))]
fn a_small_cache_takes_little_on_any_thread() {
    const CACHES: u64 = 500;
    let _alone = alone();
    type Use = fn(&Cache<u64, u64>);
    let uses: [Use; 4] = [
        |cache| _ = cache.get(&1),
        |cache| _ = cache.insert(1, 1),
        |cache| {
            cache.insert(1, 1);
            assert_eq!((cache.get(&1), cache.pin().get(&1), cache.len()), (Some(1), Some(&1), 1));
        },
        |cache| _ = cache.get_many([&1, &2]),
    ];
    for others in [0, 40, 300, 1_000] {
        for (at, once) in uses.into_iter().enumerate() {
            let caches: Vec<Cache<u64, u64>> = (0..CACHES).map(|_| Cache::new()).collect();
            let each = beside(others, || {
                once(&Cache::new());
                let before = touched();
                caches.iter().for_each(once);
                touched().saturating_sub(before) / CACHES
            });
            println!("{each} bytes for use {at} beside {others} threads");
            assert!(each <= 4_096, "{each} bytes for use {at} beside {others} threads");
        }
    }
}

/// Memory depends on how many threads use a cache, not on which ones.
fn memory_depends_on_the_threads_that_use_a_cache<R: Reclaim>() {
    let _alone = alone();
    let cost = |others| {
        beside(others, || {
            let cache: Store<u64, u64, R> = store();
            let before = IN_USE.load(Ordering::Relaxed);
            cache.insert(1, 1);
            cache.get(&1);
            IN_USE.load(Ordering::Relaxed) - before
        })
    };
    cost(0); // Memory that the process allocates once.
    let (few, many) = (cost(0), cost(600));
    println!("{few} bytes, {many} beside many threads");
    assert!(many <= few + 512 && many < 4_096, "{many} bytes beside many threads, {few} without");
}

/// A thread-local whose destructor uses a cache.
struct AtEnd(Arc<Cache<u64, u64>>);

impl Drop for AtEnd {
    fn drop(&mut self) {
        self.0.insert(1, 1);
        self.0.get(&1);
    }
}

macro_rules! at_end {
    ($($name:ident)+) => {
        std::thread_local! {
            $(static $name: RefCell<Option<AtEnd>> = const { RefCell::new(None) };)+
        }
        const ALL: &[&std::thread::LocalKey<RefCell<Option<AtEnd>>>] = &[$(&$name),+];
    };
}

at_end!(A B C D E F G H I J K L M N O P Q R S T U V W X Y Z);

/// Runs many threads one after the other. Each of them leaves nothing behind.
#[track_caller]
fn leave_nothing(cache: &Arc<Cache<u64, u64>>, body: fn(&Arc<Cache<u64, u64>>)) {
    let run = |count| {
        for _ in 0..count {
            let cache = cache.clone();
            std::thread::spawn(move || body(&cache)).join().unwrap();
        }
    };
    run(300);
    let before = (IN_USE.load(Ordering::Relaxed), touched());
    run(600);
    let heap = IN_USE.load(Ordering::Relaxed) - before.0;
    let touched = touched().saturating_sub(before.1);
    println!("{heap} bytes of the heap, {touched} touched");
    assert!(heap < 60_000, "{heap} bytes of the heap");
    assert!(touched < 2_000_000 || cfg!(any(coeval_asan, coeval_lsan)), "{touched} bytes touched");
}

/// Thread numbers are reused, in whatever order thread-locals are destroyed, and however many of
/// them use a cache in their destructors.
#[test]
fn threads_that_use_a_cache_at_their_end_leave_nothing() {
    let _alone = alone();
    let cache = Arc::new(Cache::new());
    type Order = fn(&Arc<Cache<u64, u64>>);
    let orders: [Order; 4] = [
        |cache| {
            cache.insert(1, 1);
            ALL.iter().for_each(|local| local.set(Some(AtEnd(cache.clone()))));
        },
        |cache| {
            ALL.iter().for_each(|local| local.set(Some(AtEnd(cache.clone()))));
            cache.insert(1, 1);
        },
        |cache| {
            for local in ALL {
                local.set(Some(AtEnd(cache.clone())));
                cache.insert(1, 1);
            }
        },
        // Uses the cache only at its end.
        |cache| ALL.iter().rev().for_each(|local| local.set(Some(AtEnd(cache.clone())))),
    ];
    orders.into_iter().for_each(|order| leave_nothing(&cache, order));
}

/// As above, for thread-specific data of a program in another language.
#[test]
#[cfg(target_os = "linux")]
fn destructors_of_keys_may_use_a_cache() {
    static CACHE: LazyLock<Cache<u64, u64>> = LazyLock::new(Cache::new);
    static KEYS: LazyLock<[libc::pthread_key_t; 8]> = LazyLock::new(|| {
        std::array::from_fn(|_| {
            let mut key = 0;
            // SAFETY: `key` is written by the call.
            assert_eq!(unsafe { libc::pthread_key_create(&mut key, Some(at_end)) }, 0);
            key
        })
    });
    extern "C" fn at_end(_: *mut libc::c_void) {
        CACHE.insert(1, 1);
    }
    let _alone = alone();
    LazyLock::force(&KEYS); // Creates some of them before the library's own.
    leave_nothing(&Arc::new(Cache::new()), |_| {
        for key in *KEYS {
            // SAFETY: this test created the key, whose destructor reads no value.
            assert_eq!(unsafe { libc::pthread_setspecific(key, (&raw const CACHE).cast()) }, 0);
        }
        CACHE.insert(1, 1);
    });
}

/// Threads that come and go reuse memory, even after many of them ran at once.
fn memory_is_reused_after_a_peak<R: Reclaim>() {
    const THREADS: usize = 300;
    let _alone = alone();
    let cache: Arc<Store<u64, u64, R>> = Arc::new(store());
    let peak = || {
        let together = Arc::new(Barrier::new(THREADS));
        let body = |key: usize| {
            let (cache, together) = (cache.clone(), together.clone());
            std::thread::spawn(move || {
                cache.insert(key as u64, 1);
                together.wait();
            })
        };
        let threads: Vec<_> = (0..THREADS).map(body).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    };
    peak();
    peak();
    let before = IN_USE.load(Ordering::Relaxed);
    (0..4).for_each(|_| peak());
    let growth = IN_USE.load(Ordering::Relaxed) - before;
    println!("{growth} bytes");
    // A part of the memory is retired; some reclaimers box each retired object. A sanitizer keeps
    // freed memory for a while, and then the pools allocate through it.
    let is_sanitized = cfg!(any(coeval_asan, coeval_lsan));
    assert!(is_sanitized || growth < 256 * THREADS as i64, "{growth} bytes");
    let stats = cache.stats();
    assert_eq!((stats.commits, cache.len()), (6 * THREADS as u64, THREADS));
}

on_every_reclaimer!(memory_depends_on_the_threads_that_use_a_cache, memory_is_reused_after_a_peak,);
