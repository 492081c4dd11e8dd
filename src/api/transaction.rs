//! Transactions: reads and writes that take effect as if at one instant.

use super::cache::Cache;
use super::hasher::RandomState;
use super::keys::{KeyList, LookUp};
use crate::engine::{Attempt, WriteTerms};
use crate::error::TransactError;
use crate::reclaim::{Asymmetric, Reclaim};
use crate::relation::{Tag, Terms};
use crate::version::Version;
use equivalent::Equivalent;
use std::convert::Infallible;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

/// The number of times that a transaction is tried.
pub(super) const ATTEMPTS: usize = if cfg!(coeval_loom) { 1 } else { 64 };

/// # Transactions
impl<K, V, S, R> Cache<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Runs `body`, and then publishes all its writes in one commit if nothing that it read has
    /// changed meanwhile. Otherwise runs `body` again, up to 64 times in all.
    ///
    /// Transactions are strictly serializable, among each other and with every other operation:
    /// each takes effect as if at one instant between call and return. All reads of `body` are as
    /// of one version, even if other threads write meanwhile, and `body` sees its own writes. It
    /// should do nothing but use the transaction, because it may run again.
    ///
    /// ```
    /// use coeval::{Cache, TransactError};
    ///
    /// let cache = Cache::new();
    /// cache.batch().insert("alice", 70).insert("bob", 30).commit();
    /// let pay = |amount: i32| {
    ///     cache.transact(|tx| {
    ///         let [alice, bob] = tx.get_many([&"alice", &"bob"]).map(Option::unwrap_or_default);
    ///         if alice < amount {
    ///             return Err("not enough");
    ///         }
    ///         tx.insert("alice", alice - amount);
    ///         tx.insert("bob", bob + amount);
    ///         Ok(alice - amount)
    ///     })
    /// };
    /// let paid = pay(50)?;
    /// assert_eq!(paid.value, 20);
    /// assert_eq!(cache.get_versioned("bob"), Some((80, paid.version)));
    /// assert_eq!(pay(50), Err(TransactError::Aborted("not enough")));
    /// assert_eq!(cache.get_many(["alice", "bob"]), [Some(20), Some(80)]);
    /// # Ok::<(), TransactError<&str>>(())
    /// ```
    ///
    /// The commit counts as a use of all entries that the transaction read. A value that is kept as
    /// long as it is used is kept longer, and is evicted less soon. If the cache itself evicts an
    /// entry that was read, or finds that its deadline has passed, that counts as a change. So does
    /// a change of what the entry was derived from, or of its tags. A transaction that writes
    /// nothing is as of the version that it read, and always succeeds. For a closure without errors
    /// of its own, use [`atomically`](Self::atomically).
    ///
    /// Takes O((n + m) log (n + m)) for n writes and m keys that were read (with all that those
    /// were derived from). Lock-free: `body` runs again only if another commit was made meanwhile,
    /// or was being made of a key of which the cache knew nothing. No thread waits for it. May call
    /// the allocator.
    ///
    /// # Panics
    /// Panics if `body`, a value's `Clone`, `Eq`, a relation's closure or the weigher does. Nothing
    /// is written then.
    ///
    /// # Errors
    /// [`TransactError::Aborted`] with the error that `body` returned; [`TransactError::Conflict`]
    /// if a change interfered each time. Nothing is changed in either case.
    pub fn transact<T, E>(
        &self,
        mut body: impl FnMut(&mut Transaction<'_, K, V, S, R>) -> Result<T, E>,
    ) -> Result<Committed<T>, TransactError<E>> {
        let engine = self.engine();
        let span = engine.transaction_span();
        span.within(|| {
            for attempt in 1..=ATTEMPTS {
                let mut transaction = Transaction { attempt: Attempt::new(engine) };
                let value = body(&mut transaction).map_err(TransactError::Aborted)?;
                if let Some(version) = transaction.attempt.commit() {
                    span.note_commit(version, attempt);
                    return Ok(Committed { value, version });
                }
            }
            Err(TransactError::Conflict)
        })
    }

    /// Runs a transaction as [`transact`](Self::transact) does, with a closure that has no errors
    /// of its own. No type need be named.
    ///
    /// ```
    /// let cache = coeval::Cache::new();
    /// cache.insert("visits", 1);
    /// let visits = cache.atomically(|tx| {
    ///     let visits = tx.get("visits").unwrap_or(0) + 1;
    ///     tx.insert("visits", visits);
    ///     visits
    /// })?;
    /// assert_eq!(visits.value, 2);
    /// assert_eq!(cache.get_versioned("visits"), Some((2, visits.version)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// Panics as `transact` does.
    ///
    /// # Errors
    /// [`TransactError::Conflict`] if a change interfered each time. Nothing is changed then.
    pub fn atomically<T>(
        &self,
        mut body: impl FnMut(&mut Transaction<'_, K, V, S, R>) -> T,
    ) -> Result<Committed<T>, TransactError<Infallible>> {
        self.transact(|transaction| Ok(body(transaction)))
    }
}

/// The cache as of one version, and the writes to come; passed to the closure of
/// [`transact`](Cache::transact).
///
/// Relations are followed at the commit. The transaction itself sees what it has written, but not
/// yet what the relations make of that.
///
/// A transaction reads by key. It has no iteration and no reads by a predicate, because another
/// commit could add an entry that they would have shown, and no key that was read would have
/// changed. Keep such a set of keys in an entry of its own, which the transaction reads and which
/// each writer of the set writes. To read everything as of one instant, use a
/// [view](Cache::view).
pub struct Transaction<'t, K, V, S = RandomState, R: Reclaim = Asymmetric> {
    attempt: Attempt<'t, K, V, S, R>,
}

