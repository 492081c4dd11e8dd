//! Look-ups. None of them writes to shared memory, except to help a commit that it finds half done.
//!
//! Most look-ups end with one [peek](crate::store::Store::peek). All functions that it calls are
//! inlined, so no register need be saved. The other cases, with their guard, are passed on by a
//! tail call.

use super::Engine;
use super::observers::Observers;
use crate::chain::{Node, Record, RecordRef, Tied, Visible};
use crate::commit::{Limit, ReadAt, TakenOut};
use crate::dependencies::Moment;
use crate::metrics::EventKind;
use crate::reclaim::Reclaim;
use crate::store::{OpenView, Peeked, Snapshot, version_of};
use crate::sync::hook::mutant;
use crate::version::Version;
use equivalent::Equivalent;
use std::hash::{BuildHasher, Hash};
use std::ptr::NonNull;
use std::time::Duration;

/// A view of this engine that closes when it is dropped.
pub type EngineView<'e, K, V, S, R> = OpenView<'e, K, V, S, R, Observers<K, V>>;

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
                .or_else(|| self.store.present(record, COUNTS, &moment)),
            None => {
                let record = self.store.find(guard, hash, key);
                if let Some(found) = record.and_then(|record| self.store.order.plain(record)) {
                    if COUNTS {
                        self.store.count_hit(guard);
                    }
                    return Some(found);
                }
                record.and_then(|record| self.store.present(record, COUNTS, &moment))
            }
        };
        self.work_off_closed_view(guard);
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

    /// Returns the values of `keys`, all as of one instant. If `COUNTS`, the look-up is a use of
    /// the entries.
    ///
    /// The clock is read once, under the guard. A version that was visible then can only be
    /// superseded later, so the guard keeps it, and no view need be registered. A version can be
    /// missing only if it was pruned between two versions that a registered view needed. In that
    /// case the look-up opens a registered view.
    pub fn get_many<Q, T, const N: usize, const COUNTS: bool>(
        &self,
        keys: [&Q; N],
        clone: impl Fn(&V) -> T,
    ) -> [Option<T>; N]
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hashes = keys.map(|key| self.hash(key));
        let early = mutant("get_many.clock_first").then(|| self.store.version());
        let guard = self.pin();
        for hash in hashes {
            self.store.prefetch_bucket(&guard, hash);
        }
        let candidates = hashes.map(|hash| {
            let candidate = self.store.candidate(&guard, hash);
            candidate.inspect(|record| record.prefetch_to_read())
        });
        let live = self.store.live(&guard);
        let at = match early {
            // SAFETY: none; this is the mutant's defect.
            Some(early) => unsafe { ReadAt::new(Limit::Now(early)) },
            None => self.store.order.now(live).1,
        };
        let floor = self.store.order.floor_at(at);
        let moment = Moment::new(&self.timer);
        let mut found = [None; N];
        for (n, place) in found.iter_mut().enumerate() {
            if let Some(record) = candidates[n]
                && keys[n].equivalent(record.key())
                && let Some(plain) = self.store.order.plain_at(record, at)
            {
                *place = Some(plain.value());
                continue;
            }
            match self.visible::<Q, COUNTS>(&guard, (hashes[n], keys[n]), (at, floor), &moment) {
                Ok(value) => *place = value,
                Err(TakenOut) => {
                    return self.get_many_at_instant::<_, _, N, COUNTS>(keys, hashes, clone);
                }
            }
        }
        self.count_look_ups::<COUNTS, N>(&guard, &found);
        found.map(|value| value.map(&clone))
    }

    /// Returns the value of `key` that was visible at an instant, if it was valid then. Fails if
    /// that instant does not show it, or if the value expired before a time that was read after the
    /// number: at the instant of the number it may have been present.
    #[inline(always)]
    fn visible<'g, Q, const COUNTS: bool>(
        &'g self,
        guard: &'g R::Guard<'_>,
        (hash, key): (u32, &Q),
        (at, floor): (ReadAt<'g>, u64),
        moment: &Moment<'_>,
    ) -> Result<Option<&'g V>, TakenOut>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        match self.store.peek_at(guard, hash, key, at) {
            Peeked::Plain(found) => Ok(Some(found.value())),
            Peeked::Absent => Ok(None),
            _ => {
                let found =
                    self.visible_fully::<Q, COUNTS>(guard, (hash, key), (at, floor), moment)?;
                if found.is_none() && moment.is_read() && !mutant("get_many.clock_later") {
                    return Err(TakenOut);
                }
                Ok(found)
            }
        }
    }

    /// Does the same in the general case. A value that has expired by `moment` is absent.
    #[inline(never)]
    fn visible_fully<'g, Q, const COUNTS: bool>(
        &'g self,
        guard: &'g R::Guard<'_>,
        (hash, key): (u32, &Q),
        (at, floor): (ReadAt<'g>, u64),
        moment: &Moment<'_>,
    ) -> Result<Option<&'g V>, TakenOut>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let Some(record) = self.store.find(guard, hash, key) else { return Ok(None) };
        let Some(found) = self.store.order.at(record, at, floor)? else { return Ok(None) };
        let is_valid = self.store.is_valid(found, at, COUNTS, moment)?;
        Ok(is_valid.then(|| found.value()))
    }

    /// Does the same as [`get_many`](Self::get_many), as of a number and a time that belong
    /// together.
    #[cold]
    fn get_many_at_instant<Q, T, const N: usize, const COUNTS: bool>(
        &self,
        keys: [&Q; N],
        hashes: [u32; N],
        clone: impl Fn(&V) -> T,
    ) -> [Option<T>; N]
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let guard = self.pin();
        let (at, time) = self.store.order.instant_under(self.store.live(&guard));
        let floor = self.store.order.floor_at(at);
        let moment = Moment::at(&self.timer, time);
        let mut found = [None; N];
        for (n, place) in found.iter_mut().enumerate() {
            let key = (hashes[n], keys[n]);
            match self.visible_fully::<Q, COUNTS>(&guard, key, (at, floor), &moment) {
                Ok(value) => *place = value,
                Err(TakenOut) => {
                    return self.get_many_registered::<_, _, N, COUNTS>(keys, hashes, clone);
                }
            }
        }
        self.count_look_ups::<COUNTS, N>(&guard, &found);
        found.map(|value| value.map(&clone))
    }

    #[cold]
    fn get_many_registered<Q, T, const N: usize, const COUNTS: bool>(
        &self,
        keys: [&Q; N],
        hashes: [u32; N],
        clone: impl Fn(&V) -> T,
    ) -> [Option<T>; N]
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let view = self.open_view();
        let snapshot = view.snapshot();
        let guard = self.pin();
        let found: [_; N] = std::array::from_fn(|n| {
            let record = self.store.find(&guard, hashes[n], keys[n]);
            Some(self.read_record(record?, snapshot)?.0)
        });
        self.count_look_ups::<COUNTS, N>(&guard, &found);
        let values = found.map(|value| value.map(&clone));
        view.close(&guard);
        self.work_off_closed_view(&guard);
        values
    }

    /// Counts the look-ups of several keys.
    fn count_look_ups<const COUNTS: bool, const N: usize>(
        &self,
        guard: &R::Guard<'_>,
        found: &[Option<&V>; N],
    ) {
        if COUNTS && let Some(tally) = self.store.reclaim.tally(guard) {
            let hits = found.iter().flatten().count();
            tally.hit(hits as u64);
            tally.miss((N - hits) as u64);
        }
    }

    /// Returns the value of `key` that a view shows. The value lives as long as the view is
    /// registered.
    pub fn read<'v, Q>(&self, snapshot: &'v Snapshot, key: &Q) -> Option<(&'v V, Version)>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        self.store.prefetch_home(hash);
        let guard = self.pin();
        match self.store.peek_at(&guard, hash, key, snapshot.at(self.store.live(&guard))) {
            Peeked::Absent => None,
            // SAFETY: the value is visible in the view, and the view is registered for 'v.
            Peeked::Plain(found) => Some(with_version(unsafe { found.kept_by_view() })),
            _ => self.read_record(self.store.find(&guard, hash, key)?, snapshot),
        }
    }

    /// Returns the value of a record that a view shows.
    #[inline(never)]
    pub(super) fn read_record<'v>(
        &self,
        record: RecordRef<'_, K, V>,
        snapshot: &'v Snapshot,
    ) -> Option<(&'v V, Version)> {
        let at = snapshot.at(record.live());
        let moment = Moment::at(&self.timer, snapshot.opened());
        let found = self
            .store
            .order
            .at(record, at, snapshot.floor())
            .expect("the view keeps the versions that it shows")?;
        let is_valid = self
            .store
            .is_valid(found, at, false, &moment)
            .expect("the view keeps the versions that it shows");
        // SAFETY: the value is visible in the view, and the view is registered for 'v.
        is_valid.then(|| with_version(unsafe { found.kept_by_view() }))
    }
}

/// Returns a value that a view keeps, with its version.
fn with_version<V>(found: Visible<'_, V>) -> (&V, Version) {
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

    /// Returns whether the cache accounts for weights.
    pub(super) fn is_weighed(&self) -> bool {
        self.policy.is_some() || self.rules.weigher.is_some()
    }

    /// Opens a view.
    pub fn open(&self) -> Snapshot {
        self.store.open(|| !self.deadlines.may_be())
    }

    /// Opens a view for the duration of an operation.
    pub fn open_view(&self) -> EngineView<'_, K, V, S, R> {
        EngineView::new(&self.store, || !self.deadlines.may_be())
    }

    /// Opens a view of exactly `version`, if an open view keeps it or it is the newest.
    pub fn open_at(&self, version: u64) -> Option<Snapshot> {
        self.store.open_at(version, || !self.deadlines.may_be())
    }

    /// Returns another handle of the same view.
    pub fn share(&self, snapshot: &Snapshot) -> Snapshot {
        self.store.share(snapshot)
    }

    /// Returns how long ago a view was opened.
    pub fn age(&self, snapshot: &Snapshot) -> Duration {
        Duration::from_nanos(self.timer.now().saturating_sub(snapshot.opened()))
    }
}
