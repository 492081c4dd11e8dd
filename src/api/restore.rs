//! A cache is made from a file to which another one was saved.

use super::builder::Builder;
use super::cache::Cache;
use super::intake::Intake;
use super::restore_report::{RestoreError, RestoreReport};
use crate::engine::{Engine, ToRestore};
use crate::reclaim::Reclaim;
use crate::saved::Reader;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::hash::{BuildHasher, Hash};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// A cache that was restored, and the report of that; or why nothing was restored.
type Restored<K, V, S, R> = Result<(Cache<K, V, S, R>, RestoreReport), RestoreError>;

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
    /// - The time during which the file lay, and that of reading it, count against all deadlines,
    ///   by the system's clock (not with a [manual clock](Self::manual_clock)). Expired entries are
    ///   left out.
    /// - If the new cache has a smaller [bound](Self::max_capacity), it gets the hottest entries.
    /// - A value keeps its saved weight if the new cache has a [weigher](Self::weigher).
    /// - A broken block (about 64 KiB of entries) is skipped, and the rest is restored. The report
    ///   says so. Each entry that is restored is one that was saved.
    /// - Nothing is reported to the [listener](Self::eviction_listener), and no
    ///   [relation](Self::related) is followed. `stats` counts a commit for each entry.
    ///
    /// A tag that was invalidated elsewhere in the meantime is not known to the file. If the source
    /// may have changed, write or invalidate what has changed, or give entries a time to live.
    ///
    /// O(n). It needs memory for all entries that it restores twice, except for what keys and
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
        let planned = self.settings.initial_capacity;
        let mut engine = self.try_engine().map_err(RestoreError::Build)?;
        let report = fill(&mut engine, planned, input)?;
        Ok((Cache::from_engine(engine), report))
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
        let planned = self.settings.initial_capacity;
        let mut engine = self.try_engine().unwrap_or_else(|error| panic!("{error}"));
        let input = File::open(path).map_err(RestoreError::Io);
        let report = input.and_then(|input| fill(&mut engine, planned, input));
        (Cache::from_engine(engine), report)
    }
}

/// Fills a new cache, which was made for `planned` entries. On an error, it stays empty.
fn fill<K, V, S, R>(
    engine: &mut Arc<Engine<K, V, S, R>>,
    planned: usize,
    input: impl Read,
) -> Result<RestoreReport, RestoreError>
where
    K: Hash + Eq + Send + Sync + DeserializeOwned + 'static,
    V: Send + Sync + DeserializeOwned + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    let mut reader = Reader::new(input)?.without_groups();
    let mut intake = Intake::new(engine, reader.header())?;
    let mut entries = Vec::new();
    while let Some(block) = reader.next_block().map_err(RestoreError::Io)? {
        entries.extend(block.filter_map(|bytes| intake.take(engine, bytes).ok()));
    }
    let (since, now) = (intake.since(), engine.time());
    let read = entries.len();
    // Reading took time.
    entries.retain(|entry: &ToRestore<K, V>| entry.deadline(since) > now);
    let report = intake.finish(&reader);
    report.expired += (read - entries.len()) as u64;
    report.restored = entries.len() as u64;
    let report = *report;
    if entries.len() > planned {
        let engine = Arc::get_mut(engine).expect("nobody else knows the engine");
        engine.make_room(entries.len());
    }
    engine.restore(entries, report.version.get(), since);
    Ok(report)
}
