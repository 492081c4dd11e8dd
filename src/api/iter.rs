//! Iteration over a cache, and over the keys or the values of a cache or a view.

use super::cache::Cache;
use super::hasher::RandomState;
use super::view::{Iter, View};
use crate::reclaim::{Asymmetric, Reclaim};
use crate::version::Version;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::iter::FusedIterator;
use std::ops::Range;

/// An iterator over the entries of a cache as of one version, cloned; made by [`Cache::iter`].
///
/// It keeps a view open until it is dropped.
pub struct OwnedIter<K, V, S = RandomState, R: Reclaim = Asymmetric> {
    view: View<K, V, S, R>,
    /// As in [`Iter`].
    division: usize,
    parts: Range<usize>,
    buffer: Vec<(K, V)>,
}

/// An iterator over the keys of a cache as of one version, cloned; made by [`Cache::keys`].
pub struct OwnedKeys<K, V, S = RandomState, R: Reclaim = Asymmetric> {
    view: View<K, V, S, R>,
    division: usize,
    parts: Range<usize>,
    buffer: Vec<K>,
}

/// An iterator over the values of a cache as of one version, cloned; made by [`Cache::values`].
pub struct OwnedValues<K, V, S = RandomState, R: Reclaim = Asymmetric> {
    view: View<K, V, S, R>,
    division: usize,
    parts: Range<usize>,
    buffer: Vec<V>,
}

/// An iterator over the keys of a view; made by [`View::keys`].
pub struct Keys<'v, K, V, S = RandomState, R: Reclaim = Asymmetric>(Iter<'v, K, V, S, R>);

/// An iterator over the values of a view; made by [`View::values`].
pub struct Values<'v, K, V, S = RandomState, R: Reclaim = Asymmetric>(Iter<'v, K, V, S, R>);

/// # Iteration
/// These iterators show the cache as of one instant, each entry once, in no particular order. They
/// clone what they return. A [view](Self::view) lends its entries instead, and can be kept.
///
/// An iterator keeps a view open until it is dropped. O(n); lock-free.
impl<K, V, S, R> Cache<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns an iterator over all entries as of now, cloned.
    ///
    /// ```
    /// let cache: coeval::Cache<_, _> = [("a", 1), ("b", 2)].into_iter().collect();
    /// let mut entries = Vec::new();
    /// for (key, value) in &cache {
    ///     cache.insert("c", 3); // It is not shown.
    ///     entries.push((key, value));
    /// }
    /// entries.sort();
    /// assert_eq!(entries, [("a", 1), ("b", 2)]);
    /// assert_eq!(cache.iter().count(), 3);
    /// ```
    #[track_caller]
    pub fn iter(&self) -> OwnedIter<K, V, S, R>
    where
        K: Clone,
        V: Clone,
    {
        let (view, division) = (self.view(), self.engine().parts());
        OwnedIter { view, division, parts: 0..division, buffer: Vec::new() }
    }

    /// Returns an iterator over all keys as of now, cloned.
    ///
    /// ```
    /// let cache: coeval::Cache<_, _> = [("a", 1), ("b", 2)].into_iter().collect();
    /// let mut keys: Vec<&str> = cache.keys().collect();
    /// keys.sort();
    /// assert_eq!(keys, ["a", "b"]);
    /// assert_eq!(cache.values().sum::<i32>(), 3);
    /// ```
    #[track_caller]
    pub fn keys(&self) -> OwnedKeys<K, V, S, R>
    where
        K: Clone,
    {
        let (view, division) = (self.view(), self.engine().parts());
        OwnedKeys { view, division, parts: 0..division, buffer: Vec::new() }
    }

    /// Returns an iterator over all values as of now, cloned.
    #[track_caller]
    pub fn values(&self) -> OwnedValues<K, V, S, R>
    where
        V: Clone,
    {
        let (view, division) = (self.view(), self.engine().parts());
        OwnedValues { view, division, parts: 0..division, buffer: Vec::new() }
    }
}

