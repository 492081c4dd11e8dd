//! Several writes, one commit.

use crate::engine::{Change, Engine};
use crate::hasher::RandomState;
use crate::reclaim::{Asymmetric, Reclaim};
use crate::version::Version;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

/// Several writes that one commit publishes; made by [`Cache::batch`](crate::Cache::batch).
///
/// The last write of a key wins. Nothing happens before [`commit`](Self::commit); a batch that is
/// dropped changes nothing.
///
/// ```
/// let cache = coeval::Cache::new();
/// cache.insert("stale", 0);
/// let version = cache.batch().insert("a", 1).insert("b", 2).remove("stale").commit();
/// assert_eq!(cache.get_versioned("a"), Some((1, version)));
/// assert_eq!(cache.get_versioned("b"), Some((2, version)));
/// assert_eq!(cache.get("stale"), None);
/// ```
#[must_use = "a batch does nothing until it is committed"]
pub struct Batch<'c, K, V, S = RandomState, R: Reclaim = Asymmetric> {
    engine: &'c Engine<K, V, S, R>,
    changes: Vec<Change<K, V>>,
}

impl<'c, K, V, S, R> Batch<'c, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    pub(crate) fn new(engine: &'c Engine<K, V, S, R>) -> Self {
        Self { engine, changes: engine.changes() }
    }

    /// Sets `key`, and with it its declared relations.
    pub fn insert(mut self, key: K, value: V) -> Self {
        self.changes.push(self.engine.change(key, Some(value), None, true));
        self
    }

    /// Sets `key`, and with it its declared relations, to be absent again after `time_to_live`, whatever the
    /// cache's own is. What one batch inserts for the same time ends at the same time.
    pub fn insert_with_ttl(mut self, key: K, value: V, time_to_live: Duration) -> Self {
        self.changes.push(self.engine.change(key, Some(value), Some(time_to_live), true));
        self
    }

    /// Removes `key` alone.
    pub fn remove(mut self, key: K) -> Self {
        self.changes.push(self.engine.change(key, None, None, false));
        self
    }

    /// Removes `key`, and with it its declared relations.
    pub fn invalidate(mut self, key: K) -> Self {
        self.changes.push(self.engine.change(key, None, None, true));
        self
    }

    /// Publishes all writes by one atomic step and returns their version. O(n log n) for n writes,
    /// lock-free: whoever needs one of the keys helps the commit to its end. An empty batch is a commit like any other: it
    /// takes a version, as of which nothing is different.
    ///
    /// # Panics
    /// Only if `Eq`, a relation's closure or the weigher does; then nothing was written.
    pub fn commit(self) -> Version {
        self.engine.commit(self.changes)
    }
}

impl<K, V, S, R: Reclaim> fmt::Debug for Batch<'_, K, V, S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("writes", &self.changes.len()).finish_non_exhaustive()
    }
}
