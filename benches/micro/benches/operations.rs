//! Single operations on each reclamation backend, uncontended, on 65,536 entries.
#![allow(missing_docs)] // criterion_group! generates items without docs

use std::convert::Infallible;
use std::hash::BuildHasher;
use std::hint::black_box;

use coeval::{
    Cache, Tag,
    reclaim::{Asymmetric, CrossbeamEpoch, Reclaim, Seize},
};
use criterion::{Criterion, criterion_group, criterion_main};
use foldhash::fast::FixedState;

const KEYS: u64 = 1 << 16;
const GROUP: usize = 8;

/// Keys in an order that the prefetcher cannot predict.
struct Keys(u64);

impl Keys {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        self.0 >> 48
    }

    fn group(&mut self) -> [u64; GROUP] {
        let first = self.next() & !(GROUP as u64 - 1);
        std::array::from_fn(|i| first + i as u64)
    }
}

fn backend<R: Reclaim>(criterion: &mut Criterion, name: &str) {
    let builder = Cache::builder().initial_capacity(KEYS as usize);
    let cache = builder.hasher(FixedState::default()).reclaimer::<R>().build();
    for key in 0..KEYS {
        cache.insert(key, key);
    }
    let mut keys = Keys(1);
    let mut group = criterion.benchmark_group(name);
    group.bench_function("get", |b| b.iter(|| black_box(cache.get(&keys.next()))));
    group.bench_function("pin", |b| b.iter(|| drop(black_box(cache.pin()))));
    {
        let pinned = cache.pin();
        group.bench_function("get, pinned", |b| {
            b.iter(|| black_box(pinned.get(&keys.next()).copied()));
        });
    }
    group.bench_function("get_many of 8", |b| {
        b.iter(|| black_box(cache.get_many(keys.group().each_ref())));
    });
    group.bench_function("view, open and drop", |b| b.iter(|| drop(black_box(cache.view()))));
    {
        let view = cache.view();
        group.bench_function("view, get", |b| {
            b.iter(|| black_box(view.get(&keys.next()).copied()));
        });
    }
    group.bench_function("insert", |b| b.iter(|| black_box(cache.insert(keys.next(), 1))));
    group.bench_function("batch of 8", |b| {
        b.iter(|| {
            let batch = cache.batch();
            black_box(keys.group().iter().fold(batch, |batch, key| batch.insert(*key, 2)).commit())
        });
    });
    group.bench_function("transact, two read and written", |b| {
        b.iter(|| transact(&cache, [keys.next(), keys.next()], true));
    });
    group.bench_function("transact, one read, another written", |b| {
        b.iter(|| transact(&cache, [keys.next(), keys.next()], false));
    });
    group.finish();
}

/// Reads the first key and writes the second; or, if `both`, reads and writes both.
fn transact<S: BuildHasher, R: Reclaim>(cache: &Cache<u64, u64, S, R>, keys: [u64; 2], both: bool) {
    let committed = cache.transact(|tx| {
        let first = tx.get(&keys[0]).unwrap_or(0);
        if both {
            let second = tx.get(&keys[1]).unwrap_or(0);
            tx.insert(keys[0], second);
        }
        tx.insert(keys[1], first);
        Ok::<_, Infallible>(())
    });
    black_box(committed.map(|committed| committed.version).ok());
}

/// Look-ups of 1,000 keys, collected into a list: one by one under a pin, and as of one instant.
fn thousand(criterion: &mut Criterion) {
    for count in [1_000, 10_000, 100_000, 1 << 20] {
        let cache = Cache::builder().initial_capacity(count as usize).build();
        for key in 0..count {
            cache.insert(key, key);
        }
        let mut random = Keys(1);
        let mut list =
            || (0..1_000).map(|_| (random.next() << 16 | random.next()) % count).collect();
        let lists: Vec<Vec<u64>> = (0..64).map(|_| list()).collect();
        let mut turn = 0;
        let mut keys = || {
            turn += 1;
            &lists[turn % lists.len()]
        };
        let mut group = criterion.benchmark_group(format!("1,000 of {count}"));
        group.bench_function("get, pinned", |b| {
            b.iter(|| {
                let pinned = cache.pin();
                keys().iter().map(|key| pinned.get(key).copied()).collect::<Vec<_>>()
            });
        });
        group.bench_function("get_many", |b| {
            b.iter(|| cache.get_many(keys()));
        });
        group.finish();
    }
}

/// Hits of plain values, and of values derived from one and from four of them, in equal numbers.
fn derived(criterion: &mut Criterion) {
    for count in [100, KEYS] {
        let cache = Cache::builder().hasher(FixedState::default()).build();
        let (one, four) = (1 << 32, 2 << 32);
        for key in 0..count {
            cache.insert(key, key);
        }
        for key in 0..count {
            cache.derive(one + key, |scope| scope.get(&key).unwrap_or(0) + 1);
            cache.derive(four + key, |scope| {
                (0..4).filter_map(|at| scope.get(&((key + at * 7) % count))).sum()
            });
        }
        let mut keys = Keys(1);
        let mut group = criterion.benchmark_group(format!("derived, {count} keys"));
        for (name, first) in [("plain", 0), ("of one", one), ("of four", four)] {
            group.bench_function(name, |b| {
                b.iter(|| black_box(cache.get(&(first + keys.next() % count))));
            });
        }
        group.finish();
    }
}

/// Hits of plain values, and of values with one tag and with four, in equal numbers. And the
/// invalidation of a tag that a million entries have.
fn tagged(criterion: &mut Criterion) {
    let cache = Cache::builder().hasher(FixedState::default()).build();
    let tags: Vec<Tag> = (0..4).map(Tag::from).collect();
    let (one, four, many) = (1 << 32, 2 << 32, 3 << 32);
    for key in 0..KEYS {
        cache.insert(key, key);
        cache.insert_tagged(one + key, key, &tags[..1]);
        cache.insert_tagged(four + key, key, &tags);
    }
    for key in 0..1 << 20 {
        cache.insert_tagged(many + key, key, &[Tag::from("many")]);
    }
    let mut keys = Keys(1);
    let mut group = criterion.benchmark_group(format!("tagged, {KEYS} keys"));
    for (name, first) in [("plain", 0), ("one tag", one), ("four tags", four)] {
        group.bench_function(name, |b| {
            b.iter(|| black_box(cache.get(&(first + keys.next() % KEYS))));
        });
    }
    group.bench_function("invalidate_tag of a million", |b| {
        b.iter(|| black_box(cache.invalidate_tag("many")));
    });
    group.finish();
}

fn micro(criterion: &mut Criterion) {
    backend::<Asymmetric>(criterion, "asymmetric");
    backend::<CrossbeamEpoch>(criterion, "crossbeam-epoch");
    backend::<Seize>(criterion, "seize");
    derived(criterion);
    tagged(criterion);
    thousand(criterion);
}

criterion_group!(benches, micro);
criterion_main!(benches);
