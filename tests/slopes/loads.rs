//! Loads, leases, refreshing, prewarming.

use crate::counter::count;
use crate::row::Grows::{Linear, Not};
use crate::row::{Cache, Row, builder, ended_threads, filled, row};
use std::convert::Infallible;
use std::hint::black_box;
use std::time::Duration;

const MANY: u64 = 2_048;

pub fn rows() -> Vec<Row> {
    #[allow(unused_mut)]
    let mut rows = [leases(), single(), groups(), elsewhere()].concat();
    #[cfg(feature = "async")]
    rows.extend(futures::rows());
    rows
}

/// Fails `n` loads, each of a key of its own.
fn refused(cache: &Cache, n: u64) {
    (0..n).for_each(|key| _ = cache.try_get_with(1_000_000 + key, || Err::<u64, _>(())));
}

fn leases() -> Vec<Row> {
    vec![
        row("lease", "entries", Not, 500, |n| {
            let cache = filled(n);
            count(MANY, || (0..MANY).for_each(|key| _ = black_box(cache.lease(&(key % n)))));
        }),
        row("lease", "leases dropped before, of absent keys", Not, 500, |n| {
            let cache = filled(1);
            (0..n).for_each(|key| drop(cache.lease(&(1 + key))));
            count(MANY, || (0..MANY).for_each(|key| drop(cache.lease(&(n + 1 + key)))));
        }),
        row("Lease::fill", "entries", Not, MANY, |n| {
            let cache = filled(n);
            let fill = |key: u64| _ = cache.lease(&(key % n)).fill(key);
            count(MANY, || (0..MANY).for_each(fill));
        }),
        row("Lease::fill", "fills refused before", Not, 500, |n| {
            let cache = filled(n);
            let refuse = |key: u64| {
                let lease = cache.lease(&key);
                cache.insert(key, 0);
                assert!(lease.fill(1).is_err());
            };
            (0..n).for_each(refuse);
            count(MANY, || (0..MANY).for_each(|key| _ = cache.lease(&(key % n)).fill(key)));
        }),
        row("Lease::is_outdated", "tags", Linear, 16, |n| {
            let cache = filled(1);
            let tags: Vec<coeval::Tag> = (0..n).map(|n| format!("tag {n}").into()).collect();
            cache.insert_tagged(0, 0, &tags);
            let lease = cache.lease(&0);
            count(10, || (0..10).for_each(|_| assert!(!black_box(&lease).is_outdated())));
        }),
        row("Lease::is_outdated", "inputs", Linear, 16, |n| {
            let cache = filled(n);
            cache.derive(n, |scope| (0..n).map(|key| scope.get(&key).unwrap()).sum());
            let lease = cache.lease(&n);
            count(10, || (0..10).for_each(|_| assert!(!black_box(&lease).is_outdated())));
        }),
    ]
}

