//! Promise: every key and value is dropped exactly once. The number of live ones never exceeds what
//! the entries, the open views and a bounded number of retired objects account for.

use crate::common::counted::{ById, Counted, Ledgers};
use crate::common::random::{Random, run_seed};
use crate::common::{StopOnDrop, Store, on_every_reclaimer, store, stress, together, within};
use coeval::reclaim::Reclaim;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The most objects that one thread may have retired and not yet dropped, while no thread holds a
/// guard.
const RETIRED: i64 = 8_192;

type Cache<R> = Store<Counted, Counted, R>;

/// Does one random operation. A value is its key's number times 1000, plus a small number.
fn operate<R: Reclaim>(cache: &Cache<R>, made: &Ledgers, random: &mut Random, keys: u64) {
    let id = random.below(keys);
    let value = |id: u64| made.value(id * 1_000 + 7);
    let right = |found: &Counted| assert_eq!(found.read(), id * 1_000 + 7);
    match random.below(13) {
        0..3 => {
            cache.insert(made.key(id), value(id));
        }
        3 => {
            if let Some(found) = cache.remove(&ById(id)) {
                right(&found);
            }
        }
        4 => {
            let mut batch = cache.batch();
            for _ in 0..random.below(8) {
                let id = random.below(keys);
                batch = match random.below(4) {
                    0 => batch.remove(made.key(id)),
                    1 => batch.invalidate(made.key(id)),
                    _ => batch.insert(made.key(id), value(id)),
                };
            }
            if random.one_in(4) {
                drop(batch);
            } else {
                batch.commit();
            }
        }
        5 => {
            let held = cache.get_versioned(&ById(id)).map(|(_, version)| version);
            let expected = held.filter(|_| !random.one_in(3));
            if let Err(conflict) = cache.compare_and_set(made.key(id), expected, value(id))
                && random.one_in(2)
            {
                right(&conflict.into_value::<Counted>().expect("the value comes back"));
            }
        }
        6 => {
            let view = cache.view();
            for (key, value) in view.iter() {
                assert_eq!(key.read() * 1_000 + 7, value.read());
            }
        }
        7 => {
            let pinned = cache.pin();
            let found = pinned.get(&ById(id));
            cache.insert(made.key(id), value(id));
            found.inspect(|found| right(found));
        }
        8 => drop(cache.get_many([&ById(id), &ById(random.below(keys))])),
        9 if random.one_in(50) => {
            cache.invalidate_all();
        }
        10 => {
            cache.invalidate(&ById(id));
        }
        11 => {
            let (other, mut is_disturbed) = (random.below(keys), random.one_in(3));
            let outcome = cache.transact(|tx| {
                tx.get_many([&made.key(id), &made.key(other)])[0].iter().for_each(right);
                if std::mem::take(&mut is_disturbed) {
                    cache.insert(made.key(id), value(id));
                }
                tx.insert(made.key(other), value(other));
                Ok::<_, Infallible>(())
            });
            drop(outcome);
        }
        _ => {
            cache.get(&ById(id)).iter().for_each(right);
        }
    }
}

fn all_are_dropped_once<R: Reclaim>() {
    let mut seeds = Random::new(run_seed());
    for round in 0..stress(40, 500, 10_000) {
        let seed = seeds.next();
        let mut random = Random::new(seed);
        let made = Ledgers::new();
        let keys = [1, 5, 100, 3_000][random.below(4) as usize];
        let cache = store();
        let mut views = Vec::new();
        for _ in 0..1_500 {
            operate::<R>(&cache, &made, &mut random, keys);
            if random.one_in(100) {
                views.push(cache.view());
            }
            if random.one_in(120) {
                views.pop();
            }
        }
        match round % 3 {
            0 => drop((views, cache)),
            1 => drop((cache, views)),
            _ => std::thread::scope(|scope| {
                // A thread other than the workers is the last owner.
                scope.spawn(move || drop((cache.clone(), views, cache)));
            }),
        }
        println!("seed {seed}");
        made.assert_settled();
    }
}

