//! String keys of 24 bytes, like the names of YCSB's records, Zipf 0.99: reads, and overwrites.
//!
//! The requested keys are in one array that all threads share. Finding a key there costs each store
//! the same. An overwrite clones the key.

use std::{hint::black_box, sync::Arc};

use super::{
    Ready, Settings,
    points::filled,
    streams::{Cursor, Distribution},
};
use crate::{
    compare::results::{Figure, Unit},
    measure::How,
    stores::{Family, Key, Reader, Store},
};

const KEYS: u64 = 1 << 17;

/// The workload that the module describes.
pub fn entrant<F: Family>(settings: &Arc<Settings>) -> Ready {
    let settings = Arc::clone(settings);
    let keys = KEYS.min(settings.keys);
    let store: F::Map<String, u64> = filled(&settings, keys);
    let names: Vec<String> = (0..keys).map(String::of).collect();
    let most = settings.threads.iter().copied().max().unwrap_or(1);
    let streams = Distribution::Zipf.streams(&settings, keys, most);
    Ok(Box::new(move || {
        let (names, mut figures) = (&names, Vec::new());
        for &threads in &settings.threads {
            let outcome = settings.window(threads, 0, How::Count).run(
                |i| {
                    let (mut reader, mut cursor) = (store.reader(), Cursor::new(&streams[i]));
                    move || {
                        black_box(reader.get(&names[cursor.next() as usize]));
                    }
                },
                |_| || (),
            );
            let variant = format!("{threads} thr");
            figures.push(Figure::new("gets", &variant, Unit::PerSecond, outcome.reads.rate));
        }
        for threads in settings.writing_threads::<F>() {
            let outcome = settings.window(0, threads, How::Count).run(
                |_| || (),
                |i| {
                    let mut cursor = Cursor::new(&streams[i]);
                    let store = &store;
                    move || {
                        let number = cursor.next();
                        store.insert(names[number as usize].clone(), number);
                    }
                },
            );
            let variant = format!("{threads} thr");
            figures.push(Figure::new("overwrites", &variant, Unit::PerSecond, outcome.writes.rate));
        }
        figures
    }))
}
