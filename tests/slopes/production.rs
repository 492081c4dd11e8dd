//! What an operator asks of a cache, and what keeps it through a restart.

use crate::counter::count;
use crate::row::Grows::{Linear, Not};
use crate::row::{Cache, Row, builder, filled, row};
use coeval::{Domain, ForeignCache};
use std::hint::black_box;
#[cfg(feature = "serde")]
use std::io::Cursor;
use std::time::Duration;

pub fn rows() -> Vec<Row> {
    [look_ups(), domains(), whole_caches(), explanations(), files(), figures()].concat()
}

fn look_ups() -> Vec<Row> {
    vec![
        row("peek", "entries", Not, 500, |n| {
            let cache = filled(n);
            count(1_000, || (0..1_000).for_each(|key| _ = black_box(cache.peek(&(key % n)))));
        }),
        row("key_with_hash", "entries", Not, 1_500, |n| {
            let cache = filled(n);
            let hashes: Vec<u32> =
                (0..1_000).map(|key| cache.explain(&(key % n)).key_hash).collect();
            let look = |hash: &u32| assert!(black_box(cache.key_with_hash(*hash)).is_some());
            count(1_000, || hashes.iter().for_each(look));
        }),
        row("time_to_live_left", "entries", Not, 500, |n| {
            let cache = builder().time_to_live(Duration::from_secs(3_600)).build();
            (0..n).for_each(|key| _ = cache.insert(key, key));
            let look = |key| _ = black_box(cache.time_to_live_left(&(key % n)));
            count(1_000, || (0..1_000).for_each(look));
        }),
        row("serve_with", "entries, present", Not, 500, |n| {
            let cache = filled(n);
            let serve = |key| _ = black_box(cache.serve_with(key % n, || Err::<u64, _>(())));
            count(1_000, || (0..1_000).for_each(serve));
        }),
        row("serve_with", "entries, absent", Not, 2_048, |n| {
            let cache = filled(n);
            let serve = |key| _ = cache.serve_with(n + key, || Ok::<_, ()>(key));
            (0..100).for_each(serve);
            count(2_048, || (100..2_148).for_each(serve));
        }),
    ]
}

fn domains() -> Vec<Row> {
    /// Two caches of a domain, with the entries `0..n`.
    fn two(n: u64) -> (Domain, [Cache; 2]) {
        let domain = Domain::new();
        let caches = [(); 2].map(|()| builder().domain(&domain).build());
        caches.iter().for_each(|cache| (0..n).for_each(|key| _ = cache.insert(key, key)));
        (domain, caches)
    }
    fn many(n: u64) -> (Domain, Vec<Cache>) {
        let domain = Domain::new();
        let caches = (0..n).map(|_| builder().domain(&domain).build()).collect();
        (domain, caches)
    }
    vec![
        row("commit", "entries of two caches", Not, 500, |n| {
            let (domain, [one, other]) = two(n);
            let write = |key: u64| {
                let mut batch = domain.batch();
                batch.insert(&one, key % n, key).unwrap();
                batch.insert(&other, key % n, key).unwrap();
                _ = black_box(batch.commit());
            };
            (0..100).for_each(write);
            count(1_000, || (0..1_000).for_each(write));
        }),
        row("Domain::view", "entries of two caches", Not, 500, |n| {
            let (domain, _caches) = two(n);
            count(100, || (0..100).for_each(|_| drop(black_box(domain.view()))));
        }),
        row("Domain::view", "caches", Linear, 8, |n| {
            let (domain, _caches) = many(n);
            count(100, || (0..100).for_each(|_| drop(black_box(domain.view()))));
        }),
        row("DomainView::of", "caches", Linear, 8, |n| {
            let (domain, caches) = many(n);
            let view = domain.view();
            let last = caches.last().unwrap();
            count(100, || (0..100).for_each(|_| drop(black_box(view.of(last)))));
        }),
        row("Domain::transact", "entries of two caches", Not, 500, |n| {
            let (domain, [one, other]) = two(n);
            let write = |key: u64| {
                let made = domain.transact(|tx| {
                    let read = tx.of(&one)?.get(&(key % n));
                    tx.of(&other)?.insert(key % n, read.unwrap_or(0));
                    Ok::<_, ForeignCache>(())
                });
                assert!(made.is_ok());
            };
            (0..100).for_each(write);
            count(1_000, || (0..1_000).for_each(write));
        }),
        row("Serving::load", "entries, present", Not, 500, |n| {
            let cache = filled(n);
            let load = |key| _ = black_box(cache.serving().load(key % n, || Err::<u64, _>(())));
            count(1_000, || (0..1_000).for_each(load));
        }),
        row("Serving::load_on", "entries, present", Not, 500, |n| {
            let cache = filled(n);
            let load = |key: u64| {
                let execute = |_| unreachable!("the value is not due");
                _ = black_box(cache.serving().load_on(key % n, execute, || Err::<u64, _>(())));
            };
            count(1_000, || (0..1_000).for_each(load));
        }),
    ]
}

