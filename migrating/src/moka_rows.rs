//! The rows about moka.

use crate::{LONGER, SHORT, finish, rows};
use std::collections::hash_map::RandomState;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

type Peer = moka::sync::Cache<&'static str, u32>;
type Ours = coeval::Cache<&'static str, u32>;

fn peer() -> Peer {
    Peer::new(1000)
}

fn ours() -> Ours {
    Ours::builder().max_capacity(1000).build()
}

/// Values above 1000 are kept for a short time.
struct ByValue;

impl moka::Expiry<&'static str, u32> for ByValue {
    fn expire_after_create(&self, _: &&'static str, value: &u32, _: Instant) -> Option<Duration> {
        (*value > 1000).then_some(SHORT)
    }
}

impl coeval::Expiry<&'static str, u32> for ByValue {
    fn expire_after_create(&self, _: &&'static str, value: &u32) -> Option<Duration> {
        (*value > 1000).then_some(SHORT)
    }
}

/// Runs `load` in two threads, of which the second waits for the first.
fn by_two<E: Send>(load: impl Fn(&dyn Fn()) -> E + Sync) -> [E; 2] {
    let (leads, waits) = (Barrier::new(2), Barrier::new(2));
    thread::scope(|scope| {
        let first = scope.spawn(|| {
            load(&|| {
                leads.wait();
                waits.wait();
                thread::sleep(Duration::from_millis(200)); // until the other waits, almost surely
            })
        });
        leads.wait();
        let second = scope.spawn(|| {
            waits.wait();
            load(&|| ())
        });
        [first.join().unwrap(), second.join().unwrap()]
    })
}

