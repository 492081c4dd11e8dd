//! Look-ups and views.

use crate::counter::count;
use crate::row::Grows::{Linear, Logarithmic, Not};
use crate::row::{Row, builder, ended_threads, filled, row, views};
use std::hash::BuildHasherDefault;
use std::hint::black_box;

pub fn rows() -> Vec<Row> {
    vec![
        row("get", "entries", Not, 500, |n| {
            let cache = filled(n);
            count(1_000, || (0..1_000).for_each(|key| _ = black_box(cache.get(&(key % n)))));
        }),
        row("read", "entries", Not, 500, |n| {
            let cache = filled(n);
            let read = |key| _ = black_box(cache.read(&(key % n), |value| *value));
            count(1_000, || (0..1_000).for_each(read));
        }),
        row("get", "open views", Not, 16, |n| {
            let cache = filled(100);
            let _views = views(&cache, n);
            count(100, || (0..100).for_each(|key| _ = black_box(cache.get(&key))));
        }),
        row("get", "ended threads", Not, 16, |n| {
            let cache = filled(100);
            ended_threads(&cache, n);
            count(100, || (0..100).for_each(|key| _ = black_box(cache.get(&key))));
        }),
        row("get", "a tag, invalidations since under a view", Not, 64, |n| {
            let cache = filled(1);
            cache.insert_tagged(1, 1, &["tag".into()]);
            let _view = cache.view();
            (0..n).for_each(|_| _ = cache.invalidate_tag("tag"));
            count(100, || (0..100).for_each(|_| _ = black_box(cache.get(&1))));
        }),
        row("get_versioned", "entries", Not, 500, |n| {
            let cache = filled(n);
            let get = |key| _ = black_box(cache.get_versioned(&(key % n)));
            count(1_000, || (0..1_000).for_each(get));
        }),
        row("contains_key", "entries", Not, 500, |n| {
            let cache = filled(n);
            let get = |key| _ = black_box(cache.contains_key(&(key % n)));
            count(1_000, || (0..1_000).for_each(get));
        }),
        row("Pinned", "entries", Not, 500, |n| {
            let cache = filled(n);
            let pinned = cache.pin();
            count(1_000, || (0..1_000).for_each(|key| _ = black_box(pinned.get(&(key % n)))));
        }),
        row("get_many", "keys", Linear, 8, |n| {
            let cache = filled(1_000);
            match n {
                8 => count(10, || (0..10).for_each(|_| _ = black_box(cache.get_many([&7; 8])))),
                32 => count(10, || (0..10).for_each(|_| _ = black_box(cache.get_many([&7; 32])))),
                _ => count(10, || (0..10).for_each(|_| _ = black_box(cache.get_many([&7; 128])))),
            }
        }),
        row("get_many", "entries", Not, 500, |n| {
            let cache = filled(n);
            let get = |key| _ = black_box(cache.get_many([&(key % n), &0, &1, &2]));
            count(1_000, || (0..1_000).for_each(get));
        }),
        row("get_many", "open views", Not, 16, |n| {
            let cache = filled(100);
            let _views = views(&cache, n);
            let get = |key| _ = black_box(cache.get_many([&key, &0, &1, &2]));
            count(100, || (0..100).for_each(get));
        }),
        row("get_many", "keys of a list", Linear, 32, |n| {
            let (cache, keys) = (filled(1_000), (0..n).collect::<Vec<_>>());
            count(10, || (0..10).for_each(|_| _ = black_box(cache.get_many(&keys))));
        }),
        row("get_many_into", "keys", Linear, 32, |n| {
            let (cache, keys) = (filled(1_000), (0..n).collect::<Vec<_>>());
            let mut found = Vec::new();
            count(10, || (0..10).for_each(|_| cache.get_many_into(&keys, &mut found)));
        }),
        row("get_many_into", "entries", Not, 500, |n| {
            let cache = filled(n);
            let mut found = Vec::new();
            let get = |key| cache.get_many_into(&[key % n, 0, 1, 2], &mut found);
            count(1_000, || (0..1_000).for_each(get));
        }),
        row("Cache::iter", "entries", Linear, 500, |n| {
            let cache = filled(n);
            count(1, || assert_eq!(cache.iter().count() as u64, n));
        }),
        row("keys", "entries", Linear, 500, |n| {
            let cache = filled(n);
            count(1, || assert_eq!(cache.keys().count() as u64, n));
        }),
        row("values", "entries", Linear, 500, |n| {
            let cache = filled(n);
            count(1, || assert_eq!(cache.values().count() as u64, n));
        }),
        row("view_briefly", "entries", Not, 500, |n| {
            let cache = filled(n);
            let open = |key| cache.view_briefly(|view| Ok(_ = black_box(view.get(&key)?)));
            count(1_000, || (0..1_000).for_each(|key| open(key % n)));
        }),
        row("view_briefly", "open views", Not, 16, |n| {
            let cache = filled(100);
            let _views = views(&cache, n);
            let open = |key| cache.view_briefly(|view| Ok(_ = black_box(view.get(&key)?)));
            count(100, || (0..100).for_each(open));
        }),
        row("view", "entries", Not, 500, |n| {
            let cache = filled(n);
            count(100, || (0..100).for_each(|_| drop(cache.view())));
        }),
        row("view", "open views", Logarithmic, 16, |n| {
            let cache = filled(100);
            let _views = views(&cache, n);
            let open = |key| {
                cache.insert(key, 1);
                drop(cache.view());
            };
            count(100, || (0..100).for_each(open));
        }),
        row("view", "entries overwritten since an older view", Not, 16, |n| {
            let cache = filled(n);
            let _held = cache.view();
            (0..n).for_each(|key| _ = cache.insert(key, 1));
            count(1_000, || (0..1_000).for_each(|_| drop(cache.view())));
        }),
        row("view", "views that were open", Not, 16, |n| {
            let cache = filled(100);
            drop(views(&cache, n));
            count(100, || (0..100).for_each(|_| drop(cache.view())));
        }),
        row("view", "invalidations since an older view", Not, 64, |n| {
            let cache = filled(1);
            cache.insert_tagged(1, 1, &["tag".into()]);
            let _held = cache.view();
            (0..n).for_each(|_| _ = cache.invalidate_tag("tag"));
            (0..n).for_each(|_| _ = cache.invalidate_all());
            count(100, || (0..100).for_each(|_| drop(cache.view())));
        }),
        row("view_at", "open views", Linear, 16, |n| {
            let cache = filled(100);
            let views = views(&cache, n);
            let middle = views[views.len() / 2].version();
            count(100, || (0..100).for_each(|_| drop(cache.view_at(middle))));
        }),
        row("View::get", "entries", Not, 500, |n| {
            let cache = filled(n);
            let view = cache.view();
            count(1_000, || (0..1_000).for_each(|key| _ = black_box(view.get(&(key % n)))));
        }),
        row("View::get", "writes of the key since", Not, 64, |n| {
            let cache = filled(1);
            let view = cache.view();
            (0..n).for_each(|value| _ = cache.insert(0, value));
            count(100, || (0..100).for_each(|_| _ = black_box(view.get(&0))));
        }),
        row("View::get", "invalidations since", Logarithmic, 64, |n| {
            let cache = filled(1);
            cache.insert_tagged(1, 1, &["tag".into()]);
            let view = cache.view();
            (0..n).for_each(|_| _ = cache.invalidate_tag("tag"));
            (0..n).for_each(|_| _ = cache.invalidate_all());
            count(100, || (0..100).for_each(|_| assert!(view.contains_key(&1))));
        }),
        row("iter", "entries", Linear, 500, |n| {
            let view = filled(n).view();
            count(1, || assert_eq!(view.iter().count() as u64, n));
        }),
        row("iter", "entries of one hash", Linear, 50, |n| {
            let hasher = BuildHasherDefault::<OneHash>::default();
            let cache = coeval::Cache::<u64, u64>::builder().hasher(hasher).build();
            (0..n).for_each(|key| _ = cache.insert(key, key));
            let view = cache.view();
            count(1, || assert_eq!(view.iter().count() as u64, n));
        }),
        row("iter", "entries of hashes that follow each other", Linear, 140, |n| {
            let hasher = BuildHasherDefault::<Seventieth>::default();
            let cache = coeval::Cache::<u64, u64, _>::builder().hasher(hasher).build();
            (0..n).for_each(|key| _ = cache.insert(key, key));
            let view = cache.view();
            count(1, || assert_eq!(view.iter().count() as u64, n));
        }),
        row("len", "entries of a view", Linear, 500, |n| {
            let view = filled(n).view();
            count(1, || assert_eq!(view.len() as u64, n));
        }),
        row("get", "entries of a full cache", Not, 500, |n| {
            let cache = builder().max_capacity(n).build();
            (0..2 * n).for_each(|key| _ = cache.insert(key, key));
            count(500, || (0..500).for_each(|key| _ = black_box(cache.get(&key))));
        }),
    ]
}

/// Gives all keys the same hash.
#[derive(Default)]
struct OneHash;

impl std::hash::Hasher for OneHash {
    fn write(&mut self, _: &[u8]) {}

    fn finish(&self) -> u64 {
        7
    }
}

/// Gives each seventy keys one hash.
#[derive(Default)]
struct Seventieth(u64);

impl std::hash::Hasher for Seventieth {
    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, key: u64) {
        self.0 = key / 70;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
