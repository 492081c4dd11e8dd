//! How a cache is set up.

use crate::cache::Cache;
use crate::engine::Engine;
use crate::error::BuildError;
use crate::hasher::RandomState;
use crate::reclaim::{Asymmetric, Reclaim};
use crate::relation::{Related, Relation};
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::marker::PhantomData;
use std::sync::Arc;

/// The most entries that an `initial_capacity` may ask for.
const MAX_INITIAL_CAPACITY: usize = 1 << 36;

/// Settings of a cache to be; made by [`Cache::builder`].
///
/// ```
/// use coeval::Cache;
///
/// // A user's profile and feed are derived from the user: one commit changes all three.
/// let cache = Cache::builder()
///     .related(|key: &String, related| {
///         if let Some(id) = key.strip_prefix("user:") {
///             related.invalidate(format!("profile:{id}")).invalidate(format!("feed:{id}"));
///         }
///     })
///     .build();
///
/// cache.insert("profile:7".to_string(), "old");
/// cache.insert("user:7".to_string(), "new");
/// assert_eq!(cache.get("profile:7"), None);
/// ```
pub struct Builder<K, V, S = RandomState, R = Asymmetric> {
    initial_capacity: usize,
    relation: Option<Box<Relation<K, V>>>,
    hasher: S,
    reclaimer: PhantomData<fn() -> R>,
}

impl<K, V> Builder<K, V> {
    pub(crate) fn new() -> Self {
        Self {
            initial_capacity: 0,
            relation: None,
            hasher: RandomState::default(),
            reclaimer: PhantomData,
        }
    }
}

impl<K, V, S, R> Builder<K, V, S, R> {
    /// Makes room in the index for that many entries, so that it need not grow on the way there.
    #[must_use]
    pub fn initial_capacity(mut self, entries: usize) -> Self {
        self.initial_capacity = entries;
        self
    }

    /// Declares what a write of a key does to other entries, in the same commit.
    ///
    /// The closure is called with each key that is written or invalidated (not with one that is merely
    /// [removed](Cache::remove)), the related ones included, so relations are followed to their end; they may
    /// overlap and form cycles. Each key is written once in a commit: what the caller wrote comes
    /// before what a relation says, a nearer relation before a farther one.
    ///
    /// The closure runs before the commit begins, on the writer's thread, with nothing held. It may be
    /// slow, read the cache, and panic: then nothing is written.
    #[must_use]
    pub fn related<F>(mut self, relation: F) -> Self
    where
        F: Fn(&K, &mut Related<K, V>) + Send + Sync + 'static,
    {
        self.relation = Some(Box::new(relation));
        self
    }

    /// Hashes keys with `hasher`.
    #[must_use]
    pub fn hasher<T>(self, hasher: T) -> Builder<K, V, T, R> {
        Builder {
            initial_capacity: self.initial_capacity,
            relation: self.relation,
            hasher,
            reclaimer: PhantomData,
        }
    }

    /// Reclaims memory by another scheme than the default one; see [`reclaim`](crate::reclaim).
    #[must_use]
    pub fn reclaimer<T: Reclaim>(self) -> Builder<K, V, S, T> {
        Builder {
            initial_capacity: self.initial_capacity,
            relation: self.relation,
            hasher: self.hasher,
            reclaimer: PhantomData,
        }
    }
}

impl<K, V, S, R> Builder<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// The cache.
    ///
    /// # Panics
    /// If a setting makes no sense, with a message that names it.
    #[must_use]
    pub fn build(self) -> Cache<K, V, S, R> {
        self.try_build().unwrap_or_else(|error| panic!("{error}"))
    }

    /// The cache, or which setting makes no sense.
    ///
    /// # Errors
    /// [`BuildError`] names the setting.
    pub fn try_build(self) -> Result<Cache<K, V, S, R>, BuildError> {
        if self.initial_capacity > MAX_INITIAL_CAPACITY {
            return Err(BuildError::InitialCapacity(self.initial_capacity));
        }
        let engine = Engine::new(self.initial_capacity, self.hasher, self.relation);
        Ok(Cache::from_engine(Arc::new(engine)))
    }
}

impl<K, V, S, R> fmt::Debug for Builder<K, V, S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("initial_capacity", &self.initial_capacity)
            .field("related", &self.relation.is_some())
            .finish_non_exhaustive()
    }
}
