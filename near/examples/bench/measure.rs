//! What is measured.

use crate::designs::{self, Design, get};
use crate::server::{self, Server};
use redis::aio::MultiplexedConnection;
use std::future::{Future, ready};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// All that was measured with a server.
#[derive(Default)]
pub struct Figures {
    pub rates: Vec<Rate>,
    pub torn: Vec<Torn>,
    pub notices: Vec<Notice>,
}

/// What one task does, one after the other.
pub struct Rate {
    pub name: &'static str,
    pub is_ours: bool,
    pub per_second: f64,
}

/// What a design shows beside a writer.
pub struct Torn {
    pub name: &'static str,
    pub is_ours: bool,
    pub reads: u64,
    pub torn: u64,
    pub rounds: u64,
    pub torn_rounds: u64,
    pub stale: u64,
}

/// How long it takes from the sending of a write until it is noticed here, in nanoseconds.
pub struct Notice {
    pub name: &'static str,
    pub is_ours: bool,
    pub median: u64,
    pub worst_of_a_thousand: u64,
}

/// How often each rate is measured, all of them in turn: the best one counts, because whatever else
/// the machine does makes a rate smaller.
const TURNS: u64 = 10;

impl Rate {
    async fn look<F: Future>(&mut self, count: u64, mut operation: impl FnMut(u64) -> F) {
        let begin = Instant::now();
        for at in 0..count {
            black_box(operation(at).await);
        }
        let per_second = count as f64 / begin.elapsed().as_secs_f64();
        self.per_second = self.per_second.max(per_second);
    }
}

pub async fn rates(server: &Server) -> Vec<Rate> {
    let rate = |(name, is_ours)| Rate { name, is_ours, per_second: 0.0 };
    let mut rates = [
        ("a cache without a server", false),
        ("hit, get_local", true),
        ("hit, get", true),
        ("hit, redis crate's cache", false),
        ("hit, rustis's cache", false),
        ("miss, get", true),
        ("miss, redis crate's cache", false),
        ("miss, rustis's cache", false),
        ("plain GET", false),
    ]
    .map(rate);
    let (near, mut cached, plain) =
        (designs::near(server).await, designs::cached(server).await, designs::plain(server).await);
    let rustis = designs::rustis(server).await.cache;
    let local = coeval::Cache::<String, String>::new();
    local.insert("hot".to_owned(), "value".to_owned());
    server.tell("SET hot value").await;
    near.get("hot").await.unwrap();
    get(&mut cached, "hot").await;
    rustis.get::<Option<String>>("hot").await.unwrap();
    let by = |connection: &MultiplexedConnection, key: &str| {
        let (mut connection, key) = (connection.clone(), key.to_owned());
        async move { get(&mut connection, &key).await }
    };
    for turn in 0..TURNS {
        let cold: Vec<String> = (0..COLD).map(|at| format!("cold:{turn}:{at}")).collect();
        let key = |at: u64| cold[at as usize].as_str();
        let [own, get_local, get, theirs, rustis_hit, miss, their_miss, rustis_miss, bare] =
            &mut rates;
        own.look(HOT, |_| ready(local.get("hot"))).await;
        get_local.look(HOT, |_| ready(near.get_local("hot"))).await;
        get.look(HOT, |_| near.get("hot")).await;
        theirs.look(HOT / 10, |_| by(&cached, "hot")).await;
        rustis_hit.look(HOT / 10, |_| rustis.get::<Option<String>>("hot")).await;
        miss.look(COLD, |at| near.get(key(at))).await;
        their_miss.look(COLD, |at| by(&cached, key(at))).await;
        rustis_miss.look(COLD, |at| rustis.get::<Option<String>>(key(at))).await;
        bare.look(COLD, |at| by(&plain, key(at))).await;
    }
    rates.into()
}

/// Hits of one look.
const HOT: u64 = 300_000;
/// Misses of one look.
const COLD: u64 = 3_000;

pub async fn torn(server: &Server, seconds: u64) -> Vec<Torn> {
    let near = look(server, designs::near(server).await, seconds).await;
    let cached = look(server, designs::cached(server).await, seconds).await;
    let rustis = look(server, designs::rustis(server).await, seconds).await;
    let plain = look(server, designs::plain(server).await, seconds).await;
    vec![
        Torn { name: "coeval-redis, get_many", is_ours: true, ..near },
        Torn { name: "redis crate's cache, MGET", ..cached },
        Torn { name: "rustis's cache, mget", ..rustis },
        Torn { name: "plain MGET", ..plain },
    ]
}

