//! Look-ups of the newest value. A usual look-up writes to no shared memory. Others stamp a commit
//! that is ready, count a hit in the version, move a deadline on, or open a view for themselves.
//!
//! Most look-ups end with one [peek](crate::store::Store::peek). All functions that it calls are
//! inlined, so no register need be saved. The other cases, with their guard, are passed on by a
//! tail call.

use super::Engine;
use crate::chain::{Node, Record, RecordRef, Tied, Visible};
use crate::dependencies::Moment;
use crate::metrics::EventKind;
use crate::reclaim::Reclaim;
use crate::store::{Peeked, version_of};
use crate::version::Version;
use equivalent::Equivalent;
use std::hash::{BuildHasher, Hash};
use std::ptr::NonNull;

/// A tied value that a peek found, and its record.
type FoundTied<K, V> = (NonNull<Record<K, V>>, NonNull<Node<V>>);

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Passes `key`'s newest value to `give`. If `COUNTS`, the look-up is a use of the entry.
    #[inline(always)]
    pub fn look_up<Q, T, const COUNTS: bool>(
        &self,
        key: &Q,
        give: impl FnOnce(&V, Version) -> T,
    ) -> Option<T>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let Some(guard) = self.store.reclaim.try_pin() else {
            return self.look_up_slowly::<Q, T, COUNTS>(key, give);
        };
        match self.store.peek::<Q, COUNTS>(&guard, key) {
            Peeked::Plain(found) => Some(give(found.value(), version_of(found.seen()))),
            Peeked::Absent => None,
            Peeked::Tied(record, tied) => {
                let node = NonNull::from(tied.found().node().get());
                let found = (NonNull::from(record.get()), node);
                // SAFETY: the peek found this pair under the guard.
                unsafe { self.look_up_tied::<Q, T, COUNTS>(guard, key, found, give) }
            }
            Peeked::Unclear(home_record) => {
                let home_record = home_record.map(|home_record| NonNull::from(home_record.get()));
                // SAFETY: the peek found the record under the guard.
                unsafe { self.look_up_fully::<Q, T, COUNTS>(guard, key, home_record, give) }
            }
        }
    }

    /// Does the same if taking the guard needs a call.
    #[cold]
    #[inline(never)]
    fn look_up_slowly<Q, T, const COUNTS: bool>(
        &self,
        key: &Q,
        give: impl FnOnce(&V, Version) -> T,
    ) -> Option<T>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let guard = self.pin();
        let found = self.newest::<Q, COUNTS>(&guard, key)?;
        Some(give(found.value(), version_of(found.seen())))
    }

    /// Does the same for a tied value and its record.
    ///
    /// # Safety
    /// A peek found both under this guard.
    #[inline(never)]
    unsafe fn look_up_tied<Q, T, const COUNTS: bool>(
        &self,
        guard: R::Guard<'_>,
        key: &Q,
        (record, node): FoundTied<K, V>,
        give: impl FnOnce(&V, Version) -> T,
    ) -> Option<T>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        // SAFETY: promised by the caller.
        let tied = unsafe { Tied::again(node.as_ref()) };
        match self.store.stands_on_few(tied) {
            Some(true) => Some(self.give_tied::<T, COUNTS>(&guard, tied, give)),
            // SAFETY: promised by the caller.
            Some(false) => unsafe {
                self.look_up_fully::<Q, T, COUNTS>(guard, key, Some(record), give)
            },
            // SAFETY: promised by the caller.
            None => unsafe {
                self.look_up_tied_to_many::<Q, T, COUNTS>(guard, key, (record, node), give)
            },
        }
    }

    /// Does the same for a tied value with any bonds.
    ///
    /// # Safety
    /// As for [`look_up_tied`](Self::look_up_tied).
    #[inline(never)]
    unsafe fn look_up_tied_to_many<Q, T, const COUNTS: bool>(
        &self,
        guard: R::Guard<'_>,
        key: &Q,
        (record, node): FoundTied<K, V>,
        give: impl FnOnce(&V, Version) -> T,
    ) -> Option<T>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        // SAFETY: promised by the caller.
        let tied = unsafe { Tied::again(node.as_ref()) };
        if self.store.stands_plainly(tied) {
            return Some(self.give_tied::<T, COUNTS>(&guard, tied, give));
        }
        // SAFETY: promised by the caller.
        unsafe { self.look_up_fully::<Q, T, COUNTS>(guard, key, Some(record), give) }
    }

    /// Passes a valid value to `give` and counts a hit.
    #[inline(always)]
    fn give_tied<T, const COUNTS: bool>(
        &self,
        guard: &R::Guard<'_>,
        tied: Tied<'_, V>,
        give: impl FnOnce(&V, Version) -> T,
    ) -> T {
        if COUNTS {
            self.store.count_hit(guard);
        }
        give(tied.found().value(), version_of(tied.found().seen()))
    }

    /// Does the same in the general case. `home_record` is the record in the key's home bucket.
    ///
    /// # Safety
    /// A peek found the record under this guard.
    #[cold]
    #[inline(never)]
    unsafe fn look_up_fully<Q, T, const COUNTS: bool>(
        &self,
        guard: R::Guard<'_>,
        key: &Q,
        home_record: Option<NonNull<Record<K, V>>>,
        give: impl FnOnce(&V, Version) -> T,
    ) -> Option<T>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        // SAFETY: promised by the caller.
        let home_record = home_record.map(|record| unsafe { RecordRef::new(record.as_ref()) });
        let found = self.newest_fully::<Q, COUNTS>(&guard, key, home_record)?;
        Some(give(found.value(), version_of(found.seen())))
    }

    /// Returns the newest value of `key`, if it is valid. If `COUNTS`, the look-up is a use of the
    /// entry.
    #[inline(always)]
    pub fn newest<'g, Q, const COUNTS: bool>(
        &'g self,
        guard: &'g R::Guard<'_>,
        key: &Q,
    ) -> Option<Visible<'g, V>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        match self.store.peek::<Q, COUNTS>(guard, key) {
            Peeked::Plain(found) => Some(found),
            Peeked::Absent => None,
            Peeked::Tied(record, tied) => self.newest_tied::<Q, COUNTS>(guard, key, record, tied),
            Peeked::Unclear(home_record) => self.newest_fully::<Q, COUNTS>(guard, key, home_record),
        }
    }

    /// Does the same for a tied value and its record.
    #[inline(never)]
    fn newest_tied<'g, Q, const COUNTS: bool>(
        &'g self,
        guard: &'g R::Guard<'_>,
        key: &Q,
        record: RecordRef<'g, K, V>,
        tied: Tied<'g, V>,
    ) -> Option<Visible<'g, V>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let on_few = self.store.stands_on_few(tied);
        if !on_few.unwrap_or_else(|| self.store.stands_plainly(tied)) {
            return self.newest_fully::<Q, COUNTS>(guard, key, Some(record));
        }
        if COUNTS {
            self.store.count_hit(guard);
        }
        Some(tied.found())
    }

    /// Does the same in the general case. `home_record` is the record in the key's home bucket.
    #[cold]
    #[inline(never)]
    fn newest_fully<'g, Q, const COUNTS: bool>(
        &'g self,
        guard: &'g R::Guard<'_>,
        key: &Q,
        home_record: Option<RecordRef<'g, K, V>>,
    ) -> Option<Visible<'g, V>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        if let Some(found) =
            home_record.and_then(|record| self.store.order.plain_since_clear(record))
        {
            if COUNTS {
                self.store.count_hit(guard);
            }
            return Some(found);
        }
        let hash = self.hash(key);
        let moment = Moment::new(&self.timer);
        let head =
            home_record.and_then(|record| Some((record, self.store.order.head_value(record)?)));
        let found = match head {
            Some((record, found)) => self
                .store
                .valid(record, found, COUNTS, &moment)
                .or_else(|| self.store.present(record, COUNTS, &moment))
                .inspect(|found| {
                    if COUNTS {
                        self.note_read(record, *found)
                    }
                }),
            None => {
                let record = self.store.find(guard, hash, key);
                if let Some(found) = record.and_then(|record| self.store.order.plain(record)) {
                    if COUNTS {
                        self.store.count_hit(guard);
                    }
                    return Some(found);
                }
                record.and_then(|record| {
                    let found = self.store.present(record, COUNTS, &moment)?;
                    if COUNTS {
                        self.note_read(record, found);
                    }
                    Some(found)
                })
            }
        };
        if moment.has_opened_view() {
            self.work_off_closed_view(guard);
        }
        if COUNTS {
            self.note_look_up(guard, hash, found.map(|found| found.number()));
        }
        found
    }

    /// Counts and records a look-up.
    fn note_look_up(&self, guard: &R::Guard<'_>, hash: u32, found: Option<u64>) {
        let kind = match found {
            Some(_) => {
                self.store.count_hit(guard);
                EventKind::Hit
            }
            None => {
                self.store.count_miss(guard);
                EventKind::Miss
            }
        };
        self.observers().record(kind, Some(hash), found);
    }

    /// Returns `key`'s newest value and its version. They live as long as the guard.
    #[inline(always)]
    pub fn get<'g, Q>(&'g self, guard: &'g R::Guard<'_>, key: &Q) -> Option<(&'g V, Version)>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.newest::<Q, true>(guard, key).map(with_version)
    }

    /// Returns whether `key` has a value.
    #[inline(always)]
    pub fn contains<Q>(&self, guard: &R::Guard<'_>, key: &Q) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.newest::<Q, false>(guard, key).is_some()
    }
}

/// Returns a value with its version.
pub(super) fn with_version<V>(found: Visible<'_, V>) -> (&V, Version) {
    (found.value(), version_of(found.seen()))
}

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// Returns the number of keys that have a value.
    pub fn len(&self) -> usize {
        self.store.era(&self.pin()).present()
    }

    /// Returns the total weight of the entries.
    pub fn weight(&self) -> u64 {
        if !self.is_weighed() {
            return self.len() as u64;
        }
        self.store.era(&self.pin()).weight()
    }
}
