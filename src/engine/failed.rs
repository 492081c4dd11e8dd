//! What those do who have waited for a load that failed.

use super::load::{Brought, Claims, InVain, Wanted};
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
    pub fn waited_sharing<E: Send + Sync + 'static>(
        self,
        waited: Waited<'e, usize, Brought<V>, R>,
    ) -> Result<Wanted<'e, K, V, S, R, N>, InVain<Self, E>> {
        match waited {
            Waited::Done(Brought::Failed(error)) => match error.downcast() {
                Ok(error) => Err(InVain::Failed(error)),
                Err(_) => self.after_failure().map_err(InVain::Again),
            },
            waited => self.waited(waited).map_err(InVain::Again),
        }
    }

    /// What is to be done by one who has waited for a load that failed: it waits no more, and loads beside another, if there is
    /// one; unless the cache is one in which they take turns.
    #[cold]
    pub(super) fn after_failure(self) -> Result<Wanted<'e, K, V, S, R, N>, Self> {
        if !self.each[0].engine.flights.rules().tells_failures {
            return Err(self);
        }
        Ok(match self.try_lead(true) {
            Some(leader) => self.lead(leader),
            None => match self.values() {
                Some(values) => Wanted::Found(values),
                None => Wanted::Load(self.begin(None)),
            },
        })
    }
}
