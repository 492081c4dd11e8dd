//! Readers beside writers who change groups of keys: what was torn, what went backwards, and what
//! was stale when all was quiet.

use super::server::Server;
use super::{builder, settle};
use crate::planted::Defect;
use crate::{Error, Local, NearCache};
use redis::aio::MultiplexedConnection;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

pub const GROUPS: usize = 4;
const MEMBERS: usize = 4;

pub const FUNCTION: &str = "#!lua name=coeval
redis.register_function('set_all', function(keys, args)
  for _, key in ipairs(keys) do redis.call('SET', key, args[1]) end
end)";

/// What was seen. All but `reads` must be zero, and `failed` unless something goes wrong on
/// purpose.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    pub reads: u64,
    pub torn_groups: u64,
    pub torn_views: u64,
    pub torn_pairs: u64,
    pub stale: u64,
    /// Reads that returned an error.
    pub failed: u64,
}

#[derive(Default)]
pub struct Counts {
    reads: AtomicU64,
    failed: AtomicU64,
    torn_groups: AtomicU64,
    torn_views: AtomicU64,
    torn_pairs: AtomicU64,
}

fn add(count: &AtomicU64, add: bool) {
    count.fetch_add(u64::from(add), Ordering::Relaxed);
}

/// In a cluster, the keys of a group are in one slot.
pub fn keys(group: usize) -> Vec<String> {
    (0..MEMBERS).map(|member| format!("{{group:{group}}}:{member}")).collect()
}

impl Counts {
    pub fn seen(&self, stale: u64) -> Seen {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Seen {
            reads: load(&self.reads),
            torn_groups: load(&self.torn_groups),
            torn_views: load(&self.torn_views),
            torn_pairs: load(&self.torn_pairs),
            stale,
            failed: load(&self.failed),
        }
    }
}

/// How long a stress lasts: two seconds, unless `COEVAL_STRESS` says `long`, two minutes, or how
/// many seconds.
pub fn duration() -> Duration {
    let seconds = match std::env::var("COEVAL_STRESS").as_deref() {
        Ok("long") => 120,
        Err(_) | Ok("least" | "normal") => 2,
        Ok(seconds) => seconds.parse().expect("a number of seconds"),
    };
    Duration::from_secs(seconds)
}

/// Runs readers of two caches, with this defect, beside two writers.
pub async fn stress(server: &Server, url: &str, defect: Option<Defect>) -> Seen {
    let mut caches = Vec::new();
    for _ in 0..2 {
        caches.push(builder(url).plant(defect).connect().await.unwrap());
    }
    stress_during(server, &caches, true, tokio::time::sleep(duration())).await
}

/// Runs readers of these caches beside two writers, as long as `during` takes. With `own_writes`,
/// the writers write by the caches, too. That needs a network that loses nothing: a write without
/// an outcome might be done late, after another one.
pub async fn stress_during(
    server: &Server,
    caches: &[NearCache<String>],
    own_writes: bool,
    during: impl Future<Output = ()>,
) -> Seen {
    server.tell("FLUSHALL").await;
    let mut load = redis::cmd("FUNCTION");
    load.arg("LOAD").arg("REPLACE").arg(FUNCTION);
    load.exec_async(&mut server.other().await).await.unwrap();
    let counts = Arc::new(Counts::default());
    let stop = Arc::new(AtomicBool::new(false));
    let clock = Arc::new(AtomicU64::new(1));
    let mut tasks = Vec::new();
    for (at, near) in caches.iter().flat_map(|near| [near, near]).enumerate() {
        let (near, counts, stop) = (near.clone(), Arc::clone(&counts), Arc::clone(&stop));
        tasks.push(tokio::spawn(read(near, counts, stop, at as u64 + 1)));
    }
    for (writer, near) in caches.iter().enumerate() {
        let (connection, stop, clock) =
            (server.other().await, Arc::clone(&stop), Arc::clone(&clock));
        let near = own_writes.then(|| near.clone());
        tasks.push(tokio::spawn(write(connection, near, stop, clock, writer)));
    }
    during.await;
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    let mut connection = server.other().await;
    let truth =
        async |key: &str| redis::cmd("GET").arg(key).query_async(&mut connection).await.unwrap();
    counts.seen(stale_after_quiet(caches, truth).await)
}

/// A small generator of chance.
pub struct Chance(pub u64);

