//! The monitor: do the entries of each group in the cache belong together?

use super::cache::Cache;
use super::hasher::RandomState;
use super::view::View;
use crate::engine::{Engine, Relations};
use crate::reclaim::{Asymmetric, Reclaim};
use crate::version::Version;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::ops::AddAssign;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// The callback that decides about a finding.
type OnMismatch<K> = dyn FnMut(&Finding<'_, K>) -> Repair + Send;

/// Looks for groups of entries that do not belong together; made by [`Cache::monitor`].
///
/// For each key that is present, the monitor asks the [declared relations](crate::Builder::related)
/// which other keys a write of it changes, and reads all of them in one view. A write changes them
/// in its own commit. Each related entry is then as new as the key, or newer, or absent. An older
/// related entry was not written with the key, for one of these reasons:
/// - The key was filled by a [lease](Cache::lease) or a load, which do not follow relations.
/// - Both entries were there before the relation was [declared](Cache::reconfigure).
/// - The relation does not always name the same keys.
///
/// Such an entry is a [`Finding`].
///
/// A group that only commits write yields no finding, however many commits are under way. Two cases
/// yield a finding although nothing may be wrong. In the first, a key was loaded again with the
/// same value as before, so its related entries are older. In the second, an entry is related to a
/// key only through another one that the same batch [removed](crate::Batch::remove) alone.
///
/// A monitor does nothing by itself. The user calls [`step`](Self::step), on any thread, as often
/// as needed. A step is bounded, delays no thread, and holds its view no longer than it runs. A
/// monitor keeps the cache alive.
///
/// ```
/// use coeval::{Cache, Repair};
///
/// let cache = Cache::builder()
///     .related(|key: &String, related| {
///         if let Some(id) = key.strip_prefix("user:") {
///             related.invalidate(format!("feed:{id}"));
///         }
///     })
///     .build();
/// cache.insert("feed:42".to_string(), "as it was");
/// // A load, after a change that the cache does not know of.
/// cache.lease("user:42").fill("newer").expect("nobody wrote it");
///
/// let mut monitor = cache.monitor().on_mismatch(|finding| {
///     println!("{finding}");
///     # let cause = "no commit wrote both";
///     # let text = format!("user:42 was written at v2, its related feed:42 is of v1: {cause}");
///     # assert_eq!(finding.to_string(), text);
///     Repair::Invalidate
/// });
/// let report = monitor.step(1_000);
/// assert_eq!((report.keys, report.mismatches, report.repaired), (2, 1, 1));
/// assert_eq!(cache.get("feed:42"), None);
/// assert_eq!(monitor.step(1_000).mismatches, 0);
/// ```
#[must_use = "a monitor does nothing until it is asked for a step"]
pub struct Monitor<K, V, S = RandomState, R: Reclaim = Asymmetric> {
    engine: Arc<Engine<K, V, S, R>>,
    on_mismatch: Option<Box<OnMismatch<K>>>,
    position: RoundPosition,
    total: Report,
    /// The number of refused fills when the last step ended.
    refused: u64,
}

/// The progress of a round over the index.
#[derive(Clone, Copy, Default)]
struct RoundPosition {
    /// The number of parts into which this round is divided; 0 before it begins.
    parts: usize,
    next: usize,
    /// The progress within the next part, and within those that are visited with it: the address of
    /// the last key. Entries may come and go before the next step, but a key that stays keeps its
    /// address.
    last_key: Option<usize>,
    /// The part after these.
    end: usize,
}

/// A related entry that is older than the key to which it belongs.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Finding<'f, K> {
    key: &'f K,
    version: Version,
    related: &'f K,
    related_version: Version,
}

/// The action of a monitor on a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Repair {
    /// Do nothing.
    Leave,
    /// Remove the related entry in a commit, if it is still the one that was found. The next caller
    /// that wants it derives it again. Relations are not followed, because the monitor also checks
    /// what is related to the removed entry.
    Invalidate,
}

