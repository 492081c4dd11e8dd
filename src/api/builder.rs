//! The settings of a new cache.

use super::cache::Cache;
use super::hasher::RandomState;
use crate::engine::{Engine, EngineSettings, Expiry, name_of};
use crate::error::BuildError;
use crate::listener::Listener;
use crate::reclaim::{Asymmetric, Reclaim};
use crate::relation::Related;
use crate::removal::RemovalCause;
use crate::sync::time::{ManualClock, Timer};
use crate::version::Version;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

/// The largest number of entries that an `initial_capacity` may ask for.
const MAX_INITIAL_CAPACITY: usize = 1 << 36;

/// The settings of a new cache; made by [`Cache::builder`].
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
    pub(super) settings: EngineSettings<K, V>,
    hasher: S,
    reclaimer: PhantomData<fn() -> R>,
}

impl<K, V> Builder<K, V> {
    pub(crate) fn new() -> Self {
        Self::default()
    }
}

/// The settings of a cache without bounds, as of [`Cache::builder`].
impl<K, V, S: Default, R> Default for Builder<K, V, S, R> {
    fn default() -> Self {
        let (settings, hasher) = (EngineSettings::default(), S::default());
        Self { settings, hasher, reclaimer: PhantomData }
    }
}

impl<K, V, S, R> Builder<K, V, S, R> {
    /// See [`name`](Self::name).
    pub(super) fn with_label(mut self, label: Box<str>) -> Self {
        self.settings.label = Some(label);
        self
    }

    /// Reserves room for `entries` entries.
    ///
    /// The index does not grow until the cache holds that many. If `entries` is in the thousands,
    /// each entry is placed where the hash of its key says, so a look-up waits for one cache miss
    /// instead of two. This holds for most entries; some find their place taken.
    ///
    /// The index takes 8 to 16 bytes per entry, and twice as many below 8,192 entries. The entries
    /// take 9/8 of their size (about 50 bytes for keys and values of 8 bytes). The system provides
    /// this memory page by page when a page is first written. That happens soon, because entries
    /// are scattered over the memory. Therefore give the number of entries that the cache will
    /// hold, not the number that it might hold. Entries beyond this number are no worse off than
    /// without this setting.
    #[must_use]
    pub fn initial_capacity(mut self, entries: usize) -> Self {
        self.settings.initial_capacity = entries;
        self
    }

    /// Limits the total weight of all entries. The [weigher](Self::weigher) determines the weight
    /// of an entry; without one, each entry weighs 1.
    ///
    /// The writers keep the bound themselves. While an operation that brings an entry is under way,
    /// the cache may exceed the bound by what that operation brings, and by no more. The operation
    /// evicts until there is room. A heavy entry can take time proportional to the number of
    /// lighter entries evicted for it. Each of those was paid for when it came, and counts for at
    /// least one. A write that finds the bound exceeded, because another thread was stopped while
    /// it made room, evicts up to 32 entries. An eviction is a commit of its own: views opened
    /// before it still show the entry, and no reader sees an older value instead.
    ///
    /// An adaptive policy chooses the entry to evict (`docs/decisions.md` lists its hit ratios). It
    /// does not choose one that the current operation brings, as long as others are left. An entry
    /// stays at least until its thread brings another one; [`insert`](Cache::insert) has the
    /// details. An entry that alone is heavier than the bound is evicted at once; with a bound of
    /// zero, every entry is. An entry of weight zero is not evicted to make room, whatever the
    /// bound is. The number of such entries is not bounded: a weigher that always returns zero sets
    /// no bound at all.
    ///
    /// ```
    /// let cache = coeval::Cache::builder().max_capacity(100).build();
    /// for n in 0..1000 {
    ///     cache.insert(n, n);
    /// }
    /// assert_eq!(cache.len(), 100);
    /// ```
    #[must_use]
    pub fn max_capacity(mut self, weight: u64) -> Self {
        self.settings.max_capacity = Some(weight);
        self
    }

    /// Sets the function that weighs an entry. The writer calls it once for each value that is
    /// written, before the commit begins. The function may be slow. If it panics, nothing is
    /// written. An entry of weight zero is not evicted to make room.
    ///
    /// ```
    /// let cache = coeval::Cache::builder()
    ///     .max_capacity(10)
    ///     .weigher(|_key: &u32, value: &String| value.len() as u32)
    ///     .build();
    /// cache.insert(1, "seven".to_string());
    /// cache.insert(2, "eleven".to_string());
    /// assert_eq!((cache.len(), cache.weighted_size() <= 10), (1, true));
    /// ```
    #[must_use]
    pub fn weigher<F>(mut self, weigher: F) -> Self
    where
        F: Fn(&K, &V) -> u32 + Send + Sync + 'static,
    {
        self.settings.weigher = Some(Box::new(weigher));
        self
    }

