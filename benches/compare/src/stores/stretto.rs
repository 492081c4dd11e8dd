//! stretto: shards of a bounded map (TinyLFU), each behind a lock. A background thread admits new
//! entries from a queue.
//!
//! Atomic batch: no. Consistent group read: no. Bounded: always. Where nothing may be evicted, the
//! bound is far above the number of entries. Blocks: readers and writers of a shard on its lock,
//! and inserts on a full queue. A new entry becomes visible some time after `insert` has returned,
//! and may be dropped, so its insertion rates for new keys are those of the queue. An overwrite is
//! visible at once. Loader: none.

use std::{borrow::Borrow, hash::BuildHasher, hash::Hash, marker::PhantomData};

use stretto::{Cache, KeyBuilder};

use super::{Family, Hasher, Key, NoHeld, Promises, Reader, Store, Value};

/// Room for every entry of any workload.
const BOUND: i64 = 1 << 32;

/// The store that the module describes.
pub struct Stretto;

impl Family for Stretto {
    const PROMISES: Promises = Promises {
        atomic_batch: false,
        consistent_group_read: false,
        bounded: true,
        blocks: "readers and writers of a shard",
        loader: None,
    };
    type Map<K: Key, V: Value> = Map<K, V>;
}

/// foldhash with two seeds: stretto keeps two hashes instead of the key.
pub struct TwoHashes<K>(Hasher, Hasher, PhantomData<fn(K)>);

impl<K: Key> KeyBuilder for TwoHashes<K> {
    type Key = K;

    #[inline]
    fn hash_index<Q>(&self, key: &Q) -> u64
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.hash_one(key)
    }

    #[inline]
    fn hash_conflict<Q>(&self, key: &Q) -> u64
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.1.hash_one(key)
    }
}

type Inner<K, V> = Cache<K, V, TwoHashes<K>>;

/// See [`Stretto`].
pub struct Map<K: Key, V: Value>(Inner<K, V>);

/// See [`Stretto`].
pub struct MapReader<'a, K: Key, V: Value>(&'a Inner<K, V>);

fn made<K: Key, V: Value>(entries: usize, bound: i64) -> Map<K, V> {
    let hashes = TwoHashes(Hasher::with_seed(1), Hasher::with_seed(2), PhantomData);
    // Ten counters per entry, as its documentation recommends.
    let cache = Cache::new_with_key_builder(10 * entries.max(100), bound, hashes);
    Map(cache.expect("the settings are valid"))
}

impl<K: Key, V: Value> Store<K, V> for Map<K, V> {
    type Reader<'a> = MapReader<'a, K, V>;
    type Held<'a> = NoHeld;

    fn with_capacity(entries: usize) -> Self {
        made(entries, BOUND)
    }

    fn bounded(entries: usize) -> Option<Self> {
        Some(made(entries, entries as i64))
    }

    fn reader(&self) -> MapReader<'_, K, V> {
        MapReader(&self.0)
    }

    fn held(&self) -> Option<NoHeld> {
        None
    }

    #[inline(never)]
    fn insert(&self, key: K, value: V) {
        self.0.insert(key, value, 1);
    }

    #[inline(never)]
    fn remove(&self, key: &K) {
        self.0.remove(key);
    }

    fn fill(&self, entries: impl Iterator<Item = (K, V)>) {
        for (i, (key, value)) in entries.enumerate() {
            while !self.0.insert(key.clone(), value.clone(), 1) {
                self.settle();
            }
            if i % 4096 == 4095 {
                self.settle();
            }
        }
        self.settle();
    }
}

impl<K: Key, V: Value> Map<K, V> {
    fn settle(&self) {
        self.0.wait().expect("its thread runs");
    }
}

impl<K: Key, V: Value> Reader<K, V> for MapReader<'_, K, V> {
    #[inline]
    fn get(&mut self, key: &K) -> Option<V> {
        self.0.get(key).map(|value| value.value().clone())
    }
}
