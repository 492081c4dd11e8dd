//! The stores that are compared, behind one trait; each file's head says what its store promises.
//!
//! All hold `u64` keys and values and, where the store lets itself be told, hash with [`Hasher`].

mod coeval;
mod concread;
mod dashmap;
mod evmap;
mod moka;
mod papaya;
mod papaya_entry;
mod quick_cache;
mod rwlock;
mod std_map;

use serde::Serialize;

/// foldhash, fast, with a fixed seed: the same hashes in every store.
pub type Hasher = foldhash::fast::FixedState;

/// Keys of one group.
pub const GROUP: usize = 8;

/// What a store promises, for the tables.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Promises {
    /// A batch becomes visible at once.
    pub atomic_batch: bool,
    /// Several keys can be read as of one moment.
    pub consistent_group_read: bool,
    /// Can be bounded. (Here all stores are given room for everything.)
    pub bounded: bool,
    /// Where it blocks, in a few words.
    pub blocks: &'static str,
}

/// A store under test.
pub trait Store: Sync + Sized {
    /// What it promises.
    const PROMISES: Promises;
    /// Whether other threads may write or read while one writes.
    const SHARED: bool = true;
    /// Takes part only where whole groups are written and read.
    const GROUPS_ONLY: bool = false;

    /// Reads; made on the thread that uses it.
    type Reader<'a>: Reader
    where
        Self: 'a;
    /// Reads under one guard that is held throughout; [`NoHeld`] where there is nothing to hold.
    type Held<'a>: Reader
    where
        Self: 'a;

    /// An empty store with room for `entries` reserved, if it can; of 0, an ordinary empty one.
    fn with_capacity(entries: usize) -> Self;

    /// A reader for the calling thread.
    fn reader(&self) -> Self::Reader<'_>;

    /// A reader for the calling thread that holds its guard; `None` where there is nothing to hold.
    fn held(&self) -> Option<Self::Held<'_>>;

    /// Writes one entry, visible when this returns.
    fn insert(&self, key: u64, value: u64);

    /// Takes out one entry, visible when this returns.
    fn remove(&self, key: u64);

    /// Writes `value` to every key: in one batch where the store has them, else one by one.
    fn insert_group(&self, keys: &[u64; GROUP], value: u64) {
        for key in keys {
            self.insert(*key, value);
        }
    }

    /// Writes `key → key` for all of `keys`, as quickly as the store can while nobody else uses it.
    fn fill(&self, keys: impl Iterator<Item = u64>) {
        for key in keys {
            self.insert(key, key);
        }
    }

    /// What keeps the present contents readable while it lives: a view or a transaction; where the
    /// store has none, a reader's guard; else nothing. With its name.
    fn hold_contents(&self) -> (&'static str, impl Sized + '_) {
        ("nothing to hold", ())
    }
}

/// What one thread reads with.
pub trait Reader {
    /// The value of `key`.
    fn get(&mut self, key: u64) -> Option<u64>;

    /// The values of all of `keys`: as of one moment where the store can, else one by one.
    #[inline]
    fn get_group(&mut self, keys: &[u64; GROUP]) -> [Option<u64>; GROUP] {
        keys.map(|key| self.get(key))
    }
}

/// The held reader of a store that has none.
#[derive(Debug)]
pub enum NoHeld {}

impl Reader for NoHeld {
    fn get(&mut self, _: u64) -> Option<u64> {
        match *self {}
    }
}

/// Something to be done with a store of any kind.
pub trait Visit {
    /// What comes of it.
    type Output;
    /// Does it with stores of kind `S`.
    fn visit<S: Store + 'static>(self) -> Self::Output;
}

macro_rules! stores {
    ($($name:literal => $store:ty,)*) => {
        /// All names, in the order of the tables.
        pub const NAMES: &[&str] = &[$($name),*];

        /// Visits the store of that name.
        pub fn visit<V: Visit>(name: &str, visitor: V) -> Option<V::Output> {
            match name {
                $($name => Some(visitor.visit::<$store>()),)*
                _ => None,
            }
        }
    };
}

stores! {
    "coeval" => coeval::Coeval<::coeval::reclaim::Asymmetric>,
    "coeval-epoch" => coeval::Coeval<::coeval::reclaim::CrossbeamEpoch>,
    "coeval-seize" => coeval::Coeval<::coeval::reclaim::Seize>,
    "coeval-view" => coeval::Viewed,
    "papaya" => papaya::Papaya,
    "papaya-entry" => papaya_entry::PapayaEntry,
    "dashmap" => dashmap::Dash,
    "concread" => concread::Concread,
    "evmap" => evmap::Evmap,
    "moka" => moka::Moka,
    "quick_cache" => quick_cache::Quick,
    "rwlock" => rwlock::Locked,
    "std" => std_map::Unsynchronised,
}

/// What the store of that name promises.
pub fn promises(name: &str) -> Option<Promises> {
    struct Ask;
    impl Visit for Ask {
        type Output = Promises;
        fn visit<S: Store>(self) -> Promises {
            S::PROMISES
        }
    }
    visit(name, Ask)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Behave(&'static str);

    impl Visit for Behave {
        type Output = ();
        fn visit<S: Store>(self) {
            let store = S::with_capacity(1024);
            let group: [u64; GROUP] = std::array::from_fn(|i| i as u64);
            store.insert_group(&group, 7);
            assert_eq!(store.reader().get_group(&group), [Some(7); GROUP], "{}", self.0);
            if S::GROUPS_ONLY {
                return;
            }
            store.fill(100..400);
            store.insert(100, 1);
            store.remove(101);
            let mut reader = store.reader();
            assert_eq!(reader.get(100), Some(1), "{}", self.0);
            assert_eq!(reader.get(101), None, "{}", self.0);
            assert!((102..400).all(|key| reader.get(key) == Some(key)), "{}", self.0);
            drop(reader);
            if let Some(mut held) = store.held() {
                assert_eq!(held.get(102), Some(102), "{}", self.0);
            }
        }
    }

    #[test]
    fn every_adapter_reads_what_it_wrote() {
        for name in NAMES {
            visit(name, Behave(name)).unwrap();
        }
        assert!(promises("no such store").is_none());
    }
}
