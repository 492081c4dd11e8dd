//! The compared stores, behind one trait. The header of each file states the promises of its store.
//!
//! A [`Family`] creates a store for any type of key and value, and every measuring loop is compiled
//! for each store separately, without calls through pointers. In all adapters, reads are inlined
//! into the loop, and a write is a call (`inline(never)`); otherwise the size of a store's write
//! would determine whether the compiler inlines it. Stores that accept a hasher use [`Hasher`].
//! Each store keeps keys and values by value, as its interface takes them. A read returns a copy of
//! the value.

mod arcswap;
mod coeval;
mod concread;
mod concread_arc;
mod dashmap;
mod evmap;
mod flurry;
mod foyer;
mod list;
mod mini_moka;
mod moka;
mod papaya;
mod papaya_entry;
mod quick_cache;
mod rwlock;
mod scc;
mod scc_cache;
mod sharded;
mod std_map;
mod stretto;

use std::{fmt::Debug, hash::Hash};

use serde::Serialize;

pub use list::{NAMES, promises, visit};

/// foldhash, fast, with a fixed seed: the same hashes in every store.
pub type Hasher = foldhash::fast::FixedState;

/// A key. Equal numbers give equal keys.
pub trait Key: Hash + Eq + Ord + Clone + Debug + Send + Sync + 'static {
    /// The key for this number.
    fn of(number: u64) -> Self;
}

impl Key for u64 {
    fn of(number: u64) -> Self {
        number
    }
}

impl Key for String {
    /// A name like those of YCSB's records, of 24 bytes.
    fn of(number: u64) -> Self {
        format!("user{number:020}")
    }
}

/// A value. Equal numbers give equal values.
pub trait Value: Hash + Eq + Clone + Debug + Send + Sync + 'static {
    /// The value for this number.
    fn of(number: u64) -> Self;
}

impl Value for u64 {
    fn of(number: u64) -> Self {
        number
    }
}

/// A record of YCSB: 1 KiB. A read copies all of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Kilobyte([u64; 128]);

impl Kilobyte {
    /// Changes one word.
    #[inline]
    pub fn touch(&mut self, word: u64) {
        self.0[(word % 128) as usize] = word;
    }
}

impl Value for Kilobyte {
    fn of(number: u64) -> Self {
        Self([number; 128])
    }
}

/// The promises of a store, for the tables.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Promises {
    /// Whether a batch becomes visible at once.
    pub atomic_batch: bool,
    /// Whether several keys can be read as of one moment.
    pub consistent_group_read: bool,
    /// Whether the store can be bounded. (Where nothing may be evicted, all stores have room for
    /// everything.)
    pub bounded: bool,
    /// Where it blocks, in a few words.
    pub blocks: &'static str,
    /// The store's call that fills a missing entry. Without one, users get, load and insert.
    pub loader: Option<&'static str>,
}

/// One kind of store, for any type of keys and values.
pub trait Family: 'static {
    /// Its promises.
    const PROMISES: Promises;
    /// Whether other threads may read or write while one writes.
    const SHARED: bool = true;
    /// Whether it takes part only in workloads that read and write whole groups.
    const GROUPS_ONLY: bool = false;
    /// The only group size that it supports, if there is one.
    const GROUP_SIZE: Option<usize> = None;

    /// The store.
    type Map<K: Key, V: Value>: Store<K, V>;
}

/// A store under test.
pub trait Store<K: Key, V: Value>: Send + Sync + Sized + 'static {
    /// A reader for one thread. The thread that uses it creates it.
    type Reader<'a>: Reader<K, V>
    where
        Self: 'a;
    /// A reader under one guard that is held throughout; [`NoHeld`] if the store has no such guard.
    type Held<'a>: Reader<K, V>
    where
        Self: 'a;

    /// An empty store with room for `entries` reserved, if the store can do that; with 0, an
    /// ordinary empty store. It never evicts.
    fn with_capacity(entries: usize) -> Self;

    /// An empty store that holds at most about `entries`; `None` if the store cannot be bounded.
    fn bounded(_entries: usize) -> Option<Self> {
        None
    }

    /// A reader for the calling thread.
    fn reader(&self) -> Self::Reader<'_>;

    /// A reader for the calling thread that holds its guard; `None` if the store has no such guard.
    fn held(&self) -> Option<Self::Held<'_>>;

    /// Writes one entry, visible when this returns.
    fn insert(&self, key: K, value: V);

    /// Removes one entry. The removal is visible when this returns.
    fn remove(&self, key: &K);

    /// Writes `value` to every key: in one batch if the store has batches, otherwise one by one.
    #[inline(never)]
    fn insert_group<const N: usize>(&self, keys: &[K; N], value: &V) {
        for key in keys {
            self.insert(key.clone(), value.clone());
        }
    }

    /// The value of `key`. If it is missing, `load`s and inserts it, by the store's own call if
    /// there is one, and otherwise as a user would.
    fn get_or_load(&self, key: &K, load: impl FnOnce() -> V + Send + 'static) -> V {
        if let Some(value) = self.reader().get(key) {
            return value;
        }
        let value = load();
        self.insert(key.clone(), value.clone());
        value
    }

    /// Writes all `entries`, as quickly as the store can while no other thread uses it, and
    /// completes its background work.
    fn fill(&self, entries: impl Iterator<Item = (K, V)>) {
        for (key, value) in entries {
            self.insert(key, value);
        }
    }

    /// A value that keeps the current contents readable while it lives, with its name: a view or a
    /// transaction; if the store has none, a reader's guard; otherwise nothing.
    fn hold_contents(&self) -> (&'static str, impl Sized + '_) {
        ("nothing to hold", ())
    }
}

