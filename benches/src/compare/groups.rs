//! Eight keys at a time: batches, consistent reads beside them, and the reads' latency.

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    Entrant, Settings,
    results::{Figure, Unit},
};
use crate::{
    measure::Outcome,
    random::Random,
    stores::{GROUP, Reader, Store},
};

/// Groups of eight neighbouring keys.
pub const GROUPS: u64 = 4096;

fn keys_of(group: u64) -> [u64; GROUP] {
    std::array::from_fn(|i| group * GROUP as u64 + i as u64)
}

/// A store in which every group is whole.
fn filled<S: Store>() -> S {
    let store = S::with_capacity(GROUPS as usize * GROUP);
    (0..GROUPS).for_each(|group| store.insert_group(&keys_of(group), 0));
    store
}

/// Whether the members are not all of one write.
fn is_torn(members: &[Option<u64>; GROUP]) -> bool {
    members[0].is_none() || members.iter().any(|member| *member != members[0])
}

/// Readers and writers of random groups; the outcome, and the share of torn reads in percent. Rates
/// are of groups, not of keys.
fn beside<S: Store>(
    store: &S,
    settings: &Settings,
    readers: usize,
    writers: usize,
    timed: bool,
) -> (Outcome, f64) {
    let (torn, reads) = (AtomicU64::new(0), AtomicU64::new(0));
    let outcome = settings.window(readers, writers, timed).run(
        |i| {
            let mut random = Random::new(settings.seed, i as u64);
            let mut reader = store.reader();
            let mut tally = Tally { torn: &torn, reads: &reads, mine: [0; 2] };
            move || {
                let members = reader.get_group(&keys_of(random.below(GROUPS)));
                tally.note(is_torn(black_box(&members)));
            }
        },
        |i| {
            let mut random = Random::new(settings.seed, 1000 + i as u64);
            let mut value = (i as u64) << 48;
            move || {
                value += 1;
                store.insert_group(&keys_of(random.below(GROUPS)), value);
            }
        },
    );
    let reads = reads.into_inner().max(1);
    (outcome, 100.0 * torn.into_inner() as f64 / reads as f64)
}

/// Counts on its own thread, adds up at the end.
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
pub fn batches<S: Store + 'static>(settings: &Arc<Settings>) -> Entrant {
    let (settings, store) = (Arc::clone(settings), filled::<S>());
    Box::new(move || {
        let threads = settings.threads.iter().filter(|threads| **threads == 1 || S::SHARED);
        let figure = |&threads: &usize| {
            let (outcome, _) = beside(&store, &settings, 0, threads, false);
            let variant = format!("{threads} thr");
            Figure::new("batches", &variant, Unit::PerSecond, outcome.writes.rate)
        };
        threads.map(figure).collect()
    })
}

/// Reads of eight, alone and beside one writer.
pub fn reads<S: Store + 'static>(settings: &Arc<Settings>) -> Entrant {
    let (settings, store) = (Arc::clone(settings), filled::<S>());
    Box::new(move || {
        let mut figures = Vec::new();
        for (writers, variant) in [(0, "1 reader"), (1, "1 reader + 1 writer")] {
            if writers > 0 && !S::SHARED {
                continue;
            }
            let (outcome, torn) = beside(&store, &settings, 1, writers, false);
            figures.push(Figure::new("reads", variant, Unit::PerSecond, outcome.reads.rate));
            figures.push(Figure::new("torn", variant, Unit::Percent, torn));
            if writers > 0 {
                figures.push(Figure::new("writes", variant, Unit::PerSecond, outcome.writes.rate));
            }
        }
        figures
    })
}

/// Readers and writers of a kind each, more of them than cores.
const CROWD: usize = 8;

/// The latency of reads of eight, beside as many writers as readers.
pub fn latency<S: Store + 'static>(settings: &Arc<Settings>) -> Option<Entrant> {
    if !S::SHARED {
        return None;
    }
    let (settings, store) = (Arc::clone(settings), filled::<S>());
    Some(Box::new(move || {
        let (outcome, torn) = beside(&store, &settings, CROWD, CROWD, true);
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
