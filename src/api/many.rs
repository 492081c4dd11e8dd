//! Reads and writes of several keys at once.

use super::cache::Cache;
use super::keys::{IntoKey, KeyList, LookUp};
use super::view::View;
use crate::engine::Engine;
use crate::reclaim::Reclaim;
use crate::version::Version;
use equivalent::Equivalent;
use std::hash::{BuildHasher, Hash};

/// # Many keys
impl<K, V, S, R> Cache<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns the values of `keys`, cloned, all as of one instant: an array for an array of
    /// references, a `Vec` for anything else that gives [keys](KeyList). O(n) for n keys.
    ///
    /// The cost is little more than n times that of `get`. One pass over the keys is enough, as a
    /// rule. The call makes another pass if a value is no longer valid, or if an open view has let
    /// a version be removed that the call needs. Then it may open a view. The call allocates,
    /// except for arrays. While it runs, it holds a guard.
    ///
    /// ```
    /// let cache = coeval::Cache::new();
    /// cache.batch().insert(1, "one").insert(2, "two").commit();
    ///
    /// let [one, three] = cache.get_many([&1, &3]);
    /// assert_eq!((one, three), (Some("one"), None));
    ///
    /// let ids = vec![2, 3, 2];
    /// assert_eq!(cache.get_many(&ids), [Some("two"), None, Some("two")]);
    /// assert_eq!(cache.get_many(0..=2), [None, Some("one"), Some("two")]);
    /// ```
    ///
    /// # Panics
    /// Panics if the iterator, `Hash`, `Eq` or a value's `Clone` does.
    #[inline]
    pub fn get_many<I, M>(&self, keys: I) -> I::Found<V>
    where
        I: KeyList<K, M>,
        V: Clone,
    {
        keys.look_up(Newest(self.engine()))
    }

    /// Does the same as [`get_many`](Self::get_many), and puts the values in place of what `values`
    /// holds. Calls the allocator only if `values` has no room, or if `keys` is neither an array
    /// nor a slice nor a `Vec`.
    ///
    /// If something panics, `values` holds a part of the values.
    ///
    /// ```
    /// let cache = coeval::Cache::new();
    /// cache.insert(1, "one");
    /// let mut values = Vec::new();
    /// for ids in [[1, 2], [2, 1]] {
    ///     cache.get_many_into(&ids, &mut values);
    ///     assert_eq!(values.iter().flatten().count(), 1);
    /// }
    /// ```
    pub fn get_many_into<I, M>(&self, keys: I, values: &mut Vec<Option<V>>)
    where
        I: KeyList<K, M>,
        V: Clone,
    {
        values.clear();
        keys.look_up(Into { engine: self.engine(), values });
    }

    /// Sets each key and applies its declared relations, all in one commit. The last value of a key
    /// counts. O(n log n) for n entries, lock-free.
    ///
    /// ```
    /// let cache = coeval::Cache::new();
    /// let version = cache.insert_many((0..1000).map(|n| (n, n * n)));
    /// assert_eq!(cache.get_versioned(&30), Some((900, version)));
    /// ```
    ///
    /// # Panics
    /// Panics if the iterator, `Hash`, `Eq`, a relation's closure or the weigher does. Nothing is
    /// written then.
    pub fn insert_many(&self, entries: impl IntoIterator<Item = (K, V)>) -> Version {
        let mut batch = self.batch_mut();
        batch.extend(entries);
        batch.commit()
    }

    /// Removes each key alone, all in one commit. The keys may be owned or borrowed; of a borrowed
    /// one, [`ToKey`](crate::ToKey) makes the key. O(n log n) for n keys, lock-free.
    ///
    /// ```
    /// let cache = coeval::Cache::from([(1, "one"), (2, "two"), (3, "three")]);
    /// let ids = vec![1, 3, 5];
    /// cache.remove_many(&ids);
    /// assert_eq!(cache.get_many(1..=3), [None, Some("two"), None]);
    /// ```
    ///
    /// # Panics
    /// Panics if the iterator, `Hash` or `Eq` does. Nothing is removed then.
    pub fn remove_many<I, M>(&self, keys: I) -> Version
    where
        I: IntoIterator<Item: IntoKey<K, M>>,
    {
        self.remove_each(keys, false)
    }

    /// Removes each key and applies its declared relations, all in one commit. The keys may be
    /// owned or borrowed, as for [`remove_many`](Self::remove_many). O(n log n) for n keys,
    /// lock-free.
    ///
    /// # Panics
    /// Panics if the iterator, `Hash`, `Eq` or a relation's closure does. Nothing is removed then.
    pub fn invalidate_many<I, M>(&self, keys: I) -> Version
    where
        I: IntoIterator<Item: IntoKey<K, M>>,
    {
        self.remove_each(keys, true)
    }

    /// Removes each key, with its relations if `related`.
    fn remove_each<I, M>(&self, keys: I, related: bool) -> Version
    where
        I: IntoIterator<Item: IntoKey<K, M>>,
    {
        let mut batch = self.batch_mut();
        for key in keys {
            batch.remove_key(key.into_key(), related);
        }
        batch.commit()
    }
}

