//! A source that changes, and the ways to tell a cache of that.

use super::Cache;
use crate::common::random::Random;
use coeval::reclaim::Reclaim;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// A write of this key more than another drops the other; a write of that key more sets it to what the source says.
pub const DROPS: usize = 1_000;
pub const SETS: usize = 2_000;

/// Nothing, mostly; or a short while, or another thread's turn.
pub fn pause(random: &mut Random) {
    match random.below(16) {
        0 => std::thread::yield_now(),
        1..5 => (0..random.below(100)).for_each(|_| std::hint::spin_loop()),
        _ => {}
    }
}

/// Numbers, and of which of them the cache was told.
pub struct Source {
    numbers: Vec<(AtomicU64, AtomicU64)>,
}

impl Source {
    pub fn new(keys: usize) -> Arc<Self> {
        Arc::new(Self { numbers: (0..keys).map(|_| Default::default()).collect() })
    }

    pub fn len(&self) -> u64 {
        self.numbers.len() as u64
    }

    pub fn read(&self, key: usize) -> u64 {
        self.numbers[key].0.load(SeqCst)
    }

    /// Changes a key's number.
    pub fn raise(&self, key: usize) -> u64 {
        self.numbers[key].0.fetch_add(1, SeqCst) + 1
    }

    /// Notes that the cache was told.
    pub fn tell(&self, key: usize, number: u64) {
        self.numbers[key].1.store(number, SeqCst);
    }

    pub fn told(&self, key: usize) -> u64 {
        self.numbers[key].1.load(SeqCst)
    }

    /// One of the keys that one of so many writers has for itself.
    pub fn one_of(&self, random: &mut Random, writer: usize, writers: usize) -> Option<usize> {
        let mine = (self.numbers.len() + writers - 1 - writer) / writers;
        (mine > 0).then(|| writer + writers * random.below(mine as u64) as usize)
    }
}

/// How the cache is told.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Insert,
    Invalidate,
    Remove,
    RemoveTwice,
    BatchInsert,
    BatchInvalidate,
    BatchRemove,
    Exchange,
    DroppingRelation,
    SettingRelation,
    InsertAndRemove,
    Clear,
}

impl Kind {
    pub fn any(random: &mut Random) -> Self {
        use Kind::*;
        if random.one_in(64) {
            return Clear;
        }
        random.pick(&[
            Insert,
            Invalidate,
            Invalidate,
            Remove,
            Remove,
            RemoveTwice,
            BatchInsert,
            BatchInvalidate,
            BatchRemove,
            Exchange,
            DroppingRelation,
            SettingRelation,
            InsertAndRemove,
        ])
    }

    /// Tells the cache that `key` is `value` by now.
    pub fn tell<R: Reclaim>(self, cache: &Cache<R>, key: usize, value: u64) {
        match self {
            Self::Insert => _ = cache.insert(key, value),
            Self::Invalidate => _ = cache.invalidate(&key),
            Self::Remove => _ = cache.remove(&key),
            Self::RemoveTwice => _ = (cache.remove(&key), cache.remove(&key)),
            // Others' keys in the same commit: what they hold may only go.
            Self::BatchInsert => _ = cache.batch().remove(0).insert(key, value).commit(),
            Self::BatchInvalidate => _ = cache.batch().invalidate(key).remove(1).commit(),
            Self::BatchRemove => _ = cache.batch().remove(key).commit(),
            Self::Exchange => exchange(cache, key, value),
            Self::DroppingRelation => _ = cache.batch().invalidate(DROPS + key).commit(),
            Self::SettingRelation => _ = cache.insert(SETS + key, 0),
            Self::InsertAndRemove => _ = (cache.insert(key, value), cache.remove(&key)),
            Self::Clear => _ = cache.invalidate_all(),
        }
    }
}

/// Sets the key by compare-and-set, as often as it takes.
fn exchange<R: Reclaim>(cache: &Cache<R>, key: usize, value: u64) {
    loop {
        let version = cache.get_versioned(&key).map(|(_, version)| version);
        if cache.compare_and_set(key, version, value).is_ok() {
            return;
        }
    }
}