impl Chance {
    pub fn below(&mut self, bound: usize) -> usize {
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
    near: Option<NearCache<String>>,
    stop: Arc<AtomicBool>,
    clock: Arc<AtomicU64>,
    writer: usize,
) {
    let mut chance = Chance(writer as u64 + 77);
    while !stop.load(Ordering::Relaxed) {
        let group = chance.below(GROUPS / 2) * 2 + writer;
        let value = clock.fetch_add(1, Ordering::Relaxed).to_string();
        let keys = keys(group);
        match (&near, chance.below(WAYS[0])) {
            (Some(near), 8) => {
                let multi = keys.iter().fold(near.multi(), |multi, key| multi.set(key, &value));
                multi.exec().await.unwrap();
            }
            (_, way) => change(&keys, &value, way).exec_async(&mut connection).await.unwrap(),
        }
        tokio::time::sleep(Duration::from_micros(chance.below(600) as u64)).await;
    }
}

/// In five milliseconds, in milliseconds since 1970.
fn soon() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    u64::try_from(now.as_millis()).unwrap() + 5
}

/// The ways to change keys, and those among them, the first ones, that set no deadline: a slot that
/// moves key by key moves deadlines apart.
pub const WAYS: [usize; 2] = [9, 7];

/// One way to change all these keys at once.
pub fn change(keys: &[String], value: &str, way: usize) -> redis::Pipeline {
    let mut pipe = redis::pipe();
    match way {
        0 => {
            pipe.cmd("DEL").arg(keys);
        }
        // One deadline for all, which comes soon, perhaps after the next write.
        7 => {
            let deadline = soon();
            pipe.atomic();
            for key in keys {
                pipe.cmd("SET").arg(key).arg(value).arg("PXAT").arg(deadline);
            }
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
    pipe
}

pub async fn read(near: NearCache<String>, counts: Arc<Counts>, stop: Arc<AtomicBool>, seed: u64) {
    let mut chance = Chance(seed * 7919);
    while !stop.load(Ordering::Relaxed) {
        let keys = keys(chance.below(GROUPS));
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let outcome = match chance.below(4) {
            0 | 1 => read_group(&near, &keys, &counts).await,
            2 => {
                look_at_view(&near, &keys, &counts);
                Ok(())
            }
            _ => read_pair(&near, &keys, &mut chance, &counts).await,
        };
        add(&counts.reads, outcome.is_ok());
        add(&counts.failed, outcome.is_err());
        if chance.below(64) == 0 {
            tokio::task::yield_now().await;
        }
    }
}

async fn read_group(near: &NearCache<String>, keys: &[&str], counts: &Counts) -> Result<(), Error> {
    let values = near.get_many(keys).await?;
    add(&counts.torn_groups, values.iter().any(|value| *value != values[0]));
    Ok(())
}

/// What a view knows of a group is of one generation, be it present or absent.
fn look_at_view(near: &NearCache<String>, keys: &[&str], counts: &Counts) {
    let Some(view) = near.view() else { return };
    let known: Vec<_> = keys.iter().map(|key| view.get(key)).filter(Local::is_known).collect();
    add(&counts.torn_views, known.iter().any(|value| *value != known[0]));
}

/// Of two keys of a group, the second one is never older.
async fn read_pair(
    near: &NearCache<String>,
    keys: &[&str],
    chance: &mut Chance,
    counts: &Counts,
) -> Result<(), Error> {
    let [first, second] = [chance.below(MEMBERS), chance.below(MEMBERS)];
    let first = generation(near.get(keys[first]).await?);
    let second = generation(near.get(keys[second]).await?);
    if let (Some(first), Some(second)) = (first, second) {
        add(&counts.torn_pairs, second < first);
    }
    Ok(())
}

fn generation(value: Option<String>) -> Option<u64> {
    value.map(|value| value.parse().unwrap())
}

/// How many of the entries that would be served differ from what the server has, when nobody has
/// written since a reply.
pub async fn stale_after_quiet(
    caches: &[NearCache<String>],
    mut truth: impl AsyncFnMut(&str) -> Option<String>,
) -> u64 {
    let mut stale = 0;
    for near in caches {
        settle(near).await;
        for key in (0..GROUPS).flat_map(keys) {
            let truth = truth(&key).await;
            let local = near.get_local(&key);
            stale += u64::from(local.is_known() && local.present() != truth);
        }
    }
    stale
}
