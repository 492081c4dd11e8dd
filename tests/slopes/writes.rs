//! Writes, batches and transactions, and their costs at the bound.

use crate::counter::count;
use crate::row::Grows::{Linear, Logarithmic, Not};
use crate::row::{Cache, Row, builder, ended_threads, filled, row, views};
use std::hint::black_box;
use std::time::Duration;

/// Twice the number of writes after which a thread collects its retired objects.
const MANY: u64 = 2_048;

pub fn rows() -> Vec<Row> {
    [inserts(), bounds(), removals(), batches(), conditions()].concat()
}

fn overwrite(cache: &Cache, n: u64) {
    count(MANY, || (0..MANY).for_each(|key| _ = cache.insert(key % n, key)));
}

fn inserts() -> Vec<Row> {
    vec![
        row("insert", "entries, overwritten", Not, 500, |n| overwrite(&filled(n), n)),
        row("insert", "entries, fresh", Not, 2_048, |n| {
            let cache = builder().build();
            count(n, || (0..n).for_each(|key| _ = cache.insert(key, key)));
        }),
        row("insert", "ended threads", Not, 16, |n| {
            let cache = filled(100);
            ended_threads(&cache, n);
            overwrite(&cache, 100);
        }),
        row("insert", "open views", Logarithmic, 16, |n| {
            let cache = filled(100);
            let _views = views(&cache, n);
            overwrite(&cache, 100);
        }),
        row("insert", "open views, one more each time", Logarithmic, 16, |n| {
            let cache = filled(100);
            let mut views = views(&cache, n);
            let write = |key| {
                cache.insert(key % 100, key);
                views.push(cache.view());
            };
            count(100, || (0..100).for_each(write));
        }),
        row("insert", "views that were open, beside one", Not, 16, |n| {
            let cache = filled(100);
            drop(views(&cache, n));
            let _one = cache.view();
            overwrite(&cache, 100);
        }),
        row("insert", "entries overwritten since an older view", Not, 16, |n| {
            let cache = filled(n);
            let _held = cache.view();
            (0..n).for_each(|key| _ = cache.insert(key, 1));
            overwrite(&cache, n);
        }),
        row("insert", "invalidations since an older view", Not, 64, |n| {
            let cache = filled(100);
            let _held = cache.view();
            (0..n).for_each(|_| _ = cache.invalidate_all());
            overwrite(&cache, 100);
        }),
        row("insert", "related keys", Linear, 32, |n| {
            let related = move |_: &u64, related: &mut coeval::Related<u64, u64>| {
                (1..=n).for_each(|key| _ = related.invalidate(1_000 + key));
            };
            let only_zero = move |key: &u64, to: &mut coeval::Related<u64, u64>| {
                if *key == 0 {
                    related(key, to);
                }
            };
            let cache = builder().related(only_zero).build();
            cache.insert(0, 0);
            count(20, || (0..20).for_each(|value| _ = cache.insert(0, value)));
        }),
        row("insert", "levels of relations", Linear, 32, |n| {
            let next = move |key: &u64, related: &mut coeval::Related<u64, u64>| {
                if *key < n {
                    related.invalidate(key + 1);
                }
            };
            let cache = builder().related(next).build();
            cache.insert(0, 0);
            count(20, || (0..20).for_each(|value| _ = cache.insert(0, value)));
        }),
        row("insert_with_ttl", "entries with a deadline", Not, 500, |n| {
            let cache = builder().build();
            let time = |key: u64| Duration::from_secs(60 + key % 1_000);
            (0..n).for_each(|key| _ = cache.insert_with_ttl(key, key, time(key)));
            let insert = |key| _ = cache.insert_with_ttl(key % n, key, time(key));
            count(MANY, || (0..MANY).for_each(insert));
        }),
        row("insert_tagged", "tags", Linear, 64, |n| {
            let cache = filled(1);
            let tags: Vec<coeval::Tag> = (0..n).map(|n| format!("tag {n}").into()).collect();
            count(1, || _ = cache.insert_tagged(0, 0, &tags));
        }),
        row("insert_tagged", "tags that other entries have", Not, 500, |n| {
            let cache = filled(1);
            let tag = |n: u64| coeval::Tag::from(format!("tag {n}"));
            (0..n).for_each(|key| _ = cache.insert_tagged(key, 0, &[tag(key)]));
            let tags: Vec<_> = (0..n).map(tag).collect();
            let insert = |key: u64| {
                let at = (key % n) as usize;
                cache.insert_tagged(key % n, 0, &tags[at..=at]);
            };
            count(MANY, || (0..MANY).for_each(insert));
        }),
        row("tag", "tags that the entry has", Linear, 64, |n| {
            let cache = filled(1);
            let tags: Vec<coeval::Tag> = (0..n).map(|n| format!("tag {n}").into()).collect();
            cache.insert_tagged(0, 0, &tags);
            count(4, || (0..4).for_each(|_| _ = cache.tag(0, &["one more".into()])));
        }),
    ]
}

