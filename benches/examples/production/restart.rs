//! Restarts in the middle of a recorded trace. Each request is a look-up and, on a miss, an insertion.
//! The cache has room for a tenth of the trace's keys. It is saved while requests go on, and ends when
//! it is saved. The next request goes to the new cache. While a cache is saved, and while one is
//! restored that is in use, requests come at the pace of a service. (The trace could be over before
//! the entries are there.)

use crate::{Folder, spread};
use coeval::Cache;
use coeval_bench::trace::read_keys;
use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

/// The restarts, evenly spread over the trace.
const RESTARTS: usize = 9;
/// The requests whose hit ratios are compared.
const COMPARED: usize = 10_000;
/// The time from one request to the next at the pace of a service: 5,000 requests a second.
const PACE: Duration = Duration::from_micros(200);

type Keys = Cache<u64, u64>;

/// How the new cache begins.
const STARTS: [&str; 4] = ["the same cache", "restore", "restore_later", "empty"];

pub fn run(trace: &Path) {
    let keys = read_keys(trace).expect("a trace");
    let capacity = keys.iter().collect::<HashSet<_>>().len() as u64 / 10;
    let builder = || Keys::builder().max_capacity(capacity);
    let (folder, cache) = (Folder::new(), builder().build());
    let file = folder.file("cache");
    let part = keys.len() / (RESTARTS + 1);
    let mut differences = [const { Vec::new() }; 4];
    println!(
        "{}: {} requests, {capacity} entries; hit ratios of {COMPARED} requests in percent\n\n\
         | request | before | {} |\n|--:|--:|--:|--:|--:|--:|",
        trace.display(),
        keys.len(),
        STARTS.join(" | ")
    );
    let mut at = 0;
    while at + part + COMPARED < keys.len() {
        let hits: Vec<bool> = keys[at..at + part].iter().map(|key| request(&cache, *key)).collect();
        at += part;
        // The requests go on, and count as those before.
        let mut more = Vec::new();
        std::thread::scope(|scope| {
            let saving = scope.spawn(|| cache.save(&file).expect("saved"));
            let mut pace = Pace(Instant::now());
            while !saving.is_finished() && at + COMPARED < keys.len() {
                pace.wait();
                more.push(request(&cache, keys[at]));
                at += 1;
            }
        });
        let before = ratio(hits.iter().chain(&more).rev().take(COMPARED).copied());
        let next = &keys[at..(at + COMPARED).min(keys.len())];
        let after = [
            None,
            Some(after_restore(&builder().restore(&file).expect("restored").0, next)),
            Some(after_restore_later(builder().restore_later(&file).expect("restored"), next)),
            Some(after_restore(&builder().build(), next)),
        ];
        let same = ratio(next.iter().map(|key| request(&cache, *key)));
        let after = after.map(|ratio| ratio.unwrap_or(same));
        at += next.len();
        for (all, after) in differences.iter_mut().zip(after) {
            all.push(after - before);
        }
        let shown = after.map(|one| format!("{one:.2}")).join(" | ");
        println!("| {at} | {before:.2} | {shown} |");
    }
    println!("\n| against before, points | least | median | greatest |\n|---|--:|--:|--:|");
    for (name, differences) in STARTS.into_iter().zip(differences) {
        let [least, median, greatest] = spread(differences);
        println!("| {name} | {least:+.2} | {median:+.2} | {greatest:+.2} |");
    }
}

/// When the next request comes.
struct Pace(Instant);

impl Pace {
    fn wait(&mut self) {
        std::thread::sleep(self.0.saturating_duration_since(Instant::now()));
        self.0 += PACE;
    }
}

/// Whether the cache has the key, which it has afterwards.
fn request(cache: &Keys, key: u64) -> bool {
    let is_hit = cache.get(&key).is_some();
    if !is_hit {
        cache.insert(key, key);
    }
    is_hit
}

fn ratio(hits: impl Iterator<Item = bool>) -> f64 {
    let (mut all, mut hit) = (0_u32, 0_u32);
    for is_hit in hits {
        all += 1;
        hit += u32::from(is_hit);
    }
    100.0 * f64::from(hit) / f64::from(all)
}

fn after_restore(cache: &Keys, next: &[u64]) -> f64 {
    ratio(next.iter().map(|key| request(cache, *key)))
}

/// The requests come while the entries do.
fn after_restore_later(
    (cache, restoring): (Keys, coeval::Restoring<u64, u64>),
    next: &[u64],
) -> f64 {
    std::thread::scope(|scope| {
        scope.spawn(|| restoring.run().expect("restored"));
        let mut pace = Pace(Instant::now());
        ratio(next.iter().map(|key| {
            pace.wait();
            request(&cache, *key)
        }))
    })
}