/// What a monitor has found and done, in one step or in all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Report {
    /// Keys that were checked.
    pub keys: u64,
    /// Keys related to the checked keys, present or not.
    pub related: u64,
    /// Findings: pairs of a key and a related entry that is older.
    pub mismatches: u64,
    /// Related entries that were removed because of a finding.
    pub repaired: u64,
    /// Related entries that were to be removed, but had changed since they were found.
    pub overtaken: u64,
    /// Entries past their deadline that are still in memory. Later writes remove them.
    pub overdue: u64,
    /// Fills that were refused, for any caller, since the step before.
    pub fills_refused: u64,
    /// Keys for which a relation or the callback panicked. Such a panic ends there.
    pub panics: u64,
    /// Rounds over the whole cache that were completed.
    pub rounds: u64,
}

/// # Monitoring
impl<K, V, S, R> Cache<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns a monitor, which looks on demand for groups of entries that do not belong together.
    pub fn monitor(&self) -> Monitor<K, V, S, R> {
        let refused = self.stats().loads_refused;
        Monitor {
            engine: self.shared_engine(),
            on_mismatch: None,
            position: RoundPosition::default(),
            total: Report::default(),
            refused,
        }
    }
}

impl<K, V, S, R> Monitor<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Sets the callback that is called with each finding and decides what to do. Without a
    /// callback, findings are only counted.
    ///
    /// The callback runs during a step, with a view open and nothing else held. It may use the
    /// cache.
    pub fn on_mismatch(
        mut self,
        decide: impl FnMut(&Finding<'_, K>) -> Repair + Send + 'static,
    ) -> Self {
        self.on_mismatch = Some(Box::new(decide));
        self
    }

    /// Checks up to `keys` keys, and what is related to them, all in one view. Continues where the
    /// last step ended, and stops at the end of a round at the latest. Returns what this step found
    /// and did. O(`keys`), apart from relations. Lock-free, except for the relations' closures and
    /// the callback.
    pub fn step(&mut self, keys: usize) -> Report {
        let mut report = Report::default();
        let engine = Arc::clone(&self.engine);
        {
            let view = View::new(Arc::clone(&engine), engine.open());
            let relations = engine.relations();
            self.begin(engine.parts());
            let mut entries = Vec::new();
            // Counts empty parts as well, because each part has a cost.
            for _ in 0..keys {
                report.overdue += self.collect_part(&view, &mut entries);
                self.check_part(&view, &relations, &mut entries, keys, &mut report);
                if self.position.next == self.position.parts {
                    (report.rounds, self.position) = (1, RoundPosition::default());
                    break;
                }
                if report.keys == keys as u64 {
                    break;
                }
            }
        }
        let refused = engine.stats().loads_refused;
        report.fills_refused = refused.saturating_sub(self.refused);
        self.refused = refused;
        self.total += report;
        report
    }

    /// Returns what all steps have found and done.
    #[must_use]
    pub fn report(&self) -> Report {
        self.total
    }

    /// Begins a round, if none is under way. A round that began when the cache was much smaller
    /// begins again, because its parts have become too large for a step.
    fn begin(&mut self, parts: usize) {
        if self.position.parts == 0 || parts / 4 > self.position.parts {
            self.position = RoundPosition { parts, ..RoundPosition::default() };
        }
    }

    /// Collects what the view shows of the next part of the index, and of the parts that are
    /// visited with it, in the order of the check. Returns the number of overdue entries, if these
    /// were not counted.
    fn collect_part<'v>(
        &mut self,
        view: &'v View<K, V, S, R>,
        entries: &mut Vec<(&'v K, Version)>,
    ) -> u64 {
        let RoundPosition { parts, next, last_key, end } = self.position;
        let (mut to, mut overdue) =
            view.visible_keys(parts, next..last_key.map_or(parts, |_| end), entries);
        if last_key.is_some() {
            overdue = 0;
            while to < end {
                (to, _) = view.visible_keys(parts, to..end, entries);
            }
        }
        self.position.end = to;
        entries.sort_unstable_by_key(|(key, _)| address(*key));
        overdue as u64
    }

    /// Checks the entries in these parts of the index, or as many as the step has room for.
    fn check_part(
        &mut self,
        view: &View<K, V, S, R>,
        relations: &Relations<'_, K, V>,
        entries: &mut Vec<(&K, Version)>,
        keys: usize,
        report: &mut Report,
    ) {
        let last_key = self.position.last_key;
        for (key, version) in entries.drain(..).filter(|(key, _)| Some(address(*key)) > last_key) {
            if report.keys == keys as u64 {
                return;
            }
            self.position.last_key = Some(address(key));
            report.keys += 1;
            if !relations.are_declared() {
                continue;
            }
            let check = || self.check_key(view, relations, key, version, report);
            if catch_unwind(AssertUnwindSafe(check)).is_err() {
                report.panics += 1;
            }
        }
        (self.position.next, self.position.last_key) = (self.position.end, None);
    }

    /// Checks what is related to a key.
    fn check_key(
        &mut self,
        view: &View<K, V, S, R>,
        relations: &Relations<'_, K, V>,
        key: &K,
        version: Version,
        report: &mut Report,
    ) {
        let mut is_repaired = false;
        for related in self.engine.related_keys(relations, key) {
            report.related += 1;
            let found = view.get_versioned(&related).filter(|(_, found)| *found < version);
            let Some((_, related_version)) = found else { continue };
            report.mismatches += 1;
            let hash = |key: &K| self.engine.hash(key);
            let related_entry = (hash(&related), related_version);
            self.engine.tell_finding((hash(key), version), related_entry);
            let Some(decide) = &mut self.on_mismatch else { continue };
            let finding = Finding { key, version, related: &related, related_version };
            if decide(&finding) == Repair::Leave {
                continue;
            }
            if self.engine.remove_if(&related, related_version) {
                (report.repaired, is_repaired) = (report.repaired + 1, true);
            } else {
                report.overtaken += 1;
            }
        }
        if is_repaired {
            self.engine.repaired();
        }
    }
}