/// The result of a [transaction](Cache::transact).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Committed<T> {
    /// The value that the closure returned.
    pub value: T,
    /// The version of the commit. If nothing was written, the version that the transaction read.
    pub version: Version,
}

impl<K, V, S, R> Transaction<'_, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns the value of `key`, cloned: the value that this transaction wrote, or else the value
    /// as of its version. The transaction commits only if that is still so. Takes time proportional
    /// to the number of its writes.
    pub fn get<Q>(&mut self, key: &Q) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.attempt.read(key, V::clone)
    }

    /// Returns what `read` makes of the value of `key`, which `get` would return.
    pub(super) fn read<Q, T>(&mut self, key: &Q, read: impl FnOnce(&V) -> T) -> Option<T>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.attempt.read(key, read)
    }

    /// Returns whether `key` holds a value, as [`get`](Self::get) does, without cloning it.
    pub fn contains_key<Q>(&mut self, key: &Q) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.attempt.read(key, |_| ()).is_some()
    }

    /// Returns the values of several [keys](KeyList). All reads of a transaction are as of one
    /// version in any case.
    pub fn get_many<I: KeyList<K, M>, M>(&mut self, keys: I) -> I::Found<V> {
        keys.look_up(Reads(self))
    }

    /// Returns the version as of which this transaction reads.
    #[must_use]
    pub fn version(&self) -> Version {
        self.attempt.version()
    }

    /// Sets `key` to what `change` makes of its value, and returns the value before. Does nothing
    /// if there is none. The entry stays [as it was](Terms::as_it_was): it keeps its deadline, its
    /// other times and its tags. Applies the declared relations of the key.
    ///
    /// ```
    /// use coeval::{Cache, ManualClock};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let cache = Cache::builder().manual_clock(&clock).build();
    /// cache.insert_with_ttl("session", 1, Duration::from_secs(60));
    /// clock.advance(Duration::from_secs(45));
    /// cache.atomically(|tx| tx.update("session", |uses| uses + 1))?;
    /// assert_eq!(cache.get("session"), Some(2));
    /// clock.advance(Duration::from_secs(15));
    /// assert_eq!(cache.get("session"), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn update(&mut self, key: K, change: impl FnOnce(&V) -> V) -> Option<V> {
        let before = self.get(&key)?;
        let value = change(&before);
        self.insert_with(key, value, Terms::as_it_was());
        Some(before)
    }

    /// Sets `key` and applies its declared relations. The last write of a key counts. The cache's
    /// settings determine how long the value is kept. The value has no tags, even if the previous
    /// one had some. [`insert_with`](Self::insert_with) can specify otherwise.
    pub fn insert(&mut self, key: K, value: V) {
        self.attempt.set(key, value, WriteTerms::Default);
    }

    /// Sets `key` as [`insert`](Self::insert) does, to a value that becomes absent after
    /// `time_to_live`, regardless of the cache's own time. The time counts from the commit.
    pub fn insert_with_ttl(&mut self, key: K, value: V, time_to_live: Duration) {
        self.attempt.set(key, value, WriteTerms::TimeToLive(time_to_live));
    }

    /// Sets `key` as [`insert`](Self::insert) does, to a value with these tags. The values that
    /// relations write have none.
    pub fn insert_tagged(&mut self, key: K, value: V, tags: &[Tag]) {
        self.insert_with(key, value, Terms::new().tags(tags));
    }

    /// Sets `key` as [`insert`](Self::insert) does, with these [terms](Terms). The terms specify
    /// how long the value is kept and which tags it has, or that all of this stays as it was.
    ///
    /// ```
    /// use coeval::{Cache, ManualClock, Terms};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let cache = Cache::builder().manual_clock(&clock).build();
    /// cache.insert_with_ttl("session", 1, Duration::from_secs(60));
    /// clock.advance(Duration::from_secs(45));
    /// cache.transact(|tx| {
    ///     let session = tx.get("session").ok_or("it has ended")?;
    ///     tx.insert_with("session", session + 1, Terms::as_it_was());
    ///     Ok(())
    /// })?;
    /// assert_eq!(cache.get("session"), Some(2));
    /// clock.advance(Duration::from_secs(15));
    /// assert_eq!(cache.get("session"), None);
    /// # Ok::<(), coeval::TransactError<&str>>(())
    /// ```
    pub fn insert_with(&mut self, key: K, value: V, terms: Terms) {
        let keep = self.attempt.changes.add_terms(terms);
        self.attempt.set(key, value, keep);
    }

    /// Removes `key` alone.
    pub fn remove(&mut self, key: K) {
        self.attempt.remove(key, false);
    }

    /// Removes `key` and applies its declared relations.
    pub fn invalidate(&mut self, key: K) {
        self.attempt.remove(key, true);
    }
}

impl<K, V, S, R> fmt::Debug for Transaction<'_, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction")
            .field("writes", &self.attempt.writes())
            .finish_non_exhaustive()
    }
}

/// Looks values up in a transaction.
struct Reads<'a, 't, K, V, S, R: Reclaim>(&'a mut Transaction<'t, K, V, S, R>);

impl<K, V, S, R> LookUp<K> for Reads<'_, '_, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    type Value = V;

    fn array<Q, const N: usize>(self, keys: [&Q; N]) -> [Option<V>; N]
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        keys.map(|key| self.0.get(key))
    }

    fn each<Q, I>(self, keys: &[I], key_of: impl Fn(&I) -> &Q) -> Vec<Option<V>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        keys.iter().map(|key| self.0.get(key_of(key))).collect()
    }
}
