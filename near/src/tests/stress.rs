//! Readers beside writers who change groups of keys: what was torn, what went backwards, and what
//! was stale when all was quiet.

use super::server::Server;
use super::{builder, settle};
use crate::planted::Defect;
use crate::{Local, NearCache};
use redis::aio::MultiplexedConnection;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const GROUPS: usize = 4;
const MEMBERS: usize = 4;

const FUNCTION: &str = "#!lua name=coeval
redis.register_function('set_all', function(keys, args)
  for _, key in ipairs(keys) do redis.call('SET', key, args[1]) end
end)";

/// What was seen. All but `reads` must be zero.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    pub reads: u64,
    pub torn_groups: u64,
    pub torn_views: u64,
    pub torn_pairs: u64,
    pub stale: u64,
}

#[derive(Default)]
struct Counts {
    reads: AtomicU64,
    torn_groups: AtomicU64,
    torn_views: AtomicU64,
    torn_pairs: AtomicU64,
}

fn add(count: &AtomicU64, add: bool) {
    count.fetch_add(u64::from(add), Ordering::Relaxed);
}

fn keys(group: usize) -> Vec<String> {
    (0..MEMBERS).map(|member| format!("group:{group}:{member}")).collect()
}

/// How long a stress lasts: two seconds, unless `COEVAL_STRESS` is `long`.
fn duration() -> Duration {
    let is_long = std::env::var("COEVAL_STRESS").is_ok_and(|it| it == "long");
    Duration::from_secs(if is_long { 120 } else { 2 })
}

/// Runs readers of two caches, with this defect, beside two writers.
pub async fn stress(server: &Server, url: &str, defect: Option<Defect>) -> Seen {
    server.tell("FLUSHALL").await;
    let mut load = redis::cmd("FUNCTION");
    load.arg("LOAD").arg("REPLACE").arg(FUNCTION);
    load.exec_async(&mut server.other().await).await.unwrap();
    let counts = Arc::new(Counts::default());
    let stop = Arc::new(AtomicBool::new(false));
    let clock = Arc::new(AtomicU64::new(1));
    let mut caches = Vec::new();
    let mut tasks = Vec::new();
    for cache in 0..2 {
        let near = builder(url).plant(defect).connect().await.unwrap();
        for reader in 0..2 {
            let (near, counts, stop) = (near.clone(), Arc::clone(&counts), Arc::clone(&stop));
            tasks.push(tokio::spawn(read(near, counts, stop, cache * 2 + reader + 1)));
        }
        caches.push(near);
    }
    for (writer, near) in caches.iter().enumerate() {
        let (connection, stop, clock) =
            (server.other().await, Arc::clone(&stop), Arc::clone(&clock));
        let near = near.clone();
        tasks.push(tokio::spawn(write(connection, near, stop, clock, writer)));
    }
    tokio::time::sleep(duration()).await;
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    let stale = stale_after_quiet(server, &caches).await;
    let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
    Seen {
        reads: load(&counts.reads),
        torn_groups: load(&counts.torn_groups),
        torn_views: load(&counts.torn_views),
        torn_pairs: load(&counts.torn_pairs),
        stale,
    }
}

/// A small generator of chance.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % bound
    }
}

/// Writes a new generation to all members of a group, each way in which a server changes several
/// keys at once. A group has one writer, so its generations only grow.
async fn write(
    mut connection: MultiplexedConnection,
    near: NearCache<String>,
    stop: Arc<AtomicBool>,
    clock: Arc<AtomicU64>,
    writer: usize,
) {
    let mut chance = Chance(writer as u64 + 77);
    while !stop.load(Ordering::Relaxed) {
        let group = chance.below(GROUPS / 2) * 2 + writer;
        let value = clock.fetch_add(1, Ordering::Relaxed).to_string();
        let keys = keys(group);
        match chance.below(9) {
            8 => {
                let multi = keys.iter().fold(near.multi(), |multi, key| multi.set(key, &value));
                multi.exec().await.unwrap();
            }
            way => change(&mut connection, &keys, &value, way).await,
        }
        tokio::time::sleep(Duration::from_micros(chance.below(600) as u64)).await;
    }
}

async fn change(connection: &mut MultiplexedConnection, keys: &[String], value: &str, way: usize) {
    let mut pipe = redis::pipe();
    match way {
        0 => {
            pipe.cmd("DEL").arg(keys);
        }
        1 | 2 => {
            pipe.cmd("MSET");
            for key in keys {
                pipe.arg(key).arg(value);
            }
        }
        3 => {
            let script = "for _, key in ipairs(KEYS) do redis.call('SET', key, ARGV[1]) end";
            pipe.cmd("EVAL").arg(script).arg(keys.len()).arg(keys).arg(value);
        }
        4 => {
            pipe.cmd("FCALL").arg("set_all").arg(keys.len()).arg(keys).arg(value);
        }
        _ => {
            pipe.atomic();
            // The related keys first or last: whatever comes first must not be seen first.
            for key in keys.iter().rev() {
                pipe.cmd("SET").arg(key).arg(value);
            }
        }
    }
    pipe.exec_async(connection).await.unwrap();
}

async fn read(near: NearCache<String>, counts: Arc<Counts>, stop: Arc<AtomicBool>, seed: u64) {
    let mut chance = Chance(seed * 7919);
    while !stop.load(Ordering::Relaxed) {
        let keys = keys(chance.below(GROUPS));
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        match chance.below(4) {
            0 | 1 => {
                let values = near.get_many(&keys).await.unwrap();
                add(&counts.torn_groups, values.iter().any(|value| *value != values[0]));
            }
            2 => {
                let view = near.view().expect("the server was heard of lately");
                let known: Vec<_> =
                    keys.iter().map(|key| view.get(key)).filter(Local::is_known).collect();
                add(&counts.torn_views, known.iter().any(|value| *value != known[0]));
            }
            _ => {
                let [first, second] = [chance.below(MEMBERS), chance.below(MEMBERS)];
                let first = generation(near.get(keys[first]).await.unwrap());
                let second = generation(near.get(keys[second]).await.unwrap());
                if let (Some(first), Some(second)) = (first, second) {
                    add(&counts.torn_pairs, second < first);
                }
            }
        }
        add(&counts.reads, true);
        if chance.below(64) == 0 {
            tokio::task::yield_now().await;
        }
    }
}

fn generation(value: Option<String>) -> Option<u64> {
    value.map(|value| value.parse().unwrap())
}

/// How many of the entries that would be served differ from what the server has, when nobody has
/// written since a reply.
async fn stale_after_quiet(server: &Server, caches: &[NearCache<String>]) -> u64 {
    let mut connection = server.other().await;
    let mut stale = 0;
    for near in caches {
        settle(near).await;
        for key in (0..GROUPS).flat_map(keys) {
            let truth: Option<String> =
                redis::cmd("GET").arg(&key).query_async(&mut connection).await.unwrap();
            let local = near.get_local(&key);
            stale += u64::from(local.is_known() && local.present() != truth);
        }
    }
    stale
}
