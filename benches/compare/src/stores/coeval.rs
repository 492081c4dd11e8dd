//! `coeval` on each of its reclamation backends.
//!
//! Atomic batch: yes. Consistent group read: yes (`get_many`; [`Viewed`] opens a view for each
//! read). Bounded: yes. Where nothing may be evicted, it has no bound, and [`Bounded`] has one far
//! above the number of entries, as several other caches do. Blocks: nowhere; an operation that
//! meets an undecided commit helps it, and writers evict. Loader: `get_with`, through a lease;
//! callers of one missing key wait for one load.

use std::marker::PhantomData;

use coeval::{
    Cache, Pinned, View,
    reclaim::{Asymmetric, Reclaim},
};

use super::{Family, Hasher, Key, NoHeld, Promises, Reader, Store, Value};

/// Room for every entry of any workload.
const BOUND: u64 = 1 << 32;

/// Plain gets and `get_many`.
pub struct Coeval<R>(PhantomData<R>);

impl<R: Reclaim> Family for Coeval<R> {
    const PROMISES: Promises = Promises {
        atomic_batch: true,
        consistent_group_read: true,
        bounded: true,
        blocks: "nowhere",
        loader: Some("get_with"),
    };
    type Map<K: Key, V: Value> = Plain<K, V, R, false>;
}

/// The default backend, always with a bound. The eviction policy knows every entry, but has nothing
/// to evict.
pub struct Bounded;

impl Family for Bounded {
    const PROMISES: Promises = Coeval::<Asymmetric>::PROMISES;
    type Map<K: Key, V: Value> = Plain<K, V, Asymmetric, true>;
}

/// See [`Coeval`]; `BOUNDED`: see [`Bounded`].
pub struct Plain<K: Key, V: Value, R: Reclaim, const BOUNDED: bool>(Cache<K, V, Hasher, R>);

/// See [`Coeval`].
pub struct PlainReader<'a, K: Key, V: Value, R: Reclaim>(&'a Cache<K, V, Hasher, R>);

/// A pin that is held throughout.
pub struct PinnedReader<'a, K: Key, V: Value, R: Reclaim>(Pinned<'a, K, V, Hasher, R>);

impl<K: Key, V: Value, R: Reclaim, const BOUNDED: bool> Store<K, V> for Plain<K, V, R, BOUNDED> {
    type Reader<'a> = PlainReader<'a, K, V, R>;
    type Held<'a> = PinnedReader<'a, K, V, R>;

    fn with_capacity(entries: usize) -> Self {
        let builder = Cache::builder().hasher(Hasher::default()).reclaimer::<R>();
        let builder = if entries > 0 { builder.initial_capacity(entries) } else { builder };
        let builder = if BOUNDED { builder.max_capacity(BOUND) } else { builder };
        Self(builder.build())
    }

    fn bounded(entries: usize) -> Option<Self> {
        let builder = Cache::builder().hasher(Hasher::default()).reclaimer::<R>();
        Some(Self(builder.max_capacity(entries as u64).build()))
    }

    fn reader(&self) -> PlainReader<'_, K, V, R> {
        PlainReader(&self.0)
    }

    fn held(&self) -> Option<PinnedReader<'_, K, V, R>> {
        Some(PinnedReader(self.0.pin()))
    }

    fn get_or_load(&self, key: &K, load: impl FnOnce() -> V + Send + 'static) -> V {
        self.0.get_with(key.clone(), load)
    }

    #[inline(never)]
    fn insert(&self, key: K, value: V) {
        self.0.insert(key, value);
    }

    #[inline(never)]
    fn remove(&self, key: &K) {
        self.0.remove(key);
    }

    #[inline(never)]
    fn insert_group<const N: usize>(&self, keys: &[K; N], value: &V) {
        let batch = self.0.batch();
        keys.iter().fold(batch, |batch, key| batch.insert(key.clone(), value.clone())).commit();
    }

    fn hold_contents(&self) -> (&'static str, impl Sized + '_) {
        ("view", self.0.view())
    }
}

impl<K: Key, V: Value, R: Reclaim> Reader<K, V> for PlainReader<'_, K, V, R> {
    #[inline]
    fn get(&mut self, key: &K) -> Option<V> {
        self.0.get(key)
    }

    #[inline]
    fn get_group<const N: usize>(&mut self, keys: &[K; N]) -> [Option<V>; N] {
        self.0.get_many(keys.each_ref())
    }
}

impl<K: Key, V: Value, R: Reclaim> Reader<K, V> for PinnedReader<'_, K, V, R> {
    #[inline]
    fn get(&mut self, key: &K) -> Option<V> {
        self.0.get(key).cloned()
    }
}

/// The default backend, but every read of a group opens a view.
pub struct Viewed;

impl Family for Viewed {
    const PROMISES: Promises = Coeval::<Asymmetric>::PROMISES;
    const GROUPS_ONLY: bool = true;
    type Map<K: Key, V: Value> = ViewedMap<K, V>;
}

/// See [`Viewed`].
pub struct ViewedMap<K: Key, V: Value>(Plain<K, V, Asymmetric, false>);

/// See [`Viewed`].
pub struct ViewReader<'a, K: Key, V: Value>(&'a Cache<K, V, Hasher, Asymmetric>);

impl<K: Key, V: Value> Store<K, V> for ViewedMap<K, V> {
    type Reader<'a> = ViewReader<'a, K, V>;
    type Held<'a> = NoHeld;

    fn with_capacity(entries: usize) -> Self {
        Self(Plain::with_capacity(entries))
    }

    fn bounded(entries: usize) -> Option<Self> {
        Plain::bounded(entries).map(Self)
    }

    fn reader(&self) -> ViewReader<'_, K, V> {
        ViewReader(&self.0.0)
    }

    fn held(&self) -> Option<NoHeld> {
        None
    }

    fn get_or_load(&self, key: &K, load: impl FnOnce() -> V + Send + 'static) -> V {
        self.0.0.get_with(key.clone(), load)
    }

    #[inline(never)]
    fn insert(&self, key: K, value: V) {
        self.0.insert(key, value);
    }

    #[inline(never)]
    fn remove(&self, key: &K) {
        self.0.remove(key);
    }

    #[inline(never)]
    fn insert_group<const N: usize>(&self, keys: &[K; N], value: &V) {
        self.0.insert_group(keys, value);
    }
}

impl<K: Key, V: Value> Reader<K, V> for ViewReader<'_, K, V> {
    #[inline]
    fn get(&mut self, key: &K) -> Option<V> {
        self.0.view().get(key).cloned()
    }

    #[inline]
    fn get_group<const N: usize>(&mut self, keys: &[K; N]) -> [Option<V>; N] {
        let view: View<K, V, Hasher, Asymmetric> = self.0.view();
        keys.each_ref().map(|key| view.get(key).cloned())
    }
}
