//! Computed entries, writes of many keys, and loads of other shapes.

use crate::counter::count;
use crate::row::Grows::{Linear, Not};
use crate::row::{Cache, Row, builder, filled, row};
use coeval::{Loaded, Op, Terms};
use std::convert::Infallible;
use std::hint::black_box;

/// As many writes as let a thread collect its retired objects twice.
const MANY: u64 = 2_048;

pub fn rows() -> Vec<Row> {
    [computed(), loaded_entries(), many(), removals(), loads()].concat()
}

/// Counts `act` for keys below `n` in turn, in a cache that has all of them.
fn over_entries(n: u64, act: impl Fn(&Cache, u64)) {
    let cache = filled(n);
    (0..100).for_each(|key| act(&cache, key % n));
    count(MANY, || (0..MANY).for_each(|key| act(&cache, key % n)));
}

fn computed() -> Vec<Row> {
    vec![
        row("or_insert", "entries", Not, 500, |n| {
            over_entries(n, |cache, key| _ = black_box(cache.entry(key).or_insert(1)));
        }),
        row("or_default", "entries", Not, 500, |n| {
            over_entries(n, |cache, key| _ = black_box(cache.entry(key).or_default()));
        }),
        row("or_insert_with_if", "entries", Not, 500, |n| {
            let set = |cache: &Cache, key| {
                black_box(cache.entry(key).or_insert_with_if(|| 1, |_| true));
            };
            over_entries(n, set);
        }),
        row("and_upsert_with", "entries", Not, 500, |n| {
            let set = |cache: &Cache, key| _ = black_box(cache.entry(key).and_upsert_with(|_| 1));
            over_entries(n, set);
        }),
        row("and_compute_with", "entries", Not, 500, |n| {
            let set = |cache: &Cache, key| {
                black_box(cache.entry(key).and_compute_with(|_| Op::Put(1)));
            };
            over_entries(n, set);
        }),
        row("upsert", "entries", Not, 500, |n| {
            over_entries(n, |cache, key| _ = cache.upsert(key, |old| old.map_or(0, |old| old + 1)));
        }),
        row("get_and_update", "entries", Not, 500, |n| {
            over_entries(n, |cache, key| {
                black_box(cache.get_and_update(key, |old| old.map(|old| old + 1)));
            });
        }),
        row("atomically", "keys that it writes", Linear, 32, |n| {
            let cache = filled(1_000);
            let run = |value| {
                let write = |tx: &mut coeval::Transaction<u64, u64, _>| {
                    (0..n).for_each(|key| tx.insert(key, value));
                };
                cache.atomically(write).unwrap();
            };
            (0..4).for_each(run);
            count(16, || (0..16).for_each(run));
        }),
    ]
}

fn loaded_entries() -> Vec<Row> {
    vec![
        row("or_insert_with", "entries, present", Not, 500, |n| {
            let get = |cache: &Cache, key| {
                black_box(cache.entry(key).or_insert_with(|| unreachable!()));
            };
            over_entries(n, get);
        }),
        row("or_insert_with", "entries, absent", Not, MANY, |n| {
            absent(n, |cache, key| _ = cache.entry(key).or_insert_with(|| key));
        }),
        row("or_try_insert_with", "entries, absent", Not, MANY, |n| {
            let load = |cache: &Cache, key| {
                _ = cache.entry(key).or_try_insert_with(|| Ok::<_, ()>(key));
            };
            absent(n, load);
        }),
        row("or_optionally_insert_with", "entries, absent", Not, MANY, |n| {
            absent(n, |cache, key| _ = cache.entry(key).or_optionally_insert_with(|| Some(key)));
        }),
    ]
}

/// Counts `load` for absent keys, in a cache of `n` others that has room for all.
fn absent(n: u64, load: impl Fn(&Cache, u64)) {
    let cache = builder().initial_capacity(n as usize + 4_096).build();
    (0..n).for_each(|key| _ = cache.insert(key, key));
    count(MANY, || (0..MANY).for_each(|key| load(&cache, n + key)));
}

