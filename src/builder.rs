//! How a cache is set up.

use crate::cache::Cache;
use crate::engine::{Engine, Listener, Settings, name_of};
use crate::error::BuildError;
use crate::hasher::RandomState;
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
    settings: Settings<K, V>,
    hasher: S,
    reclaimer: PhantomData<fn() -> R>,
}

impl<K, V> Builder<K, V> {
    pub(crate) fn new() -> Self {
        Self {
            settings: Settings::default(),
            hasher: RandomState::default(),
            reclaimer: PhantomData,
        }
    }
}

impl<K, V, S, R> Builder<K, V, S, R> {
    /// Makes room for that many entries: the index need not grow on the way there, and if they are thousands each is put where its
    /// key's hash says, so that a look-up waits for one cache miss instead of two (most are; some find that place taken).
    ///
    /// In bytes that is 16 to 32 an entry for the index, and 9/8 of what an entry takes (50 or so, for keys and values of eight).
    /// The system gives the memory page by page when it is first written; that is soon, as entries are scattered over it. So say
    /// what there will be, not what there might be. More entries than that are no worse off than without.
    #[must_use]
    pub fn initial_capacity(mut self, entries: usize) -> Self {
        self.settings.initial_capacity = entries;
        self
    }

    /// Bounds what all entries weigh: by the [weigher](Self::weigher), else each for one.
    ///
    /// The writers keep the bound themselves: while an operation that brings an entry is under way, the bound may be
    /// exceeded by what it brings, and by no more. Who brings an entry evicts until there is room for it, so a heavy one may
    /// take time in proportion to the lighter ones that go for it (each of which was paid for when it came, and counts for one
    /// at least). A write that finds the bound exceeded, as somebody stopped in the middle of that, evicts up to 32 entries.
    /// An eviction is a commit of its own: views that were opened before go on showing the entry, and nobody sees an older
    /// value instead.
    ///
    /// Which entry goes is decided by an adaptive policy (`docs/decisions.md` has its hit ratios). It is none that the
    /// operation at hand brings, as long as others are left: an entry stays at least until its thread brings another
    /// one ([`insert`](Cache::insert) says more). An entry that alone is heavier than the bound goes at once; with a bound
    /// of zero, every one does. What weighs zero is not evicted to make room, whatever the bound is, and the number of such
    /// entries is not bounded: a weigher that says zero of everything makes no bound at all.
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

    /// Says what an entry weighs. Called once for each value that is written, by the writer, before its
    /// commit begins; it may be slow, and panic: then nothing is written. What weighs zero is not evicted to make room.
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

    /// Has every entry be absent again when it was written so long ago. What one commit writes ends at one
    /// time.
    ///
    /// A look-up after that never returns it; the memory comes back by later writes, each of which
    /// sees to a few entries, without anybody asking for them.
    #[must_use]
    pub fn time_to_live(mut self, time: Duration) -> Self {
        self.settings.time_to_live = Some(time);
        self
    }

    /// Has every entry be absent again when it was not read or written for so long. Reads by
    /// [views](crate::View) and [`contains_key`](Cache::contains_key) do not count. To spare hits the writing, a use
    /// may be taken for one that was a thousandth of this time earlier.
    #[must_use]
    pub fn time_to_idle(mut self, time: Duration) -> Self {
        self.settings.time_to_idle = Some(time);
        self
    }

    /// Has a value that was written so long ago be loaded anew by the next caller of [`get_with`](Cache::get_with) or
    /// its kin. Exactly one caller loads; the others, and all other reads, get the present value meanwhile, and so does
    /// the one whose loader fails. What was loaded is written only if the key was not written since.
    ///
    /// A value that ends before that is loaded as any that is absent. So if this is no shorter than the
    /// [time to live](Self::time_to_live), which is not refused, only values with a longer time of
    /// [their own](Cache::insert_with_ttl) are refreshed.
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
    /// assert_eq!(cache.get_with("rate", || 2), 2, "until somebody has loaded it anew");
    /// ```
    #[must_use]
    pub fn refresh_after(mut self, time: Duration) -> Self {
        self.settings.refresh_after = Some(time);
        self
    }

