//! Caches that are full. Stores that cannot be bounded sit these out.
//!
//! [`gets`]: what a bound costs the reads. Two stores of one kind hold the same keys, one bounded to
//! exactly their number, one to far more or not at all; both have grown from empty. The windows of the
//! two follow one another, and the next round begins with the other. A store that keeps a bound
//! for each of its parts is without some keys then; *missing* says how many of those asked for.
//!
//! [`inserts`]: keys that were never there, one after the other without a pause, into a store that is full
//! at 100,000 entries and at `--keys`: each new one has another one go, or is refused. *held* is
//! what share of its bound a store holds after the writing, by a sample of all keys so far; in the first
//! round only, as to ask for a key is to use it. Each window ends with what the store then does behind the
//! scenes, unmeasured: the next store is not to wait for that.
//!
//! [`latency`]: the same at 100,000 entries by eight threads. "on schedule": each has an insert due every
//! 100 µs, and its time runs from then, whether or not the thread was ready. "one after the other": each
//! is timed by itself, without a pause, so what would have been asked for during a slow one is not.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    Ready, Settings, one_thread_only,
    points::{fill_in_random_order, get_rate, missing},
    streams::Distribution,
};
use crate::{
    compare::results::{Figure, Unit},
    measure::{Done, How, Window},
    random::mix,
    stores::{Family, Reader, Store},
};

/// Entries of a full store.
const ENTRIES: u64 = 100_000;
/// One in so many keys is looked for when it is asked how many are held.
const SAMPLE: u64 = 32;

const CROWD: usize = 8;
const INTERVAL: Duration = Duration::from_micros(100);
/// The least that gives a p99.99 on schedule: 100,000 inserts.
const LEAST: Duration = Duration::from_millis(1250);

const WAYS: [(&str, How); 2] =
    [("on schedule", How::Schedule(INTERVAL)), ("one after the other", How::Time)];

fn cannot_be_bounded() -> String {
    "cannot be bounded".to_owned()
}

/// Reads of a bounded store beside those of one that is not.
pub fn gets<F: Family>(settings: &Arc<Settings>) -> Ready {
    let (settings, keys) = (Arc::clone(settings), settings.keys);
    let bounded = F::Map::<u64, u64>::bounded(keys as usize).ok_or_else(cannot_be_bounded)?;
    let unbounded = F::Map::<u64, u64>::with_capacity(0);
    fill_in_random_order(&bounded, &settings, keys);
    fill_in_random_order(&unbounded, &settings, keys);
    let most = settings.threads.iter().copied().max().unwrap_or(1);
    let distributions = [Distribution::Zipf, Distribution::Uniform];
    let streams = distributions.map(|d| (d.name(), d.streams(&settings, keys, most)));
    let mut swapped = false;
    Ok(Box::new(move || {
        let mut figures = Vec::new();
        let mut stores = [("bounded", &bounded), ("unbounded", &unbounded)];
        if swapped {
            stores.reverse();
        }
        swapped = !swapped;
        for (distribution, streams) in &streams {
            for &threads in &settings.threads {
                for (name, store) in stores {
                    let rate = get_rate::<F>(store, &settings, streams, threads);
                    let variant = format!("{name}, {distribution}, {threads} thr");
                    figures.push(Figure::new("gets", &variant, Unit::PerSecond, rate));
                }
            }
        }
        for (name, store) in stores {
            let share = 100.0 * missing(store, keys);
            figures.push(Figure::new("missing", name, Unit::Percent, share));
        }
        figures
    }))
}

/// A full store, and what was put into it.
struct Full<F: Family> {
    store: F::Map<u64, u64>,
    entries: u64,
    /// How many keys each thread has put in.
    inserted: Vec<AtomicU64>,
}

/// A thread's next keys: nobody has used them before.
struct Fresh<'a> {
    thread: u64,
    next: u64,
    inserted: &'a AtomicU64,
}

/// A permutation: the keys are distinct, and in no order.
#[inline]
fn key(thread: u64, number: u64) -> u64 {
    mix(thread << 40 | number)
}

impl Iterator for Fresh<'_> {
    type Item = u64;

    #[inline]
    fn next(&mut self) -> Option<u64> {
        let key = key(self.thread, self.next);
        self.next += 1;
        Some(key)
    }
}

impl Drop for Fresh<'_> {
    fn drop(&mut self) {
        // Read by the thread that joins this one.
        self.inserted.store(self.next, Ordering::Relaxed);
    }
}

