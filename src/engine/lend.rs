//! Loads of values that need not be `Clone`. They are not shared between callers: each caller that
//! finds the key absent loads, under a lease, and the first value is cached.

use super::load_terms::LoadedTerms;
use super::{Engine, KeyLease};
use crate::chain::Parcel;
use crate::reclaim::Reclaim;
use equivalent::Equivalent;
use std::hash::{BuildHasher, Hash};
use std::ptr::NonNull;

/// A lease that ends when it is dropped, also if a loader panics.
struct EndingLease<'e, K, V, S, R: Reclaim>(&'e Engine<K, V, S, R>, KeyLease<K, V>);

impl<K, V, S, R: Reclaim> Drop for EndingLease<'_, K, V, S, R> {
    fn drop(&mut self) {
        self.0.let_go(&self.1);
    }
}

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Loads the value of `key` under a lease, and sets it. Returns it, as the guard keeps it. If
    /// the key was written or removed meanwhile, returns the loaded value itself.
    pub fn load_alone<'g, 'r: 'g, Q, E>(
        &'r self,
        guard: &'g R::Guard<'r>,
        key: &Q,
        make_key: impl FnOnce() -> K,
        load: impl FnOnce() -> Result<V, E>,
    ) -> Result<Result<&'g V, V>, E>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let lease = EndingLease(self, self.lease(key, make_key));
        let failed = |_: &E| self.observers().counters.mine().loads_failed.add(1);
        // Another caller may have set it before the lease.
        if let Some(found) = self.newest::<Q, false>(guard, key) {
            return Ok(Ok(found.value()));
        }
        let value = load().inspect_err(failed)?;
        let filled = self.fill_and_lend(guard, &lease.1, value);
        drop(lease);
        self.tend_after_several();
        Ok(filled)
    }

    fn fill_and_lend<'g, 'r>(
        &'r self,
        guard: &'g R::Guard<'r>,
        lease: &KeyLease<K, V>,
        value: V,
    ) -> Result<&'g V, V> {
        let mut place = Parcel::empty();
        place.put(value);
        let mut lent = None;
        self.fill_by_under(guard, [lease], |[record]| {
            let given = LoadedTerms::default();
            let (filled, node) =
                self.fill_record_on_terms(guard, record, lease.since, &mut place, given)?;
            lent = Some(NonNull::from(node.visible()?.value()));
            Some(filled)
        });
        // SAFETY: the value was committed under the guard, which keeps it.
        lent.map(|value| unsafe { value.as_ref() }).ok_or_else(|| place.take())
    }
}
