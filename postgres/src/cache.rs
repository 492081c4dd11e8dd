//! The face of the crate.

use crate::builder::Builder;
use crate::core::{Core, Look, Verdict};
use crate::fence::Fence;
use crate::planted::Defect;
use crate::status::Status;
use coeval::{Cache, View};
use pgwire_replication::{Lsn, ReplicationConfig};
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// A cache in front of PostgreSQL, whose entries end as the transactions commit that change what
/// they were read from: each transaction by one commit. The [crate's page](crate) has an example
/// and the promises.
///
/// A clone is a handle of the same cache. The stream ends with the last one, and the entries with
/// the stream.
pub struct PgCache<K, V> {
    core: Arc<Core<K, V>>,
    supervisor: Arc<Supervisor>,
}

/// A task that ends with the last handle.
struct Supervisor(JoinHandle<()>);

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<K, V> PgCache<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Returns a builder for a cache of what is read from the server at this address. `config`
    /// names the publication; the name of its slot becomes the beginning of the names of temporary
    /// slots.
    pub fn builder(config: ReplicationConfig) -> Builder<K> {
        Builder::new(config)
    }

    pub(crate) fn new(core: Arc<Core<K, V>>, supervisor: JoinHandle<()>) -> Self {
        Self { core, supervisor: Arc::new(Supervisor(supervisor)) }
    }

    #[inline]
    pub(crate) fn core(&self) -> &Core<K, V> {
        &self.core
    }

    /// Returns the values of keys that are read together, all as of one state of the server: from
    /// the cache, if it has all of them, else by `load`, which reads all of them with one snapshot,
    /// and says by a [`Fence`] which one that was.
    ///
    /// A hit takes no lock, does not wait, and does not touch the network. Of the callers who miss
    /// the same keys, one loads. After its load it waits until the stream has reached what it read,
    /// usually the time that a message takes. If a transaction has changed one of the keys
    /// meanwhile, the values go to the caller and are not cached. As long as there is no stream,
    /// each caller loads for itself.
    ///
    /// The snapshot must be taken while the future runs: begin the transaction in it. One of the
    /// loads of a key that wait for each other in a cycle is run past the cache.
    ///
    /// # Errors
    /// Those of `load`.
    pub async fn get_many<E, const N: usize>(
        &self,
        keys: [K; N],
        load: impl Future<Output = Result<(Fence, [V; N]), E>>,
    ) -> Result<[V; N], E> {
        match self.core().look_up(&keys) {
            Look::All(values) => Ok(values),
            // In boxes, so that what a hit carries is small.
            Look::NotAll => Box::pin(self.load(keys, load)).await,
            Look::Closed => Box::pin(self.read_past(load)).await,
        }
    }

    /// What `get_many` does if the cache does not have all.
    async fn load<E, const N: usize>(
        &self,
        keys: [K; N],
        load: impl Future<Output = Result<(Fence, [V; N]), E>>,
    ) -> Result<[V; N], E> {
        let core = self.core();
        let limit = core.limit();
        let mut load = pin!(load);
        let mut was_run = false;
        let mut own = None;
        let leased = async {
            let begun = core.begin_load();
            was_run = true;
            match load.as_mut().await {
                Ok((fence, values)) => match core.judge(begun, &fence).await {
                    Verdict::Install => return Ok(values),
                    Verdict::Uncached => own = Some(Ok(values)),
                },
                Err(error) => own = Some(Err(error)),
            }
            Err(())
        };
        let loaded = core.cache.load_many_async(keys.clone(), leased).await;
        if core.planted.has(Defect::NoLease)
            && let Ok(values) = &loaded
        {
            core.cache.insert_many(keys.into_iter().zip(values.clone()));
        }
        match (loaded, own) {
            (Ok(values), _) if was_run || core.clock.is_before([limit]) => Ok(values),
            (_, Some(own)) => own,
            // Another caller's values that were loaded too long ago; or a cycle.
            (_, None) => self.read_past(load).await,
        }
    }

    /// Returns the value of one key, as [`get_many`](Self::get_many) does.
    ///
    /// # Errors
    /// Those of `load`.
    pub async fn get<E>(
        &self,
        key: K,
        load: impl Future<Output = Result<(Fence, V), E>>,
    ) -> Result<V, E> {
        let keys = [key];
        let look = self.core().look_up(&keys);
        if let Look::All([value]) = look {
            return Ok(value);
        }
        let load = async { load.await.map(|(fence, value)| (fence, [value])) };
        self.get_many(keys, load).await.map(|[value]| value)
    }

    /// A load whose values are for its caller alone.
    async fn read_past<T, E>(
        &self,
        load: impl Future<Output = Result<(Fence, T), E>>,
    ) -> Result<T, E> {
        self.core().counts.loads.add();
        self.core().counts.uncached.add();
        let (fence, values) = load.await?;
        // If there is a stream by now, its hits must not be older than this.
        self.core().catch_up(fence.at).await;
        Ok(values)
    }

    /// Returns the values of keys if the cache has all of them, as of one state of the server.
    /// Takes no lock, does not wait, and does not touch the network.
    #[inline]
    pub fn get_local<const N: usize>(&self, keys: &[K; N]) -> Option<[V; N]> {
        match self.core().look_up(keys) {
            Look::All(values) => Some(values),
            Look::NotAll | Look::Closed => None,
        }
    }

    /// Returns a view of all that is cached, as of one state of the server, for as long as it is
    /// held. `None` if nothing may be served now; see [`Status::serves_hits`].
    pub fn view(&self) -> Option<View<K, V>> {
        let core = self.core();
        let limit = core.limit();
        let is_open = core.is_open();
        let view = core.cache.view();
        (is_open && core.clock.is_before([limit])).then_some(view)
    }

    /// Waits until no read of this cache shows anything that was replaced before this position in
    /// the server's log. A writer who has committed asks for the position, by
    /// `SELECT pg_current_wal_insert_lsn()`, and then reads its own writes.
    ///
    /// Does not wait if there is no stream, since nothing older can be read then. It waits no
    /// longer than it takes to give up a stream that does not get on: a few times the builder's
    /// [`dead_after`](crate::Builder::dead_after). A position that the server has not reached, such
    /// as one of another server, is not waited for: only what was committed before the call.
    pub async fn wait_for(&self, position: Lsn) {
        self.core().catch_up(position.as_u64()).await;
    }

    /// Returns the cache, for its statistics, its length, and the like. Entries that are read from
    /// it directly agree with each other, but may be older than
    /// [`max_staleness`](crate::Builder::max_staleness). Do not write to it.
    pub fn cache(&self) -> &Cache<K, V> {
        &self.core().cache
    }

    /// Tells how the cache is doing.
    pub fn status(&self) -> Status {
        let core = self.core();
        let confirmed = core.progress.confirmed();
        let position = core.progress.reached().position;
        let counts = &core.counts;
        Status {
            serves_hits: core.is_open() && core.clock.is_before([core.limit()]),
            streams: counts.links.get(),
            age: Duration::from_nanos(core.clock.now().saturating_sub(confirmed)),
            position: Lsn::from_u64(position),
            behind: counts.server.get().saturating_sub(position),
            transactions: counts.transactions.get(),
            cleared: counts.cleared.get(),
            loads: counts.loads.get(),
            uncached: counts.uncached.get(),
            hidden: counts.hidden.get(),
            flushes: counts.flushes.get(),
            last_failure: core.last_failure(),
        }
    }
}

impl<K, V> Clone for PgCache<K, V> {
    fn clone(&self) -> Self {
        Self { core: Arc::clone(&self.core), supervisor: Arc::clone(&self.supervisor) }
    }
}

impl<K, V> fmt::Debug for PgCache<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reached = self.core.progress.reached();
        f.debug_struct("PgCache").field("reached", &reached).finish_non_exhaustive()
    }
}