impl<F: Family> Full<F> {
    /// Full, and a tenth over: some evict one by one far more slowly than they fill up.
    fn new(entries: u64, threads: usize) -> Result<Self, String> {
        let store = F::Map::bounded(entries as usize).ok_or_else(cannot_be_bounded)?;
        let inserted = (0..threads).map(|_| AtomicU64::new(0)).collect();
        let full = Self { store, entries, inserted };
        let mut fresh = full.fresh(0);
        full.store.fill(fresh.by_ref().take(entries as usize).map(|key| (key, key)));
        fresh.by_ref().take(entries as usize / 10).for_each(|key| full.store.insert(key, key));
        drop(fresh);
        Ok(full)
    }

    fn fresh(&self, thread: usize) -> Fresh<'_> {
        let inserted = &self.inserted[thread];
        Fresh { thread: thread as u64, next: inserted.load(Ordering::Relaxed), inserted }
    }

    /// One insert of a new key after the other.
    fn insert(&self, thread: usize) -> impl FnMut() {
        let mut fresh = self.fresh(thread);
        move || {
            let key = fresh.next().expect("there is no end to them");
            self.store.insert(key, key);
        }
    }

    /// One window, and what the store does afterwards.
    fn run(&self, window: &Window) -> Done {
        let writes = window.run_timed(|_| || (), |i| self.insert(i)).writes;
        self.store.fill(std::iter::empty());
        writes
    }

    /// The share of the bound that is held, about.
    fn held(&self) -> f64 {
        let mut reader = self.store.reader();
        let mut found = 0;
        for (thread, inserted) in self.inserted.iter().enumerate() {
            let numbers = (0..inserted.load(Ordering::Relaxed)).step_by(SAMPLE as usize);
            let keys = numbers.map(|number| key(thread as u64, number));
            found += keys.filter(|key| reader.get(key).is_some()).count() as u64;
        }
        (found * SAMPLE) as f64 / self.entries as f64
    }
}

/// Inserts of new keys into a full store.
pub fn inserts<F: Family>(settings: &Arc<Settings>) -> Ready {
    let settings = Arc::clone(settings);
    let most = settings.threads.iter().copied().max().unwrap_or(1);
    let mut sizes = vec![ENTRIES.min(settings.keys), settings.keys];
    sizes.dedup();
    let stores = sizes.into_iter().map(|entries| Full::<F>::new(entries, most));
    let stores = stores.collect::<Result<Vec<_>, _>>()?;
    let mut first = true;
    Ok(Box::new(move || {
        let mut figures = Vec::new();
        for full in &stores {
            let entries = full.entries;
            for threads in settings.writing_threads::<F>() {
                let window = settings.window(0, threads, How::Count);
                let rate = full.run(&window).rate;
                let variant = format!("{entries} entries, {threads} thr");
                figures.push(Figure::new("inserts", &variant, Unit::PerSecond, rate));
            }
            if first {
                let (variant, held) = (format!("{entries} entries"), 100.0 * full.held());
                figures.push(Figure::new("held", &variant, Unit::Percent, held));
            }
        }
        first = false;
        figures
    }))
}

/// How long inserts of new keys into a full store take, with more threads than cores.
pub fn latency<F: Family>(settings: &Arc<Settings>) -> Ready {
    if !F::SHARED {
        return Err(one_thread_only());
    }
    let settings = Arc::clone(settings);
    let full = Full::<F>::new(ENTRIES.min(settings.keys), CROWD)?;
    Ok(Box::new(move || {
        let mut figures = Vec::new();
        for (variant, how) in WAYS {
            let mut window = settings.window(0, CROWD, how);
            if how != How::Time {
                window.length = window.length.max(LEAST);
            }
            let writes = full.run(&window);
            let insert = writes.latency.summary();
            let nanos =
                |metric, value| Figure::new(metric, variant, Unit::Nanoseconds, value as f64);
            figures.extend([
                nanos("insert p50", insert.p50),
                nanos("insert p99", insert.p99),
                nanos("insert p99.9", insert.p999),
                nanos("insert p99.99", insert.p9999),
                nanos("insert max", insert.max),
                Figure::new("inserts", variant, Unit::PerSecond, writes.rate),
            ]);
        }
        figures
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stores::{Visit, visit};

    struct FillUp;

    impl Visit for FillUp {
        type Output = Result<f64, String>;

        fn visit<F: Family>(self) -> Self::Output {
            let full = Full::<F>::new(1 << 12, 2)?;
            let mut insert = full.insert(1);
            (0..1 << 12).for_each(|_| insert());
            drop(insert);
            assert_eq!(full.inserted[0].load(Ordering::Relaxed), (1 << 12) + 409);
            assert_eq!(full.inserted[1].load(Ordering::Relaxed), 1 << 12);
            Ok(full.held())
        }
    }

    #[test]
    fn a_full_store_stays_full_of_distinct_keys() {
        let held = visit("coeval", FillUp).unwrap().unwrap();
        assert!((0.6..1.4).contains(&held), "{held}");
        assert_eq!(visit("papaya", FillUp).unwrap(), Err(cannot_be_bounded()));
    }
}
