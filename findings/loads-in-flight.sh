#!/usr/bin/env bash
# moka and foyer: an invalidation does not reach a load that is under way.
#
# Expected: after invalidate(key) has returned, the cache does not serve what was there before. So
# the usual order (change the source, then invalidate) is enough, also while somebody loads.
#
# What happens: a caller misses the key, and its loader has read the source. The source changes,
# and the key is invalidated. Then the loader returns.
# - moka (get_with) and foyer (get_or_fetch) cache the old value, until its time is over or
#   somebody invalidates once more. The invalidation of all keys is no different.
# - A caller who comes after the invalidation joins the old load, and is given the old value, too.
# - quick_cache (get_or_insert_with) keeps nothing of the old load, and later callers load by
#   themselves. Its documentation says so.
#
# Here the order is forced: the loader waits until the invalidation has returned.
#
# Versions: moka 0.12.16, foyer-memory 0.22.6 (the cache in memory of foyer), quick_cache 0.7.0.
# The documentation of moka and foyer says that loads of one key are made one, and nothing of
# invalidations meanwhile. foyer-rs/foyer#1310 (open) is about an insertion meanwhile. Guava calls
# the same a defect (google/guava#1881, open).
#
# For users of such a cache: invalidate twice, the second time after the longest load; or give
# entries a short time to live; or use what has leases. docs/migrating.md says what coeval does.
#
# Seen:
#   moka::sync, key: the cache has old; a later caller gets old
#   moka::sync, all keys: the cache has old; a later caller gets old
#   moka::future, key: the cache has old; a later caller gets old
#   moka::future, all keys: the cache has old; a later caller gets old
#   foyer_memory, key: the cache has old; a later caller gets old
#   foyer_memory, all keys: the cache has old; a later caller gets old
#   quick_cache, key: the cache has nothing; a later caller gets new
#   quick_cache, all keys: the cache has nothing; a later caller gets new
. "$(dirname "${BASH_SOURCE[0]}")/common.bash"

rust '
foyer-memory = "=0.22.6"
moka = { version = "=0.12.16", features = ["sync", "future"] }
quick_cache = "=0.7.0"
tokio = { version = "=1.54.1", features = ["rt-multi-thread"] }
' >"$temp/seen" <<'RUST'
use std::convert::Infallible;
use std::future::Future;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

const KEY: u64 = 7;

type Load = Box<dyn FnOnce() -> &'static str + Send>;

trait Cache: Send + Sync + 'static {
    fn get_or_load(&self, load: Load) -> &'static str;
    fn get(&self) -> Option<&'static str>;
    fn invalidate(&self);
    fn invalidate_all(&self);
}

/// Runs a future as a task of its own runtime, which may be blocked.
fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build();
    runtime.unwrap().block_on(future)
}

impl Cache for moka::sync::Cache<u64, &'static str> {
    fn get_or_load(&self, load: Load) -> &'static str {
        self.get_with(KEY, load)
    }

    fn get(&self) -> Option<&'static str> {
        self.run_pending_tasks();
        self.get(&KEY)
    }

    fn invalidate(&self) {
        self.invalidate(&KEY);
    }

    fn invalidate_all(&self) {
        self.invalidate_all();
    }
}

impl Cache for moka::future::Cache<u64, &'static str> {
    fn get_or_load(&self, load: Load) -> &'static str {
        block_on(self.get_with(KEY, async { load() }))
    }

    fn get(&self) -> Option<&'static str> {
        block_on(async {
            self.run_pending_tasks().await;
            self.get(&KEY).await
        })
    }

    fn invalidate(&self) {
        block_on(self.invalidate(&KEY));
    }

    fn invalidate_all(&self) {
        self.invalidate_all();
    }
}

impl Cache for foyer_memory::Cache<u64, &'static str> {
    fn get_or_load(&self, load: Load) -> &'static str {
        let fetch = || async { Ok::<_, Infallible>(load()) };
        block_on(async { *self.get_or_fetch(&KEY, fetch).await.unwrap().value() })
    }

    fn get(&self) -> Option<&'static str> {
        self.get(&KEY).map(|entry| *entry.value())
    }

    fn invalidate(&self) {
        self.remove(&KEY);
    }

    fn invalidate_all(&self) {
        self.clear();
    }
}

impl Cache for quick_cache::sync::Cache<u64, &'static str> {
    fn get_or_load(&self, load: Load) -> &'static str {
        self.get_or_insert_with(&KEY, || Ok::<_, Infallible>(load())).unwrap()
    }

    fn get(&self) -> Option<&'static str> {
        self.get(&KEY)
    }

    fn invalidate(&self) {
        self.remove(&KEY);
    }

    fn invalidate_all(&self) {
        self.clear();
    }
}

/// One load, and an invalidation that returns before it does. Returns what a caller is given who
/// comes between the two, if one comes, and what the cache has afterwards.
fn look<C: Cache>(
    cache: C,
    invalidate: fn(&C),
    one_more_caller: bool,
) -> (Option<&'static str>, Option<&'static str>) {
    let source = Mutex::new("old");
    let (cache, source) = (Arc::new(cache), Arc::new(source));
    let (say_read, read) = channel();
    let (say_invalidated, invalidated) = channel::<()>();
    let caller = |load: Load| {
        let cache = Arc::clone(&cache);
        thread::spawn(move || cache.get_or_load(load))
    };
    let read_source = {
        let source = Arc::clone(&source);
        move || *source.lock().unwrap()
    };
    let first = caller(Box::new({
        let read_source = read_source.clone();
        move || {
            let value = read_source();
            say_read.send(()).unwrap();
            invalidated.recv().unwrap();
            value
        }
    }));
    read.recv().unwrap();
    *source.lock().unwrap() = "new";
    invalidate(&cache);
    let later = one_more_caller.then(|| caller(Box::new(read_source)));
    thread::sleep(Duration::from_millis(if one_more_caller { 300 } else { 0 }));
    say_invalidated.send(()).unwrap();
    assert_eq!(first.join().unwrap(), "old");
    (later.map(|later| later.join().unwrap()), cache.get())
}

fn report<C: Cache>(name: &str, cache: impl Fn() -> C) {
    let ways = [("key", C::invalidate as fn(&C)), ("all keys", C::invalidate_all as fn(&C))];
    for (what, invalidate) in ways {
        let (_, left) = look(cache(), invalidate, false);
        let (later, _) = look(cache(), invalidate, true);
        let (left, later) = (left.unwrap_or("nothing"), later.unwrap());
        println!("{name}, {what}: the cache has {left}; a later caller gets {later}");
    }
}

fn main() {
    report("moka::sync", || moka::sync::Cache::new(100));
    report("moka::future", || moka::future::Cache::new(100));
    report("foyer_memory", || foyer_memory::CacheBuilder::new(100).build());
    report("quick_cache", || quick_cache::sync::Cache::new(100));
}
RUST
as_stated 'what an invalidation does to a load that is under way'
