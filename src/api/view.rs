//! A read-only snapshot of the whole cache.

use super::hasher::RandomState;
use crate::engine::Engine;
use crate::reclaim::{Asymmetric, Reclaim};
use crate::store::Snapshot;
use crate::version::Version;
use equivalent::Equivalent;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// A read-only snapshot of the whole cache as of one [`Version`]; made by
/// [`Cache::view`](crate::Cache::view).
///
/// A view always shows the same entries, even if other versions are written meanwhile. It keeps the
/// versions that it shows, and no others: an entry that is overwritten a million times while a view
/// is open costs one more version, not a million. A clone shares the registration and costs an
/// increment. A view also keeps the cache alive. If it is forgotten (`mem::forget`), it keeps the
/// cache for ever.
///
/// ```
/// let cache = coeval::Cache::new();
/// cache.insert("key", 1);
/// let view = cache.view();
/// cache.insert("key", 2);
/// assert_eq!(view.get("key"), Some(&1));
/// assert_eq!(cache.get("key"), Some(2));
/// ```
pub struct View<K, V, S = RandomState, R: Reclaim = Asymmetric> {
    engine: Arc<Engine<K, V, S, R>>,
    snapshot: ManuallyDrop<Snapshot>,
}

impl<K, V, S, R> View<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    pub(crate) fn new(engine: Arc<Engine<K, V, S, R>>, snapshot: Snapshot) -> Self {
        Self { engine, snapshot: ManuallyDrop::new(snapshot) }
    }

    /// Returns the value of `key` in this view. O(1) in the number of entries, lock-free.
    pub fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.get_versioned(key).map(|(value, _)| value)
    }

    /// Returns the value of `key` in this view, and the version that wrote it.
    pub fn get_versioned<Q>(&self, key: &Q) -> Option<(&V, Version)>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.engine.read(&self.snapshot, key)
    }

    /// Returns whether `key` holds a value in this view.
    pub fn contains_key<Q>(&self, key: &Q) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.get_versioned(key).is_some()
    }

    /// Returns an iterator over all entries of this view, each once, in no particular order.
    pub fn iter(&self) -> Iter<'_, K, V, S, R> {
        let parts = self.engine.parts();
        Iter { view: self, division: parts, parts: 0..parts, buffer: Vec::new() }
    }

    /// Returns a parallel iterator over all entries of this view, on rayon's thread pool.
    #[cfg(feature = "rayon")]
    #[cfg_attr(docsrs, doc(cfg(feature = "rayon")))]
    pub fn par_iter(&self) -> impl rayon::iter::ParallelIterator<Item = (&K, &V)>
    where
        S: Send + Sync,
    {
        use rayon::iter::{ParallelIterator, split};
        let division = self.engine.parts();
        let halve = |parts: Range<usize>| match parts.len() / 2 {
            0 => (parts, None),
            half => (parts.start..parts.start + half, Some(parts.start + half..parts.end)),
        };
        // Each item is a run of parts, because parts whose hashes collide are visited together.
        split(0..division, halve).flat_map_iter(move |parts| Iter {
            view: self,
            division,
            parts,
            buffer: Vec::new(),
        })
    }

    /// Returns the number of entries in this view. O(n): it counts them.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Returns whether this view has no entries.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Returns the entries of the first of these parts of the index, and of parts that are visited
    /// with it, after the next part to visit. `division` is the number of parts of the whole index.
    #[allow(clippy::type_complexity)]
    pub(super) fn part(
        &self,
        division: usize,
        parts: Range<usize>,
    ) -> (usize, Vec<(&K, &V, Version)>) {
        let mut shown = Vec::new();
        (self.engine.scan(&self.snapshot, division, parts, &mut shown), shown)
    }

    /// Returns the engine and what it needs to read this view.
    pub(super) fn parts(&self) -> (&Engine<K, V, S, R>, &Snapshot) {
        (&self.engine, &self.snapshot)
    }

    /// See `Engine::visible_keys`.
    pub(crate) fn visible_keys<'v>(
        &'v self,
        division: usize,
        parts: Range<usize>,
        out: &mut Vec<(&'v K, Version)>,
    ) -> (usize, usize) {
        self.engine.visible_keys(&self.snapshot, division, parts, out)
    }

    /// Returns the version that this view shows: everything committed up to it, and nothing later.
    #[must_use]
    pub fn version(&self) -> Version {
        Version::from_u64(self.snapshot.version())
    }

    /// Returns how long ago this view was opened, by the cache's clock.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.engine.age(&self.snapshot)
    }
}

impl<K, V, S, R: Reclaim> Clone for View<K, V, S, R> {
    fn clone(&self) -> Self {
        Self {
            engine: Arc::clone(&self.engine),
            snapshot: ManuallyDrop::new(self.engine.share(&self.snapshot)),
        }
    }
}

impl<K, V, S, R: Reclaim> Drop for View<K, V, S, R> {
    fn drop(&mut self) {
        // SAFETY: the snapshot is taken once, here.
        let snapshot = unsafe { ManuallyDrop::take(&mut self.snapshot) };
        self.engine.close(snapshot);
    }
}

impl<K, V, S, R: Reclaim> fmt::Debug for View<K, V, S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View")
            .field("version", &Version::from_u64(self.snapshot.version()))
            .field("age", &self.engine.age(&self.snapshot))
            .finish_non_exhaustive()
    }
}

/// An iterator over the entries of a view; made by [`View::iter`].
pub struct Iter<'v, K, V, S = RandomState, R: Reclaim = Asymmetric> {
    view: &'v View<K, V, S, R>,
    /// The number of parts into which the index was divided when the iteration began.
    division: usize,
    /// The parts still to be visited.
    parts: Range<usize>,
    buffer: Vec<(&'v K, &'v V, Version)>,
}

impl<'v, K, V, S, R> Iterator for Iter<'v, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    type Item = (&'v K, &'v V);

    fn next(&mut self) -> Option<Self::Item> {
        while self.buffer.is_empty() {
            if self.parts.is_empty() {
                return None;
            }
            let (view, parts) = (self.view, self.parts.clone());
            self.parts.start =
                view.engine.scan(&view.snapshot, self.division, parts, &mut self.buffer);
        }
        self.buffer.pop().map(|(key, value, _)| (key, value))
    }
}

impl<'v, K, V, S, R> IntoIterator for &'v View<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    type Item = (&'v K, &'v V);
    type IntoIter = Iter<'v, K, V, S, R>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<K, V, S, R: Reclaim> fmt::Debug for Iter<'_, K, V, S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter").field("view", self.view).finish_non_exhaustive()
    }
}
