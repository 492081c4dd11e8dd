//! Caffeine's GetPut: a cache of 32,768 present entries, of which 10,922 are requested, with a
//! scrambled Zipf 0.99 distribution. There are three mixes: only reads; three reads for each write,
//! in every thread (in Caffeine, six threads read and two write); and only writes.

use std::{hint::black_box, sync::Arc};

use super::{
    Ready, Settings,
    points::filled,
    streams::{Cursor, STREAM},
};
use crate::{
    compare::results::{Figure, Unit},
    measure::How,
    random::{Random, scrambled_zipf_stream},
    stores::{Family, Reader, Store},
};

const SIZE: u64 = 2 << 14;
const ITEMS: u64 = SIZE / 3;

/// How many of four operations are writes.
const MIXES: [(&str, u64); 3] = [("100 % get", 0), ("75 % get", 1), ("100 % put", 4)];

/// The workload that the module describes.
pub fn entrant<F: Family>(settings: &Arc<Settings>) -> Ready {
    let settings = Arc::clone(settings);
    let store: F::Map<u64, u64> = filled(&settings, SIZE);
    let mut random = Random::new(settings.seed, 0xCAFF);
    let stream = scrambled_zipf_stream(SIZE, ITEMS, STREAM, &mut random);
    let most = settings.threads.iter().copied().max().unwrap_or(1);
    let streams: Vec<Vec<u32>> = (0..most)
        .map(|thread| {
            let mut stream = stream.clone();
            stream.rotate_left(thread * (STREAM / 61) % STREAM);
            stream
        })
        .collect();
    Ok(Box::new(move || {
        let mut figures = Vec::new();
        for (mix, writes) in MIXES {
            for &threads in &settings.threads {
                if writes > 0 && threads > 1 && !F::SHARED {
                    continue;
                }
                let rate = rate::<F>(&settings, &store, &streams, threads, writes);
                let variant = format!("{mix}, {threads} thr");
                figures.push(Figure::new("operations", &variant, Unit::PerSecond, rate));
            }
        }
        figures
    }))
}

fn rate<F: Family>(
    settings: &Settings,
    store: &F::Map<u64, u64>,
    streams: &[Vec<u32>],
    threads: usize,
    writes: u64,
) -> f64 {
    let outcome = settings.window(threads, 0, How::Count).run(
        |i| {
            let (mut reader, mut cursor) = (store.reader(), Cursor::new(&streams[i]));
            let mut turn = i as u64;
            move || {
                turn = turn.wrapping_add(1);
                let key = cursor.next();
                if turn % 4 < writes {
                    store.insert(key, turn);
                } else {
                    black_box(reader.get(&key));
                }
            }
        },
        |_| || (),
    );
    outcome.reads.rate
}
