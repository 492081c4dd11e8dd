//! Entries that are computed: a write that depends on what the key holds.

use super::cache::Cache;
use super::hasher::RandomState;
use super::key::ToKey;
use crate::engine::{Computed, Decision};
use crate::reclaim::{Asymmetric, Reclaim};
use crate::relation::Terms;
use crate::version::Version;
use equivalent::Equivalent;
use std::borrow::Borrow;
use std::convert::Infallible;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::marker::PhantomData;

/// A key with the value that it has, or that an operation gave to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<T, V> {
    key: T,
    value: V,
    version: Option<Version>,
    is_fresh: bool,
    is_old_value_replaced: bool,
}

impl<T, V> Entry<T, V> {
    pub(super) fn found(key: T, value: V, version: Option<Version>) -> Self {
        Self { key, value, version, is_fresh: false, is_old_value_replaced: false }
    }

    pub(super) fn fresh(
        key: T,
        value: V,
        version: Option<Version>,
        is_old_value_replaced: bool,
    ) -> Self {
        Self { key, value, version, is_fresh: true, is_old_value_replaced }
    }

    /// Returns the key, as the caller named it.
    pub fn key(&self) -> &T {
        &self.key
    }

    /// Returns the value.
    pub fn value(&self) -> &V {
        &self.value
    }

    /// Returns the value, owned.
    pub fn into_value(self) -> V {
        self.value
    }

    /// Returns key and value, owned.
    pub fn into_pair(self) -> (T, V) {
        (self.key, self.value)
    }

    /// Returns the version of the commit that wrote the value. `None` if the value is not cached:
    /// it was loaded, and the key was written or removed meanwhile.
    pub fn version(&self) -> Option<Version> {
        self.version
    }

    /// Returns whether the operation that returned this entry made its value.
    pub fn is_fresh(&self) -> bool {
        self.is_fresh
    }

    /// Returns whether the value replaced another one.
    pub fn is_old_value_replaced(&self) -> bool {
        self.is_old_value_replaced
    }
}

/// What [`and_compute_with`](KeyEntry::and_compute_with) does with an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op<V> {
    /// Sets the key to this value, and applies its declared relations.
    Put(V),
    /// Removes the key alone. Nothing happens if it is absent.
    Remove,
    /// Leaves the entry as it is.
    Nop,
}

/// What [`and_compute_with`](KeyEntry::and_compute_with) did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompResult<T, V> {
    /// The key was absent and now has this value.
    Inserted(Entry<T, V>),
    /// The key had another value and now has this one.
    ReplacedWith(Entry<T, V>),
    /// The key had this value, which was removed.
    Removed(Entry<T, V>),
    /// The key has this value, which was left as it was.
    Unchanged(Entry<T, V>),
    /// The key was absent and was left absent.
    StillNone(T),
}

impl<T, V> CompResult<T, V> {
    /// Returns the entry that the key has now, or had until it was removed.
    pub fn into_entry(self) -> Option<Entry<T, V>> {
        match self {
            Self::Inserted(entry)
            | Self::ReplacedWith(entry)
            | Self::Removed(entry)
            | Self::Unchanged(entry) => Some(entry),
            Self::StillNone(_) => None,
        }
    }
}

/// A key whose entry is about to be computed; made by [`Cache::entry`] and
/// [`Cache::entry_by_ref`].
#[must_use = "an entry does nothing until one of its methods is called"]
pub struct KeyEntry<'c, T, Q: ?Sized, K, V, S = RandomState, R: Reclaim = Asymmetric> {
    pub(super) cache: &'c Cache<K, V, S, R>,
    pub(super) key: T,
    pub(super) terms: Option<Terms>,
    borrowed: PhantomData<fn(&Q)>,
}

