//! The default hasher.

use std::hash::BuildHasher;

/// The default hasher: foldhash, seeded anew for each cache.
///
/// It is several times faster than the standard library's SipHash and spreads keys well, and a seed
/// that differs from cache to cache keeps one cache's collisions from being another's. It is not proof
/// against an attacker who chooses keys and can measure time; for that, give
/// [`Builder::hasher`](crate::Builder::hasher) a `std::hash::RandomState`.
#[derive(Clone, Debug, Default)]
pub struct RandomState(foldhash::fast::RandomState);

impl BuildHasher for RandomState {
    type Hasher = foldhash::fast::FoldHasher<'static>;

    #[inline(always)]
    fn build_hasher(&self) -> Self::Hasher {
        self.0.build_hasher()
    }
}
