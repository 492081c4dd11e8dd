//! Look-ups as of one instant: of several keys at once, and of a view.

use super::Engine;
use super::group::each_cloned;
use super::read::with_version;
use crate::chain::RecordRef;
use crate::commit::{Limit, ReadAt, TakenOut};
use crate::dependencies::Moment;
use crate::reclaim::Reclaim;
use crate::store::{Peeked, Snapshot};
use crate::sync::hook::mutant;
use crate::version::Version;
use equivalent::Equivalent;
use std::hash::{BuildHasher, Hash};

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns the values of `keys`, all as of one instant. If `COUNTS`, the look-up is a use of
    /// the entries.
    ///
    /// The clock is read once, under the guard. A version that was visible then can only be
    /// superseded later, so the guard keeps it, and no view need be registered. A version can be
    /// missing only if it was pruned between two versions that a registered view needed. Then, and
    /// if a value has expired by a time that was read after the number, the look-up tries again as
    /// of a number and a time that belong together, and after that in a registered view.
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
                    return self.get_many_at_instant::<_, _, N, COUNTS>(keys, hashes, clone);
                }
            }
        }
        self.count_look_ups::<COUNTS, N>(&guard, &found);
        each_cloned(found, &clone)
    }

    /// Returns the value of `key` that was visible at an instant, if it was valid then. Fails if
    /// the version of that instant was taken out of its chain, or if the value expired before a
    /// time that was read after the number: at the instant of the number it may have been present.
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

    /// Does the same in the general case. A value that has expired by `moment` is absent.
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
        self.count_look_ups::<COUNTS, N>(&guard, &found);
        each_cloned(found, &clone)
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
        each_cloned(found, &clone)
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
            .at(record, at, snapshot.watermark())
            .expect("the view keeps the versions that it shows")?;
        let is_valid = self
            .store
            .is_valid(found, at, false, &moment)
            .expect("the view keeps the versions that it shows");
        // SAFETY: the value is visible in the view, and the view is registered for 'v.
        is_valid.then(|| with_version(unsafe { found.kept_by_view() }))
    }
}