fn bounds() -> Vec<Row> {
    vec![
        row("insert", "entries of a full cache", Not, 500, |n| {
            let cache = builder().max_capacity(n).build();
            (0..4 * n).for_each(|key| _ = cache.insert(key, key));
            let insert = |key| _ = cache.insert(4 * n + key, key);
            count(MANY, || (0..MANY).for_each(insert));
        }),
        row("insert", "entries that one displaces", Linear, 500, |n| {
            let weigher = |_: &u64, weight: &u64| *weight as u32;
            let cache = builder().max_capacity(n).weigher(weigher).build();
            (0..n).for_each(|key| _ = cache.insert(key, 1));
            count(1, || _ = cache.insert(n, n));
        }),
        row("insert", "entries of no weight", Not, 500, |n| {
            let weigher = |_: &u64, weight: &u64| *weight as u32;
            let cache = builder().max_capacity(100).weigher(weigher).build();
            (0..n).for_each(|key| _ = cache.insert(key, 0));
            (n..n + 1_000).for_each(|key| _ = cache.insert(key, 1));
            let insert = |key| _ = cache.insert(n + 1_000 + key, 1);
            count(MANY, || (0..MANY).for_each(insert));
        }),
    ]
}

fn removals() -> Vec<Row> {
    vec![
        row("remove", "entries", Not, MANY, |n| {
            let cache = filled(n);
            count(MANY, || (0..MANY).for_each(|key| _ = black_box(cache.remove(&key))));
        }),
        row("remove", "absent, entries", Not, 500, |n| {
            let cache = filled(n);
            count(MANY, || (0..MANY).for_each(|key| _ = black_box(cache.remove(&(n + key)))));
        }),
        row("invalidate", "entries", Not, MANY, |n| {
            let cache = filled(n);
            count(MANY, || (0..MANY).for_each(|key| _ = cache.invalidate(&key)));
        }),
        row("invalidate_all", "entries", Not, 500, |n| {
            let cache = filled(n);
            let _held = cache.view(); // While this is open, nothing is swept.
            count(10, || (0..10).for_each(|_| _ = cache.invalidate_all()));
        }),
        row("invalidate_all", "invalidations since an older view", Not, 64, |n| {
            let cache = filled(1);
            let _held = cache.view();
            (0..n).for_each(|_| _ = cache.invalidate_all());
            count(10, || (0..10).for_each(|_| _ = cache.invalidate_all()));
        }),
        row("invalidate_all", "open views", Logarithmic, 16, |n| {
            let cache = filled(1);
            let _views = views(&cache, n);
            count(10, || (0..10).for_each(|_| _ = cache.invalidate_all()));
        }),
        row("invalidate_tag", "entries that have it", Not, 500, |n| {
            let cache = filled(1);
            (0..n).for_each(|key| _ = cache.insert_tagged(key, 0, &["tag".into()]));
            count(10, || (0..10).for_each(|_| _ = cache.invalidate_tag("tag")));
        }),
        row("invalidate_tag", "invalidations since an older view", Not, 64, |n| {
            let cache = filled(1);
            cache.insert_tagged(1, 1, &["tag".into()]);
            let _held = cache.view();
            (0..n).for_each(|_| _ = cache.invalidate_tag("tag"));
            count(10, || (0..10).for_each(|_| _ = cache.invalidate_tag("tag")));
        }),
        row("invalidate_tag", "open views", Logarithmic, 16, |n| {
            let cache = filled(1);
            cache.insert_tagged(1, 1, &["tag".into()]);
            let _views = views(&cache, n);
            count(10, || (0..10).for_each(|_| _ = cache.invalidate_tag("tag")));
        }),
    ]
}

