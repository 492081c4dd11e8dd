//! Caches that are full. Stores that cannot be bounded do not take part.
//!
//! [`gets`]: the cost of a bound for reads. Two stores of one kind hold the same keys. One is
//! bounded to exactly their number, and the other to far more or not at all. Both have grown from
//! empty. The windows of the two alternate, and each round begins with the other store. A store
//! that bounds each of its parts separately lacks some keys; *missing* is their share of all
//! requests.
//!
//! [`inserts`]: new keys, one after the other without a pause, into a store that is full at 100,000
//! entries and at `--keys`. Each new key is refused or displaces another one. *held* is the share
//! of its bound that a store holds afterwards, from a sample of all keys so far. It is measured
//! only in the first round, because a look-up is a use. Each window ends with the store's
//! background work, unmeasured, so that the next store does not wait for it.
//!
//! [`latency`]: the same at 100,000 entries with eight threads. "on schedule": each thread has an
//! insert due every 100 µs, and its time runs from then, whether or not the thread was ready. "one
//! after the other": each insert is timed by itself, without a pause. Inserts that a user would
//! have begun during a slow one do not count.

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

/// The entries of a full store.
const ENTRIES: u64 = 100_000;
/// The sample for *held* has one in this many keys.
const SAMPLE: u64 = 32;

const CROWD: usize = 8;
const INTERVAL: Duration = Duration::from_micros(100);
/// The shortest window that gives a p99.99 on schedule: 100,000 inserts.
const LEAST: Duration = Duration::from_millis(1250);

const WAYS: [(&str, How); 2] =
    [("on schedule", How::Schedule(INTERVAL)), ("one after the other", How::Time)];

fn cannot_be_bounded() -> String {
    "cannot be bounded".to_owned()
}

/// Reads of a bounded store and of one without a bound.
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

/// A full store, and the keys inserted into it.
struct Full<F: Family> {
    store: F::Map<u64, u64>,
    entries: u64,
    /// How many keys each thread has inserted.
    inserted: Vec<AtomicU64>,
}

/// The next keys of a thread, which no thread has used before.
struct Fresh<'a> {
    thread: u64,
    next: u64,
    inserted: &'a AtomicU64,
}

/// A permutation, so the keys are distinct and in no order.
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
        // The thread that joins this one reads it.
        self.inserted.store(self.next, Ordering::Relaxed);
    }
}

impl<F: Family> Full<F> {
    /// A full store, after a tenth more inserts than its capacity, because some stores evict one by
    /// one far more slowly than they fill up.
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

    /// Inserts new keys, one after the other.
    fn insert(&self, thread: usize) -> impl FnMut() {
        let mut fresh = self.fresh(thread);
        move || {
            let key = fresh.next().expect("there is no end to them");
            self.store.insert(key, key);
        }
    }

    /// Runs one window, and then the background work of the store.
    fn run(&self, window: &Window) -> Done {
        let writes = window.run_timed(|_| || (), |i| self.insert(i)).writes;
        self.store.fill(std::iter::empty());
        writes
    }

    /// The approximate share of the bound that is in use.
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

/// The latency of inserts of new keys into a full store, with more threads than cores.
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
