//! A recorded trace that several threads replay from a cold start. Each request gets its key, and
//! inserts the key if it is missing. The workload measures hit ratio and throughput together,
//! because either one is easy without the other.
//!
//! Threads take turns of 64 requests, so the order is kept up to that. Bounded stores hold at most
//! `--capacity` entries. Stores that cannot be bounded keep everything, and their hit ratio is that
//! of an unlimited cache. A store that would take too long ends early, and has no hit ratio.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{Ready, Settings};
use crate::{
    compare::results::{Figure, Unit},
    stores::{Family, Reader, Store},
    trace,
};

const TURN: usize = 64;
/// The longest time of a replay, in windows.
const LONGEST: u32 = 20;

/// The result of one replay.
struct Replayed {
    requests: u64,
    hits: u64,
    took: Duration,
}

/// The workload that the module describes.
pub fn entrant<F: Family>(settings: &Arc<Settings>) -> Ready {
    let settings = Arc::clone(settings);
    let Some(path) = &settings.trace else { return Err("no --trace was given".to_owned()) };
    let keys = trace::read_keys(path).map_err(|error| error.to_string())?;
    let capacity = settings.capacity.unwrap_or_else(|| usual_capacity(&keys));
    Ok(Box::new(move || {
        let mut figures = Vec::new();
        for threads in settings.writing_threads::<F>() {
            let bounded = F::Map::<u64, u64>::bounded(capacity);
            let bound = if bounded.is_some() { capacity } else { 0 };
            let store = bounded.unwrap_or_else(|| F::Map::with_capacity(0));
            let done = replay(&store, &keys, threads, settings.length * LONGEST);
            let variant = format!("{threads} thr");
            let rate = done.requests as f64 / done.took.as_secs_f64();
            figures.push(Figure::new("requests", &variant, Unit::PerSecond, rate));
            if done.requests == keys.len() as u64 {
                let ratio = 100.0 * done.hits as f64 / done.requests as f64;
                figures.push(Figure::new("hit ratio", &variant, Unit::Percent, ratio));
            }
            if threads == 1 {
                figures.push(Figure::new("bound (0: none)", "", Unit::Count, bound as f64));
            }
        }
        figures
    }))
}

/// A tenth of the distinct keys.
fn usual_capacity(keys: &[u64]) -> usize {
    let mut distinct = keys.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    (distinct.len() / 10).max(1)
}

fn replay<S: Store<u64, u64>>(
    store: &S,
    keys: &[u64],
    threads: usize,
    longest: Duration,
) -> Replayed {
    let (next, hits, requests) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let began = Instant::now();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut reader = store.reader();
                let (mut mine, mut all) = (0, 0);
                while began.elapsed() < longest {
                    let from = next.fetch_add(TURN, Ordering::Relaxed);
                    let Some(rest) = keys.get(from..).filter(|rest| !rest.is_empty()) else {
                        break;
                    };
                    for key in &rest[..TURN.min(rest.len())] {
                        all += 1;
                        if reader.get(key).is_some() {
                            mine += 1;
                        } else {
                            store.insert(*key, *key);
                        }
                    }
                }
                // Read after the threads were joined.
                hits.fetch_add(mine, Ordering::Relaxed);
                requests.fetch_add(all, Ordering::Relaxed);
            });
        }
    });
    let (requests, hits) = (requests.into_inner(), hits.into_inner());
    Replayed { requests, hits, took: began.elapsed() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stores::{Visit, visit};

    #[test]
    fn a_replay_counts_every_request_once() {
        struct Replay;
        impl Visit for Replay {
            type Output = [u64; 2];
            fn visit<F: Family>(self) -> [u64; 2] {
                let keys: Vec<u64> = (0..1000).chain(0..1000).collect();
                let store = F::Map::<u64, u64>::with_capacity(0);
                let done = replay(&store, &keys, 1, Duration::from_secs(60));
                [done.requests, done.hits]
            }
        }
        assert_eq!(visit("rwlock", Replay), Some([2000, 1000]));
        assert_eq!(usual_capacity(&[1, 2, 3, 3, 3]), 1);
    }
}
