//! One guard for many reads.

use super::key::ToKey;
use crate::chain::Visible;
use crate::engine::{Engine, with_version};
use crate::reclaim::Reclaim;
use crate::sync::per_thread::NumberHold;
use crate::version::Version;
use equivalent::Equivalent;
use std::fmt;
use std::hash::{BuildHasher, Hash};

/// One guard for many reads; made by [`Cache::pin`](crate::Cache::pin).
///
/// Each read returns the newest committed value at its own time, so several reads do not show one
/// instant. For that, use [`get_many`](crate::Cache::get_many) or a [`View`](crate::View). While a
/// guard lives, nothing retired in the cache since its creation is reclaimed. Hold it briefly.
pub struct Pinned<'c, K, V, S, R: Reclaim> {
    engine: &'c Engine<K, V, S, R>,
    guard: R::Guard<'c>,
    /// A program may put a `Pinned<'static>` into a thread-local, where it outlives the value that
    /// ends its thread's part in the cache. Dropped after the guard.
    _hold: NumberHold,
}

impl<'c, K, V, S, R> Pinned<'c, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    #[inline]
    pub(crate) fn new(engine: &'c Engine<K, V, S, R>) -> Self {
        Self { engine, _hold: NumberHold::new(), guard: engine.pin_for_long() }
    }

    /// Returns the newest committed value of `key`, borrowed. O(1), wait-free.
    #[inline]
    pub fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.engine.newest::<Q, true>(&self.guard, key).map(Visible::value)
    }

    /// Returns the newest committed value of `key`. The call does not count as a use.
    pub(super) fn peek<Q>(&self, key: &Q) -> Option<&V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let found = self.engine.newest::<Q, false>(&self.guard, key);
        found.map(|found| found.value())
    }

    /// See `Engine::load_alone`.
    pub(super) fn load_alone<Q, E>(
        &self,
        key: &Q,
        load: impl FnOnce() -> Result<V, E>,
    ) -> Result<Result<&V, V>, E>
    where
        Q: Hash + Equivalent<K> + ToKey<K> + ?Sized,
    {
        self.engine.load_alone(&self.guard, key, || key.to_key(), load)
    }

    /// Returns the newest committed value of `key` and the version that wrote it. O(1), wait-free.
    pub fn get_versioned<Q>(&self, key: &Q) -> Option<(&V, Version)>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.engine.newest::<Q, true>(&self.guard, key).map(with_version)
    }

    /// Returns whether `key` holds a value. O(1), wait-free. The call counts neither as a use nor
    /// in the statistics.
    pub fn contains_key<Q>(&self, key: &Q) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.engine.newest::<Q, false>(&self.guard, key).is_some()
    }
}

impl<K, V, S, R: Reclaim> fmt::Debug for Pinned<'_, K, V, S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pinned").finish_non_exhaustive()
    }
}
