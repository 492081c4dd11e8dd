//! All operations at once, on keys and values that count how often they are dropped. When all
//! threads are done, the cache has what it shows, and nothing else; and each was dropped once.

use crate::common::Store;
use crate::common::counted::{ById, Counted, Ledgers};
use crate::common::random::Random;
use crate::{THREADS_IN_TURNS, is_in_turns, run as run_threads};
use coeval::reclaim::Reclaim;
use coeval::{ManualClock, Terms};
use std::any::type_name;
use std::fmt::Debug;
use std::time::{Duration, Instant};

type Cache<R> = Store<Counted, Counted, R>;

/// The operations of one cache if one thread runs at a time, otherwise those of each thread. Then
/// all is counted.
const ROUND: u64 = 600;
/// What is left after so long stays for ever.
const PATIENCE: Duration = Duration::from_secs(10);
const KEYS: u64 = 12;
/// Keys of derived values, and keys that are used once.
const DERIVED: u64 = 100;
const FRESH: u64 = 1_000;
const TAGS: u64 = 3;

/// Runs the threads on one cache after another, and returns the number of operations.
pub fn run<R: Reclaim>(seed: u64, threads: usize, operations: u64) -> u64 {
    let (mut seeds, mut done) = (Random::new(seed), 0);
    while done < operations * threads as u64 {
        let seed = seeds.next();
        done += match is_in_turns(seed) {
            true => {
                let threads = threads.min(THREADS_IN_TURNS);
                round::<R>(seed, threads, ROUND / threads as u64)
            }
            false => round::<R>(seed, threads, ROUND),
        };
    }
    done
}

/// Runs the threads on one cache, with so many operations each. Returns the number of all.
fn round<R: Reclaim>(seed: u64, threads: usize, each: u64) -> u64 {
    let (made, clock) = (Ledgers::new(), ManualClock::new());
    let mut random = Random::new(seed);
    let mut builder = coeval::Cache::builder().manual_clock(&clock);
    let is_bounded = random.one_in(2);
    if is_bounded {
        builder = builder.max_capacity(1 + random.below(KEYS));
    }
    let cache: Cache<R> = builder.sweep_ended().reclaimer().build();
    run_threads(seed, threads, |thread| {
        let random = Random::new(seed ^ (thread as u64 + 1) << 32);
        let mut worker = Worker { cache: &cache, clock: &clock, made: &made, random };
        (0..each).for_each(|at| worker.act(at));
    });
    // The wheel keeps what has gone until its time is up.
    clock.advance(Duration::from_secs(1_000));
    // seize keeps some of what a thread has retired until it retires more.
    if !type_name::<R>().ends_with("Seize") {
        let what = || (made.values.live(), cache.len() as i64, cache.view().iter().count() as i64);
        settles(&cache, "values, entries, and those that are shown", what, |(live, len, shown)| {
            live == shown && len == shown
        });
        cache.invalidate_all(); // values that were derived from absent keys kept these
        // With a bound, a thread keeps the records of what its last operation brought.
        let most = if is_bounded { 64 * threads as i64 } else { 0 };
        let what = || (made.keys.live(), made.values.live(), cache.len() as i64);
        settles(&cache, "keys, values, entries", what, |(keys, values, len)| {
            keys <= most && (values, len) == (0, 0)
        });
    }
    drop(cache);
    made.assert_settled();
    each * threads as u64
}

/// Collects until what is left is right. It takes a few times: of values that were derived from each
/// other, each ends one level; and a thread that is done may not have ended yet.
fn settles<R: Reclaim, T: Copy + Debug>(
    cache: &Cache<R>,
    what: &str,
    left: impl Fn() -> T,
    is_right: impl Fn(T) -> bool,
) {
    let begin = Instant::now();
    loop {
        cache.collect();
        let left = left();
        if is_right(left) {
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "{what}: {left:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

struct Worker<'a, R: Reclaim> {
    cache: &'a Cache<R>,
    clock: &'a ManualClock,
    made: &'a Ledgers,
    random: Random,
}

impl<R: Reclaim> Worker<'_, R> {
    fn key(&mut self) -> u64 {
        self.random.below(KEYS)
    }

    fn terms(&mut self) -> Terms {
        let seconds = Duration::from_secs(1 + self.random.below(20));
        match self.random.below(6) {
            0 | 1 => Terms::new().tags([self.random.below(TAGS)]),
            2 => Terms::new().time_to_live(seconds),
            3 => Terms::new().time_to_idle(seconds),
            _ => Terms::new(),
        }
    }

    fn act(&mut self, at: u64) {
        let (cache, made, key) = (self.cache, self.made, self.key());
        match self.random.below(20) {
            0 | 1 => self.write(key),
            2 => _ = cache.insert(made.key(key), made.value(at)),
            3 => drop(cache.remove(&ById(key))),
            4 => self.batch(key),
            5 => self.transact(key),
            6 => _ = cache.view().get(&ById(key)).map(Counted::read),
            7 => drop(cache.get_many([&ById(key), &ById((key + 1) % KEYS)])),
            8 => self.derive(key),
            9 => drop(cache.get_with(made.key(key), || made.value(at))),
            10 => _ = cache.lease(&made.key(key)).fill(made.value(at)),
            11 => drop(cache.lease(&made.key(key))),
            12 => _ = cache.invalidate_tag(self.random.below(TAGS)),
            13 => self.clock.advance(Duration::from_secs(self.random.below(4))),
            14 if self.random.one_in(8) => _ = cache.invalidate_all(),
            15 => drop(cache.try_get_with(made.key(key), || Err::<Counted, ()>(()))),
            16 => self.look_long(key),
            17 => _ = cache.insert(made.key(FRESH + self.random.next() / 2), made.value(at)),
            18 if self.random.one_in(8) => _ = cache.retain(|held, _| held.id % 3 != key % 3),
            _ => drop(cache.get(&ById(key))),
        }
    }

    fn write(&mut self, key: u64) {
        let (terms, value) = (self.terms(), self.made.value(key));
        self.cache.batch().insert_with(self.made.key(key), value, terms).commit();
    }

    fn batch(&mut self, key: u64) {
        let made = self.made;
        let mut batch = self.cache.batch();
        for at in 0..3 {
            let key = (key + at) % KEYS;
            batch = match self.random.one_in(3) {
                true => batch.remove(made.key(key)),
                false => batch.insert_with(made.key(key), made.value(at), self.terms()),
            };
        }
        batch.commit();
    }

    fn transact(&mut self, key: u64) {
        let (made, other) = (self.made, self.key());
        let removes = self.random.one_in(3);
        let done = self.cache.transact(|tx| {
            drop(tx.get(&made.key(other)));
            match removes {
                true => tx.remove(made.key(key)),
                false => tx.insert(made.key(key), made.value(other)),
            };
            Ok::<_, ()>(())
        });
        drop(done);
    }

    fn derive(&mut self, key: u64) {
        let made = self.made;
        drop(self.cache.derive(made.key(DERIVED + key), |scope| {
            let other = scope.derive(made.key(DERIVED + (key + 1) % KEYS), |scope| {
                scope.get(&made.key(key)).unwrap_or_else(|| made.value(0))
            });
            scope.get(&made.key((key + 2) % KEYS)).unwrap_or(other)
        }));
    }

    /// Keeps a view, or a guard, for some operations.
    fn look_long(&mut self, key: u64) {
        let (view, pinned) = (self.cache.view(), self.cache.pin());
        for _ in 0..3 {
            self.write(key);
            let _ = (view.get(&ById(key)).map(Counted::read), pinned.get(&ById(key)));
        }
    }
}
