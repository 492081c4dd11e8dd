//! What a near cache costs, and what it spares, beside other ways to read the same server:
//!
//! ```sh
//! cargo run --release -p coeval-redis --example bench
//! ```
//!
//! It starts a server of its own, `redis-server` or `valkey-server` from `PATH` or what
//! `COEVAL_SERVERS` names, on a free loopback port. `SECONDS_EACH` is how long it looks for torn
//! groups in each design (default 3).

#[allow(dead_code)]
#[path = "../src/tests/server.rs"]
mod server;

use coeval_redis::{NearCache, Raw};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, PushInfo, PushKind};
use server::Server;
use std::future::Future;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

fn main() {
    server::with_each("bench", async |server| {
        println!("\n# {}\n", server.version().await);
        rates(server).await;
        designs(server).await;
        notices(server).await;
    });
}

async fn near(server: &Server) -> NearCache<String> {
    NearCache::<String>::builder(&server.url()).codec(Raw).connect().await.unwrap()
}

async fn connection(server: &Server, config: AsyncConnectionConfig) -> MultiplexedConnection {
    let url = format!("{}?protocol=resp3", server.url());
    let client = redis::Client::open(url).unwrap();
    client.get_multiplexed_async_connection_with_config(&config).await.unwrap()
}

/// A connection with the client-side cache of the `redis` crate.
async fn cached(server: &Server) -> MultiplexedConnection {
    let cache = redis::caching::CacheConfig::new();
    connection(server, AsyncConnectionConfig::new().set_cache_config(cache)).await
}

async fn get(connection: &mut MultiplexedConnection, key: &str) -> Option<String> {
    redis::cmd("GET").arg(key).query_async(connection).await.unwrap()
}

async fn get_both(connection: &mut MultiplexedConnection) -> [Option<String>; 2] {
    redis::cmd("MGET").arg(&["a", "b"]).query_async(connection).await.unwrap()
}

/// Prints operations a second of one task that does one after the other.
async fn rate<F: Future>(name: &str, count: u64, mut operation: impl FnMut(u64) -> F) {
    let begin = Instant::now();
    for at in 0..count {
        black_box(operation(at).await);
    }
    println!("| {name} | {:.0} |", count as f64 / begin.elapsed().as_secs_f64());
}

async fn rates(server: &Server) {
    println!("| one task | operations a second |\n|---|--:|");
    let (near, mut own, plain) =
        (near(server).await, cached(server).await, connection(server, Default::default()).await);
    let local = coeval::Cache::<String, String>::new();
    local.insert("hot".to_owned(), "value".to_owned());
    server.tell("SET hot value").await;
    near.get("hot").await.unwrap();
    get(&mut own, "hot").await;
    rate("hit: `Cache::get`", 2_000_000, |_| std::future::ready(local.get("hot"))).await;
    rate("hit: `get_local`", 2_000_000, |_| std::future::ready(near.get_local("hot"))).await;
    rate("hit: `get`", 2_000_000, |_| near.get("hot")).await;
    rate("hit: cache of the redis crate", 200_000, |_| {
        let mut own = own.clone();
        async move { get(&mut own, "hot").await }
    })
    .await;
    let keys: Vec<String> = (0..20_000).map(|at| format!("cold:{at}")).collect();
    rate("miss: `get`", 20_000, |at| near.get(&keys[at as usize])).await;
    rate("miss: cache of the redis crate", 20_000, |at| {
        let (mut own, key) = (own.clone(), &keys[at as usize]);
        async move { get(&mut own, key).await }
    })
    .await;
    rate("plain GET", 20_000, |at| {
        let (mut plain, key) = (plain.clone(), &keys[at as usize]);
        async move { get(&mut plain, key).await }
    })
    .await;
}

/// A way to read the two keys of a group, of which one may be cached.
#[allow(async_fn_in_trait)]
trait Design {
    async fn one(&mut self) -> Option<String>;
    async fn both(&mut self) -> [Option<String>; 2];
}

impl Design for NearCache<String> {
    async fn one(&mut self) -> Option<String> {
        self.get("a").await.unwrap()
    }

    async fn both(&mut self) -> [Option<String>; 2] {
        self.get_many(&["a", "b"]).await.unwrap().try_into().unwrap()
    }
}

