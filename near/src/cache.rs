//! The public face.

use crate::builder::Builder;
use crate::core::Core;
use crate::error::Error;
use crate::held::{Held, Local};
use crate::load::LoadError;
use crate::multi::Multi;
use crate::status::Status;
use crate::view::NearView;
use coeval::Cache;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;

/// A cache in this process, in front of a Valkey or Redis that many processes share. Cheap to
/// clone: clones are handles of one cache. It ends with the last of them.
///
/// What it promises, and why that is true, is in the documentation of [the crate](crate).
pub struct NearCache<V: Clone + Send + Sync + 'static> {
    core: Arc<Core<V>>,
    supervisor: Arc<Supervisor>,
}

/// A task that ends with the last handle.
struct Supervisor {
    task: JoinHandle<()>,
    /// Whether the last handle is gone.
    is_over: Arc<AtomicBool>,
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // Relaxed: the end of the task, which `abort` brings about, comes later.
        self.is_over.store(true, Ordering::Relaxed);
        self.task.abort();
    }
}

/// Tells that nobody keeps the connections any more, however that came about.
struct End<V: Clone + Send + Sync + 'static> {
    core: Arc<Core<V>>,
    is_over: Arc<AtomicBool>,
}

impl<V: Clone + Send + Sync + 'static> Drop for End<V> {
    fn drop(&mut self) {
        // If the last handle is gone, there is nobody to tell, and the connections are left to what
        // still gives back a right.
        if !self.is_over.load(Ordering::Relaxed) {
            self.core.note_end(match std::thread::panicking() {
                true => "the task that keeps the connections has ended by a panic",
                false => "the runtime in which the cache connected has ended",
            });
        }
    }
}

