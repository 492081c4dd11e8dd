//! How long single writes take, one after the other, on one thread. What a write does for others,
//! such as giving back memory, is in its time.

use coeval::Cache;
use coeval_bench::latency::Latency;
use coeval_bench::random::{Random, SEED};
use std::time::Instant;

const ENTRIES: u64 = 100_000;
const WRITES: u64 = 1_000_000;
const TEXT: usize = 1024;

pub fn run() {
    println!(
        "{WRITES} writes of each kind, {ENTRIES} entries; nanoseconds\n\n\
         | write | p50 | p99 | p99.9 | p99.99 |\n|---|--:|--:|--:|--:|"
    );
    let mut random = Random::new(SEED, 3);
    let numbers = filled(Cache::new(), |key| key);
    measure("overwrite", |_| random.below(ENTRIES), |key| _ = numbers.insert(key, 1));
    measure("insert of a new key", |n| ENTRIES + n, |key| _ = numbers.insert(key, 1));
    measure("remove", |n| ENTRIES + n, |key| _ = numbers.remove(&key));
    let full = filled(Cache::builder().max_capacity(ENTRIES).build(), |key| key);
    measure("insert into a full cache", |n| ENTRIES + n, |key| _ = full.insert(key, 1));
    let text = || "x".repeat(TEXT);
    let texts = filled(Cache::new(), |_| text());
    let entry = |_| (random.below(ENTRIES), text());
    measure("overwrite, 1 KiB", entry, |(key, text)| _ = texts.insert(key, text));
    let full = filled(Cache::builder().max_capacity(ENTRIES).build(), |_| text());
    let entry = |n| (ENTRIES + n, text());
    measure("insert into a full cache, 1 KiB", entry, |(key, text)| _ = full.insert(key, text));
}

fn filled<V: Send + Sync + 'static>(
    cache: Cache<u64, V>,
    value: impl Fn(u64) -> V,
) -> Cache<u64, V> {
    (0..ENTRIES).for_each(|key| _ = cache.insert(key, value(key)));
    cache
}

/// Times `write`, but not `make`, which makes what it is given.
fn measure<T>(name: &str, mut make: impl FnMut(u64) -> T, write: impl Fn(T)) {
    let mut latency = Latency::default();
    for number in 0..WRITES {
        let made = make(number);
        let begin = Instant::now();
        write(made);
        latency.record(begin.elapsed());
    }
    let of = latency.summary();
    println!("| {name} | {} | {} | {} | {} |", of.p50, of.p99, of.p999, of.p9999);
}
