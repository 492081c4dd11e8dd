//! What those do who have waited for a load that failed.

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
    /// The same for one who takes another's error for his own, if it is of this type.
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

    /// What is to be done by one who has waited for a load that failed: it waits no more, and loads beside another, if there is
    /// one; unless the cache is one in which they take turns.
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
