//! Look-ups. None of them writes to shared memory, but to help a commit that it meets half done.
//!
//! Most end with one [peek](crate::store::Store::peek), in which nothing is called that is not inlined, so nothing
//! need be saved for the time after. Where that is not enough, the rest is handed on, the guard with
//! it, by a call in the place of a return.

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

/// A view that is closed when it is dropped.
pub type Opened<'e, K, V, S, R> = OpenView<'e, K, V, S, R, Observers<K, V>>;

/// What a peek found tied, and in which record.
type FoundTied<K, V> = (NonNull<Record<K, V>>, NonNull<Node<V>>);

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// What `give` makes of `key`'s newest value. `COUNTS`: it is a use of the entry.
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
                // SAFETY: found so under the guard.
                unsafe { self.look_up_tied::<Q, T, COUNTS>(guard, key, found, give) }
            }
            Peeked::Unclear(met) => {
                let met = met.map(|met| NonNull::from(met.get()));
                // SAFETY: found under the guard.
                unsafe { self.look_up_fully::<Q, T, COUNTS>(guard, key, met, give) }
            }
        }
    }

    /// The same, if there is more to do for a guard.
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

    /// The same, of what is tied, and in which record it is.
    ///
    /// # Safety
    /// A peek found it under this guard.
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
        // SAFETY: the caller's promise.
        let tied = unsafe { Tied::again(node.as_ref()) };
        match self.store.stands_on_few(tied) {
            Some(true) => Some(self.give_tied::<T, COUNTS>(&guard, tied, give)),
            // SAFETY: the caller's promise.
            Some(false) => unsafe {
                self.look_up_fully::<Q, T, COUNTS>(guard, key, Some(record), give)
            },
            // SAFETY: the caller's promise.
            None => unsafe {
                self.look_up_tied_to_many::<Q, T, COUNTS>(guard, key, (record, node), give)
            },
        }
    }

    /// The same, whatever it is tied to.
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
        // SAFETY: the caller's promise.
        let tied = unsafe { Tied::again(node.as_ref()) };
        if self.store.stands_plainly(tied) {
            return Some(self.give_tied::<T, COUNTS>(&guard, tied, give));
        }
        // SAFETY: the caller's promise.
        unsafe { self.look_up_fully::<Q, T, COUNTS>(guard, key, Some(record), give) }
    }

    /// What `give` makes of a value that is valid, which is a hit.
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

    /// The same, whatever is in the way; `met` is what is in the key's home bucket.
    ///
    /// # Safety
    /// That was found under this guard.
    #[cold]
    #[inline(never)]
    unsafe fn look_up_fully<Q, T, const COUNTS: bool>(
        &self,
        guard: R::Guard<'_>,
        key: &Q,
        met: Option<NonNull<Record<K, V>>>,
        give: impl FnOnce(&V, Version) -> T,
    ) -> Option<T>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        // SAFETY: the caller's promise.
        let met = met.map(|record| unsafe { RecordRef::new(record.as_ref()) });
        let found = self.newest_fully::<Q, COUNTS>(&guard, key, met)?;
        Some(give(found.value(), version_of(found.seen())))
    }

    /// The newest value of `key`, if it is valid. `COUNTS`: it is a use of the entry.
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
            Peeked::Unclear(met) => self.newest_fully::<Q, COUNTS>(guard, key, met),
        }
    }

    /// The same, of what is tied, and in which record it is.
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

    /// The same, whatever is in the way; `met` is what is in the key's home bucket.
    #[cold]
    #[inline(never)]
    fn newest_fully<'g, Q, const COUNTS: bool>(
        &'g self,
        guard: &'g R::Guard<'_>,
        key: &Q,
        met: Option<RecordRef<'g, K, V>>,
    ) -> Option<Visible<'g, V>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        if let Some(found) = met.and_then(|record| self.store.order.plain_since_clear(record)) {
            if COUNTS {
                self.store.count_hit(guard);
            }
            return Some(found);
        }
        let hash = self.hash(key);
        let moment = Moment::new(&self.timer);
        let head = met.and_then(|record| Some((record, self.store.order.head_value(record)?)));
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
        self.work_off_closed(guard);
        if COUNTS {
            self.looked_up(guard, hash, found.map(|found| found.number()));
        }
        found
    }

    /// Counts and records a look-up.
    fn looked_up(&self, guard: &R::Guard<'_>, hash: u32, found: Option<u64>) {
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

    /// `key`'s newest value and its version. They live as long as the guard.
    #[inline(always)]
    pub fn get<'g, Q>(&'g self, guard: &'g R::Guard<'_>, key: &Q) -> Option<(&'g V, Version)>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.newest::<Q, true>(guard, key).map(shown)
    }

    /// Whether `key` holds a value.
    #[inline(always)]
    pub fn contains<Q>(&self, guard: &R::Guard<'_>, key: &Q) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.newest::<Q, false>(guard, key).is_some()
    }

    /// What each of `keys` holds, all as of one instant. `COUNTS`: it is a use of the entries.
    ///
    /// The clock is read once, under the guard; whatever was visible then is superseded later, if at
    /// all, so the guard keeps it, and nothing need be registered. Only if a registered view has had
    /// versions taken out between others can one be missing: then a registered view is opened.
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
            // SAFETY: none; this is the defect.
            Some(early) => unsafe { ReadAt::new(Limit::Now(early)) },
            None => self.store.order.now(live).1,
        };
        let watermark = self.store.order.watermark_at(at);
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
            match self.visible::<Q, COUNTS>(&guard, (hashes[n], keys[n]), (at, watermark), &moment)
            {
                Ok(value) => *place = value,
                Err(TakenOut) => {
                    return self.get_many_again::<_, _, N, COUNTS>(keys, hashes, clone);
                }
            }
        }
        self.looked_up_many::<COUNTS, N>(&guard, &found);
        found.map(|value| value.map(&clone))
    }

    /// What was visible of `key` at an instant, if it was valid then. An error: that cannot be told
    /// as of the instant, or the value is over by a time that was read after the number, as of which
    /// it may have been there.
    #[inline(always)]
    fn visible<'g, Q, const COUNTS: bool>(
        &'g self,
        guard: &'g R::Guard<'_>,
        (hash, key): (u32, &Q),
        (at, watermark): (ReadAt<'g>, u64),
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
                    self.visible_fully::<Q, COUNTS>(guard, (hash, key), (at, watermark), moment)?;
                if found.is_none() && moment.is_read() && !mutant("get_many.clock_later") {
                    return Err(TakenOut);
                }
                Ok(found)
            }
        }
    }

    /// The same, whatever is in the way. A value that is over by that time is absent.
    #[inline(never)]
    fn visible_fully<'g, Q, const COUNTS: bool>(
        &'g self,
        guard: &'g R::Guard<'_>,
        (hash, key): (u32, &Q),
        (at, watermark): (ReadAt<'g>, u64),
        moment: &Moment<'_>,
    ) -> Result<Option<&'g V>, TakenOut>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let Some(record) = self.store.find(guard, hash, key) else { return Ok(None) };
        let Some(found) = self.store.order.at(record, at, watermark)? else { return Ok(None) };
        let is_valid = self.store.is_valid(found, at, COUNTS, moment)?;
        Ok(is_valid.then(|| found.value()))
    }

    /// The same as [`get_many`](Self::get_many), as of a number and a time that belong together.
    #[cold]
    fn get_many_again<Q, T, const N: usize, const COUNTS: bool>(
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
        let watermark = self.store.order.watermark_at(at);
        let moment = Moment::at(&self.timer, time);
        let mut found = [None; N];
        for (n, place) in found.iter_mut().enumerate() {
            let key = (hashes[n], keys[n]);
            match self.visible_fully::<Q, COUNTS>(&guard, key, (at, watermark), &moment) {
                Ok(value) => *place = value,
                Err(TakenOut) => {
                    return self.get_many_registered::<_, _, N, COUNTS>(keys, hashes, clone);
                }
            }
        }
        self.looked_up_many::<COUNTS, N>(&guard, &found);
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
        self.looked_up_many::<COUNTS, N>(&guard, &found);
        let values = found.map(|value| value.map(&clone));
        view.close(&guard);
        self.work_off_closed(&guard);
        values
    }

    /// Counts look-ups of several keys at once.
    fn looked_up_many<const COUNTS: bool, const N: usize>(
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

    /// What a view sees of `key`. The value lives as long as the view is registered.
    pub fn read<'v, Q>(&self, snapshot: &'v Snapshot, key: &Q) -> Option<(&'v V, Version)>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        self.store.prefetch_home(hash);
        let guard = self.pin();
        match self.store.peek_at(&guard, hash, key, snapshot.at(self.store.live(&guard))) {
            Peeked::Absent => None,
            // SAFETY: visible in the view, which is registered for 'v.
            Peeked::Plain(found) => Some(shown(unsafe { found.kept_by_view() })),
            _ => self.read_record(self.store.find(&guard, hash, key)?, snapshot),
        }
    }

    /// What a view sees of a record.
    #[inline(never)]
    pub(super) fn read_record<'v>(
        &self,
        record: RecordRef<'_, K, V>,
        snapshot: &'v Snapshot,
    ) -> Option<(&'v V, Version)> {
        let at = snapshot.at(record.live());
        let moment = Moment::at(&self.timer, snapshot.opened());
        let found =
            self.store.order.at(record, at, snapshot.watermark()).expect("a view can tell")?;
        let is_valid = self.store.is_valid(found, at, false, &moment).expect("a view can tell");
        // SAFETY: visible in the view, which is registered for 'v.
        is_valid.then(|| shown(unsafe { found.kept_by_view() }))
    }
}