async fn look(server: &Server, mut design: impl Design, seconds: u64) -> Torn {
    let (reads, torn) = beside_a_writer(server, &mut design, seconds).await;
    let rounds = 2_000;
    let (torn_rounds, stale) = races(server, &mut design, rounds).await;
    Torn { name: "", is_ours: false, reads, torn, rounds, torn_rounds, stale }
}

fn pair(number: impl std::fmt::Display) -> [String; 2] {
    [format!("a:{number}"), format!("b:{number}")]
}

/// Counts reads of a group whose keys differ, beside a writer that keeps them equal by MULTI/EXEC.
async fn beside_a_writer(server: &Server, design: &mut impl Design, seconds: u64) -> (u64, u64) {
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(write_until(server.other().await, Arc::clone(&stop)));
    let (begin, mut reads, mut torn) = (Instant::now(), 0u64, 0u64);
    let keys = pair("hot");
    while begin.elapsed() < Duration::from_secs(seconds) {
        design.one(&keys[0]).await;
        let [a, b] = design.both(&keys).await;
        reads += 1;
        torn += u64::from(a != b);
        if reads.is_multiple_of(64) {
            tokio::task::yield_now().await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    writer.await.unwrap();
    (reads, torn)
}

async fn write_until(mut other: MultiplexedConnection, stop: Arc<AtomicBool>) {
    for round in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        write_both(&mut other, &pair("hot"), round).await;
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
}

async fn write_both(other: &mut MultiplexedConnection, [a, b]: &[String; 2], value: u64) {
    let mut pipe = redis::pipe();
    pipe.atomic().cmd("SET").arg(a).arg(value).cmd("SET").arg(b).arg(value);
    pipe.exec_async(other).await.unwrap();
}

/// Rounds with a group of their own, of which one key is cached: a write and a read at the same
/// time, and when all is quiet another read. Counts torn reads, and rounds with an old value at the
/// end.
async fn races(server: &Server, design: &mut impl Design, rounds: u64) -> (u64, u64) {
    let mut other = server.other().await;
    let (mut torn, mut stale) = (0, 0);
    for round in 0..rounds {
        let keys = pair(round);
        write_both(&mut other, &keys, 0).await;
        design.one(&keys[0]).await;
        let (_, [a, b]) = tokio::join!(write_both(&mut other, &keys, 1), design.both(&keys));
        torn += u64::from(a != b);
        design.fence().await;
        let expected = Some("1".to_owned());
        stale += u64::from(design.both(&keys).await != [expected.clone(), expected]);
    }
    server.tell("FLUSHALL").await;
    (torn, stale)
}

pub async fn notices(server: &Server) -> Vec<Notice> {
    let near = designs::near(server).await;
    let read = async || drop(near.get("a").await.unwrap());
    let ours = notice(server, read, || u64::from(near.get_local("a").is_known())).await;

    let cached = designs::cached(server).await;
    let read = async || drop(get(&mut cached.clone(), "a").await);
    let ended = || cached.get_cache_statistics().map_or(0, |it| it.invalidate as u64);
    let theirs = notice(server, read, ended).await;

    let rustis = designs::rustis(server).await;
    let read = async || drop(rustis.cache.get::<Option<String>>("a").await.unwrap());
    let rustis = notice(server, read, || rustis.ended.load(Ordering::Acquire)).await;

    let (told, pushes) = designs::told(server).await;
    let read = async || drop(get(&mut told.clone(), "a").await);
    let bare = notice(server, read, || pushes.load(Ordering::Relaxed)).await;
    server.tell("DEL a b").await;
    vec![
        Notice { name: "coeval-redis", is_ours: true, ..ours },
        Notice { name: "redis crate's cache", ..theirs },
        Notice { name: "rustis's cache", ..rustis },
        Notice { name: "a bare client with tracking", ..bare },
    ]
}

/// Reads, has somebody else write, and waits until `state` differs.
async fn notice(server: &Server, read: impl AsyncFn(), state: impl Fn() -> u64) -> Notice {
    let other = server.other().await;
    let mut times = Vec::new();
    for _ in 0..10_000 {
        read().await;
        let before = state();
        let begin = Instant::now();
        let write = tokio::spawn(set(other.clone()));
        while state() == before {
            tokio::task::yield_now().await;
        }
        times.push(begin.elapsed().as_nanos() as u64);
        write.await.unwrap();
    }
    times.sort_unstable();
    let at = |thousandths: usize| times[(times.len() - 1) * thousandths / 1_000];
    Notice { name: "", is_ours: false, median: at(500), worst_of_a_thousand: at(999) }
}

async fn set(mut other: MultiplexedConnection) {
    server::tell(&mut other, "SET a 1").await;
}
