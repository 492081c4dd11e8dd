//! The right to fill a key.

use crate::engine::{Engine, Hold};
use crate::error::Outdated;
use crate::hasher::RandomState;
use crate::reclaim::{Asymmetric, Reclaim};
use crate::version::Version;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

/// The right to fill one key with what is read from its source, as long as nobody writes, removes or clears it;
/// made by [`Cache::lease`](crate::Cache::lease).
///
/// Several may have one on the same key; one of them fills it, which is a write, so the others are refused.
/// An eviction or expiration of the key refuses a lease as well. A lease that is dropped changes nothing.
#[must_use = "a lease does nothing until it is filled"]
pub struct Lease<K, V, S = RandomState, R: Reclaim = Asymmetric> {
    engine: Arc<Engine<K, V, S, R>>,
    hold: Hold<K, V>,
}

impl<K, V, S, R> Lease<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    pub(crate) fn new(engine: Arc<Engine<K, V, S, R>>, hold: Hold<K, V>) -> Self {
        Self { engine, hold }
    }

    /// Sets the key to `value` by a commit, unless it was written, removed or cleared since the lease was taken.
    /// Lock-free. Declared relations are not followed: what is loaded is no change of the source.
    ///
    /// The value has the tags that the key had, and depends on what a derived value depended on that it takes the place of.
    /// If one of those is invalidated or written in the very middle of this call, that is not an error: the value is
    /// committed, and seen by nobody.
    ///
    /// # Errors
    /// [`Outdated`] hands the value back.
    pub fn fill(self, value: V) -> Result<Version, Outdated<V>> {
        let mut value = Some(value);
        match self.engine.fill(&self.hold, &mut value) {
            Some(filled) => Ok(filled.version),
            None => Err(Outdated::new(value.expect("taken only if it is set"))),
        }
    }

    /// Whether a fill would be refused by now, so that a load need not go on. Lock-free, in time proportional to what the
    /// key is tied to.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        self.engine.is_outdated(&self.hold)
    }

    /// The version as of which the lease was taken: commits after it refuse it.
    #[must_use]
    pub fn version(&self) -> Version {
        Engine::<K, V, S, R>::since(&self.hold)
    }
}

impl<K, V, S, R: Reclaim> Drop for Lease<K, V, S, R> {
    fn drop(&mut self) {
        self.engine.let_go(&self.hold);
    }
}

impl<K, V, S, R: Reclaim> fmt::Debug for Lease<K, V, S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").finish_non_exhaustive()
    }
}
