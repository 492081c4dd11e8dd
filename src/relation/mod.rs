//! What entries have to do with each other: declared relations, by which a write of a key does something to others,
//! and tags, by which many are invalidated at once.

mod tag;
mod terms;

pub use tag::{Tag, TagCell};
pub use terms::Terms;

use std::fmt;

/// Collects what a write of a key does to other entries, all in the writer's commit.
///
/// Handed to the closure that was given to [`related`](crate::Builder::related).
pub struct Related<K, V> {
    writes: Vec<(K, Option<V>)>,
}

/// The closure that declares them.
pub type Relation<K, V> = dyn Fn(&K, &mut Related<K, V>) + Send + Sync;

impl<K, V> Related<K, V> {
    pub(crate) fn new(writes: Vec<(K, Option<V>)>) -> Self {
        Self { writes }
    }

    /// Removes `key` in the same commit.
    pub fn invalidate(&mut self, key: K) -> &mut Self {
        self.writes.push((key, None));
        self
    }

    /// Sets `key` to a derived value that is at hand, in the same commit.
    pub fn insert(&mut self, key: K, value: V) -> &mut Self {
        self.writes.push((key, Some(value)));
        self
    }

    /// Drops `key` in the same commit, for the next reader to derive again.
    pub fn recompute(&mut self, key: K) -> &mut Self {
        self.invalidate(key)
    }

    /// What was collected, in order; `None` removes.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = (K, Option<V>)> {
        self.writes.drain(..)
    }

    /// The list, for use again.
    pub(crate) fn into_list(self) -> Vec<(K, Option<V>)> {
        self.writes
    }
}

impl<K, V> fmt::Debug for Related<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Related").field("writes", &self.writes.len()).finish_non_exhaustive()
    }
}
