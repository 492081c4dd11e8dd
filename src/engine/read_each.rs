//! Look-ups of any number of keys as of one instant.
//!
//! They find what [`get_many`](super::Engine::get_many) finds, in the same way. The keys are looked
//! up a few at a time, under one guard and as of one number, so that the memory for several keys is
//! fetched at once.

use super::Engine;
use crate::chain::{RecordRef, Visible};
use crate::commit::{ReadAt, TakenOut};
use crate::dependencies::Moment;
use crate::reclaim::Reclaim;
use crate::store::Peeked;
use crate::sync::hook::mutant;
use equivalent::Equivalent;
use std::hash::{BuildHasher, Hash};

/// The number of keys for which memory is fetched at once.
const AT_ONCE: usize = 16;

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Appends the value of each key to `values`, all as of one instant. The look-up is a use of
    /// the entries. `key_of` returns the key to look up for an element of `all`.
    pub fn get_each<Q, I, T>(
        &self,
        all: &[I],
        key_of: impl Fn(&I) -> &Q,
        clone: impl Fn(&V) -> T,
        values: &mut Vec<Option<T>>,
    ) where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let start = values.len();
        values.reserve(all.len());
        let guard = self.pin();
        // As in `get_many`: a version that was visible at this number is kept by the guard.
        let at = self.store.order.now(self.store.live(&guard)).1;
        let moment = Moment::new(&self.timer);
        let mut hits = 0;
        let (mut hashes, mut candidates) = ([0; AT_ONCE], [None; AT_ONCE]);
        for keys in all.chunks(AT_ONCE) {
            for (hash, key) in hashes.iter_mut().zip(keys) {
                *hash = self.hash(key_of(key));
                self.store.prefetch_bucket(&guard, *hash);
            }
            for (place, hash) in candidates.iter_mut().zip(&hashes[..keys.len()]) {
                let candidate = self.store.candidate(&guard, *hash);
                *place = candidate.inspect(|record| record.prefetch_to_read());
            }
            for ((candidate, hash), key) in candidates.iter().zip(&hashes).zip(keys) {
                let key = key_of(key);
                let found = match self.plain_candidate(*candidate, key, at) {
                    Some(value) => Ok(Some(value)),
                    None => self.visible_elsewhere(&guard, (*hash, key), at, &moment),
                };
                let Ok(found) = found else {
                    values.truncate(start);
                    return self.get_each_at_instant(all, key_of, clone, values);
                };
                hits += u64::from(found.is_some());
                values.push(found.map(&clone));
            }
        }
        if let Some(tally) = self.store.reclaim.tally(&guard) {
            tally.hit(hits);
            tally.miss(all.len() as u64 - hits);
        }
    }

    /// Returns the value of a record that may be the key's, if it is plain and was visible at this
    /// instant.
    #[inline(always)]
    fn plain_candidate<'g, Q>(
        &self,
        candidate: Option<RecordRef<'g, K, V>>,
        key: &Q,
        at: ReadAt<'g>,
    ) -> Option<&'g V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let record = candidate.filter(|record| key.equivalent(record.key()))?;
        let (node, state) = record.top()?;
        let plain = node.plain_as(state).filter(|plain| at.sees(plain.number()));
        plain.filter(|_| self.store.order.may_use_top()).map(Visible::value)
    }

    /// Returns the value of `key` that was visible at an instant, in the other cases.
    #[inline(never)]
    fn visible_elsewhere<'g, Q>(
        &'g self,
        guard: &'g R::Guard<'_>,
        (hash, key): (u32, &Q),
        at: ReadAt<'g>,
        moment: &Moment<'_>,
    ) -> Result<Option<&'g V>, TakenOut>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        match self.store.peek::<Q, false>(guard, hash, key, at) {
            Peeked::Plain(plain) => Ok(Some(plain.value())),
            Peeked::Absent => Ok(None),
            _ => {
                let record = self.store.find(guard, hash, key);
                let held = self.store.valid_at(record, at, true, moment)?;
                self.note_found::<true>(record, held.value());
                let value = held.value().map(Visible::value);
                // As in `get_many`.
                let is_known =
                    value.is_some() || !moment.is_read() || mutant("get_many.clock_later");
                if is_known { Ok(value) } else { Err(TakenOut) }
            }
        }
    }

    /// Does the same as of a number and a time that belong together, or else in a registered view.
    #[cold]
    fn get_each_at_instant<Q, I, T>(
        &self,
        all: &[I],
        key_of: impl Fn(&I) -> &Q,
        clone: impl Fn(&V) -> T,
        values: &mut Vec<Option<T>>,
    ) where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let start = values.len();
        let guard = self.pin();
        let (at, time) = self.store.order.instant_under(self.store.live(&guard));
        let (at, moment) = (self.store.order.with_watermark(at), Moment::at(&self.timer, time));
        for key in all.iter().map(&key_of) {
            let record = self.store.find(&guard, self.hash(key), key);
            match self.store.valid_at(record, at, true, &moment) {
                Ok(held) => {
                    self.note_found::<true>(record, held.value());
                    values.push(held.value().map(Visible::value).map(&clone));
                }
                Err(TakenOut) => {
                    values.truncate(start);
                    let view = self.open_view();
                    let in_view = |key| self.read(view.snapshot(), key_of(key));
                    let found = all.iter().map(|key| in_view(key).map(|(value, _)| clone(value)));
                    values.extend(found);
                    break;
                }
            }
        }
        if let Some(tally) = self.store.reclaim.tally(&guard) {
            let hits = values[start..].iter().flatten().count() as u64;
            tally.hit(hits);
            tally.miss(all.len() as u64 - hits);
        }
    }
}
