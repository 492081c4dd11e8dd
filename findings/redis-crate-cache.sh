#!/usr/bin/env bash
# The redis crate (redis-rs): its client-side cache keeps a reply that its invalidation overtook,
# and answers one MGET with values of two states of the server.
#
# Expected: the crate's cache uses one connection for replies and invalidations, and Redis's manual
# on client-side caching, to which the crate's documentation leads, says that with one connection
# no reply can be overtaken. Its cache is called experimental.
#
# What happens:
# - The reply to a GET and the invalidation of its key arrive together (somebody wrote the key while
#   the reply was on its way). The task that reads the connection applies the invalidation, and then
#   the caller of the GET puts its reply into the cache. It stays there. As no read of the key
#   reaches the server any more, no later write of it is told of, either: here the reader has "old"
#   after two writes. The entry ends with its time to live, by default after 30 minutes.
# - One key of an MGET is in the cache, and only the other one is asked for. A transaction that sets
#   both comes in between. The MGET returns the old one and the new one, although no state of the
#   server ever had that. (The next MGET is right.)
#
# Here the order is forced, by a network that is slow from the server to the reader: it delivers all
# bytes, unchanged and in order.
#
# Versions: redis 1.8.1 (the newest that is no preview) and 2.0.0-rc.2, with feature cache-aio,
# MultiplexedConnection, protocol 3. In the preview the first is mended (it counts invalidations
# while a read is under way), the second is not. The server is Redis 7.0.15 (Debian 12). Lettuce has
# the first as redis/lettuce#3481.
#
# For users: give entries a time to live that you can bear (`set_default_client_ttl`); do not read
# values that belong together by this cache. docs/near.md has how often it happens without force.
#
# Seen:
#   redis 1.8.1
#   the GET that is overtaken returns old
#   half a second later: the server has new, the reader gets old
#   after one more write: the server has newer, the reader gets old
#   a is in the cache, as old; one MULTI/EXEC sets a and b to new
#   one MGET of a and b: old and new
#   half a second later: new and new
#   redis 2.0.0-rc.2
#   the GET that is overtaken returns old
#   half a second later: the server has new, the reader gets new
#   after one more write: the server has newer, the reader gets newer
#   a is in the cache, as old; one MULTI/EXEC sets a and b to new
#   one MGET of a and b: old and new
#   half a second later: new and new
. "$(dirname "${BASH_SOURCE[0]}")/common.bash"

need_redis
start "$redis"
cat >"$temp/main.rs" <<'RUST'
mod network;

use network::Network;
use redis::aio::MultiplexedConnection;
use redis::caching::CacheConfig;
use redis::{AsyncConnectionConfig, Client, Connection, cmd, pipe};
use std::thread;
use std::time::Duration;

struct Test {
    reader: MultiplexedConnection,
    network: Network,
    other: Connection,
}

impl Test {
    async fn begin(server: u16) -> Self {
        let network = Network::to(server);
        let url = |port| format!("redis://127.0.0.1:{port}/?protocol=resp3");
        let config = AsyncConnectionConfig::new().set_cache_config(CacheConfig::new());
        let client = Client::open(url(network.port)).unwrap();
        let reader = client.get_multiplexed_async_connection_with_config(&config).await.unwrap();
        let other = Client::open(url(server)).unwrap().get_connection().unwrap();
        Self { reader, network, other }
    }

    async fn get(&self, key: &str) -> String {
        cmd("GET").arg(key).query_async(&mut self.reader.clone()).await.unwrap()
    }

    fn there(&mut self) -> String {
        cmd("GET").arg("key").query(&mut self.other).unwrap()
    }

    async fn get_both(&self) -> (String, String) {
        cmd("MGET").arg("a").arg("b").query_async(&mut self.reader.clone()).await.unwrap()
    }

    fn set_both(&mut self, value: &str) {
        let mut transaction = pipe();
        transaction.atomic().set("a", value).set("b", value);
        transaction.exec(&mut self.other).unwrap();
    }

    /// The reader's `GET` is answered, then the key is written, and then both the answer and the
    /// invalidation arrive.
    async fn overtaken(&mut self) -> String {
        let reply = {
            let mut reader = self.reader.clone();
            tokio::spawn(async move {
                cmd("GET").arg("key").query_async::<String>(&mut reader).await.unwrap()
            })
        };
        while !self.network.on_its_way("old") {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        cmd("SET").arg("key").arg("new").exec(&mut self.other).unwrap();
        while !self.network.on_its_way("invalidate") {
            thread::sleep(Duration::from_millis(1));
        }
        self.network.arrive();
        reply.await.unwrap()
    }
}

async fn quiet() {
    tokio::time::sleep(Duration::from_millis(500)).await;
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let server: u16 = std::env::args().nth(1).unwrap().parse().unwrap();
    let mut test = Test::begin(server).await;
    cmd("SET").arg("key").arg("old").exec(&mut test.other).unwrap();
    test.network.slow();
    println!("the GET that is overtaken returns {}", test.overtaken().await);
    quiet().await;
    let (there, here) = (test.there(), test.get("key").await);
    println!("half a second later: the server has {there}, the reader gets {here}");
    cmd("SET").arg("key").arg("newer").exec(&mut test.other).unwrap();
    quiet().await;
    let (there, here) = (test.there(), test.get("key").await);
    println!("after one more write: the server has {there}, the reader gets {here}");

    test.set_both("old");
    let a = test.get("a").await;
    println!("a is in the cache, as {a}; one MULTI/EXEC sets a and b to new");
    test.network.slow();
    test.set_both("new");
    while !test.network.on_its_way("invalidate") {
        thread::sleep(Duration::from_millis(1));
    }
    let (reply, ()) = tokio::join!(test.get_both(), async {
        while !test.network.on_its_way("new") {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        test.network.arrive();
    });
    println!("one MGET of a and b: {} and {}", reply.0, reply.1);
    quiet().await;
    let reply = test.get_both().await;
    println!("half a second later: {} and {}", reply.0, reply.1);
}
RUST
for version in 1.8.1 2.0.0-rc.2; do
    echo "redis $version"
    rust "
redis = { version = '=$version', default-features = false, features = ['cache-aio', 'tokio-comp'] }
tokio = { version = '=1.54.1', features = ['macros', 'rt', 'time'] }
" "$port" <"$temp/main.rs"
done >"$temp/seen"
as_stated 'what the cache of the redis crate keeps'
