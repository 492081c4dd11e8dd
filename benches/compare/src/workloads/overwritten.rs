//! Reads of keys that were written once, and of keys that were overwritten twice: the cost of a
//! value that is no longer where the first one was. Two stores hold the same keys, and the reads
//! are uniformly random. The overwriting is in random order and before the first round; nothing is
//! written afterwards.

use std::sync::Arc;

use super::{
    Ready, Settings,
    points::{filled, get_rate},
    streams::Distribution,
};
use crate::{
    compare::results::{Figure, Unit},
    random::{Random, shuffled},
    stores::{Family, Store},
};

/// The workload that the module describes.
pub fn entrant<F: Family>(settings: &Arc<Settings>) -> Ready {
    let settings = Arc::clone(settings);
    let keys = settings.keys;
    let once: F::Map<u64, u64> = filled(&settings, keys);
    let twice: F::Map<u64, u64> = filled(&settings, keys);
    for round in 1..=2 {
        let order = shuffled(keys, &mut Random::new(settings.seed, 0x0E0 + round));
        // Writes as the workloads do, because `fill` may write differently.
        twice.fill(order.into_iter().map(|key| (u64::from(key), round)));
    }
    let most = settings.threads.iter().copied().max().unwrap_or(1);
    let streams = Distribution::Uniform.streams(&settings, keys, most);
    Ok(Box::new(move || {
        let mut figures = Vec::new();
        for (store, what) in [(&once, "written once"), (&twice, "overwritten twice")] {
            for &threads in &settings.threads {
                let rate = get_rate::<F>(store, &settings, &streams, threads);
                let variant = format!("{what}, {threads} thr");
                figures.push(Figure::new("gets", &variant, Unit::PerSecond, rate));
            }
        }
        figures
    }))
}
