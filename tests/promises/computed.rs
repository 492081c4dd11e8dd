//! Promise: a computed entry is one atomic step. Its closure sees what the commit replaces, and
//! runs again if another commit came in between. A panic changes nothing.

use crate::common::{Store, on_every_reclaimer, store, together};
use coeval::reclaim::Reclaim;
use coeval::{Cache as Plain, CompResult, ManualClock, Op, Terms};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

type Cache<R> = Store<u64, u64, R>;

const THREADS: usize = 4;
const ROUNDS: u64 = 500;

fn sums_are_exact<R: Reclaim>() {
    let cache: Cache<R> = store();
    together(THREADS, |_| {
        for _ in 0..ROUNDS {
            cache.entry(1).and_upsert_with(|entry| entry.map_or(1, |entry| entry.into_value() + 1));
            cache
                .entry_by_ref(&2)
                .and_compute_with(|entry| Op::Put(entry.map_or(1, |entry| entry.into_value() + 1)));
            cache.upsert(3, |was| was.map_or(1, |was| was + 1));
            cache.get_and_update(4, |was| Some(was.map_or(1, |was| was + 1)));
        }
    });
    let sum = Some(THREADS as u64 * ROUNDS);
    assert_eq!(cache.get_many([&1, &2, &3, &4]), [sum, sum, sum, sum]);
}

/// The old values that the callers get are all different: none is lost, and none is seen twice.
fn each_value_is_replaced_once<R: Reclaim>() {
    let cache: Cache<R> = store();
    let seen: Vec<AtomicUsize> = (0..THREADS as u64 * ROUNDS).map(|_| 0.into()).collect();
    together(THREADS, |_| {
        for _ in 0..ROUNDS {
            let was = cache.get_and_update(1, |was| Some(was.map_or(0, |was| was + 1)));
            if let Some(was) = was {
                seen[was as usize].fetch_add(1, SeqCst);
            }
        }
    });
    let last = seen.len() - 1;
    assert_eq!(cache.get(&1), Some(last as u64));
    assert!(seen[..last].iter().all(|times| times.load(SeqCst) == 1));
}

