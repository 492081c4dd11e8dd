//! What a caller does after it waited for a load that failed.

use super::load::{Claims, LoadDecision, LoadOutcome, WaitFailed};
use crate::loading::Waited;
use crate::reclaim::Reclaim;
use std::hash::{BuildHasher, Hash};

impl<'e, K, V, S, R, const N: usize> Claims<'e, K, V, S, R, N>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
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
    pub(super) fn after_failure(self) -> Result<LoadDecision<'e, K, V, S, R, N>, Self> {
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
}
