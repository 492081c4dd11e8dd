//! The rows about quick_cache.

use crate::{finish, rows};
use quick_cache::sync::{Cache as Peers, GuardResult};
use quick_cache::{Lifecycle, Weighter};
use std::sync::{Arc, Mutex};

type Peer = Peers<u64, String>;
type Ours = coeval::Cache<u64, String>;

fn peer() -> Peer {
    Peer::new(100)
}

fn ours() -> Ours {
    Ours::builder().max_capacity(100).build()
}

fn text(value: &str) -> String {
    value.to_string()
}

#[derive(Clone)]
struct ByLength;

impl Weighter<u64, String> for ByLength {
    fn weight(&self, _key: &u64, value: &String) -> u64 {
        value.len() as u64
    }
}

fn weighing_peer(weight: u64) -> Peers<u64, String, ByLength> {
    Peers::with_weighter(10, weight, ByLength)
}

fn weighing(weight: u64) -> Ours {
    let weigher = |_: &u64, value: &String| value.len() as u32;
    Ours::builder().weigher(weigher).max_capacity(weight).build()
}

/// Notes whether something was evicted.
#[derive(Clone)]
struct Evictions(Arc<Mutex<bool>>);

impl Lifecycle<u64, String> for Evictions {
    type RequestState = ();

    fn on_evict(&self, _state: &mut (), _key: u64, _value: String) {
        *self.0.lock().unwrap() = true;
    }
}