fn single() -> Vec<Row> {
    vec![
        row("get_with", "entries, present", Not, 500, |n| {
            let cache = filled(n);
            let get = |key| _ = black_box(cache.get_with(key % n, || unreachable!()));
            count(1_000, || (0..1_000).for_each(get));
        }),
        row("get_with", "entries, absent", Not, MANY, |n| {
            let cache = builder().initial_capacity(n as usize + 4_096).build();
            (0..n).for_each(|key| _ = cache.insert(key, key));
            count(MANY, || (0..MANY).for_each(|key| _ = cache.get_with(n + key, || key)));
        }),
        row("get_with", "loads that failed before", Not, 500, |n| {
            let cache = builder().initial_capacity(10_000).build();
            refused(&cache, n);
            count(MANY, || (0..MANY).for_each(|key| _ = cache.get_with(key, || key)));
        }),
        row("get_with", "ended threads", Not, 16, |n| {
            let cache = builder().initial_capacity(10_000).build();
            ended_threads(&cache, n);
            count(MANY, || (0..MANY).for_each(|key| _ = cache.get_with(1 + key, || key)));
        }),
        row("try_get_with", "loads that failed before", Not, 500, |n| {
            let cache = filled(1);
            refused(&cache, n);
            count(MANY, || refused(&cache, MANY));
        }),
        row("load", "tags of the value before", Linear, 16, |n| {
            let cache = filled(1);
            let tags: Vec<coeval::Tag> = (0..n).map(|n| format!("tag {n}").into()).collect();
            cache.insert_tagged(0, 0, &tags);
            cache.invalidate_tag("tag 0");
            count(1, || _ = cache.load(0, || Ok::<_, Infallible>(1)));
        }),
        row("load_shared", "loads that failed before", Not, 500, |n| {
            let cache = builder().initial_capacity(10_000).build();
            refused(&cache, n);
            let load = |key| _ = cache.load_shared(key, || Ok::<_, ()>(key));
            count(MANY, || (0..MANY).for_each(load));
        }),
        row("prewarm", "entries", Linear, 500, |n| {
            let cache = builder().build();
            count(1, || assert_eq!(cache.prewarm((0..n).map(|key| (key, key))), n));
        }),
        row("prewarm", "entries that are there", Linear, 500, |n| {
            let cache = filled(n);
            count(1, || _ = cache.prewarm((0..n).map(|key| (key, key))));
        }),
    ]
}

/// Finds, and then loads, a group of N keys with each of the three calls.
fn group<const N: usize>(call: fn(&Cache, [u64; N])) {
    let cache = builder().build();
    let absent = |at: u64| std::array::from_fn(|key| at * N as u64 + key as u64);
    (0..8).for_each(|at| call(&cache, absent(at)));
    count(16, || (0..16).for_each(|at| call(&cache, absent(at))));
}

fn groups() -> Vec<Row> {
    fn with<const N: usize>(cache: &Cache, keys: [u64; N]) {
        black_box(cache.get_many_with(keys, || keys));
    }
    fn try_with<const N: usize>(cache: &Cache, keys: [u64; N]) {
        _ = black_box(cache.try_get_many_with(keys, || Ok::<_, ()>(keys)));
    }
    fn load<const N: usize>(cache: &Cache, keys: [u64; N]) {
        _ = black_box(cache.load_many(keys, || Ok::<_, ()>(keys)));
    }
    fn shared<const N: usize>(cache: &Cache, keys: [u64; N]) {
        _ = black_box(cache.load_many_shared(keys, || Ok::<_, ()>(keys)));
    }
    vec![
        row("get_many_with", "keys", Linear, 8, |n| match n {
            8 => group::<8>(with),
            32 => group::<32>(with),
            _ => group::<128>(with),
        }),
        row("try_get_many_with", "keys", Linear, 8, |n| match n {
            8 => group::<8>(try_with),
            32 => group::<32>(try_with),
            _ => group::<128>(try_with),
        }),
        row("load_many_shared", "keys", Linear, 8, |n| match n {
            8 => group::<8>(shared),
            32 => group::<32>(shared),
            _ => group::<128>(shared),
        }),
        row("load_many", "keys", Linear, 8, |n| match n {
            8 => group::<8>(load),
            32 => group::<32>(load),
            _ => group::<128>(load),
        }),
    ]
}

/// A cache in which all entries are due for a refresh.
fn due(n: u64) -> Cache {
    let clock = coeval::ManualClock::new();
    let cache = builder().manual_clock(&clock).refresh_after(Duration::from_secs(1)).build();
    (0..n).for_each(|key| _ = cache.insert(key, key));
    clock.advance(Duration::from_secs(2));
    cache
}