fn many() -> Vec<Row> {
    vec![
        row("insert_many", "keys", Linear, 32, |n| {
            let cache = filled(1_000);
            let insert = |value| _ = cache.insert_many((0..n).map(|key| (key, value)));
            (0..4).for_each(insert);
            count(16, || (0..16).for_each(insert));
        }),
        row("remove_many", "keys", Linear, 32, |n| {
            let cache = filled(8 * n);
            count(4, || (0..4).for_each(|at| _ = cache.remove_many(n * at..n * (at + 1))));
        }),
        row("invalidate_many", "keys", Linear, 32, |n| {
            let cache = filled(8 * n);
            count(4, || (0..4).for_each(|at| _ = cache.invalidate_many(n * at..n * (at + 1))));
        }),
        row("get_each_with", "keys, present", Linear, 32, |n| {
            let cache = filled(1_000);
            let load = |_: &[u64]| -> Vec<u64> { unreachable!() };
            count(10, || (0..10).for_each(|_| _ = black_box(cache.get_each_with(0..n, load))));
        }),
        row("get_each_with", "keys, absent", Linear, 32, |n| {
            let cache = builder().initial_capacity(10_000).build();
            let load = |keys: &[u64]| keys.to_vec();
            count(1, || _ = black_box(cache.get_each_with(0..n, load)));
        }),
        row("load_each", "keys, absent", Linear, 32, |n| {
            let cache = builder().initial_capacity(10_000).build();
            let load = |keys: &[u64]| Ok::<_, Infallible>(keys.to_vec());
            count(1, || _ = black_box(cache.load_each(0..n, load)));
        }),
    ]
}

fn removals() -> Vec<Row> {
    vec![
        row("retain", "entries, all kept", Linear, 500, |n| {
            let cache = filled(n);
            count(1, || assert_eq!(cache.retain(|_, _| true), 0));
        }),
        row("retain", "entries, all removed", Linear, 500, |n| {
            let cache = filled(n);
            count(1, || assert_eq!(cache.retain(|_, _| false), n));
        }),
        row("retain_in_parts", "entries", Linear, 500, |n| {
            let cache = filled(n);
            count(1, || cache.retain_in_parts(|key, _| key % 2 == 0).for_each(drop));
        }),
        row("invalidate_entries_if", "entries", Linear, 500, |n| {
            let cache = filled(n);
            count(1, || assert_eq!(cache.invalidate_entries_if(|_, _| true), n));
        }),
    ]
}

fn loads() -> Vec<Row> {
    vec![
        row("get_with_ref", "entries, present", Not, 500, |n| {
            let get = |cache: &Cache, key: u64| {
                black_box(cache.get_with_ref(&key, || unreachable!()));
            };
            over_entries(n, get);
        }),
        row("get_with_ref", "entries, absent", Not, MANY, |n| {
            absent(n, |cache, key| _ = cache.get_with_ref(&key, || key));
        }),
        row("Pinned::get_with", "entries, absent", Not, MANY, |n| {
            absent(n, |cache, key| _ = cache.pin().get_with(&key, || key));
        }),
        row("get_with_terms", "entries, absent", Not, MANY, |n| {
            absent(n, |cache, key| _ = cache.get_with_terms(key, || Loaded::new(key)));
        }),
        row("try_get_with_terms", "entries, absent", Not, MANY, |n| {
            let load = |cache: &Cache, key| {
                _ = cache.try_get_with_terms(key, || Ok::<_, ()>(Loaded::new(key)));
            };
            absent(n, load);
        }),
        row("load_with_terms", "tags of the loaded value", Linear, 16, |n| {
            let cache = filled(1);
            let tags: Vec<coeval::Tag> = (0..n).map(|n| format!("tag {n}").into()).collect();
            let load = || Ok::<_, ()>(Loaded::new(1).terms(Terms::new().tags(tags.clone())));
            count(1, || _ = cache.load_with_terms(9, load));
        }),
    ]
}