fn address<K>(key: &K) -> usize {
    std::ptr::from_ref(key).addr()
}

impl<K> Clone for Finding<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Finding<'_, K> {}

impl<K> Finding<'_, K> {
    /// Returns the key.
    #[must_use]
    pub fn key(&self) -> &K {
        self.key
    }

    /// Returns the version that wrote the key.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Returns the key of the related entry.
    #[must_use]
    pub fn related(&self) -> &K {
        self.related
    }

    /// Returns the version that wrote the related entry: an older one.
    #[must_use]
    pub fn related_version(&self) -> Version {
        self.related_version
    }
}

impl<K: fmt::Display> fmt::Display for Finding<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, version, related, related_version } = self;
        write!(
            f,
            "{key} was written at {version}, its related {related} is of {related_version}: "
        )?;
        f.write_str("no commit wrote both")
    }
}

impl Report {
    /// Returns whether everything that was checked belongs together.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.mismatches == 0
    }
}

impl AddAssign for Report {
    fn add_assign(&mut self, more: Self) {
        self.keys += more.keys;
        self.related += more.related;
        self.mismatches += more.mismatches;
        self.repaired += more.repaired;
        self.overtaken += more.overtaken;
        self.overdue += more.overdue;
        self.fills_refused += more.fills_refused;
        self.panics += more.panics;
        self.rounds += more.rounds;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { keys, related, mismatches, repaired, overtaken, .. } = self;
        write!(f, "looked at {keys} keys and {related} related ones: ")?;
        match mismatches {
            0 => f.write_str("all belong together")?,
            1 => write!(f, "1 does not belong to its key")?,
            _ => write!(f, "{mismatches} do not belong to their keys")?,
        }
        if *mismatches > 0 {
            write!(f, ", {repaired} removed, {overtaken} overtaken by other writes")?;
        }
        write!(f, "; {} entries past their deadline", self.overdue)?;
        write!(f, ", {} fills refused, {} panics", self.fills_refused, self.panics)
    }
}

impl<K, V, S, R: Reclaim> fmt::Debug for Monitor<K, V, S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor").field("report", &self.total).finish_non_exhaustive()
    }
}
