//! What a source of changes tells a cache, in the order of its commits.

use coeval::Cache;
use std::future::Future;
use std::hash::Hash;

/// What a [`CommitStream`] brings.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event<K> {
    /// The transaction under way has changed this key.
    Changed(K),
    /// The transaction under way has changed keys that the source cannot name.
    AllChanged,
    /// The transaction under way ends here: all that it has changed was told.
    Committed(Mark),
    /// All that was committed up to this position was told.
    Reached(u64),
}

/// Where a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mark {
    /// The position in the source just after the commit. Positions only grow.
    pub position: u64,
    /// The number that the source's snapshots know the transaction by.
    pub transaction: u32,
}

/// A stream of commits: what was changed at a source, transaction by transaction, in the order in
/// which they were committed there.
///
/// The transactions do not overlap: between two [`Committed`](Event::Committed) events all changes
/// are of one transaction. That is what a cache needs so as to end what belongs together by one
/// commit.
///
/// A stream over a channel, for a source of your own:
///
/// ```
/// use coeval_postgres::{CommitStream, Event, Mark, follow};
/// use tokio::sync::mpsc;
///
/// struct Channel(mpsc::Receiver<Event<&'static str>>);
///
/// impl CommitStream for Channel {
///     type Key = &'static str;
///     type Break = &'static str;
///
///     async fn next(&mut self) -> Result<Event<&'static str>, &'static str> {
///         self.0.recv().await.ok_or("the sender is gone")
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let cache = coeval::Cache::new();
/// cache.insert_many([("user:7", 1), ("feed:7", 1), ("user:8", 1)]);
/// let (sender, receiver) = mpsc::channel(8);
/// sender.send(Event::Changed("user:7")).await?;
/// sender.send(Event::Changed("feed:7")).await?;
/// sender.send(Event::Committed(Mark { position: 1, transaction: 1 })).await?;
/// drop(sender);
///
/// let view = cache.view();
/// let why = follow(&mut Channel(receiver), &cache).await;
/// assert_eq!(why, "the sender is gone");
/// assert!(cache.is_empty(), "after a break nothing is known");
/// # assert_eq!(view.get("user:8"), Some(&1));
/// # Ok::<(), mpsc::error::SendError<_>>(())
/// # }).unwrap();
/// ```
pub trait CommitStream {
    /// What a cache knows an entry by.
    type Key;
    /// Why a stream is over.
    type Break;

    /// Waits for the next event. An error is a break, after which nothing more is told: what is
    /// cached from before may be out of date, and all of it must be dropped.
    ///
    /// The future may be dropped before it is ready, without losing an event. A call of `next` says
    /// that all earlier events are applied.
    fn next(&mut self) -> impl Future<Output = Result<Event<Self::Key>, Self::Break>> + Send;
}

/// Applies a stream to a cache until it breaks, and returns why. Each transaction is one commit,
/// with the keys that are declared as related. The break clears the cache by one commit, too.
///
/// This is all that a cache needs whose values are read from where the changes are told of, after
/// they were told. [`PgCache`](crate::PgCache) does more: what is read from a server may be ahead
/// of the stream of its changes, or behind it.
pub async fn follow<S, V>(stream: &mut S, cache: &Cache<S::Key, V>) -> S::Break
where
    S: CommitStream,
    S::Key: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let mut transaction = Transaction::new();
    loop {
        match stream.next().await {
            Ok(Event::Changed(key)) => transaction.add(key),
            Ok(Event::AllChanged) => transaction.add_all(),
            Ok(Event::Committed(_)) => transaction.apply(cache),
            Ok(Event::Reached(_)) => {}
            Err(why) => {
                cache.invalidate_all();
                return why;
            }
        }
    }
}

/// A transaction that changes more keys than this ends all entries: to collect them would take
/// memory without bound.
const MOST_KEYS: usize = 1 << 16;

/// What the transaction under way has changed so far.
#[derive(Debug)]
pub(crate) struct Transaction<K> {
    keys: Vec<K>,
    all: bool,
}

impl<K> Transaction<K> {
    pub fn new() -> Self {
        Self { keys: Vec::new(), all: false }
    }

    pub fn add(&mut self, key: K) {
        if self.keys.len() == MOST_KEYS {
            self.add_all();
        }
        if !self.all {
            self.keys.push(key);
        }
    }

    pub fn add_all(&mut self) {
        self.all = true;
        self.keys = Vec::new();
    }

    /// Whether it ends all entries.
    pub fn is_all(&self) -> bool {
        self.all
    }

    /// Ends what the transaction has changed by one commit, and begins the next one.
    pub fn apply<V>(&mut self, cache: &Cache<K, V>)
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
        V: Clone + Send + Sync + 'static,
    {
        if std::mem::take(&mut self.all) {
            cache.invalidate_all();
        } else if !self.keys.is_empty() {
            cache.invalidate_many(self.keys.drain(..));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST_KEYS, Transaction};

    #[test]
    fn a_transaction_of_too_many_keys_ends_all_entries() {
        let cache = coeval::Cache::<usize, u8>::new();
        cache.insert(usize::MAX, 1);
        let mut transaction = Transaction::new();
        (0..MOST_KEYS).for_each(|key| transaction.add(key));
        assert!(!transaction.is_all());
        transaction.add(MOST_KEYS);
        assert!(transaction.is_all());
        transaction.apply(&cache);
        assert_eq!(cache.get(&usize::MAX), None);
        assert!(!transaction.is_all(), "the next transaction begins anew");
    }
}
