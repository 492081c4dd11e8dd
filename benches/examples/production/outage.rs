//! A source that is down for 30 seconds at 5,000 requests a second, by the system's clock. It hangs for
//! some keys, and fails for the others.

use coeval::{Cache, Served};
use coeval_bench::latency::Latency;
use coeval_bench::random::{Random, SEED};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);
const KEYS: u64 = 200;
/// The keys for which the source hangs.
const HANGING: u64 = 20;
const CLIENTS: u64 = 4;
/// From one request of a client to the next: 5,000 requests a second in all.
const PACE: Duration = Duration::from_micros(200 * CLIENTS);
const SOFT: Duration = Duration::from_millis(20);
const PAUSE: Duration = SECOND;
const LONGEST: Duration = Duration::from_secs(4);
const FRESH: Duration = Duration::from_secs(2);
const MOST: Duration = Duration::from_secs(40);
/// When the source goes down, when it is back, and the end.
const DOWN: Duration = Duration::from_secs(4);
const UP: Duration = Duration::from_secs(34);
const END: Duration = Duration::from_secs(42);

/// The source. A value is the time at which it gave it.
struct Source {
    begin: Instant,
    is_down: AtomicBool,
    /// When each key was asked for while the source was down.
    tries: Mutex<HashMap<u64, Vec<Duration>>>,
}

impl Source {
    fn load(&self, key: u64) -> Result<Duration, &'static str> {
        if self.is_down.load(Ordering::Relaxed) {
            let mut tries = self.tries.lock().expect("no panic");
            tries.entry(key).or_default().push(self.begin.elapsed());
            drop(tries);
            if key >= HANGING {
                return Err("the source is down");
            }
            while self.is_down.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(self.begin.elapsed())
    }
}

/// What a client saw.
#[derive(Default)]
struct Seen {
    waits: Latency,
    late: u64,
    errors: u64,
    stale: u64,
    /// The greatest age before the source was back for a while, and after that.
    oldest: [Duration; 2],
}

pub fn run() {
    let builder = Cache::builder().refresh_after(FRESH).max_age(MOST).soft_timeout(SOFT);
    let builder = builder.refresh_pause(PAUSE).refresh_pause_up_to(LONGEST);
    let cache: Cache<u64, Duration> = builder.build();
    let (is_down, tries) = (AtomicBool::new(false), Mutex::default());
    let source = Arc::new(Source { begin: Instant::now(), is_down, tries });
    (0..KEYS).for_each(|key| _ = cache.insert(key, Duration::ZERO));
    let (all, sleeps) = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|id| {
                scope.spawn({
                    let (cache, source) = (&cache, &source);
                    move || client(cache, source, id)
                })
            })
            .collect();
        let sleeping = scope.spawn(|| sleeps(&source));
        thread::sleep(DOWN.saturating_sub(source.begin.elapsed()));
        source.is_down.store(true, Ordering::Relaxed);
        thread::sleep(UP.saturating_sub(source.begin.elapsed()));
        source.is_down.store(false, Ordering::Relaxed);
        let all: Vec<Seen> =
            clients.into_iter().map(|client| client.join().expect("no panic")).collect();
        (all, sleeping.join().expect("no panic"))
    });
    report(&all, &sleeps);
    let tries = source.tries.lock().expect("no panic");
    let gaps = tries.values().flat_map(|times| times.windows(2).map(|two| two[1] - two[0]));
    println!(
        "tries while it was down: {} of {} keys, at least {:.2?} apart; at most {} of a key for which \
         it hangs",
        tries.values().map(Vec::len).sum::<usize>(),
        tries.len(),
        gaps.min().unwrap_or_default(),
        (0..HANGING).filter_map(|key| tries.get(&key)).map(Vec::len).max().unwrap_or(0),
    );
}

fn client(cache: &Cache<u64, Duration>, source: &Arc<Source>, id: u64) -> Seen {
    let (mut seen, mut random) = (Seen::default(), Random::new(SEED, id));
    let mut due = source.begin;
    while source.begin.elapsed() < END {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        due += PACE;
        let key = random.below(KEYS);
        let from = source.clone();
        let begun = Instant::now();
        let served = cache.serving().load_on(key, thread::spawn, move || from.load(key));
        let took = begun.elapsed();
        seen.waits.record(took);
        seen.late += u64::from(took > SOFT);
        let Ok(served) = served else {
            seen.errors += 1;
            continue;
        };
        seen.stale += u64::from(matches!(served, Served::Stale { .. }));
        let now = source.begin.elapsed();
        let age = now.saturating_sub(served.into_value());
        let oldest = &mut seen.oldest[usize::from(now > UP + LONGEST + SECOND)];
        *oldest = age.max(*oldest);
    }
    seen
}

/// How long a thread sleeps that wants to sleep for the soft time-out: what this machine does to a
/// wait that knows no cache.
fn sleeps(source: &Source) -> Latency {
    let mut latency = Latency::default();
    while source.begin.elapsed() < END {
        let begun = Instant::now();
        thread::sleep(SOFT);
        latency.record(begun.elapsed());
    }
    latency
}

fn report(all: &[Seen], sleeps: &Latency) {
    let mut waits = Latency::default();
    all.iter().for_each(|seen| waits.merge(&seen.waits));
    let sum = |part: fn(&Seen) -> u64| all.iter().map(part).sum::<u64>();
    let oldest = [0, 1].map(|at| all.iter().map(|seen| seen.oldest[at]).max().unwrap_or_default());
    let (waits, sleeps) = (waits.summary(), sleeps.summary());
    let ms = |nanos: u64| nanos as f64 / 1e6;
    println!(
        "{} requests, {} errors, {} old values; {} waited longer than {SOFT:?}",
        waits.samples,
        sum(|seen| seen.errors),
        sum(|seen| seen.stale),
        sum(|seen| seen.late),
    );
    println!(
        "waits in ms: p50 {:.4}, p99 {:.3}, p99.9 {:.3}, longest {:.2}; a thread that wants to sleep for \
         {SOFT:?}: p50 {:.2}, longest {:.2}",
        ms(waits.p50),
        ms(waits.p99),
        ms(waits.p999),
        ms(waits.max),
        ms(sleeps.p50),
        ms(sleeps.max),
    );
    println!(
        "oldest value: {:.2?}, promised {MOST:?}; later than {:?} after it is back: {:.2?}, promised \
         {:?}",
        oldest[0],
        LONGEST + SECOND,
        oldest[1],
        FRESH + LONGEST,
    );
}
