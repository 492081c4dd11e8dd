//! Transactions: reads and writes that take effect as if at one instant.

use super::cache::Cache;
use super::hasher::RandomState;
use crate::engine::{Attempt, WriteTerms};
use crate::error::TransactError;
use crate::reclaim::{Asymmetric, Reclaim};
use crate::relation::{Tag, Terms};
use crate::version::Version;
use equivalent::Equivalent;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

/// The number of times that a transaction is tried.
const ATTEMPTS: usize = if cfg!(coeval_loom) { 1 } else { 64 };

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
    /// nothing is as of the version that it read, and always succeeds.
    ///
    /// Takes O((n + m) log (n + m)) for n writes and m keys that were read (with all that those
    /// were derived from). Lock-free: `body` runs again only if another commit was made meanwhile,
    /// and no thread waits for it. May call the allocator.
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
        for _ in 0..ATTEMPTS {
            let mut transaction = Transaction { attempt: Attempt::new(engine) };
            let value = body(&mut transaction).map_err(TransactError::Aborted)?;
            if let Some(version) = transaction.attempt.commit() {
                return Ok(Committed { value, version });
            }
        }
        Err(TransactError::Conflict)
    }
}

/// The cache as of one version, and the writes to come; passed to the closure of
/// [`transact`](Cache::transact).
///
/// Relations are followed at the commit. The transaction itself sees what it has written, but not
/// yet what the relations make of that.
pub struct Transaction<'t, K, V, S = RandomState, R: Reclaim = Asymmetric> {
    attempt: Attempt<'t, K, V, S, R>,
}

/// The result of a [transaction](Cache::transact).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
        Q: Hash + Equivalent<K> + ToOwned<Owned = K> + ?Sized,
    {
        self.attempt.get(key, || key.to_owned())
    }

    /// Returns the values of several keys. All reads of a transaction are as of one version in any
    /// case.
    pub fn get_many<Q, const N: usize>(&mut self, keys: [&Q; N]) -> [Option<V>; N]
    where
        Q: Hash + Equivalent<K> + ToOwned<Owned = K> + ?Sized,
    {
        keys.map(|key| self.get(key))
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
    ///     let session = tx.get(&"session").ok_or("it has ended")?;
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
