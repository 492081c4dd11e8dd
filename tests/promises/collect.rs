//! Promise: after `collect` on a cache at rest, nothing is left of entries that were removed,
//! replaced, cleared or have expired, even if the threads that wrote them have ended. A weak handle
//! does not keep the cache.

use crate::common::counted::{ById, Counted, Ledger, Ledgers};
use crate::common::{Store, on_every_reclaimer, store, together};
use coeval::reclaim::Reclaim;
use coeval::{ManualClock, RandomState, WeakCache};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

type Cache<R> = Store<Counted, Counted, R>;

/// Checks that after `collect` the cache has this many entries, and no more keys and values than
/// these.
#[track_caller]
fn assert_left<R: Reclaim>(made: &Ledgers, cache: &Cache<R>, entries: i64) {
    assert_eq!(cache.collect(), 0);
    assert_eq!((made.values.live(), cache.stats().retired), (entries, 0));
    assert_eq!((made.keys.live(), cache.len() as i64), (entries, entries));
}

fn entries_that_go_one_by_one<R: Reclaim>() {
    let (made, cache) = (Ledgers::new(), store());
    assert_left::<R>(&made, &cache, 0);
    cache.insert(made.key(1), made.value(1));
    assert_left(&made, &cache, 1);
    cache.insert(made.key(1), made.value(2));
    assert_left(&made, &cache, 1);
    drop(cache.remove(&ById(1)));
    assert_left(&made, &cache, 0);
    cache.batch().insert(made.key(1), made.value(1)).insert(made.key(2), made.value(1)).commit();
    cache.invalidate(&ById(1));
    assert_left(&made, &cache, 1);
    assert!(cache.compare_and_set(made.key(3), Some(cache.version()), made.value(3)).is_err());
    assert!(cache.try_get_with(made.key(4), || Err(())).is_err());
    assert_left(&made, &cache, 1);
    let read = cache.transact(|tx| {
        tx.insert(made.key(5), made.value(5));
        Ok::<_, ()>(tx.get_many([&made.key(2), &made.key(6)]).map(|found| found.is_some()))
    });
    assert_eq!(read.map(|read| read.value), Ok([true, false]));
    assert_left(&made, &cache, 2);
    cache.derive(made.key(7), |scope| scope.get(&made.key(5)).unwrap());
    cache.tag(made.key(7), &["tag".into()]);
    drop(cache.remove(&ById(5)));
    drop(cache.remove(&ById(7)));
    cache.invalidate_tag("tag");
    assert_left(&made, &cache, 1);
    cache.insert_tagged(made.key(2), made.value(2), &["tag".into()]);
    drop(cache.remove(&ById(2)));
    assert_left(&made, &cache, 0);
}

fn entries_that_go_all_at_once<R: Reclaim>() {
    let (made, clock) = (Ledgers::new(), ManualClock::new());
    let second = Duration::from_secs(1);
    let cache: Cache<R> =
        coeval::Cache::builder().time_to_live(second).manual_clock(&clock).reclaimer().build();
    for round in 0..3 {
        for id in 0..10_000 {
            cache.insert(made.key(id), made.value(id));
        }
        match round {
            0 => clock.advance(2 * second),
            1 => _ = cache.invalidate_all(),
            _ => (0..10_000).for_each(|id| drop(cache.remove(&ById(id)))),
        }
        assert_eq!(cache.collect(), 0);
        assert_eq!(made.values.live(), 0, "round {round}");
        clock.advance(2 * second); // Until then, the wheel keeps the keys of removed entries.
        assert_left(&made, &cache, 0);
    }
    let cache: Cache<R> = coeval::Cache::builder().max_capacity(100).reclaimer().build();
    for id in 0..10_000 {
        cache.insert(made.key(id), made.value(id));
    }
    assert_eq!(cache.collect(), 0);
    assert_eq!(made.values.live(), cache.len() as i64);
}

fn values_that_are_kept<R: Reclaim>() {
    let (made, cache) = (Ledgers::new(), store::<Counted, Counted, R>());
    cache.insert(made.key(1), made.value(1));
    cache.insert(made.key(2), made.value(1));
    let (view, again) = (cache.view(), cache.view());
    drop(cache.remove(&ById(1)));
    cache.invalidate_all();
    assert_eq!((cache.collect(), made.values.live()), (0, 2));
    assert_eq!(view.get(&ById(1)).map(Counted::read), Some(1));
    drop((view, again));
    assert_left(&made, &cache, 0);

    cache.insert(made.key(1), made.value(1));
    let pinned = cache.pin();
    let found = pinned.get(&ById(1)).unwrap();
    drop(cache.remove(&ById(1)));
    assert!(cache.collect() > 0);
    let of_others = std::thread::scope(|scope| scope.spawn(|| cache.collect()).join().unwrap());
    assert!(of_others > 0);
    assert_eq!(found.read(), 1);
    drop(pinned);
    assert_left(&made, &cache, 0);

    let lease = cache.lease(&made.key(1));
    made.keys.reset_most();
    assert_eq!((cache.collect(), made.keys.live()), (0, 1));
    drop(lease);
    assert_left(&made, &cache, 0);
}

