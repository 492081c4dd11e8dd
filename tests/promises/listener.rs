//! Promise: the listener hears once of each value that was written and has left, with the reason
//! and the commit. Nothing that the listener does harms other threads.

mod concurrent;
mod rude;

use crate::common::{Store, on_every_reclaimer};
use coeval::RemovalCause::{self, Expired, Explicit, Related, Replaced, Size};
use coeval::reclaim::Reclaim;
use coeval::{Builder, ManualClock, Version};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Cache<R> = Store<u64, u64, R>;
/// A key, its value, why it left, and by which commit.
type Left = (u64, u64, RemovalCause, Version);

/// What a listener has heard.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<Left>>>);

impl Heard {
    /// What it has heard since the last call, sorted by key and value.
    fn take(&self) -> Vec<Left> {
        let mut left = std::mem::take(&mut *self.0.lock().unwrap());
        left.sort_by_key(|(key, value, ..)| (*key, *value));
        left
    }

    fn listen<R: Reclaim>(&self, builder: Builder<u64, u64>) -> Cache<R> {
        let heard = Arc::clone(&self.0);
        let listener = move |key: Arc<u64>, value, cause, version| {
            heard.lock().unwrap().push((*key, value, cause, version))
        };
        builder.eviction_listener(listener).reclaimer().build()
    }
}

/// A cache with these settings and a listener.
fn heard<R: Reclaim>(
    settings: impl FnOnce(Builder<u64, u64>) -> Builder<u64, u64>,
) -> (Heard, Cache<R>) {
    let heard = Heard::default();
    let cache = heard.listen(settings(coeval::Cache::builder()));
    (heard, cache)
}

/// How many values have left, by the statistics.
fn gone<R: Reclaim, V: Send + Sync + 'static>(cache: &Store<u64, V, R>) -> u64 {
    let removals = cache.stats().removals;
    [Explicit, Replaced, Expired, Size, Related].map(|cause| removals.of(cause)).iter().sum()
}

fn each_write_reports_what_it_replaced<R: Reclaim>() {
    let (heard, cache) = heard::<R>(|builder| builder);
    cache.insert(1, 10);
    assert_eq!(heard.take(), []);
    let version = cache.insert(1, 11);
    assert_eq!(heard.take(), [(1, 10, Replaced, version)]);
    assert_eq!(cache.remove(&1), Some(11));
    assert_eq!(heard.take(), [(1, 11, Explicit, cache.version())]);
    cache.remove(&1);
    cache.invalidate(&1);
    assert_eq!(heard.take(), []);
    cache.insert(1, 12);
    let version = cache.invalidate(&1);
    assert_eq!(heard.take(), [(1, 12, Explicit, version)]);
    let first = cache.compare_and_set(1, None, 13).unwrap();
    assert!(cache.compare_and_set(1, None, 14).is_err());
    assert_eq!(heard.take(), []);
    let second = cache.compare_and_set(1, Some(first), 15).unwrap();
    assert_eq!(heard.take(), [(1, 13, Replaced, second)]);
    cache.batch().insert(2, 20).insert(3, 30).commit();
    drop(cache.batch().insert(2, 99));
    let batch = cache.batch().insert(2, 21).insert(2, 22).remove(3).insert(4, 40).remove(9);
    let version = batch.commit();
    assert_eq!(heard.take(), [(2, 20, Replaced, version), (3, 30, Explicit, version)]);
    let rest = [(1, 15), (2, 22), (4, 40)];
    assert_eq!(cache.len(), rest.len());
    drop(cache);
    assert_eq!(heard.take(), [], "the values in a dropped cache have not left it");
}

fn values_that_relations_remove<R: Reclaim>() {
    let (heard, cache) = heard::<R>(|builder| {
        builder.related(|key, related| {
            if *key == 1 {
                related.invalidate(2).insert(3, 31).recompute(4);
            }
        })
    });
    (2..6).fold(cache.batch(), |batch, key| batch.insert(key, key * 10)).commit();
    let version = cache.insert(1, 10);
    let related = [(2, 20, Related, version), (3, 30, Related, version), (4, 40, Related, version)];
    assert_eq!(heard.take(), related);
    // The written key itself is not related.
    cache.insert(2, 21);
    let version = cache.batch().remove(2).insert(1, 11).insert(3, 32).commit();
    let expected =
        [(1, 10, Replaced, version), (2, 21, Explicit, version), (3, 31, Replaced, version)];
    assert_eq!(heard.take(), expected);
    let version = cache.invalidate(&1);
    assert_eq!(heard.take(), [(1, 11, Explicit, version), (3, 32, Related, version)]);
}

