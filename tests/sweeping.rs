//! Promise: what `invalidate_all` cleared is swept out by later writes, and told of, whatever others are in the middle of
//! as the index is walked.
//!
//! A thread does it all itself: in the middle of one of its operations it clears the cache, and writes until the walk is
//! through. Needs `RUSTFLAGS="--cfg coeval_internals"`.
#![cfg(coeval_internals)]

mod common;

use coeval::Cache;
use coeval::reclaim::Reclaim;
use common::{Store, on_every_reclaimer};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

type Act = (&'static str, Box<dyn FnOnce()>);

std::thread_local! { static ACTS: RefCell<VecDeque<Act>> = const { RefCell::new(VecDeque::new()) }; }

/// Has this thread do these things, in their order, when it comes to the steps.
fn at<const N: usize>(acts: [Act; N]) {
    ACTS.set(VecDeque::from(acts));
    coeval::internals::set_step_hook(|name| {
        let due = ACTS.with_borrow_mut(|acts| {
            let is_due = acts.front().is_some_and(|(step, _)| *step == name);
            is_due.then(|| acts.pop_front()).flatten()
        });
        if let Some((_, act)) = due {
            act();
        }
    });
}

/// The key in question. Others are above `OTHERS`.
const KEY: u64 = 7;
const OTHERS: u64 = 1 << 20;

struct Stage<R: Reclaim> {
    cache: Store<u64, u64, R>,
    told: Arc<Mutex<Vec<u64>>>,
}

impl<R: Reclaim> Stage<R> {
    fn new() -> Self {
        let told = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&told);
        let builder = Cache::builder().eviction_listener(move |key: Arc<u64>, value, _, _| {
            if *key < OTHERS {
                heard.lock().unwrap().push(value);
            }
        });
        Self { cache: builder.reclaimer().build(), told }
    }

    fn clear_and_walk(&self) -> Box<dyn FnOnce()> {
        let cache = self.cache.clone();
        Box::new(move || {
            cache.invalidate_all();
            write(&cache, 300);
        })
    }

    /// The values that were told of by the time that all was swept out and reclaimed.
    fn told(&self) -> Vec<u64> {
        assert!(ACTS.take().is_empty(), "a step that was not come to");
        write(&self.cache, 30_000);
        let mut told = self.told.lock().unwrap().clone();
        told.sort_unstable();
        told
    }
}

fn write<R: Reclaim>(cache: &Store<u64, u64, R>, writes: u64) {
    (0..writes).for_each(|at| _ = cache.insert(OTHERS + at % 8, at));
}

/// A value lies below a version that was aborted.
fn what_lies_below_an_aborted_version<R: Reclaim>() {
    let stage = Stage::<R>::new();
    let expected = stage.cache.insert(KEY, 1);
    let cache = stage.cache.clone();
    at([("install.before_head", Box::new(move || _ = cache.insert(KEY, 2)))]);
    assert!(stage.cache.compare_and_set(KEY, Some(expected), 3).is_err());
    stage.clear_and_walk()();
    assert_eq!(stage.told(), [1, 2]);
}

on_every_reclaimer!(what_lies_below_an_aborted_version);
