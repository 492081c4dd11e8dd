//! The cache.

use crate::batch::Batch;
use crate::builder::Builder;
use crate::engine::Engine;
use crate::error::Conflict;
use crate::hasher::RandomState;
use crate::key::ToKey;
use crate::lease::Lease;
use crate::metrics::{Stats, Timeline};
use crate::pinned::Pinned;
use crate::reclaim::{Asymmetric, Reclaim};
use crate::version::Version;
use crate::view::View;
use crate::weak::WeakCache;
use equivalent::Equivalent;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::time::Duration;

/// A concurrent cache whose writes are commits: what one commit wrote is visible all at once.
///
/// It is a handle: a clone shares the same entries and costs a reference count.
///
/// No operation takes a lock or waits for another thread; reads do not even write to shared memory.
/// Unless said otherwise an operation is O(1) in the number of entries.
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
/// Keys and values may be of any size, and aligned to up to a page, 4,096 bytes; what asks for more does not compile.
///
/// # Panics
/// No operation panics on its own. A panic in a key's `Hash` or `Eq`, a value's `Clone`, or a relation's
/// closure reaches the caller and changes nothing; one in a destructor that runs when memory is
/// reclaimed, later and perhaps on another thread, ends there (the panic hook has told of it).
pub struct Cache<K, V, S = RandomState, R: Reclaim = Asymmetric> {
    engine: Arc<Engine<K, V, S, R>>,
}

