//! Entries whose values are loaded: one caller makes an absent value for all that want it.

use super::entry::{Entry, KeyEntry};
use super::give::{LoadRefusal, failure, panic_on_cycle};
use super::key::ToKey;
use crate::engine::{LoadDecision, LoadedTerms, array, with_version};
use crate::reclaim::Reclaim;
use equivalent::Equivalent;
use std::borrow::Borrow;
use std::convert::Infallible;
use std::hash::{BuildHasher, Hash};
use std::panic::Location;
use std::sync::Arc;

/// # Loading
/// These methods wait for a load under way, as [`get_with`](crate::Cache::get_with) does, and
/// follow the same rules: no relations, and no stale fill.
impl<T, Q, K, V, S, R> KeyEntry<'_, T, Q, K, V, S, R>
where
    T: Borrow<Q>,
    Q: Hash + Equivalent<K> + ToKey<K> + ?Sized,
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns the entry, with the value of `init` if the key is absent. Of all callers that want
    /// the key at the same time, **one** runs its closure, and the others wait for it. The closure
    /// may be slow.
    ///
    /// ```
    /// let cache = coeval::Cache::new();
    /// let entry = cache.entry("key").or_insert_with(|| "made once".len());
    /// assert!(entry.is_fresh() && entry.version() == Some(cache.version()));
    /// assert!(!cache.entry("key").or_insert_with(|| unreachable!("it is cached")).is_fresh());
    /// ```
    ///
    /// # Panics
    /// Panics as [`get_with`](crate::Cache::get_with) does.
    #[track_caller]
    pub fn or_insert_with(self, init: impl FnOnce() -> V) -> Entry<T, V> {
        match self.or_load(|| Ok::<_, Infallible>(init())) {
            Ok(entry) => entry,
            Err(LoadRefusal::Cycle(key)) => panic_on_cycle(&key, Some(Location::caller())),
        }
    }

    /// Does the same with a closure that may fail. Only the caller of that closure gets the error;
    /// the callers that wait load.
    ///
    /// # Panics
    /// Panics as [`get_with`](crate::Cache::get_with) does.
    ///
    /// # Errors
    /// Returns the error of `init`.
    #[track_caller]
    pub fn or_try_insert_with<E>(
        self,
        init: impl FnOnce() -> Result<V, E>,
    ) -> Result<Entry<T, V>, Arc<E>> {
        failure(self.or_load(init), |entry| entry, Location::caller())
    }

    /// Does the same with a closure that may find nothing. Then the key stays absent.
    ///
    /// # Panics
    /// Panics as [`get_with`](crate::Cache::get_with) does.
    #[track_caller]
    pub fn or_optionally_insert_with(
        self,
        init: impl FnOnce() -> Option<V>,
    ) -> Option<Entry<T, V>> {
        self.or_try_insert_with(|| init().ok_or(())).ok()
    }

    fn or_load<E>(
        self,
        init: impl FnOnce() -> Result<V, E>,
    ) -> Result<Entry<T, V>, LoadRefusal<E>> {
        let (cache, key) = (self.cache, self.key);
        if let Some((value, version)) = cache.get_versioned(key.borrow()) {
            return Ok(Entry::found(key, value, Some(version)));
        }
        match cache.join_or_lead([key.borrow().to_key()]) {
            LoadDecision::Cycle(name) => Err(LoadRefusal::Cycle(name)),
            LoadDecision::Found(values) => {
                let [value] = array(values);
                let newest = cache.engine().look_up::<Q, _, false>(key.borrow(), |found| {
                    let (value, version) = with_version(found);
                    (value.clone(), version)
                });
                Ok(match newest {
                    Some((value, version)) => Entry::found(key, value, Some(version)),
                    None => Entry::found(key, value, None), // it has gone since
                })
            }
            LoadDecision::Load(mut leading) => {
                let terms = self.terms.map(|terms| LoadedTerms { terms, weight: None });
                let loaded = leading.during(init).map(|value| (value, terms));
                let (value, version) =
                    leading.finish_on_terms(loaded).map_err(LoadRefusal::Failed)?;
                Ok(Entry::fresh(key, value, version, false))
            }
        }
    }
}
