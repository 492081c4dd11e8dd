//! A cache is made from a file to which another one was saved.

use super::builder::Builder;
use super::cache::Cache;
use super::save::{decode, nanos_since_1970};
use crate::engine::{SavedTerms, ToRestore};
use crate::error::BuildError;
use crate::reclaim::Reclaim;
use crate::saved::{Reader, Trouble};
use crate::version::Version;
use serde::de::DeserializeOwned;
use std::fmt;
use std::fs::File;
use std::hash::{BuildHasher, Hash};
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};

/// What was restored from a file, and what was not; the result of [`Builder::restore`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct RestoreReport {
    /// The version that was saved. The new cache continues from it.
    pub version: Version,
    /// How long ago that was, by the system's clock.
    pub age: Duration,
    /// The entries that were restored.
    pub restored: u64,
    /// The entries whose deadline has passed since.
    pub expired: u64,
    /// The entries for which the new cache has no room: the coldest ones.
    pub left_out: u64,
    /// The entries that `Deserialize` refused.
    pub unreadable: u64,
    /// The broken or missing blocks, as far as the blocks around them show.
    pub broken_blocks: u64,
    /// The entries in broken or missing blocks; `None` if the end of the file, which has the number
    /// of all entries, is missing.
    pub lost: Option<u64>,
}

impl RestoreReport {
    /// Returns whether the whole file was read: nothing in it was broken, missing or unreadable.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        (self.unreadable, self.broken_blocks, self.lost) == (0, 0, Some(0))
    }
}

impl fmt::Display for RestoreReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, age, restored, expired, left_out, unreadable, broken_blocks, .. } =
            self;
        write!(f, "{restored} entries restored of {version}, saved {age:.0?} ago")?;
        write!(f, "; {expired} expired, {left_out} left out")?;
        if self.is_whole() {
            return Ok(());
        }
        write!(f, "; {unreadable} unreadable, {broken_blocks} broken blocks")?;
        match self.lost {
            Some(lost) => write!(f, " with {lost} entries"),
            None => f.write_str(", cut off"),
        }
    }
}

/// A cache that was restored, and the report of that; or why nothing was restored.
type Restored<K, V, S, R> = Result<(Cache<K, V, S, R>, RestoreReport), RestoreError>;

/// Why a file cannot be restored at all.
#[derive(Debug)]
#[non_exhaustive]
pub enum RestoreError {
    /// A setting of the new cache makes no sense.
    Build(BuildError),
    /// The file cannot be read.
    Io(io::Error),
    /// The file is no saved cache.
    NotSaved,
    /// The file has a format that this version of the library does not know.
    Format(u32),
    /// The beginning of the file, which says what it is, is broken or missing.
    Header,
    /// The file has keys and values of other types, by the name of their
    /// [schema](Builder::schema).
    Schema {
        /// The name in the file.
        found: String,
        /// The name that the builder has.
        expected: String,
    },
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Build(error) => error.fmt(f),
            Self::Io(error) => write!(f, "the saved cache cannot be read: {error}"),
            Self::NotSaved => f.write_str("the file is no saved cache"),
            Self::Format(format) => write!(f, "the saved cache has the unknown format {format}"),
            Self::Header => f.write_str("the header of the saved cache is broken"),
            Self::Schema { found, expected } => {
                write!(f, "the saved cache has the schema {found:?}, not {expected:?}")
            }
        }
    }
}

impl std::error::Error for RestoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Build(error) => Some(error),
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<Trouble> for RestoreError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Io(error) => Self::Io(error),
            Trouble::NotSaved => Self::NotSaved,
            Trouble::Format(format) => Self::Format(format),
            Trouble::Header => Self::Header,
        }
    }
}

