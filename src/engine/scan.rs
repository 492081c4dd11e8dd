//! Iteration over the entries of a view.

use super::Engine;
use super::read::with_version;
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
    /// Returns the number of parts into which a scan is divided.
    pub fn parts(&self) -> usize {
        self.store.parts(&self.pin())
    }

    /// Appends the entries that a view shows in the first of these parts of the index, and in parts
    /// that are visited with it. `division` is the number of parts of the whole index. Returns the
    /// next part to visit.
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
            if let Some(found) = self.read_record(record, snapshot) {
                let (value, version) = with_version(found);
                // SAFETY: a record is not removed while a registered view shows a value of it, and
                // the view is registered for 'v.
                let key: &'v K = unsafe { &*std::ptr::from_ref(record.key()) };
                out.push((key, value, version));
            }
        }
        next
    }
}
