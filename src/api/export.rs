//! The figures of a cache, for the `metrics` facade.

use super::cache::Cache;
use super::hasher::RandomState;
use super::weak::WeakCache;
use crate::metrics::{LoadDurations, Stats};
use crate::reclaim::{Asymmetric, Reclaim};
use crate::removal::RemovalCause;
use ::metrics::{Counter, Gauge, Label, Unit};
use std::fmt;
use std::hash::{BuildHasher, Hash};

/// A metric: its name, the label beside `cache` if it has one, its unit, and what it tells.
type Description = (&'static str, Option<(&'static str, &'static str)>, Unit, &'static str);

/// Returns a figure that only grows.
type Count = fn(&Stats) -> u64;

/// The metrics that only grow. The first ones have the names that Micrometer gives to the figures
/// of a cache, so that dashboards for those show them.
const COUNTERS: &[(Description, Count)] = &[
    (("cache_gets_total", Some(("result", "hit")), Unit::Count, "Look-ups of one key"), |s| s.hits),
    (("cache_gets_total", Some(("result", "miss")), Unit::Count, "Look-ups of one key"), |s| {
        s.misses
    }),
    (("cache_puts_total", None, Unit::Count, "Values that were set"), |s| {
        RemovalCause::ALL.iter().fold(s.entries, |sum, cause| sum + s.removals.of(*cause))
    }),
    (("cache_evictions_total", Some(("cause", "size")), Unit::Count, EVICTIONS), |s| {
        s.removals.size
    }),
    (("cache_evictions_total", Some(("cause", "expired")), Unit::Count, EVICTIONS), |s| {
        s.removals.expired
    }),
    (("cache_removals_total", Some(("cause", "explicit")), Unit::Count, REMOVALS), |s| {
        s.removals.explicit
    }),
    (("cache_removals_total", Some(("cause", "replaced")), Unit::Count, REMOVALS), |s| {
        s.removals.replaced
    }),
    (("cache_removals_total", Some(("cause", "related")), Unit::Count, REMOVALS), |s| {
        s.removals.related
    }),
    (("cache_loads_total", Some(("result", "success")), Unit::Count, LOADS), |s| s.loads),
    (("cache_loads_total", Some(("result", "failure")), Unit::Count, LOADS), |s| s.loads_failed),
    (("cache_loads_total", Some(("result", "refused")), Unit::Count, LOADS), |s| s.loads_refused),
    (("cache_commits_total", None, Unit::Count, "Commits"), |s| s.commits),
    (
        ("cache_conflicts_total", None, Unit::Count, "Commits that another commit forestalled"),
        |s| s.conflicts,
    ),
    (("cache_recomputed_total", None, Unit::Count, "Entries that were derived again"), |s| {
        s.recomputed
    }),
    (("cache_repaired_total", None, Unit::Count, "Groups that a monitor repaired"), |s| s.repaired),
    (("cache_listener_panics_total", None, Unit::Count, "Panics of the listener"), |s| {
        s.listener_panics
    }),
];

const EVICTIONS: &str = "Values that the cache removed by itself";
const REMOVALS: &str = "Values that a program removed or replaced";
const LOADS: &str = "Loads, by their end";

/// Returns a figure that shows the present moment.
type Level = fn(&Stats) -> u64;

/// The metrics that show the present moment.
const GAUGES: &[(Description, Level)] = &[
    (("cache_size", None, Unit::Count, "Keys that hold a value"), |s| s.entries),
    (("cache_weight", None, Unit::Count, "The weight of all entries"), |s| s.weight),
    (("cache_versions", None, Unit::Count, "Versions in memory"), |s| s.versions),
    (("cache_views", None, Unit::Count, "Open views"), |s| s.views),
    (("cache_oldest_view_lag", None, Unit::Count, "Versions since the oldest open view"), |s| {
        s.oldest_view_lag
    }),
    (("cache_retired", None, Unit::Count, "Objects that wait to be reclaimed"), |s| s.retired),
    (("cache_memory_bytes", Some(("part", "pools")), Unit::Bytes, MEMORY), |s| s.memory),
    (("cache_memory_bytes", Some(("part", "index")), Unit::Bytes, MEMORY), |s| s.index_memory),
];

const MEMORY: &str = "Bytes that the cache itself takes";

/// The bound may change, and there may be none. It is no figure of `Stats`.
const BOUND: Description =
    ("cache_max_weight", None, Unit::Count, "The bound of the weight; 0 without one");

/// It is no whole number.
const OLDEST_VIEW: Description = (
    "cache_oldest_view_age_seconds",
    None,
    Unit::Seconds,
    "The time for which the oldest view has been open",
);

const LOAD_TIME: &str = "cache_load_duration_seconds";

