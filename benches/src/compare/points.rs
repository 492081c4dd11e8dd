//! Single keys: reads under a guard for each, reads under a held guard, overwrites.

use std::{hint::black_box, sync::Arc};

use super::{
    Entrant, Settings,
    results::{Figure, Unit},
};
use crate::{
    random::{Random, shuffled, uniform_stream, zipf_stream},
    stores::{Reader, Store},
};

/// Keys in a thread's stream; a power of two. 4 MiB, read in order: the prefetcher hides it.
const STREAM: usize = 1 << 20;

/// How keys are asked for.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub enum Distribution {
    Uniform,
    Zipf,
}

impl Distribution {
    fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Zipf => "zipf",
        }
    }

    /// A stream for each of `threads` threads, made ahead so that choosing keys costs nothing.
    fn streams(self, settings: &Settings, threads: usize) -> Vec<Vec<u32>> {
        let stream = |thread| {
            let mut random = Random::new(settings.seed, thread);
            let keys = match self {
                Self::Uniform => uniform_stream(settings.keys, STREAM, &mut random),
                // The popular keys are the same for all threads; each begins elsewhere.
                Self::Zipf => {
                    let mut random = Random::new(settings.seed, u64::MAX);
                    let mut keys = zipf_stream(settings.keys, STREAM, &mut random);
                    keys.rotate_left(thread as usize * (STREAM / 61) % STREAM);
                    keys
                }
            };
            keys.into_iter().map(|key| key as u32).collect()
        };
        (0..threads as u64).map(stream).collect()
    }
}

/// A stream being read, over and over.
struct Cursor<'a> {
    keys: &'a [u32],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn new(keys: &'a [u32]) -> Self {
        Self { keys, at: 0 }
    }

    #[inline]
    fn next(&mut self) -> u64 {
        self.at = (self.at + 1) & (STREAM - 1);
        u64::from(self.keys[self.at])
    }
}

/// A store with every key, filled in random order, and checked to hold them.
pub fn filled<S: Store>(settings: &Settings) -> S {
    let store = S::with_capacity(settings.keys as usize);
    let mut random = Random::new(settings.seed, 0xF111);
    store.fill(shuffled(settings.keys, &mut random).into_iter());
    let mut reader = store.reader();
    let probe = (0..1000).map(|i| i * settings.keys / 1000);
    let missing = probe.filter(|key| reader.get(*key) != Some(*key)).count();
    assert_eq!(missing, 0, "the store lost {missing} of 1000 probed keys while it was filled");
    drop(reader);
    store
}

/// Gets, a guard for each.
pub fn gets<S: Store + 'static>(
    settings: &Arc<Settings>,
    distributions: &'static [Distribution],
) -> Entrant {
    points::<S>(settings, distributions, |store, settings, streams, threads| {
        let outcome = settings.window(threads, 0, false).run(
            |i| {
                let (mut reader, mut cursor) = (store.reader(), Cursor::new(&streams[i]));
                move || {
                    black_box(reader.get(cursor.next()));
                }
            },
            |_| || (),
        );
        outcome.reads.rate
    })
}

/// Gets, one guard throughout. None where the store has nothing to hold.
pub fn held<S: Store + 'static>(
    settings: &Arc<Settings>,
    distributions: &'static [Distribution],
) -> Option<Entrant> {
    S::with_capacity(1).held()?;
    Some(points::<S>(settings, distributions, |store, settings, streams, threads| {
        let outcome = settings.window(threads, 0, false).run(
            |i| {
                let mut reader = store.held().expect("there was one just now");
                let mut cursor = Cursor::new(&streams[i]);
                move || {
                    black_box(reader.get(cursor.next()));
                }
            },
            |_| || (),
        );
        outcome.reads.rate
    }))
}

/// Inserts over keys that are there.
pub fn overwrites<S: Store + 'static>(
    settings: &Arc<Settings>,
    distributions: &'static [Distribution],
) -> Entrant {
    points::<S>(settings, distributions, |store, settings, streams, threads| {
        if threads > 1 && !S::SHARED {
            return f64::NAN;
        }
        let outcome = settings.window(0, threads, false).run(
            |_| || (),
            |i| {
                let mut cursor = Cursor::new(&streams[i]);
                let mut value = i as u64;
                move || {
                    value = value.wrapping_add(1);
                    store.insert(cursor.next(), value);
                }
            },
        );
        outcome.writes.rate
    })
}

/// One rate for each distribution and number of threads, on a store that is filled once, or, where it
/// is too large to keep beside the others, for every round.
fn points<S: Store + 'static>(
    settings: &Arc<Settings>,
    distributions: &'static [Distribution],
    rate: impl Fn(&S, &Settings, &[Vec<u32>], usize) -> f64 + 'static,
) -> Entrant {
    let settings = Arc::clone(settings);
    let most = settings.threads.iter().copied().max().unwrap_or(1);
    let streams: Vec<_> = distributions.iter().map(|d| d.streams(&settings, most)).collect();
    let mut kept = if settings.refill() { None } else { Some(filled::<S>(&settings)) };
    Box::new(move || {
        let store = kept.take().unwrap_or_else(|| filled::<S>(&settings));
        let mut figures = Vec::new();
        for (distribution, streams) in distributions.iter().zip(&streams) {
            for &threads in &settings.threads {
                let rate = rate(&store, &settings, streams, threads);
                let variant = format!("{}, {threads} thr", distribution.name());
                figures.push(Figure::new("operations", &variant, Unit::PerSecond, rate));
            }
        }
        if !settings.refill() {
            kept = Some(store);
        }
        figures.retain(|figure| !figure.value.is_nan());
        figures
    })
}