    /// Makes every entry absent once this time has passed since it was written. All that one commit
    /// writes expires at one time.
    ///
    /// A look-up after that time never returns the entry. Later writes reclaim the memory, a few
    /// entries each, without any look-up of those entries.
    #[must_use]
    pub fn time_to_live(mut self, time: Duration) -> Self {
        self.settings.time_to_live = Some(time);
        self
    }

    /// Makes every entry absent once it was neither read nor written for this time. Reads through
    /// [views](crate::View) and [`contains_key`](Cache::contains_key) do not count. To spare hits a
    /// write, a use may count as one that was a thousandth of this time earlier.
    #[must_use]
    pub fn time_to_idle(mut self, time: Duration) -> Self {
        self.settings.time_to_idle = Some(time);
        self
    }

    /// Sets a policy that decides for each value how long it is kept: when the value is set, and
    /// when it is read.
    ///
    /// The policy works together with [`time_to_live`](Self::time_to_live) and
    /// [`time_to_idle`](Self::time_to_idle): the earliest deadline counts. With a time to idle, the
    /// policy is not asked at reads. A time that a caller gives for one value
    /// ([`insert_with_ttl`](Cache::insert_with_ttl), [`Terms`](crate::Terms)) takes precedence over
    /// the policy.
    ///
    /// The policy runs on the caller's thread: before a commit begins, or within a look-up. It
    /// should be brief. Whether it is asked about a new value or about an update is decided just
    /// before the commit; another thread may write or remove the key in between. Reads through
    /// [views](crate::View) and [`contains_key`](Cache::contains_key) do not count. If the policy
    /// panics in a write, nothing is written.
    ///
    /// See [`Expiry`] for an example.
    #[must_use]
    pub fn expire_after(mut self, policy: impl Expiry<K, V> + 'static) -> Self {
        self.settings.expiry = Some(Box::new(policy));
        self
    }

    /// Makes a value due for reloading once this time has passed since it was written. The next
    /// caller of [`get_with`](Cache::get_with) or a similar method reloads it. Exactly one caller
    /// loads. Meanwhile the other callers and all other reads get the present value. If the loader
    /// fails, its own caller gets the value that the key holds by then; if it holds none any more,
    /// the error. The loaded value is written only if the key was not written since.
    ///
    /// A value that ends before this time is loaded like any absent value. If this time is not
    /// shorter than the [time to live](Self::time_to_live), only values with a longer time of
    /// [their own](Cache::insert_with_ttl) are refreshed. The builder accepts such a setting.
    ///
    /// ```
    /// use coeval::{Cache, ManualClock};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let minute = Duration::from_secs(60);
    /// let cache = Cache::builder().refresh_after(minute).manual_clock(&clock).build();
    /// assert_eq!(cache.get_with("rate", || 1), 1);
    /// clock.advance(minute);
    /// assert_eq!(cache.get("rate"), Some(1), "it is served");
    /// assert_eq!(cache.get_with("rate", || 2), 2, "until a caller has reloaded it");
    /// ```
    #[must_use]
    pub fn refresh_after(mut self, time: Duration) -> Self {
        self.settings.refresh_after = Some(time);
        self
    }

    /// Sets how long a value that could not be reloaded is left as it is. No caller tries again
    /// before that. Without this setting, the next caller tries again at once.
    ///
    /// ```
    /// use coeval::{Cache, ManualClock};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let minute = Duration::from_secs(60);
    /// let builder = Cache::builder().refresh_after(minute).refresh_pause(minute / 6);
    /// let cache = builder.manual_clock(&clock).build();
    /// cache.insert("rate", 1);
    /// clock.advance(minute);
    /// assert_eq!(cache.try_get_with("rate", || Err::<i32, _>("the source is down")), Ok(1));
    /// assert_eq!(cache.get_with("rate", || unreachable!("it is not tried again yet")), 1);
    /// clock.advance(minute / 6);
    /// assert_eq!(cache.get_with("rate", || 2), 2);
    /// ```
    #[must_use]
    pub fn refresh_pause(mut self, time: Duration) -> Self {
        self.settings.loads.pause = time;
        self
    }

    /// Makes messages show keys by their `Debug` output. Without this setting, messages show keys
    /// of common types (numbers, strings and the like) by `Debug`, and other keys by their hash.
    #[must_use]
    pub fn debug_keys(mut self) -> Self
    where
        K: fmt::Debug,
    {
        self.settings.name = Some(name_of);
        self
    }

