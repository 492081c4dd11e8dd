//! Keys of which the cache knows nothing, known by their hash alone.
//!
//! A transaction that looks for a key and finds no record has read that the key is absent. It does
//! not make a record for that: it has borrowed the key, and need not be able to make an owned one.
//! It requires instead that no commit has written a key with this hash since. The verdict of its
//! commit looks into the index, after the commit has its number. A commit with a smaller number
//! published its records before it took that number, so the look finds them. A record cannot have
//! come and gone since, because it goes a grace period later, and the guard of the undecided
//! commit's owner is live.
//!
//! The look helps no other commit, because a commit that it met could look in turn for what this
//! one writes. A version that is undecided counts as a change. The transaction is then tried again,
//! and finds the record.

use super::{Host, Store};
use crate::chain::{NodeRef, Record, RecordRef};
use crate::commit::UnknownKey;
use crate::reclaim::Reclaim;
use crate::sync::hook::mutant;
use std::ptr::NonNull;

impl<K, V, S, R, H> Store<K, V, S, R, H>
where
    K: 'static,
    V: 'static,
    R: Reclaim,
    H: Host<K, V>,
{
    /// A key with this hash, of which no record was found.
    pub fn unknown_key(&self, hash: u32) -> UnknownKey {
        // SAFETY: the function takes the store that it is given here.
        unsafe { UnknownKey::new(hash, NonNull::from(self).cast(), Self::is_still_unknown) }
    }

    /// Whether no commit after the number `since` has written a key with this hash, and none is
    /// about to, except for the commit with the descriptor at the address `own`.
    ///
    /// # Safety
    /// `store` is a store of this type, which lives during the call.
    unsafe fn is_still_unknown(store: NonNull<()>, hash: u32, since: u64, own: usize) -> bool {
        if mutant("transact.unknown_unchecked") {
            return true;
        }
        // SAFETY: the caller's promise.
        let store: &Self = unsafe { store.cast().as_ref() };
        let guard = store.pin();
        let has_changed = |record: &Record<K, V>| {
            let record = Self::in_index(record);
            record.hash() == hash && !Self::is_unchanged(record, since, own)
        };
        store.index.find(&guard, hash, has_changed).is_none()
    }

    fn is_unchanged<'g>(record: RecordRef<'g, K, V>, since: u64, own: usize) -> bool {
        let mut next = record.newest();
        while let Some(node) = next {
            let state = node.state();
            if state.is_committed() {
                return state.version() <= since;
            }
            let is_own = || !state.is_ready() && state.descriptor() == own;
            if !state.is_aborted() && !is_own() {
                return false;
            }
            let below = record.prev_of(node).link().target();
            // SAFETY: the version was found under the guard, is the newest of the record and
            // supersedes nothing yet. So the guard keeps the version below it.
            next = unsafe { below.as_ref().map(|below: &'g _| NodeRef::new(below)) };
        }
        true
    }
}
