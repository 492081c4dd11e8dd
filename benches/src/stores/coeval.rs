//! `coeval` on each of its reclamation backends.
//!
//! Atomic batch: yes. Consistent group read: yes (`get_many`; [`Viewed`] opens a view for each).
//! Bounded: not in these runs. Blocks: nowhere; a commit that is met undecided is helped.

use coeval::{
    Cache, Pinned, View,
    reclaim::{Asymmetric, Reclaim},
};

use super::{GROUP, Hasher, NoHeld, Promises, Reader, Store};

/// Plain gets and `get_many`.
pub struct Coeval<R: Reclaim> {
    cache: Cache<u64, u64, Hasher, R>,
}

/// See [`Coeval`].
pub struct PlainReader<'a, R: Reclaim>(&'a Cache<u64, u64, Hasher, R>);

/// A pin that is held.
pub struct PinnedReader<'a, R: Reclaim>(Pinned<'a, u64, u64, Hasher, R>);

impl<R: Reclaim> Store for Coeval<R> {
    const PROMISES: Promises = Promises {
        atomic_batch: true,
        consistent_group_read: true,
        bounded: false,
        blocks: "nowhere",
    };
    type Reader<'a> = PlainReader<'a, R>;
    type Held<'a> = PinnedReader<'a, R>;

    fn with_capacity(entries: usize) -> Self {
        let builder = Cache::builder().hasher(Hasher::default()).reclaimer::<R>();
        let builder = if entries > 0 { builder.initial_capacity(entries) } else { builder };
        Self { cache: builder.build() }
    }

    fn reader(&self) -> PlainReader<'_, R> {
        PlainReader(&self.cache)
    }

    fn held(&self) -> Option<PinnedReader<'_, R>> {
        Some(PinnedReader(self.cache.pin()))
    }

    fn insert(&self, key: u64, value: u64) {
        self.cache.insert(key, value);
    }

    fn remove(&self, key: u64) {
        self.cache.remove(&key);
    }

    fn insert_group(&self, keys: &[u64; GROUP], value: u64) {
        keys.iter().fold(self.cache.batch(), |batch, key| batch.insert(*key, value)).commit();
    }

    fn hold_contents(&self) -> (&'static str, impl Sized + '_) {
        ("view", self.cache.view())
    }
}

impl<R: Reclaim> Reader for PlainReader<'_, R> {
    #[inline]
    fn get(&mut self, key: u64) -> Option<u64> {
        self.0.get(&key)
    }

    #[inline]
    fn get_group(&mut self, keys: &[u64; GROUP]) -> [Option<u64>; GROUP] {
        self.0.get_many(keys.each_ref())
    }
}

impl<R: Reclaim> Reader for PinnedReader<'_, R> {
    #[inline]
    fn get(&mut self, key: u64) -> Option<u64> {
        self.0.get(&key).copied()
    }
}

/// The default backend, but every read of a group opens a view.
pub struct Viewed(Coeval<Asymmetric>);

/// See [`Viewed`].
pub struct ViewReader<'a>(&'a Cache<u64, u64, Hasher, Asymmetric>);

impl Store for Viewed {
    const PROMISES: Promises = Coeval::<Asymmetric>::PROMISES;
    const GROUPS_ONLY: bool = true;
    type Reader<'a> = ViewReader<'a>;
    type Held<'a> = NoHeld;

    fn with_capacity(entries: usize) -> Self {
        Self(Coeval::with_capacity(entries))
    }

    fn reader(&self) -> ViewReader<'_> {
        ViewReader(&self.0.cache)
    }

    fn held(&self) -> Option<NoHeld> {
        None
    }

    fn insert(&self, key: u64, value: u64) {
        self.0.insert(key, value);
    }

    fn remove(&self, key: u64) {
        self.0.remove(key);
    }

    fn insert_group(&self, keys: &[u64; GROUP], value: u64) {
        self.0.insert_group(keys, value);
    }
}

impl Reader for ViewReader<'_> {
    fn get(&mut self, key: u64) -> Option<u64> {
        self.0.view().get(&key).copied()
    }

    fn get_group(&mut self, keys: &[u64; GROUP]) -> [Option<u64>; GROUP] {
        let view: View<u64, u64, Hasher, Asymmetric> = self.0.view();
        keys.map(|key| view.get(&key).copied())
    }
}
