//! Settings, and the first connection.

use crate::cache::NearCache;
use crate::cluster::Cluster;
use crate::codec::{Codec, NoCodec};
use crate::core::Core;
use crate::error::Error;
use crate::held::Held;
use crate::planted::Planted;
use crate::read::late;
use crate::settings::{OnDisconnect, Settings};
use crate::source::{Sentinels, Source};
use crate::supervisor;
use redis::{ConnectionInfo, IntoConnectionInfo, ProtocolVersion, RedisError};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

/// A longer time for a call means this one, which can be added to the present time.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Collects the settings of a [`NearCache`]; made by [`NearCache::builder`].
#[must_use = "a builder does nothing until `connect` is called and awaited"]
pub struct Builder<V, C = NoCodec> {
    url: String,
    sentinels: Option<(String, Vec<String>)>,
    /// Further addresses of a cluster.
    cluster: Option<Vec<String>>,
    codec: Option<C>,
    max_capacity: Option<u64>,
    time_to_live: Option<Duration>,
    max_staleness: Duration,
    heartbeat: Option<Duration>,
    dead_after: Option<Duration>,
    settings: Settings,
    planted: Planted,
    value: PhantomData<fn() -> V>,
}

impl<V> Builder<V> {
    pub(crate) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            sentinels: None,
            cluster: None,
            codec: None,
            max_capacity: None,
            time_to_live: None,
            max_staleness: Duration::from_secs(1),
            heartbeat: None,
            dead_after: None,
            settings: Settings {
                prefix: String::new(),
                max_staleness: 0,
                heartbeat: Duration::ZERO,
                dead_after: Duration::ZERO,
                wait: Duration::from_secs(1),
                answer: Duration::from_secs(1),
                on_disconnect: OnDisconnect::default(),
                load: Duration::from_secs(5),
                keep_loaded: None,
            },
            planted: Planted::default(),
            value: PhantomData,
        }
    }
}

impl<V, C> Builder<V, C> {
    /// Sets the format of the values on the server. Every process that shares the keys needs the
    /// same. There is no default.
    pub fn codec<D: Codec<V>>(self, codec: D) -> Builder<V, D> {
        Builder {
            url: self.url,
            sentinels: self.sentinels,
            cluster: self.cluster,
            codec: Some(codec),
            max_capacity: self.max_capacity,
            time_to_live: self.time_to_live,
            max_staleness: self.max_staleness,
            heartbeat: self.heartbeat,
            dead_after: self.dead_after,
            settings: self.settings,
            planted: self.planted,
            value: PhantomData,
        }
    }

    /// Has these Sentinels say where the primary is that they know by this name: whenever a
    /// connection is set up, and at each heartbeat. What the cache's own address says of user,
    /// password, database and encryption holds for the primary; its host and port do not matter.
    pub fn sentinels(mut self, name: &str, urls: &[&str]) -> Self {
        let urls = urls.iter().map(|&url| url.to_owned()).collect();
        self.sentinels = Some((name.to_owned(), urls));
        self
    }

    /// The server is part of a cluster. The cache asks it where the other nodes are, or one of these
    /// servers if it does not answer, and keeps a connection to each primary. What the cache's own
    /// address says of user, password and encryption holds for all of them.
    ///
    /// A transaction, and what is promised of it, is one of a single slot: `get_many`, `multi` and
    /// tags over several slots return [`Error::CrossSlot`]. Keys with the same text in braces lie
    /// in one slot: `{7}:user` and `{7}:profile`, and the tag `{7}:all` with them. A
    /// [`key_prefix`](Self::key_prefix) in braces puts all keys of a cache into one slot.
    pub fn cluster(mut self, further_urls: &[&str]) -> Self {
        self.cluster = Some(further_urls.iter().map(|&url| url.to_owned()).collect());
        self
    }

    /// Sets how many entries the L1 holds, at most. Known absences count. Without a bound by
    /// default.
    pub fn max_capacity(mut self, entries: u64) -> Self {
        self.max_capacity = Some(entries);
        self
    }

