//! Reads of uniformly random keys among 1,000, 10,000, 100,000, 2^20 and ten million keys, which
//! fit into different levels of the processor's caches. Each read has its own guard.

use std::sync::Arc;

use super::{
    Ready, Settings,
    points::{filled, get_rate},
    streams::Distribution,
};
use crate::{
    compare::results::{Figure, Unit},
    stores::Family,
};

const SIZES: [u64; 4] = [1_000, 10_000, 100_000, 1 << 20];
const LARGE: u64 = 10_000_000;

/// Up to 2^20 keys. The stores of all sizes are kept side by side.
pub fn entrant<F: Family>(settings: &Arc<Settings>) -> Ready {
    let settings = Arc::clone(settings);
    let most = settings.threads.iter().copied().max().unwrap_or(1);
    let sizes = SIZES.map(|keys| {
        let streams = Distribution::Uniform.streams(&settings, keys, most);
        (keys, filled::<F::Map<u64, u64>, u64, u64>(&settings, keys), streams)
    });
    Ok(Box::new(move || {
        let mut figures = Vec::new();
        for (keys, store, streams) in &sizes {
            figures.extend(gets::<F>(store, &settings, streams, *keys));
        }
        figures
    }))
}

/// Ten million keys. The stores do not all fit in memory, so each is filled for its turn.
pub fn large<F: Family>(settings: &Arc<Settings>) -> Ready {
    let settings = Arc::clone(settings);
    let most = settings.threads.iter().copied().max().unwrap_or(1);
    let streams = Distribution::Uniform.streams(&settings, LARGE, most);
    Ok(Box::new(move || {
        let store = filled::<F::Map<u64, u64>, u64, u64>(&settings, LARGE);
        gets::<F>(&store, &settings, &streams, LARGE)
    }))
}

fn gets<F: Family>(
    store: &F::Map<u64, u64>,
    settings: &Settings,
    streams: &[Vec<u32>],
    keys: u64,
) -> Vec<Figure> {
    let figure = |&threads: &usize| {
        let rate = get_rate::<F>(store, settings, streams, threads);
        Figure::new("gets", &format!("{keys} keys, {threads} thr"), Unit::PerSecond, rate)
    };
    settings.threads.iter().map(figure).collect()
}
