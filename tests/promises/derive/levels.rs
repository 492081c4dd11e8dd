//! Derivations through any number of levels, and diamonds.

use super::{Cache, Scoped};
use crate::common::{on_every_reclaimer, store};
use coeval::reclaim::Reclaim;

/// Derives key `n` as one more than key `n - 1`, down to key 0.
fn chain<R: Reclaim>(scope: &mut Scoped<'_, R>, key: u64) -> u64 {
    if key == 0 {
        return scope.get(&0).unwrap_or(0);
    }
    scope.derive(key, |scope| 1 + chain(scope, key - 1))
}

fn a_commit_goes_through_all_levels<R: Reclaim>() {
    const DEPTH: u64 = 100;
    let cache = store::<u64, u64, R>();
    for round in 0..10 {
        let version = cache.insert(0, round * 1_000);
        for key in 1..=DEPTH {
            assert_eq!(cache.get(&key), None, "key {key} at {version}");
        }
        assert_eq!(cache.derive(DEPTH, |scope| 1 + chain(scope, DEPTH - 1)), round * 1_000 + DEPTH);
        let view = cache.view();
        for key in 1..=DEPTH {
            assert_eq!(cache.get(&key), Some(round * 1_000 + key));
            assert_eq!(view.get(&key), Some(&(round * 1_000 + key)));
        }
    }
}

/// A chain so deep that no code may recurse, on a small stack.
fn deep<R: Reclaim>() {
    const DEPTH: u64 = 3_000;
    let run = || {
        let cache = store::<u64, u64, R>();
        cache.insert(0, 7);
        for key in 1..=DEPTH {
            cache.derive(key, |scope| 1 + scope.get(&(key - 1)).expect("derived just now"));
        }
        assert_eq!(cache.get(&DEPTH), Some(7 + DEPTH));
        assert_eq!(cache.view().get(&DEPTH), Some(&(7 + DEPTH)));
        cache.insert(0, 8);
        assert_eq!((cache.get(&DEPTH), cache.get(&1)), (None, None));
    };
    let small = std::thread::Builder::new().stack_size(256 << 10);
    small.spawn(run).unwrap().join().unwrap();
}

/// Two paths from each level to the next: a million paths to the bottom.
fn diamonds<R: Reclaim>() {
    const LEVELS: u64 = 40;
    let cache = store::<u64, u64, R>();
    cache.insert(0, 1);
    for level in 1..=LEVELS {
        let (left, right) = (level * 2, level * 2 + 1);
        for key in [left, right] {
            cache.derive(key, |scope| match level {
                1 => scope.get(&0).unwrap(),
                _ => scope.get(&(left - 2)).unwrap().max(scope.get(&(right - 2)).unwrap()),
            });
        }
    }
    let top = LEVELS * 2;
    assert_eq!(cache.get_many([&top, &(top + 1)]), [Some(1), Some(1)]);
    cache.insert(0, 2);
    assert_eq!(cache.get_many([&top, &(top + 1), &2]), [None, None, None]);
}

/// Both sides of a diamond have the same age.
fn one_side_of_a_diamond_changes<R: Reclaim>() {
    let cache = store::<u64, u64, R>();
    let sum = |cache: &Cache<R>| {
        cache.derive(100, |scope| {
            let left = scope.derive(101, |scope| scope.get(&1).unwrap() + scope.get(&2).unwrap());
            let right = scope.derive(102, |scope| scope.get(&2).unwrap() + scope.get(&3).unwrap());
            assert_eq!(scope.get(&101), Some(left), "as it was derived on the way");
            left * 1_000 + right
        })
    };
    cache.batch().insert(1, 1).insert(2, 2).insert(3, 3).commit();
    assert_eq!(sum(&cache), 3_005);
    cache.insert(1, 10);
    assert_eq!(cache.get_many([&100, &101, &102]), [None, None, Some(5)]);
    assert_eq!(sum(&cache), 12_005);
    cache.insert(2, 20);
    assert_eq!(cache.get_many([&100, &101, &102]), [None; 3]);
    assert_eq!(sum(&cache), 30_023);
    assert_eq!(cache.get_many([&100, &101, &102]), [Some(30_023), Some(30), Some(23)]);
}