/// A reader of one thread.
pub trait Reader<K: Key, V: Value> {
    /// The value of `key`.
    fn get(&mut self, key: &K) -> Option<V>;

    /// The values of all `keys`: as of one moment if the store can do that, otherwise one by one.
    #[inline]
    fn get_group<const N: usize>(&mut self, keys: &[K; N]) -> [Option<V>; N] {
        keys.each_ref().map(|key| self.get(key))
    }
}

/// The held reader of a store without one.
#[derive(Debug)]
pub enum NoHeld {}

impl<K: Key, V: Value> Reader<K, V> for NoHeld {
    fn get(&mut self, _: &K) -> Option<V> {
        match *self {}
    }
}

/// An action on a store of any kind.
pub trait Visit {
    /// The result of the action.
    type Output;
    /// Runs the action with stores of kind `F`.
    fn visit<F: Family>(self) -> Self::Output;
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Behave(&'static str);

    impl Visit for Behave {
        type Output = ();
        fn visit<F: Family>(self) {
            behave::<F, u64, u64>(self.0);
            behave::<F, String, u64>(self.0);
            behave::<F, u64, Kilobyte>(self.0);
        }
    }

    fn behave<F: Family, K: Key, V: Value>(name: &str) {
        let store = F::Map::<K, V>::with_capacity(1024);
        let group: [K; 8] = std::array::from_fn(|i| K::of(i as u64));
        store.insert_group(&group, &V::of(7));
        store.fill(std::iter::empty());
        let members = store.reader().get_group(&group);
        assert!(members.iter().all(|member| *member == Some(V::of(7))), "{name}");
        if F::GROUPS_ONLY {
            return;
        }
        store.fill((100..400).map(|i| (K::of(i), V::of(i))));
        store.insert(K::of(100), V::of(1));
        store.remove(&K::of(101));
        store.fill(std::iter::empty());
        let mut reader = store.reader();
        assert_eq!(reader.get(&K::of(100)), Some(V::of(1)), "{name}");
        assert_eq!(reader.get(&K::of(101)), None, "{name}");
        assert!((102..400).all(|i| reader.get(&K::of(i)) == Some(V::of(i))), "{name}");
        drop(reader);
        if let Some(mut held) = store.held() {
            assert_eq!(held.get(&K::of(102)), Some(V::of(102)), "{name}");
        }
        assert_eq!(store.get_or_load(&K::of(102), || V::of(3)), V::of(102), "{name}");
        assert_eq!(store.get_or_load(&K::of(999), || V::of(3)), V::of(3), "{name}");
    }

    #[test]
    fn every_adapter_reads_its_writes() {
        for name in NAMES {
            visit(name, Behave(name)).unwrap();
        }
        assert!(promises("no such store").is_none());
    }

    struct Hold(&'static str);

    impl Visit for Hold {
        type Output = ();
        fn visit<F: Family>(self) {
            let store = F::Map::<u64, u64>::bounded(1000);
            assert_eq!(store.is_some(), F::PROMISES.bounded, "{}", self.0);
            let Some(store) = store else { return };
            for key in 0..20_000 {
                store.insert(key, key);
            }
            store.fill(std::iter::empty());
            let mut reader = store.reader();
            let kept = (0..20_000).filter(|key| reader.get(key).is_some()).count();
            assert!((1..=8_000).contains(&kept), "{} kept {kept}", self.0);
        }
    }

    #[test]
    fn a_bounded_store_evicts() {
        for name in NAMES {
            visit(name, Hold(name)).unwrap();
        }
    }
}
