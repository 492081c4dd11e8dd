//! The fast path of a look-up: one bucket, one record, two comparisons. All calls are inlined, so
//! the caller saves no registers.

use super::{Host, Store};
use crate::chain::{RecordRef, Tied, Visible};
use crate::commit::ReadAt;
use crate::index::Peek;
use crate::reclaim::Reclaim;
use equivalent::Equivalent;
use std::hash::{BuildHasher, Hash};

/// The result of the fast path.
pub enum Peeked<'g, K, V> {
    /// The key holds this plain value.
    Plain(Visible<'g, V>),
    /// The key holds this value, which has terms: dependencies or a deadline that must be checked,
    /// or a weight.
    Tied(RecordRef<'g, K, V>, Tied<'g, V>),
    /// The key is absent.
    Absent,
    /// The result needs the slow path. This record was found where the key's usually is.
    Unclear(Option<RecordRef<'g, K, V>>),
}

impl<K, V, S, R, H> Store<K, V, S, R, H>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
    H: Host<K, V>,
{
    /// Looks a key up where its record usually is, as of an instant. `COUNTS`: the look-up is a use
    /// of the entry. `hash` is the key's.
    #[inline(always)]
    pub fn peek<'g, Q, const COUNTS: bool>(
        &self,
        guard: &'g R::Guard<'_>,
        hash: u32,
        key: &Q,
        at: ReadAt<'g>,
    ) -> Peeked<'g, K, V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        match self.index.peek(guard, hash, |record| key.equivalent(record.key())) {
            Peek::Found(record) => {
                let record = Self::in_index(record);
                let Some((node, state)) = record.top().filter(|_| self.order.may_use_top()) else {
                    return Peeked::Unclear(Some(record));
                };
                // Only a committed state has a number.
                if let Some(found) = node.plain_as(state).filter(|it| at.sees(it.number())) {
                    if COUNTS {
                        self.count_hit(guard);
                    }
                    return Peeked::Plain(found);
                }
                let tied = node.tied_as(state).filter(|tied| at.sees(tied.found().number()));
                tied.map_or(Peeked::Unclear(Some(record)), |tied| Peeked::Tied(record, tied))
            }
            Peek::Elsewhere => Peeked::Unclear(None),
            Peek::Absent if COUNTS && self.order.is_watched() => Peeked::Unclear(None),
            Peek::Absent => {
                if COUNTS {
                    self.count_miss(guard);
                }
                Peeked::Absent
            }
        }
    }
}

impl<K, V, S, R: Reclaim, H> Store<K, V, S, R, H> {
    /// Counts a look-up that found a value. The count is beside the word of the guard.
    #[inline(always)]
    pub fn count_hit(&self, guard: &R::Guard<'_>) {
        if let Some(tally) = self.reclaim.tally(guard) {
            tally.hit(1);
        }
    }

    /// Counts a look-up that found nothing.
    #[inline(always)]
    pub fn count_miss(&self, guard: &R::Guard<'_>) {
        if let Some(tally) = self.reclaim.tally(guard) {
            tally.miss(1);
        }
    }
}
