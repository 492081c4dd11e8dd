//! Look-ups as of one instant: of several keys at once, and of a view.

use super::Engine;
use super::group::each_cloned;
use super::read::with_version;
use crate::chain::{RecordRef, Visible};
use crate::commit::{Limit, ReadAt};
use crate::dependencies::Moment;
use crate::reclaim::Reclaim;
use crate::store::{KEPT, Peeked, Snapshot};
use crate::sync::hook::{mutant, planted, too_early};
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
    /// if a value has expired by a time that was read after the number, the look-up tries again in a
    /// brief view, whose number and time belong together.
    pub fn get_many<Q, T, const N: usize, const COUNTS: bool>(
        &self,
        keys: [&Q; N],
        clone: impl Fn(&V) -> T,
    ) -> [Option<T>; N]
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hashes = keys.map(|key| self.hash(key));
        let early = too_early("get_many.clock_first", || self.store.version());
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
            None if planted("get_many.one_by_one") => ReadAt::newest(live),
            None => self.store.order.now(live).1,
        };
        let moment = Moment::new(&self.timer);
        let mut found = [None; N];
        for (n, place) in found.iter_mut().enumerate() {
            if let Some(record) = candidates[n]
                && keys[n].equivalent(record.key())
                && let Some((node, state)) = record.top()
                && self.store.order.may_use_top()
                && let Some(plain) = node.plain_as(state).filter(|plain| at.sees(plain.number()))
            {
                *place = Some(plain.value());
                continue;
            }
            match self.store.peek::<Q, false>(&guard, hashes[n], keys[n], at) {
                Peeked::Plain(plain) => *place = Some(plain.value()),
                Peeked::Absent => {}
                _ => {
                    let record = self.store.find(&guard, hashes[n], keys[n]);
                    let held = self.store.valid_at(record, at, COUNTS, &moment);
                    let value = held.map(|held| {
                        self.note_found::<COUNTS>(record, held.value());
                        held.value().map(Visible::value)
                    });
                    // A value that expired before a time that was read after the number may have
                    // been present at the instant of the number.
                    let is_known = |value: &Option<_>| {
                        value.is_some() || !moment.is_read() || mutant("get_many.clock_later")
                    };
                    let Some(value) = value.ok().filter(is_known) else {
                        return self.view_briefly(|view| {
                            let mut found = [None; N];
                            for (place, key) in found.iter_mut().zip(keys) {
                                *place = view.read::<Q, COUNTS>(key).ok()?.map(|(value, _)| value);
                            }
                            self.count_look_ups::<COUNTS, N>(&guard, &found);
                            Some(each_cloned(found, &clone))
                        });
                    };
                    *place = value;
                }
            }
        }
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
        let at = snapshot.at(self.store.live(&guard));
        match self.store.peek::<Q, false>(&guard, hash, key, at) {
            Peeked::Absent => None,
            // SAFETY: the value is visible in the view, and the view is registered for 'v.
            Peeked::Plain(found) => Some(with_version(unsafe { found.kept() })),
            _ => self.read_record(self.store.find(&guard, hash, key)?, snapshot).map(with_version),
        }
    }

    /// Returns the value of a record that a view shows.
    #[inline(never)]
    pub(super) fn read_record<'v>(
        &self,
        record: RecordRef<'_, K, V>,
        snapshot: &'v Snapshot,
    ) -> Option<Visible<'v, V>> {
        let at = snapshot.at(record.live());
        let moment = Moment::at(&self.timer, snapshot.opened());
        let held = self.store.valid_at(Some(record), at, false, &moment).expect(KEPT);
        // SAFETY: the value is visible in the view, and the view is registered for 'v.
        held.value().map(|found| unsafe { found.kept() })
    }
}
