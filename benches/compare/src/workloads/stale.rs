//! Loads in flight while their key is invalidated. One thread misses a key and loads it. When the
//! load has read the source, another thread changes the source and invalidates the key. Then the
//! load ends. If the key holds the old value afterwards, that value would stay: it is stale.
//!
//! A store fills with its own call if it has one (`get_with`, `get_or_fetch`, `get_value_or_guard`,
//! `entry`, ...), and otherwise as a user would: get, miss, load, insert. In some stores the
//! invalidation waits until the load has ended. The load gives it two milliseconds.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::channel,
    },
    thread,
    time::Duration,
};

use super::{Ready, Settings, one_thread_only};
use crate::{
    compare::results::{Figure, Unit},
    stores::{Family, Reader, Store},
};

const LOADS: u64 = 50;
const PATIENCE: Duration = Duration::from_millis(2);
const OLD: u64 = 1;
const NEW: u64 = 2;

/// The workload that the module describes.
pub fn entrant<F: Family>(_: &Arc<Settings>) -> Ready {
    if !F::SHARED {
        return Err(one_thread_only());
    }
    let store = F::Map::<u64, u64>::with_capacity(0);
    let mut key = 0;
    Ok(Box::new(move || {
        let stale = (0..LOADS).filter(|_| {
            key += 1;
            is_stale(&store, key)
        });
        let share = 100.0 * stale.count() as f64 / LOADS as f64;
        vec![Figure::new("stale", "", Unit::Percent, share)]
    }))
}

fn is_stale<S: Store<u64, u64>>(store: &S, key: u64) -> bool {
    let source = Arc::new(AtomicU64::new(OLD));
    let (say_in_flight, in_flight) = channel();
    let (say_invalidated, invalidated) = channel::<()>();
    let load = {
        let source = Arc::clone(&source);
        move || {
            let value = source.load(Ordering::SeqCst);
            let _ = say_in_flight.send(());
            let _ = invalidated.recv_timeout(PATIENCE);
            value
        }
    };
    thread::scope(|scope| {
        scope.spawn(move || store.get_or_load(&key, load));
        in_flight.recv().expect("the key is missing, so it is loaded");
        source.store(NEW, Ordering::SeqCst);
        store.remove(&key);
        let _ = say_invalidated.send(());
    });
    // After this, the store has no background work left.
    store.fill(std::iter::empty());
    store.reader().get(&key) == Some(OLD)
}
