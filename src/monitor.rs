//! A look at what is in the cache: do the entries of each group belong together?

use crate::cache::Cache;
use crate::engine::{Engine, Relations};
use crate::hasher::RandomState;
use crate::reclaim::{Asymmetric, Reclaim};
use crate::version::Version;
use crate::view::View;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::ops::AddAssign;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// What a user makes of a finding.
type OnMismatch<K> = dyn FnMut(&Finding<'_, K>) -> Repair + Send;

/// Looks for groups of entries that do not belong together; made by [`Cache::monitor`].
///
/// It asks the [declared relations](crate::Builder::related) for each key that is present which others a write of it
/// changes, and looks at all of them in one view. A write changes them in its own commit, so each of them is then as new
/// as the key, or newer, or absent. One that is older was not written with it: the key was filled by a
/// [lease](Cache::lease) or a load, which do not follow relations; or both were there before the relation was
/// [declared](Cache::reconfigure); or it does not always say the same of a key. That is a [`Finding`].
///
/// No finding is made of a group that is written by commits only, however many of them are under way. One is made, though
/// nothing may be wrong, when a key was loaded again as it was before, since its related entries are older than
/// that; and of what is related to a key only through one that the same batch [removed](crate::Batch::remove) alone.
///
/// It does nothing by itself: the user calls [`step`](Self::step), on any thread, as often as it seems worth. A step is
/// bounded, delays nobody, and holds its view no longer than it runs. A monitor keeps the cache alive.
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
/// // Loaded, by somebody who has not told of a change.
/// cache.lease("user:42").fill("newer").expect("nobody wrote it");
///
/// let mut monitor = cache.monitor().on_mismatch(|finding| {
///     println!("{finding}");
///     # assert_eq!(finding.to_string(), "user:42 was written at v2, its related feed:42 is of v1: no commit wrote both");
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
    place: Place,
    total: Report,
    /// How many fills had been refused when the last step ended.
    refused: u64,
}

/// How far a round over the index has come.
#[derive(Clone, Copy, Default)]
struct Place {
    /// How many parts this round is divided into; 0 before it begins.
    parts: usize,
    next: usize,
    /// How far the next part is done, and those that are visited with it: the address of the last key. Entries may come
    /// and go before the next step, but a key that stays has its address.
    within: Option<usize>,
    /// The part behind these.
    end: usize,
}

/// A related entry that is older than the key to which it belongs.
#[derive(Debug)]
pub struct Finding<'f, K> {
    key: &'f K,
    version: Version,
    related: &'f K,
    related_version: Version,
}

/// What a monitor is to do about a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Repair {
    /// Nothing.
    Leave,
    /// Remove the related entry, by a commit, if it is still the one that was found: then whoever wants it next derives it
    /// again. Relations are not followed, as what is related to it was looked at as well.
    Invalidate,
}