impl<K, V, S, R> View<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns the values of `keys` in this view: an array for an array of references, a `Vec` for
    /// anything else that gives [keys](KeyList). O(n) for n keys, lock-free.
    ///
    /// ```
    /// let cache = coeval::Cache::new();
    /// cache.insert_many([("a", 1), ("b", 2)]);
    /// let view = cache.view();
    /// cache.remove("a");
    /// assert_eq!(view.get_many(["a", "b"]), [Some(&1), Some(&2)]);
    /// assert_eq!(view.get_many(&["b", "c"]), [Some(&2), None]);
    /// ```
    pub fn get_many<I: KeyList<K, M>, M>(&self, keys: I) -> I::Found<&V> {
        keys.look_up(In(self))
    }
}

/// Looks up the newest values.
struct Newest<'e, K, V, S, R: Reclaim>(&'e Engine<K, V, S, R>);

impl<K, V, S, R> LookUp<K> for Newest<'_, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    type Value = V;

    #[inline(always)]
    fn array<Q, const N: usize>(self, keys: [&Q; N]) -> [Option<V>; N]
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.0.get_many::<_, _, N, true>(keys, V::clone)
    }

    fn each<Q, I>(self, keys: &[I], key_of: impl Fn(&I) -> &Q) -> Vec<Option<V>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let mut values = Vec::with_capacity(keys.len());
        self.0.get_each(keys, key_of, V::clone, &mut values);
        values
    }
}

/// Looks up the newest values, and puts them into a list.
struct Into<'e, K, V, S, R: Reclaim> {
    engine: &'e Engine<K, V, S, R>,
    values: &'e mut Vec<Option<V>>,
}

impl<K, V, S, R> LookUp<K> for Into<'_, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    type Value = V;

    fn array<Q, const N: usize>(self, keys: [&Q; N]) -> [Option<V>; N]
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.engine.get_each(&keys, |key| *key, V::clone, self.values);
        [const { None }; N]
    }

    fn each<Q, I>(self, keys: &[I], key_of: impl Fn(&I) -> &Q) -> Vec<Option<V>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.engine.get_each(keys, key_of, V::clone, self.values);
        Vec::new()
    }
}

/// Looks values up in a view.
struct In<'v, K, V, S, R: Reclaim>(&'v View<K, V, S, R>);

impl<'v, K, V, S, R> LookUp<K> for In<'v, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    type Value = &'v V;

    fn array<Q, const N: usize>(self, keys: [&Q; N]) -> [Option<&'v V>; N]
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        keys.map(|key| self.0.get(key))
    }

    fn each<Q, I>(self, keys: &[I], key_of: impl Fn(&I) -> &Q) -> Vec<Option<&'v V>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        keys.iter().map(|key| self.0.get(key_of(key))).collect()
    }
}