    /// Limits how long callers wait for a load, counted from the beginning of the load. After that
    /// time one of the waiting callers loads with its own loader, concurrently with the first load,
    /// and the others wait for that caller. The first value to arrive is cached. A later value goes
    /// to its own caller only, as if the key had been written meanwhile.
    ///
    /// The limit uses the system's clock. A waiting thread wakes up by itself. A waiting future
    /// must be polled: give it a timeout of the runtime if no thread waits beside it. Without this
    /// setting, callers wait for as long as a load takes, except for a future that [was left
    /// alone](Cache#loading-for-futures).
    #[must_use]
    pub fn load_timeout(mut self, time: Duration) -> Self {
        self.settings.loads.limit = Some(time);
        self
    }

    /// Makes the callers that waited for a failed load load one after the other, each with all
    /// others waiting for it. There is then never more than one load of a key. If all of them fail,
    /// the last caller waits for all of them. Without this setting they load concurrently, and none
    /// waits for a second failure. To give one error to all of them, use
    /// [`load_shared`](Cache::load_shared).
    #[must_use]
    pub fn loads_in_turn(mut self) -> Self {
        self.settings.loads.tells_failures = false;
        self
    }

    /// Makes writers remove values that a [tag](Cache#tags) or an input has ended, a few each, when
    /// that pays. Without this setting, such a value keeps its memory until its key is written,
    /// loaded or evicted, or until [`maintain`](Cache::maintain) or [`collect`](Cache::collect) is
    /// called.
    ///
    /// One write in 16 visits a small part of the cache. After it finds ended values, the next
    /// writes do so, too.
    ///
    /// **A value that is loaded later does not have the tags of a value that was removed.** Use
    /// this only if loaders give their values the tags that they need
    /// ([`get_with_terms`](Cache::get_with_terms)), or if tagged values are not loaded.
    ///
    /// ```
    /// let cache = coeval::Cache::builder().sweep_ended().build();
    /// for n in 0..1000 {
    ///     cache.insert_tagged(n, n, &["tag".into()]);
    /// }
    /// cache.invalidate_tag("tag");
    /// for n in 0..20_000 {
    ///     cache.insert(1000 + n % 10, n);
    /// }
    /// assert_eq!(cache.len(), 10);
    /// ```
    #[must_use]
    pub fn sweep_ended(mut self) -> Self {
        self.settings.sweeps_ended = true;
        self
    }

    /// Makes deadlines follow a clock that moves only when it is told to, for tests.
    #[must_use]
    pub fn manual_clock(mut self, clock: &ManualClock) -> Self {
        self.settings.timer = Timer::manual(clock);
        self
    }

    /// Sets a listener, which is called once for each entry that leaves the cache. Its arguments
    /// are the key, the value, why the entry left, and the version of the commit that took it away.
    /// Evictions and expirations are commits, too.
    ///
    /// The listener runs on the thread that made that commit, when the operation is over, with
    /// nothing held. It may be slow and may use the cache. A panic of the listener is counted, and
    /// ends there. For entries that [`invalidate_all`](Cache::invalidate_all) cleared, the listener
    /// runs as later writes sweep them out. Calls for two entries that different threads took away
    /// may come in either order.
    ///
    /// A listener that uses the cache should hold a [`WeakCache`](crate::WeakCache). A [`Cache`]
    /// handle in it would keep the cache alive for ever.
    ///
    /// If the listener's own writes take entries away, it is called for these after it has
    /// returned, one after the other. Such a chain may have any length, but must come to an end.
    ///
    /// ```
    /// use coeval::{Cache, RemovalCause};
    /// use std::sync::{Arc, mpsc};
    ///
    /// let (left, leaving) = mpsc::channel();
    /// let cache = Cache::builder()
    ///     .eviction_listener(move |key: Arc<&str>, value: i32, cause, version| {
    ///         let _ = left.send((*key, value, cause, version));
    ///     })
    ///     .build();
    /// cache.insert("key", 1);
    /// let version = cache.insert("key", 2);
    /// assert_eq!(leaving.recv(), Ok(("key", 1, RemovalCause::Replaced, version)));
    /// ```
    #[must_use]
    pub fn eviction_listener<F>(mut self, listener: F) -> Self
    where
        K: Clone,
        V: Clone,
        F: Fn(Arc<K>, V, RemovalCause, Version) + Send + Sync + 'static,
    {
        self.settings.listener = Some(Arc::new(Listener::new(listener)));
        self
    }

