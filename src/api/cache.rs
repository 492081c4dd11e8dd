//! The cache.

use super::batch::{Batch, BatchMut};
use super::hasher::RandomState;
use super::key::ToKey;
use super::lease::Lease;
use super::pinned::Pinned;
use super::view::View;
use crate::chain::Parcel;
use crate::engine::{Engine, is_large, with_version};
use crate::error::Conflict;
use crate::metrics::{Stats, Timeline};
use crate::reclaim::{Asymmetric, Reclaim};
use crate::version::Version;
use equivalent::Equivalent;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

/// A concurrent cache whose writes are commits: all that one commit wrote becomes visible at once.
///
/// A `Cache` is a handle. A clone shares the same entries and costs a reference count.
///
/// No operation takes a lock or waits for another thread. Reads do not even write to shared memory.
/// Unless stated otherwise, an operation is O(1) in the number of entries.
///
/// ```
/// use coeval::Cache;
///
/// let cache = Cache::new();
/// cache.insert("alpha".to_string(), 1);
/// cache.batch().insert("beta".to_string(), 2).insert("gamma".to_string(), 3).commit();
/// // Both as of one instant.
/// assert_eq!(cache.get_many(["beta", "gamma"]), [Some(2), Some(3)]);
/// ```
///
/// Keys and values may have any size, and an alignment of up to a page (4,096 bytes). A larger
/// alignment does not compile.
///
/// # Panics
/// An operation panics on its own only for a mistake of its caller: a load or a derivation that
/// waits for itself, relations that add more keys than
/// [`max_related`](crate::Builder::max_related), a loader that returns too few values, a million
/// pins of one thread at a time. A panic in a key's `Hash` or `Eq`, in a value's `Clone` or in a
/// relation's closure reaches the caller and changes nothing. A destructor may run later, when
/// memory is reclaimed, and perhaps on another thread. A panic in it ends there, after the panic
/// hook has reported it.
pub struct Cache<K, V, S = RandomState, R: Reclaim = Asymmetric> {
    engine: Arc<Engine<K, V, S, R>>,
}

