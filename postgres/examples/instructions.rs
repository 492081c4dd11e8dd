//! How many instructions a hit takes beside `Cache::get`, as callgrind counts them:
//!
//! ```sh
//! cargo run --release -p coeval-postgres --example instructions
//! ```
//!
//! It starts a server of its own, as the example `service` does, and runs itself under valgrind
//! (Debian: `apt-get install valgrind`). Beside the instructions stands the time of a hit, without
//! valgrind: the least of many rounds.

#[path = "../../benches/src/instructions.rs"]
mod instructions;
#[allow(dead_code)]
#[path = "../src/tests/server.rs"]
mod server;

use coeval::Cache;
use coeval_postgres::{FENCE, Fence, PgCache, PgWireError, ReplicationConfig};
use instructions::Row;
use server::{Client, Server, text};
use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

const KEYS: u64 = 1_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if let Some(port) = std::env::args().nth(1) {
        return runtime.block_on(async { look(port.parse().expect("a port")).await });
    }
    let server = Server::start(&[]).expect("there is a PostgreSQL");
    runtime.block_on(server.tell("CREATE PUBLICATION app"));
    instructions::report(&[&server.port().to_string()]);
}

async fn look(port: u16) {
    let config =
        ReplicationConfig::new("127.0.0.1", "postgres", "", "postgres", "instructions", "app");
    let cache = PgCache::<u64, u64>::builder(config.with_port(port))
        .keys(|_, _| Ok(()))
        .connect(Cache::new())
        .await
        .expect("the server runs");
    let client = Client::connect(port).await;
    let own = Cache::<u64, u64>::new();
    for key in 0..KEYS {
        let load = async { Ok::<_, PgWireError>((fence(&client).await?, key)) };
        cache.get(key, load).await.expect("the server runs");
        own.insert(key, key);
    }
    instructions::measure(&[
        Row { name: "`Cache::get`", run: &|times| cache_get(&own, times) },
        Row { name: "`get_local` of one key", run: &|times| get_local(&cache, times) },
        Row { name: "`get`, polled", run: &|times| get(&cache, times) },
        Row { name: "`Cache::get_many` of three keys", run: &|times| cache_get_3(&own, times) },
        Row { name: "`get_local` of three keys", run: &|times| get_local_3(&cache, times) },
    ]);
}

async fn fence(client: &Client) -> Result<Fence, PgWireError> {
    let rows = client.rows(FENCE).await?;
    Ok(text(&rows[0], 0).and_then(|text| text.parse().ok()).expect("a fence"))
}

fn key(at: u64) -> u64 {
    black_box(at % KEYS)
}

fn three(at: u64) -> [u64; 3] {
    [key(at), key(at + 1), key(at + 2)]
}

fn cache_get(own: &Cache<u64, u64>, times: u64) {
    (0..times).for_each(|at| assert!(black_box(own.get(&key(at))).is_some()));
}

fn get_local(cache: &PgCache<u64, u64>, times: u64) {
    (0..times).for_each(|at| assert!(black_box(cache.get_local(&[key(at)])).is_some()));
}

fn get(cache: &PgCache<u64, u64>, times: u64) {
    let mut context = Context::from_waker(Waker::noop());
    for at in 0..times {
        let load = std::future::pending::<Result<(Fence, u64), ()>>();
        match pin!(cache.get(key(at), load)).poll(&mut context) {
            Poll::Ready(value) => assert!(black_box(value).is_ok()),
            Poll::Pending => panic!("not a hit"),
        }
    }
}

fn cache_get_3(own: &Cache<u64, u64>, times: u64) {
    (0..times).for_each(|at| assert!(black_box(own.get_many(three(at).each_ref()))[0].is_some()));
}

fn get_local_3(cache: &PgCache<u64, u64>, times: u64) {
    (0..times).for_each(|at| assert!(black_box(cache.get_local(&three(at))).is_some()));
}
