//! Removal of all entries that a predicate chooses.

use super::cache::Cache;
use super::hasher::RandomState;
use crate::reclaim::{Asymmetric, Reclaim};
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::ops::Range;

/// How far a removal [in parts](Cache::retain_in_parts) has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemovalProgress {
    /// The number of parts of the cache that are done.
    pub parts_done: usize,
    /// The number of all parts.
    pub parts: usize,
    /// The number of entries that the predicate has judged.
    pub judged: u64,
    /// The number of entries that were removed.
    pub removed: u64,
}

/// A removal of entries, one part of the cache at a time; made by [`Cache::retain_in_parts`].
///
/// Each call of `next` does one part, and returns the progress so far. Dropping the iterator leaves
/// the other parts as they are.
#[must_use = "iterators do nothing until they are used"]
pub struct InParts<'c, F, K, V, S = RandomState, R: Reclaim = Asymmetric> {
    cache: &'c Cache<K, V, S, R>,
    goes: F,
    /// Whether declared relations apply.
    related: bool,
    /// The parts still to be done.
    parts: Range<usize>,
    progress: RemovalProgress,
}

/// # Removal by a predicate
/// These methods judge every entry by a predicate. They go through the cache in small parts. For
/// each part they open a view, judge its entries, and remove those that are to go by **one commit**
/// (by several, if they are more than 256). A value that was written after the predicate had judged
/// its key stays. So the predicate has seen every value that goes.
///
/// An entry that is there during the whole call is judged once. One that comes or goes meanwhile
/// may be judged or not. The memory needed does not depend on the number of entries.
///
/// O(n) for n entries. Lock-free; delays no other thread. The predicate runs without a guard,
/// while the view of its part is open. It may be slow, and may use the cache. If it panics, the
/// entries of its part stay.
impl<K, V, S, R> Cache<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Keeps only entries for which `keep` says so. Removes the others as [`remove`](Self::remove)
    /// does, without their related entries. Returns how many it removed.
    ///
    /// ```
    /// let cache: coeval::Cache<u32, u32> = (0..100).map(|n| (n, n * n)).collect();
    /// assert_eq!(cache.retain(|key, square| key % 2 == 0 && *square < 100), 95);
    /// assert_eq!((cache.len(), cache.get(&8)), (5, Some(64)));
    /// ```
    ///
    /// # Panics
    /// Panics if `keep` does.
    pub fn retain(&self, keep: impl FnMut(&K, &V) -> bool) -> u64 {
        self.retain_in_parts(keep).last().map_or(0, |progress| progress.removed)
    }

    /// Does the same as [`retain`](Self::retain), one part at each step of the iterator, so that
    /// the caller can watch the progress, do other work in between, or stop.
    ///
    /// ```
    /// let cache: coeval::Cache<u32, u32> = (0..1000).map(|n| (n, n)).collect();
    /// for progress in cache.retain_in_parts(|key, _| key % 2 == 0) {
    ///     println!("{} of {}", progress.parts_done, progress.parts);
    /// }
    /// assert_eq!(cache.len(), 500);
    /// ```
    pub fn retain_in_parts<'c>(
        &'c self,
        mut keep: impl FnMut(&K, &V) -> bool + 'c,
    ) -> InParts<'c, impl FnMut(&K, &V) -> bool + 'c, K, V, S, R> {
        self.in_parts(false, move |key: &K, value: &V| !keep(key, value))
    }

    /// Removes all entries for which `goes` says so, as [`invalidate`](Self::invalidate) does: the
    /// declared relations of their keys apply. Returns how many it removed.
    ///
    /// ```
    /// let cache = coeval::Cache::builder()
    ///     .related(|key: &u32, related| {
    ///         if *key < 10 {
    ///             related.invalidate(key + 10);
    ///         }
    ///     })
    ///     .build();
    /// cache.batch().insert(12, "profile").insert(2, "stale").insert(3, "new").commit();
    /// cache.insert(12, "profile");
    /// assert_eq!(cache.invalidate_entries_if(|_, value| *value == "stale"), 1);
    /// assert_eq!(cache.get_many([&2, &3, &12]), [None, Some("new"), None]);
    /// ```
    ///
    /// # Panics
    /// Panics if `goes` or a relation's closure does.
    pub fn invalidate_entries_if(&self, goes: impl FnMut(&K, &V) -> bool) -> u64 {
        self.in_parts(true, goes).last().map_or(0, |progress| progress.removed)
    }

    fn in_parts<F: FnMut(&K, &V) -> bool>(
        &self,
        related: bool,
        goes: F,
    ) -> InParts<'_, F, K, V, S, R> {
        let parts = self.engine().parts();
        let progress = RemovalProgress { parts, ..RemovalProgress::default() };
        InParts { cache: self, goes, related, parts: 0..parts, progress }
    }
}

impl<F, K, V, S, R> Iterator for InParts<'_, F, K, V, S, R>
where
    F: FnMut(&K, &V) -> bool,
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    type Item = RemovalProgress;

    fn next(&mut self) -> Option<RemovalProgress> {
        if self.parts.is_empty() {
            return None;
        }
        let (parts, division) = (self.parts.clone(), self.progress.parts);
        let done = self.cache.engine().remove_where(division, parts, self.related, &mut self.goes);
        self.parts.start = done.next;
        self.progress.parts_done = done.next;
        self.progress.judged += done.judged;
        self.progress.removed += done.removed;
        Some(self.progress)
    }
}

impl<F, K, V, S, R: Reclaim> fmt::Debug for InParts<'_, F, K, V, S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InParts").field("progress", &self.progress).finish_non_exhaustive()
    }
}
