//! A cache is restored while it is in use.

use super::builder::Builder;
use super::cache::Cache;
use super::hasher::RandomState;
use super::held_groups::HeldGroups;
use super::intake::Intake;
use super::restore_report::{RestoreError, RestoreReport};
use crate::engine::{GroupOutcome, SavedGroup};
use crate::reclaim::{Asymmetric, Reclaim};
use crate::saved::Reader;
use serde::de::DeserializeOwned;
use std::fmt;
use std::fs::File;
use std::hash::{BuildHasher, Hash};
use std::io::Read;
use std::path::Path;

/// The number of entries in held groups that one step restores, at least, if there are so many.
const PART: usize = 1_024;
/// The number of entries that are restored under one guard, at least, if there are so many. Their
/// places in memory are prefetched together.
const TOGETHER: usize = 16;

/// A cache that is in use, and the rest of its restore; or why nothing can be restored.
type UnderWay<K, V, S, R> = Result<(Cache<K, V, S, R>, Restoring<K, V, S, R>), RestoreError>;

/// Groups of which the file has no more members.
type CompleteGroups<K, V> = Box<dyn Iterator<Item = SavedGroup<K, V>> + Send>;

/// The rest of a restore that [`Builder::restore_later`] has begun. A thread of the program
/// [runs](Self::run) it as a whole, or in [steps](Self::step) between other work.
///
/// It keeps the cache alive. If it is dropped before its end, the rest of the file is not restored.
#[must_use = "nothing is restored unless this is run"]
pub struct Restoring<K, V, S = RandomState, R = Asymmetric>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    cache: Cache<K, V, S, R>,
    reader: Reader<Box<dyn Read + Send>>,
    intake: Intake,
    held: HeldGroups<K, V>,
    /// What is left after the whole file was read.
    rest: Option<CompleteGroups<K, V>>,
    ready: Ready<K, V>,
    /// Where the group of the last entry stands in the list of groups.
    near: usize,
}