rows! { "quick_cache":
    new: "`sync::Cache::new(n)`" gives Some(text("one"));
    {
        let cache = Peer::new(100);
        cache.insert(1, text("one"));
        cache.get(&1)
    }
    {
        let cache = Ours::builder().max_capacity(100).build();
        cache.insert(1, text("one"));
        cache.get(&1)
    }

    weighter: "`Cache::with_weighter(n, w, weighter)`" gives (5, 100);
    {
        let cache = Peers::with_weighter(10, 100, ByLength);
        cache.insert(1, text("three"));
        (cache.weight(), cache.capacity())
    }
    {
        let weigher = |_: &u64, value: &String| value.len() as u32;
        let cache = Ours::builder().weigher(weigher).max_capacity(100).build();
        cache.insert(1, text("three"));
        (cache.weighted_size(), cache.policy().max_capacity().unwrap())
    }

    reads_and_writes: "`cache.get(&k)`, `insert(k, v)`" gives [Some(text("one")), None];
    {
        let cache = peer();
        cache.insert(1, text("one"));
        [cache.get(&1), cache.get(&2)]
    }
    {
        let cache = ours();
        cache.insert(1, text("one"));
        [cache.get(&1), cache.get(&2)]
    }

    peek: "`cache.peek(&k)`" gives Some(text("one"));
    {
        let cache = peer();
        cache.insert(1, text("one"));
        cache.peek(&1)
    }
    {
        let cache = ours();
        cache.insert(1, text("one"));
        cache.peek(&1)
    }

    remove: "`cache.remove(&k)`" gives [Some(text("one")), None];
    {
        let cache = peer();
        cache.insert(1, text("one"));
        [1, 1].map(|key| cache.remove(&key).map(|(_, value)| value))
    }
    {
        let cache = ours();
        cache.insert(1, text("one"));
        [1, 1].map(|key| cache.remove(&key))
    }

    remove_if: "`cache.remove_if(&k, f)`" gives [Some(text("two")), None];
    {
        let cache = peer();
        cache.insert(1, text("one"));
        cache.insert(2, text("two"));
        [2, 1].map(|key| cache.remove_if(&key, |value| value == "two").map(|(_, value)| value))
    }
    {
        use coeval::{CompResult, Op};
        let cache = ours();
        cache.insert(1, text("one"));
        cache.insert(2, text("two"));
        [2, 1].map(|key| {
            let done = cache.entry(key).and_compute_with(|entry| match entry {
                Some(entry) if entry.value() == "two" => Op::Remove,
                _ => Op::Nop,
            });
            if let CompResult::Removed(entry) = done { Some(entry.into_value()) } else { None }
        })
    }

    replace: "`cache.replace(k, v, soft)`" gives (true, false, Some(text("uno")), None);
    {
        let cache = peer();
        cache.insert(1, text("one"));
        let replaced = cache.replace(1, text("uno"), false).is_ok();
        (replaced, cache.replace(2, text("due"), false).is_ok(), cache.get(&1), cache.get(&2))
    }
    {
        let cache = ours();
        let version = cache.insert(1, text("one"));
        let replaced = cache.compare_and_set(1, Some(version), text("uno")).is_ok();
        let absent = cache.compare_and_set(2, Some(version), text("due")).is_ok();
        (replaced, absent, cache.get(&1), cache.get(&2))
    }

    loads: "`cache.get_or_insert_with(&k, f)`" gives (Err("no"), Ok(text("one")), Ok(text("one")));
    {
        let cache = peer();
        (
            cache.get_or_insert_with(&1, || Err("no")),
            cache.get_or_insert_with(&1, || Ok::<_, &str>(text("one"))),
            cache.get_or_insert_with(&1, || Err("it is cached")),
        )
    }
    {
        let cache = ours();
        (
            cache.try_get_with(1, || Err("no")).map_err(|error| *error),
            cache.try_get_with(1, || Ok::<_, &str>(text("one"))).map_err(|error| *error),
            cache.try_get_with_ref(&1, || Err("it is cached")).map_err(|error| *error),
        )
    }

    guards: "`cache.get_value_or_guard(&k, timeout)`" gives (true, Some(text("one")), false);
    {
        let cache = peer();
        let GuardResult::Guard(guard) = cache.get_value_or_guard(&1, None) else { panic!() };
        let is_filled = guard.insert(text("one")).is_ok();
        let value = cache.get(&1);
        let GuardResult::Guard(guard) = cache.get_value_or_guard(&2, None) else { panic!() };
        cache.insert(2, text("two"));
        (is_filled, value, guard.insert(text("old")).is_ok())
    }
    {
        let cache = ours();
        let is_filled = cache.lease(&1).fill(text("one")).is_ok();
        let value = cache.get(&1);
        let lease = cache.lease(&2);
        cache.insert(2, text("two"));
        (is_filled, value, lease.fill(text("old")).is_ok())
    }

    futures: "`cache.get_or_insert_async(&k, future)`" gives (Err("no"), Ok(text("one")));
    {
        let cache = peer();
        (
            finish(cache.get_or_insert_async(&1, async { Err("no") })),
            finish(cache.get_or_insert_async(&1, async { Ok::<_, &str>(text("one")) })),
        )
    }
    {
        let cache = ours();
        let load = |result: Result<String, &'static str>| {
            finish(cache.try_get_with_async(1, async { result })).map_err(|error| *error)
        };
        (load(Err("no")), load(Ok(text("one"))))
    }

    retain: "`cache.retain(f)`" gives [None, Some(text("two"))];
    {
        let cache = peer();
        cache.insert(1, text("one"));
        cache.insert(2, text("two"));
        cache.retain(|key, _value| *key > 1);
        [cache.get(&1), cache.get(&2)]
    }
    {
        let cache = ours();
        cache.insert(1, text("one"));
        cache.insert(2, text("two"));
        cache.retain(|key, _value| *key > 1);
        [cache.get(&1), cache.get(&2)]
    }

    iter: "`cache.iter()`" gives vec![(1, text("one")), (2, text("two"))];
    {
        let cache = peer();
        cache.insert(1, text("one"));
        cache.insert(2, text("two"));
        let mut entries: Vec<_> = cache.iter().collect();
        entries.sort();
        entries
    }
    {
        let cache = ours();
        cache.insert(1, text("one"));
        cache.insert(2, text("two"));
        let mut entries: Vec<_> = cache.iter().collect();
        entries.sort();
        entries
    }

    clear: "`cache.clear()`" gives (None, 0);
    {
        let cache = peer();
        cache.insert(1, text("one"));
        cache.clear();
        (cache.get(&1), cache.len())
    }
    {
        let cache = ours();
        cache.insert(1, text("one"));
        cache.invalidate_all();
        (cache.get(&1), cache.len())
    }

    sizes: "`cache.len()`, `weight()`, `capacity()`" gives (2, 8, 100);
    {
        let cache = weighing_peer(100);
        cache.insert(1, text("one"));
        cache.insert(3, text("three"));
        (cache.len(), cache.weight(), cache.capacity())
    }
    {
        let cache = weighing(100);
        cache.insert(1, text("one"));
        cache.insert(3, text("three"));
        (cache.len(), cache.weighted_size(), cache.policy().max_capacity().unwrap())
    }

    statistics: "`cache.hits()`, `misses()`" gives (1, 1);
    {
        let cache = peer();
        cache.insert(1, text("one"));
        (cache.get(&1), cache.get(&2)).0.unwrap();
        (cache.hits(), cache.misses())
    }
    {
        let cache = ours();
        cache.insert(1, text("one"));
        (cache.get(&1), cache.get(&2)).0.unwrap();
        (cache.stats().hits, cache.stats().misses)
    }

    lifecycle: "`Lifecycle`" gives true;
    {
        let evictions = Evictions(Arc::default());
        let by = coeval::RandomState::default();
        let cache = Peers::with(10, 10, quick_cache::UnitWeighter, by, evictions.clone());
        (0..100).for_each(|key| cache.insert(key, text("value")));
        *evictions.0.lock().unwrap()
    }
    {
        let evictions = Arc::new(Mutex::new(false));
        let noted = evictions.clone();
        let cache = Ours::builder()
            .max_capacity(10)
            .eviction_listener(move |_key, _value, cause, _version| {
                *noted.lock().unwrap() |= cause.was_evicted();
            })
            .build();
        (0..100).for_each(|key| _ = cache.insert(key, text("value")));
        *evictions.lock().unwrap()
    }

    pinned: "pinned entries (weight 0)" gives (Some(text("")), true);
    {
        let cache = weighing_peer(50);
        cache.insert(0, text(""));
        (1..1000).for_each(|key| cache.insert(key, text("value")));
        (cache.get(&0), cache.weight() <= 50)
    }
    {
        let cache = weighing(50);
        cache.insert(0, text(""));
        (1..1000).for_each(|key| _ = cache.insert(key, text("value")));
        (cache.get(&0), cache.weighted_size() <= 50)
    }
}