/// What a monitor has seen and done, in a step or in all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Keys that were looked at.
    pub keys: u64,
    /// Keys that are related to these, present or not.
    pub related: u64,
    /// Findings: pairs of a key and a related entry that is older.
    pub mismatches: u64,
    /// Related entries that were removed for that.
    pub repaired: u64,
    /// Related entries that were to be removed for that, but were not there any more as they were found.
    pub overtaken: u64,
    /// Entries past their deadline that are still in memory; later writes see to them.
    pub overdue: u64,
    /// Fills that were refused, by anybody, since the step before.
    pub fills_refused: u64,
    /// Keys for which a relation, or the callback, panicked. Such a panic ends there.
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
    /// A monitor, which looks for groups of entries that do not belong together, when it is told to.
    pub fn monitor(&self) -> Monitor<K, V, S, R> {
        let refused = self.stats().loads_refused;
        Monitor {
            engine: self.shared_engine(),
            on_mismatch: None,
            place: Place::default(),
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
    /// Has `decide` be told of each finding, and say what is to be done. Without, findings are only counted.
    ///
    /// It is called during a step, with a view open and nothing else held: it may use the cache.
    pub fn on_mismatch(
        mut self,
        decide: impl FnMut(&Finding<'_, K>) -> Repair + Send + 'static,
    ) -> Self {
        self.on_mismatch = Some(Box::new(decide));
        self
    }

    /// Looks at up to `keys` keys, all in one view, and at what is related to them; goes on where the last step
    /// ended, and ends with the last key of a round, if not before. Lock-free but for the relations' closures and the
    /// callback. O(`keys`), relations aside.
    pub fn step(&mut self, keys: usize) -> Report {
        let mut report = Report::default();
        let engine = Arc::clone(&self.engine);
        {
            let view = View::new(Arc::clone(&engine), engine.open());
            let relations = engine.relations();
            self.begin(engine.parts());
            let mut sights = Vec::new();
            // Each part costs something, were it empty.
            for _ in 0..keys {
                report.overdue += self.see(&view, &mut sights);
                self.part(&view, &relations, &mut sights, keys, &mut report);
                if self.place.next == self.place.parts {
                    (report.rounds, self.place) = (1, Place::default());
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

    /// What all steps have seen and done.
    #[must_use]
    pub fn report(&self) -> Report {
        self.total
    }

    /// Begins a round, if none is under way. One that began when the cache was much smaller begins anew: its parts have
    /// become too large for a step.
    fn begin(&mut self, parts: usize) {
        if self.place.parts == 0 || parts / 4 > self.place.parts {
            self.place = Place { parts, ..Place::default() };
        }
    }

    /// What the view shows of the next part of the index, and of those that are visited with it, in the order in which it is
    /// gone over. Returns how many entries are overdue, if these were not counted.
    fn see<'v>(&mut self, view: &'v View<K, V, S, R>, sights: &mut Vec<(&'v K, Version)>) -> u64 {
        let Place { parts, next, within, end } = self.place;
        let (mut to, mut overdue) = view.sights(parts, next..within.map_or(parts, |_| end), sights);
        if within.is_some() {
            overdue = 0;
            while to < end {
                (to, _) = view.sights(parts, to..end, sights);
            }
        }
        self.place.end = to;
        sights.sort_unstable_by_key(|(key, _)| address(*key));
        overdue as u64
    }

    /// Looks at what stands in these parts of the index, or at as much of it as there is room for in the step.
    fn part(
        &mut self,
        view: &View<K, V, S, R>,
        relations: &Relations<'_, K, V>,
        sights: &mut Vec<(&K, Version)>,
        keys: usize,
        report: &mut Report,
    ) {
        let within = self.place.within;
        for (key, version) in sights.drain(..).filter(|(key, _)| Some(address(*key)) > within) {
            if report.keys == keys as u64 {
                return;
            }
            self.place.within = Some(address(key));
            report.keys += 1;
            if !relations.are_declared() {
                continue;
            }
            let look = || self.look(view, relations, key, version, report);
            if catch_unwind(AssertUnwindSafe(look)).is_err() {
                report.panics += 1;
            }
        }
        (self.place.next, self.place.within) = (self.place.end, None);
    }

    /// Looks at what is related to a key.
    fn look(
        &mut self,
        view: &View<K, V, S, R>,
        relations: &Relations<'_, K, V>,
        key: &K,
        version: Version,
        report: &mut Report,
    ) {
        let mut is_repaired = false;
        for related in self.engine.group(relations, key) {
            report.related += 1;
            let found = view.get_versioned(&related).filter(|(_, found)| *found < version);
            let Some((_, related_version)) = found else { continue };
            report.mismatches += 1;
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

impl<K> Finding<'_, K> {
    /// The key.
    #[must_use]
    pub fn key(&self) -> &K {
        self.key
    }

    /// The version that wrote it.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The key of the related entry.
    #[must_use]
    pub fn related(&self) -> &K {
        self.related
    }

    /// The version that wrote that: an older one.
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
    /// Whether everything that was looked at belongs together.
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
