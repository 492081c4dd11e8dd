//! A handle that does not keep the cache alive.

use super::cache::Cache;
use super::hasher::RandomState;
use crate::engine::Engine;
use crate::reclaim::{Asymmetric, Reclaim};
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::{Arc, Weak};

/// A handle that does not keep the cache alive; made by [`Cache::downgrade`].
///
/// Use it in what the cache itself keeps. A listener, relation or value that contains a [`Cache`]
/// would keep the cache alive, and therefore itself, for ever.
///
/// ```
/// use coeval::Cache;
/// use std::sync::Arc;
///
/// let cache: Cache<String, u64> = Cache::new();
/// let weak = cache.downgrade();
/// cache.reconfigure(|settings| {
///     settings.eviction_listener(move |key: Arc<String>, _, cause, _| {
///         if let Some(cache) = weak.upgrade().filter(|_| !key.starts_with("left:")) {
///             cache.insert(format!("left:{cause}"), 1);
///         }
///     });
/// })?;
/// cache.insert("key".to_string(), 1);
/// cache.remove("key");
/// assert!(cache.contains_key("left:explicit"));
///
/// let weak = cache.downgrade();
/// drop(cache);
/// assert!(weak.upgrade().is_none());
/// # Ok::<(), coeval::BuildError>(())
/// ```
pub struct WeakCache<K, V, S = RandomState, R: Reclaim = Asymmetric> {
    engine: Weak<Engine<K, V, S, R>>,
}

impl<K, V, S, R> WeakCache<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    pub(crate) fn new(engine: Weak<Engine<K, V, S, R>>) -> Self {
        Self { engine }
    }

    /// Returns the cache, unless its last handle is gone. Views, leases and jobs keep the cache,
    /// too.
    #[must_use]
    pub fn upgrade(&self) -> Option<Cache<K, V, S, R>> {
        self.engine.upgrade().map(Cache::from_engine)
    }
}

impl<K, V, S, R: Reclaim> Clone for WeakCache<K, V, S, R> {
    fn clone(&self) -> Self {
        Self { engine: Weak::clone(&self.engine) }
    }
}

/// Creates a handle of no cache.
impl<K, V, S, R: Reclaim> Default for WeakCache<K, V, S, R> {
    fn default() -> Self {
        Self { engine: Weak::new() }
    }
}

impl<K, V, S, R: Reclaim> fmt::Debug for WeakCache<K, V, S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakCache").finish_non_exhaustive()
    }
}

impl<K, V, S, R> Cache<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns a handle that does not keep the cache alive. Use it in what the cache itself keeps:
    /// listeners, relations, values.
    #[must_use]
    pub fn downgrade(&self) -> WeakCache<K, V, S, R> {
        WeakCache::new(Arc::downgrade(&self.shared_engine()))
    }
}
