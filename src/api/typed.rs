//! Several kinds of value in one cache, each with a face of its own.

use super::cache::Cache;
use super::derive::Scope;
use super::entry::Op;
use super::key::ToKey;
use super::transaction::Transaction;
use super::view::View;
use crate::error::LoadError;
use crate::reclaim::Reclaim;
use crate::relation::Terms;
use crate::version::Version;
use equivalent::Equivalent;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::marker::PhantomData;
use std::sync::Arc;

/// One kind of value among the several that a cache of `V`s holds; [`kinds!`](crate::kinds)
/// implements it for each variant of an enum.
///
/// What `into_value` returns is of this kind: `of` returns what it was made of.
pub trait Kind<V>: Sized {
    /// Returns the value for the cache.
    fn into_value(self) -> V;

    /// Returns what a value of the cache was made of, if it is of this kind.
    fn of(value: &V) -> Option<&Self>;
}

/// Declares an enum with one variant for each [kind](crate::Kind) of value, each of its own type.
/// `From` makes a value of what a variant holds, and [`typed`](crate::Cache::typed) takes it out.
///
/// ```
/// use coeval::Cache;
///
/// #[derive(Clone, Debug, PartialEq)]
/// struct User {
///     name: String,
/// }
///
/// coeval::kinds! {
///     /// What the cache holds.
///     #[derive(Clone, Debug, PartialEq)]
///     enum Entry {
///         User(User),
///         Visits(u64),
///     }
/// }
///
/// let cache: Cache<String, Entry> = Cache::new();
/// cache.typed().insert("user:7".to_string(), User { name: "Ada".to_string() });
/// assert_eq!(cache.typed::<User>().get("user:7").map(|user| user.name).as_deref(), Some("Ada"));
/// assert_eq!(cache.typed::<u64>().get("user:7"), None, "it is of another kind");
///
/// let visit = cache.atomically(|tx| {
///     let user = tx.typed::<User>().get("user:7")?;
///     let visits = tx.typed().get("visits:7").unwrap_or(0) + 1;
///     tx.typed().insert("visits:7".to_string(), visits);
///     tx.typed().insert("user:7".to_string(), User { name: format!("{} ({visits})", user.name) });
///     Some(visits)
/// })?;
/// assert_eq!(visit.value, Some(1));
/// assert_eq!(cache.get_versioned("visits:7"), Some((Entry::Visits(1), visit.version)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[macro_export]
macro_rules! kinds {
    (
        $(#[$attribute:meta])*
        $visibility:vis enum $name:ident {
            $($(#[$of_variant:meta])* $variant:ident($kind:ty)),+ $(,)?
        }
    ) => {
        $(#[$attribute])*
        $visibility enum $name {
            $($(#[$of_variant])* $variant($kind),)+
        }

        $(
            impl $crate::Kind<$name> for $kind {
                fn into_value(self) -> $name {
                    $name::$variant(self)
                }

                fn of(value: &$name) -> Option<&Self> {
                    #[allow(unreachable_patterns)] // of an enum with one variant
                    match value {
                        $name::$variant(value) => Some(value),
                        _ => None,
                    }
                }
            }

            impl From<$kind> for $name {
                fn from(value: $kind) -> Self {
                    Self::$variant(value)
                }
            }
        )+
    };
}

/// One kind of value of a cache, a view, a transaction or a scope; made by `typed`.
///
/// A value of another kind counts as absent. A write replaces it, and a load removes it.
pub struct Typed<T, A> {
    at: A,
    kind: PhantomData<fn() -> T>,
}

impl<T, A> Typed<T, A> {
    fn new(at: A) -> Self {
        Self { at, kind: PhantomData }
    }
}

impl<T, A> fmt::Debug for Typed<T, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Typed").field("kind", &std::any::type_name::<T>()).finish()
    }
}

/// # Several kinds of value
impl<K, V, S, R: Reclaim> Cache<K, V, S, R> {
    /// Returns the [kind](crate::Kind) `T` of the values of this cache, to read, write and load.
    /// [`kinds!`](crate::kinds) has an example.
    pub fn typed<T: Kind<V>>(&self) -> Typed<T, &Self> {
        Typed::new(self)
    }
}

impl<K, V, S, R: Reclaim> View<K, V, S, R> {
    /// Returns the [kind](crate::Kind) `T` of the values of this view, to read.
    pub fn typed<T: Kind<V>>(&self) -> Typed<T, &Self> {
        Typed::new(self)
    }
}

impl<K, V, S, R: Reclaim> Transaction<'_, K, V, S, R> {
    /// Returns the [kind](crate::Kind) `T` of the values of this transaction, to read and write.
    pub fn typed<T: Kind<V>>(&mut self) -> Typed<T, &mut Self> {
        Typed::new(self)
    }
}

impl<K, V, S, R: Reclaim> Scope<'_, K, V, S, R> {
    /// Returns the [kind](crate::Kind) `T` of the values of this scope, to read and derive.
    pub fn typed<T: Kind<V>>(&mut self) -> Typed<T, &mut Self> {
        Typed::new(self)
    }
}

impl<T, K, V, S, R> Typed<T, &Cache<K, V, S, R>>
where
    T: Kind<V> + Clone,
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns the value of `key`, cloned, if it is of this kind. Does not clone other kinds.
    pub fn get<Q>(&self, key: &Q) -> Option<T>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.at.pin().get(key).and_then(T::of).cloned()
    }

    /// Returns whether `key` holds a value of this kind.
    pub fn contains_key<Q>(&self, key: &Q) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.at.pin().get(key).and_then(T::of).is_some()
    }

    /// Sets `key` as [`Cache::insert`] does.
    pub fn insert(&self, key: K, value: T) -> Version {
        self.at.insert(key, value.into_value())
    }

    /// Sets `key` to what `update` makes of its value, as [`Cache::upsert`] does. `update` may run
    /// again. A value of another kind is replaced.
    ///
    /// # Panics
    /// Panics as `Cache::upsert` does.
    pub fn upsert(&self, key: K, mut update: impl FnMut(Option<&T>) -> T) -> Version
    where
        K: Clone,
        V: Clone,
    {
        self.at.upsert(key, |old| update(old.and_then(T::of)).into_value())
    }

    /// Removes `key` if its value is of this kind. Returns the value.
    pub fn remove<Q>(&self, key: &Q) -> Option<T>
    where
        Q: Hash + Equivalent<K> + ToKey<K> + ?Sized,
        V: Clone,
    {
        let mut removed = None;
        let _ = self.at.entry_by_ref(key).and_compute_with(|entry| {
            removed = entry.and_then(|entry| T::of(entry.value()).cloned());
            if removed.is_some() { Op::Remove } else { Op::Nop }
        });
        removed
    }
}

