//! Iteration over what a view sees.

use super::Engine;
use super::read::Snapshot;
use crate::chain::Record;
use crate::reclaim::Reclaim;
use crate::version::Version;
use std::hash::{BuildHasher, Hash};
use std::ops::Range;
use std::ptr::NonNull;

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Into how many parts a scan is divided.
    pub fn parts(&self) -> usize {
        let guard = self.pin();
        self.index.homes(&guard)
    }

    /// Appends what a view sees in the first of these parts of the index, of so many in all, and in some after
    /// it. Returns the part to go on with.
    pub fn scan<'v>(
        &self,
        snapshot: &'v Snapshot,
        division: usize,
        parts: Range<usize>,
        out: &mut Vec<(&'v K, &'v V, Version)>,
    ) -> usize {
        let guard = self.pin();
        let mut entries = Vec::new();
        let next = self.index.entries_of(&guard, division, parts, &mut entries);
        for record in entries {
            if let Some((value, version)) = self.read_record(record, snapshot) {
                // SAFETY: a record of which a registered view sees a value is not removed while
                // the view is registered, which it is for 'v.
                let key: &'v K = unsafe { &*std::ptr::from_ref(record.key()) };
                out.push((key, value, version));
            }
        }
        next
    }
}

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// Takes a sealed record out of the index.
    ///
    /// # Safety
    /// It was sealed by the caller.
    pub(super) unsafe fn unlink(&self, guard: &R::Guard<'_>, record: &Record<K, V>) {
        // SAFETY: the caller's promise.
        unsafe { self.index.unlink(guard, NonNull::from(record)) };
    }

    /// Frees an unlinked record's place in the index.
    ///
    /// # Safety
    /// A grace period has passed since it was unlinked.
    pub(super) unsafe fn release(&self, guard: &R::Guard<'_>, record: NonNull<Record<K, V>>) {
        // SAFETY: the caller's promise.
        unsafe { self.index.release(guard, record) };
    }

    /// All records. For the engine's own end, when nobody else uses it.
    pub(super) fn all_entries(&self) -> Vec<NonNull<Record<K, V>>> {
        let guard = self.reclaim.pin();
        self.index.all_entries(&guard).into_iter().map(NonNull::from).collect()
    }
}
