//! concread's HashMap: a copy-on-write tree of buckets, with transactions.
//!
//! Atomic batch: yes, a write transaction. Consistent group read: yes, a read transaction. Bounded:
//! no. Blocks: writers queue for one lock; beginning and ending a read takes a lock for a short
//! time. Loader: none. It uses its own foldhash, which cannot be replaced.

use concread::hashmap::{HashMap, HashMapReadTxn};

use super::{Family, Key, Promises, Reader, Store, Value};

/// The store that the module describes.
pub struct Concread;

impl Family for Concread {
    const PROMISES: Promises = Promises {
        atomic_batch: true,
        consistent_group_read: true,
        bounded: false,
        blocks: "writers on one lock, readers shortly",
        loader: None,
    };
    type Map<K: Key, V: Value> = Map<K, V>;
}

/// See [`Concread`].
pub struct Map<K: Key, V: Value>(HashMap<K, V>);

/// A transaction for every call.
pub struct TxnPerCall<'a, K: Key, V: Value>(&'a HashMap<K, V>);

/// One transaction throughout.
pub struct TxnHeld<'a, K: Key, V: Value>(HashMapReadTxn<'a, K, V>);

impl<K: Key, V: Value> Store<K, V> for Map<K, V> {
    type Reader<'a> = TxnPerCall<'a, K, V>;
    type Held<'a> = TxnHeld<'a, K, V>;

    fn with_capacity(_: usize) -> Self {
        Self(HashMap::new())
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
        txn.remove(key);
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
        let txn = self.0.read();
        keys.each_ref().map(|key| txn.get(key).cloned())
    }
}

impl<K: Key, V: Value> Reader<K, V> for TxnHeld<'_, K, V> {
    #[inline]
    fn get(&mut self, key: &K) -> Option<V> {
        self.0.get(key).cloned()
    }
}
