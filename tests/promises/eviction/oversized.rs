//! Promise: an entry that is heavier than the bound leaves no memory behind.

use super::{Cache, weighed};
use crate::common::on_every_reclaimer;
use coeval::reclaim::Reclaim;

fn entries_that_never_fit_leave_nothing<R: Reclaim>() {
    let cache: Cache<R> = weighed(1);
    let writes: [fn(&Cache<R>, u64); 3] = [
        |cache, key| _ = cache.insert(key, 2),
        |cache, key| _ = cache.batch().insert(key, 2).commit(),
        |cache, key| _ = cache.compare_and_set(key, None, 2),
    ];
    for (kind, write) in (0..).zip(writes) {
        let memory_after = |keys: std::ops::Range<u64>| {
            keys.for_each(|key| write(&cache, kind << 32 | key));
            (0..3).for_each(|_| _ = cache.collect());
            assert_eq!(cache.len(), 0);
            cache.stats().memory
        };
        let (early, late) = (memory_after(0..2_000), memory_after(2_000..20_000));
        assert!(late <= early + (256 << 10), "{early} bytes have become {late}");
    }
}

on_every_reclaimer!(entries_that_never_fit_leave_nothing);
