//! Promise: a removal by a predicate removes what the predicate has chosen, and nothing that it has
//! not seen. The iterators of a cache show one instant.

use crate::common::{Store, on_every_reclaimer, store, together};
use coeval::reclaim::Reclaim;
use coeval::{Cache as Plain, RemovalCause};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

type Cache<R> = Store<u64, u64, R>;

const KEYS: u64 = 2000;

fn filled<R: Reclaim>() -> Cache<R> {
    let cache: Cache<R> = store();
    (0..KEYS).for_each(|key| _ = cache.insert(key, key));
    cache
}

fn what_is_chosen_goes<R: Reclaim>() {
    let cache = filled::<R>();
    let mut judged = Vec::new();
    let removed = cache.retain(|key, value| {
        judged.push(*key);
        assert_eq!(key, value);
        key % 3 != 0
    });
    judged.sort_unstable();
    assert_eq!(judged, (0..KEYS).collect::<Vec<_>>());
    assert_eq!(removed, KEYS.div_ceil(3));
    assert_eq!(cache.len() as u64, KEYS - removed);
    assert!((0..KEYS).all(|key| cache.contains_key(&key) == (key % 3 != 0)));
    assert_eq!(cache.invalidate_entries_if(|key, _| key % 3 == 1), 667);
    assert!((0..KEYS).all(|key| cache.contains_key(&key) == (key % 3 == 2)));
    assert_eq!(cache.retain(|_, _| false), 666);
    assert_eq!((cache.len(), cache.collect(), cache.retain(|_, _| panic!())), (0, 0, 0));
}

fn progress_can_be_watched<R: Reclaim>() {
    let cache = filled::<R>();
    let commits = cache.stats().commits;
    let (mut steps, mut last) = (0, None::<coeval::RemovalProgress>);
    for progress in cache.retain_in_parts(|key, _| key % 2 == 0) {
        let before = last.unwrap_or_default();
        assert!(progress.parts_done > before.parts_done && progress.parts_done <= progress.parts);
        assert!(progress.judged - before.judged < 512, "a step is bounded");
        assert_eq!(KEYS - progress.removed, cache.len() as u64);
        (steps, last) = (steps + 1, Some(progress));
    }
    let last = last.unwrap();
    assert_eq!((last.parts_done, last.judged, last.removed), (last.parts, KEYS, KEYS / 2));
    assert!(steps > 4);
    let made = cache.stats().commits - commits;
    assert!(made <= steps, "{made} commits for {steps} steps");
    let _ = cache.retain_in_parts(|_, _| false).next();
    assert!(!cache.is_empty(), "it was dropped after the first step");
}

/// Each key is overwritten by a value that the predicate would keep, while the predicate judges.
fn a_value_that_was_not_judged_stays<R: Reclaim>() {
    let cache = filled::<R>();
    let mut overwritten = 0;
    cache.retain(|key, value| {
        if key % 2 == 0 {
            cache.insert(*key, KEYS);
            overwritten += 1;
        }
        *value >= KEYS
    });
    assert_eq!(overwritten, KEYS / 2);
    assert!((0..KEYS).all(|key| cache.get(&key) == (key % 2 == 0).then_some(KEYS)));
}

fn beside_writers<R: Reclaim>() {
    let cache = filled::<R>();
    let is_done = AtomicBool::new(false);
    together(3, |thread| {
        if thread == 0 {
            for _ in 0..20 {
                cache.retain(|_, value| value % 2 == 0);
            }
            is_done.store(true, SeqCst);
            return;
        }
        let mut round = 0;
        while !is_done.load(SeqCst) {
            round += 1;
            for key in (thread as u64..KEYS).step_by(40) {
                cache.insert(key, round * 2);
                assert_eq!(cache.get(&key), Some(round * 2), "an even value stays");
                cache.insert(key + KEYS, round * 2 + 1);
            }
            if round > 20_000 {
                break;
            }
        }
    });
    cache.retain(|_, value| value % 2 == 0);
    assert!(cache.iter().all(|(_, value)| value % 2 == 0));
    assert_eq!(cache.iter().count(), cache.len());
}

fn a_panic_keeps_the_part<R: Reclaim>() {
    let cache = filled::<R>();
    let mut left = 1000;
    let panics = catch_unwind(AssertUnwindSafe(|| {
        cache.retain(|_, _| {
            left -= 1;
            assert!(left > 0, "the predicate panics");
            false
        })
    }));
    assert!(panics.is_err());
    assert!(cache.len() as u64 > KEYS - 1000 && (cache.len() as u64) < KEYS);
    let rest = cache.len() as u64;
    assert_eq!((cache.retain(|_, _| false), cache.len()), (rest, 0));
}

fn iterators_show_one_instant<R: Reclaim>() {
    let cache = filled::<R>();
    let (entries, mut keys, mut values) = (cache.iter(), cache.keys(), cache.values());
    let version = cache.version();
    assert_eq!(entries.version(), version);
    cache.invalidate_all();
    cache.insert(KEYS, 0);
    let mut shown: Vec<_> = entries.collect();
    shown.sort_unstable();
    assert!(shown.into_iter().eq((0..KEYS).map(|key| (key, key))));
    assert_eq!(keys.by_ref().sum::<u64>(), KEYS * (KEYS - 1) / 2);
    assert_eq!(values.by_ref().max(), Some(KEYS - 1));
    assert_eq!((keys.next(), values.next()), (None, None));
    drop((keys, values));
    assert_eq!((&cache).into_iter().collect::<Vec<_>>(), [(KEYS, 0)]);
    let view = cache.view();
    assert_eq!((view.keys().next(), view.values().next()), (Some(&KEYS), Some(&0)));
    drop(view);
    assert_eq!(cache.collect(), 0, "no view is left open");
}

on_every_reclaimer!(
    what_is_chosen_goes,
    progress_can_be_watched,
    a_value_that_was_not_judged_stays,
    beside_writers,
    a_panic_keeps_the_part,
    iterators_show_one_instant,
);

#[test]
fn the_listener_hears_of_it() {
    let left = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&left);
    let cache = Plain::builder()
        .eviction_listener(move |key: Arc<u64>, _: u64, cause, _| {
            heard.lock().unwrap().push((*key, cause));
        })
        .build();
    (0..4).for_each(|key| _ = cache.insert(key, key));
    cache.retain(|key, _| *key > 0);
    cache.invalidate_entries_if(|key, _| *key == 1);
    let explicit = RemovalCause::Explicit;
    assert_eq!(*left.lock().unwrap(), [(0, explicit), (1, explicit)]);
}