    /// Declares what a write of a key does to other entries, in the same commit.
    ///
    /// The closure is called with each key that is written or invalidated, related keys included,
    /// but not with a key that is merely [removed](Cache::remove). Relations are thus followed to
    /// their end; they may overlap and form cycles. A commit writes each key once: the caller's own
    /// write takes precedence over a relation, and a nearer relation over a farther one.
    ///
    /// The closure runs before the commit begins, on the writer's thread, with nothing held. It may
    /// be slow and may read the cache. If it panics, nothing is written. A write that the closure
    /// makes itself is a commit of its own, and its relations are followed in turn. Nesting more
    /// than 64 deep panics with a message that names the key. Relations that lead to more keys than
    /// [`max_related`](Self::max_related) panic, too. To survive these panics, a caller catches
    /// them ([`catch_unwind`](std::panic::catch_unwind)).
    #[must_use]
    pub fn related<F>(mut self, relation: F) -> Self
    where
        F: Fn(&K, &mut Related<K, V>) + Send + Sync + 'static,
    {
        self.settings.relation = Some(Arc::new(relation));
        self
    }

    /// Limits the number of keys, beside those that the caller names, to which the relations of one
    /// commit may lead. The default is 65,536. A write whose relations lead to more keys, or never
    /// end, panics and changes nothing. The message names the key, by its hash if its type is not a
    /// common one.
    ///
    /// ```
    /// use std::panic::{AssertUnwindSafe, catch_unwind};
    ///
    /// let cache = coeval::Cache::builder()
    ///     .related(|key: &u64, related| _ = related.invalidate(key + 1))
    ///     .max_related(1000)
    ///     .build();
    /// assert!(catch_unwind(AssertUnwindSafe(|| cache.insert(1, "endless"))).is_err());
    /// assert_eq!(cache.get(&1), None);
    /// ```
    #[must_use]
    pub fn max_related(mut self, keys: usize) -> Self {
        self.settings.max_related = keys;
        self
    }

    /// Sets the hasher for keys.
    #[must_use]
    pub fn hasher<T>(self, hasher: T) -> Builder<K, V, T, R> {
        Builder { settings: self.settings, hasher, reclaimer: PhantomData }
    }

    /// Selects a reclamation scheme other than the default one; see [`reclaim`](crate::reclaim).
    #[must_use]
    pub fn reclaimer<T: Reclaim>(self) -> Builder<K, V, S, T> {
        Builder { settings: self.settings, hasher: self.hasher, reclaimer: PhantomData }
    }
}

impl<K, V, S, R> Builder<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Builds the cache.
    ///
    /// # Panics
    /// Panics if a setting makes no sense, with a message that names the setting.
    #[must_use]
    pub fn build(self) -> Cache<K, V, S, R> {
        self.try_build().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Builds the cache, or reports the setting that makes no sense.
    ///
    /// # Errors
    /// [`BuildError`] names the setting.
    pub fn try_build(self) -> Result<Cache<K, V, S, R>, BuildError> {
        self.try_engine().map(Cache::from_engine)
    }

    /// Builds the engine of the cache, which nobody else knows yet.
    pub(super) fn try_engine(self) -> Result<Arc<Engine<K, V, S, R>>, BuildError> {
        let settings = &self.settings;
        if settings.initial_capacity > MAX_INITIAL_CAPACITY {
            return Err(BuildError::InitialCapacity(settings.initial_capacity));
        }
        if settings.time_to_live == Some(Duration::ZERO) {
            return Err(BuildError::TimeToLive);
        }
        if settings.time_to_idle == Some(Duration::ZERO) {
            return Err(BuildError::TimeToIdle);
        }
        if settings.refresh_after == Some(Duration::ZERO) {
            return Err(BuildError::RefreshAfter);
        }
        if settings.loads.limit == Some(Duration::ZERO) {
            return Err(BuildError::LoadTimeout);
        }
        Ok(Arc::new(Engine::new(self.settings, self.hasher)))
    }
}

impl<K, V, S, R> fmt::Debug for Builder<K, V, S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("initial_capacity", &self.settings.initial_capacity)
            .field("max_capacity", &self.settings.max_capacity)
            .field("time_to_live", &self.settings.time_to_live)
            .field("time_to_idle", &self.settings.time_to_idle)
            .field("refresh_after", &self.settings.refresh_after)
            .field("related", &self.settings.relation.is_some())
            .finish_non_exhaustive()
    }
}

impl<K, V> Cache<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// Creates an empty cache without bounds.
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Returns the settings for a new cache.
    #[must_use]
    pub fn builder() -> Builder<K, V> {
        Builder::new()
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