fn values_that_the_bound_evicts<R: Reclaim>() {
    let (heard, cache) = heard::<R>(|builder| builder.max_capacity(10));
    let mut written = Version::from_u64(0);
    for key in 0..100 {
        let version = cache.insert(key, key);
        let left = heard.take();
        assert_eq!(left.len(), usize::from(key >= 10));
        for (key, value, cause, by) in left {
            assert_eq!((key, cause), (value, Size));
            assert!(by > version && by == cache.version() && !cache.contains_key(&key));
        }
        assert!(written < version);
        written = version;
    }
    let (heard, cache) =
        self::heard::<R>(|builder| builder.max_capacity(10).weigher(|_, value| *value as u32));
    cache.insert(1, 5);
    let version = cache.insert(1, 11);
    let expected = [(1, 5, Replaced, version), (1, 11, Size, cache.version())];
    assert_eq!(heard.take(), expected);
}

fn values_that_expire<R: Reclaim>() {
    let clock = ManualClock::new();
    let (heard, cache) =
        heard::<R>(|builder| builder.manual_clock(&clock).time_to_live(Duration::from_secs(1)));
    // A write of another key ends it, when it turns the wheel.
    let before = cache.insert(1, 10);
    clock.advance(Duration::from_secs(2));
    assert_eq!((cache.get(&1), heard.take()), (None, vec![]));
    cache.insert_with_ttl(9, 90, Duration::MAX);
    let left = heard.take();
    assert_eq!((left.len(), &left[0].0, &left[0].1, &left[0].2), (1, &1, &10, &Expired));
    assert!(left[0].3 > before);
    // A write of that key ends it, before the wheel reaches it.
    let over = |key| {
        cache.insert(key, key);
        clock.advance(Duration::from_secs(1));
    };
    over(2);
    let version = cache.insert(2, 21);
    assert_eq!(heard.take(), [(2, 2, Expired, version)]);
    over(3);
    assert_eq!(cache.remove(&3), None);
    over(4);
    cache.invalidate(&4);
    over(5);
    cache.compare_and_set(5, None, 51).unwrap();
    over(6);
    cache.batch().remove(6).insert(7, 7).commit();
    let left: Vec<_> =
        heard.take().into_iter().map(|(key, value, why, _)| (key, value, why)).collect();
    // In addition, values whose deadlines passed in the meantime.
    for key in [3, 4, 5, 6] {
        assert!(left.contains(&(key, key, Expired)), "{key}: {left:?}");
    }
    assert!(left.iter().all(|(.., why)| *why == Expired), "{left:?}");
    // The listener does not hear of present values, or of any value before its time.
    cache.insert(8, 80);
    let version = cache.insert(8, 81);
    assert!(heard.take().contains(&(8, 80, Replaced, version)));
}

/// Whatever happens to a cleared value first, it left by the clearing.
fn values_that_are_cleared<R: Reclaim>() {
    let clock = ManualClock::new();
    let (heard, cache) = heard::<R>(|builder| builder.manual_clock(&clock).max_capacity(100));
    for key in 0..60 {
        match key % 3 {
            0 => _ = cache.insert(key, key),
            _ => _ = cache.insert_with_ttl(key, key, Duration::from_secs(1)),
        }
    }
    let version = cache.invalidate_all();
    clock.advance(Duration::from_secs(2));
    cache.insert(0, 1_000);
    cache.insert(1, 1_000);
    cache.remove(&3);
    cache.remove(&4);
    cache.batch().insert(5, 1_000).remove(6).remove(7).commit();
    // Later writes then sweep the others.
    (0..10_000).for_each(|key| _ = cache.insert(1_000 + key, key));
    let mut left = heard.take();
    left.retain(|(key, ..)| *key < 60);
    left.retain(|(_, value, ..)| *value != 1_000);
    let expected: Vec<_> = (0..60).map(|key| (key, key, Explicit, version)).collect();
    assert_eq!(left, expected);
}

/// However often everything is cleared, earlier cleared values are still swept.
fn values_that_are_cleared_again_and_again<R: Reclaim>() {
    let (heard, cache) = heard::<R>(|builder| builder);
    let mut waiting = 0;
    for round in 0..3_000 {
        (0..20).for_each(|key| _ = cache.insert(round * 20 + key, 0));
        cache.invalidate_all();
        waiting += 20;
        waiting -= heard.take().len();
    }
    assert!(waiting < 20_000, "{waiting} of 60000 were not reported");
}

