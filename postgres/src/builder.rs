//! Settings, and the first stream.

use crate::cache::PgCache;
use crate::core::{Core, Settings};
use crate::error::Error;
use crate::planted::Planted;
use crate::row::{Row, Unsent};
use crate::source::KeysOf;
use crate::supervisor::Supervisor;
use coeval::Cache;
use pgwire_replication::ReplicationConfig;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// Collects the settings of a [`PgCache`]; made by [`PgCache::builder`].
#[must_use = "a builder does nothing until `connect` is called and awaited"]
pub struct Builder<K> {
    config: ReplicationConfig,
    keys_of: Option<Arc<KeysOf<K>>>,
    max_staleness: Duration,
    heartbeat: Option<Duration>,
    dead_after: Duration,
    patience: Duration,
    planted: Planted,
}

impl<K> Builder<K> {
    pub(crate) fn new(config: ReplicationConfig) -> Self {
        Self {
            config,
            keys_of: None,
            max_staleness: Duration::from_secs(1),
            heartbeat: None,
            dead_after: Duration::from_secs(5),
            patience: Duration::from_millis(5),
            planted: Planted::default(),
        }
    }

    /// Sets the function that says which keys a changed row concerns: it pushes them. It is called
    /// with each changed row as it was and as it is, whichever there are. There is no default.
    ///
    /// Take the keys from columns of the table's replica identity, by default its primary key. Of
    /// other columns the server does not say what they were. Then the function fails, and the
    /// transaction ends all entries. So it does if the function panics.
    ///
    /// A key must be the same whether it comes from a row or from a request. [`Row::get`] tells how
    /// the server writes values.
    pub fn keys(
        mut self,
        keys_of: impl Fn(&Row<'_>, &mut Vec<K>) -> Result<(), Unsent> + Send + Sync + 'static,
    ) -> Self {
        self.keys_of = Some(Arc::new(keys_of));
        self
    }

    /// Sets how long after a commit on the server the cache may still serve what was changed,
    /// whatever the network does. One second by default.
    ///
    /// As long as all is well, changes are known here after the time that a message takes. The
    /// bound is for the times when messages do not come.
    pub fn max_staleness(mut self, time: Duration) -> Self {
        self.max_staleness = time;
        self
    }

    /// Sets how often the server is asked how far its log is. A quarter of
    /// [`max_staleness`](Self::max_staleness) by default; hits fail if it is not less than that.
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.heartbeat = Some(interval);
        self
    }

    /// Sets how long the server may take to answer, or the stream be behind it, until both are
    /// given up: then nothing is cached until there is a new stream. Five seconds by default.
    pub fn dead_after(mut self, time: Duration) -> Self {
        self.dead_after = time;
        self
    }

    /// Sets how long somebody waits for the stream until the server is made to flush its log, by an
    /// empty transaction. The server sends what is flushed, and flushes when a transaction commits.
    /// Five milliseconds by default.
    pub fn flush_after(mut self, time: Duration) -> Self {
        self.patience = time;
        self
    }

    /// Breaks a rule of the protocol.
    #[cfg(test)]
    pub(crate) fn plant(mut self, defect: Option<crate::planted::Defect>) -> Self {
        self.planted.defect = defect;
        self
    }
}

impl<K: Hash + Eq + Clone + Send + Sync + 'static> Builder<K> {
    /// Connects, and returns when the first stream is there. `cache` holds the entries; build it
    /// with the bound and the times that you want, and do not write to it. Needs a tokio runtime
    /// with time and IO, in which the tasks run from then on, as long as a handle of the cache
    /// lives.
    ///
    /// This waits until all transactions have ended that are writing now: only then can a stream
    /// begin. After a break the new stream waits likewise, while reads go past the cache.
    ///
    /// # Errors
    /// [`Error::Setting`] if a setting makes no sense, or the slot cannot have its name: up to 46
    /// lower case letters, digits and underscores, of which the first is no digit.
    /// [`Error::Publication`] if there is no such
    /// publication. [`Error::Server`] if there is no server, or if it refuses: the user needs the
    /// attribute `REPLICATION`, and the server `wal_level = logical`.
    pub async fn connect<V>(self, cache: Cache<K, V>) -> Result<PgCache<K, V>, Error>
    where
        V: Clone + Send + Sync + 'static,
    {
        let heartbeat = self.heartbeat.unwrap_or(self.max_staleness / 4);
        if [heartbeat, self.dead_after].contains(&Duration::ZERO) {
            return Err(Error::Setting("max_staleness, heartbeat and dead_after must not be zero"));
        }
        let keys_of = self.keys_of.ok_or(Error::Setting("a function for the keys must be set"))?;
        let settings = Settings {
            max_staleness: u64::try_from(self.max_staleness.as_nanos()).unwrap_or(u64::MAX),
            heartbeat,
            dead_after: self.dead_after,
            patience: self.patience,
        };
        let core = Arc::new(Core::new(cache, settings, self.planted));
        let (first, outcome) = oneshot::channel();
        let supervisor = Supervisor {
            core: Arc::clone(&core),
            config: self.config,
            keys_of,
            first: Some(first),
        };
        // The handle ends the task, also if this future is dropped meanwhile.
        let cache = PgCache::new(core, tokio::spawn(supervisor.run()));
        outcome.await.unwrap_or(Err(Error::Stopped))?;
        Ok(cache)
    }
}

impl<K> fmt::Debug for Builder<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the address: it has a password.
        f.debug_struct("Builder")
            .field("max_staleness", &self.max_staleness)
            .field("heartbeat", &self.heartbeat)
            .field("dead_after", &self.dead_after)
            .finish_non_exhaustive()
    }
}