fn whole_caches() -> Vec<Row> {
    fn bounded(n: u64) -> crate::row::Cache {
        let cache = builder().max_capacity(n).build();
        (0..n).for_each(|key| _ = cache.insert(key, key));
        cache
    }
    vec![
        row("hottest", "entries", Linear, 200, |n| {
            let cache = bounded(n);
            count(1, || _ = black_box(cache.hottest(8)));
        }),
        row("coldest", "entries", Linear, 200, |n| {
            let cache = bounded(n);
            count(1, || _ = black_box(cache.coldest(8)));
        }),
        row("resize", "entries", Not, 500, |n| {
            let cache = bounded(n);
            count(100, || (1..101).for_each(|less| _ = black_box(cache.resize(n - less))));
        }),
    ]
}

fn explanations() -> Vec<Row> {
    const DERIVED: u64 = 1 << 32;
    vec![
        row("Cache::explain", "entries", Not, 500, |n| {
            let cache = filled(n);
            count(100, || (0..100).for_each(|key| _ = black_box(cache.explain(&(key % n)))));
        }),
        row("View::explain", "inputs", Linear, 16, |n| {
            let cache = filled(n);
            cache.derive(DERIVED, |scope| (0..n).map(|key| scope.get(&key).unwrap()).sum());
            let view = cache.view();
            count(1, || _ = black_box(view.explain(&DERIVED)));
        }),
    ]
}

#[cfg(feature = "serde")]
fn files() -> Vec<Row> {
    fn file() -> std::path::PathBuf {
        std::env::temp_dir().join(format!("coeval-slopes-{}", std::process::id()))
    }
    fn restored(input: &[u8]) {
        black_box(builder().restore_from(input).unwrap());
    }
    vec![
        row("save_to", "entries", Linear, 1_000, |n| {
            let cache = filled(n);
            count(1, || _ = black_box(cache.save_to(Vec::new()).unwrap()));
        }),
        row("save", "entries", Linear, 1_000, |n| {
            let cache = filled(n);
            count(1, || _ = cache.save(file()).unwrap());
            std::fs::remove_file(file()).unwrap();
        }),
        row("restore_from", "entries", Linear, 1_000, |n| {
            let (saved, _) = filled(n).save_to(Vec::new()).unwrap();
            count(1, || restored(&saved));
        }),
        row("Builder::restore", "entries", Linear, 1_000, |n| {
            filled(n).save(file()).unwrap();
            count(1, || _ = black_box(builder().restore(file()).unwrap()));
            std::fs::remove_file(file()).unwrap();
        }),
        row("restore_later_from", "entries of the file", Not, 64, |n| {
            let (saved, _) = filled(n).save_to(Vec::new()).unwrap();
            let begin = |input| builder().restore_later_from(Cursor::new(input)).unwrap();
            let files = [(); 16].map(|()| saved.clone());
            count(16, || files.into_iter().for_each(|file| drop(black_box(begin(file)))));
        }),
        row("Builder::restore_later", "entries of the file", Not, 64, |n| {
            filled(n).save(file()).unwrap();
            let begin = |_| drop(black_box(builder().restore_later(file()).unwrap()));
            count(16, || (0..16).for_each(begin));
            std::fs::remove_file(file()).unwrap();
        }),
        row("Restoring::step", "entries of the file", Not, 64, |n| {
            let cache = filled(n + 10_000);
            let (saved, _) = cache.save_to(Vec::new()).unwrap();
            let (_cache, mut restoring) = builder().restore_later_from(Cursor::new(saved)).unwrap();
            count(1, || _ = black_box(restoring.step().unwrap()));
        }),
        row("run", "entries of the file", Linear, 1_000, |n| {
            let (saved, _) = filled(n).save_to(Vec::new()).unwrap();
            let (_cache, restoring) = builder().restore_later_from(Cursor::new(saved)).unwrap();
            count(1, || _ = black_box(restoring.run().unwrap()));
        }),
    ]
}

#[cfg(not(feature = "serde"))]
fn files() -> Vec<Row> {
    Vec::new()
}

#[cfg(feature = "metrics")]
fn figures() -> Vec<Row> {
    vec![
        row("Exporter::update", "entries", Not, 500, |n| {
            let cache = filled(n);
            let exporter = cache.export_metrics();
            count(100, || (0..100).for_each(|_| _ = black_box(exporter.update())));
        }),
        row("load_durations", "entries", Not, 500, |n| {
            let cache = filled(n);
            cache.get_with(n, || n);
            count(10, || (0..10).for_each(|_| _ = black_box(cache.load_durations())));
        }),
    ]
}

#[cfg(not(feature = "metrics"))]
fn figures() -> Vec<Row> {
    Vec::new()
}
