//! Transactions: reads and writes that are as if done at one instant.

use crate::cache::Cache;
use crate::engine::{Attempt, Keep};
use crate::error::TransactError;
use crate::hasher::RandomState;
use crate::reclaim::{Asymmetric, Reclaim};
use crate::relation::{Tag, Terms};
use crate::version::Version;
use equivalent::Equivalent;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

/// How often a transaction is tried.
const ATTEMPTS: usize = if cfg!(coeval_loom) { 1 } else { 64 };

/// # Transactions
impl<K, V, S, R> Cache<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Runs `body`, and then makes all its writes visible by one commit, if nothing of what it has read was changed
    /// meanwhile; else runs it again, as often as 64 times.
    ///
    /// Transactions are strictly serializable, among each other and with every other operation: each is as if it had
    /// been done at one instant between call and return. What `body` reads is as of one version, whoever writes
    /// meanwhile; it sees its own writes. It should do nothing but use the transaction, as it may run again.
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
    /// When it is committed, what it has read is used: a value that is kept as long as it is used is kept on, and is less soon
    /// evicted. What the cache itself does to an entry that was read, as it evicts it or finds its deadline passed, counts as a
    /// change; so does a change of what it was derived from, or of its tags. A transaction that writes nothing is as of
    /// the version that it has read, and always succeeds.
    ///
    /// Lock-free: it is run again only if another commit was made meanwhile; nobody waits for it. For n writes and m
    /// keys that were read (with all that those were derived from), O((n + m) log (n + m)). May ask the allocator.
    ///
    /// # Errors
    /// [`TransactError::Aborted`] with what `body` returned; [`TransactError::Conflict`] if it was disturbed each time.
    /// Nothing was changed then.
    ///
    /// # Panics
    /// If `body` does, or a value's `Clone`, `Eq`, a relation's closure or the weigher; then nothing was written.
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

/// What [`transact`](Cache::transact) hands to its closure: the cache as of one version, and the writes to come.
///
/// Relations are followed when it is committed: the transaction itself sees what it has written, and not yet what they
/// make of that.
pub struct Transaction<'t, K, V, S = RandomState, R: Reclaim = Asymmetric> {
    attempt: Attempt<'t, K, V, S, R>,
}

/// What came of a [transaction](Cache::transact).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed<T> {
    /// What its closure returned.
    pub value: T,
    /// The version of its commit; of the state that it has read, if it has written nothing.
    pub version: Version,
}

impl<K, V, S, R> Transaction<'_, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// What `key` holds, cloned: as this transaction has written it, or else as of its version. The transaction is
    /// committed only if that is so still. Takes time in proportion to what it has written.
    pub fn get<Q>(&mut self, key: &Q) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ToOwned<Owned = K> + ?Sized,
    {
        self.attempt.get(key, || key.to_owned())
    }

    /// What several keys hold; all that a transaction reads is as of one version anyway.
    pub fn get_many<Q, const N: usize>(&mut self, keys: [&Q; N]) -> [Option<V>; N]
    where
        Q: Hash + Equivalent<K> + ToOwned<Owned = K> + ?Sized,
    {
        keys.map(|key| self.get(key))
    }

    /// Sets `key`, and with it its declared relations. The last write of a key counts. The value is kept as the cache's
    /// settings say, and has no tags, whatever was there; [`insert_with`](Self::insert_with) says otherwise.
    pub fn insert(&mut self, key: K, value: V) {
        self.attempt.write(key, Some(value), Keep::AsUsual, true);
    }

    /// The same, to be absent again after `time_to_live`, whatever the cache's own is: counted from the commit.
    pub fn insert_with_ttl(&mut self, key: K, value: V, time_to_live: Duration) {
        self.attempt.write(key, Some(value), Keep::For(time_to_live), true);
    }

    /// The same; the value has these tags, and what relations write has none.
    pub fn insert_tagged(&mut self, key: K, value: V, tags: &[Tag]) {
        self.insert_with(key, value, Terms::new().tags(tags));
    }

    /// The same, on these [terms](Terms): they say how long the value is kept, and with which tags, or that all of that is as
    /// it was.
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
        let keep = self.attempt.changes.on(terms);
        self.attempt.write(key, Some(value), keep, true);
    }

    /// Removes `key` alone.
    pub fn remove(&mut self, key: K) {
        self.attempt.write(key, None, Keep::AsUsual, false);
    }

    /// Removes `key`, and with it its declared relations.
    pub fn invalidate(&mut self, key: K) {
        self.attempt.write(key, None, Keep::AsUsual, true);
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
