//! Versions of a saved cache, which keep their numbers. No other thread knows the store yet.
//!
//! Such a version does not take its number from the clock, so nobody may see the store meanwhile:
//! an entry that appears with an old number would change what a view shows.

use super::{Host, Store, TermsAndBonds, Written};
use crate::chain::{NodeRef, Parcel, Record, RecordRef};
use crate::index::Index;
use crate::reclaim::Reclaim;
use crate::version::State;
use std::hash::{BuildHasher, Hash};
use std::ptr;

impl<K, V, S, R: Reclaim, H> Store<K, V, S, R, H> {
    /// Makes room in the index for `entries` entries. There are none yet.
    pub fn make_room(&mut self, entries: usize) {
        self.index = Index::with_capacity(entries);
    }
}

impl<K, V, S, R, H> Store<K, V, S, R, H>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
    H: Host<K, V>,
{
    /// Sets a key that has no record to the value in `value`, which is taken, by a commit with this
    /// number. An error is the record of the key. No other thread knows the store.
    #[inline]
    pub fn insert_numbered<'g>(
        &self,
        guard: &'g R::Guard<'_>,
        (hash, key): (u32, K),
        value: &mut Parcel<V>,
        number: u64,
    ) -> Result<Written<'g, K, V>, RecordRef<'g, K, V>> {
        let record = self.locate(guard, hash, key, Some(value));
        if value.is_some() {
            return Err(record);
        }
        // SAFETY: `locate` has put the value into the inline slot of a new record and published the
        // record. So the version is this thread's, and is not reclaimed under the guard.
        unsafe {
            let node = NodeRef::new(&*record.inline_slot());
            let state = node.stamp(node.state(), State::committed(number));
            Ok(Written::new(record, node, state))
        }
    }

    /// Sets a record to the value in `value`, which is taken, by a commit with this number. The
    /// record has no version with a larger number. No other thread knows the store.
    pub fn write_numbered<'g>(
        &self,
        guard: &'g R::Guard<'_>,
        record: RecordRef<'g, K, V>,
        value: &mut Parcel<V>,
        retention: Option<TermsAndBonds>,
        number: u64,
    ) -> Written<'g, K, V> {
        let state = State::committed(number);
        let node = match retention {
            Some(retention) => {
                self.make_conditional(guard, state, ptr::null_mut(), value, retention)
            }
            None => {
                let state = self.new_version.with_outcome(state);
                self.make_plain(guard, &record, state, ptr::null_mut(), Some(value))
            }
        };
        // SAFETY: made just now, for this record. `write` passes each version that it superseded
        // once, and stamps no version that is committed.
        unsafe {
            let retire = |record: &Record<K, V>, node| self.retire_node(guard, record, node);
            let state = self.order.write(record, node, None, &retire);
            let state = state.expect("the write has no condition");
            Written::new(record, NodeRef::new(&*node), state)
        }
    }
}