fn batches() -> Vec<Row> {
    vec![
        row("commit", "keys", Linear, 32, |n| {
            let cache = filled(1_000);
            let commit = |value| {
                let batch = (0..n).fold(cache.batch(), |batch, key| batch.insert(key, value));
                batch.commit();
            };
            (0..4).for_each(commit);
            count(16, || (0..16).for_each(commit));
        }),
        row("commit", "keys removed and invalidated", Linear, 32, |n| {
            let cache = filled(8 * n);
            let commit = |at: u64| {
                let keys = 2 * n * at..2 * n * (at + 1);
                let batch = keys.fold(cache.batch(), |batch, key| match key % 2 {
                    0 => batch.remove(key),
                    _ => batch.invalidate(key),
                });
                batch.commit();
            };
            count(4, || (0..4).for_each(commit));
        }),
        row("commit", "open views", Logarithmic, 16, |n| {
            let cache = filled(100);
            let _views = views(&cache, n);
            let commit = |value| _ = cache.batch().insert(1, value).insert(2, value).commit();
            count(100, || (0..100).for_each(commit));
        }),
        row("transact", "keys that it reads", Linear, 32, |n| {
            let cache = filled(1_000);
            let run = |value| {
                let body = |tx: &mut coeval::Transaction<u64, u64, _>| {
                    (1..=n).for_each(|key| _ = tx.get(&key));
                    tx.insert(0, value);
                    Ok::<_, ()>(())
                };
                cache.transact(body).unwrap();
            };
            (0..4).for_each(run);
            count(16, || (0..16).for_each(run));
        }),
        row("transact", "keys that it writes", Linear, 32, |n| {
            let cache = filled(1_000);
            let run = |value| {
                let body = |tx: &mut coeval::Transaction<u64, u64, _>| {
                    (0..n).for_each(|key| tx.insert(key, value));
                    Ok::<_, ()>(())
                };
                cache.transact(body).unwrap();
            };
            (0..4).for_each(run);
            count(16, || (0..16).for_each(run));
        }),
        row("transact", "entries overwritten since an older view", Not, 16, |n| {
            let cache = filled(n);
            let _held = cache.view();
            (0..n).for_each(|key| _ = cache.insert(key, 1));
            transact(&cache);
        }),
        row("transact", "open views", Logarithmic, 16, |n| {
            let cache = filled(100);
            let _views = views(&cache, n);
            transact(&cache);
        }),
        row("transact", "invalidations since an older view", Not, 64, |n| {
            let cache = filled(100);
            let _held = cache.view();
            (0..n).for_each(|_| _ = cache.invalidate_all());
            transact(&cache);
        }),
    ]
}

/// Transactions that read one key and write another.
fn transact(cache: &Cache) {
    let run = |value| {
        let body = |tx: &mut coeval::Transaction<u64, u64, _>| {
            tx.get(&2);
            tx.insert(1, value);
            Ok::<_, ()>(())
        };
        cache.transact(body).unwrap();
    };
    (0..300).for_each(run);
    count(1_000, || (0..1_000).for_each(run));
}

fn conditions() -> Vec<Row> {
    vec![
        row("compare_and_set", "entries", Not, 500, |n| {
            let cache = filled(n);
            let set = |value: u64| {
                let (_, version) = cache.get_versioned(&(value % n)).unwrap();
                cache.compare_and_set(value % n, Some(version), value).unwrap();
            };
            count(MANY, || (0..MANY).for_each(set));
        }),
        row("compare_and_set", "sets refused before", Not, 500, |n| {
            let cache = filled(1);
            (0..n).for_each(|key| _ = cache.compare_and_set(key, None, 0));
            (0..n).for_each(|key| _ = cache.compare_and_set(key, None, 0));
            let set = |key| assert!(cache.compare_and_set(key % n, None, 0).is_err());
            count(MANY, || (0..MANY).for_each(set));
        }),
        row("compare_and_set", "open views", Logarithmic, 16, |n| {
            let cache = filled(100);
            let _views = views(&cache, n);
            let set = |value: u64| {
                let (_, version) = cache.get_versioned(&1).unwrap();
                cache.compare_and_set(1, Some(version), value).unwrap();
            };
            count(100, || (0..100).for_each(set));
        }),
    ]
}