/// # Restoring a cache in use
impl<K, V, S, R> Builder<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + DeserializeOwned + 'static,
    V: Send + Sync + DeserializeOwned + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Builds the cache, which is empty at first and can be used at once. The second result
    /// restores the entries of a file to which another cache was [saved](Cache::save), while the
    /// cache is in use: give [`Restoring::run`] to a thread. The cache starts no threads itself.
    ///
    /// The entries come hottest first, so most of the hits are back long before all entries are.
    /// What [`restore`](Self::restore) says of deadlines, weights, broken blocks and the listener
    /// holds here, too. These are the differences:
    ///
    /// - **What one commit wrote is restored by one commit**, as soon as all of it is read. It gets
    ///   a new version, which is larger than that of the file. So a view that is open does not
    ///   change, and no reader sees some members of a group before the others. Members that the
    ///   file has lost, that have expired, or for which there is no room are left out.
    /// - **What happens to the cache takes precedence over the file.** An entry is not restored if
    ///   its key was written, removed or cleared since this call, if a load of it is under way, or
    ///   if one of its tags was invalidated. Nor are the others that the same commit wrote. (The
    ///   key counts even if its own entry has expired or there is no room for it.) So no old entry
    ///   stands beside a newer one of its group. [`RestoreReport::superseded`] counts the entries
    ///   that are left out so.
    /// - **Some entries are left out without need.** A key that was removed or has left the cache,
    ///   and a tag that was invalidated, are known by 20 bits of their hash; others with the same
    ///   bits are left out, too. So is an entry if a value was [derived](Cache::derive) from its
    ///   absence.
    /// - **A restored entry counts as written when it is restored.** A load or a
    ///   [`prewarm`](Cache::prewarm) that began before is refused then, unless the restore has seen
    ///   the load. A predicate ([`retain`](Cache::retain)) and a [save](Cache::save) see only what
    ///   has been restored.
    /// - **Nothing is evicted for an entry of the file.** If there is no room for its group by
    ///   then, the group is left out. The policy learns the hits of the entries, but not their
    ///   order.
    ///
    /// This call reads the beginning of the file, and returns the errors of that. O(1). The cache
    /// keeps 128 KiB for those bits.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = std::env::temp_dir().join(format!("coeval-later-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder)?;
    /// # let path = folder.join("users.cache");
    /// use coeval::Cache;
    ///
    /// let builder = || Cache::<u64, String>::builder().schema("users 1");
    /// let cache = builder().build();
    /// cache.insert(7, "Ada".to_string());
    /// cache.insert(8, "Grace".to_string());
    /// cache.save(&path)?;
    ///
    /// let (cache, restoring) = builder().restore_later(&path)?;
    /// cache.insert(8, "Hedy".to_string());
    /// let thread = std::thread::spawn(|| restoring.run());
    /// assert_eq!(cache.get_with(7, || "Ada".to_string()), "Ada", "restored or not");
    /// let report = thread.join().unwrap()?;
    /// assert!(report.is_whole() && report.superseded >= 1);
    /// assert_eq!(cache.get(&8).as_deref(), Some("Hedy"));
    /// # std::fs::remove_dir_all(&folder)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`RestoreError`], if nothing can be restored.
    pub fn restore_later(self, path: impl AsRef<Path>) -> UnderWay<K, V, S, R> {
        self.restore_later_from(File::open(path).map_err(RestoreError::Io)?)
    }

    /// Does what [`restore_later`](Self::restore_later) does, with what the reader returns.
    ///
    /// # Errors
    /// [`RestoreError`], if nothing can be restored, or if the reader fails.
    pub fn restore_later_from(self, input: impl Read + Send + 'static) -> UnderWay<K, V, S, R> {
        let engine = self.try_engine().map_err(RestoreError::Build)?;
        let input: Box<dyn Read + Send> = Box::new(input);
        let reader = Reader::new(input)?;
        let intake = Intake::new(&engine, reader.header())?;
        engine.begin_restore(reader.header().version);
        let cache = Cache::from_engine(engine);
        let (held, ready) = (HeldGroups::new(), Ready { groups: Vec::new(), keys: 0 });
        let of = cache.clone();
        let restoring = Restoring { cache: of, reader, intake, held, rest: None, ready, near: 0 };
        Ok((cache, restoring))
    }
}

impl<K, V, S, R> Restoring<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + DeserializeOwned + 'static,
    V: Send + Sync + DeserializeOwned + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Restores all the rest, and says what was restored.
    ///
    /// O(n), in steps. Lock-free: neither this nor any other use of the cache waits for the other,
    /// except for the reader. It needs memory for a list of the groups with several members, and
    /// for the members of groups that are not complete. If the file's list of groups is broken, or
    /// the file has the format of an earlier version of the library, those are all entries.
    ///
    /// # Errors
    /// [`RestoreError::Io`], if the reader fails. What was restored by then stays.
    ///
    /// # Panics
    /// Panics if `Deserialize`, `Hash` or `Eq` does. What was restored by then stays.
    pub fn run(mut self) -> Result<RestoreReport, RestoreError> {
        while self.step()? {}
        Ok(*self.report())
    }

    /// Reads one block of the file, about 64 KiB, and restores the groups that are complete with
    /// it. After the last block, restores the groups of which the file has lost a member, about
    /// 1,024 entries at a time. Returns whether there is more to do. So a program may restore
    /// between other work, and show the [progress](Self::report).
    ///
    /// ```
    /// use coeval::Cache;
    ///
    /// let cache = Cache::new();
    /// (0..10_000_u64).for_each(|key| _ = cache.insert(key, key));
    /// let (file, saved) = cache.save_to(Vec::new()).unwrap();
    ///
    /// let builder = Cache::<u64, u64>::builder();
    /// let (cache, mut restoring) = builder.restore_later_from(std::io::Cursor::new(file)).unwrap();
    /// while restoring.step().unwrap() {
    ///     assert_eq!(cache.len() as u64, restoring.report().restored);
    ///     println!("{} of {}", restoring.report().restored, saved.entries);
    /// }
    /// assert_eq!(cache.len(), 10_000);
    /// ```
    ///
    /// # Errors
    /// As for [`run`](Self::run). A later call goes on, if the reader does.
    ///
    /// # Panics
    /// As for [`run`](Self::run). A later call goes on with the next block. Of the entries of this
    /// one, some are lost.
    pub fn step(&mut self) -> Result<bool, RestoreError> {
        let Self { cache, reader, intake, held, rest, ready, near } = self;
        if let Some(groups) = rest {
            let mut done = 0;
            while done < PART {
                let Some(group) = groups.next() else {
                    ready.restore(cache, intake);
                    cache.engine().end_restore();
                    return Ok(false);
                };
                done += group.members.len();
                ready.add(group, cache, intake);
            }
            ready.restore(cache, intake);
            return Ok(true);
        }
        if let Some(block) = reader.next_block().map_err(RestoreError::Io)? {
            let groups = block.groups();
            for bytes in block {
                let (of, entry) = match intake.take(cache.engine(), bytes) {
                    Ok(entry) => (entry.version, Ok(entry)),
                    Err(Some((version, key))) => (version, Err(key)),
                    Err(None) => continue,
                };
                let size = groups.map(|groups| groups.size(of.get(), near));
                if let Some(group) = held.note(of, size, entry) {
                    ready.add(group, cache, intake);
                }
            }
            ready.restore(cache, intake);
            return Ok(true);
        }
        intake.finish(reader);
        *rest = Some(Box::new(held.take()));
        Ok(true)
    }
}