fn all_are_dropped_once_after_many_threads<R: Reclaim>() {
    let mut seeds = Random::new(run_seed());
    for _ in 0..stress(6, 100, 3_000) {
        let seed = seeds.next();
        let made = Ledgers::new();
        let cache = store();
        let keys = [3, 50, 2_000][seed as usize % 3];
        together(6, |thread| {
            let mut random = Random::new(seed ^ thread as u64);
            let mut view = None;
            for _ in 0..1_500 {
                operate::<R>(&cache, &made, &mut random, keys);
                if random.one_in(50) {
                    view = Some(cache.view());
                }
                if random.one_in(50) {
                    view = None;
                }
            }
            drop(view);
        });
        drop(cache);
        println!("seed {seed}");
        made.assert_settled();
    }
}

/// References of a pin stay valid, whatever the same thread reads and others overwrite in the
/// meantime.
fn pinned_values_outlive_their_overwriting<R: Reclaim>() {
    let rounds = stress(60, 1_000, 20_000);
    let made = Ledgers::new();
    let cache = store::<_, _, R>();
    cache.insert(made.key(1), made.value(1));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for id in 2.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                cache.insert(made.key(1), made.value(id));
                cache.insert(made.key(id), made.value(id));
                drop(cache.remove(&ById(id)));
            }
        });
        let _stop = StopOnDrop(&stop);
        for _ in 0..rounds {
            let pinned = cache.pin();
            let held = pinned.get(&ById(1)).expect("never removed");
            let (id, version) = (held.read(), cache.version());
            // Other threads retire several thousand versions in the meantime.
            while cache.version().get() < version.get() + 6_000 {
                assert!(cache.get(&ById(1)).expect("never removed").read() >= id);
                drop(cache.view());
                assert_eq!(held.read(), id, "a pinned value changed");
            }
        }
    });
    drop(cache);
    made.assert_settled();
}

/// The bound of the protocol: versions kept per key ≤ registered views + 2.
fn held_views_keep_a_bounded_number_of_versions<R: Reclaim>() {
    const KEYS: u64 = 16;
    let rounds = stress(60_000, 2_000_000, 10_000_000);
    let made = Ledgers::new();
    let cache = store::<_, _, R>();
    let mut views = Vec::new();
    for round in 0..rounds {
        let id = round % KEYS;
        if round % 3 == 0 {
            let batch = cache.batch().insert(made.key(id), made.value(round));
            batch.insert(made.key((id + 5) % KEYS), made.value(round)).commit();
        } else {
            cache.insert(made.key(id), made.value(round));
        }
        if round % (rounds / 5) == rounds / 7 {
            views.push(cache.view());
        }
        let bound = (KEYS as i64) * (views.len() as i64 + 2) + RETIRED;
        assert!(
            made.values.live() <= bound,
            "{} values live beside {} views after {round} overwrites",
            made.values.live(),
            views.len()
        );
    }
    assert_eq!(views.len(), 5);
    drop(views);
    for round in 0..rounds / 10 {
        cache.insert(made.key(round % KEYS), made.value(round));
    }
    assert!(made.values.live() <= KEYS as i64 * 2 + RETIRED);
    drop(cache);
    made.assert_settled();
}

/// Views come and go, and at least one of them is always open. No chain grows.
fn overlapping_views_keep_a_bounded_number_of_versions<R: Reclaim>() {
    let rounds = stress(60_000, 2_000_000, 10_000_000);
    let made = Ledgers::new();
    let cache = store::<_, _, R>();
    let mut views = std::collections::VecDeque::new();
    for round in 0..rounds {
        cache.insert(made.key(round % 4), made.value(round));
        if round % 10 == 0 {
            views.push_back(cache.view());
        }
        if views.len() > 3 {
            views.pop_front();
        }
        let live = made.values.live();
        assert!(live <= 4 * 6 + RETIRED, "{live} values live after {round} overwrites");
    }
    drop((views, cache));
    made.assert_settled();
}

