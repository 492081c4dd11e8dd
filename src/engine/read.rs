//! Look-ups of the newest value. A usual look-up writes to no shared memory. Others stamp a commit
//! that is ready, count a hit in the version, move a deadline on, or open a view for themselves.
//!
//! Most look-ups end with one [peek](crate::store::Store::peek). All functions that it calls are
//! inlined, so no register need be saved. The other cases, with their guard, are passed on by a
//! tail call.

use super::Engine;
use crate::chain::{Node, Record, RecordRef, Tied, Visible};
use crate::commit::ReadAt;
use crate::dependencies::Moment;
use crate::metrics::EventKind;
use crate::reclaim::Reclaim;
use crate::store::{Peeked, version_of};
use crate::version::Version;
use equivalent::Equivalent;
use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};
use std::ptr::NonNull;

/// The record in a key's home bucket, and the tied value at its head, if there is one.
type FoundAtHome<K, V> = (NonNull<Record<K, V>>, Option<NonNull<Node<V>>>);

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Passes `key`'s newest value to `give`, if it is valid. If `COUNTS`, the look-up is a use of
    /// the entry.
    #[inline(always)]
    pub fn look_up<Q, T, const COUNTS: bool>(
        &self,
        key: &Q,
        give: impl FnOnce(Visible<'_, V>) -> T,
    ) -> Option<T>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let Some(guard) = self.store.reclaim.try_pin() else {
            // SAFETY: nothing was found.
            return unsafe { self.look_up_from::<Q, T, COUNTS>(self.pin(), key, None, give) };
        };
        let hash = self.hash(key);
        self.store.prefetch_home(hash);
        let now = ReadAt::newest(self.store.live(&guard));
        match self.store.peek::<Q, COUNTS>(&guard, hash, key, now) {
            Peeked::Plain(found) => Some(give(found)),
            Peeked::Absent => None,
            Peeked::Tied(record, tied) => {
                let node = NonNull::from(tied.found().node().get());
                let found = (NonNull::from(record.get()), node);
                // SAFETY: found under this guard.
                unsafe { self.look_up_tied::<Q, T, COUNTS>(guard, key, found, give) }
            }
            Peeked::Unclear(record) => {
                let found = record.map(|record| (NonNull::from(record.get()), None));
                // SAFETY: found under this guard.
                unsafe { self.look_up_from::<Q, T, COUNTS>(guard, key, found, give) }
            }
        }
    }

    /// Returns `key`'s newest value, if it is valid. It lives as long as the guard.
    #[inline(always)]
    pub fn newest<'g, Q, const COUNTS: bool>(
        &'g self,
        guard: &'g R::Guard<'_>,
        key: &Q,
    ) -> Option<Visible<'g, V>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        self.store.prefetch_home(hash);
        let now = ReadAt::newest(self.store.live(guard));
        let found = match self.store.peek::<Q, COUNTS>(guard, hash, key, now) {
            Peeked::Plain(found) => return Some(found),
            Peeked::Absent => return None,
            Peeked::Tied(record, tied) => {
                let node = NonNull::from(tied.found().node().get());
                Some((NonNull::from(record.get()), Some(node)))
            }
            Peeked::Unclear(record) => record.map(|record| (NonNull::from(record.get()), None)),
        };
        // SAFETY: found under this guard, which keeps the value for 'g.
        let keep = |found: Visible<'_, V>| unsafe { found.kept() };
        // SAFETY: found under this guard.
        unsafe { self.look_up_from::<Q, _, COUNTS>(guard, key, found, keep) }
    }

    /// Does the rest of a look-up that found this tied value at the head of this record.
    ///
    /// # Safety
    /// Both were found under this guard.
    #[inline(never)]
    unsafe fn look_up_tied<Q, T, const COUNTS: bool>(
        &self,
        guard: R::Guard<'_>,
        key: &Q,
        (record, node): (NonNull<Record<K, V>>, NonNull<Node<V>>),
        give: impl FnOnce(Visible<'_, V>) -> T,
    ) -> Option<T>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        // SAFETY: the caller's promise.
        let tied = unsafe { Tied::again(node.as_ref()) };
        let stands = self.store.stands_on_few(tied);
        if !stands.unwrap_or_else(|| self.store.is_surely_in_time(tied)) {
            let found = Some((record, Some(node)));
            // SAFETY: the caller's promise.
            return unsafe { self.look_up_from::<Q, T, COUNTS>(guard, key, found, give) };
        }
        if COUNTS {
            self.store.count_hit(&guard);
        }
        Some(give(tied.found()))
    }

    /// Does the rest of a look-up that found this in the key's home bucket.
    ///
    /// # Safety
    /// It was found under this guard.
    #[inline(never)]
    unsafe fn look_up_from<'r, Q, T, const COUNTS: bool>(
        &self,
        guard: impl Borrow<R::Guard<'r>>,
        key: &Q,
        found: Option<FoundAtHome<K, V>>,
        give: impl FnOnce(Visible<'_, V>) -> T,
    ) -> Option<T>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        R: 'r,
    {
        let guard = guard.borrow();
        let count_hit = || {
            if COUNTS {
                self.store.count_hit(guard);
            }
        };
        // SAFETY: the caller's promise.
        let record = found.map(|(record, _)| unsafe { RecordRef::new(record.as_ref()) });
        if let Some(tied) = found.and_then(|(_, tied)| tied) {
            // SAFETY: the caller's promise.
            let tied = unsafe { Tied::again(tied.as_ref()) };
            if self.store.stands_plainly(tied) || self.store.is_surely_in_time(tied) {
                count_hit();
                return Some(give(tied.found()));
            }
        }
        let newest = |record| Some((record, self.store.order.newest(record)?));
        let find = || self.store.find(guard, self.hash(key), key);
        let held = record.and_then(newest).or_else(|| find().and_then(newest));
        if let Some((_, found)) = held
            && found.seen().is_plain()
            && !self.store.order.is_watched()
        {
            count_hit();
            return Some(give(found));
        }
        let moment = Moment::new(&self.timer);
        let found = held.and_then(|(record, _)| {
            let found = self.store.present(record, COUNTS, &moment)?;
            if COUNTS {
                self.note_read(record, found);
            }
            Some(found)
        });
        if moment.has_opened_view() {
            self.work_off_closed_view(guard);
        }
        if COUNTS {
            self.note_look_up(guard, || self.hash(key), found.map(Visible::number));
        }
        found.map(give)
    }

    /// Counts and records a look-up.
    fn note_look_up(&self, guard: &R::Guard<'_>, hash: impl Fn() -> u32, found: Option<u64>) {
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
        if self.observers().is_recording() {
            self.observers().record(kind, Some(hash()), found);
        }
    }
}

/// Returns a value with its version.
pub fn with_version<V>(found: Visible<'_, V>) -> (&V, Version) {
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
