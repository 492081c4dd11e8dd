//! The result of `Cache::stats`.

use crate::removal::RemovalCause;
use crate::version::Version;
use std::fmt;
use std::time::Duration;

/// What a cache has done, and what it holds.
///
/// Each thread keeps its own counts, and `stats` adds them up: O(threads), and no thread is
/// delayed. While other threads work, a figure may lack what those threads are just counting, and
/// two figures may show slightly different moments. When the threads are at rest all figures are
/// exact, unless stated otherwise.
///
/// ```
/// let mut stats = coeval::Stats::default();
/// assert_eq!(stats.hit_ratio(), None);
/// (stats.hits, stats.misses) = (3, 1);
/// assert_eq!(stats.hit_ratio(), Some(0.75));
///
/// // What was counted between two calls.
/// let mut later = stats.clone();
/// later.hits += 5;
/// assert_eq!(later.since(&stats).hits, 5);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Stats {
    /// Look-ups of one key that found a value. This field and all down to `removals` count from the
    /// creation of the cache.
    pub hits: u64,
    /// Look-ups of one key that found no value.
    pub misses: u64,
    /// Values loaded: the load returned, and its value was committed.
    pub loads: u64,
    /// Loads that returned an error or panicked.
    pub loads_failed: u64,
    /// Loads whose value was not committed, because the keys they were for were written or
    /// invalidated.
    pub loads_refused: u64,
    /// Commits; a commit of several writes counts once. A commit that changed nothing is a
    /// conflict.
    pub commits: u64,
    /// Commits that changed nothing because another commit came first. Each try counts.
    pub conflicts: u64,
    /// Entries that were derived again after a commit had removed them for that purpose.
    pub recomputed: u64,
    /// Groups of entries that were found not to belong together and were repaired.
    pub repaired: u64,
    /// Panics of the eviction listener. They end there.
    pub listener_panics: u64,
    /// Values that left the cache, by cause.
    pub removals: Removals,

    /// Keys that are present. This field and all that follow show the present moment.
    pub entries: u64,
    /// The weight of all present entries, in the unit of the weigher. Without one, each entry
    /// weighs 1.
    pub weight: u64,
    /// Versions in memory: the newest ones, those kept for views, and those not yet reclaimed.
    pub versions: u64,
    /// Open views. Clones of a view count once.
    pub views: u64,
    /// The version of the oldest open view.
    pub oldest_view: Option<Version>,
    /// The number of version numbers handed out since that of the oldest view; 0 without a view. It
    /// is at least the number of commits since then, because some numbers stay unused.
    pub oldest_view_lag: u64,
    /// The time for which the oldest view has been open; 0 without a view.
    pub oldest_view_age: Duration,
    /// Objects of any kind that are retired but not yet reclaimed.
    pub retired: u64,
    /// Bytes that the pools of entries and versions hold, in use or free. Excludes the index and
    /// the memory to which values refer.
    pub memory: u64,
    /// Bytes of the tables of the index: one table, or two while entries move to a larger or a
    /// smaller one. With `memory`, that is all but what the values themselves refer to, and what is
    /// retired.
    pub index_memory: u64,
}

impl Stats {
    /// Returns the share of look-ups that found a value; `None` before the first look-up.
    #[must_use]
    pub fn hit_ratio(&self) -> Option<f64> {
        let all = self.hits.saturating_add(self.misses);
        (all > 0).then(|| self.hits as f64 / all as f64)
    }

    /// Returns what was counted since `earlier`, an earlier result for the same cache. Figures that
    /// show a moment are those of `self`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let less = u64::saturating_sub;
        Self {
            hits: less(self.hits, earlier.hits),
            misses: less(self.misses, earlier.misses),
            loads: less(self.loads, earlier.loads),
            loads_failed: less(self.loads_failed, earlier.loads_failed),
            loads_refused: less(self.loads_refused, earlier.loads_refused),
            commits: less(self.commits, earlier.commits),
            conflicts: less(self.conflicts, earlier.conflicts),
            recomputed: less(self.recomputed, earlier.recomputed),
            repaired: less(self.repaired, earlier.repaired),
            listener_panics: less(self.listener_panics, earlier.listener_panics),
            removals: self.removals.since(&earlier.removals),
            ..self.clone()
        }
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "look-ups  {} hits, {} misses", self.hits, self.misses)?;
        if let Some(ratio) = self.hit_ratio() {
            write!(f, ", {:.2} % hits", ratio * 100.0)?;
        }
        let (loads, failed, refused) = (self.loads, self.loads_failed, self.loads_refused);
        writeln!(f, "\nloads     {loads} committed, {failed} failed, {refused} refused")?;
        let (recomputed, repaired) = (self.recomputed, self.repaired);
        write!(f, "commits   {}, {} conflicts, ", self.commits, self.conflicts)?;
        writeln!(f, "{recomputed} recomputed, {repaired} repaired")?;
        writeln!(f, "removals  {}, {} listener panics", self.removals, self.listener_panics)?;
        let (entries, weight, versions) = (self.entries, self.weight, self.versions);
        writeln!(f, "contents  {entries} entries, weight {weight}, {versions} versions")?;
        write!(f, "views     {} open", self.views)?;
        if let Some(oldest) = self.oldest_view {
            write!(f, ", oldest {oldest}, {} versions behind", self.oldest_view_lag)?;
            write!(f, ", open for {:?}", self.oldest_view_age)?;
        }
        let (memory, index, retired) = (self.memory, self.index_memory, self.retired);
        write!(f, "\nmemory    {memory} bytes in pools, {index} in the index, {retired} retired")
    }
}

