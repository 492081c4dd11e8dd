//! Shared by all suites: the amount of work, reproducible randomness, caches on each of the
//! reclaimers, and a watchdog.
#![allow(dead_code, unused_imports, unused_macros)]

pub mod counted;
pub mod monotone;
pub mod quiet;
pub mod random;
#[cfg(coeval_internals)]
pub mod steps;
#[cfg(coeval_internals)]
pub mod turns;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Whether this build makes each step much slower and each stack frame much larger.
pub const IS_SLOW: bool = cfg!(any(debug_assertions, coeval_internals, coeval_asan, coeval_lsan));

/// The size of a small stack.
const SMALL_STACK: usize = if IS_SLOW { 2 << 20 } else { 192 << 10 };

/// Runs `act` on a thread with a small stack.
pub fn on_a_small_stack(act: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(SMALL_STACK).spawn(act).unwrap();
    thread.join().unwrap();
}

/// A cache on the reclaimer `R`, with defaults otherwise.
pub type Store<K, V, R> = coeval::Cache<K, V, coeval::RandomState, R>;

/// An empty cache on the reclaimer `R`.
pub fn store<K, V, R>() -> Store<K, V, R>
where
    K: std::hash::Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    R: coeval::reclaim::Reclaim,
{
    coeval::Cache::builder().reclaimer::<R>().build()
}

/// Checks that no look-up shows the key.
#[track_caller]
pub fn assert_gone<R: coeval::reclaim::Reclaim>(cache: &Store<u64, u64, R>, key: u64) {
    assert_eq!((cache.get(&key), cache.get_versioned(&key)), (None, None));
    assert!(!cache.contains_key(&key));
    assert_eq!((cache.pin().get(&key), cache.get_many([&key])), (None, [None]));
    let view = cache.view();
    assert!(!view.contains_key(&key) && view.iter().all(|(shown, _)| *shown != key));
}

/// Makes one `#[test]` of each generic function for every compiled reclaimer.
macro_rules! on_every_reclaimer {
    ($($test:ident),+ $(,)?) => {
        mod asymmetric {
            $(#[test] fn $test() { super::$test::<coeval::reclaim::Asymmetric>() })+
        }
        #[cfg(feature = "crossbeam-epoch")]
        mod crossbeam_epoch {
            $(#[test] fn $test() { super::$test::<coeval::reclaim::CrossbeamEpoch>() })+
        }
        #[cfg(feature = "seize")]
        mod seize {
            $(#[test] fn $test() { super::$test::<coeval::reclaim::Seize>() })+
        }
    };
}
pub(crate) use on_every_reclaimer;

#[cfg(coeval_internals)]
pub use steps::disturb;

/// Does nothing: there are no step hooks in this build.
#[cfg(not(coeval_internals))]
pub fn disturb() {}

/// Selects an amount of work by the environment variable `COEVAL_STRESS`: `short` (the default),
/// `normal` or `long`; or `least`, a quarter of `short`, for builds that run slowly.
pub fn stress(short: u64, normal: u64, long: u64) -> u64 {
    match std::env::var("COEVAL_STRESS").as_deref() {
        Ok("long") => long,
        Ok("normal") => normal,
        Ok("short") | Err(_) => short,
        // Many tests do four things in turn.
        Ok("least") => (short / 4).next_multiple_of(4).clamp(1, short),
        Ok(other) => panic!("COEVAL_STRESS is {other:?}; it may be least, short, normal or long"),
    }
}

/// Runs `body`. If it takes longer than `limit`, ends the whole process with a message, because a
/// hang cannot be unwound.
pub fn within<T>(limit: Duration, what: &str, body: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watchdog = scope.spawn(|| {
            // Counts its own rests, so that time for which the whole process is suspended does not
            // count.
            let rest = Duration::from_millis(200);
            let mut waited = Duration::ZERO;
            while !done.load(Ordering::Acquire) {
                if waited > limit {
                    fail_now(&format!("hang: {what} took longer than {limit:?}"));
                }
                std::thread::park_timeout(rest);
                waited += rest;
            }
        });
        // Sets the flag even if the body panics.
        struct Done<'a>(&'a AtomicBool, std::thread::Thread);
        impl Drop for Done<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Release);
                self.1.unpark();
            }
        }
        let _done = Done(&done, watchdog.thread().clone());
        body()
    })
}

/// Ends the process with a message that the test harness does not capture.
pub fn fail_now(message: &str) -> ! {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "\n{message}");
    std::process::abort()
}

/// Runs `body(0)`..`body(n - 1)`, each in its own thread. All start together.
pub fn together(n: usize, body: impl Fn(usize) + Sync) {
    let start = std::sync::Barrier::new(n);
    std::thread::scope(|scope| {
        for thread in 0..n {
            let (start, body) = (&start, &body);
            scope.spawn(move || {
                start.wait();
                body(thread)
            });
        }
    });
}

/// While this lives, no other test of the program runs that takes it. For tests that look at what
/// is left: what a thread that has ended leaves in a cache stays there while another thread, of
/// another cache, has its number.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sets its flag when it is dropped, even in a panic. The flag tells the other threads to stop.
pub struct StopOnDrop<'a>(pub &'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}
