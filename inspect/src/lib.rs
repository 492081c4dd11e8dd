//! A page that shows what caches of [coeval] do while they run: hit ratios and rates, entries and
//! memory against the bound, the hottest keys, open views, what each thread did last, and why a key
//! holds what it holds.
//!
//! ```no_run
//! # async fn run() -> std::io::Result<()> {
//! use coeval_inspect::Inspector;
//!
//! let users: coeval::Cache<u64, String> = coeval::Cache::builder().name("users").build();
//! let inspector = Inspector::new().watch(&users);
//! // A small server of its own, which only this machine reaches:
//! inspector.clone().serve("127.0.0.1:8600".parse().unwrap()).await?;
//! // Or within a service, under a path, for whoever knows the token:
//! let service: axum::Router = axum::Router::new()
//!     .nest("/coeval", inspector.token("a long random text").router());
//! # Ok(())
//! # }
//! ```
//!
//! The page is one file without outside resources. It reads unless
//! [changes are allowed](Inspector::allow_changes). As long as nobody looks, nothing is done.

mod access;
mod routes;
mod watched;

use coeval::Cache;
use coeval::reclaim::Reclaim;
use std::fmt::{self, Display};
use std::hash::{BuildHasher, Hash};
use std::io;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use watched::{Keys, Watched, Watching};

/// What is shown, and to whom. It does not keep the caches.
#[derive(Clone)]
#[must_use = "it shows nothing until it is served"]
pub struct Inspector {
    pub(crate) caches: Vec<Arc<dyn Watched>>,
    pub(crate) token: Option<Arc<str>>,
    pub(crate) may_change: bool,
    /// The turns of requests that visit many entries.
    pub(crate) scans: Arc<Semaphore>,
}

/// An inspector that shows no caches.
impl Default for Inspector {
    fn default() -> Self {
        let scans = Arc::new(Semaphore::new(routes::SCANS));
        Self { caches: Vec::new(), token: None, may_change: false, scans }
    }
}

impl Inspector {
    /// Creates an inspector that shows no caches.
    pub fn new() -> Self {
        Self::default()
    }

    /// Also shows this cache, under its name. Keys are shown and read as `Display` and `FromStr`
    /// say.
    pub fn watch<K, V, S, R>(self, cache: &Cache<K, V, S, R>) -> Self
    where
        K: Clone + Display + FromStr + Hash + Eq + Send + Sync + 'static,
        V: Send + Sync + 'static,
        S: BuildHasher + Send + Sync + 'static,
        R: Reclaim,
    {
        self.watch_with(cache, K::to_string, |text| text.parse().ok())
    }

    /// Also shows this cache, whose keys are shown and read as these functions say. A text that is
    /// no key is `None`.
    pub fn watch_with<K, V, S, R>(
        mut self,
        cache: &Cache<K, V, S, R>,
        show: impl Fn(&K) -> String + Send + Sync + 'static,
        read: impl Fn(&str) -> Option<K> + Send + Sync + 'static,
    ) -> Self
    where
        K: Clone + Hash + Eq + Send + Sync + 'static,
        V: Send + Sync + 'static,
        S: BuildHasher + Send + Sync + 'static,
        R: Reclaim,
    {
        let keys = Keys { show: Box::new(show), read: Box::new(read) };
        let name =
            cache.name().map_or_else(|| format!("cache {}", self.caches.len()), str::to_owned);
        self.caches.push(Arc::new(Watching::new(cache, name, keys)));
        self
    }

    /// Shows figures and keys only to requests that have this token: `Authorization: Bearer …`. The
    /// page asks for it, or takes it from its address, after `#token=`, which browsers send to
    /// nobody.
    ///
    /// Without a token, only requests from this machine are answered.
    pub fn token(mut self, token: &str) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Lets the page change something: switch the flight recorder, and invalidate a key. Without
    /// this it only reads.
    pub fn allow_changes(mut self) -> Self {
        self.may_change = true;
        self
    }

    /// Returns a router, to be nested under a path of a service. With the path `/coeval`, the page
    /// is at `/coeval`, without a slash at the end.
    ///
    /// Without a [token](Self::token), it answers only requests whose sender it knows to be this
    /// machine. For that, serve the service with
    /// `into_make_service_with_connect_info::<SocketAddr>`.
    pub fn router(self) -> axum::Router {
        routes::router(self)
    }

    /// Serves the page at this address until an error occurs.
    ///
    /// # Errors
    /// Those of the network. [`io::ErrorKind::InvalidInput`] if others than this machine could
    /// reach the address, and there is no [token](Self::token).
    pub async fn serve(self, address: SocketAddr) -> io::Result<()> {
        if self.token.is_none() && !address.ip().is_loopback() {
            let message = "an address that others can reach takes a token";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let listener = TcpListener::bind(address).await?;
        let service = self.router().into_make_service_with_connect_info::<SocketAddr>();
        axum::serve(listener, service).await
    }
}

impl fmt::Debug for Inspector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.caches.iter().map(|cache| cache.name()).collect();
        f.debug_struct("Inspector").field("caches", &names).finish_non_exhaustive()
    }
}