/// Taking a lease on a cleared entry ends the entry. A thread that writes nothing reports it, too.
fn a_lease_on_a_cleared_entry<R: Reclaim>() {
    let (heard, cache) = heard::<R>(|builder| builder);
    (0..60).for_each(|key| _ = cache.insert(key, key));
    let version = cache.invalidate_all();
    let leases: Vec<_> = (0..60).map(|key| cache.lease(&key)).collect();
    let expected: Vec<_> = (0..60).map(|key| (key, key, Explicit, version)).collect();
    assert_eq!(heard.take(), expected);
    assert!(leases.into_iter().all(|lease| lease.fill(1).is_ok()));
}

/// A cleared entry may end in the hands of a thread that only reads. It is reported nevertheless,
/// while that thread goes on reading.
fn beside_a_thread_that_reads<R: Reclaim>() {
    let (heard, cache) = heard::<R>(|builder| builder);
    let stop = AtomicBool::new(false);
    let reads = [const { AtomicU64::new(0) }; 2];
    // Waits until each of the readers has done this many reads.
    let each_has_read = |times| {
        let before = reads.each_ref().map(|reads| reads.load(Relaxed));
        let reads = || reads.iter().map(|reads| reads.load(Relaxed));
        while reads().zip(before).any(|(now, before)| now < before + times) {
            std::thread::yield_now();
        }
    };
    std::thread::scope(|scope| {
        let _stop = crate::common::StopOnDrop(&stop);
        for reads in &reads {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    cache.get(&0);
                    reads.fetch_add(1, Relaxed);
                }
            });
        }
        let mut told = 0;
        for round in 0..10 {
            (0..100).for_each(|key| _ = cache.insert(key, round));
            cache.invalidate_all();
            (0..1_000).for_each(|key| _ = cache.insert(1_000 + key % 10, key));
            each_has_read(500);
            told += heard.take().iter().filter(|(key, ..)| *key < 1_000).count();
        }
        for _ in 0..1_000 {
            if told == 1_000 {
                break;
            }
            (0..100).for_each(|key| _ = cache.insert(1_000 + key % 10, key));
            each_has_read(2);
            told += heard.take().iter().filter(|(key, ..)| *key < 1_000).count();
        }
        assert_eq!(told, 1_000);
    });
}

/// A value that a view still shows has left the cache nevertheless.
fn a_view_does_not_hold_it_back<R: Reclaim>() {
    let (heard, cache) = heard::<R>(|builder| builder);
    cache.insert(1, 10);
    let view = cache.view();
    let version = cache.insert(1, 11);
    assert_eq!(heard.take(), [(1, 10, Replaced, version)]);
    assert_eq!(view.get(&1), Some(&10));
    drop(view);
    (0..5_000).for_each(|_| _ = cache.insert(2, 2));
    assert!(heard.take().iter().all(|(key, ..)| *key == 2), "reported twice");
}

/// Each call of `maintain` reports what it has removed, its last step included: the thread may do
/// nothing else.
fn maintenance_reports_what_it_removes<R: Reclaim>() {
    const KEYS: u64 = 100;
    let (clock, heard) = (ManualClock::new(), Heard::default());
    let builder = coeval::Cache::builder().manual_clock(&clock);
    let cache: Cache<R> = heard.listen(builder);
    for key in 0..KEYS {
        cache.insert_tagged(key, key, &["tag".into()]);
        cache.insert_with_ttl(KEYS + key, key, Duration::from_millis(1));
    }
    cache.invalidate_tag("tag");
    clock.advance(Duration::from_secs(1));
    let (mut seen, mut calls) = (heard.take().len(), 0);
    while cache.maintain(1) {
        seen += heard.take().len();
        calls += 1;
        assert_eq!((cache.len() + seen) as u64, 2 * KEYS, "after {calls} calls");
    }
    seen += heard.take().len();
    assert!(calls > 5, "{calls}");
    assert_eq!((cache.len(), seen as u64), (0, 2 * KEYS));
}

on_every_reclaimer!(
    maintenance_reports_what_it_removes,
    each_write_reports_what_it_replaced,
    values_that_relations_remove,
    values_that_the_bound_evicts,
    values_that_expire,
    values_that_are_cleared,
    values_that_are_cleared_again_and_again,
    a_lease_on_a_cleared_entry,
    beside_a_thread_that_reads,
    a_view_does_not_hold_it_back,
);
