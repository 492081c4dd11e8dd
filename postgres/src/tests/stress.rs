//! Readers beside writers who change groups of rows: what was torn, what went backwards, and what
//! was stale when all was quiet.

use super::server::{Client, Server};
use super::{Key, config, get, group, keys_of, position, raise, read};
use crate::{CommitStream, Event, Fence, PgCache, PgStream};
use coeval::Cache;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const GROUPS: i64 = 4;

/// What was seen. All but `reads` must be zero.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    pub reads: u64,
    pub torn_groups: u64,
    pub torn_views: u64,
    pub backwards: u64,
    pub stale: u64,
}

#[derive(Default)]
struct Counts {
    reads: AtomicU64,
    torn_groups: AtomicU64,
    torn_views: AtomicU64,
    backwards: AtomicU64,
}

impl Counts {
    fn torn(&self) -> u64 {
        let all = [&self.torn_groups, &self.torn_views, &self.backwards];
        all.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

fn add(count: &AtomicU64, add: bool) {
    count.fetch_add(u64::from(add), Ordering::Relaxed);
}

/// How long a stress lasts: two seconds, unless `COEVAL_STRESS` is `long`.
pub fn duration() -> Duration {
    let is_long = std::env::var("COEVAL_STRESS").is_ok_and(|it| it == "long");
    Duration::from_secs(if is_long { 120 } else { 2 })
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

    fn group(&mut self) -> [Key; 3] {
        group(self.below(GROUPS as usize) as i64)
    }
}

/// A cache that readers read.
trait Readable: Clone + Send + Sync + 'static {
    fn group(&self, client: &Client, keys: [Key; 3]) -> impl Future<Output = [i64; 3]> + Send;
    fn one(&self, client: &Client, key: Key) -> impl Future<Output = i64> + Send;
    /// What is cached, as of one instant.
    fn known(&self, keys: [Key; 3]) -> [Option<i64>; 3];
}

impl Readable for PgCache<Key, i64> {
    async fn group(&self, client: &Client, keys: [Key; 3]) -> [i64; 3] {
        get(self, client, keys).await
    }

    async fn one(&self, client: &Client, key: Key) -> i64 {
        get(self, client, [key]).await[0]
    }

    fn known(&self, keys: [Key; 3]) -> [Option<i64>; 3] {
        let Some(view) = self.view() else { return [None; 3] };
        keys.map(|key| view.get(&key).copied())
    }
}

/// What is usual: each changed row ends an entry as it comes, and what is absent is read key by
/// key. A load that a change has overtaken is not cached here, either.
#[derive(Clone)]
struct RowByRow(Cache<Key, i64>);

impl Readable for RowByRow {
    async fn group(&self, client: &Client, keys: [Key; 3]) -> [i64; 3] {
        let [a, b, c] = keys;
        [self.one(client, a).await, self.one(client, b).await, self.one(client, c).await]
    }

    async fn one(&self, client: &Client, key: Key) -> i64 {
        let load = async { read(client, [key]).await.map(|(_, [value])| value) };
        self.0.load_async(key, load).await.unwrap()
    }

    fn known(&self, keys: [Key; 3]) -> [Option<i64>; 3] {
        self.0.get_many(keys.each_ref())
    }
}

async fn invalidate_row_by_row(mut stream: PgStream<Key>, cache: Cache<Key, i64>) {
    while let Ok(event) = stream.next().await {
        if let Event::Changed(key) = event {
            cache.invalidate(&key);
        }
    }
}

/// Runs readers of caches beside writers, as long as `during` takes, and readers of a cache that is
/// invalidated row by row beside the same writers. Returns what was seen of each.
pub async fn stress_both(
    server: &Server,
    caches: &[PgCache<Key, i64>],
    during: impl Future<Output = ()>,
) -> [Seen; 2] {
    let naive = RowByRow(Cache::new());
    let stream = PgStream::connect(&config(server.port()), keys_of).await.unwrap();
    let follow = tokio::spawn(invalidate_row_by_row(stream, naive.0.clone()));
    let stop = Arc::new(AtomicBool::new(false));
    let counts: [Arc<Counts>; 2] = Default::default();
    let mut tasks = Vec::new();
    for (at, cache) in caches.iter().flat_map(|cache| [cache, cache]).enumerate() {
        let task = observe(
            cache.clone(),
            server.client().await,
            Arc::clone(&counts[0]),
            Arc::clone(&stop),
            at as u64 + 1,
        );
        tasks.push(tokio::spawn(task));
    }
    for at in 0..2 {
        let task = observe(
            naive.clone(),
            server.client().await,
            Arc::clone(&counts[1]),
            Arc::clone(&stop),
            at + 77,
        );
        tasks.push(tokio::spawn(task));
        tasks.push(tokio::spawn(write(server.client().await, Arc::clone(&stop), at + 5)));
    }
    during.await;
    // The other way must show in this very run what it does.
    let begin = Instant::now();
    while counts[1].torn() == 0 && begin.elapsed() < Duration::from_secs(20) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    follow.abort();
    let stale = stale_after_quiet(server, caches).await;
    let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let seen = |counts: &Counts, stale| Seen {
        reads: load(&counts.reads),
        torn_groups: load(&counts.torn_groups),
        torn_views: load(&counts.torn_views),
        backwards: load(&counts.backwards),
        stale,
    };
    [seen(&counts[0], stale), seen(&counts[1], 0)]
}

/// The first half of the above.
pub async fn stress(
    server: &Server,
    caches: &[PgCache<Key, i64>],
    during: impl Future<Output = ()>,
) -> Seen {
    let [seen, _] = stress_both(server, caches, during).await;
    seen
}

async fn observe(
    cache: impl Readable,
    client: Client,
    counts: Arc<Counts>,
    stop: Arc<AtomicBool>,
    seed: u64,
) {
    let mut chance = Chance(seed);
    while !stop.load(Ordering::Relaxed) {
        let keys = chance.group();
        match chance.below(4) {
            0 => {
                let [a, b, c] = cache.group(&client, keys).await;
                add(&counts.torn_groups, a != b || b != c);
            }
            1 => {
                let (first, second) = (chance.below(3), chance.below(3));
                let before = cache.one(&client, keys[first]).await;
                let after = cache.one(&client, keys[second]).await;
                add(&counts.backwards, after < before);
            }
            _ => {
                let known: Vec<i64> = cache.known(keys).into_iter().flatten().collect();
                add(&counts.torn_views, known.windows(2).any(|pair| pair[0] != pair[1]));
                tokio::task::yield_now().await;
            }
        }
        add(&counts.reads, true);
    }
}

async fn write(client: Client, stop: Arc<AtomicBool>, seed: u64) {
    let mut chance = Chance(seed);
    while !stop.load(Ordering::Relaxed) {
        client.run(&raise(chance.below(GROUPS as usize) as i64)).await.unwrap();
        tokio::time::sleep(Duration::from_micros(chance.below(3_000) as u64)).await;
    }
}

/// How many entries differ from the server when nobody writes and all is applied.
async fn stale_after_quiet(server: &Server, caches: &[PgCache<Key, i64>]) -> u64 {
    let client = server.client().await;
    let end = position(&client).await;
    let mut stale = 0;
    for cache in caches {
        cache.wait_for(end).await;
        for key in (0..GROUPS).flat_map(group) {
            let (_, [value]): (Fence, _) = read(&client, [key]).await.unwrap();
            stale += u64::from(cache.get_local(&[key]).is_some_and(|[known]| known != value));
        }
    }
    stale
}
