//! Loading by loaders that decide how long their values are kept.

use super::cache::Cache;
use super::give::{LoadRefusal, failure, panic_on_cycle};
use super::load::PresentGroup;
use crate::engine::{Load, LoadDecision, LoadedTerms, one};
use crate::error::LoadError;
use crate::reclaim::Reclaim;
use crate::relation::{Tag, Terms};
use std::convert::Infallible;
use std::hash::{BuildHasher, Hash};
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

/// A loaded value with its terms, for [`Cache::get_with_terms`] and similar methods.
///
/// Terms that are not set follow the cache's settings. Without tags of its own, the value has those
/// of the value that it replaces.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a loaded value has an effect only if the loader returns it"]
pub struct Loaded<V> {
    value: V,
    terms: LoadedTerms,
}

impl<V> Loaded<V> {
    /// Creates a loaded value with the terms of the cache's settings.
    pub fn new(value: V) -> Self {
        Self { value, terms: LoadedTerms::default() }
    }

    /// Sets the time after which the key is absent again.
    pub fn ttl(self, time: Duration) -> Self {
        self.change(|terms| terms.time_to_live(time))
    }

    /// Sets the time without use after which the key is absent again.
    pub fn idle(self, time: Duration) -> Self {
        self.change(|terms| terms.time_to_idle(time))
    }

    /// Sets the [tags](Cache#tags), in place of all others.
    pub fn tags<T: Into<Tag>>(self, tags: impl IntoIterator<Item = T>) -> Self {
        self.change(|terms| terms.tags(tags))
    }

    /// Sets the weight, in place of what the [weigher](crate::Builder::weigher) says. Has no effect
    /// in a cache without a weigher, where each entry weighs 1.
    pub fn weight(mut self, weight: u32) -> Self {
        self.terms.weight = Some(weight);
        self
    }

    /// Sets all terms that [`Terms`] can specify.
    pub fn terms(self, terms: Terms) -> Self {
        self.change(|_| terms)
    }

    /// Keeps the terms, and sets the value to what `change` makes of it.
    ///
    /// ```
    /// use coeval::Loaded;
    /// use std::time::Duration;
    ///
    /// let minute = || Loaded::new(()).ttl(Duration::from_secs(60));
    /// assert_eq!(minute().map(|()| 7).into_value(), 7);
    /// ```
    pub fn map<T>(self, change: impl FnOnce(V) -> T) -> Loaded<T> {
        Loaded { value: change(self.value), terms: self.terms }
    }

    /// Returns the value.
    pub fn into_value(self) -> V {
        self.value
    }

    fn change(mut self, change: impl FnOnce(Terms) -> Terms) -> Self {
        self.terms.terms = change(self.terms.terms);
        self
    }

    fn into_parts(self) -> (V, Option<LoadedTerms>) {
        (self.value, Some(self.terms))
    }
}

impl<V> From<V> for Loaded<V> {
    fn from(value: V) -> Self {
        Self::new(value)
    }
}

