//! foyer's in-memory cache: shards of a bounded map (with S3-FIFO), each behind a lock. Each entry
//! is boxed and reference-counted.
//!
//! Atomic batch: no. Consistent group read: no. Bounded: always. Where nothing may be evicted, the
//! bound is far above the number of entries. Blocks: readers and writers of a shard on its lock.
//! Loader: `get_or_fetch`, which is asynchronous and runs on a tokio runtime of two threads;
//! callers of one missing key wait for one load.

use std::{convert::Infallible, sync::LazyLock};

use foyer_memory::{Cache, CacheBuilder, S3FifoConfig};
use tokio::runtime::Runtime;

use super::{Family, Hasher, Key, NoHeld, Promises, Reader, Store, Value};

/// Room for every entry of any workload.
const BOUND: usize = 1 << 32;

/// The runtime of `get_or_fetch`. It starts at its first use.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).build().expect("the runtime starts")
});

/// The store that the module describes.
pub struct Foyer;

impl Family for Foyer {
    const PROMISES: Promises = Promises {
        atomic_batch: false,
        consistent_group_read: false,
        bounded: true,
        blocks: "readers and writers of a shard",
        loader: Some("get_or_fetch"),
    };
    type Map<K: Key, V: Value> = Map<K, V>;
}

type Inner<K, V> = Cache<K, V, Hasher>;

/// See [`Foyer`].
pub struct Map<K: Key, V: Value>(Inner<K, V>);

/// See [`Foyer`].
pub struct MapReader<'a, K: Key, V: Value>(&'a Inner<K, V>);

fn made<K: Key, V: Value>(bound: usize) -> Map<K, V> {
    let builder = CacheBuilder::new(bound).with_eviction_config(S3FifoConfig::default());
    Map(builder.with_hash_builder(Hasher::default()).build())
}

impl<K: Key, V: Value> Store<K, V> for Map<K, V> {
    type Reader<'a> = MapReader<'a, K, V>;
    type Held<'a> = NoHeld;

    fn with_capacity(_: usize) -> Self {
        made(BOUND)
    }

    fn bounded(entries: usize) -> Option<Self> {
        Some(made(entries))
    }

    fn reader(&self) -> MapReader<'_, K, V> {
        MapReader(&self.0)
    }

    fn held(&self) -> Option<NoHeld> {
        None
    }

    #[inline(never)]
    fn insert(&self, key: K, value: V) {
        self.0.insert(key, value);
    }

    #[inline(never)]
    fn remove(&self, key: &K) {
        self.0.remove(key);
    }

    fn get_or_load(&self, key: &K, load: impl FnOnce() -> V + Send + 'static) -> V {
        let entry = RUNTIME.block_on(async {
            self.0.get_or_fetch(key, || async move { Ok::<_, Infallible>(load()) }).await
        });
        entry.expect("a load cannot fail").value().clone()
    }
}

impl<K: Key, V: Value> Reader<K, V> for MapReader<'_, K, V> {
    #[inline]
    fn get(&mut self, key: &K) -> Option<V> {
        self.0.get(key).map(|entry| entry.value().clone())
    }
}
