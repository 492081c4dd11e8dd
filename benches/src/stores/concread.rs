//! concread's HashMap: a copy-on-write tree of buckets; transactions.
//!
//! Atomic batch: yes, a write transaction. Consistent group read: yes, a read transaction. Bounded:
//! no. Blocks: writers queue for one lock; beginning and ending a read takes a short lock. It has a
//! hasher of its own that cannot be replaced.

use concread::hashmap::{HashMap, HashMapReadTxn};

use super::{GROUP, Promises, Reader, Store};

/// See above.
pub struct Concread(HashMap<u64, u64>);

/// A transaction for every call.
pub struct TxnPerCall<'a>(&'a HashMap<u64, u64>);

/// One transaction throughout.
pub struct TxnHeld<'a>(HashMapReadTxn<'a, u64, u64>);

impl Store for Concread {
    const PROMISES: Promises = Promises {
        atomic_batch: true,
        consistent_group_read: true,
        bounded: false,
        blocks: "writers on one lock, readers shortly",
    };
    type Reader<'a> = TxnPerCall<'a>;
    type Held<'a> = TxnHeld<'a>;

    fn with_capacity(_: usize) -> Self {
        Self(HashMap::new())
    }

    fn reader(&self) -> TxnPerCall<'_> {
        TxnPerCall(&self.0)
    }

    fn held(&self) -> Option<TxnHeld<'_>> {
        Some(TxnHeld(self.0.read()))
    }

    fn insert(&self, key: u64, value: u64) {
        let mut txn = self.0.write();
        txn.insert(key, value);
        txn.commit();
    }

    fn remove(&self, key: u64) {
        let mut txn = self.0.write();
        txn.remove(&key);
        txn.commit();
    }

    fn insert_group(&self, keys: &[u64; GROUP], value: u64) {
        let mut txn = self.0.write();
        for key in keys {
            txn.insert(*key, value);
        }
        txn.commit();
    }

    fn fill(&self, keys: impl Iterator<Item = u64>) {
        let mut txn = self.0.write();
        for key in keys {
            txn.insert(key, key);
        }
        txn.commit();
    }

    fn hold_contents(&self) -> (&'static str, impl Sized + '_) {
        ("transaction", self.0.read())
    }
}

impl Reader for TxnPerCall<'_> {
    #[inline]
    fn get(&mut self, key: u64) -> Option<u64> {
        self.0.read().get(&key).copied()
    }

    #[inline]
    fn get_group(&mut self, keys: &[u64; GROUP]) -> [Option<u64>; GROUP] {
        let txn = self.0.read();
        keys.map(|key| txn.get(&key).copied())
    }
}

impl Reader for TxnHeld<'_> {
    #[inline]
    fn get(&mut self, key: u64) -> Option<u64> {
        self.0.get(&key).copied()
    }
}
