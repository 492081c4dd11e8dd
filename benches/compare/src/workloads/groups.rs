//! Groups of related keys: batches, consistent reads beside them, and the latency of the reads.
//! There are 32,768 keys in groups of adjacent keys. A write gives all members of a random group
//! one new value. A read of a random group is torn if its members differ.

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{Ready, Settings, one_thread_only};
use crate::{
    compare::results::{Figure, Unit},
    measure::{How, Outcome},
    random::Random,
    stores::{Family, Reader, Store},
};

const KEYS: u64 = 1 << 15;

fn keys_of<const N: usize>(group: u64) -> [u64; N] {
    std::array::from_fn(|i| group * N as u64 + i as u64)
}

fn groups<const N: usize>() -> u64 {
    KEYS / N as u64
}

/// A store in which every group has one value.
fn filled<F: Family, const N: usize>(settings: &Settings) -> F::Map<u64, u64> {
    let store = F::Map::<u64, u64>::with_capacity(settings.reserve(KEYS));
    if F::GROUPS_ONLY {
        (0..groups::<N>()).for_each(|group| store.insert_group(&keys_of::<N>(group), &0));
    } else {
        store.fill((0..KEYS).map(|key| (key, 0)));
    }
    store
}

/// Whether the members come from different writes.
fn is_torn<const N: usize>(members: &[Option<u64>; N]) -> bool {
    members[0].is_none() || members.iter().any(|member| *member != members[0])
}

/// Runs readers and writers of random groups. Returns the outcome, and the percentage of torn
/// reads. Rates count groups, not keys.
fn beside<S: Store<u64, u64>, const N: usize, const TIMED: bool>(
    store: &S,
    settings: &Settings,
    readers: usize,
    writers: usize,
    how: How,
) -> (Outcome, f64) {
    let (torn, reads) = (AtomicU64::new(0), AtomicU64::new(0));
    let reader = |i| {
        let mut random = Random::new(settings.seed, i as u64);
        let mut reader = store.reader();
        let mut tally = Tally { torn: &torn, reads: &reads, mine: [0; 2] };
        move || {
            let members = reader.get_group(&keys_of::<N>(random.below(groups::<N>())));
            tally.note(is_torn(black_box(&members)));
        }
    };
    let writer = |i| {
        let mut random = Random::new(settings.seed, 1000 + i as u64);
        let mut value = (i as u64) << 48;
        move || {
            value += 1;
            store.insert_group(&keys_of::<N>(random.below(groups::<N>())), &value);
        }
    };
    let window = settings.window(readers, writers, how);
    let outcome = if TIMED { window.run_timed(reader, writer) } else { window.run(reader, writer) };
    let reads = reads.into_inner().max(1);
    (outcome, 100.0 * torn.into_inner() as f64 / reads as f64)
}

/// Counts on its own thread, and adds the count to the total at the end.
struct Tally<'a> {
    torn: &'a AtomicU64,
    reads: &'a AtomicU64,
    mine: [u64; 2],
}

impl Tally<'_> {
    #[inline]
    fn note(&mut self, torn: bool) {
        self.mine[0] += u64::from(torn);
        self.mine[1] += 1;
    }
}

impl Drop for Tally<'_> {
    fn drop(&mut self) {
        // Read after the threads were joined.
        self.torn.fetch_add(self.mine[0], Ordering::Relaxed);
        self.reads.fetch_add(self.mine[1], Ordering::Relaxed);
    }
}

/// Batches of eight overwrites.
pub fn batches<F: Family>(settings: &Arc<Settings>) -> Ready {
    let (settings, store) = (Arc::clone(settings), filled::<F, 8>(settings));
    Ok(Box::new(move || {
        let figure = |threads| {
            let (outcome, _) = beside::<_, 8, false>(&store, &settings, 0, threads, How::Count);
            let variant = format!("{threads} thr");
            Figure::new("batches", &variant, Unit::PerSecond, outcome.writes.rate)
        };
        settings.writing_threads::<F>().map(figure).collect()
    }))
}

/// Reads of eight, alone and beside one writer.
pub fn reads<F: Family>(settings: &Arc<Settings>) -> Ready {
    let (settings, store) = (Arc::clone(settings), filled::<F, 8>(settings));
    Ok(Box::new(move || {
        let mut figures = Vec::new();
        for (writers, variant) in [(0, "1 reader"), (1, "1 reader + 1 writer")] {
            if writers > 0 && !F::SHARED {
                continue;
            }
            let (outcome, torn) = beside::<_, 8, false>(&store, &settings, 1, writers, How::Count);
            figures.push(Figure::new("reads", variant, Unit::PerSecond, outcome.reads.rate));
            if writers > 0 {
                figures.push(Figure::new("writes", variant, Unit::PerSecond, outcome.writes.rate));
                figures.push(Figure::new("torn", variant, Unit::Percent, torn));
            }
        }
        figures
    }))
}

/// Groups of 1, 4, 16 and 64: one writer alone; one reader beside one writer.
pub fn sizes<F: Family>(settings: &Arc<Settings>) -> Ready {
    if let Some(size) = F::GROUP_SIZE {
        return Err(format!("is made for groups of {size}"));
    }
    let settings = Arc::clone(settings);
    let store = filled::<F, 1>(&settings);
    Ok(Box::new(move || {
        let mut figures = of_size::<F, 1>(&store, &settings);
        figures.extend(of_size::<F, 4>(&store, &settings));
        figures.extend(of_size::<F, 16>(&store, &settings));
        figures.extend(of_size::<F, 64>(&store, &settings));
        figures
    }))
}

fn of_size<F: Family, const N: usize>(
    store: &F::Map<u64, u64>,
    settings: &Settings,
) -> Vec<Figure> {
    // After a run with another group size, a group of this size may have values of several writes.
    store.fill((0..KEYS).map(|key| (key, 0)));
    let variant = format!("{N} keys");
    let rate = |metric, rate| Figure::new(metric, &variant, Unit::PerSecond, rate);
    let (alone, _) = beside::<_, N, false>(store, settings, 0, 1, How::Count);
    let mut figures = vec![rate("writes", alone.writes.rate)];
    if F::SHARED {
        let (outcome, torn) = beside::<_, N, false>(store, settings, 1, 1, How::Count);
        figures.push(rate("reads beside a writer", outcome.reads.rate));
        figures.push(Figure::new("torn", &variant, Unit::Percent, torn));
    }
    figures
}

/// The number of readers, and of writers. Together they exceed the cores.
const CROWD: usize = 8;

/// The latency of reads of eight, one after the other, with as many writers as readers.
pub fn latency<F: Family>(settings: &Arc<Settings>) -> Ready {
    if !F::SHARED {
        return Err(one_thread_only());
    }
    let (settings, store) = (Arc::clone(settings), filled::<F, 8>(settings));
    Ok(Box::new(move || {
        let (outcome, torn) = beside::<_, 8, true>(&store, &settings, CROWD, CROWD, How::Time);
        let read = outcome.reads.latency.summary();
        let variant = format!("{CROWD} + {CROWD} thr");
        let nanos = |metric, value| Figure::new(metric, &variant, Unit::Nanoseconds, value as f64);
        vec![
            nanos("read p50", read.p50),
            nanos("read p99.9", read.p999),
            nanos("read p99.99", read.p9999),
            nanos("read max", read.max),
            Figure::new("reads", &variant, Unit::PerSecond, outcome.reads.rate),
            Figure::new("writes", &variant, Unit::PerSecond, outcome.writes.rate),
            Figure::new("torn", &variant, Unit::Percent, torn),
        ]
    }))
}