    /// Sets the time after which an entry of the L1 is read from the server again, although the
    /// server has told of no change.
    pub fn time_to_live(mut self, time: Duration) -> Self {
        self.time_to_live = Some(time);
        self
    }

    /// Sets what stands before each key on the server. None by default.
    pub fn key_prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.settings.prefix);
        self
    }

    /// Sets how long after a change on the server the L1 may still serve what was changed, whatever
    /// the network does. One second by default.
    ///
    /// As long as all is well, changes are known here after the time that a message takes. The
    /// bound is for the times when messages do not come.
    pub fn max_staleness(mut self, time: Duration) -> Self {
        self.max_staleness = time;
        self
    }

    /// Sets how often the server is asked whether it is still there. A quarter of
    /// [`max_staleness`](Self::max_staleness) by default; hits fail if it is not less than that. A
    /// year at most.
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.heartbeat = Some(interval);
        self
    }

    /// Sets how long a heartbeat, or the setting up of a connection, may go without an answer until
    /// the connection is given up. [`max_staleness`](Self::max_staleness) by default, but at least
    /// one second; a year at most.
    pub fn dead_after(mut self, time: Duration) -> Self {
        self.dead_after = Some(time);
        self
    }

    /// Sets how long a call waits for a connection, if there is none. One second by default, and a
    /// year at most.
    pub fn connection_timeout(mut self, time: Duration) -> Self {
        self.settings.wait = time.min(LONGEST);
        self
    }

    /// Sets how long a call waits for the answer of the server; in a cluster, of all nodes to which
    /// it is sent in turn. One second by default, and a year at most.
    pub fn response_timeout(mut self, time: Duration) -> Self {
        self.settings.answer = time.min(LONGEST);
        self
    }

    /// Sets what becomes of hits while there is no connection.
    pub fn on_disconnect(mut self, what: OnDisconnect) -> Self {
        self.settings.on_disconnect = what;
        self
    }

    /// Breaks a rule of the protocol.
    #[cfg(test)]
    pub(crate) fn plant(mut self, defect: Option<crate::planted::Defect>) -> Self {
        self.planted.defect = defect;
        self
    }

    /// Sets how long a loader of [`get_with`](NearCache::get_with) may take until another caller
    /// loads the same key, in this process or in another one. So no caller waits longer for the
    /// loader of another one: all who have waited in vain load at once. It should be longer than
    /// the slowest load. Five seconds by default, and a year at most.
    pub fn load_timeout(mut self, time: Duration) -> Self {
        self.settings.load = time.min(LONGEST);
        self
    }

    /// Sets how long the server keeps what a loader of [`get_with`](NearCache::get_with) has
    /// returned. For ever by default.
    pub fn loaded_time_to_live(mut self, time: Duration) -> Self {
        self.settings.keep_loaded = Some(time);
        self
    }
}

/// An address, by which RESP3 is spoken.
fn resp3(url: &str) -> Result<ConnectionInfo, RedisError> {
    let info = url.into_connection_info()?;
    let redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    Ok(info.set_redis_settings(redis))
}

/// Where the primary is, from addresses as the builder has them.
fn source(url: &str, sentinels: Option<(String, Vec<String>)>) -> Result<Source, RedisError> {
    let info = resp3(url)?;
    let Some((name, urls)) = sentinels else {
        return Ok(Source::Address(Box::new(info)));
    };
    let clients = urls.into_iter().map(redis::Client::open).collect::<Result<_, _>>()?;
    Ok(Source::Sentinels(Sentinels::new(info, &name, clients)))
}

/// The cluster of which a server is a part, with further addresses, if it is part of one.
fn cluster(url: &str, further: Option<Vec<String>>) -> Result<Option<Cluster>, RedisError> {
    let Some(further) = further else { return Ok(None) };
    let further = further.iter().map(|url| resp3(url)).collect::<Result<_, _>>()?;
    Ok(Some(Cluster::new(resp3(url)?, further)))
}