/// Passes the figures of a cache to the program's recorder of metrics; made by
/// [`Cache::export_metrics`]. It does not keep the cache.
pub struct Exporter<K, V, S = RandomState, R: Reclaim = Asymmetric> {
    cache: WeakCache<K, V, S, R>,
    counters: Vec<Counter>,
    gauges: Vec<Gauge>,
    bound: Gauge,
    oldest_view: Gauge,
}

/// # Metrics
impl<K, V, S, R> Cache<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Describes the metrics of this cache to the recorder of the `metrics` facade, and returns a
    /// handle that exports them. Call it once, after the recorder was installed, and then
    /// [`update`](Exporter::update) as often as the metrics are read: from a task that runs every
    /// few seconds, or before each scrape.
    ///
    /// Operations of the cache do nothing for this, except that loads record how long they took:
    /// the figures are those of [`stats`](Self::stats). If there are several exporters, the time of a
    /// load goes to the recorder of the last one. Each metric has the label `cache` with the
    /// [name](crate::Builder::name) of the cache, which is empty if it has none. The names of what
    /// other caches have, too, are those of Micrometer: `cache_gets_total` with `result`,
    /// `cache_puts_total`, `cache_evictions_total` with `cause`, `cache_size`. `docs/metrics.md`
    /// lists all metrics, and `docs/grafana.json` is a dashboard for them.
    ///
    /// ```
    /// use coeval::Cache;
    ///
    /// let cache: Cache<u64, u64> = Cache::builder().name("users").max_capacity(100).build();
    /// // A recorder is installed here. Without one, nothing is exported.
    /// let exporter = cache.export_metrics();
    /// cache.insert(1, 1);
    /// cache.get(&1);
    /// assert!(exporter.update());
    /// drop(cache);
    /// assert!(!exporter.update(), "the cache is gone");
    /// ```
    #[must_use = "the metrics are exported by calls of `update`"]
    pub fn export_metrics(&self) -> Exporter<K, V, S, R> {
        let labels = |label: Option<(&'static str, &'static str)>| {
            let cache = Label::new("cache", self.name().unwrap_or_default().to_owned());
            let more = label.map(|(key, value)| Label::from_static_parts(key, value));
            [cache].into_iter().chain(more).collect::<Vec<_>>()
        };
        let counter = |((name, label, unit, text), _): &(Description, Count)| {
            ::metrics::describe_counter!(*name, *unit, *text);
            ::metrics::counter!(*name, labels(*label))
        };
        let gauge = |(name, label, unit, text): &Description| {
            ::metrics::describe_gauge!(*name, *unit, *text);
            ::metrics::gauge!(*name, labels(*label))
        };
        ::metrics::describe_histogram!(LOAD_TIME, Unit::Seconds, "How long loads took");
        let load_time = |result| ::metrics::histogram!(LOAD_TIME, labels(Some(("result", result))));
        self.engine().export_load_times(["success", "failure"].map(load_time));
        Exporter {
            cache: self.downgrade(),
            counters: COUNTERS.iter().map(counter).collect(),
            gauges: GAUGES.iter().map(|(description, _)| gauge(description)).collect(),
            bound: gauge(&BOUND),
            oldest_view: gauge(&OLDEST_VIEW),
        }
    }
}

/// # Times of loads
#[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
impl<K, V, S, R> Cache<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns how long loads took since the cache was made: those that returned a value, and those
    /// that failed. Loads that were refused count as the former. Wait-free, O(1).
    ///
    /// ```
    /// let cache = coeval::Cache::new();
    /// cache.get_with("key", || std::thread::sleep(std::time::Duration::from_millis(5)));
    /// let [succeeded, failed] = cache.load_durations();
    /// assert_eq!((succeeded.count(), failed.count()), (1, 0));
    /// assert!(succeeded.quantile(0.99).unwrap().as_millis() >= 5);
    /// ```
    #[must_use]
    pub fn load_durations(&self) -> [LoadDurations; 2] {
        self.engine().load_durations()
    }
}

impl<K, V, S, R> Exporter<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Exports the figures as they are now. Returns false if the cache is gone; the figures stay as
    /// they were then. O(threads), wait-free except for the recorder. With the feature `tracing`,
    /// also tells if a view has been open for longer than
    /// [`Builder::view_limit`](crate::Builder::view_limit).
    pub fn update(&self) -> bool {
        let Some(cache) = self.cache.upgrade() else { return false };
        let stats = cache.stats();
        for (counter, (_, count)) in self.counters.iter().zip(COUNTERS) {
            counter.absolute(count(&stats));
        }
        for (gauge, (_, level)) in self.gauges.iter().zip(GAUGES) {
            gauge.set(level(&stats) as f64);
        }
        self.oldest_view.set(stats.oldest_view_age.as_secs_f64());
        cache.engine().tell_old_view();
        self.bound.set(cache.policy().max_capacity().unwrap_or(0) as f64);
        true
    }
}

impl<K, V, S, R: Reclaim> fmt::Debug for Exporter<K, V, S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter").finish_non_exhaustive()
    }
}
