//! A walk that sweeps out what was cleared, and what others do as it begins.

use crate::common::{Store, on_every_reclaimer};
use coeval::reclaim::Reclaim;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

std::thread_local! { static ACT: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) }; }

/// Has this thread do something once, when it begins such a walk.
fn at_the_beginning(act: impl FnOnce() + 'static) {
    ACT.set(Some(Box::new(act)));
    coeval::internals::set_step_hook(|name| {
        if name == "sweep.begun"
            && let Some(act) = ACT.take()
        {
            act();
        }
    });
}

/// The walk before divided the index into more parts, and somebody takes one of these.
fn a_part_of_the_walk_before<R: Reclaim>() {
    let told = Arc::new(AtomicU64::new(0));
    let heard = told.clone();
    let builder = coeval::Cache::builder().eviction_listener(move |key: Arc<u64>, _, _, _| {
        heard.fetch_add(u64::from(*key < 1 << 20), Ordering::Relaxed);
    });
    let cache: Store<u64, u64, R> = builder.reclaimer::<R>().build();
    let write = |cache: &Store<u64, u64, R>, writes: u64| {
        (0..writes).for_each(|at| _ = cache.insert((1 << 20) + at % 8, at));
    };
    (0..5_000).for_each(|key| _ = cache.insert(key, key));
    cache.invalidate_all();
    write(&cache, 100_000);
    assert_eq!(told.load(Ordering::Relaxed), 5_000, "the walk before");
    // By now the index has shrunk.
    (0..500).for_each(|key| _ = cache.insert(key, key));
    let other = cache.clone();
    at_the_beginning(move || write(&other, 3));
    cache.invalidate_all();
    write(&cache, 100_000);
    assert_eq!(told.load(Ordering::Relaxed), 5_500);
}

on_every_reclaimer!(a_part_of_the_walk_before);