fn leftovers_of_ended_threads<R: Reclaim>() {
    let (made, cache) = (Ledgers::new(), Arc::new(store::<Counted, Counted, R>()));
    let made = Arc::new(made);
    for threads in [1, 3, 40] {
        let spawn = |thread: u64| {
            let (cache, made) = (Arc::clone(&cache), Arc::clone(&made));
            std::thread::spawn(move || {
                for id in 0..10 {
                    cache.insert(made.key(thread << 32 | id), made.value(id));
                    drop(cache.remove(&ById(thread << 32 | id)));
                }
            })
        };
        let all: Vec<_> = (0..threads).map(spawn).collect();
        all.into_iter().for_each(|thread| thread.join().unwrap());
        // A thread of another test may have taken the number of one of these threads. What was left
        // under that number belongs to the new thread as long as it lives.
        let left = || cache.collect() != 0 || made.keys.live() != 0;
        (0..30_000)
            .take_while(|_| left())
            .for_each(|_| std::thread::sleep(Duration::from_millis(10)));
        assert_left(&made, &cache, 0);
    }
}

/// All threads collect, beside writers, and from within callbacks.
fn together_and_within<R: Reclaim>() {
    let made = Ledgers::new();
    let told = Arc::new(AtomicU64::new(0));
    let weak = Arc::new(OnceLock::<WeakCache<Counted, Counted, RandomState, R>>::new());
    let cache: Cache<R> = {
        let (told, weak) = (Arc::clone(&told), Arc::clone(&weak));
        let builder = coeval::Cache::builder().max_capacity(50).reclaimer();
        let listener = move |_: Arc<Counted>, _: Counted, _, _| {
            if told.fetch_add(1, SeqCst).is_multiple_of(16) {
                weak.get().and_then(WeakCache::upgrade).unwrap().collect();
            }
        };
        builder.eviction_listener(listener).build()
    };
    weak.set(cache.downgrade()).unwrap();
    together(4, |thread| {
        for id in 0..1_000 {
            cache.insert(made.key(id % 100), made.value(id));
            match id % 50 {
                7 => _ = cache.invalidate_all(),
                8 if thread % 2 == 0 => drop(cache.view().get(&ById(id))),
                9 => _ = cache.collect(),
                _ => drop(cache.get(&ById(id % 100))),
            }
        }
    });
    cache.invalidate_all();
    cache.collect();
    // Each value that was made has left, and is reported only once.
    assert_eq!((cache.len(), told.load(SeqCst)), (0, 4_000));
    drop(cache);
    made.assert_settled();
}

fn a_weak_handle_keeps_nothing<R: Reclaim>() {
    let none = WeakCache::<u64, Counted, RandomState, R>::default();
    assert!(none.upgrade().is_none() && none.clone().upgrade().is_none());
    let values = Ledger::new();
    let left = Arc::new(Mutex::new(Vec::new()));
    let cache: Store<u64, Counted, R> = store();
    let (weak, leaving) = (cache.downgrade(), Arc::clone(&left));
    let settings = cache.reconfigure(|settings| {
        let of_listener = weak.clone();
        settings.eviction_listener(move |key: Arc<u64>, value: Counted, _, _| {
            let cache = of_listener.upgrade().expect("a call is in progress");
            if *key < 100 {
                cache.insert(*key + 100, value);
            }
            leaving.lock().unwrap().push(*key);
        });
        let of_relation = weak.clone();
        settings.related(move |key: &u64, related| {
            if of_relation.upgrade().is_some_and(|cache| cache.contains_key(&(key + 1))) {
                related.invalidate(key + 1);
            }
        });
    });
    settings.unwrap();
    cache.insert(1, Counted::new(1, &values));
    cache.insert(2, Counted::new(2, &values));
    cache.insert(1, Counted::new(3, &values));
    assert_eq!((cache.get(&2).is_some(), cache.get(&102).is_some()), (false, true));
    left.lock().unwrap().sort_unstable();
    assert_eq!(*left.lock().unwrap(), [1, 2]);
    let view = cache.view();
    drop(cache);
    assert!(weak.upgrade().is_some(), "a view keeps it");
    drop(view);
    assert!(weak.upgrade().is_none());
    values.assert_settled();
}

on_every_reclaimer!(
    entries_that_go_one_by_one,
    entries_that_go_all_at_once,
    values_that_are_kept,
    leftovers_of_ended_threads,
    together_and_within,
    a_weak_handle_keeps_nothing,
);
