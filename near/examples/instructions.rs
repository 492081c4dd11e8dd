//! How many instructions a hit takes beside `Cache::get`, as callgrind counts them:
//!
//! ```sh
//! cargo run --release -p coeval-redis --example instructions
//! ```
//!
//! It starts a server of its own, as the example `bench` does, and runs itself under valgrind
//! (Debian: `apt-get install valgrind`). Beside the instructions stands the time of a hit, without
//! valgrind: the least of many rounds.

#[allow(dead_code)]
#[path = "../src/tests/server.rs"]
mod server;

#[path = "../../benches/src/instructions.rs"]
mod instructions;

use coeval::Cache;
use coeval_redis::{NearCache, Postcard};
use instructions::Row;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

const KEYS: u64 = 1_000;

fn main() {
    if let Some(url) = std::env::args().nth(1) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        return runtime.block_on(async { look(&url).await });
    }
    server::with_each("instructions", async |server| {
        println!("\n# {}\n", server.version().await);
        instructions::report(&[&server.url()]);
    });
}

async fn look(url: &str) {
    let near = NearCache::<u64>::builder(url).codec(Postcard).connect().await.unwrap();
    let own = Cache::<String, u64>::new();
    let hour = std::time::Duration::from_secs(3_600);
    let timed = Cache::<String, u64>::builder().time_to_live(hour).build();
    let keys: Vec<String> = (0..KEYS).map(|at| format!("key:{at}")).collect();
    let other = NearCache::<u64>::builder(url).codec(Postcard).connect().await.unwrap();
    for (key, value) in keys.iter().zip(0..) {
        other.multi().set(key, &value).exec().await.unwrap();
        near.get(key).await.unwrap();
        own.insert(key.clone(), value);
        timed.insert(key.clone(), value);
    }
    instructions::measure(&[
        Row { name: "`Cache::get`", run: &|times| cache_get(&own, &keys, times) },
        Row { name: "the same with a time to live", run: &|times| cache_get(&timed, &keys, times) },
        Row { name: "`get_local`", run: &|times| get_local(&near, &keys, times) },
        Row { name: "`get`, polled", run: &|times| get(&near, &keys, times) },
    ]);
}

fn each<'k>(keys: &'k [String], times: u64, mut act: impl FnMut(&'k str)) {
    for at in 0..times {
        act(black_box(&keys[at as usize % keys.len()]));
    }
}

fn cache_get(own: &Cache<String, u64>, keys: &[String], times: u64) {
    each(keys, times, |key| assert!(black_box(own.get(key)).is_some()));
}

fn get_local(near: &NearCache<u64>, keys: &[String], times: u64) {
    each(keys, times, |key| assert!(black_box(near.get_local(key)).is_known()));
}

fn get(near: &NearCache<u64>, keys: &[String], times: u64) {
    let mut context = Context::from_waker(Waker::noop());
    each(keys, times, |key| match pin!(near.get(key)).poll(&mut context) {
        Poll::Ready(value) => drop(black_box(value)),
        Poll::Pending => panic!("not a hit"),
    });
}
