//! Derived values: by inputs, by levels, and by what they share.

use crate::counter::count;
use crate::row::Grows::{Linear, Not};
use crate::row::{Cache, Row, filled, row};
use std::hint::black_box;

type Scope<'s> = coeval::Scope<'s, u64, u64, crate::row::Hasher>;

/// The first derived key; the keys below are inputs.
const DERIVED: u64 = 1 << 32;

/// n levels, each derived from the one below it in a call of its own. The first is derived from key
/// 0.
fn levels(cache: &Cache, n: u64) {
    (0..n).for_each(|level| _ = cache.derive(DERIVED + level, |scope| over(scope, level)));
}

/// Derives one more than the level below.
fn over(scope: &mut Scope<'_>, level: u64) -> u64 {
    let below = if level == 0 { 0 } else { DERIVED + level - 1 };
    scope.get(&below).unwrap() + 1
}

/// Two values per level, each derived from both values of the level below in a call of its own.
fn twofold(cache: &Cache, n: u64) {
    for level in 0..n {
        for side in 0..2 {
            cache.derive(DERIVED + 2 * level + side, |scope| match level {
                0 => scope.get(&0).unwrap(),
                _ => {
                    let below = DERIVED + 2 * (level - 1);
                    let both = scope.get_many([&below, &(below + 1)]);
                    both.into_iter().flatten().fold(0, u64::wrapping_add)
                }
            });
        }
    }
}

/// As above, within one derivation.
fn nested(scope: &mut Scope<'_>, level: u64) -> u64 {
    match level {
        0 => scope.get(&0).unwrap(),
        _ => scope.derive(DERIVED + level - 1, |scope| nested(scope, level - 1)) + 1,
    }
}

/// Derives each level from the two below it, within one derivation: the nth Fibonacci number.
fn fibonacci(scope: &mut Scope<'_>, n: u64) -> u64 {
    let mut below = |n| scope.derive(DERIVED + n, |scope| fibonacci(scope, n));
    if n < 2 { n } else { below(n - 1).wrapping_add(below(n - 2)) }
}

pub fn rows() -> Vec<Row> {
    vec![
        row("derive", "inputs", Linear, 16, |n| {
            let cache = filled(n);
            let derive = |round| {
                let sum = |scope: &mut Scope<'_>| (0..n).map(|key| scope.get(&key).unwrap()).sum();
                cache.derive(DERIVED + round, sum);
            };
            count(8, || (0..8).for_each(derive));
        }),
        row("derive", "levels, one call each", Linear, 64, |n| {
            let cache = filled(1);
            count(1, || levels(&cache, n));
        }),
        row("derive", "levels, nested", Linear, 16, |n| {
            let cache = filled(1);
            count(1, || _ = cache.derive(DERIVED + n, |scope| nested(scope, n)));
        }),
        row("derive", "levels, one call each, built anew", Linear, 64, |n| {
            let cache = filled(1);
            levels(&cache, n);
            cache.insert(0, 1);
            count(1, || levels(&cache, n));
        }),
        row("derive", "levels, each of two, one call each", Linear, 64, |n| {
            let cache = filled(1);
            count(1, || twofold(&cache, n));
        }),
        row("derive", "levels, two in a call", Linear, 64, |n| {
            let cache = filled(1);
            let two = |level| {
                let below = |scope: &mut Scope<'_>| {
                    scope.derive(DERIVED + level, |scope| over(scope, level)) + 1
                };
                cache.derive(DERIVED + level + 1, below);
            };
            count(1, || (0..n).step_by(2).for_each(two));
        }),
        row("derive", "levels, nested, built anew", Linear, 16, |n| {
            let cache = filled(1);
            cache.derive(DERIVED + n, |scope| nested(scope, n));
            cache.insert(0, 1);
            count(1, || _ = cache.derive(DERIVED + n, |scope| nested(scope, n)));
        }),
        row("derive", "levels that share", Linear, 1, |n| {
            let cache = filled(1);
            count(1, || _ = cache.derive(DERIVED + n, |scope| fibonacci(scope, n)));
        }),
        row("derive", "entries overwritten since an older view", Not, 16, |n| {
            let cache = filled(n);
            let _held = cache.view();
            (0..n).for_each(|key| _ = cache.insert(key, 1));
            let derive = |key| _ = cache.derive(DERIVED + key, |scope| scope.get(&0).unwrap());
            count(500, || (0..500).for_each(derive));
        }),
        row("get", "inputs of a derived value", Linear, 16, |n| {
            let cache = filled(n);
            cache.derive(DERIVED, |scope| (0..n).map(|key| scope.get(&key).unwrap()).sum());
            count(20, || (0..20).for_each(|_| _ = black_box(cache.get(&DERIVED))));
        }),
        row("get", "levels of a derived value", Linear, 16, |n| {
            let cache = filled(1);
            levels(&cache, n);
            count(20, || (0..20).for_each(|_| _ = black_box(cache.get(&(DERIVED + n - 1)))));
        }),
        row("get", "levels of a derived value, each of two", Linear, 8, |n| {
            let cache = filled(1);
            twofold(&cache, n);
            let top = DERIVED + 2 * (n - 1);
            count(20, || (0..20).for_each(|_| assert!(cache.get(&top).is_some())));
        }),
        row("get", "tags", Linear, 16, |n| {
            let cache = filled(1);
            let tags: Vec<coeval::Tag> = (0..n).map(|n| format!("tag {n}").into()).collect();
            cache.insert_tagged(0, 0, &tags);
            count(20, || (0..20).for_each(|_| assert!(cache.get(&0).is_some())));
        }),
        row("get_many", "inputs of a derived value", Linear, 16, |n| {
            let cache = filled(n);
            cache.derive(DERIVED, |scope| (0..n).map(|key| scope.get(&key).unwrap()).sum());
            let get = |_| _ = black_box(cache.get_many([&DERIVED, &DERIVED, &DERIVED]));
            count(20, || (0..20).for_each(get));
        }),
        row("transact", "levels of a derived value that it reads", Linear, 16, |n| {
            let cache = filled(1);
            levels(&cache, n);
            let run = |value| {
                let body = |tx: &mut coeval::Transaction<u64, u64, _>| {
                    assert!(tx.get(&(DERIVED + n - 1)).is_some());
                    tx.insert(1, value);
                    Ok::<_, ()>(())
                };
                cache.transact(body).unwrap();
            };
            (0..4).for_each(run);
            count(8, || (0..8).for_each(run));
        }),
    ]
}