/// # Loading, on terms that the loader decides
/// These methods work as the [loading](#loading) methods of similar names. The loader returns its
/// value as [`Loaded`], which says how long it is kept, what it weighs, and its tags.
///
/// Tags that a loader gives count from the beginning of its load. If one of them is invalidated
/// during the load, the value goes to its caller and is not cached, even if no entry had the tag
/// before. So an invalidation of a tag misses no value that was read before it. (Now and then a
/// value is refused without need, because another tag was invalidated.)
impl<K, V, S, R> Cache<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns the value of `key` as [`get_with`](Self::get_with) does. Its loader also decides the
    /// terms of the value.
    ///
    /// ```
    /// use coeval::{Cache, Loaded, ManualClock};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let cache = Cache::builder().manual_clock(&clock).build();
    /// let token = || Loaded::new("secret").ttl(Duration::from_secs(60)).tags(["user:7"]);
    /// assert_eq!(cache.get_with_terms("token", token), "secret");
    /// cache.invalidate_tag("user:7");
    /// assert_eq!(cache.get("token"), None);
    ///
    /// cache.get_with_terms("token", token);
    /// clock.advance(Duration::from_secs(60));
    /// assert_eq!(cache.get("token"), None);
    /// ```
    ///
    /// # Panics
    /// Panics as `get_with` does.
    #[track_caller]
    pub fn get_with_terms(&self, key: K, load: impl FnOnce() -> Loaded<V>) -> V {
        match self.obtain_on_terms(key, || Ok::<_, Infallible>(load())) {
            Ok(value) => value,
            Err(LoadRefusal::Cycle(key)) => panic_on_cycle(&key, Some(Location::caller())),
        }
    }

    /// Returns the value of `key` as [`try_get_with`](Self::try_get_with) does. Its loader also
    /// decides the terms of the value.
    ///
    /// # Panics
    /// Panics as `get_with` does.
    ///
    /// # Errors
    /// Returns the error of the loader.
    #[track_caller]
    pub fn try_get_with_terms<E>(
        &self,
        key: K,
        load: impl FnOnce() -> Result<Loaded<V>, E>,
    ) -> Result<V, Arc<E>> {
        failure(self.obtain_on_terms(key, load), |value| value, Location::caller())
    }

    /// Returns the value of `key` as [`load`](Self::load) does. Its loader also decides the terms
    /// of the value.
    ///
    /// ```
    /// use coeval::{Cache, Loaded};
    /// use std::time::Duration;
    ///
    /// // What is not there is remembered for a shorter time than what is there.
    /// let cache: Cache<&str, Option<u32>> = Cache::new();
    /// let found = cache.load_with_terms("key", || {
    ///     let row: Option<u32> = None; // from the source
    ///     Ok::<_, std::io::Error>(match row {
    ///         Some(row) => Loaded::new(Some(row)).ttl(Duration::from_secs(600)),
    ///         None => Loaded::new(None).ttl(Duration::from_secs(10)),
    ///     })
    /// })?;
    /// assert_eq!((found, cache.get("key")), (None, Some(None)));
    /// # Ok::<(), coeval::LoadError<std::io::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`LoadError`]: the error of the loader, or a cycle.
    pub fn load_with_terms<E>(
        &self,
        key: K,
        load: impl FnOnce() -> Result<Loaded<V>, E>,
    ) -> Result<V, LoadError<E>> {
        Ok(self.obtain_on_terms(key, load)?)
    }

    /// Returns a future for [`load_with_terms`](Self::load_with_terms), with a future as the
    /// loader. The loader is kept on the heap.
    ///
    /// # Errors
    /// [`LoadError`]: the error of the given future, or a cycle.
    #[cfg(feature = "async")]
    #[cfg_attr(docsrs, doc(cfg(feature = "async")))]
    pub fn load_with_terms_async<E>(
        &self,
        key: K,
        load: impl Future<Output = Result<Loaded<V>, E>>,
    ) -> impl Future<Output = Result<V, LoadError<E>>> {
        let mut load = Box::pin(load);
        async move {
            let mut leading = match self.hit(&key) {
                Ok(value) => return Ok(value),
                Err(Some(old)) => {
                    let refresh =
                        old.is_stale.then(|| self.engine().claim_all([key]).refresh(None));
                    let Some(mut refresh) = refresh.flatten() else { return Ok(one(old.values)) };
                    let poll = std::future::poll_fn(|cx| refresh.during(|| load.as_mut().poll(cx)));
                    let loaded = poll.await;
                    drop(load); // the next load may want what it holds
                    return finish_or_keep(refresh, loaded).map_err(LoadError::Failed);
                }
                Err(None) => match self.join_or_lead_async([key]).await {
                    LoadDecision::Found(values) => return Ok(one(values)),
                    LoadDecision::Cycle(_) => return Err(LoadError::Cycle),
                    LoadDecision::Load(leading) => leading,
                },
            };
            let poll = std::future::poll_fn(|cx| leading.during(|| load.as_mut().poll(cx)));
            let loaded = poll.await;
            drop(load); // as above
            finish(leading, loaded).map_err(LoadError::Failed)
        }
    }

    /// Returns the value of `key`, if it is present and not due for reloading. Otherwise returns
    /// the old value, if there is one.
    fn hit(&self, key: &K) -> Result<V, Option<PresentGroup<V>>> {
        if self.is_refresh_due([key]) {
            return Err(self.present([key]));
        }
        self.get(key).ok_or(None)
    }

    fn obtain_on_terms<E>(
        &self,
        key: K,
        load: impl FnOnce() -> Result<Loaded<V>, E>,
    ) -> Result<V, LoadRefusal<E>> {
        let old = match self.hit(&key) {
            Ok(value) => {
                drop(key); // as in `get_with`
                return Ok(value);
            }
            Err(old) => old,
        };
        if let Some(PresentGroup { values, is_stale }) = old {
            let refresh = is_stale.then(|| self.engine().claim_all([key]).refresh(None));
            let Some(mut refresh) = refresh.flatten() else { return Ok(one(values)) };
            let loaded = refresh.during(load);
            return finish_or_keep(refresh, loaded).map_err(LoadRefusal::Failed);
        }
        match self.join_or_lead([key]) {
            LoadDecision::Found(values) => Ok(one(values)),
            LoadDecision::Cycle(key) => Err(LoadRefusal::Cycle(key)),
            LoadDecision::Load(mut leading) => {
                let loaded = leading.during(load);
                finish(leading, loaded).map_err(LoadRefusal::Failed)
            }
        }
    }
}

/// Ends a load. Returns the value, cached or not.
fn finish<K, V, S, R, E>(
    load: Load<'_, K, V, S, R, 1>,
    loaded: Result<Loaded<V>, E>,
) -> Result<V, E>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    load.finish_on_terms(loaded.map(Loaded::into_parts)).map(|(value, _)| value)
}

/// Ends a reload. If it failed, returns the value that the key holds by then, or the error if it
/// holds none.
fn finish_or_keep<K, V, S, R, E>(
    load: Load<'_, K, V, S, R, 1>,
    loaded: Result<Loaded<V>, E>,
) -> Result<V, E>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    match loaded {
        Ok(loaded) => finish(load, Ok(loaded)),
        Err(error) => load.finish_or_keep(Err(error)).map(one),
    }
}