    /// Has a value that could not be loaded anew be left as it is for so long: nobody tries again before. Without it the
    /// next caller does, at once.
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

    /// Has messages show keys by their `Debug`. Without it they show keys of common types so (numbers, strings and the
    /// like), and others by their hash.
    #[must_use]
    pub fn debug_keys(mut self) -> Self
    where
        K: fmt::Debug,
    {
        self.settings.name = Some(name_of);
        self
    }

    /// Has nobody wait for a load that was begun so long ago. One of those who wait then loads beside it, by its own
    /// loader, and the others wait for that one; what is brought first is cached, and what is brought later is for its
    /// own caller, as if the key had been written meanwhile.
    ///
    /// It goes by the system's clock. A thread that waits wakes up by itself. A future that waits must be polled: give it
    /// a time-out of the runtime's where no thread waits beside it. Without this setting a load is waited for as long as it
    /// takes, but for a future that [was left alone](Cache#loading-for-futures).
    #[must_use]
    pub fn load_timeout(mut self, time: Duration) -> Self {
        self.settings.loads.limit = Some(time);
        self
    }

    /// Has those who waited for a load that failed load one after the other, each with all others waiting for it: there is
    /// never more than one load of a key, and if all fail the last caller waits for all of them. Without it they
    /// load beside each other, and none waits for a second failure. Where one error is to be for all of them, see
    /// [`load_shared`](Cache::load_shared).
    #[must_use]
    pub fn loads_in_turn(mut self) -> Self {
        self.settings.loads.tells_failures = false;
        self
    }

    /// Has deadlines go by a clock that only moves when it is told to, for tests.
    #[must_use]
    pub fn manual_clock(mut self, clock: &ManualClock) -> Self {
        self.settings.timer = Timer::manual(clock);
        self
    }

    /// Has `listener` told of each entry that leaves, once: its key and value, why it left, and the version of
    /// the commit that took it away (evictions and expirations are commits, too).
    ///
    /// It runs on the thread that made that commit, when the operation is over, with nothing held: it may be slow,
    /// and use the cache. If it panics, that is counted, and ends there. Of what
    /// [`invalidate_all`](Cache::invalidate_all) cleared it is told as later writes sweep it out. Two entries that
    /// different threads took away may be told of in either order.
    ///
    /// A listener that uses the cache has a [`WeakCache`](crate::WeakCache): with a handle it would keep the cache for ever.
    ///
    /// What its own writes take away it is told when it has returned, one after the other: such a chain may have any length,
    /// but has to come to an end.
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
    /// The closure is called with each key that is written or invalidated (not with one that is merely
    /// [removed](Cache::remove)), the related ones included, so relations are followed to their end; they may
    /// overlap and form cycles. Each key is written once in a commit: what the caller wrote comes
    /// before what a relation says, a nearer relation before a farther one.
    ///
    /// The closure runs before the commit begins, on the writer's thread, with nothing held. It may be
    /// slow, read the cache, and panic: then nothing is written. What it writes itself is a commit of its own, whose relations
    /// are asked in turn: more than 64 deep, that is a panic, which names the key. Relations that lead to more keys than
    /// [`max_related`](Self::max_related) are one as well; a caller that is to survive them catches it
    /// ([`catch_unwind`](std::panic::catch_unwind)).
    #[must_use]
    pub fn related<F>(mut self, relation: F) -> Self
    where
        F: Fn(&K, &mut Related<K, V>) + Send + Sync + 'static,
    {
        self.settings.relation = Some(Arc::new(relation));
        self
    }

    /// Bounds to how many keys, beside those that the caller names, the relations of one commit may lead: 65,536, unless this
    /// says otherwise. A write whose relations lead to more, or never come to an end, panics with a message that names the
    /// key (by its hash, if it is not of a common type), and changes nothing.
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

    /// Hashes keys with `hasher`.
    #[must_use]
    pub fn hasher<T>(self, hasher: T) -> Builder<K, V, T, R> {
        Builder { settings: self.settings, hasher, reclaimer: PhantomData }
    }

    /// Reclaims memory by another scheme than the default one; see [`reclaim`](crate::reclaim).
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
        let engine = Engine::new(self.settings, self.hasher);
        Ok(Cache::from_engine(Arc::new(engine)))
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