impl<K, V, S, R> Cache<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    pub(crate) fn from_engine(engine: Arc<Engine<K, V, S, R>>) -> Self {
        Self { engine }
    }

    #[inline]
    pub(crate) fn engine(&self) -> &Engine<K, V, S, R> {
        &self.engine
    }

    pub(crate) fn shared_engine(&self) -> Arc<Engine<K, V, S, R>> {
        Arc::clone(&self.engine)
    }

    /// Returns the newest committed value of `key`, cloned. Wait-free, except that it helps a
    /// commit that it meets between its decision and its number.
    #[inline]
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        V: Clone,
    {
        if const { is_large::<V, 1>() } {
            return self.get_large(key);
        }
        self.engine.look_up::<Q, _, true>(key, |found| found.value().clone())
    }

    /// Does the same for a large value, which is cloned straight to the caller.
    #[inline(never)]
    fn get_large<Q>(&self, key: &Q) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        V: Clone,
    {
        let guard = self.engine.pin();
        let found = self.engine.newest::<Q, true>(&guard, key)?;
        Some(found.value().clone())
    }

    /// Calls `read` with the newest committed value of `key`, and returns its result, or `None` if
    /// the key is absent: [`get`](Self::get) without a clone, for values that are expensive to
    /// clone or cannot be cloned.
    ///
    /// `read` runs under a guard, as under [`pin`](Self::pin): nothing retired in the cache
    /// meanwhile is reclaimed, so it should end soon. It may use the cache.
    ///
    /// # Panics
    /// Panics if `read` does.
    ///
    /// ```
    /// let cache = coeval::Cache::new();
    /// cache.insert("list", vec![1, 2, 3]);
    /// assert_eq!(cache.read("list", |list| list.len()), Some(3));
    /// assert_eq!(cache.read("other", |list| list.len()), None);
    /// ```
    #[inline]
    pub fn read<Q, T>(&self, key: &Q, read: impl FnOnce(&V) -> T) -> Option<T>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.engine.look_up::<Q, _, true>(key, |found| read(found.value()))
    }

    /// Returns the newest committed value of `key`, cloned, and the version that wrote it.
    #[inline]
    pub fn get_versioned<Q>(&self, key: &Q) -> Option<(V, Version)>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        V: Clone,
    {
        if const { is_large::<V, 1>() } {
            let guard = self.engine.pin();
            let (value, version) = with_version(self.engine.newest::<Q, true>(&guard, key)?);
            return Some((value.clone(), version));
        }
        self.engine.look_up::<Q, _, true>(key, |found| {
            let (value, version) = with_version(found);
            (value.clone(), version)
        })
    }

    /// Returns whether `key` holds a value. The call counts neither as a use nor in the statistics.
    #[inline]
    pub fn contains_key<Q>(&self, key: &Q) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.engine.look_up::<Q, _, false>(key, |_| ()).is_some()
    }

    /// Returns one guard for many reads, which can then borrow. Wait-free.
    ///
    /// If the guard is forgotten (`mem::forget`), nothing retired from then on is reclaimed before
    /// the cache is dropped; see [`leaked`](crate::reclaim::leaked). With `seize`, this call takes
    /// a lock.
    ///
    /// # Panics
    /// Panics if the thread already holds a million guards (2^20 − 1).
    ///
    /// ```
    /// let cache = coeval::Cache::new();
    /// cache.insert("key", "value".to_string());
    /// let pinned = cache.pin();
    /// let borrowed: Option<&String> = pinned.get("key");
    /// assert_eq!(borrowed.map(String::as_str), Some("value"));
    /// ```
    #[inline]
    pub fn pin(&self) -> Pinned<'_, K, V, S, R> {
        Pinned::new(&self.engine)
    }

    /// Returns a snapshot of the whole cache as of now.
    #[track_caller]
    pub fn view(&self) -> View<K, V, S, R> {
        let snapshot = self.engine.open();
        snapshot.opened_by(Location::caller());
        View::new(Arc::clone(&self.engine), snapshot)
    }

    /// Returns a snapshot of the cache as of `version`, if the cache still keeps that version. A
    /// version is kept while it is the newest, and while a view of exactly that version is open.
    ///
    /// ```
    /// let cache = coeval::Cache::new();
    /// let first = cache.insert("key", 1);
    /// let view = cache.view_at(first).expect("it is the newest");
    /// cache.insert("key", 2);
    /// assert_eq!(cache.view_at(first).expect("a view keeps it").get("key"), Some(&1));
    /// drop(view);
    /// assert!(cache.view_at(first).is_none());
    /// ```
    #[must_use]
    #[track_caller]
    pub fn view_at(&self, version: Version) -> Option<View<K, V, S, R>> {
        let snapshot = self.engine.open_at(version.get())?;
        snapshot.opened_by(Location::caller());
        Some(View::new(Arc::clone(&self.engine), snapshot))
    }

    /// Returns the total weight of all entries. The [weigher](crate::Builder::weigher) determines
    /// the weight of an entry; without one, each entry weighs 1. Exact when no write is under way.
    ///
    /// Only a cache with a capacity or a weigher counts weight. In any other, this is
    /// [`len`](Self::len).
    #[must_use]
    pub fn weighted_size(&self) -> u64 {
        self.engine.weight()
    }

    /// Returns the number of keys that hold a value. O(threads); exact when no write is under way.
    ///
    /// A value that no reader sees any more counts until its memory is given up: one whose deadline
    /// has passed, or that a tag or an input has ended. Writes remove those whose deadline has
    /// passed, a few each; [`maintain`](Self::maintain), [`collect`](Self::collect) and, if the
    /// cache was [built](crate::Builder::sweep_ended) so, writes remove the others.
    /// [`present_len`](Self::present_len) counts none of them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.engine.len()
    }

    /// Returns whether no key holds a value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns what the cache has done and what it holds. O(threads); see [`Stats`] for how exact
    /// each figure is.
    ///
    /// ```
    /// let cache = coeval::Cache::new();
    /// cache.insert("key", 1);
    /// cache.get("key");
    /// cache.get("other");
    /// let stats = cache.stats();
    /// assert_eq!((stats.hits, stats.misses, stats.commits), (1, 1, 1));
    /// ```
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.engine.stats()
    }

    /// Returns the flight recorder. It is off until it is [started](Timeline::start).
    ///
    /// ```
    /// let cache = coeval::Cache::new();
    /// let timeline = cache.timeline();
    /// timeline.start();
    /// cache.insert("key", 1);
    /// cache.get("key");
    /// println!("{timeline}");
    /// # assert_eq!(timeline.events().len(), 2);
    /// ```
    #[must_use]
    pub fn timeline(&self) -> Timeline
    where
        S: Send + Sync + 'static,
    {
        Timeline::new(Arc::clone(&self.engine) as Arc<_>)
    }

    /// Returns the version of the newest commit; 0 before the first. The cache makes some commits
    /// itself: for evictions, for expired entries, and for some entries that were cleared.
    #[must_use]
    pub fn version(&self) -> Version {
        Version::from_u64(self.engine.version())
    }

    /// Sets `key` and applies its [declared relations](crate::Builder::related) in one commit.
    /// Returns the version of the commit. Lock-free.
    ///
    /// An operation *brings* an entry when it sets an absent key or makes an entry heavier. Any
    /// other overwrite counts as a use of the entry. If the cache has a
    /// [bound](crate::Builder::max_capacity), this call makes room for what it brings. It does not
    /// evict the entry that it sets, unless that entry alone is heavier than the bound. Until this
    /// thread's next write, the writes of other threads do not evict the entry either, unless
    /// nothing else is left, or, in a large cache, unless 128 entries that were before it have had
    /// their turn. The same holds for what any other operation brings. For a commit of several
    /// writes, it holds if there is room for all of them; with more than 64 writes, only that
    /// commit itself spares them. If threads bring the same key in turn, the entry is spared for the
    /// first of them.
    ///
    /// If the cache knows a key equal to `key`, it keeps that key and drops `key`, as a
    /// [`HashMap`](std::collections::HashMap) does. It knows a key for some time after its entry is
    /// gone.
    pub fn insert(&self, key: K, value: V) -> Version {
        self.engine.insert(key, value, None)
    }

    /// Sets `key` as [`insert`](Self::insert) does, to a value that becomes absent after
    /// `time_to_live`. Lock-free.
    ///
    /// The time replaces the cache's [own](crate::Builder::time_to_live) for this value. Related
    /// entries that the call writes are kept as usual. With a time of zero, no reader gets the
    /// value, and the previous value is gone.
    ///
    /// ```
    /// use coeval::{Cache, ManualClock};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let cache = Cache::builder().manual_clock(&clock).build();
    /// cache.insert_with_ttl("token", 7, Duration::from_secs(60));
    /// clock.advance(Duration::from_secs(59));
    /// assert_eq!(cache.get("token"), Some(7));
    /// clock.advance(Duration::from_secs(1));
    /// assert_eq!(cache.get("token"), None);
    /// ```
    pub fn insert_with_ttl(&self, key: K, value: V, time_to_live: Duration) -> Version {
        self.engine.insert(key, value, Some(time_to_live))
    }

    /// Removes `key` alone and returns its value, cloned. Makes no commit if the key held nothing.
    /// If values are not [`Clone`], `cache.batch().remove(key).commit()` removes the key.
    pub fn remove<Q>(&self, key: &Q) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        V: Clone,
    {
        self.engine.remove(key, V::clone)
    }

    /// Removes `key` and applies its [declared relations](crate::Builder::related) in one commit.
    /// The relations are followed whether the key is cached or not. Lock-free.
    ///
    /// ```
    /// let cache = coeval::Cache::builder()
    ///     .related(|key: &String, related| {
    ///         if let Some(user) = key.strip_prefix("user ") {
    ///             related.invalidate(format!("profile {user}"));
    ///         }
    ///     })
    ///     .build();
    /// cache.insert("profile 7".to_string(), 1);
    /// cache.invalidate("user 7"); // This key was never loaded.
    /// assert_eq!(cache.get("profile 7"), None);
    /// ```
    ///
    /// Relations take a `&K`. If the cache does not know the key, it makes one from the borrowed
    /// key; see [`ToKey`]. If that is impossible, pass the owned key:
    /// [`batch().invalidate(key)`](Batch::invalidate).
    ///
    /// ```
    /// #[derive(PartialEq, Eq, Hash)]
    /// struct Key(u64); // not `Clone`
    ///
    /// let cache = coeval::Cache::new();
    /// cache.insert(Key(7), 1);
    /// cache.batch().invalidate(Key(7)).commit();
    /// # assert_eq!(cache.get(&Key(7)), None);
    /// ```
    ///
    /// ```compile_fail,E0277
    /// #[derive(PartialEq, Eq, Hash)]
    /// struct Key(u64); // not `Clone`
    ///
    /// let cache = coeval::Cache::new();
    /// cache.insert(Key(7), 1);
    /// cache.invalidate(&Key(7));
    /// # assert_eq!(cache.get(&Key(7)), None);
    /// ```
    pub fn invalidate<Q>(&self, key: &Q) -> Version
    where
        Q: Hash + Equivalent<K> + ToKey<K> + ?Sized,
    {
        self.engine.invalidate(key, || key.to_key())
    }

    /// Removes all entries in one commit. O(1): later writes sweep out the hidden entries, a few
    /// each. Lock-free; delays no other writer.
    pub fn invalidate_all(&self) -> Version {
        self.engine.invalidate_all()
    }

    /// Returns an empty batch, which collects several writes for one commit.
    pub fn batch(&self) -> Batch<'_, K, V, S, R> {
        Batch::new(&self.engine)
    }

    /// Returns an empty batch whose methods take it by reference, for loops.
    pub fn batch_mut(&self) -> BatchMut<'_, K, V, S, R> {
        BatchMut::new(&self.engine)
    }

    /// Returns the right to fill `key` with a value that is read from its source from now on. The
    /// right lasts as long as nobody writes, removes or clears the key. Lock-free.
    ///
    /// A value read before an invalidation is therefore never cached after it:
    ///
    /// ```
    /// let cache = coeval::Cache::new();
    /// let lease = cache.lease("user:7");
    /// let read = "old value".to_string(); // from the source
    /// cache.invalidate("user:7"); // the source has changed
    /// let refused = lease.fill(read).unwrap_err();
    /// assert_eq!(cache.get("user:7"), None);
    ///
    /// let lease = cache.lease("user:7");
    /// assert!(lease.fill("new value".to_string()).is_ok());
    /// # assert_eq!(refused.into_value(), "old value");
    /// # cache.remove(&"user:7".to_string());
    /// ```
    pub fn lease<Q>(&self, key: &Q) -> Lease<K, V, S, R>
    where
        Q: Hash + Equivalent<K> + ToOwned<Owned = K> + ?Sized,
    {
        let hold = self.engine.lease(key, || key.to_owned());
        Lease::new(Arc::clone(&self.engine), hold)
    }

    /// Sets `key` and applies its declared relations, if the key still holds the version
    /// `expected`; with `None`, only if the key holds nothing.
    ///
    /// ```
    /// let cache = coeval::Cache::new();
    /// let first = cache.compare_and_set("key", None, 1)?;
    /// cache.insert("key", 2);
    /// let conflict = cache.compare_and_set("key", Some(first), 3).unwrap_err();
    /// assert_eq!(conflict.found(), Some(cache.version()));
    /// assert_eq!(conflict.into_value(), Some(3));
    /// # Ok::<(), coeval::Conflict>(())
    /// ```
    ///
    /// # Errors
    /// [`Conflict`] if the key holds something else. The error returns the value.
    pub fn compare_and_set(
        &self,
        key: K,
        expected: Option<Version>,
        value: V,
    ) -> Result<Version, Conflict> {
        let mut place = Parcel::empty();
        place.put(value);
        self.engine.compare_and_set(key, expected, &mut place)
    }
}

impl<K, V, S, R: Reclaim> Clone for Cache<K, V, S, R> {
    fn clone(&self) -> Self {
        Self { engine: Arc::clone(&self.engine) }
    }
}

impl<K, V, S, R> fmt::Debug for Cache<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("len", &self.len())
            .field("version", &self.version())
            .finish_non_exhaustive()
    }
}

impl<K, V, S, R> FromIterator<(K, V)> for Cache<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Default,
    R: Reclaim,
{
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut cache = Self::default();
        cache.extend(entries);
        cache
    }
}

/// Inserts each entry in a commit of its own.
impl<K, V, const N: usize> From<[(K, V); N]> for Cache<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    fn from(entries: [(K, V); N]) -> Self {
        Self::from_iter(entries)
    }
}

/// Inserts each entry in a commit of its own.
impl<K, V, S, R> Extend<(K, V)> for Cache<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        for (key, value) in entries {
            self.insert(key, value);
        }
    }
}
