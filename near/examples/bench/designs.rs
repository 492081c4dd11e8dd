//! The ways to read a server.

use crate::server::{self, Server};
use coeval_redis::{NearCache, Raw};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, PushInfo, PushKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