fn elsewhere() -> Vec<Row> {
    vec![
        row("load_on", "entries", Not, MANY, |n| {
            let cache = due(n);
            let load = |key| _ = cache.load_on(key, |job| job(), move || Ok::<_, ()>(key));
            count(MANY, || (0..MANY).for_each(load));
        }),
        row("load_many_on", "entries", Not, MANY, |n| {
            let cache = due(n);
            let load = |key: u64| {
                let keys = [key, (key + 1) % n];
                _ = cache.load_many_on(keys, |job| job(), move || Ok::<_, ()>(keys));
            };
            count(MANY, || (0..MANY).for_each(load));
        }),
    ]
}

#[cfg(feature = "async")]
mod futures {
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    /// The output of a future that is never pending.
    fn ready<T>(future: impl Future<Output = T>) -> T {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => output,
            Poll::Pending => panic!("the future is never pending"),
        }
    }

    fn run_at_once(task: coeval::Task) {
        ready(task);
    }

    pub fn rows() -> Vec<Row> {
        vec![
            row("get_with_async", "loads that failed before", Not, 500, |n| {
                let cache = builder().initial_capacity(10_000).build();
                refused(&cache, n);
                let get = |key| _ = ready(cache.get_with_async(key, async move { key }));
                count(MANY, || (0..MANY).for_each(get));
            }),
            row("load_with_terms_async", "entries", Not, MANY, |n| {
                let cache = builder().initial_capacity(n as usize + 10_000).build();
                (0..n).for_each(|key| _ = cache.insert(key, key));
                let get = |key: u64| {
                    let load = async move { Ok::<_, ()>(coeval::Loaded::new(key)) };
                    _ = ready(cache.load_with_terms_async(n + key, load));
                };
                count(MANY, || (0..MANY).for_each(get));
            }),
            row("get_many_with_async", "entries", Not, MANY, |n| {
                let cache = builder().initial_capacity(n as usize + 10_000).build();
                (0..n).for_each(|key| _ = cache.insert(key, key));
                let get = |key: u64| {
                    let keys = [n + 2 * key, n + 2 * key + 1];
                    ready(cache.get_many_with_async(keys, async move { keys }));
                };
                count(MANY, || (0..MANY).for_each(get));
            }),
            row("get_with_ref_async", "entries", Not, MANY, |n| {
                let cache = builder().initial_capacity(n as usize + 10_000).build();
                (0..n).for_each(|key| _ = cache.insert(key, key));
                let get = |key: u64| _ = ready(cache.get_with_ref_async(&(n + key), async { key }));
                count(MANY, || (0..MANY).for_each(get));
            }),
            row("get_each_with_async", "entries", Not, MANY, |n| {
                let cache = builder().initial_capacity(n as usize + 10_000).build();
                (0..n).for_each(|key| _ = cache.insert(key, key));
                let get = |key: u64| {
                    let keys = [n + 2 * key, n + 2 * key + 1];
                    let load = async |absent: &[u64]| absent.to_vec();
                    _ = ready(cache.get_each_with_async(keys, load));
                };
                count(MANY, || (0..MANY).for_each(get));
            }),
            row("load_async_on", "entries", Not, MANY, |n| {
                let cache = due(n);
                let get = |key| {
                    let load = async move { Ok::<_, ()>(key) };
                    _ = ready(cache.load_async_on(key, run_at_once, load));
                };
                count(MANY, || (0..MANY).for_each(get));
            }),
            row("load_many_async_on", "entries", Not, MANY, |n| {
                let cache = due(n);
                let get = |key: u64| {
                    let keys = [key, (key + 1) % n];
                    let load = async move { Ok::<_, ()>(keys) };
                    _ = ready(cache.load_many_async_on(keys, run_at_once, load));
                };
                count(MANY, || (0..MANY).for_each(get));
            }),
            row("derive_async", "inputs", Linear, 16, |n| {
                let cache = filled(n);
                let derive = |round: u64| {
                    ready(cache.derive_async(n + round, async |scope| {
                        (0..n).map(|key| scope.get(&key).unwrap()).sum()
                    }));
                };
                count(8, || (0..8).for_each(derive));
            }),
        ]
    }
}