/// # Computed entries
/// These methods read a key and write what follows from that, as one atomic step: the write takes
/// effect only if the key still has the version that was read. If another thread wrote the key in
/// between, the closure **runs again** with the newer value. It should therefore do nothing but
/// compute. It must not write the same key, because that would make it run without end.
///
/// Lock-free: a closure runs again only because another commit has succeeded. While it runs, no
/// memory that the cache retires is reclaimed, so it should be brief. If it panics, nothing is
/// written.
///
/// A write by these methods is like [`insert`](Self::insert): it applies the declared relations,
/// and the cache's settings determine its times. [`KeyEntry::terms`] specifies otherwise.
/// [`upsert`](Self::upsert) and [`get_and_update`](Self::get_and_update) keep the terms as they
/// were.
///
/// A value that takes long to make is *loaded*, not computed: see
/// [`KeyEntry::or_insert_with`].
impl<K, V, S, R> Cache<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Selects `key` for a method of [`KeyEntry`].
    ///
    /// ```
    /// let cache = coeval::Cache::new();
    /// let entry = cache.entry("hits".to_string()).or_insert(1);
    /// assert!(entry.is_fresh());
    /// let entry = cache.entry("hits".to_string()).or_insert(7);
    /// assert_eq!((entry.is_fresh(), *entry.value()), (false, 1));
    /// assert_eq!(entry.version(), Some(cache.version()));
    /// ```
    pub fn entry(&self, key: K) -> KeyEntry<'_, K, K, K, V, S, R> {
        KeyEntry { cache: self, key, terms: None, borrowed: PhantomData }
    }

    /// Selects a key that is borrowed. An owned key is made only if the cache does not know it.
    ///
    /// ```
    /// let cache = coeval::Cache::<String, u32>::new();
    /// cache.entry_by_ref("hits").or_default();
    /// let entry = cache.entry_by_ref("hits").and_upsert_with(|entry| {
    ///     entry.map_or(1, |entry| entry.into_value() + 1)
    /// });
    /// assert_eq!((*entry.key(), entry.into_value()), ("hits", 1));
    /// ```
    pub fn entry_by_ref<'q, Q>(&self, key: &'q Q) -> KeyEntry<'_, &'q Q, Q, K, V, S, R>
    where
        Q: Hash + Equivalent<K> + ToKey<K> + ?Sized,
    {
        KeyEntry { cache: self, key, terms: None, borrowed: PhantomData }
    }

    /// Sets `key` to what `update` makes of its present value, in one atomic step. Returns the
    /// version of the commit. The entry's deadlines and tags stay
    /// [as they were](Terms::as_it_was). O(1), lock-free; `update`
    /// [may run again](#computed-entries). Values need not be `Clone`.
    ///
    /// ```
    /// let cache = coeval::Cache::new();
    /// std::thread::scope(|scope| {
    ///     for _ in 0..4 {
    ///         scope.spawn(|| cache.upsert("hits", |hits| hits.map_or(1, |hits| hits + 1)));
    ///     }
    /// });
    /// assert_eq!(cache.get("hits"), Some(4));
    /// ```
    ///
    /// # Panics
    /// Panics if `update`, a relation's closure or the weigher does. Nothing is written then.
    pub fn upsert(&self, key: K, mut update: impl FnMut(Option<&V>) -> V) -> Version
    where
        K: Clone,
    {
        let terms = Terms::as_it_was();
        let put = |found: Option<(&V, Version)>, _| {
            Ok(Decision::Put(update(found.map(|(value, _)| value))))
        };
        let Ok(computed) =
            self.engine().compute::<K, Infallible>(&key, || key.clone(), Some(&terms), put);
        computed.written.expect("a put is a write")
    }

    /// Replaces the value of `key` by what `update` makes of it, or removes the key if that is
    /// `None`, in one atomic step. Returns the value from before, cloned. The entry's deadlines and
    /// tags stay [as they were](Terms::as_it_was). O(1), lock-free; `update`
    /// [may run again](#computed-entries). An absent key that stays absent is no write.
    ///
    /// ```
    /// let cache = coeval::Cache::new();
    /// let take_one = |left: Option<&u32>| left.and_then(|left| left.checked_sub(1));
    /// cache.insert("left", 1);
    /// assert_eq!(cache.get_and_update("left", take_one), Some(1));
    /// assert_eq!(cache.get_and_update("left", take_one), Some(0));
    /// assert_eq!(cache.get_and_update("left", take_one), None);
    /// ```
    ///
    /// # Panics
    /// Panics as [`upsert`](Self::upsert) does, and if the value's `Clone` does.
    pub fn get_and_update(
        &self,
        key: K,
        mut update: impl FnMut(Option<&V>) -> Option<V>,
    ) -> Option<V>
    where
        K: Clone,
        V: Clone,
    {
        let (terms, mut was) = (Terms::as_it_was(), None);
        let update = |found: Option<(&V, Version)>, _| {
            let found = found.map(|(value, _)| value);
            was = found.cloned();
            Ok(update(found).map_or(Decision::Remove, Decision::Put))
        };
        let Ok(_) =
            self.engine().compute::<K, Infallible>(&key, || key.clone(), Some(&terms), update);
        was
    }
}