/// Views follow one another while batches write. What waits for one view is worked off beside the
/// next ones, however many entries a batch has.
fn views_in_a_row_beside_batches_keep_a_bounded_number_of_versions<R: Reclaim>() {
    const KEYS: u64 = 4_000;
    const WRITES: u64 = 64;
    let views = stress(60, 1_000, 10_000);
    let made = Ledgers::new();
    let cache = store::<_, _, R>();
    let mut next = 0;
    for _ in 0..views {
        let view = cache.view();
        for _ in 0..KEYS / WRITES {
            let mut batch = cache.batch();
            for _ in 0..WRITES {
                batch = batch.insert(made.key(next % KEYS), made.value(next));
                next += 1;
            }
            batch.commit();
        }
        drop(view);
        let live = made.values.live();
        assert!(live <= 4 * KEYS as i64 + RETIRED, "{live} values live after {next} overwrites");
    }
    drop(cache);
    made.assert_settled();
}

/// Many views are open, and close in any order while batches write. What they hand on to one
/// another is worked off as well.
fn many_views_beside_batches_keep_a_bounded_number_of_versions<R: Reclaim>() {
    const KEYS: u64 = 20_000;
    const WRITES: u64 = 64;
    const VIEWS: u64 = 16;
    /// The number of batches from one view to the next.
    const BATCHES: u64 = 12;
    /// What closed views may have left to writers.
    const LEFT: u64 = 80_000;
    const MOST: i64 = (KEYS + VIEWS * BATCHES * WRITES + LEFT) as i64 + RETIRED;
    let closed = stress(400, 2_000, 20_000);
    let mut random = Random::new(run_seed());
    let made = Ledgers::new();
    let cache = store::<_, _, R>();
    let mut views = Vec::new();
    for round in 0..closed {
        for _ in 0..BATCHES {
            let mut batch = cache.batch();
            for _ in 0..WRITES {
                batch = batch.insert(made.key(random.below(KEYS)), made.value(round));
            }
            batch.commit();
        }
        if views.len() as u64 == VIEWS {
            views.swap_remove(random.below(VIEWS) as usize);
        }
        views.push(cache.view());
        let live = made.values.live();
        assert!(live <= MOST, "{live} values live beside {VIEWS} views, round {round}");
    }
    drop((views, cache));
    made.assert_settled();
}

/// A write does a bounded part of what a long view has left, also after a large batch.
fn a_write_after_a_long_view_works_off_a_little<R: Reclaim>() {
    const KEYS: u64 = 20_000;
    const PART: u64 = 1_024;
    let made = Ledgers::new();
    let cache = store::<_, _, R>();
    let all = |round| (0..KEYS).map(move |id| (id, round));
    for with_view in [false, true] {
        let view = with_view.then(|| cache.view());
        cache.insert_many(all(1).map(|(id, round)| (made.key(id), made.value(round))));
        drop(view);
        let view = cache.view();
        for (id, round) in all(2) {
            cache.insert(made.key(id), made.value(round));
        }
        drop(view);
        let (before, retired) = (made.values.live(), cache.stats().retired);
        cache.insert(made.key(0), made.value(3));
        let done = cache.stats().retired.abs_diff(retired) + made.values.live().abs_diff(before);
        assert!(done <= PART, "one write retired or dropped {done} objects");
    }
    drop(cache);
    made.assert_settled();
}

/// Views close in any order. Versions that only they needed are freed, and versions that others
/// need stay, for many keys and for one.
fn views_that_close_in_any_order_free_their_versions<R: Reclaim>() {
    const VIEWS: u64 = 24;
    for keys in [2_000, 1] {
        let mut random = Random::new(run_seed());
        let rounds = if keys > 1 { 1 } else { stress(100, 1_000, 1_000) };
        let made = Ledgers::new();
        let cache = store::<_, _, R>();
        let mut views = Vec::new();
        for round in 0..VIEWS * rounds {
            (0..keys).for_each(|id| _ = cache.insert(made.key(id), made.value(round)));
            views.push((round, cache.view()));
            if round % 3 == 0 {
                // Versions that no view shows.
                (0..keys).for_each(|id| _ = cache.insert(made.key(id), made.value(u64::MAX)));
            }
        }
        while !views.is_empty() {
            for _ in 0..views.len().div_ceil(4) {
                views.swap_remove(random.below(views.len() as u64) as usize);
            }
            // Other writers process what a closing view leaves.
            for round in 0..keys * VIEWS {
                cache.insert(made.key(keys), made.value(round));
            }
            let most = keys as i64 * (views.len() as i64 + 1) + RETIRED;
            let live = made.values.live();
            assert!(live <= most, "{live} values live beside {} views of {keys} keys", views.len());
            for (round, view) in &views {
                let id = random.below(keys);
                assert_eq!(view.get(&ById(id)).expect("in the view").read(), *round);
            }
        }
        drop(cache);
        made.assert_settled();
    }
}