/// Complete groups that are to be restored next, under one guard.
struct Ready<K, V> {
    groups: Vec<SavedGroup<K, V>>,
    /// The number of their keys.
    keys: usize,
}

impl<K, V> Ready<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// Adds a group, without its members that have expired. Restores all that are there if they are
    /// enough.
    fn add<S: BuildHasher, R: Reclaim>(
        &mut self,
        mut group: SavedGroup<K, V>,
        cache: &Cache<K, V, S, R>,
        intake: &mut Intake,
    ) {
        let SavedGroup { members, absent } = &mut group;
        if members.iter().any(|entry| entry.terms.is_some()) {
            let (now, mut at) = (cache.engine().time(), 0);
            while at < members.len() {
                if members[at].deadline(intake.since()) > now {
                    at += 1;
                    continue;
                }
                absent.push(members.swap_remove(at).key);
                intake.report.expired += 1;
            }
        }
        if members.is_empty() {
            return;
        }
        self.keys += members.len() + absent.len();
        self.groups.push(group);
        if self.keys >= TOGETHER {
            self.restore(cache, intake);
        }
    }

    /// Restores the groups that are there.
    fn restore<S: BuildHasher, R: Reclaim>(
        &mut self,
        cache: &Cache<K, V, S, R>,
        intake: &mut Intake,
    ) {
        let of = (intake.report.version.get(), intake.since());
        self.keys = 0;
        // Taken first: if a user's `Hash` or `Eq` panics, they do not come again.
        let mut groups = std::mem::take(&mut self.groups);
        cache.engine().restore_groups(&mut groups, of, |outcome, members| {
            *match outcome {
                GroupOutcome::Restored => &mut intake.report.restored,
                GroupOutcome::Superseded => &mut intake.report.superseded,
                GroupOutcome::LeftOut => &mut intake.report.left_out,
            } += members;
        });
        self.groups = groups; // empty; for its memory
    }
}

impl<K, V, S, R> Restoring<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns what was restored so far. The broken blocks and the lost entries are known at the
    /// end.
    #[must_use]
    pub fn report(&self) -> &RestoreReport {
        &self.intake.report
    }
}

impl<K, V, S, R> Drop for Restoring<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    fn drop(&mut self) {
        self.cache.engine().end_restore();
    }
}

impl<K, V, S, R> fmt::Debug for Restoring<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.report();
        f.debug_struct("Restoring").field("report", report).finish_non_exhaustive()
    }
}
