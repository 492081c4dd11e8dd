//! A source that changes, the entries that are made from it, and the ways to tell a cache of a
//! change.

use super::Cache;
use crate::common::random::Random;
use coeval::Tag;
use coeval::reclaim::Reclaim;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

/// The twin of a key is the key plus this. It is another entry that is read from the same number.
/// Telling the cache of a change concerns both, in one commit or in two, but never writes one of
/// them and leaves the other old.
pub const TWIN: usize = 1_000;
/// A write of a key plus this drops the key; a write of the second key sets the key to the value of
/// the source.
pub const DROPS: usize = 2_000;
pub const SETS: usize = 3_000;
/// Values derived from a key and its twin; from that value; and from the key, or from the source
/// while the key is absent.
pub const PAIR: usize = 4_000;
pub const OF_PAIR: usize = 5_000;
pub const OWN: usize = 6_000;

/// A tag of all entries that are read from the source, in tests that invalidate tags; and a tag
/// that some entries have at times.
pub const ALL: u64 = 1_000;
pub const SOME: u64 = 1_001;

/// Does nothing, mostly; or pauses shortly, or yields; rarely pauses longer.
pub fn pause(random: &mut Random) {
    match random.below(4_096) {
        0 => std::thread::sleep(Duration::from_micros(random.spread(8))),
        1..256 => std::thread::yield_now(),
        256..1_280 => (0..random.below(100)).for_each(|_| std::hint::spin_loop()),
        _ => {}
    }
}

/// The numbers, and the latest of each that the cache was told of.
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

    /// The number of a key, as a value that is loaded: even.
    pub fn read(&self, key: usize) -> u64 {
        2 * self.numbers[key].0.load(SeqCst)
    }

    /// The number of a key, as a value that is written: odd.
    pub fn written(&self, key: usize) -> u64 {
        self.read(key) + 1
    }

    /// Changes the number of a key.
    pub fn raise(&self, key: usize) -> u64 {
        self.numbers[key].0.fetch_add(1, SeqCst) + 1
    }

    /// Notes that the cache was told of the number.
    pub fn tell(&self, key: usize, number: u64) {
        self.numbers[key].1.store(number, SeqCst);
    }

    /// The least value of the key that a reader may get.
    pub fn told(&self, key: usize) -> u64 {
        2 * self.numbers[key].1.load(SeqCst)
    }

    /// One of the keys that belong to this writer alone.
    pub fn one_of(&self, random: &mut Random, writer: usize, writers: usize) -> Option<usize> {
        let mine = (self.numbers.len() + writers - 1 - writer) / writers;
        (mine > 0).then(|| writer + writers * random.below(mine as u64) as usize)
    }
}

/// The ways to tell the cache.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Insert,
    InsertFor,
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
    Tag,
    TagAndInsert,
    TagOfAll,
}

impl Kind {
    /// The ways that affect a key whatever the cache holds.
    pub const USUAL: [Self; 16] = {
        use Kind::*;
        [
            Insert,
            Insert,
            InsertFor,
            Invalidate,
            Invalidate,
            Remove,
            Remove,
            RemoveTwice,
            BatchInsert,
            BatchInsert,
            BatchInvalidate,
            BatchRemove,
            Exchange,
            DroppingRelation,
            SettingRelation,
            InsertAndRemove,
        ]
    };

    /// A random way, for a cache whose entries always have their tags, or for another.
    pub fn any(random: &mut Random, is_tagged: bool) -> Self {
        match (is_tagged, random.one_in(64)) {
            (false, true) => Self::Clear,
            (false, false) => random.pick(&Self::USUAL),
            (true, true) => Self::TagOfAll,
            (true, false) => random.pick(&[Self::Tag, Self::TagAndInsert]),
        }
    }

    /// Tells the cache that the number of `key` has changed, to `value` as it is written.
    pub fn tell<R: Reclaim>(self, cache: &Cache<R>, key: usize, value: u64, random: &mut Random) {
        let twin = key + TWIN;
        match self {
            Self::Insert => _ = cache.insert(key, value),
            Self::InsertFor => {
                let time = Duration::from_nanos(random.below(200));
                _ = cache.insert_with_ttl(key, value, time);
            }
            // If the cache does not know the key, it does not follow relations.
            Self::Invalidate => _ = (cache.invalidate(&key), cache.invalidate(&twin)),
            Self::Remove => _ = (cache.remove(&key), cache.remove(&twin)),
            Self::RemoveTwice => {
                _ = (cache.remove(&key), cache.remove(&key), cache.remove(&twin));
            }
            // The commit also concerns keys of others, whose values it may only end.
            Self::BatchInsert => {
                _ = cache.batch().remove(0).insert(key, value).insert(twin, value).commit();
            }
            Self::BatchInvalidate => _ = cache.batch().remove(1).invalidate(key).commit(),
            Self::BatchRemove => _ = cache.batch().remove(key).remove(twin).commit(),
            Self::Exchange => exchange(cache, key, value),
            Self::DroppingRelation => _ = cache.batch().invalidate(DROPS + key).commit(),
            Self::SettingRelation => _ = cache.insert(SETS + key, 0),
            Self::InsertAndRemove => {
                _ = (cache.insert(key, value), cache.remove(&key), cache.remove(&twin));
            }
            Self::Clear => _ = cache.invalidate_all(),
            Self::Tag => _ = cache.invalidate_tag(key as u64),
            Self::TagAndInsert => {
                cache.invalidate_tag(key as u64);
                cache.insert_tagged(key, value, &tags(key));
                cache.insert_tagged(twin, value, &tags(key));
            }
            Self::TagOfAll => _ = cache.invalidate_tag(ALL),
        }
    }
}

/// The tags of a key's entries.
pub fn tags(key: usize) -> [Tag; 2] {
    [Tag::from(key as u64), Tag::from(ALL)]
}

/// Sets the key by compare-and-set, with as many attempts as it takes.
fn exchange<R: Reclaim>(cache: &Cache<R>, key: usize, value: u64) {
    loop {
        let version = cache.get_versioned(&key).map(|(_, version)| version);
        if cache.compare_and_set(key, version, value).is_ok() {
            return;
        }
    }
}