/// A derivation from the absence of a derived value.
fn from_a_value_that_has_ended<R: Reclaim>() {
    let cache = store::<u64, u64, R>();
    cache.insert(1, 1);
    let derive = || cache.derive(101, |scope| scope.get(&1).unwrap() / 10);
    derive();
    cache.insert(1, 2);
    assert_eq!(cache.derive(100, |scope| scope.get(&101).map_or(77, |_| 78)), 77);
    assert_eq!(cache.get(&100), Some(77));
    assert_eq!(derive(), 0, "equal to the value that ended, which is valid again");
    assert_eq!(cache.get(&100), None);
    assert_eq!(cache.derive(100, |scope| scope.get(&101).map_or(77, |_| 78)), 78);
}

/// An intermediate value that was evicted at once stays known for the rest of the derivation for
/// which it was made. No other value is mistaken for it.
fn an_evicted_intermediate_value_stays_known<R: Reclaim>() {
    let cache: Cache<R> = coeval::Cache::builder().max_capacity(0).reclaimer::<R>().build();
    let mut count = 0;
    cache.derive(100, |scope| {
        for _ in 0..2 {
            let inner = scope.derive(101, |_| {
                count += 1;
                7
            });
            assert_eq!(inner, 7);
            // Memory is reclaimed.
            (0..20_000).for_each(|at| _ = cache.insert(1_000 + at % 100, at));
            (10_000..11_000).for_each(|key| assert_eq!(scope.get(&key), None, "key {key}"));
        }
        0
    });
    assert_eq!(count, 1);
}

/// A level that was checked, and on which other levels were built since, is checked again when an
/// input has changed.
fn a_change_far_below_is_seen_from_above<R: Reclaim>() {
    type Change<R> = fn(&Cache<R>);
    let changes: [(&str, Change<R>); 7] = [
        ("insert", |cache| _ = cache.insert(0, 9)),
        ("remove", |cache| _ = cache.remove(&0)),
        ("clear", |cache| _ = cache.invalidate_all()),
        ("tag", |cache| _ = cache.invalidate_tag("far below")),
        ("in the middle", |cache| _ = cache.insert(2, 9)),
        ("batch", |cache| _ = cache.batch().insert(900, 1).remove(1).commit()),
        ("derived anew", |cache| {
            cache.insert(0, 9);
            cache.derive(1, |scope| 1 + scope.get(&0).unwrap());
        }),
    ];
    for (name, change) in changes {
        let cache = store::<u64, u64, R>();
        cache.insert_tagged(0, 1, &["far below".into()]);
        let build = |key| cache.derive(key, |scope| 1 + scope.get(&(key - 1)).expect("holds"));
        for key in 1..6 {
            assert_eq!(build(key), 1 + key);
            cache.derive(1_000 + key, |_| key); // Another commit, by which no value ends.
        }
        let before = cache.view();
        let top = |cache: &Cache<R>| cache.derive(100, |scope| scope.get(&5).unwrap_or(0));
        assert_eq!(top(&cache), 6, "{name}");
        change(&cache);
        cache.derive(2_000, |_| 0);
        assert_eq!(cache.derive(2_001, |scope| scope.get(&5).map_or(0, |_| 1)), 0, "{name}");
        assert_eq!((top(&cache), cache.get(&5)), (0, None), "{name}");
        assert_eq!(before.get(&5), Some(&6), "{name}");
    }
}

on_every_reclaimer!(
    a_change_far_below_is_seen_from_above,
    an_evicted_intermediate_value_stays_known,
    a_commit_goes_through_all_levels,
    deep,
    diamonds,
    one_side_of_a_diamond_changes,
    from_a_value_that_has_ended,
);