impl<T, Q, K, V, S, R> KeyEntry<'_, T, Q, K, V, S, R>
where
    T: Borrow<Q>,
    Q: Hash + Equivalent<K> + ToKey<K> + ?Sized,
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Gives these terms to the value that the next method writes: how long it is kept, and its
    /// tags, or that all of this stays as it was.
    ///
    /// ```
    /// use coeval::{Cache, Terms};
    ///
    /// let cache = Cache::new();
    /// cache.insert_tagged("cart", 1, &["tenant:7".into()]);
    /// cache.entry("cart").terms(Terms::as_it_was()).and_upsert_with(|_| 2);
    /// cache.invalidate_tag("tenant:7");
    /// assert_eq!(cache.get("cart"), None);
    /// ```
    pub fn terms(mut self, terms: Terms) -> Self {
        self.terms = Some(terms);
        self
    }

    /// Returns the entry, with `default` as its value if the key is absent. Lock-free. Of several
    /// callers at the same time, one inserts its value and all others get that one.
    pub fn or_insert(self, default: V) -> Entry<T, V> {
        self.or_insert_with_if(|| default, |_| false)
    }

    /// Does the same with the type's default value.
    pub fn or_default(self) -> Entry<T, V>
    where
        V: Default,
    {
        self.or_insert_with_if(V::default, |_| false)
    }

    /// Returns the entry, with the value of `init` if the key is absent or `replace_if` says that
    /// its value is to be replaced. Lock-free. Calls `init` at most once, but each of several
    /// callers at the same time may call its own; one of the values is set. `replace_if`
    /// [may run again](Cache#computed-entries).
    ///
    /// ```
    /// let cache = coeval::Cache::new();
    /// cache.insert("limit", 3);
    /// let entry = cache.entry("limit").or_insert_with_if(|| 10, |limit| *limit < 5);
    /// assert_eq!((*entry.value(), entry.is_old_value_replaced()), (10, true));
    /// assert!(!cache.entry("limit").or_insert_with_if(|| 20, |limit| *limit < 5).is_fresh());
    /// ```
    ///
    /// # Panics
    /// Panics if a closure, a value's `Clone`, a relation's closure or the weigher does. Nothing is
    /// written then.
    pub fn or_insert_with_if(
        self,
        init: impl FnOnce() -> V,
        mut replace_if: impl FnMut(&V) -> bool,
    ) -> Entry<T, V> {
        let (mut init, mut made, mut value) = (Some(init), None, None);
        let computed = self.compute(|found, refused| {
            made = refused.or(made.take());
            if let Some((found, _)) = found
                && !replace_if(found)
            {
                value = Some(found.clone());
                return Decision::Keep;
            }
            let new = made.take().unwrap_or_else(|| init.take().expect("it is called once")());
            value = Some(new.clone());
            Decision::Put(new)
        });
        let value = value.expect("the closure has run");
        match computed.written {
            None => Entry::found(self.key, value, computed.before),
            written => Entry::fresh(self.key, value, written, computed.before.is_some()),
        }
    }

    /// Sets the key to what `update` makes of its present entry. Lock-free; `update`
    /// [may run again](Cache#computed-entries).
    ///
    /// ```
    /// let cache = coeval::Cache::new();
    /// cache.insert("sum", 1);
    /// let entry = cache.entry("sum").and_upsert_with(|entry| {
    ///     entry.map_or(2, |entry| entry.into_value() + 2)
    /// });
    /// assert_eq!((entry.is_old_value_replaced(), entry.into_value()), (true, 3));
    /// ```
    ///
    /// # Panics
    /// Panics as [`or_insert_with_if`](Self::or_insert_with_if) does.
    pub fn and_upsert_with(self, mut update: impl FnMut(Option<Entry<&Q, V>>) -> V) -> Entry<T, V> {
        let done = self.and_compute_with(|entry| Op::Put(update(entry)));
        done.into_entry().expect("a put leaves an entry")
    }

    /// Lets `decide` look at the present entry and set, remove or leave it. Lock-free; `decide`
    /// [may run again](Cache#computed-entries). The result says what happened.
    ///
    /// ```
    /// use coeval::{Cache, CompResult, Op};
    ///
    /// let cache = Cache::new();
    /// // A counter that ends at two.
    /// let count = || {
    ///     cache.entry("key").and_compute_with(|entry| match entry.map(|e| e.into_value()) {
    ///         None => Op::Put(1),
    ///         Some(1) => Op::Put(2),
    ///         Some(_) => Op::Remove,
    ///     })
    /// };
    /// assert!(matches!(count(), CompResult::Inserted(entry) if *entry.value() == 1));
    /// assert!(matches!(count(), CompResult::ReplacedWith(entry) if *entry.value() == 2));
    /// assert!(matches!(count(), CompResult::Removed(entry) if *entry.value() == 2));
    /// assert_eq!(cache.get("key"), None);
    /// ```
    ///
    /// # Panics
    /// Panics as [`or_insert_with_if`](Self::or_insert_with_if) does.
    pub fn and_compute_with(
        self,
        mut decide: impl FnMut(Option<Entry<&Q, V>>) -> Op<V>,
    ) -> CompResult<T, V> {
        let Ok(done) = self.and_try_compute_with(|entry| Ok::<_, Infallible>(decide(entry)));
        done
    }

    /// Does the same with a closure that may fail. An error changes nothing.
    ///
    /// # Panics
    /// Panics as [`or_insert_with_if`](Self::or_insert_with_if) does.
    ///
    /// # Errors
    /// Returns the error of `decide`.
    pub fn and_try_compute_with<E>(
        self,
        mut decide: impl FnMut(Option<Entry<&Q, V>>) -> Result<Op<V>, E>,
    ) -> Result<CompResult<T, V>, E> {
        let (mut was, mut put) = (None, None);
        let computed = self.try_compute(|found, _| {
            was = found.map(|(value, _)| value.clone());
            let entry = found.map(|(value, version)| {
                Entry::found(self.key.borrow(), value.clone(), Some(version))
            });
            Ok(match decide(entry)? {
                Op::Nop => Decision::Keep,
                Op::Remove => Decision::Remove,
                Op::Put(value) => {
                    put = Some(value.clone());
                    Decision::Put(value)
                }
            })
        })?;
        let (key, Computed { before, written }) = (self.key, computed);
        Ok(match (was, put, written) {
            (was, Some(put), Some(_)) => {
                let entry = Entry::fresh(key, put, written, was.is_some());
                match was {
                    None => CompResult::Inserted(entry),
                    Some(_) => CompResult::ReplacedWith(entry),
                }
            }
            (Some(was), _, Some(_)) => CompResult::Removed(Entry::found(key, was, before)),
            (Some(was), _, None) => CompResult::Unchanged(Entry::found(key, was, before)),
            (None, ..) => CompResult::StillNone(key),
        })
    }

    fn compute(
        &self,
        mut decide: impl FnMut(Option<(&V, Version)>, Option<V>) -> Decision<V>,
    ) -> Computed {
        let Ok(computed) =
            self.try_compute(|found, refused| Ok::<_, Infallible>(decide(found, refused)));
        computed
    }

    fn try_compute<E>(
        &self,
        decide: impl FnMut(Option<(&V, Version)>, Option<V>) -> Result<Decision<V>, E>,
    ) -> Result<Computed, E> {
        let (engine, key) = (self.cache.engine(), self.key.borrow());
        engine.compute::<Q, E>(key, || key.to_key(), self.terms.as_ref(), decide)
    }
}

impl<T: fmt::Debug, Q: ?Sized, K, V, S, R: Reclaim> fmt::Debug for KeyEntry<'_, T, Q, K, V, S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyEntry").field("key", &self.key).finish_non_exhaustive()
    }
}