rows! { "moka":
    new: "`Cache::new(1000)`" gives Some(1000);
    { Peer::new(1000).policy().max_capacity() }
    { Ours::builder().max_capacity(1000).build().policy().max_capacity() }

    settings: "`.name(\"n\")`, `.weigher(f)`, `.initial_capacity(n)`" gives
        (Some("n".to_string()), 7);
    {
        let settings = Peer::builder().name("n").weigher(|_, value| *value);
        let cache = settings.initial_capacity(10).build();
        cache.insert("a", 7);
        cache.run_pending_tasks();
        (cache.name().map(str::to_string), cache.weighted_size())
    }
    {
        let settings = Ours::builder().name("n").weigher(|_, value| *value);
        let cache = settings.initial_capacity(10).build();
        cache.insert("a", 7);
        (cache.name().map(str::to_string), cache.weighted_size())
    }

    times: "`.time_to_live(d)`, `.time_to_idle(d)`" gives [None, None];
    {
        let live = Peer::builder().time_to_live(SHORT).build();
        let idle = Peer::builder().time_to_idle(SHORT).build();
        live.insert("a", 1);
        idle.insert("a", 1);
        thread::sleep(LONGER);
        [live.get("a"), idle.get("a")]
    }
    {
        let live = Ours::builder().time_to_live(SHORT).build();
        let idle = Ours::builder().time_to_idle(SHORT).build();
        live.insert("a", 1);
        idle.insert("a", 1);
        thread::sleep(LONGER);
        [live.get("a"), idle.get("a")]
    }

    policy_of_times: "`.expire_after(expiry)`" gives [Some(1), None];
    {
        let cache = Peer::builder().expire_after(ByValue).build();
        cache.insert("a", 1);
        cache.insert("b", 1001);
        thread::sleep(LONGER);
        [cache.get("a"), cache.get("b")]
    }
    {
        let cache = Ours::builder().expire_after(ByValue).build();
        cache.insert("a", 1);
        cache.insert("b", 1001);
        thread::sleep(LONGER);
        [cache.get("a"), cache.get("b")]
    }

    listener: "`.eviction_listener(f)`" gives
        vec![("a".to_string(), 1, "Replaced"), ("a".to_string(), 2, "Explicit")];
    {
        use moka::notification::RemovalCause::{Explicit, Replaced};
        let heard = Arc::new(Mutex::new(Vec::new()));
        let into = heard.clone();
        let cache = Peer::builder()
            .eviction_listener(move |key, value, cause| {
                let cause = match cause {
                    Replaced => "Replaced",
                    Explicit => "Explicit",
                    _ => "another",
                };
                into.lock().unwrap().push((key.to_string(), value, cause));
            })
            .build();
        cache.insert("a", 1);
        cache.insert("a", 2);
        cache.remove("a");
        cache.run_pending_tasks();
        heard.lock().unwrap().clone()
    }
    {
        use coeval::RemovalCause::{Explicit, Replaced};
        let heard = Arc::new(Mutex::new(Vec::new()));
        let into = heard.clone();
        let cache = Ours::builder()
            .eviction_listener(move |key, value, cause, _version| {
                let cause = match cause {
                    Replaced => "Replaced",
                    Explicit => "Explicit",
                    _ => "another",
                };
                into.lock().unwrap().push((key.to_string(), value, cause));
            })
            .build();
        cache.insert("a", 1);
        cache.insert("a", 2);
        cache.remove("a");
        heard.lock().unwrap().clone()
    }

    policy_of_evictions: "`.eviction_policy(..)`" gives 10;
    {
        let policy = moka::policy::EvictionPolicy::lru();
        let cache = moka::sync::Cache::builder().max_capacity(10).eviction_policy(policy).build();
        (0..100).for_each(|n| cache.insert(n, n));
        cache.run_pending_tasks();
        cache.entry_count()
    }
    {
        let cache = coeval::Cache::builder().max_capacity(10).build();
        (0..100).for_each(|n| _ = cache.insert(n, n));
        cache.len() as u64
    }

    hasher: "`.build_with_hasher(s)`" gives Some(1);
    {
        let cache = Peer::builder().build_with_hasher(RandomState::new());
        cache.insert("a", 1);
        cache.get("a")
    }
    {
        let cache = Ours::builder().hasher(RandomState::new()).build();
        cache.insert("a", 1);
        cache.get("a")
    }

    closures: "`.support_invalidation_closures()`" gives true;
    {
        let cache = Peer::builder().support_invalidation_closures().build();
        cache.invalidate_entries_if(|_, _| true).is_ok()
    }
    {
        let cache = Ours::builder().build();
        cache.invalidate_entries_if(|_, _| true) == 0
    }

    reads_and_writes: "`cache.get(&k)`, `contains_key`, `insert`, `remove`" gives
        (Some(1), true, Some(1), None);
    {
        let cache = peer();
        cache.insert("a", 1);
        (cache.get("a"), cache.contains_key("a"), cache.remove("a"), cache.get("a"))
    }
    {
        let cache = ours();
        cache.insert("a", 1);
        (cache.get("a"), cache.contains_key("a"), cache.remove("a"), cache.get("a"))
    }

    invalidate: "`cache.invalidate(&k)`" gives None;
    {
        let cache = peer();
        cache.insert("a", 1);
        cache.invalidate(&"a");
        cache.get("a")
    }
    {
        let cache = ours();
        cache.insert("a", 1);
        cache.invalidate(&"a");
        cache.get("a")
    }

    loads: "`cache.get_with(k, f)`, `try_get_with`" gives (1, 1, Err(Arc::new("no")), Ok(2));
    {
        let cache = peer();
        let first = cache.get_with("a", || 1);
        let failed = cache.try_get_with("b", || Err("no"));
        (first, cache.get_with("a", || 9), failed, cache.try_get_with("b", || Ok::<_, &str>(2)))
    }
    {
        let cache = ours();
        let first = cache.get_with("a", || 1);
        let failed = cache.try_get_with("b", || Err("no"));
        (first, cache.get_with("a", || 9), failed, cache.try_get_with("b", || Ok::<_, &str>(2)))
    }

    loads_by_reference: "`cache.get_with_by_ref(&k, f)`" gives [1, 1];
    {
        let cache = moka::sync::Cache::<String, u32>::new(1000);
        [cache.get_with_by_ref("a", || 1), cache.get_with_by_ref("a", || 9)]
    }
    {
        let cache = coeval::Cache::<String, u32>::new();
        let first = cache.get_with_ref("a", || 1);
        [first, cache.entry_by_ref("a").or_insert_with(|| 9).into_value()]
    }

    optional_loads: "`cache.optionally_get_with(k, f)`" gives [None, Some(1), Some(1)];
    {
        let cache = peer();
        [None, Some(1), None].map(|found| cache.optionally_get_with("a", || found))
    }
    {
        let cache = ours();
        [None, Some(1), None].map(|found| {
            cache.entry("a").or_optionally_insert_with(|| found).map(|entry| entry.into_value())
        })
    }

    entries: "`entry(k).or_insert(v)`, `or_default`, `or_insert_with`, `or_insert_with_if`" gives
        [1, 1, 0, 3, 4, 4];
    {
        let cache = peer();
        [
            cache.entry("a").or_insert(1).into_value(),
            cache.entry("a").or_insert(9).into_value(),
            cache.entry("b").or_default().into_value(),
            cache.entry("c").or_insert_with(|| 3).into_value(),
            cache.entry("c").or_insert_with_if(|| 4, |old| *old == 3).into_value(),
            cache.entry("c").or_insert_with_if(|| 5, |old| *old == 3).into_value(),
        ]
    }
    {
        let cache = ours();
        [
            cache.entry("a").or_insert(1).into_value(),
            cache.entry("a").or_insert(9).into_value(),
            cache.entry("b").or_default().into_value(),
            cache.entry("c").or_insert_with(|| 3).into_value(),
            cache.entry("c").or_insert_with_if(|| 4, |old| *old == 3).into_value(),
            cache.entry("c").or_insert_with_if(|| 5, |old| *old == 3).into_value(),
        ]
    }

    of_an_entry: "`entry.is_fresh()`, `key()`, `value()`, `into_value()`" gives
        (true, false, "a", 1, 1);
    {
        let cache = peer();
        let (fresh, old) = (cache.entry("a").or_insert(1), cache.entry("a").or_insert(9));
        (fresh.is_fresh(), old.is_fresh(), *old.key(), *old.value(), old.into_value())
    }
    {
        let cache = ours();
        let (fresh, old) = (cache.entry("a").or_insert(1), cache.entry("a").or_insert(9));
        (fresh.is_fresh(), old.is_fresh(), *old.key(), *old.value(), old.into_value())
    }

    computed: "`entry(k).and_upsert_with(f)`, `and_compute_with(f)`, `and_try_compute_with(f)`" gives
        (2, true, Some("no"), None);
    {
        use moka::ops::compute::{CompResult, Op};
        let cache = peer();
        cache.insert("a", 1);
        let old = |entry: Option<moka::Entry<_, u32>>| entry.map_or(0, |entry| entry.into_value());
        let two = cache.entry("a").and_upsert_with(|entry| old(entry) + 1).into_value();
        let failed = cache.entry("a").and_try_compute_with(|_| Err::<Op<u32>, _>("no")).err();
        let removed = cache.entry("a").and_compute_with(|entry| match old(entry) {
            2 => Op::Remove,
            _ => Op::Nop,
        });
        (two, matches!(removed, CompResult::Removed(_)), failed, cache.get("a"))
    }
    {
        use coeval::{CompResult, Op};
        let cache = ours();
        cache.insert("a", 1);
        fn old<K>(entry: Option<coeval::Entry<K, u32>>) -> u32 {
            entry.map_or(0, |entry| entry.into_value())
        }
        let two = cache.entry("a").and_upsert_with(|entry| old(entry) + 1).into_value();
        let failed = cache.entry("a").and_try_compute_with(|_| Err::<Op<u32>, _>("no")).err();
        let removed = cache.entry("a").and_compute_with(|entry| match old(entry) {
            2 => Op::Remove,
            _ => Op::Nop,
        });
        (two, matches!(removed, CompResult::Removed(_)), failed, cache.get("a"))
    }

    shared_errors: "`try_get_with` gives one error to all that wait" gives (["no", "no"], 1);
    {
        let (cache, loads) = (peer(), AtomicUsize::new(0));
        let errors = by_two(|wait| {
            let loaded = cache.try_get_with("a", || {
                loads.fetch_add(1, Ordering::Relaxed);
                wait();
                Err::<u32, _>("no")
            });
            *loaded.unwrap_err()
        });
        (errors, loads.into_inner())
    }
    {
        let (cache, loads) = (ours(), AtomicUsize::new(0));
        let errors = by_two(|wait| {
            let loaded = cache.load_shared("a", || {
                loads.fetch_add(1, Ordering::Relaxed);
                wait();
                Err::<u32, _>("no")
            });
            match loaded.unwrap_err() {
                coeval::LoadError::Failed(error) => *error,
                _ => "a cycle",
            }
        });
        (errors, loads.into_inner())
    }

    invalidate_all: "`cache.invalidate_all()`" gives [None, None];
    {
        let cache = peer();
        cache.insert("a", 1);
        cache.insert("b", 2);
        cache.invalidate_all();
        [cache.get("a"), cache.get("b")]
    }
    {
        let cache = ours();
        cache.insert("a", 1);
        cache.insert("b", 2);
        cache.invalidate_all();
        [cache.get("a"), cache.get("b")]
    }

    invalidate_some: "`cache.invalidate_entries_if(f)`" gives [None, Some(2)];
    {
        let cache = Peer::builder().support_invalidation_closures().build();
        cache.insert("a", 1);
        cache.insert("b", 2);
        cache.invalidate_entries_if(|key, _| *key == "a").unwrap();
        [cache.get("a"), cache.get("b")]
    }
    {
        let cache = ours();
        cache.insert("a", 1);
        cache.insert("b", 2);
        assert_eq!(cache.invalidate_entries_if(|key, _| *key == "a"), 1);
        [cache.get("a"), cache.get("b")]
    }

    iter: "`cache.iter()`" gives vec![("a", 1), ("b", 2)];
    {
        let cache = peer();
        cache.insert("a", 1);
        cache.insert("b", 2);
        let mut entries: Vec<_> = cache.iter().map(|(key, value)| (*key, value)).collect();
        entries.sort_unstable();
        entries
    }
    {
        let cache = ours();
        cache.insert("a", 1);
        cache.insert("b", 2);
        let mut entries: Vec<_> = cache.iter().collect();
        entries.sort_unstable();
        entries
    }

    entry_count: "`cache.entry_count()`" gives 1;
    {
        let cache = peer();
        cache.insert("a", 1);
        cache.run_pending_tasks();
        cache.entry_count()
    }
    {
        let cache = ours();
        cache.insert("a", 1);
        cache.len() as u64
    }

    weighted_size: "`cache.weighted_size()`" gives 7;
    {
        let cache = Peer::builder().weigher(|_, value| *value).build();
        cache.insert("a", 7);
        cache.run_pending_tasks();
        cache.weighted_size()
    }
    {
        let cache = Ours::builder().weigher(|_, value| *value).build();
        cache.insert("a", 7);
        cache.weighted_size()
    }

    pending_tasks: "`cache.run_pending_tasks()`" gives 0;
    {
        let cache = peer();
        cache.insert("a", 1);
        cache.invalidate_all();
        cache.run_pending_tasks();
        cache.entry_count()
    }
    {
        let cache = ours();
        cache.insert("a", 1);
        cache.invalidate_all();
        while cache.maintain(100) {}
        cache.collect();
        cache.len() as u64
    }

    policy: "`cache.policy()`" gives (Some(10), Some(LONGER), Some(SHORT));
    {
        let settings = Peer::builder().max_capacity(10).time_to_live(LONGER).time_to_idle(SHORT);
        let policy = settings.build().policy();
        (policy.max_capacity(), policy.time_to_live(), policy.time_to_idle())
    }
    {
        let settings = Ours::builder().max_capacity(10).time_to_live(LONGER).time_to_idle(SHORT);
        let policy = settings.build().policy();
        (policy.max_capacity(), policy.time_to_live(), policy.time_to_idle())
    }

    futures: "`moka::future::Cache`" gives (1, Some(1), Some(2));
    {
        let cache = moka::future::Cache::<&str, u32>::new(1000);
        finish(async {
            let loaded = cache.get_with("a", async { 1 }).await;
            cache.insert("b", 2).await;
            (loaded, cache.get("a").await, cache.get("b").await)
        })
    }
    {
        let cache = ours();
        finish(async {
            let loaded = cache.get_with_async("a", async { 1 }).await;
            cache.insert("b", 2);
            (loaded, cache.get("a"), cache.get("b"))
        })
    }

    async_listener: "an async listener" gives ("a", 1);
    {
        use moka::future::FutureExt;
        let (left, leaving) = mpsc::channel();
        let cache = moka::future::Cache::<&'static str, u32>::builder()
            .async_eviction_listener(move |key, value, _cause| {
                let left = left.clone();
                async move { left.send((*key, value)).unwrap() }.boxed()
            })
            .build();
        finish(async {
            cache.insert("a", 1).await;
            cache.invalidate("a").await;
        });
        leaving.recv().unwrap()
    }
    {
        let (left, leaving) = mpsc::channel();
        let cache = Ours::builder()
            .eviction_listener(move |key, value, _cause, _version| {
                left.send((*key, value)).unwrap();
            })
            .build();
        cache.insert("a", 1);
        cache.invalidate(&"a");
        finish(async { leaving.recv().unwrap() }) // a channel of the runtime's would be awaited
    }
}
