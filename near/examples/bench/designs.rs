//! The ways to read a server.

use crate::server::{self, Server};
use bytes::Bytes;
use coeval_redis::{NearCache, Raw};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, PushInfo, PushKind};
use rustis::cache::{Cache, CacheStore, CachedValue, MokaStore};
use rustis::client::Client;
use rustis::commands::{ClientTrackingOptions, StringCommands};
use rustis::resp::BulkString;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub async fn near(server: &Server) -> NearCache<String> {
    NearCache::<String>::builder(&server.url()).codec(Raw).connect().await.unwrap()
}

async fn connection(server: &Server, config: AsyncConnectionConfig) -> MultiplexedConnection {
    let url = format!("{}?protocol=resp3", server.url());
    let client = redis::Client::open(url).unwrap();
    client.get_multiplexed_async_connection_with_config(&config).await.unwrap()
}

/// A connection that keeps nothing.
pub async fn plain(server: &Server) -> MultiplexedConnection {
    connection(server, AsyncConnectionConfig::new()).await
}

/// A connection with the client-side cache of the `redis` crate.
pub async fn cached(server: &Server) -> MultiplexedConnection {
    let cache = redis::caching::CacheConfig::new();
    connection(server, AsyncConnectionConfig::new().set_cache_config(cache)).await
}

/// A client that is told of changes, and counts how often.
pub async fn told(server: &Server) -> (MultiplexedConnection, Arc<AtomicU64>) {
    let pushes = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&pushes);
    let receiver = move |push: PushInfo| -> Result<(), ()> {
        count.fetch_add(u64::from(push.kind == PushKind::Invalidate), Ordering::Relaxed);
        Ok(())
    };
    let config = AsyncConnectionConfig::new().set_push_sender(receiver);
    let mut told = connection(server, config).await;
    server::tell(&mut told, "CLIENT TRACKING ON").await;
    (told, pushes)
}

/// The client-side cache of `rustis`, with default tracking and as many keys as its `Cache::new`
/// keeps.
pub struct Rustis {
    client: Client,
    pub cache: Arc<Cache<Counting>>,
    pub ended: Arc<AtomicU64>,
    fences: u64,
}

pub async fn rustis(server: &Server) -> Rustis {
    let client = Client::connect(server.url()).await.unwrap();
    let ended = Arc::new(AtomicU64::new(0));
    let store = MokaStore::new(Duration::from_secs(1_800), 10_000);
    let store = Counting { store, ended: Arc::clone(&ended) };
    let tracking = ClientTrackingOptions::default();
    let cache = Cache::with_store(client.clone(), store, tracking).await.unwrap();
    Rustis { client, cache, ended, fences: 0 }
}

/// The store that this cache has by default. It counts the entries that the server ends.
pub struct Counting {
    store: MokaStore,
    ended: Arc<AtomicU64>,
}

impl CacheStore for Counting {
    async fn get(&self, key: &BulkString, command: &Bytes) -> Option<CachedValue> {
        self.store.get(key, command).await
    }

    async fn insert(&self, key: BulkString, command: Bytes, value: CachedValue) {
        self.store.insert(key, command, value).await;
    }

    async fn invalidate(&self, key: &BulkString) {
        self.store.invalidate(key).await;
        self.ended.fetch_add(1, Ordering::Release);
    }

    fn invalidate_all(&self) {
        self.store.invalidate_all();
    }
}

pub async fn get(connection: &mut MultiplexedConnection, key: &str) -> Option<String> {
    redis::cmd("GET").arg(key).query_async(connection).await.unwrap()
}

/// A way to read the two keys of a group, of which one may be cached.
#[allow(async_fn_in_trait)]
pub trait Design {
    async fn one(&mut self, key: &str);
    async fn both(&mut self, keys: &[String; 2]) -> [Option<String>; 2];
    /// Asks the server, so that all that it has said before has come.
    async fn fence(&mut self);
}

impl Design for NearCache<String> {
    async fn one(&mut self, key: &str) {
        self.get(key).await.unwrap();
    }

    async fn both(&mut self, [a, b]: &[String; 2]) -> [Option<String>; 2] {
        self.get_many(&[a, b]).await.unwrap().try_into().unwrap()
    }

    async fn fence(&mut self) {
        self.cache().invalidate("fence");
        self.get("fence").await.unwrap();
    }
}

impl Design for MultiplexedConnection {
    async fn one(&mut self, key: &str) {
        get(self, key).await;
    }

    async fn both(&mut self, keys: &[String; 2]) -> [Option<String>; 2] {
        redis::cmd("MGET").arg(keys).query_async(self).await.unwrap()
    }

    async fn fence(&mut self) {
        redis::cmd("PING").exec_async(self).await.unwrap();
    }
}

impl Design for Rustis {
    async fn one(&mut self, key: &str) {
        self.cache.get::<Option<String>>(key).await.unwrap();
    }

    async fn both(&mut self, keys: &[String; 2]) -> [Option<String>; 2] {
        self.cache.mget::<Vec<Option<String>>>(keys).await.unwrap().try_into().unwrap()
    }

    /// A task of its own applies what the server says. It is in order, so what was said before is
    /// applied when an own write has ended the entry of its key.
    async fn fence(&mut self) {
        self.one("fence").await;
        self.fences += 1;
        self.client.set("fence", self.fences).await.unwrap();
        while self.cache.get::<Option<u64>>("fence").await.unwrap() != Some(self.fences) {
            tokio::task::yield_now().await;
        }
    }
}
