//! The right to fill a key.

use super::hasher::RandomState;
use crate::chain::Parcel;
use crate::engine::{Engine, KeyLease};
use crate::error::Outdated;
use crate::reclaim::{Asymmetric, Reclaim};
use crate::version::Version;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

/// The right to fill one key with a value read from its source, as long as nobody writes, removes
/// or clears the key; made by [`Cache::lease`](crate::Cache::lease).
///
/// Several callers may hold leases on the same key. One of them fills the key. That is a write, so
/// the others are refused. A fill is also refused after an eviction or an expiration of the key.
/// Dropping a lease changes nothing.
#[must_use = "a lease does nothing until it is filled"]
pub struct Lease<K, V, S = RandomState, R: Reclaim = Asymmetric> {
    engine: Arc<Engine<K, V, S, R>>,
    lease: KeyLease<K, V>,
}

impl<K, V, S, R> Lease<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    pub(crate) fn new(engine: Arc<Engine<K, V, S, R>>, lease: KeyLease<K, V>) -> Self {
        Self { engine, lease }
    }

    /// Sets the key to `value` in one commit, unless the key was written, removed or cleared since
    /// the lease was taken. Returns the version of that commit. Lock-free. Declared relations are
    /// not followed, because a loaded value is no change of the source.
    ///
    /// The value has the tags that the key had. If it replaces a derived value, it depends on what
    /// that value depended on. If one of those tags or inputs is invalidated or written in the very
    /// middle of this call, that is not an error: the value is committed, and no reader sees it.
    ///
    /// # Errors
    /// [`Outdated`], which returns the value.
    pub fn fill(self, value: V) -> Result<Version, Outdated<V>> {
        let mut place = Parcel::empty();
        place.put(value);
        match self.engine.fill(&self.lease, &mut place) {
            Some(filled) => Ok(filled.version),
            None => refused(&mut place),
        }
    }

    /// Returns whether a fill would be refused by now, so that a load need not continue. Lock-free,
    /// in time proportional to the number of entries and tags to which the key is tied.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        self.engine.is_outdated(&self.lease)
    }

    /// Returns the version as of which the lease was taken. A fill is refused if a later commit
    /// changed the key.
    #[must_use]
    pub fn version(&self) -> Version {
        Engine::<K, V, S, R>::since(&self.lease)
    }
}

/// Returns the value that a refused fill has left. Not inlined: the caller's frame has no room for
/// it, which may be large.
#[cold]
#[inline(never)]
fn refused<V>(value: &mut Parcel<V>) -> Result<Version, Outdated<V>> {
    Err(Outdated::new(value.take()))
}

impl<K, V, S, R: Reclaim> Drop for Lease<K, V, S, R> {
    fn drop(&mut self) {
        self.engine.let_go(&self.lease);
    }
}

impl<K, V, S, R: Reclaim> fmt::Debug for Lease<K, V, S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").finish_non_exhaustive()
    }
}