/// # Restoring
impl<K, V, S, R> Builder<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Builds the cache with the entries of a file to which another one was
    /// [saved](Cache::save). Entries that one commit wrote have one version again: the former one.
    /// The versions of new commits follow those of the saved cache.
    ///
    /// - The time during which the file lay, and that of reading it, count against all deadlines, by
    ///   the system's clock (not with a [manual clock](Self::manual_clock)). Expired entries are left
    ///   out.
    /// - If the new cache has a smaller [bound](Self::max_capacity), it gets the hottest entries.
    /// - A value keeps its saved weight if the new cache has a [weigher](Self::weigher).
    /// - A broken block (about 64 KiB of entries) is skipped, and the rest is restored. The report
    ///   says so. Each entry that is restored is one that was saved.
    /// - Nothing is reported to the [listener](Self::eviction_listener), and no
    ///   [relation](Self::related) is followed. `stats` counts the commits that restore.
    ///
    /// A tag that was invalidated elsewhere in the meantime is not known to the file. If the source
    /// may have changed, write or invalidate what has changed, or give entries a time to live.
    ///
    /// O(n log n). It needs memory for all entries that it restores twice, except for what keys and
    /// values refer to. The call returns when all entries are there.
    ///
    /// See [`Cache::save`] for an example.
    ///
    /// # Errors
    /// [`RestoreError`], if nothing can be restored. To get an empty cache in that case, call
    /// [`restore_or_empty`](Self::restore_or_empty).
    ///
    /// # Panics
    /// Panics if `Deserialize` does.
    pub fn restore(self, path: impl AsRef<Path>) -> Restored<K, V, S, R>
    where
        K: DeserializeOwned,
        V: DeserializeOwned,
    {
        self.restore_from(File::open(path).map_err(RestoreError::Io)?)
    }

    /// Does what [`restore`](Self::restore) does, with what the reader returns.
    ///
    /// # Errors
    /// [`RestoreError`], if nothing can be restored, or if the reader fails.
    ///
    /// # Panics
    /// Panics if `Deserialize` does.
    pub fn restore_from(self, input: impl Read) -> Restored<K, V, S, R>
    where
        K: DeserializeOwned,
        V: DeserializeOwned,
    {
        let schema = self.settings.schema.to_string();
        let cache = self.try_build().map_err(RestoreError::Build)?;
        let report = fill(&cache, &schema, input)?;
        Ok((cache, report))
    }

    /// Builds the cache with the entries of a file, or without any if nothing can be restored:
    /// there is no such file yet, or it has another schema. The result says why.
    ///
    /// # Panics
    /// Panics if a setting makes no sense, or if `Deserialize` panics.
    ///
    /// ```
    /// use coeval::{Cache, RestoreError};
    ///
    /// let builder = Cache::<u64, String>::builder();
    /// let (cache, restored) = builder.restore_or_empty("/no/such/file");
    /// assert!(matches!(restored, Err(RestoreError::Io(_))) && cache.is_empty());
    /// ```
    pub fn restore_or_empty(
        self,
        path: impl AsRef<Path>,
    ) -> (Cache<K, V, S, R>, Result<RestoreReport, RestoreError>)
    where
        K: DeserializeOwned,
        V: DeserializeOwned,
    {
        let schema = self.settings.schema.to_string();
        let cache = self.build();
        let input = File::open(path).map_err(RestoreError::Io);
        let report = input.and_then(|input| fill(&cache, &schema, input));
        (cache, report)
    }
}

/// Fills a new cache. On an error, it stays empty.
fn fill<K, V, S, R>(
    cache: &Cache<K, V, S, R>,
    schema: &str,
    input: impl Read,
) -> Result<RestoreReport, RestoreError>
where
    K: Hash + Eq + Send + Sync + DeserializeOwned + 'static,
    V: Send + Sync + DeserializeOwned + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    let (engine, began) = (cache.engine(), Instant::now());
    let mut reader = Reader::new(input)?;
    let header = reader.header();
    if header.schema != schema {
        let (found, expected) = (header.schema.clone(), schema.to_owned());
        return Err(RestoreError::Schema { found, expected });
    }
    let version = header.version;
    let age = nanos_since_1970().saturating_sub(header.saved_at);
    let mut report = RestoreReport {
        version: Version::from_u64(version),
        age: Duration::from_nanos(age),
        restored: 0,
        expired: 0,
        left_out: 0,
        unreadable: 0,
        broken_blocks: 0,
        lost: None,
    };
    let passed = if engine.has_system_clock() { age } else { 0 };
    let mut room = engine.max_capacity().unwrap_or(u64::MAX);
    let (mut entries, mut seen) = (Vec::new(), 0);
    while let Some(block) = reader.next_block().map_err(RestoreError::Io)? {
        seen += block.len() as u64;
        for bytes in block {
            let Some((key, value, mut terms)) = decode(&bytes) else {
                report.unreadable += 1;
                continue;
            };
            let number = terms.version.get();
            if number == 0 || number > version {
                report.unreadable += 1;
            } else if !age_by(&mut terms, passed) {
                report.expired += 1;
            } else {
                let weight = u64::from(engine.weight_if_restored(terms.weight));
                if weight > room {
                    report.left_out += 1;
                    continue;
                }
                room -= weight;
                entries.push(ToRestore { key, value, terms, place: entries.len() });
            }
        }
    }
    if engine.has_system_clock() {
        // Reading took time, too.
        let passed = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let read = entries.len();
        entries.retain_mut(|entry| age_by(&mut entry.terms, passed));
        report.expired += (read - entries.len()) as u64;
    }
    report.restored = entries.len() as u64;
    report.broken_blocks = reader.damage().blocks;
    report.lost = reader.entries().map(|entries| entries.saturating_sub(seen));
    engine.restore(entries, version);
    Ok(report)
}

/// Takes the time that has passed off the times of an entry. Returns whether it is still valid.
fn age_by(terms: &mut SavedTerms, passed: u64) -> bool {
    for time in [&mut terms.left, &mut terms.end, &mut terms.refresh] {
        *time = time.map(|left| left.saturating_sub(passed));
    }
    terms.left != Some(0)
}
