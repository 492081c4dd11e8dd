//! The default hasher.

use std::hash::BuildHasher;

/// The default hasher: foldhash, with a new seed for each cache.
///
/// It is several times faster than the standard library's SipHash and distributes keys well.
/// Because the seed differs from cache to cache, the collisions of one cache are not those of
/// another. It is not secure against an attacker who chooses keys and can measure time. For that,
/// pass a `std::hash::RandomState` to [`Builder::hasher`](crate::Builder::hasher).
#[derive(Clone, Debug, Default)]
pub struct RandomState(foldhash::fast::RandomState);

impl BuildHasher for RandomState {
    type Hasher = foldhash::fast::FoldHasher<'static>;

    #[inline(always)]
    fn build_hasher(&self) -> Self::Hasher {
        self.0.build_hasher()
    }
}
