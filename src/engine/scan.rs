//! Iteration over what a view sees.

use super::Engine;
use crate::reclaim::Reclaim;
use crate::store::Snapshot;
use crate::version::Version;
use std::hash::{BuildHasher, Hash};
use std::ops::Range;

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Into how many parts a scan is divided.
    pub fn parts(&self) -> usize {
        self.store.parts(&self.pin())
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
        let (records, next) = self.store.records_of(&guard, division, parts);
        for record in records {
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
