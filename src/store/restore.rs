//! Versions of a saved cache, which keep their numbers. No other thread knows the store yet.
//!
//! Such a version does not take its number from the clock, so nobody may see the store meanwhile:
//! an entry that appears with an old number would change what a view shows.

use super::{Host, Offered, Store, TermsAndBonds, Written};
use crate::chain::{NodeRef, Parcel, Record, RecordRef};
use crate::commit::Over;
use crate::reclaim::Reclaim;
use crate::version::State;
use std::hash::{BuildHasher, Hash};
use std::ptr;

impl<K, V, S, R: Reclaim, H> Store<K, V, S, R, H> {
    /// Makes room in the index for `entries` entries. There are none yet.
    pub fn make_room(&mut self, entries: usize) {
        self.index.make_room(entries);
    }
}

/// What was written for an entry.
pub enum Numbered<'g, K, V> {
    /// The first version of a new record, without terms.
    First(Written<'g, K, V>),
    /// Any other version.
    Other(Written<'g, K, V>),
}

impl<K, V, S, R, H> Store<K, V, S, R, H>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
    H: Host<K, V>,
{
    /// Sets a key to the value in `value`, which is taken, by a commit with this number, unless the
    /// key has a version with a larger number. `retention` makes the terms of the value, if it is
    /// not plain. No other thread knows the store.
    #[inline]
    pub fn write_numbered<'g>(
        &self,
        guard: &'g R::Guard<'_>,
        (hash, key): (u32, K),
        value: &mut Parcel<V>,
        number: u64,
        retention: Option<impl FnOnce(RecordRef<'g, K, V>) -> TermsAndBonds>,
    ) -> Option<Numbered<'g, K, V>> {
        let state = State::committed(number);
        let offered = retention.is_none().then_some(Offered { value: &mut *value, flags: 0 });
        let record = self.locate(guard, hash, key, offered);
        let mut made = None;
        if value.is_some() {
            if self.order.newest(record).is_some_and(|found| found.number() > number) {
                return None;
            }
            made = Some(match retention {
                Some(retention) => {
                    let retention = retention(record);
                    self.make_conditional(guard, state, ptr::null_mut(), value, retention)
                }
                None => {
                    let state = self.new_version.with_outcome(state);
                    self.make_plain(guard, &record, state, ptr::null_mut(), Some(value))
                }
            });
        }
        // SAFETY: if `locate` has taken the value, it has put it into the inline slot of a new
        // record, as its first version, which is this thread's and is not reclaimed under the
        // guard. Otherwise the version was made just now, for this record; `write` passes each
        // version that it superseded once, and stamps no version that is committed.
        unsafe {
            let Some(node) = made else {
                let node = NodeRef::new(&*record.inline_slot());
                let state = node.stamp(node.state(), state);
                return Some(Numbered::First(Written::new(record, node, state)));
            };
            let retire = |record: &Record<K, V>, node| self.retire_node(guard, record, node);
            let state = self.order.write(record, node, Over::Any, &retire);
            let state = state.expect("the write has no condition");
            Some(Numbered::Other(Written::new(record, NodeRef::new(&*node), state)))
        }
    }
}
