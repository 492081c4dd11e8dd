//! What a cache or a view holds, as text.

use super::cache::Cache;
use super::view::View;
use crate::reclaim::Reclaim;
use std::fmt;
use std::hash::{BuildHasher, Hash};

/// Prints by a closure.
struct Contents<F>(F);

impl<F> fmt::Debug for Contents<F>
where
    F: Fn(&mut fmt::Formatter<'_>) -> fmt::Result,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (self.0)(f)
    }
}

impl<K, V, S, R> View<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns what prints the entries of this view, like a map. O(n), in no particular order.
    ///
    /// ```
    /// let cache = coeval::Cache::from([("key", 1)]);
    /// assert_eq!(format!("{:?}", cache.view().contents()), r#"{"key": 1}"#);
    /// ```
    pub fn contents(&self) -> impl fmt::Debug
    where
        K: fmt::Debug,
        V: fmt::Debug,
    {
        Contents(move |f: &mut fmt::Formatter<'_>| f.debug_map().entries(self).finish())
    }
}

impl<K, V, S, R> Cache<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns what prints the entries of the cache, like a map, all as of the instant at which it
    /// is printed. O(n), in no particular order.
    ///
    /// ```
    /// let cache = coeval::Cache::from([("key", 1)]);
    /// println!("{:#?}", cache.contents());
    /// # assert_eq!(format!("{:?}", cache.contents()), r#"{"key": 1}"#);
    /// ```
    pub fn contents(&self) -> impl fmt::Debug
    where
        K: fmt::Debug,
        V: fmt::Debug,
    {
        Contents(move |f: &mut fmt::Formatter<'_>| f.debug_map().entries(&self.view()).finish())
    }
}