impl<V: Clone + Send + Sync + 'static> NearCache<V> {
    /// Returns a builder for a cache over the server at this address, such as
    /// `redis://127.0.0.1:6379`.
    pub fn builder(url: &str) -> Builder<V> {
        Builder::new(url)
    }

    /// `supervise` keeps the connections.
    pub(crate) fn new(
        core: Arc<Core<V>>,
        supervise: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let end = End { core: Arc::clone(&core), is_over: Arc::clone(&is_over) };
        let task = async move {
            // The first to be declared is dropped last: by then, nothing else connects any more.
            let _end = end;
            supervise.await;
        };
        let supervisor = Supervisor { task: tokio::spawn(task), is_over };
        Self { core, supervisor: Arc::new(supervisor) }
    }

    #[inline]
    pub(crate) fn core(&self) -> &Core<V> {
        &self.core
    }

    /// Returns the value of `key`, or `None` if the server has none: from the L1 if that knows it,
    /// else from the server. Callers who ask for one key at a time wait for one read.
    ///
    /// A hit takes no lock, does not wait, and does not touch the network.
    ///
    /// # Errors
    /// [`Error::Down`], [`Error::Lost`] or [`Error::Server`] if the server was needed, and did not
    /// answer within the times that the builder sets; [`Error::Unsettled`] if no node of a cluster
    /// does; [`Error::Codec`] for bytes that the codec cannot read; [`Error::Server`] for a key of
    /// another type than string.
    pub async fn get(&self, key: &str) -> Result<Option<V>, Error> {
        match self.core().local(key) {
            Local::Present(value) => Ok(Some(value)),
            Local::Absent => Ok(None),
            // In a box, so that what a hit carries is small.
            Local::Unknown => Box::pin(self.core().get_from_server(key)).await,
        }
    }

    /// Returns the values of several keys, in their order, all as of one state of the server: never
    /// one from before a transaction and one from after it.
    ///
    /// Makes one round trip for the keys that the L1 does not know. If an entry of the L1 was
    /// invalidated meanwhile, it makes a second one, for all keys; never a third. Keys of another
    /// type than string are absent.
    ///
    /// # Errors
    /// As those of [`get`](Self::get); and [`Error::CrossSlot`] if the keys lie in different slots of
    /// a cluster.
    pub async fn get_many(&self, keys: &[&str]) -> Result<Vec<Option<V>>, Error> {
        self.core().get_many(keys).await
    }

    /// Returns what is known of `key` here. Never waits, and never touches the network.
    #[inline]
    pub fn get_local(&self, key: &str) -> Local<V> {
        self.core().local(key)
    }

    /// Returns the value of `key`, from the L1, from the server, or from `load`, whose value is
    /// then written to the server. In this process one caller loads a key, and the others wait.
    /// Among all processes, the one loads that has got the right to, by a key on the server
    /// (`coeval:load:` and the key; in a cluster with a number in braces between) that lasts as
    /// long as the builder's [`load_timeout`](Builder::load_timeout).
    ///
    /// A write of the key by [`multi`](Self::multi) or
    /// [`compare_and_set`](Self::compare_and_set), of any process, takes that right away. What was
    /// loaded before such a write is not written to the server after it. A write by other means is
    /// noticed only if the key is present when the load ends.
    ///
    /// A caller waits for the loaders of others, in this process or elsewhere, no longer than
    /// `load_timeout` in all. Then it loads by itself. If it gets the right, because that of the
    /// other one is over, its value is written, and that of the other one is not, whichever comes
    /// first. If not, its value is its own, and is not written.
    ///
    /// A loader should not wait for itself: by loading its own key from this cache, or one whose
    /// loader waits for it. Nobody notices that. One of those who wait for each other does so until
    /// `load_timeout`, and then loads by itself.
    ///
    /// The right is given back if the loader fails or panics, if its value cannot be encoded, and
    /// if the future is dropped; after a panic and a drop by a task in the runtime in which the
    /// cache connected. If that has ended, or the server cannot be reached, the right lasts until
    /// its time is over.
    ///
    /// # Errors
    /// [`LoadError::Loader`] if the loader failed; then another caller loads. [`LoadError::Cache`]
    /// as [`get`](Self::get), and if the value cannot be encoded.
    pub async fn get_with<E>(
        &self,
        key: &str,
        load: impl Future<Output = Result<V, E>>,
    ) -> Result<V, LoadError<E>> {
        self.core.get_with(key, load).await
    }

    /// Begins a transaction: several writes that the server does as one.
    pub fn multi(&self) -> Multi<'_, V> {
        Multi::new(self.core())
    }

    /// Sets `key` to `value` if the server has `expected` for it, byte for byte, or if it is absent
    /// and `expected` is `None`. Returns whether it was set. When this returns, no read of this
    /// cache shows what it replaced.
    ///
    /// A key that was set has no deadline afterwards, as after [`Multi::set`], even if it had one;
    /// see [`compare_and_set_with_ttl`](Self::compare_and_set_with_ttl). One that was not set keeps
    /// its own.
    ///
    /// # Errors
    /// As those of [`Multi::exec`].
    pub async fn compare_and_set(
        &self,
        key: &str,
        expected: Option<&V>,
        value: &V,
    ) -> Result<bool, Error> {
        self.core().compare_and_set(key, expected, value, None).await
    }

    /// Sets `key` as [`compare_and_set`](Self::compare_and_set) does, if it is as expected. Then
    /// the server removes it after this time, counted from now: a whole number of milliseconds, at
    /// least one. A key that was not set keeps the deadline that it has.
    ///
    /// # Errors
    /// As those of [`Multi::exec`].
    pub async fn compare_and_set_with_ttl(
        &self,
        key: &str,
        expected: Option<&V>,
        value: &V,
        time_to_live: Duration,
    ) -> Result<bool, Error> {
        self.core().compare_and_set(key, expected, value, Some(time_to_live)).await
    }

    /// Returns a view of what is known here, as of one state of the server, for as long as it is
    /// held. `None` if nothing may be served now; see [`Status::serves_hits`]. In a cluster, `None`
    /// only if too long nothing was heard of it: of a slot that may not be served now, the view
    /// knows nothing.
    pub fn view(&self) -> Option<NearView<V>> {
        NearView::open(self.core())
    }

    /// Returns the L1, for its statistics, its length, and the like. Entries that are read from it
    /// directly agree with each other, but may be older than
    /// [`max_staleness`](Builder::max_staleness). Do not write to it.
    pub fn cache(&self) -> &Cache<String, Held<V>> {
        &self.core().l1
    }

    /// Tells how the cache is doing. Takes no lock, and does not wait.
    pub fn status(&self) -> Status {
        let core = self.core();
        let confirmed = core.serving.confirmed();
        let now = core.clock.now();
        let counts = &core.counts;
        Status {
            connected: core.map().is_up(),
            serves_hits: core.serving.terms.is_any() && now < core.limit(),
            connections: counts.links.get(),
            age: Duration::from_nanos(now.saturating_sub(confirmed)),
            reads: counts.reads.get(),
            installed: counts.installed.get(),
            refused: counts.refused.get(),
            pushes: counts.pushes.get(),
            flushes: counts.flushes.get(),
            last_failure: core.last_failure.load().as_deref().cloned(),
        }
    }
}

impl<V: Clone + Send + Sync + 'static> Clone for NearCache<V> {
    fn clone(&self) -> Self {
        Self { core: Arc::clone(&self.core), supervisor: Arc::clone(&self.supervisor) }
    }
}

impl<V: Clone + Send + Sync + 'static> fmt::Debug for NearCache<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NearCache").field("status", &self.status()).finish_non_exhaustive()
    }
}