impl Design for MultiplexedConnection {
    async fn one(&mut self) -> Option<String> {
        get(self, "a").await
    }

    async fn both(&mut self) -> [Option<String>; 2] {
        get_both(self).await
    }
}

async fn designs(server: &Server) {
    println!("\n| beside a writer | group reads | torn | stale after quiet |\n|---|--:|--:|--:|");
    look(server, "`get_many`", near(server).await).await;
    look(server, "MGET, cache of the redis crate", cached(server).await).await;
    look(server, "plain MGET", connection(server, Default::default()).await).await;
}

/// Counts groups whose keys differ, beside a writer that keeps them equal by MULTI/EXEC; and rounds
/// of a write and a read side by side after which, when all is quiet, an old value is read.
async fn look(server: &Server, name: &str, mut design: impl Design) {
    let seconds = std::env::var("SECONDS_EACH").ok().and_then(|it| it.parse().ok()).unwrap_or(3);
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (mut other, stop) = (server.other().await, Arc::clone(&stop));
        async move {
            for round in 0u64.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                write_both(&mut other, round).await;
                tokio::time::sleep(Duration::from_micros(200)).await;
            }
        }
    });
    let (begin, mut reads, mut torn) = (Instant::now(), 0u64, 0u64);
    while begin.elapsed() < Duration::from_secs(seconds) {
        design.one().await;
        let [a, b] = design.both().await;
        reads += 1;
        torn += u64::from(a != b);
        if reads.is_multiple_of(64) {
            tokio::task::yield_now().await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    writer.await.unwrap();
    let rounds = 500;
    let stale = stale_rounds(server, &mut design, rounds).await;
    println!("| {name} | {reads} | {torn} | {stale} of {rounds} |");
}

async fn write_both(other: &mut MultiplexedConnection, value: u64) {
    let mut pipe = redis::pipe();
    pipe.atomic().cmd("SET").arg("a").arg(value).cmd("SET").arg("b").arg(value);
    pipe.exec_async(other).await.unwrap();
}

async fn stale_rounds(server: &Server, design: &mut impl Design, rounds: u64) -> u64 {
    let mut other = server.other().await;
    let mut stale = 0;
    for round in 0..rounds {
        let value = 1_000_000_000 + round;
        tokio::join!(write_both(&mut other, value), async {
            design.both().await;
        });
        tokio::time::sleep(Duration::from_millis(2)).await;
        let expected = Some(value.to_string());
        stale += u64::from(design.both().await != [expected.clone(), expected]);
    }
    stale
}

/// Prints how long it takes from the sending of a write until it is noticed here.
async fn notices(server: &Server) {
    println!("\n| from a write to its notice | p50 | p99.9 |\n|---|--:|--:|");
    let near = near(server).await;
    let mut other = server.other().await;
    let mut times = Vec::new();
    for _ in 0..5_000 {
        near.get("a").await.unwrap();
        let sent = Instant::now();
        let write = tokio::spawn(set(other.clone()));
        while near.get_local("a").is_known() {
            tokio::task::yield_now().await;
        }
        times.push(sent.elapsed());
        write.await.unwrap();
    }
    print_times("the L1", times);

    let pushes = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&pushes);
    let receiver = move |push: PushInfo| -> Result<(), ()> {
        count.fetch_add(u64::from(push.kind == PushKind::Invalidate), Ordering::Relaxed);
        Ok(())
    };
    let mut bare = connection(server, AsyncConnectionConfig::new().set_push_sender(receiver)).await;
    server::tell(&mut bare, "CLIENT TRACKING ON").await;
    let mut times = Vec::new();
    for _ in 0..5_000 {
        get(&mut bare, "a").await;
        let before = pushes.load(Ordering::Relaxed);
        let sent = Instant::now();
        let write = tokio::spawn(set(other.clone()));
        while pushes.load(Ordering::Relaxed) == before {
            tokio::task::yield_now().await;
        }
        times.push(sent.elapsed());
        write.await.unwrap();
    }
    print_times("a bare client with tracking", times);
    server::tell(&mut other, "DEL a b").await;
}

async fn set(mut other: MultiplexedConnection) {
    server::tell(&mut other, "SET a 1").await;
}

fn print_times(name: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
    println!("| {name} | {:.0} µs | {:.0} µs |", at(0.5), at(0.999));
}