impl<K, V> Cache<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// An empty cache without bounds.
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Settings for a new cache.
    #[must_use]
    pub fn builder() -> Builder<K, V> {
        Builder::new()
    }
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

    pub(crate) fn engine(&self) -> &Engine<K, V, S, R> {
        &self.engine
    }

    pub(crate) fn shared_engine(&self) -> Arc<Engine<K, V, S, R>> {
        Arc::clone(&self.engine)
    }

    /// The newest committed value of `key`, cloned. Wait-free, but for helping a commit that it meets
    /// between its decision and its number.
    #[inline]
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        V: Clone,
    {
        self.engine.look_up::<Q, _, true>(key, |value, _| value.clone())
    }

    /// The newest committed value of `key`, cloned, and the version of the commit that wrote it.
    #[inline]
    pub fn get_versioned<Q>(&self, key: &Q) -> Option<(V, Version)>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        V: Clone,
    {
        self.engine.look_up::<Q, _, true>(key, |value, version| (value.clone(), version))
    }

    /// Whether `key` holds a value. It counts neither as a use of the entry nor in the statistics.
    #[inline]
    pub fn contains_key<Q>(&self, key: &Q) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.engine.look_up::<Q, _, false>(key, |_, _| ()).is_some()
    }

    /// One guard for many reads, which can then borrow. Wait-free.
    ///
    /// If it is forgotten (`mem::forget`), nothing that is retired from then on is reclaimed before the cache is dropped;
    /// see [`leaked`](crate::reclaim::leaked). With seize it takes a lock.
    ///
    /// # Panics
    /// If the thread holds a million of them already (2^20 − 1).
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

    /// What `keys` hold, cloned, all as of one instant. O(N).
    ///
    /// Costs little more than N times `get`: no view is opened (but when a view that somebody holds has
    /// let versions be taken out that this call would need), and nothing is retried.
    pub fn get_many<Q, const N: usize>(&self, keys: [&Q; N]) -> [Option<V>; N]
    where
        Q: Hash + Equivalent<K> + ?Sized,
        V: Clone,
    {
        self.engine.get_many::<_, _, N, true>(keys, V::clone)
    }

    /// A snapshot of the whole cache as it is now.
    pub fn view(&self) -> View<K, V, S, R> {
        View::new(Arc::clone(&self.engine), self.engine.open())
    }

    /// A snapshot of the cache as of `version`, if that is still kept: by a view of that very version
    /// which somebody holds, or because it is the newest.
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
    pub fn view_at(&self, version: Version) -> Option<View<K, V, S, R>> {
        let snapshot = self.engine.open_at(version.get())?;
        Some(View::new(Arc::clone(&self.engine), snapshot))
    }

    /// What all entries weigh: by the [weigher](Builder::weigher), else each for one. Exact when no write is
    /// under way.
    ///
    /// It is kept account of only in a cache that has a capacity or a weigher; else it is [`len`](Self::len).
    #[must_use]
    pub fn weighted_size(&self) -> u64 {
        self.engine.weight()
    }

    /// How many keys hold a value. O(threads); exact when no write is under way. A value whose deadline has
    /// passed is counted until a write has seen to it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.engine.len()
    }

    /// Whether no key holds a value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the cache has done, and what it holds. O(threads); see [`Stats`] for how exact each figure is.
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

    /// The flight recorder. It is off until it is [started](Timeline::start).
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

    /// The version of the newest commit; 0 before the first. The cache makes some of its own: evictions, the ends of
    /// expired entries, and of some that were cleared.
    #[must_use]
    pub fn version(&self) -> Version {
        Version::from_u64(self.engine.version())
    }

    /// Sets `key`, and with it its [declared relations](Builder::related), by one commit. Lock-free.
    ///
    /// If the cache has a [bound](Builder::max_capacity), this makes the room that is missing. The entry is not among those
    /// that go for that, unless alone it is heavier than the bound; nor, unless nothing else is left, among those that go
    /// for what other threads write, until this thread's next write. The same holds for what any other operation brings
    /// (of a commit of several writes, if there is room for all of them; for more than 64, only as far as that commit
    /// itself is concerned). To bring an entry is to set a key that was absent, or to make its entry heavier; any other
    /// overwrite counts as a use of the entry. If threads bring the same key in turn, it is spared for the first of them.
    ///
    /// If the cache knows a key that is equal to `key`, it keeps that one, as a [`HashMap`](std::collections::HashMap) does,
    /// and drops `key`. It knows a key for some time after its entry has gone.
    pub fn insert(&self, key: K, value: V) -> Version {
        self.engine.insert(key, value, None)
    }

    /// The same, for a value that is to be absent again after `time_to_live`, whatever the cache's
    /// [own](Builder::time_to_live) is; related entries that this writes are kept as usual. Lock-free.
    ///
    /// With a time of zero nobody gets the value, and what was there before is gone.
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

    /// Removes `key` alone and returns what it held, cloned. No commit is made if it held nothing.
    pub fn remove<Q>(&self, key: &Q) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        V: Clone,
    {
        self.engine.remove(key, V::clone)
    }

    /// Removes `key`, and with it its [declared relations](Builder::related), by one commit; these are followed whether the
    /// key is cached or not. Lock-free.
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
    /// cache.invalidate("user 7"); // which was never loaded
    /// assert_eq!(cache.get("profile 7"), None);
    /// ```
    ///
    /// Relations are told of a `&K`, so one must be made of the borrowed key if the cache does not know it: [`ToKey`].
    /// Where there is no way to, hand the key over: [`batch().invalidate(key)`](Batch::invalidate).
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

    /// Removes everything, by one commit. O(1): what it hides is swept out by later writes, a little by
    /// each. Lock-free, and holds no other writer up.
    pub fn invalidate_all(&self) -> Version {
        self.engine.invalidate_all()
    }

    /// Does all upkeep that is due, and gives back the memory of what was removed, replaced, evicted or cleared, or is over,
    /// and that nobody can see any more: keys and values that nobody keeps are dropped. Returns how many objects are
    /// retired still; 0 if nothing keeps anything.
    ///
    /// Writes do that by themselves, a little each, so that a value is dropped some thousands of writes after it was removed.
    /// This is for those who want it now, or write no more. What stays is kept by
    /// - open views and [pinned](Self::pin) guards, and operations under way on other threads (if it is the calling
    ///   thread that holds a guard, nothing is reclaimed);
    /// - other threads that live: what one has retired, a thousand objects or a few, goes by its own calls;
    /// - the capacity bound and the deadlines, as for keys: that of a removed entry may stay until their turn comes to it.
    ///
    /// Lock-free; it waits for nobody. O(n) after [`invalidate_all`](Self::invalidate_all), else in proportion to
    /// what is due. The [listener](Builder::eviction_listener) is told of what leaves by it.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// let (cache, value) = (coeval::Cache::new(), Arc::new("large"));
    /// cache.insert("key", Arc::clone(&value));
    /// cache.remove("key");
    /// assert_eq!(cache.collect(), 0);
    /// assert_eq!(Arc::strong_count(&value), 1);
    /// ```
    pub fn collect(&self) -> u64 {
        self.engine.collect() as u64
    }

    /// A handle that does not keep the cache, for what the cache keeps: listeners, relations, values.
    #[must_use]
    pub fn downgrade(&self) -> WeakCache<K, V, S, R> {
        WeakCache::new(Arc::downgrade(&self.engine))
    }

    /// Several writes that one commit will publish.
    pub fn batch(&self) -> Batch<'_, K, V, S, R> {
        Batch::new(&self.engine)
    }

    /// The right to fill `key` with what is read from its source from now on, as long as nobody writes, removes
    /// or clears it meanwhile. Lock-free.
    ///
    /// So what was read before an invalidation is never cached after it:
    ///
    /// ```
    /// let cache = coeval::Cache::new();
    /// let lease = cache.lease("user:7");
    /// let read = "as it was".to_string(); // from the source
    /// cache.invalidate("user:7"); // somebody changes the source meanwhile, and says so
    /// let refused = lease.fill(read).unwrap_err();
    /// assert_eq!(cache.get("user:7"), None);
    ///
    /// let lease = cache.lease("user:7");
    /// assert!(lease.fill("as it is".to_string()).is_ok());
    /// # assert_eq!(refused.into_value(), "as it was");
    /// # cache.remove(&"user:7".to_string());
    /// ```
    pub fn lease<Q>(&self, key: &Q) -> Lease<K, V, S, R>
    where
        Q: Hash + Equivalent<K> + ToOwned<Owned = K> + ?Sized,
    {
        let hold = self.engine.lease(key, || key.to_owned());
        Lease::new(Arc::clone(&self.engine), hold)
    }

    /// Sets `key`, and with it its declared relations, if it still holds the version `expected`; with
    /// `None`, only if it holds nothing.
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
    /// [`Conflict`] if it holds something else; it hands the value back.
    pub fn compare_and_set(
        &self,
        key: K,
        expected: Option<Version>,
        value: V,
    ) -> Result<Version, Conflict> {
        self.engine.compare_and_set(key, expected, value)
    }
}

impl<K, V, S, R: Reclaim> Clone for Cache<K, V, S, R> {
    fn clone(&self) -> Self {
        Self { engine: Arc::clone(&self.engine) }
    }
}

impl<K, V, S, R> Default for Cache<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Default,
    R: Reclaim,
{
    fn default() -> Self {
        Builder::new().hasher(S::default()).reclaimer::<R>().build()
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

/// Inserts each entry by a commit of its own.
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
