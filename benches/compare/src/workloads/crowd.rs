//! Many more threads than cores: 24 threads read single keys, and 8 overwrite without a pause, on
//! 65,536 keys. The question is how long a reader waits that meets a writer which the scheduler has
//! taken off its core.
//!
//! The workload runs twice. "one after the other": every reader reads without a pause, and each
//! read is timed by itself. Reads that a user would have begun during a slow read do not count. "on
//! schedule": every reader has a read due each half millisecond, and its time runs from that
//! moment. Waiting for a core therefore also counts, which is much the same for every store, and
//! nothing is omitted.

use std::{hint::black_box, sync::Arc, time::Duration};

use super::{Ready, Settings, one_thread_only, points::filled};
use crate::{
    compare::results::{Figure, Unit},
    measure::{How, Outcome, Role},
    random::Random,
    stores::{Family, Reader, Store},
};

const READERS: usize = 24;
const WRITERS: usize = 8;
const KEYS: u64 = 1 << 16;
const INTERVAL: Duration = Duration::from_micros(500);
/// The shortest window that gives a p99.99 on schedule.
const LEAST: Duration = Duration::from_millis(500);

const WAYS: [(&str, How); 2] =
    [("one after the other", How::Time), ("on schedule", How::Schedule(INTERVAL))];

/// The workload that the module describes.
pub fn entrant<F: Family>(settings: &Arc<Settings>) -> Ready {
    if !F::SHARED {
        return Err(one_thread_only());
    }
    let settings = Arc::clone(settings);
    let store: F::Map<u64, u64> = filled(&settings, KEYS);
    Ok(Box::new(move || {
        let mut figures = Vec::new();
        for (variant, how) in WAYS {
            let outcome = run::<F>(&settings, &store, how);
            let read = outcome.reads.latency.summary();
            let nanos =
                |metric, value| Figure::new(metric, variant, Unit::Nanoseconds, value as f64);
            figures.extend([
                nanos("read p50", read.p50),
                nanos("read p99", read.p99),
                nanos("read p99.9", read.p999),
                nanos("read p99.99", read.p9999),
                nanos("read max", read.max),
                Figure::new("reads", variant, Unit::PerSecond, outcome.reads.rate),
                Figure::new("writes", variant, Unit::PerSecond, outcome.writes.rate),
            ]);
        }
        figures
    }))
}

fn run<F: Family>(settings: &Settings, store: &F::Map<u64, u64>, how: How) -> Outcome {
    let mut window = settings.window(READERS, WRITERS, how);
    window.writers = Role { threads: WRITERS, how: How::Count };
    window.length = window.length.max(LEAST);
    window.run_timed(
        |i| {
            let mut random = Random::new(settings.seed, 100 + i as u64);
            let mut reader = store.reader();
            move || {
                black_box(reader.get(&random.below(KEYS)));
            }
        },
        |i| {
            let mut random = Random::new(settings.seed, 200 + i as u64);
            move || store.insert(random.below(KEYS), random.next())
        },
    )
}
