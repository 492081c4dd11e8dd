//! Promise: a brief view shows one instant, and the time of that instant.

use crate::common::{StopOnDrop, on_every_reclaimer};
use coeval::reclaim::Reclaim;
use coeval::{Cache, ManualClock};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

fn cache<R: Reclaim>() -> Cache<u64, u64, coeval::RandomState, R> {
    Cache::builder().reclaimer::<R>().build()
}

/// Whatever is written meanwhile, by whatever operation, the view still shows what it has shown.
fn it_shows_one_instant<R: Reclaim>() {
    let cache = Cache::<u64, u64>::builder().reclaimer::<R>().max_capacity(8).build();
    cache.insert_tagged(3, 3, &["tag".into()]);
    let version = cache.batch().insert(1, 1).insert(2, 2).commit();
    let seen = cache.view_briefly(|view| {
        let before = [1, 2, 3, 4].map(|key| view.get(&key).unwrap());
        cache.insert(1, 10);
        cache.insert(1, 11);
        cache.remove(&2);
        cache.invalidate_tag("tag");
        cache.insert(4, 4);
        (100..200).for_each(|key| _ = cache.insert(key, 0)); // evicts
        cache.invalidate_all();
        let after = [1, 2, 3, 4].map(|key| view.get(&key).unwrap());
        assert_eq!((before, view.version()), (after, version));
        assert_eq!(view.get_versioned(&1)?, Some((&1, version)));
        Ok(before.map(|value| value.copied()))
    });
    assert_eq!(seen, [Some(1), Some(2), Some(3), None]);
    assert!(cache.is_empty());
}

/// What expires while the closure runs is still there, and what had expired is not.
fn its_time_stands_still<R: Reclaim>() {
    let clock = ManualClock::new();
    let builder = Cache::<u64, u64>::builder().reclaimer::<R>().manual_clock(&clock);
    let cache = builder.time_to_live(Duration::from_secs(10)).build();
    cache.insert(1, 1);
    clock.advance(Duration::from_secs(5));
    cache.insert(2, 2);
    clock.advance(Duration::from_secs(5));
    cache.view_briefly(|view| {
        assert_eq!((view.get(&1)?, view.get(&2)?), (None, Some(&2)));
        clock.advance(Duration::from_secs(20));
        assert_eq!((view.contains_key(&1)?, view.contains_key(&2)?), (false, true));
        assert_eq!(cache.get(&2), None);
        Ok(())
    });
}

/// A version that no registered view needs may go. The closure then runs once more, in a registered
/// view.
fn it_is_repeated_if_it_was_overtaken<R: Reclaim>() {
    let cache = cache::<R>();
    cache.insert(1, 1);
    let older = cache.view();
    let newer = cache.batch().insert(1, 2).insert(2, 2).commit();
    let mut calls = Vec::new();
    let (one, two) = cache.view_briefly(|view| {
        calls.push(view.version());
        if calls.len() == 1 {
            cache.batch().insert(1, 3).insert(2, 3).commit();
            cache.batch().insert(1, 4).insert(2, 4).commit();
        }
        let two = view.get(&2)?;
        Ok((view.get(&1)?.copied(), two.copied()))
    });
    assert_eq!((one, two, calls.len()), (Some(4), Some(4), 2));
    assert_eq!((calls[0], calls[1]), (newer, cache.version()));
    assert_eq!(older.get(&1), Some(&1));
    assert_eq!(cache.stats().views, 1);
}

/// Writers keep all keys of a group equal, and one of two keys absent.
fn no_writer_is_seen_half<R: Reclaim>() {
    let (cache, done) = (cache::<R>(), AtomicBool::new(false));
    cache.insert_many((0..4).map(|key| (key, 0)));
    cache.insert(10, 0);
    std::thread::scope(|scope| {
        for writer in 0..2 {
            let (cache, done) = (&cache, &done);
            scope.spawn(move || {
                let mut n = writer;
                while !done.load(Relaxed) {
                    n += 2;
                    cache.insert_many((0..4).map(|key| (key, n)));
                    let (from, to) = if n % 4 < 2 { (10, 11) } else { (11, 10) };
                    let _ = cache.atomically(|tx| {
                        tx.remove(from);
                        tx.insert(to, n);
                    });
                }
            });
        }
        scope.spawn(|| {
            let _older = (0..200).fold(None, |older, n| {
                std::thread::yield_now();
                if n % 3 == 0 { Some(cache.view()) } else { older }
            });
        });
        let _done = StopOnDrop(&done);
        for _ in 0..5_000 {
            let (group, either) = cache.view_briefly(|view| {
                let mut group = [None; 4];
                for key in 0..4 {
                    group[key as usize] = view.get(&key)?.copied();
                }
                Ok((group, [view.contains_key(&10)?, view.contains_key(&11)?]))
            });
            assert!(group.iter().all(|value| *value == group[0] && value.is_some()), "{group:?}");
            assert!(either[0] != either[1], "{either:?}");
        }
    });
}

/// A panic ends the view. What was retired under it is reclaimed, and it counts as no use.
fn a_panic_ends_it<R: Reclaim>() {
    let cache = cache::<R>();
    cache.insert(1, 1);
    let panic = catch_unwind(AssertUnwindSafe(|| {
        cache.view_briefly(|view| {
            cache.insert(1, 2);
            let seen = view.get(&1)?;
            assert_eq!(seen, None, "the closure panics");
            Ok(())
        })
    }));
    assert!(panic.is_err());
    assert_eq!(cache.get(&1), Some(2));
    while cache.maintain(100) {}
    let stats = cache.stats();
    assert_eq!((stats.retired, stats.views, stats.hits, stats.misses), (0, 0, 1, 0));
}

/// A view inside of another one: each is repeated for itself.
fn views_in_views<R: Reclaim>() {
    let (outer, inner) = (cache::<R>(), cache::<R>());
    outer.insert(1, 1);
    inner.insert(1, 1);
    let _older = (outer.view(), inner.view());
    outer.insert(1, 2);
    inner.insert(1, 2);
    let mut calls = [0; 2];
    let seen = outer.view_briefly(|view| {
        calls[0] += 1;
        if calls[0] == 1 {
            outer.insert(1, 3);
        }
        let of_inner = inner.view_briefly(|view| {
            calls[1] += 1;
            if calls[1] == 1 {
                inner.insert(1, 3);
            }
            Ok(view.get(&1)?.copied())
        });
        Ok((view.get(&1)?.copied(), of_inner))
    });
    assert_eq!((seen, calls), ((Some(3), Some(3)), [2, 3]));
}

on_every_reclaimer!(
    it_shows_one_instant,
    its_time_stands_still,
    it_is_repeated_if_it_was_overtaken,
    no_writer_is_seen_half,
    a_panic_ends_it,
    views_in_views,
);
