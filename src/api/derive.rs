//! Derived values: computed from other entries, and ended when one of these changes.

use super::cache::Cache;
use super::give::{LoadRefusal, ValueOrPanic, panic_on_cycle};
use super::hasher::RandomState;
use crate::chain::{Parcel, write_on_heap};
use crate::engine::{Claim, LoadDecision, Reading, single};
use crate::reclaim::{Asymmetric, Reclaim};
use equivalent::Equivalent;
use std::convert::Infallible;
use std::fmt;
use std::hash::{BuildHasher, Hash};

/// # Deriving
/// A closure computes a derived value from other entries of the cache. The value is available as
/// long as each of these entries is unchanged, present or absent. A commit that changes one of
/// them ends, in that same step, all values derived from it, through any number of levels, at no
/// extra cost. No reader sees the new input beside the old derived value: no look-up, no view and
/// no `get_many`.
///
/// An ended value is absent for every reader. It counts in [`len`](Self::len) and
/// [`weighted_size`](Self::weighted_size) until it is derived again, written, removed or evicted,
/// or until [`maintain`](Self::maintain) or [`collect`](Self::collect) removes it. Writers remove
/// it only if the cache was [built](crate::Builder::sweep_ended) so.
impl<K, V, S, R> Cache<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns the value of `key`, cloned. Derives it if there is none.
    ///
    /// All reads of `compute` through the scope are as of one version, so it never sees entries
    /// that do not belong together. Each entry read through the scope becomes a dependency of the
    /// value. What `compute` reads elsewhere does not.
    ///
    /// A value derived during the call ([`Scope::derive`]) counts as set for all later reads, so
    /// each key is derived once. One commit sets all the values at the end.
    ///
    /// If the new value is equal to the one that had ended, the values derived from that one are
    /// available again as they are: a change that makes no difference goes no further.
    ///
    /// ```
    /// let cache = coeval::Cache::new();
    /// cache.insert("width", 3);
    /// cache.insert("height", 4);
    /// let area = || {
    ///     cache.derive("area", |scope| {
    ///         scope.get(&"width").unwrap_or(0) * scope.get(&"height").unwrap_or(0)
    ///     })
    /// };
    /// assert_eq!(area(), 12);
    /// assert_eq!(cache.get("area"), Some(12));
    /// cache.insert("height", 5);
    /// assert_eq!(cache.get("area"), None, "the commit that changed the height ended it");
    /// assert_eq!(area(), 15);
    /// ```
    ///
    /// Of the callers that want the value, one computes it while the others wait for it, as in
    /// [`get_with`](Self::get_with). If something that was read is written meanwhile, the value
    /// goes to its caller (it was right during the call), and no other reader sees it.
    ///
    /// A hit takes time proportional to the number of dependencies, plus their own dependencies as
    /// far as they are derived.
    ///
    /// # Panics
    /// Panics if `compute` does, or if a value is needed to derive itself.
    #[track_caller]
    pub fn derive(&self, key: K, compute: impl FnOnce(&mut Scope<'_, K, V, S, R>) -> V) -> V
    where
        V: PartialEq,
    {
        let mut place = Parcel::empty();
        place.put(compute);
        let derive = |cache: &Self, key| cache.derive_absent(key, &mut place);
        self.hit_or(key, V::clone, derive, ValueOrPanic)
    }

    #[cold]
    #[inline(never)]
    fn derive_absent(
        &self,
        key: K,
        compute: &mut Parcel<impl FnOnce(&mut Scope<'_, K, V, S, R>) -> V>,
    ) -> Result<Box<[V]>, LoadRefusal<Infallible>>
    where
        V: PartialEq,
    {
        match self.join_or_lead([key]) {
            LoadDecision::Found(values) => Ok(values),
            LoadDecision::Cycle(key) => Err(LoadRefusal::Cycle(key)),
            LoadDecision::Load(mut leading) => {
                let view = leading.view();
                let mut derivation = leading.derivation();
                let mut scope = Scope::new(Reading::new(view.snapshot(), &mut derivation));
                let value = leading.during(|| scope.run(compute));
                Ok(leading.finish_derived(single(value), scope.reading))
            }
        }
    }
}

/// The cache as of one version, with the values derived so far; passed to the closure of
/// [`derive`](Cache::derive). What the closure reads through it becomes a dependency.
pub struct Scope<'s, K, V, S = RandomState, R: Reclaim = Asymmetric> {
    reading: Reading<'s, K, V, S, R>,
}

impl<'s, K, V, S, R> Scope<'s, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    pub(crate) fn new(reading: Reading<'s, K, V, S, R>) -> Self {
        Self { reading }
    }

    #[cfg(feature = "async")]
    pub(crate) fn into_reading(self) -> Reading<'s, K, V, S, R> {
        self.reading
    }

    /// Returns the value of `key`, cloned. An absence is a dependency, too.
    pub fn get<Q>(&mut self, key: &Q) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ToOwned<Owned = K> + ?Sized,
    {
        self.reading.get(key, || key.to_owned())
    }

    /// Returns the values of several keys. All reads of a scope are as of one version in any case.
    pub fn get_many<Q, const N: usize>(&mut self, keys: [&Q; N]) -> [Option<V>; N]
    where
        Q: Hash + Equivalent<K> + ToOwned<Owned = K> + ?Sized,
    {
        keys.map(|key| self.get(key))
    }

    /// Returns the value of `key`, cloned. If the key holds none and was not already derived
    /// during the call, derives the value, for the cache too.
    ///
    /// The commit that sets the value of the outermost call sets this value, too. If that call
    /// panics, or its future is dropped, nothing is set.
    ///
    /// ```
    /// use coeval::{Cache, Scope};
    ///
    /// let cache: Cache<String, i64> = Cache::new();
    /// cache.insert("price".to_string(), 100);
    /// fn with_tax(scope: &mut Scope<String, i64>) -> i64 {
    ///     scope.get("price").unwrap_or(0) * 119 / 100
    /// }
    /// let total = cache.derive("total".to_string(), |scope| {
    ///     5 + scope.derive("with tax".to_string(), with_tax)
    /// });
    /// assert_eq!(total, 124);
    /// assert_eq!(cache.get("with tax"), Some(119));
    /// cache.insert("price".to_string(), 200);
    /// assert_eq!((cache.get("with tax"), cache.get("total")), (None, None));
    /// ```
    ///
    /// # Panics
    /// Panics if `compute` does, or if `key` is needed to derive itself.
    pub fn derive(&mut self, key: K, compute: impl FnOnce(&mut Scope<'_, K, V, S, R>) -> V) -> V
    where
        V: PartialEq,
    {
        let claim = self.claim(key);
        if let Some(value) = self.reading.get_claimed(claim.lease()) {
            return value.clone();
        }
        {
            let mut place = Parcel::empty();
            place.put(compute);
            let mut inner = Scope::new(self.reading.nested(claim.lease()));
            let value = inner.run(&mut place);
            inner.reading.finish(claim.lease(), value);
        }
        self.reading.get_claimed(claim.lease()).expect("the value was derived just now").clone()
    }

    /// Runs a closure and puts its result on the heap.
    #[inline(never)] // as `on_heap`
    fn run(&mut self, compute: &mut Parcel<impl FnOnce(&mut Self) -> V>) -> Box<V> {
        write_on_heap(|| compute.take()(self))
    }

    /// Derives a value as [`derive`](Self::derive) does, with an async closure.
    ///
    /// # Panics
    /// Panics as `derive` does.
    #[cfg(feature = "async")]
    #[cfg_attr(docsrs, doc(cfg(feature = "async")))]
    pub async fn derive_async(
        &mut self,
        key: K,
        compute: impl AsyncFnOnce(&mut Scope<'_, K, V, S, R>) -> V,
    ) -> V
    where
        V: PartialEq,
    {
        let claim = self.claim(key);
        if let Some(value) = self.reading.get_claimed(claim.lease()) {
            return value.clone();
        }
        {
            let mut inner = Scope::new(self.reading.nested(claim.lease()));
            let value = compute(&mut inner).await;
            let mut place = Parcel::empty();
            place.put(value);
            inner.reading.finish(claim.lease(), place.take_to_heap());
        }
        self.reading.get_claimed(claim.lease()).expect("the value was derived just now").clone()
    }

    /// Returns a claim on `key` for deriving it.
    fn claim(&self, key: K) -> Claim<'s, K, V, S, R> {
        let claim = self.reading.claim(key);
        if self.reading.is_cycle(claim.lease()) {
            panic_on_cycle(&claim.name(), None)
        }
        claim
    }
}

impl<K, V, S, R: Reclaim> fmt::Debug for Scope<'_, K, V, S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").finish_non_exhaustive()
    }
}
