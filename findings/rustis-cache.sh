#!/usr/bin/env bash
# rustis: an MGET of its client-side cache keeps a reply that its invalidation overtook; the cache
# does not hear of FLUSHALL; and one MGET returns values of two states of the server.
#
# Expected: "the cache re-checks the invalidation generation after every insert and removes what
# raced it" (documentation of `CacheStore`). And after FLUSHALL, Redis sends a client that tracks an
# invalidation with null in place of keys, which means all of them.
#
# What happens:
# - The reply to an MGET and the invalidation of its key arrive together (somebody wrote the key
#   while the reply was on its way). A task of its own applies the invalidation, and then the caller
#   of the MGET puts its reply into the cache. It stays there: `Cache::get` looks whether its reply
#   was overtaken, and `Cache::mget` does not. As no read of the key reaches the server any more, no
#   later write of it is told of, either: here the reader has "old" after two writes. The entry ends
#   with its time to live.
# - FLUSHALL removes nothing from the cache. The server has forgotten by then what the client has
#   read, so no later write is told of, either.
# - One key of an MGET is in the cache, and only the other one is asked for. A transaction that sets
#   both comes in between. The MGET returns the old one and the new one, although no state of the
#   server ever had that. (The next MGET is right.)
#
# Here the order is forced, by a network that is slow from the server to the reader (it delivers all
# bytes, unchanged and in order), and by a runtime with one worker, which runs first what was woken
# last.
#
# Versions: rustis 0.27.2 with feature client-cache, default tracking; tokio 1.54.1. The server is
# Redis 7.0.15 (Debian 12).
#
# For users: give entries a time to live that you can bear, and read by `get`, not by `mget`. After
# FLUSHALL make a new cache. Do not read values that belong together by this cache. docs/near.md has
# how often replies are overtaken without force.
#
# Seen:
#   the GET that is overtaken returns old
#   half a second later: the server has new, the reader gets new
#   after one more write: the server has newer, the reader gets newer
#   the MGET that is overtaken returns old
#   half a second later: the server has new, the reader gets old
#   after one more write: the server has newer, the reader gets old
#   a is in the cache, as old; one MULTI/EXEC sets a and b to new
#   one MGET of a and b: old and new
#   half a second later: new and new
#   flushed is in the cache, as old; then FLUSHALL
#   after it: the server has nothing, the reader gets old
#   after a write: the server has new, the reader gets old
. "$(dirname "${BASH_SOURCE[0]}")/common.bash"

need_redis
start "$redis"
rust "
redis = { version = '=1.8.1', default-features = false }
rustis.version = '=0.27.2'
rustis.default-features = false
rustis.features = ['client-cache', 'tokio-runtime']
tokio = { version = '=1.54.1', features = ['macros', 'rt-multi-thread', 'time'] }
" "$port" >"$temp/seen" <<'RUST'
mod network;

use network::Network;
use redis::{Client as Other, Connection, cmd, pipe};
use rustis::cache::Cache;
use rustis::client::Client;
use rustis::commands::ClientTrackingOptions;
use std::sync::Arc;
use std::time::Duration;

struct Test {
    reader: Arc<Cache>,
    network: Network,
    other: Connection,
}

impl Test {
    async fn begin(server: u16) -> Self {
        let network = Network::to(server);
        let client = Client::connect(format!("redis://127.0.0.1:{}", network.port)).await.unwrap();
        let reader = Cache::new(client, 1_800, ClientTrackingOptions::default()).await.unwrap();
        let other = Other::open(format!("redis://127.0.0.1:{server}")).unwrap();
        Self { reader, network, other: other.get_connection().unwrap() }
    }

    async fn get(&self, key: &str) -> String {
        self.reader.get::<Option<String>>(key).await.unwrap().unwrap_or_else(|| "nothing".into())
    }

    async fn mget(&self, keys: &[&str]) -> String {
        let values: Vec<Option<String>> = self.reader.mget(keys).await.unwrap();
        let values = values.into_iter().map(|it| it.unwrap_or_else(|| "nothing".into()));
        values.collect::<Vec<_>>().join(" and ")
    }

    fn set(&mut self, key: &str, value: &str) {
        cmd("SET").arg(key).arg(value).exec(&mut self.other).unwrap();
    }

    fn there(&mut self, key: &str) -> String {
        let value: Option<String> = cmd("GET").arg(key).query(&mut self.other).unwrap();
        value.unwrap_or_else(|| "nothing".into())
    }

    fn set_both(&mut self, value: &str) {
        let mut transaction = pipe();
        transaction.atomic().set("a", value).set("b", value);
        transaction.exec(&mut self.other).unwrap();
    }

    async fn until_on_its_way(&self, what: &str) {
        while !self.network.on_its_way(what) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The reader's command is answered, then the key is written, and then both the answer and the
    /// invalidation arrive.
    async fn overtaken(&mut self, key: &'static str, is_mget: bool) -> String {
        self.set(key, "old");
        self.network.slow();
        let reader = Arc::clone(&self.reader);
        let reply = tokio::spawn(async move {
            if is_mget {
                reader.mget::<Vec<String>>([key]).await.unwrap().remove(0)
            } else {
                reader.get::<String>(key).await.unwrap()
            }
        });
        self.until_on_its_way("old").await;
        self.set(key, "new");
        self.until_on_its_way("invalidate").await;
        self.network.arrive();
        reply.await.unwrap()
    }

    async fn show(&mut self, when: &str, key: &str) {
        quiet().await;
        let (there, here) = (self.there(key), self.get(key).await);
        println!("{when}: the server has {there}, the reader gets {here}");
    }
}

async fn quiet() {
    tokio::time::sleep(Duration::from_millis(500)).await;
}

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() {
    let server: u16 = std::env::args().nth(1).unwrap().parse().unwrap();
    tokio::spawn(run(server)).await.unwrap();
}

async fn run(server: u16) {
    let mut test = Test::begin(server).await;
    for (name, key, is_mget) in [("GET", "one", false), ("MGET", "two", true)] {
        println!("the {name} that is overtaken returns {}", test.overtaken(key, is_mget).await);
        test.show("half a second later", key).await;
        test.set(key, "newer");
        test.show("after one more write", key).await;
    }

    test.set_both("old");
    println!("a is in the cache, as {}; one MULTI/EXEC sets a and b to new", test.get("a").await);
    test.network.slow();
    test.set_both("new");
    test.until_on_its_way("invalidate").await;
    let (reply, ()) = tokio::join!(test.mget(&["a", "b"]), async {
        test.until_on_its_way("new").await;
        test.network.arrive();
    });
    println!("one MGET of a and b: {reply}");
    quiet().await;
    println!("half a second later: {}", test.mget(&["a", "b"]).await);

    test.set("flushed", "old");
    println!("flushed is in the cache, as {}; then FLUSHALL", test.get("flushed").await);
    cmd("FLUSHALL").exec(&mut test.other).unwrap();
    test.show("after it", "flushed").await;
    test.set("flushed", "new");
    test.show("after a write", "flushed").await;
}
RUST
as_stated 'what the cache of rustis keeps'