/// As nanoseconds.
fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl<V: Clone + Send + Sync + 'static, C: Codec<V>> Builder<V, C> {
    /// Connects. Needs a tokio runtime with time and IO, in which the tasks of the connection run
    /// from then on, as long as a handle of the cache lives. If that runtime ends before, the
    /// connection counts as broken, and no other one follows: what needs the server fails at once,
    /// and [`Status::last_failure`](crate::Status::last_failure) says why.
    ///
    /// In a cluster, one of the addresses has to answer, each in its part of half of the time that
    /// a call waits for a connection. The other nodes have the other half. Those that need longer
    /// are connected later.
    ///
    /// # Errors
    /// [`Error::Setting`] if a setting makes no sense. [`Error::Connect`] if there is no server, or
    /// an address makes no sense. [`Error::Server`] if the server does not speak RESP3, is a
    /// replica, or is part of a cluster and [`cluster`](Self::cluster) was not called.
    pub async fn connect(self) -> Result<NearCache<V>, Error> {
        let heartbeat = self.heartbeat.unwrap_or(self.max_staleness / 4).min(LONGEST);
        let dead_after = self.dead_after.unwrap_or(self.max_staleness.max(Duration::from_secs(1)));
        let dead_after = dead_after.min(LONGEST);
        if let Some(what) = self.zero(heartbeat, dead_after) {
            return Err(Error::Setting(what));
        }
        let Some(codec) = self.codec else {
            return Err(Error::Setting("a codec must be set"));
        };
        if self.cluster.is_some() && self.sentinels.is_some() {
            return Err(Error::Setting("a cluster has no Sentinels"));
        }
        let cluster = cluster(&self.url, self.cluster).map_err(Error::Connect)?;
        let source = source(&self.url, self.sentinels).map_err(Error::Connect)?;

        let mut l1 = coeval::Cache::<String, Held<V>>::builder();
        if let Some(entries) = self.max_capacity {
            l1 = l1.max_capacity(entries);
        }
        if let Some(time) = self.time_to_live {
            l1 = l1.time_to_live(time);
        }
        let l1 = l1.try_build().map_err(|_| Error::Setting("time_to_live must not be zero"))?;
        let settings = Settings {
            max_staleness: nanoseconds(self.max_staleness),
            heartbeat,
            dead_after,
            ..self.settings
        };
        let core = Core::new(l1, Arc::new(codec), settings, cluster.is_some(), self.planted);
        let core = Arc::new(core);
        let start = start(Arc::clone(&core), cluster, source);
        let in_time = tokio::time::timeout(core.settings.wait, start).await;
        in_time.unwrap_or_else(|_| Err(late())).map_err(Error::of_connect)
    }

    /// What is wrong with the first time that is zero, if one is.
    fn zero(&self, heartbeat: Duration, dead_after: Duration) -> Option<&'static str> {
        let of_heartbeat = match self.heartbeat {
            Some(_) => "heartbeat must not be zero",
            None => {
                "max_staleness must be 4 ns at least: heartbeat is a quarter of it, and not zero"
            }
        };
        let times = [
            (self.max_staleness, "max_staleness must not be zero"),
            (heartbeat, of_heartbeat),
            (dead_after, "dead_after must not be zero"),
            (self.settings.wait, "connection_timeout must not be zero"),
            (self.settings.answer, "response_timeout must not be zero"),
            (self.settings.load, "load_timeout must not be zero"),
        ];
        times.into_iter().find_map(|(time, what)| time.is_zero().then_some(what))
    }
}

/// Connects for the first time, and has the connections kept.
async fn start<V: Clone + Send + Sync + 'static>(
    core: Arc<Core<V>>,
    cluster: Option<Cluster>,
    mut source: Source,
) -> Result<NearCache<V>, RedisError> {
    if let Some(mut cluster) = cluster {
        cluster.connect(&core).await?;
        return Ok(NearCache::new(Arc::clone(&core), cluster.supervise(core)));
    }
    let link = supervisor::connect(&core, &mut source).await?;
    let task = supervisor::supervise(Arc::clone(&core), source, link);
    Ok(NearCache::new(core, task))
}

impl<V, C> fmt::Debug for Builder<V, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the address: it may have a password.
        f.debug_struct("Builder").field("settings", &self.settings).finish_non_exhaustive()
    }
}