/// One long view, with writers and short views beside it. What is left at rest is bounded.
fn at_rest_a_held_view_keeps_little<R: Reclaim>() {
    const KEYS: u64 = 32;
    const THREADS: usize = 4;
    let rounds = stress(40_000, 500_000, 5_000_000);
    let made = Ledgers::new();
    let cache = store::<_, _, R>();
    for id in 0..KEYS {
        cache.insert(made.key(id), made.value(id));
    }
    let view = cache.view();
    together(THREADS, |thread| {
        let mut random = Random::new(thread as u64);
        for round in 0..rounds {
            cache.insert(made.key(random.below(KEYS)), made.value(round));
            if random.one_in(64) {
                cache.view().get(&ById(random.below(KEYS)));
            }
        }
    });
    // Later writers reclaim what the ended writers left, once no thread has their numbers. Threads
    // of other tests may have them for a while.
    within(Duration::from_secs(120), "reclaiming what ended threads left", || {
        for round in 0.. {
            cache.insert(made.key(round % KEYS), made.value(round));
            if made.values.live() <= KEYS as i64 * 3 + RETIRED {
                break;
            }
        }
    });
    assert!((0..KEYS).all(|id| view.get(&ById(id)).expect("in the view").read() == id));
    drop((view, cache));
    made.assert_settled();
}

fn fresh_keys_that_are_removed_leave_nothing<R: Reclaim>() {
    let rounds = stress(60_000, 2_000_000, 20_000_000);
    let made = Ledgers::new();
    let cache = store::<_, _, R>();
    for id in 0..rounds {
        let version = cache.insert(made.key(id), made.value(id));
        if id >= 10 {
            let gone = id - 10;
            match id % 3 {
                0 => assert_eq!(cache.remove(&ById(gone)).expect("inserted").read(), gone),
                1 => assert!(cache.invalidate(&ById(gone)) > version),
                _ => assert!(cache.batch().remove(made.key(gone)).commit() > version),
            }
        }
        let (keys, values) = (made.keys.live(), made.values.live());
        assert!(keys <= RETIRED && values <= RETIRED, "{keys} keys and {values} values live");
    }
    assert_eq!(cache.len(), 10);
    drop(cache);
    made.assert_settled();
}

fn invalidate_all_frees_everything<R: Reclaim>() {
    let made = Ledgers::new();
    let cache = store::<_, _, R>();
    for round in 0..stress(4, 50, 1_000) {
        for id in 0..20_000 {
            cache.insert(made.key(id), made.value(round));
        }
        cache.invalidate_all();
        // These writes give the reclaimer opportunities to reclaim.
        for id in 0..20_000 {
            cache.insert(made.key(id % 8), made.value(round));
        }
        let (keys, values) = (made.keys.live(), made.values.live());
        assert!(keys <= RETIRED && values <= RETIRED, "{keys} keys and {values} values live");
    }
    drop(cache);
    made.assert_settled();
}

on_every_reclaimer!(
    all_are_dropped_once,
    all_are_dropped_once_after_many_threads,
    pinned_values_outlive_their_overwriting,
    held_views_keep_a_bounded_number_of_versions,
    overlapping_views_keep_a_bounded_number_of_versions,
    views_in_a_row_beside_batches_keep_a_bounded_number_of_versions,
    many_views_beside_batches_keep_a_bounded_number_of_versions,
    a_write_after_a_long_view_works_off_a_little,
    views_that_close_in_any_order_free_their_versions,
    at_rest_a_held_view_keeps_little,
    fresh_keys_that_are_removed_leave_nothing,
    invalidate_all_frees_everything,
);
