//! concread's ARCache: an adaptive replacement cache on a copy-on-write trie, with transactions.
//!
//! Atomic batch: yes, a write transaction. Consistent group read: yes, a read transaction. Bounded:
//! always. Where nothing may be evicted, the bound is far above the number of entries. (It then
//! keeps no record of hits, which it does only when it is almost full.) Blocks: writers queue for
//! one lock; beginning and ending a read takes a lock for a short time. Loader: none. It uses its
//! own foldhash, which cannot be replaced.

use concread::arcache::{ARCache, ARCacheBuilder, ARCacheReadTxn};

use super::{Family, Key, Promises, Reader, Store, Value};

/// Room for every entry of any workload.
const BOUND: usize = 1 << 32;

/// The store that the module describes.
pub struct ConcreadArc;

impl Family for ConcreadArc {
    const PROMISES: Promises = Promises {
        atomic_batch: true,
        consistent_group_read: true,
        bounded: true,
        blocks: "writers on one lock, readers shortly",
        loader: None,
    };
    type Map<K: Key, V: Value> = Map<K, V>;
}

/// See [`ConcreadArc`].
pub struct Map<K: Key, V: Value>(ARCache<K, V>);

/// A transaction for every call.
pub struct TxnPerCall<'a, K: Key, V: Value>(&'a ARCache<K, V>);

/// One transaction throughout.
pub struct TxnHeld<'a, K: Key, V: Value>(ARCacheReadTxn<'a, K, V, ()>);

fn made<K: Key, V: Value>(bound: usize) -> Map<K, V> {
    // Readers have no local cache, so a transaction does not keep what it read for the next one.
    let cache = ARCacheBuilder::new().set_size(bound, 0).build();
    Map(cache.expect("the size is set"))
}

impl<K: Key, V: Value> Store<K, V> for Map<K, V> {
    type Reader<'a> = TxnPerCall<'a, K, V>;
    type Held<'a> = TxnHeld<'a, K, V>;

    fn with_capacity(_: usize) -> Self {
        made(BOUND)
    }

    fn bounded(entries: usize) -> Option<Self> {
        Some(made(entries))
    }

    fn reader(&self) -> TxnPerCall<'_, K, V> {
        TxnPerCall(&self.0)
    }

    fn held(&self) -> Option<TxnHeld<'_, K, V>> {
        Some(TxnHeld(self.0.read()))
    }

    #[inline(never)]
    fn insert(&self, key: K, value: V) {
        let mut txn = self.0.write();
        txn.insert(key, value);
        txn.commit();
    }

    #[inline(never)]
    fn remove(&self, key: &K) {
        let mut txn = self.0.write();
        txn.remove(key.clone());
        txn.commit();
    }

    #[inline(never)]
    fn insert_group<const N: usize>(&self, keys: &[K; N], value: &V) {
        let mut txn = self.0.write();
        for key in keys {
            txn.insert(key.clone(), value.clone());
        }
        txn.commit();
    }

    fn fill(&self, entries: impl Iterator<Item = (K, V)>) {
        let mut txn = self.0.write();
        for (key, value) in entries {
            txn.insert(key, value);
        }
        txn.commit();
    }

    fn hold_contents(&self) -> (&'static str, impl Sized + '_) {
        ("transaction", self.0.read())
    }
}

impl<K: Key, V: Value> Reader<K, V> for TxnPerCall<'_, K, V> {
    #[inline]
    fn get(&mut self, key: &K) -> Option<V> {
        self.0.read().get(key).cloned()
    }

    #[inline]
    fn get_group<const N: usize>(&mut self, keys: &[K; N]) -> [Option<V>; N] {
        let mut txn = self.0.read();
        keys.each_ref().map(|key| txn.get(key).cloned())
    }
}

impl<K: Key, V: Value> Reader<K, V> for TxnHeld<'_, K, V> {
    #[inline]
    fn get(&mut self, key: &K) -> Option<V> {
        self.0.get(key).cloned()
    }
}
