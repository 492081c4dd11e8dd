//! Leases: the right to fill a key with a value read elsewhere, unless a commit has written the key
//! since.
//!
//! A lease holds the key's record, which is made if there is none, and remembers the clock. A fill
//! is a commit that succeeds only if no commit has written the key since then, and nothing has
//! cleared everything since then. If a removal finds the key absent and its record held, it leaves
//! a tombstone, which refuses the fills of the leases. The two sides follow the scheme of Dekker's
//! algorithm. A lease holds the record, then reads the clock. A removal takes a number, then checks
//! whether the record is held. So either the removal leaves its tombstone, or the lease begins
//! after the removal.
//!
//! An eviction or an expiration of the entry also ends a lease on it, because the cache no longer
//! knows then whether a commit wrote the entry before.

use super::Engine;
use crate::chain::{HeldRecord, RecordRef};
use crate::commit::{ReadAt, Resolved};
use crate::reclaim::Reclaim;
use crate::sync::hook::{mutant, step, too_early};
use crate::sync::{Ordering, fence};
use crate::version::Version;
use equivalent::Equivalent;
use std::hash::{BuildHasher, Hash};

/// A lease on a key. Its owner must end it by `Engine::let_go`.
pub struct KeyLease<K, V> {
    record: HeldRecord<K, V>,
    pub(super) since: u64,
}

impl<K, V> KeyLease<K, V> {
    /// Returns the address of the record. While the record is held, no other key's record has this
    /// address.
    pub(super) fn address(&self) -> usize {
        self.record.address()
    }
}

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Takes a lease on `key`. If the cache does not know the key, `make_key` makes the key to
    /// keep.
    pub fn lease<Q>(&self, key: &Q, make_key: impl FnOnce() -> K) -> KeyLease<K, V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let lease = {
            let guard = self.pin();
            self.lease_record(&guard, self.store.find_or_create(&guard, key, make_key))
        };
        self.collect_some();
        self.notify_listener();
        lease
    }

    /// Takes a lease on the key of a record that was located under the caller's guard. This may end
    /// a cleared value, so the caller [notifies the listener](Self::notify_listener) afterwards.
    pub(super) fn lease_record(
        &self,
        guard: &R::Guard<'_>,
        record: RecordRef<'_, K, V>,
    ) -> KeyLease<K, V> {
        // `locate` revived the record under the guard, so it is alive until the guard is dropped.
        // From now on it is held.
        record.hold();
        // A cleared value must end now: if it ended later, that commit would refuse the fill.
        self.observers().defer_to_others(guard, || self.end_cleared(guard, record));
        self.lease_held_record(record)
    }

    /// Takes a lease on the key of a record that the caller holds.
    pub(super) fn lease_held_record(&self, record: RecordRef<'_, K, V>) -> KeyLease<K, V> {
        step("lease.held");
        let early = too_early("lease.clock_first", || self.store.version());
        if !mutant("lease.unfenced") {
            // Partners: the fences in `remove`, `invalidate_alone` and `GroupWork::restore`.
            fence(Ordering::SeqCst);
        }
        let since = early.unwrap_or_else(|| self.store.version());
        // SAFETY: the caller holds the record for the lease.
        KeyLease { record: unsafe { record.held() }, since }
    }

    /// Returns whether a fill would be refused now.
    pub fn is_outdated(&self, lease: &KeyLease<K, V>) -> bool {
        let guard = self.pin();
        let record = self.leased_record(&guard, lease);
        let newest = self.store.order.resolve(record, ReadAt::newest(record.live()));
        newest.map_or(0, Resolved::number).max(self.store.watermark(record.live())) > lease.since
            || self.store.has_changed(record, lease.since)
    }

    /// Returns the version since which the key has been unchanged.
    pub fn since(lease: &KeyLease<K, V>) -> Version {
        Version::from_u64(lease.since)
    }

    /// Returns the record of a lease.
    pub(super) fn leased_record<'g>(
        &self,
        guard: &'g R::Guard<'_>,
        lease: &KeyLease<K, V>,
    ) -> RecordRef<'g, K, V> {
        lease.record.kept(self.store.live(guard))
    }
}

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// Ends a lease.
    pub fn let_go(&self, lease: &KeyLease<K, V>) {
        {
            let guard = self.pin();
            let record = lease.record.kept(self.store.live(&guard));
            record.let_go();
            self.store.condemn_or_queue(&guard, record);
        }
        self.collect_some();
    }
}

#[cfg(all(test, not(coeval_loom)))]
mod tests {
    use crate::{Cache, TransactError};

    #[test]
    fn a_lease_works_although_the_holds_of_its_record_are_used_up() {
        let cache: Cache<u64, u64> = Cache::new();
        cache.insert(1, 1);
        let guard = cache.engine().pin();
        let record =
            cache.engine().store.find(&guard, cache.engine().hash(&1_u64), &1).expect("set");
        let mut holds = 0;
        while record.try_hold() {
            holds += 1;
        }
        assert!(cache.lease(&1).fill(2).is_ok());
        let read = cache.transact(|tx| {
            tx.insert(2, 2);
            Ok::<_, ()>(tx.get(&1))
        });
        assert_eq!(read, Err(TransactError::Conflict));
        (0..holds).for_each(|_| record.let_go());
        let read = cache.transact(|tx| Ok::<_, ()>(tx.get(&1)));
        assert_eq!(read.map(|read| read.value), Ok(Some(2)));
    }
}
