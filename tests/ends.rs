//! Promise: the destructors of thread-local values can use a cache while their thread ends. Guards,
//! futures and jobs can be forgotten. The cache is still dropped as usual, and no key or value is
//! dropped twice.
#![cfg(not(coeval_loom))]

mod common;

use coeval::reclaim::{Reclaim, leaked};
use coeval::{Pinned, RandomState};
use common::counted::{Counted, Ledger};
use common::{Store, on_every_reclaimer, store};
use std::any::{Any, type_name};
use std::cell::RefCell;
use std::mem;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// Runs `body` in a child process, as the test `name`, and requires that the process succeeds.
fn in_a_child<R>(name: &str, body: impl FnOnce()) {
    let module = match type_name::<R>() {
        name if name.ends_with("CrossbeamEpoch") => "crossbeam_epoch",
        name if name.ends_with("Seize") => "seize",
        _ => "asymmetric",
    };
    let name = format!("{module}::{name}");
    if std::env::var("COEVAL_CHILD").as_deref() == Ok(&name) {
        return body();
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args([&name, "--exact", "--nocapture", "--test-threads=1"]).env("COEVAL_CHILD", &name);
    // The leaks of the child are intended.
    child.env("ASAN_OPTIONS", "detect_leaks=0").env("LSAN_OPTIONS", "detect_leaks=0");
    let output = child.output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {}\n{words}", output.status);
    let words = String::from_utf8_lossy(&output.stdout);
    assert!(words.contains("1 passed"), "{name} did not run\n{words}");
}

/// Runs its closure in its destructor.
struct AtEnd(Option<Box<dyn FnOnce()>>);

impl Drop for AtEnd {
    fn drop(&mut self) {
        self.0.take().unwrap()();
    }
}

std::thread_local! {
    static FIRST: RefCell<Vec<AtEnd>> = const { RefCell::new(Vec::new()) };
    static SECOND: RefCell<Vec<AtEnd>> = const { RefCell::new(Vec::new()) };
    static KEPT: RefCell<Vec<Box<dyn Any>>> = const { RefCell::new(Vec::new()) };
}

fn first(act: impl FnOnce() + 'static) {
    FIRST.with_borrow_mut(|list| list.push(AtEnd(Some(Box::new(act)))));
}

fn second(act: impl FnOnce() + 'static) {
    SECOND.with_borrow_mut(|list| list.push(AtEnd(Some(Box::new(act)))));
}

/// Runs all kinds of operations.
fn run_all_operations<R: Reclaim>(cache: &Store<u64, u64, R>, key: u64) {
    cache.insert(key, 1);
    assert_eq!((cache.get(&key), cache.pin().get(&key)), (Some(1), Some(&1)));
    assert_eq!(cache.get_many([&key, &(key + 1)]), [Some(1), None]);
    cache.batch().insert(key, 2).insert(key + 1, 2).commit();
    assert_eq!(cache.get_with(key + 2, || 3), 3);
    assert!(cache.try_get_with(key + 3, || Err::<u64, ()>(())).is_err());
    assert_eq!(cache.derive(key + 4, |scope| scope.get(&key).unwrap() + 2), 4);
    assert_eq!(cache.view().get(&key), Some(&2));
    let read = cache.transact(|tx| {
        tx.insert(key, 5);
        Ok::<_, ()>(tx.get(&(key + 1)))
    });
    assert_eq!(read.map(|read| read.value), Ok(Some(2)));
    drop(cache.lease(&key));
    cache.insert_tagged(key, 6, &["tag".into()]);
    cache.invalidate_tag("tag");
    for key in key..key + 5 {
        cache.remove(&key);
    }
    cache.monitor().step(10);
    assert!(cache.stats().commits > 0);
}

/// Runs a thread to its end, including its destructors.
fn to_its_end(body: impl FnOnce() + Send + 'static) {
    std::thread::spawn(body).join().unwrap();
}

fn used_while_a_thread_ends<R: Reclaim>() {
    in_a_child::<R>("used_while_a_thread_ends", || {
        let used = Arc::new(AtomicU64::new(0));
        let cache: Store<u64, u64, R> = store();
        for round in 0..40 {
            let (cache, used) = (cache.clone(), Arc::clone(&used));
            to_its_end(move || {
                let at_end = |key: u64| {
                    let (cache, used) = (cache.clone(), Arc::clone(&used));
                    move || {
                        (0..20).for_each(|_| run_all_operations(&cache, key));
                        used.fetch_add(1, SeqCst);
                    }
                };
                if round & 1 == 0 {
                    first(at_end(10)); // The thread has not used the cache yet.
                }
                if round & 2 == 0 {
                    run_all_operations(&cache, 0);
                }
                second(at_end(20));
                // Created before or after the second list, so the two are destroyed in either
                // order.
                first(at_end(30));
            });
        }
        assert_eq!(used.load(SeqCst), 100);
        assert!(cache.is_empty());
        // A thread that ends drops the last handle.
        to_its_end(move || first(move || drop(cache)));
    });
}

/// A guard in a thread-local value, and a reference that was read under it.
struct Kept<R: Reclaim> {
    cache: &'static Store<u64, Counted, R>,
    ledger: Arc<Ledger>,
    read: *const Counted,
    _guard: Pinned<'static, u64, Counted, RandomState, R>,
}

impl<R: Reclaim> Drop for Kept<R> {
    fn drop(&mut self) {
        // Other threads come and go, and overwrite the value.
        for _ in 0..3 {
            let (cache, ledger) = (self.cache, Arc::clone(&self.ledger));
            to_its_end(move || {
                for number in 0..3_000 {
                    cache.insert(1, Counted::new(number, &ledger));
                    cache.get(&1);
                }
            });
            // SAFETY: read under the guard, which is still live.
            assert_eq!(unsafe { &*self.read }.read(), 7);
        }
    }
}

/// A guard in a thread-local value protects what was read under it, although the thread has ended
/// for the backend and other threads come and go. Once the guard is gone, it protects nothing.
fn kept_by_a_thread_that_ends<R: Reclaim>() {
    in_a_child::<R>("kept_by_a_thread_that_ends", || {
        let ledger = Ledger::new();
        for is_known in [false, true, false, true] {
            let cache: &'static Store<u64, Counted, R> = Box::leak(Box::new(store()));
            cache.insert(1, Counted::new(7, &ledger));
            let of_thread = Arc::clone(&ledger);
            to_its_end(move || {
                if is_known {
                    cache.get(&2);
                }
                KEPT.with_borrow_mut(|kept| {
                    let guard = cache.pin();
                    let read: *const Counted = guard.get(&1).unwrap();
                    kept.push(Box::new(Kept { cache, ledger: of_thread, read, _guard: guard }));
                });
            });
            (0..20_000).for_each(|number| _ = cache.insert(1, Counted::new(number, &ledger)));
            assert!(cache.stats().retired < 8_192, "a guard outlives its thread");
        }
    });
}

/// Checks that each instance was dropped once, except those that forgotten guards of these backends
/// keep; the statistics count these.
#[track_caller]
fn assert_dropped<R: Reclaim>(ledgers: [&Ledger; 2], leaked_before: u64) {
    let live = ledgers.map(Ledger::live);
    let leaked = leaked() - leaked_before;
    if type_name::<R>().ends_with("Asymmetric") {
        assert_eq!(leaked, 0);
    }
    assert!(live.iter().all(|live| (0..=leaked as i64).contains(live)), "{live:?}, {leaked}");
    if leaked == 0 {
        ledgers.into_iter().for_each(Ledger::assert_settled);
    }
}

/// Guards are forgotten while entries are written, overwritten, removed and cleared.
fn forgotten_guards<R: Reclaim>() {
    in_a_child::<R>("forgotten_guards", || {
        for (many, elsewhere) in [(0, false), (1, false), (1, true), (3, false), (5, true)] {
            for drops_elsewhere in [false, true] {
                let (keys, values) = (Ledger::new(), Ledger::new());
                let before = leaked();
                let cache: Store<Counted, Counted, R> = store();
                let (k, v) = (Arc::clone(&keys), Arc::clone(&values));
                let taken = cache.clone();
                let churn = move |forgets: bool| {
                    for number in 0..1_500 {
                        let id = number % 50;
                        taken.insert(Counted::new(id, &k), Counted::new(id, &v));
                        if number % 3 == 0 {
                            taken.remove(&Counted::new(id, &k));
                        }
                        if forgets && number % 300 == 7 {
                            (0..many).for_each(|_| mem::forget(taken.pin()));
                        }
                        if number == 900 {
                            taken.invalidate_all();
                        }
                        let _ = taken.try_get_with(Counted::new(id + 99, &k), || Err(()));
                    }
                };
                churn(!elsewhere);
                std::thread::spawn({
                    let churn = churn.clone();
                    move || churn(elsewhere)
                })
                .join()
                .unwrap();
                churn(false);
                if many > 0 {
                    assert!(cache.stats().retired > 0, "a guard keeps the retired versions");
                }
                drop(churn);
                if drops_elsewhere {
                    to_its_end(move || drop(cache));
                } else {
                    drop(cache);
                }
                assert_dropped::<R>([&keys, &values], before);
                if many == 0 {
                    assert_eq!(leaked(), before);
                }
            }
        }
    });
}

/// Guards are forgotten before any write, so many that a thread cannot have one more.
#[cfg_attr(coeval_lsan, allow(dead_code))]
fn a_million_forgotten_guards<R: Reclaim>() {
    let cache: Store<u64, u64, R> = store();
    if type_name::<R>().ends_with("Asymmetric") {
        (0..(1 << 20) - 1).for_each(|_| mem::forget(cache.pin()));
    } else {
        (0..1_000).for_each(|_| mem::forget(cache.pin()));
    }
    drop(cache);
}

/// A forgotten view or lease keeps the whole cache. A forgotten batch or iterator keeps nothing.
#[cfg_attr(coeval_lsan, allow(dead_code))]
fn forgotten_views_and_leases<R: Reclaim>() {
    let values = Ledger::new();
    let cache: Store<u64, Counted, R> = store();
    cache.insert(1, Counted::new(1, &values));
    let view = cache.view();
    mem::forget(cache.batch().remove(1));
    mem::forget(view.iter());
    drop(view);
    cache.insert(1, Counted::new(2, &values));
    mem::forget(cache.view().clone());
    (2..5_000).for_each(|key| _ = cache.insert(key, Counted::new(key, &values)));
    let other: Store<u64, u64, R> = store();
    mem::forget((other.lease(&1), other.view(), cache.view()));
    drop((cache, other));
    assert!(values.live() > 0, "the view keeps the cache");
}

#[cfg(feature = "async")]
#[cfg_attr(coeval_lsan, allow(dead_code))]
fn forgotten_futures<R: Reclaim>() {
    use std::pin::Pin;
    use std::task::{Context, Waker};

    fn begin<'f>(future: impl Future + 'f) {
        let mut future: Pin<Box<dyn Future<Output = _> + 'f>> = Box::pin(future);
        assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        mem::forget(future);
    }
    let (values, before) = (Ledger::new(), leaked());
    let cache: Store<u64, Counted, R> = store();
    cache.insert(1, Counted::new(1, &values));
    begin(cache.get_with_async(2, std::future::pending()));
    begin(cache.get_with_async(2, std::future::pending()));
    begin(cache.get_many_with_async([3, 4], std::future::pending()));
    begin(cache.derive_async(5, async |scope: &mut coeval::Scope<'_, _, _, _, R>| {
        scope.get(&1);
        std::future::pending().await
    }));
    for key in (0..5_000).map(|number| number % 6) {
        cache.insert(key, Counted::new(key, &values));
        cache.remove(&key);
    }
    drop(cache);
    assert_dropped::<R>([&values, &Ledger::new()], before);
}

on_every_reclaimer!(used_while_a_thread_ends, kept_by_a_thread_that_ends, forgotten_guards);

/// Values that these functions forget are unreachable for ever, so a leak sanitizer must ignore
/// them.
#[cfg(not(coeval_lsan))]
mod forgotten {
    use super::{a_million_forgotten_guards, forgotten_views_and_leases};
    use crate::common::on_every_reclaimer;

    on_every_reclaimer!(a_million_forgotten_guards, forgotten_views_and_leases);
}

#[cfg(all(feature = "async", not(coeval_lsan)))]
mod futures {
    use super::forgotten_futures;
    use crate::common::on_every_reclaimer;

    on_every_reclaimer!(forgotten_futures);
}