/// The number of values that left the cache, by [`RemovalCause`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Removals {
    /// See [`RemovalCause::Explicit`].
    pub explicit: u64,
    /// See [`RemovalCause::Replaced`].
    pub replaced: u64,
    /// See [`RemovalCause::Expired`].
    pub expired: u64,
    /// See [`RemovalCause::Size`].
    pub size: u64,
    /// See [`RemovalCause::Related`].
    pub related: u64,
}

impl Removals {
    /// Returns the number of removals with one cause.
    #[must_use]
    pub const fn of(&self, cause: RemovalCause) -> u64 {
        match cause {
            RemovalCause::Explicit => self.explicit,
            RemovalCause::Replaced => self.replaced,
            RemovalCause::Expired => self.expired,
            RemovalCause::Size => self.size,
            RemovalCause::Related => self.related,
        }
    }

    /// Returns the number of removals that the cache made by itself: [`expired`](Self::expired) and
    /// [`size`](Self::size), for which [`RemovalCause::was_evicted`] holds.
    #[must_use]
    pub const fn evictions(&self) -> u64 {
        self.expired.saturating_add(self.size)
    }

    fn since(&self, earlier: &Self) -> Self {
        Self {
            explicit: self.explicit.saturating_sub(earlier.explicit),
            replaced: self.replaced.saturating_sub(earlier.replaced),
            expired: self.expired.saturating_sub(earlier.expired),
            size: self.size.saturating_sub(earlier.size),
            related: self.related.saturating_sub(earlier.related),
        }
    }
}

impl fmt::Display for Removals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, cause) in RemovalCause::ALL.into_iter().enumerate() {
            let separator = if n == 0 { "" } else { ", " };
            write!(f, "{separator}{} {cause}", self.of(cause))?;
        }
        Ok(())
    }
}

#[cfg(all(test, not(coeval_loom)))]
mod tests {
    use super::*;

    #[test]
    fn only_counts_are_subtracted() {
        let removals = Removals { replaced: 4, expired: 2, size: 3, ..Removals::default() };
        let earlier = Stats { hits: 10, commits: 7, entries: 100, removals, ..Stats::default() };
        let mut later = earlier.clone();
        (later.hits, later.misses, later.entries) = (15, 5, 90);
        later.removals.size += 1;
        let since = later.since(&earlier);
        assert_eq!((since.hits, since.misses, since.commits, since.entries), (5, 5, 0, 90));
        assert_eq!(since.removals, Removals { size: 1, ..Removals::default() });
        assert_eq!(since.hit_ratio(), Some(0.5));
        assert_eq!(removals.evictions(), 5);
        // Two concurrent calls may see a count fall behind. A negative difference shows as zero.
        assert_eq!(earlier.since(&later).hits, 0);
    }

    #[test]
    fn it_prints_as_aligned_lines() {
        let stats = Stats {
            hits: 3,
            misses: 1,
            views: 1,
            oldest_view: Some(Version::from_u64(1040)),
            oldest_view_lag: 2,
            oldest_view_age: Duration::from_secs(3),
            ..Stats::default()
        };
        let printed = stats.to_string();
        let expected = [
            "look-ups  3 hits, 1 misses, 75.00 % hits",
            "loads     0 committed, 0 failed, 0 refused",
            "commits   0, 0 conflicts, 0 recomputed, 0 repaired",
            "removals  0 explicit, 0 replaced, 0 expired, 0 size, 0 related, 0 listener panics",
            "contents  0 entries, weight 0, 0 versions",
            "views     1 open, oldest v1040, 2 versions behind, open for 3s",
            "memory    0 bytes in pools, 0 in the index, 0 retired",
        ];
        assert_eq!(printed.lines().collect::<Vec<_>>(), expected);
        assert!(Stats::default().to_string().starts_with("look-ups  0 hits, 0 misses\nloads"));
    }
}
