//! What a caller does after it waited for another caller's load.

use super::load::{CachedGroup, Claim, Claims, LoadDecision, LoadOutcome, WaitFailed};
use crate::loading::Waited;
use crate::memory::{all, clones};
use crate::reclaim::Reclaim;
use crate::sync::hook::mutant;
use std::hash::{BuildHasher, Hash};

impl<'e, K, V, S, R, const N: usize> Claims<'e, K, V, S, R, N>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Decides what to do after a wait. Returns the claims as an error if they must join a load
    /// again.
    pub fn after_wait(
        self,
        waited: Waited<'e, usize, LoadOutcome<V>, R>,
    ) -> Result<LoadDecision<'e, K, V, S, R, N>, Self> {
        match waited {
            Waited::Done(LoadOutcome::Cached(cached)) => {
                self.values_of(cached).map(LoadDecision::Found)
            }
            Waited::Done(LoadOutcome::Failed(_)) | Waited::Failed => self.after_failure(),
            Waited::Lead(leader) => Ok(self.lead(leader)),
            Waited::Moved => Err(self),
            Waited::Cycle => Ok(LoadDecision::Cycle(self.each[0].name())),
        }
    }

    /// Does the same as `after_wait`, and also returns the error of the load if it has this type.
    pub fn after_wait_sharing<E: Send + Sync + 'static>(
        self,
        waited: Waited<'e, usize, LoadOutcome<V>, R>,
    ) -> Result<LoadDecision<'e, K, V, S, R, N>, WaitFailed<Self, E>> {
        match waited {
            Waited::Done(LoadOutcome::Failed(error)) => match error.downcast() {
                Ok(error) => Err(WaitFailed::Failed(error)),
                Err(_) => self.after_failure().map_err(WaitFailed::Retry),
            },
            waited => self.after_wait(waited).map_err(WaitFailed::Retry),
        }
    }

    /// Decides what a caller does after it waited for a failed load. The caller does not wait
    /// again: it leads a load, or loads concurrently with another one. Only in a cache whose loads
    /// take turns does it join again.
    #[cold]
    fn after_failure(self) -> Result<LoadDecision<'e, K, V, S, R, N>, Self> {
        if !self.each[0].engine.flights.rules().tells_failures {
            return Err(self);
        }
        Ok(match self.try_lead(true) {
            Some(leader) => self.lead(leader),
            None => match self.values() {
                Some(values) => LoadDecision::Found(values),
                None => LoadDecision::Load(self.begin(None)),
            },
        })
    }

    /// Returns the values that another caller loaded, if they include this group and are current.
    /// Otherwise returns the values that the cache has.
    fn values_of(self, cached: CachedGroup<V>) -> Result<Box<[V]>, Self> {
        // All claims were made before this caller joined, so a larger number was taken after this
        // caller came.
        let is_current = cached.number > self.each[0].lease().since;
        if is_current || mutant("load.take_blindly") {
            let value_of = |claim: &Claim<'_, K, V, S, R>| {
                let at =
                    cached.records.iter().position(|record| *record == claim.lease().address());
                Some(&cached.values[at?])
            };
            if let Some(values) = all(self.each.each_ref().map(value_of)) {
                return Ok(clones(values));
            }
        }
        self.values().ok_or(self)
    }
}
