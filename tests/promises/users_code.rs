//! Promise: users' code that runs within a load can use the cache. It runs after the load, or as a
//! part of the load. In the second case it gets an error if it would wait for that same load. It
//! never waits for itself.
#![cfg(feature = "async")]

use coeval::{Cache, Job, ManualClock, Scope};
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// The user's function that uses the cache.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    Listener,
    Weigher,
    Clone,
    Drop,
    Eq,
    Hash,
    Future,
}

const KINDS: [Kind; 7] =
    [Kind::Listener, Kind::Weigher, Kind::Clone, Kind::Drop, Kind::Eq, Kind::Hash, Kind::Future];

thread_local! {
    /// Which function acts, and how many of its calls come before the one in which it acts.
    static ACTS: Cell<Option<(Kind, usize)>> = const { Cell::new(None) };
    static SEEN: Cell<usize> = const { Cell::new(0) };
    static USE: Cell<fn(&Cache<Key, Value>)> = const { Cell::new(|_| ()) };
    static CACHE: RefCell<Option<Cache<Key, Value>>> = const { RefCell::new(None) };
}

/// Called by each of the user's functions.
fn called(kind: Kind) {
    let Some((acting, before)) = ACTS.get().filter(|(acting, _)| *acting == kind) else { return };
    let seen = SEEN.replace(SEEN.get() + 1);
    if seen == before {
        ACTS.set(None);
        let cache = CACHE.with(|cache| cache.borrow().clone()).expect("within an operation");
        // A cycle is reported by a panic.
        let _ = catch_unwind(AssertUnwindSafe(|| USE.get()(&cache)));
        drop(cache);
        ACTS.set(Some((acting, before)));
    }
}

#[derive(Debug)]
struct Key(u64);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        called(Kind::Hash);
        self.0.hash(state);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        called(Kind::Eq);
        self.0 == other.0
    }
}

impl Eq for Key {}

impl Clone for Key {
    fn clone(&self) -> Self {
        called(Kind::Clone);
        Self(self.0)
    }
}

#[derive(Debug)]
struct Value(u32);

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        called(Kind::Eq);
        self.0 == other.0
    }
}

impl Clone for Value {
    fn clone(&self) -> Self {
        called(Kind::Clone);
        Self(self.0)
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        called(Kind::Drop);
    }
}

/// Dropped with a loader, or with its future.
struct Held;

impl Drop for Held {
    fn drop(&mut self) {
        called(Kind::Future);
    }
}

fn finish<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..1000 {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
    panic!("it waits");
}

