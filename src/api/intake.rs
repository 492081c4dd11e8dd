//! Which entries of a file a new cache takes.

use super::restore_report::{RestoreError, RestoreReport};
use super::save::{decode, nanos_since_1970};
use crate::engine::{Engine, SavedTerms, ToRestore};
use crate::reclaim::Reclaim;
use crate::saved::{Header, Reader};
use crate::version::Version;
use serde::de::DeserializeOwned;
use std::hash::{BuildHasher, Hash};
use std::io::Read;
use std::time::Duration;

/// The entries of one file that one cache takes: those that are valid, and for which there is room,
/// the hottest first.
pub(super) struct Intake {
    pub report: RestoreReport,
    /// The time that passed between the save and `since`.
    passed: u64,
    /// The cache's time when the file was opened, from which the times of entries count.
    since: u64,
    /// The weight that the cache can still take.
    room: u64,
    /// The entries that were read.
    seen: u64,
}

impl Intake {
    /// Begins with the header of a file. Refuses another schema.
    pub fn new<K, V, S, R>(
        engine: &Engine<K, V, S, R>,
        header: &Header,
    ) -> Result<Self, RestoreError>
    where
        K: Hash + Eq + Send + Sync + 'static,
        V: Send + Sync + 'static,
        S: BuildHasher,
        R: Reclaim,
    {
        if header.schema != engine.schema() {
            let (found, expected) = (header.schema.clone(), engine.schema().to_owned());
            return Err(RestoreError::Schema { found, expected });
        }
        let age = nanos_since_1970().saturating_sub(header.saved_at);
        let report = RestoreReport {
            version: Version::from_u64(header.version),
            age: Duration::from_nanos(age),
            restored: 0,
            expired: 0,
            left_out: 0,
            superseded: 0,
            unreadable: 0,
            broken_blocks: 0,
            lost: None,
        };
        let passed = if engine.has_system_clock() { age } else { 0 };
        let room = engine.max_capacity().unwrap_or(u64::MAX);
        Ok(Self { report, passed, since: engine.time(), room, seen: 0 })
    }

    /// Returns the time from which the times of the entries count.
    pub fn since(&self) -> u64 {
        self.since
    }

    /// Returns the entry in these bytes, if the cache takes it. An error has its version and its
    /// key, if they can be read.
    #[inline]
    pub fn take<K, V, S, R>(
        &mut self,
        engine: &Engine<K, V, S, R>,
        bytes: &[u8],
    ) -> Result<ToRestore<K, V>, Option<(Version, K)>>
    where
        K: Hash + Eq + Send + Sync + DeserializeOwned + 'static,
        V: Send + Sync + DeserializeOwned + 'static,
        S: BuildHasher,
        R: Reclaim,
    {
        self.seen += 1;
        let is_version = |entry: &ToRestore<K, V>| {
            entry.version.get() != 0 && entry.version <= self.report.version
        };
        let Some(mut entry) = decode(bytes).filter(is_version) else {
            self.report.unreadable += 1;
            return Err(None);
        };
        let passed = self.passed;
        if !entry.terms.as_mut().is_none_or(|terms| age_by(terms, passed)) {
            self.report.expired += 1;
            return Err(Some((entry.version, entry.key)));
        }
        entry.weight = engine.weight_if_restored(entry.weight);
        let Some(room) = self.room.checked_sub(entry.weight.amount.into()) else {
            self.report.left_out += 1;
            return Err(Some((entry.version, entry.key)));
        };
        self.room = room;
        Ok(entry)
    }

    /// Notes what the file lacks, after all of it was read.
    pub fn finish(&mut self, reader: &Reader<impl Read>) -> &mut RestoreReport {
        let seen = self.seen;
        self.report.broken_blocks = reader.damage().blocks;
        self.report.lost = reader.entries().map(|entries| entries.saturating_sub(seen));
        &mut self.report
    }
}

/// Takes the time that has passed off the times of an entry. Returns whether it is still valid.
fn age_by(terms: &mut SavedTerms, passed: u64) -> bool {
    for time in [&mut terms.left, &mut terms.end, &mut terms.refresh] {
        *time = time.map(|left| left.saturating_sub(passed));
    }
    terms.left != Some(0)
}