/// A value that a view keeps, and its version.
fn shown<V>(found: Visible<'_, V>) -> (&V, Version) {
    (found.value(), version_of(found.seen()))
}

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// How many keys hold a value.
    pub fn len(&self) -> usize {
        self.store.era(&self.pin()).present()
    }

    /// What they weigh.
    pub fn weight(&self) -> u64 {
        if !self.is_weighed() {
            return self.len() as u64;
        }
        self.store.era(&self.pin()).weight()
    }

    /// Whether the weight is kept account of.
    pub(super) fn is_weighed(&self) -> bool {
        self.policy.is_some() || self.rules.weigher.is_some()
    }

    /// Opens a view.
    pub fn open(&self) -> Snapshot {
        self.store.open(|| !self.deadlines.may_be())
    }

    /// A view for the time of an operation.
    pub fn open_view(&self) -> Opened<'_, K, V, S, R> {
        Opened::new(&self.store, || !self.deadlines.may_be())
    }

    /// A view of exactly `version`, if an open one keeps it, or it is the newest.
    pub fn open_at(&self, version: u64) -> Option<Snapshot> {
        self.store.open_at(version, || !self.deadlines.may_be())
    }

    /// Another holder of the same view.
    pub fn share(&self, snapshot: &Snapshot) -> Snapshot {
        self.store.share(snapshot)
    }

    /// How long ago a view was opened.
    pub fn age(&self, snapshot: &Snapshot) -> Duration {
        Duration::from_nanos(self.timer.now().saturating_sub(snapshot.opened()))
    }
}