impl<K, V, S, R> View<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns an iterator over all keys of this view, in the order of [`iter`](Self::iter).
    ///
    /// ```
    /// let cache: coeval::Cache<_, _> = [("a", 1), ("b", 2)].into_iter().collect();
    /// let view = cache.view();
    /// cache.invalidate_all();
    /// assert_eq!(view.keys().map(|key| key.len()).sum::<usize>(), 2);
    /// assert_eq!(view.values().max(), Some(&2));
    /// for (key, value) in &view {
    ///     assert_eq!(view.get(key), Some(value));
    /// }
    /// ```
    pub fn keys(&self) -> Keys<'_, K, V, S, R> {
        Keys(self.iter())
    }

    /// Returns an iterator over all values of this view, in the order of [`iter`](Self::iter).
    pub fn values(&self) -> Values<'_, K, V, S, R> {
        Values(self.iter())
    }
}

/// An iterator that clones what a view shows, a few entries at a time.
macro_rules! owned {
    ($name:ident, $item:ty, [$($clone:ident),+], |$entry:ident| $made:expr) => {
        impl<K, V, S, R: Reclaim> $name<K, V, S, R> {
            /// Returns the version that this iterator shows.
            #[must_use]
            pub fn version(&self) -> Version
            where
                K: Hash + Eq + Send + Sync + 'static,
                V: Send + Sync + 'static,
                S: BuildHasher,
            {
                self.view.version()
            }
        }

        impl<K, V, S, R> Iterator for $name<K, V, S, R>
        where
            K: Hash + Eq + Send + Sync + 'static,
            V: Send + Sync + 'static,
            $($clone: Clone,)+
            S: BuildHasher,
            R: Reclaim,
        {
            type Item = $item;

            fn next(&mut self) -> Option<$item> {
                while self.buffer.is_empty() {
                    if self.parts.is_empty() {
                        return None;
                    }
                    let (next, shown) = self.view.part(self.division, self.parts.clone());
                    self.parts.start = next;
                    self.buffer.extend(shown.into_iter().map(|$entry| $made));
                }
                self.buffer.pop()
            }
        }

        impl<K, V, S, R> FusedIterator for $name<K, V, S, R>
        where
            K: Hash + Eq + Send + Sync + 'static,
            V: Send + Sync + 'static,
            $($clone: Clone,)+
            S: BuildHasher,
            R: Reclaim,
        {
        }

        impl<K, V, S, R: Reclaim> fmt::Debug for $name<K, V, S, R> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).field("view", &self.view).finish_non_exhaustive()
            }
        }
    };
}

owned!(OwnedIter, (K, V), [K, V], |entry| (entry.0.clone(), entry.1.clone()));
owned!(OwnedKeys, K, [K], |entry| entry.0.clone());
owned!(OwnedValues, V, [V], |entry| entry.1.clone());

/// An iterator that lends a part of each entry of a view.
macro_rules! lent {
    ($name:ident, $item:ty, $part:tt) => {
        impl<'v, K, V, S, R> Iterator for $name<'v, K, V, S, R>
        where
            K: Hash + Eq + Send + Sync + 'static,
            V: Send + Sync + 'static,
            S: BuildHasher,
            R: Reclaim,
        {
            type Item = &'v $item;

            fn next(&mut self) -> Option<&'v $item> {
                self.0.next().map(|entry| entry.$part)
            }
        }

        impl<K, V, S, R> FusedIterator for $name<'_, K, V, S, R>
        where
            K: Hash + Eq + Send + Sync + 'static,
            V: Send + Sync + 'static,
            S: BuildHasher,
            R: Reclaim,
        {
        }

        impl<K, V, S, R: Reclaim> fmt::Debug for $name<'_, K, V, S, R> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.0).finish()
            }
        }
    };
}

lent!(Keys, K, 0);
lent!(Values, V, 1);

/// Shows all entries as of now, cloned.
impl<K, V, S, R> IntoIterator for &Cache<K, V, S, R>
where
    K: Clone + Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    type Item = (K, V);
    type IntoIter = OwnedIter<K, V, S, R>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
