//! Loading under a pin: values are lent, not cloned.

use super::key::ToKey;
use super::pinned::Pinned;
use crate::reclaim::Reclaim;
use equivalent::Equivalent;
use std::convert::Infallible;
use std::hash::{BuildHasher, Hash};
use std::ops::Deref;

/// A value that a [pin](crate::Cache::pin) lends, or one that its caller has loaded and that could
/// not be cached.
#[derive(Debug, PartialEq, Eq)]
pub enum Lent<'p, V> {
    /// The value in the cache.
    Cached(&'p V),
    /// The value that this caller has loaded. Its key was written or removed meanwhile.
    Own(Box<V>),
}

impl<V> Deref for Lent<'_, V> {
    type Target = V;

    fn deref(&self) -> &V {
        match self {
            Self::Cached(value) => value,
            Self::Own(value) => value,
        }
    }
}

/// # Loading
/// [`Cache::get_with`](crate::Cache::get_with) hands the value of one load to all callers that wait
/// for it, so it must clone the value. These methods lend the value instead. It need not be
/// `Clone`. In return, **no caller waits for another one**: each caller that finds the key absent
/// runs its loader, and the first value is cached. All callers get that value. To load a large
/// value once, put it into an [`Arc`](std::sync::Arc) and use `get_with`.
///
/// While the pin lives, no memory that the cache retires is reclaimed. A loader should be brief.
impl<K, V, S, R> Pinned<'_, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns the newest value of `key`, borrowed. Loads it if there is none. If the key is
    /// written or removed meanwhile, the loaded value is not cached. Lock-free, apart from the
    /// loader.
    ///
    /// ```
    /// struct Page(String); // not `Clone`
    ///
    /// let cache = coeval::Cache::<String, Page>::new();
    /// let pin = cache.pin();
    /// let page = pin.get_with("home", || Page("welcome".to_string()));
    /// assert_eq!(page.0, "welcome");
    /// assert_eq!(pin.get_with("home", || unreachable!("it is cached")).0, "welcome");
    /// ```
    ///
    /// # Panics
    /// Panics if `load` does. Nothing is cached then.
    pub fn get_with<Q>(&self, key: &Q, load: impl FnOnce() -> V) -> Lent<'_, V>
    where
        Q: Hash + Equivalent<K> + ToKey<K> + ?Sized,
    {
        let Ok(value) = self.try_get_with(key, || Ok::<_, Infallible>(load()));
        value
    }

    /// Does the same with a loader that may fail.
    ///
    /// # Panics
    /// Panics if `load` does.
    ///
    /// # Errors
    /// Returns the error of the loader.
    pub fn try_get_with<Q, E>(
        &self,
        key: &Q,
        load: impl FnOnce() -> Result<V, E>,
    ) -> Result<Lent<'_, V>, E>
    where
        Q: Hash + Equivalent<K> + ToKey<K> + ?Sized,
    {
        if let Some(value) = self.get(key) {
            return Ok(Lent::Cached(value));
        }
        Ok(match self.load_alone(key, load)? {
            Ok(value) => Lent::Cached(value),
            // Mostly another caller's value.
            Err(value) => self.peek(key).map_or_else(|| Lent::Own(Box::new(value)), Lent::Cached),
        })
    }
}