/// Ready when polled again.
async fn later() {
    let mut again = false;
    std::future::poll_fn(|_| {
        if std::mem::replace(&mut again, true) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

type Load = fn(&Cache<Key, Value>, &ManualClock);

/// The loads, of key 1 or of keys 1 and 2.
const LOADS: [(&str, Load); 14] = [
    ("get_with", |cache, _| {
        let held = Held;
        cache.get_with(Key(1), || {
            let _held = held;
            Value(11)
        });
    }),
    ("get_with, too light to go", |cache, _| _ = cache.get_with(Key(1), || Value(1))),
    ("one that panics", |cache, _| {
        let held = Held;
        let load = || {
            let _held = held;
            panic!("on purpose")
        };
        let _ = catch_unwind(AssertUnwindSafe(|| cache.get_with(Key(1), load)));
    }),
    ("get_many_with", |cache, _| {
        _ = cache.get_many_with([Key(1), Key(2)], || [Value(3), Value(11)]);
    }),
    ("get_each_with", |cache, _| {
        let load =
            |missing: &[Key]| missing.iter().map(|key| Value(key.0 as u32)).collect::<Vec<_>>();
        cache.get_each_with([Key(1), Key(2)], load);
    }),
    ("get_each_with, of keys that are due", |cache, clock| {
        cache.insert(Key(2), Value(1));
        clock.advance(Duration::from_secs(60));
        cache.get_each_with([Key(1), Key(2), Key(3)], |missing| {
            missing.iter().map(|_| Value(2)).collect::<Vec<_>>()
        });
    }),
    ("derive", |cache, _| {
        cache.derive(Key(1), |scope| {
            scope.get(&Key(9));
            Value(11)
        });
    }),
    ("refresh", |cache, clock| {
        cache.insert(Key(1), Value(1));
        clock.advance(Duration::from_secs(60));
        cache.get_with(Key(1), || Value(2));
    }),
    ("load_on", |cache, clock| {
        cache.insert(Key(1), Value(1));
        clock.advance(Duration::from_secs(60));
        let held = Held;
        let load = move || {
            let _held = held;
            Ok::<_, Infallible>(Value(11))
        };
        cache.load_on(Key(1), |job: Job| job(), load).unwrap();
    }),
    ("get_with_async", |cache, _| {
        let held = Held;
        finish(cache.get_with_async(Key(1), async move {
            let _held = held;
            later().await;
            Value(11)
        }));
    }),
    ("get_each_with_async", |cache, _| {
        let load = async |missing: &[Key]| {
            later().await;
            missing.iter().map(|key| Value(key.0 as u32)).collect::<Vec<_>>()
        };
        finish(cache.get_each_with_async([Key(1), Key(2)], load));
    }),
    ("a future given up", |cache, _| {
        let held = Held;
        let load = cache.get_with_async(Key(1), async move {
            let _held = held;
            std::future::pending().await
        });
        let mut load = Box::pin(load);
        let mut context = Context::from_waker(Waker::noop());
        let _ = load.as_mut().poll(&mut context); // Ready, if loaded first of all.
    }),
    ("derive_async", |cache, _| {
        finish(cache.derive_async(Key(1), async |scope: &mut Scope<Key, Value>| {
            let _held = Held;
            scope.get(&Key(9));
            later().await;
            Value(11)
        }));
    }),
    ("a derivation given up", |cache, _| {
        let compute = async |_: &mut Scope<Key, Value>| {
            let _held = Held;
            std::future::pending().await
        };
        let mut derive = Box::pin(cache.derive_async(Key(1), compute));
        let mut context = Context::from_waker(Waker::noop());
        let _ = derive.as_mut().poll(&mut context); // As above.
    }),
];

/// A use of the cache.
type Use = fn(&Cache<Key, Value>);

/// The ways to use the cache within a load.
const USES: [(&str, Use); 4] = [
    ("get_with", |cache| _ = cache.get_with(Key(1), || Value(4))),
    ("get_many_with", |cache| _ = cache.get_many_with([Key(1), Key(2)], || [Value(5), Value(6)])),
    ("derive", |cache| _ = cache.derive(Key(1), |_| Value(7))),
    ("get_with_async", |cache| _ = finish(cache.get_with_async(Key(1), async { Value(8) }))),
];

/// Runs one load, in which one call of a user's function uses the cache. Returns whether there was
/// such a call.
fn run(load: Load, within: fn(&Cache<Key, Value>), kind: Kind, at: usize) -> bool {
    let clock = ManualClock::new();
    let cache = Cache::builder()
        .max_capacity(10)
        .weigher(|_: &Key, value: &Value| {
            called(Kind::Weigher);
            value.0
        })
        .eviction_listener(|_, _, _, _| called(Kind::Listener))
        .refresh_after(Duration::from_secs(60))
        .manual_clock(&clock)
        .build();
    CACHE.set(Some(cache.clone()));
    USE.set(within);
    SEEN.set(0);
    ACTS.set(Some((kind, at)));
    load(&cache, &clock);
    ACTS.set(None);
    CACHE.set(None);
    // The cache still works.
    cache.insert(Key(1), Value(2));
    assert_eq!(cache.get_with(Key(1), || unreachable!()), Value(2));
    SEEN.get() > at
}

#[test]
fn users_code_never_waits_for_its_own_load() {
    let mut acted = 0;
    for (name, load) in LOADS {
        for (use_name, within) in USES {
            for kind in KINDS {
                for at in 0.. {
                    let (tell, told) = mpsc::channel();
                    let run = move || {
                        crate::common::quiet::set_quiet(true);
                        _ = tell.send(run(load, within, kind, at));
                    };
                    let thread = std::thread::spawn(run);
                    let case = format!("{name}: {use_name} by {kind:?}, call {at}");
                    match told.recv_timeout(Duration::from_secs(60)) {
                        Ok(true) => acted += 1,
                        Ok(false) => break,
                        Err(mpsc::RecvTimeoutError::Timeout) => {
                            eprintln!("{case}: waits for itself");
                            std::process::exit(1);
                        }
                        Err(_) => {
                            eprintln!(
                                "{case}: {:?}",
                                thread
                                    .join()
                                    .map_err(|panic| { panic.downcast_ref::<String>().cloned() })
                            );
                            std::process::exit(1);
                        }
                    }
                    thread.join().unwrap();
                }
            }
        }
    }
    println!("{acted} calls");
    assert!(acted > 400);
}