impl<T, K, V, S, R> Typed<T, &Cache<K, V, S, R>>
where
    T: Kind<V> + Clone,
    K: Clone + Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns the value of `key`, cloned. Loads it as [`Cache::get_with`] does, if there is none
    /// of this kind. A hit makes no owned key.
    ///
    /// # Panics
    /// Panics as `Cache::get_with` does.
    #[track_caller]
    pub fn get_with(&self, key: &K, load: impl FnOnce() -> T) -> T {
        let mut load = Some(load);
        loop {
            let value = self.at.get_with_ref(key, || run(&mut load).into_value());
            if let Some(value) = self.or_remove(key, &value) {
                return value;
            }
        }
    }

    /// Returns the value of `key`, cloned. Loads it as [`Cache::try_get_with`] does, if there is
    /// none of this kind.
    ///
    /// # Panics
    /// Panics as `Cache::get_with` does.
    ///
    /// # Errors
    /// Returns the error of the loader.
    #[track_caller]
    pub fn try_get_with<E>(
        &self,
        key: &K,
        load: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, Arc<E>> {
        let mut load = Some(load);
        loop {
            self.remove_if_due(key);
            let value = self.at.try_get_with_ref(key, || run(&mut load).map(T::into_value))?;
            if let Some(value) = self.or_remove(key, &value) {
                return Ok(value);
            }
        }
    }

    /// Returns the value of `key`, cloned. Loads it as [`Cache::load`] does, if there is none of
    /// this kind.
    ///
    /// # Errors
    /// [`LoadError`]: the error of the loader, or a cycle.
    pub fn load<E>(&self, key: &K, load: impl FnOnce() -> Result<T, E>) -> Result<T, LoadError<E>> {
        let mut load = Some(load);
        loop {
            self.remove_if_due(key);
            let value = self.at.load_ref(key, || run(&mut load).map(T::into_value))?;
            if let Some(value) = self.or_remove(key, &value) {
                return Ok(value);
            }
        }
    }

    /// Returns the value of `key`, cloned. Loads it as [`Cache::load_async`] does, if there is none
    /// of this kind.
    ///
    /// # Errors
    /// [`LoadError`]: the error of the given future, or a cycle.
    #[cfg(feature = "async")]
    #[cfg_attr(docsrs, doc(cfg(feature = "async")))]
    pub async fn load_async<E>(
        &self,
        key: &K,
        load: impl Future<Output = Result<T, E>>,
    ) -> Result<T, LoadError<E>> {
        let mut load = Some(load);
        loop {
            self.remove_if_due(key);
            let loader = async { load.take().expect(ONCE).await.map(T::into_value) };
            let value = self.at.load_async(key.clone(), loader).await?;
            if let Some(value) = self.or_remove(key, &value) {
                return Ok(value);
            }
        }
    }

    /// Returns the value of `key`, cloned. Derives it as [`Cache::derive`] does, if there is none
    /// of this kind.
    ///
    /// # Panics
    /// Panics as `Cache::derive` does.
    #[track_caller]
    pub fn derive(&self, key: &K, compute: impl FnOnce(&mut Scope<'_, K, V, S, R>) -> T) -> T
    where
        V: PartialEq,
    {
        let mut compute = Some(compute);
        loop {
            let value = self
                .at
                .derive(key.clone(), |scope| compute.take().expect(ONCE)(scope).into_value());
            if let Some(value) = self.or_remove(key, &value) {
                return value;
            }
        }
    }

    /// Returns what a value was made of. If it is of another kind, removes the key, unless that has
    /// changed.
    fn or_remove(&self, key: &K, value: &V) -> Option<T> {
        let found = T::of(value).cloned();
        if found.is_none() {
            self.remove_other_kind(key);
        }
        found
    }

    /// Removes a value of another kind that is due for reloading. It would stay if the load failed,
    /// and nothing would be left to load with.
    fn remove_if_due(&self, key: &K) {
        if self.at.is_refresh_due([key]) {
            self.remove_other_kind(key);
        }
    }

    fn remove_other_kind(&self, key: &K) {
        let _ = self.at.entry_by_ref(key).and_compute_with(|entry| match entry {
            Some(entry) if T::of(entry.value()).is_none() => Op::Remove,
            _ => Op::Nop,
        });
    }
}

/// Why a loader runs once at most: the value of its load is of the kind, which ends the loop.
const ONCE: &str = "a kind gives back what its value was made of";

fn run<T>(load: &mut Option<impl FnOnce() -> T>) -> T {
    load.take().expect(ONCE)()
}

impl<'v, T, K, V, S, R> Typed<T, &'v View<K, V, S, R>>
where
    T: Kind<V> + 'v,
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns the value of `key` in the view, if it is of this kind.
    pub fn get<Q>(&self, key: &Q) -> Option<&'v T>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.at.get(key).and_then(T::of)
    }

    /// Returns an iterator over all entries of this kind, in no particular order. It passes over
    /// all entries of the view.
    pub fn iter(&self) -> impl Iterator<Item = (&'v K, &'v T)> + use<'v, T, K, V, S, R> {
        self.at.iter().filter_map(|(key, value)| Some((key, T::of(value)?)))
    }
}