/// Elements are taken out by one thread each, while others put them back.
fn removals_and_insertions_alternate<R: Reclaim>() {
    let cache: Cache<R> = store();
    let (put, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
    together(THREADS, |thread| {
        for round in 0..ROUNDS {
            let done = cache.entry(7).and_compute_with(|entry| match entry {
                None if thread % 2 == 0 => Op::Put(round),
                Some(_) if thread % 2 == 1 => Op::Remove,
                _ => Op::Nop,
            });
            match done {
                CompResult::Inserted(entry) => assert_eq!(entry.value(), &round),
                CompResult::Removed(entry) => assert!(*entry.value() < ROUNDS),
                CompResult::ReplacedWith(_) => panic!("nothing is replaced"),
                CompResult::Unchanged(_) | CompResult::StillNone(_) => continue,
            }
            [&put, &taken][thread % 2].fetch_add(1, SeqCst);
        }
    });
    let left = usize::from(cache.contains_key(&7));
    assert_eq!(put.load(SeqCst), taken.load(SeqCst) + left);
    assert_eq!(cache.len(), left);
}

fn one_of_several_values_is_inserted<R: Reclaim>() {
    for round in 0..100 {
        let cache: Cache<R> = store();
        let fresh = AtomicUsize::new(0);
        together(THREADS, |thread| {
            let mine = round * 10 + thread as u64;
            let entry = match round % 3 {
                0 => cache.entry(1).or_insert(mine),
                1 => cache.entry(1).or_insert_with_if(|| mine, |_| false),
                _ => cache.entry(1).or_insert_with(|| mine),
            };
            fresh.fetch_add(usize::from(entry.is_fresh()), SeqCst);
            assert_eq!(entry.is_fresh(), *entry.value() == mine);
            assert_eq!(cache.get_versioned(&1), Some((*entry.value(), entry.version().unwrap())));
        });
        assert_eq!((fresh.load(SeqCst), cache.stats().commits), (1, 1));
    }
}

fn the_closure_runs_again_if_the_key_changes<R: Reclaim>() {
    let cache: Cache<R> = store();
    cache.insert(1, 10);
    let mut seen = Vec::new();
    let entry = cache.entry(1).and_upsert_with(|entry| {
        let entry = entry.unwrap();
        seen.push((*entry.value(), entry.version().unwrap()));
        if seen.len() == 1 {
            cache.insert(1, 20);
        }
        entry.into_value() + 1
    });
    assert_eq!(seen.iter().map(|(value, _)| *value).collect::<Vec<_>>(), [10, 20]);
    assert!(seen[0].1 < seen[1].1 && Some(seen[1].1) < entry.version());
    assert_eq!((cache.get(&1), cache.stats().conflicts), (Some(21), 1));
    // A value that could not be set is used again.
    let mut runs = 0;
    let init = || {
        runs += 1;
        cache.insert(2, 5);
        30
    };
    let entry = cache.entry(2).or_insert_with_if(init, |found| *found == 5);
    assert_eq!((*entry.value(), entry.is_old_value_replaced(), runs), (30, true, 1));
}

fn a_panic_changes_nothing<R: Reclaim>() {
    let cache: Cache<R> = store();
    cache.insert(1, 10);
    let before = cache.version();
    let panics = |act: &dyn Fn()| assert!(catch_unwind(AssertUnwindSafe(act)).is_err());
    panics(&|| _ = cache.entry(1).and_upsert_with(|_| panic!()));
    panics(&|| _ = cache.entry(2).and_compute_with(|_| panic!()));
    panics(&|| _ = cache.upsert(3, |_| panic!()));
    panics(&|| _ = cache.get_and_update(1, |_| panic!()));
    panics(&|| _ = cache.entry(4).or_insert_with(|| panic!()));
    panics(&|| _ = cache.entry(5).or_insert_with_if(|| panic!(), |_| true));
    panics(&|| _ = cache.entry(1).or_insert_with_if(|| 1, |_| panic!()));
    assert_eq!((cache.version(), cache.len(), cache.get(&1)), (before, 1, Some(10)));
    assert_eq!(cache.collect(), 0);
    assert_eq!(*cache.entry(4).or_insert_with(|| 40).value(), 40);
}

on_every_reclaimer!(
    sums_are_exact,
    each_value_is_replaced_once,
    removals_and_insertions_alternate,
    one_of_several_values_is_inserted,
    the_closure_runs_again_if_the_key_changes,
    a_panic_changes_nothing,
);

#[test]
fn terms_stay_as_they_were() {
    let clock = ManualClock::new();
    let second = Duration::from_secs(1);
    let cache = Plain::builder().manual_clock(&clock).time_to_live(60 * second).build();
    let terms = || Terms::new().time_to_live(10 * second).tags(["tag"]);
    for key in 1..=5 {
        cache.batch().insert_with(key, 0, terms()).commit();
    }
    clock.advance(5 * second);
    cache.upsert(1, |was| was.unwrap() + 1);
    cache.get_and_update(2, |was| was.map(|was| was + 1));
    cache.entry(3).terms(Terms::as_it_was()).and_upsert_with(|_| 1);
    cache.entry(4).and_upsert_with(|_| 1);
    cache.entry(6).terms(terms()).or_insert_with(|| 1);
    clock.advance(5 * second);
    // The fourth follows the settings, as after an insert.
    assert_eq!(
        [1, 2, 3, 4, 5, 6].map(|key| cache.get(&key)),
        [None, None, None, Some(1), None, Some(1)]
    );
    // An expired entry is absent for a computation.
    assert_eq!(cache.get_and_update(1, |was| was.map(|was| was + 1)), None);
    assert!(matches!(cache.entry(2).and_compute_with(|_| Op::Nop), CompResult::StillNone(2)));
    cache.invalidate_tag("tag");
    assert_eq!([4, 6].map(|key| cache.get(&key)), [Some(1), None]);
    cache.insert_tagged(7, 1, &["tag".into()]);
    cache.upsert(7, |was| was.unwrap() + 1);
    assert_eq!(cache.get(&7), Some(2));
    cache.invalidate_tag("tag");
    assert_eq!(cache.get(&7), None);
}

#[test]
fn computed_entries_keep_the_bound() {
    let cache = Plain::builder().max_capacity(10).build();
    for key in 0..1000_u64 {
        cache.upsert(key, |_| key);
        assert_eq!(cache.get(&key), Some(key));
        assert!(cache.len() <= 10);
    }
    let entry = cache.entry(1).or_insert_with(|| 7);
    assert_eq!((cache.get(&1), cache.len()), (Some(*entry.value()), 10));
}

#[test]
fn computed_writes_apply_relations() {
    let cache = Plain::builder()
        .related(|key: &u64, related| {
            if *key < 10 {
                related.invalidate(key + 10);
            }
        })
        .build();
    for write in 0..3 {
        cache.insert(11, 1);
        match write {
            0 => _ = cache.entry(1).or_insert(1),
            1 => _ = cache.upsert(1, |_| 2),
            _ => _ = cache.get_and_update(1, |_| Some(3)),
        }
        assert_eq!(cache.get(&11), None);
    }
    // A removal is like `remove`.
    cache.insert(11, 1);
    assert_eq!(cache.get_and_update(1, |_| None), Some(3));
    assert_eq!(cache.get_many([&1, &11]), [None, Some(1)]);
}

#[test]
fn a_load_that_was_overtaken_is_not_cached() {
    let cache = Plain::<u64, u64>::new();
    let entry = cache.entry(1).or_insert_with(|| {
        cache.invalidate(&1);
        1
    });
    assert_eq!((*entry.value(), entry.is_fresh(), entry.version()), (1, true, None));
    assert_eq!(cache.get(&1), None);
    assert_eq!(cache.entry(1).or_optionally_insert_with(|| None), None);
    assert!(cache.entry(1).or_try_insert_with(|| Err(7)).is_err_and(|error| *error == 7));
    assert_eq!(cache.entry(1).or_optionally_insert_with(|| Some(2)).unwrap().into_value(), 2);
}
