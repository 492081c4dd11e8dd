//! Leases: the right to fill a key with what was read elsewhere, as long as nobody has written it since.
//!
//! A lease holds the key's record, which is made if there is none, and remembers the clock. A fill is a commit
//! that succeeds only if nothing was committed to the key after that, nor everything cleared; who removes a key
//! that is absent leaves a tombstone for those who hold its record. The two meet as in Dekker's algorithm:
//! a lease holds the record, then reads the clock; who removes takes a number, then looks whether the record is
//! held. So the removal leaves its tombstone, or the lease begins after it.
//!
//! What the cache itself does to an entry, an eviction or an expiration, ends a lease on it as well: it is not known
//! any more then whether somebody wrote it before.

use super::Engine;
use crate::chain::{Record, RecordRef};
use crate::reclaim::Reclaim;
use crate::sync::hook::{mutant, step};
use crate::sync::{Ordering, fence};
use crate::version::Version;
use equivalent::Equivalent;
use std::hash::{BuildHasher, Hash};
use std::ptr::NonNull;

/// A lease. It must be given back with `Engine::let_go`.
pub struct Hold<K, V> {
    record: NonNull<Record<K, V>>,
    pub(super) since: u64,
}

impl<K, V> Hold<K, V> {
    /// Where the record is: as long as it is held, no other key's is there.
    pub(super) fn address(&self) -> usize {
        self.record.as_ptr().addr()
    }
}

// SAFETY: a record is shared between threads anyway, and is kept by the hold.
unsafe impl<K: Send + Sync, V: Send + Sync> Send for Hold<K, V> {}
// SAFETY: as above.
unsafe impl<K: Send + Sync, V: Send + Sync> Sync for Hold<K, V> {}

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// A lease on `key`, of which `own` makes one to keep if the cache does not know it.
    pub fn lease<Q>(&self, key: &Q, own: impl FnOnce() -> K) -> Hold<K, V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hold = {
            let guard = self.pin();
            self.hold(&guard, self.store.find_or_create(&guard, key, own))
        };
        self.collect_some();
        self.tell();
        hold
    }

    /// A lease on the key of a record that was located under the caller's guard. The caller [tells](Self::tell) what
    /// has left by that.
    pub(super) fn hold(&self, guard: &R::Guard<'_>, record: RecordRef<'_, K, V>) -> Hold<K, V> {
        // Revived under the guard, so it does not end before that is gone; from now on it is held.
        record.hold();
        // Or it would be ended later, as by a change.
        self.observers().for_others(guard, || self.end_cleared(guard, record));
        self.held_from_now(record)
    }

    /// A lease on the key of a record that the caller holds.
    pub(super) fn held_from_now(&self, record: RecordRef<'_, K, V>) -> Hold<K, V> {
        step("lease.held");
        let early = mutant("lease.clock_first").then(|| self.store.version());
        if !mutant("lease.unfenced") {
            fence(Ordering::SeqCst); // partner: the fences in `remove` and `invalidate_alone`
        }
        let since = early.unwrap_or_else(|| self.store.version());
        Hold { record: NonNull::from(record.get()), since }
    }

    /// Whether a fill would be refused now.
    pub fn is_outdated(&self, hold: &Hold<K, V>) -> bool {
        let guard = self.pin();
        let record = self.held(&guard, hold);
        let newest = self.store.order.newest_number(record);
        newest.max(self.store.watermark(record.live())) > hold.since
            || self.store.has_changed(record, hold.since)
    }

    /// The version up to which the key has been unchanged.
    pub fn since(hold: &Hold<K, V>) -> Version {
        Version::from_u64(hold.since)
    }

    /// The record that a lease holds.
    pub(super) fn held<'g>(
        &self,
        guard: &'g R::Guard<'_>,
        hold: &Hold<K, V>,
    ) -> RecordRef<'g, K, V> {
        self.store.held(guard, hold.record)
    }
}

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// Gives a lease back.
    pub fn let_go(&self, hold: &Hold<K, V>) {
        {
            let guard = self.pin();
            let record = self.store.held(&guard, hold.record);
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
    fn where_many_hold_a_record_who_cannot_do_without_may_still() {
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