impl<T, K, V, S, R> Typed<T, &mut Transaction<'_, K, V, S, R>>
where
    T: Kind<V> + Clone,
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns the value of `key` as [`Transaction::get`] does, if it is of this kind.
    pub fn get<Q>(&mut self, key: &Q) -> Option<T>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.at.read(key, |value| T::of(value).cloned()).flatten()
    }

    /// Sets `key` as [`Transaction::insert`] does.
    pub fn insert(&mut self, key: K, value: T) {
        self.at.insert(key, value.into_value());
    }

    /// Sets `key` to what `change` makes of its value, as [`Transaction::update`] does. Returns the
    /// value before. Does nothing if there is none of this kind.
    pub fn update(&mut self, key: K, change: impl FnOnce(&T) -> T) -> Option<T> {
        let before = self.get(&key)?;
        let value = change(&before).into_value();
        self.at.insert_with(key, value, Terms::as_it_was());
        Some(before)
    }

    /// Removes `key` if its value is of this kind. Returns the value.
    pub fn remove(&mut self, key: K) -> Option<T> {
        let found = self.get(&key)?;
        self.at.remove(key);
        Some(found)
    }
}

impl<T, K, V, S, R> Typed<T, &mut Scope<'_, K, V, S, R>>
where
    T: Kind<V> + Clone,
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns the value of `key`, if it is of this kind. It is an input in any case.
    pub fn get<Q>(&mut self, key: &Q) -> Option<T>
    where
        Q: Hash + Equivalent<K> + ToOwned<Owned = K> + ?Sized,
    {
        self.at.get(key).as_ref().and_then(T::of).cloned()
    }

    /// Returns the value of `key` as [`Scope::derive`] does. If the key holds a value of another
    /// kind, that stays, and the new value is not kept.
    ///
    /// # Panics
    /// Panics as `Scope::derive` does.
    pub fn derive(&mut self, key: K, compute: impl FnOnce(&mut Scope<'_, K, V, S, R>) -> T) -> T
    where
        V: PartialEq,
    {
        let mut compute = Some(compute);
        let value = self.at.derive(key, |scope| compute.take().expect(ONCE)(scope).into_value());
        match T::of(&value) {
            Some(value) => value.clone(),
            None => compute.take().expect(ONCE)(self.at),
        }
    }
}
