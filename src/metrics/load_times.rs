//! Where the times of loads go: into buckets of the cache, and to histograms of the program's
//! recorder of metrics, if the cache is exported. Without the feature `metrics`, nowhere.
//!
//! All threads share the buckets: loads are slow and rare, as counts go.

#[cfg(feature = "metrics")]
use crate::sync::{AtomicU64, Ordering};
#[cfg(feature = "metrics")]
use std::time::Duration;

/// The powers of two between which buckets lie, in nanoseconds: a microsecond, and 18 minutes.
/// There are four buckets to a power. What is beyond goes to the first or the last one.
#[cfg(feature = "metrics")]
const POWERS: std::ops::Range<u32> = 10..40;
#[cfg(feature = "metrics")]
const BUCKETS: usize = (POWERS.end - POWERS.start) as usize * 4;

/// Returns the bucket of a time.
#[cfg(feature = "metrics")]
fn bucket_of(nanos: u64) -> usize {
    let nanos = nanos.clamp(1 << POWERS.start, (1 << POWERS.end) - 1);
    let power = nanos.ilog2();
    let quarter = (nanos >> (power - 2)) & 3;
    (power - POWERS.start) as usize * 4 + quarter as usize
}

/// Returns the upper end of a bucket.
#[cfg(feature = "metrics")]
fn end_of(bucket: usize) -> Duration {
    let (power, quarter) = (POWERS.start + bucket as u32 / 4, bucket as u64 % 4);
    Duration::from_nanos((5 + quarter) << (power - 2))
}

/// How long loads took; the results of [`Cache::load_durations`](crate::Cache::load_durations).
///
/// Times are kept in buckets, each at most a quarter longer than the one before it, from a
/// microsecond to 18 minutes.
#[cfg(feature = "metrics")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LoadDurations {
    counts: Box<[u64]>,
}

#[cfg(feature = "metrics")]
impl LoadDurations {
    /// Returns the number of loads.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns the time within which this share of the loads has ended, from 0 to 1, rounded up to
    /// the end of its bucket. `None` if there was no load.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let all = self.count();
        let wanted = ((all as f64 * share).ceil() as u64).clamp(1, all.max(1));
        let mut seen = 0;
        let reaches = |count: &u64| {
            seen += count;
            seen >= wanted
        };
        self.counts.iter().position(reaches).map(end_of)
    }

    /// Returns what was counted since `earlier`, an earlier result for the same cache.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let both = self.counts.iter().zip(&earlier.counts);
        Self { counts: both.map(|(now, before)| now.saturating_sub(*before)).collect() }
    }

    /// Returns the upper ends and the counts of the buckets that are not empty, the shortest time
    /// first.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> {
        let all = self.counts.iter().enumerate();
        all.filter(|(_, count)| **count > 0).map(|(bucket, count)| (end_of(bucket), *count))
    }
}

/// The buckets and the histograms of a cache: those of loads that returned a value, and those of
/// loads that failed.
#[cfg(feature = "metrics")]
pub struct LoadTimes {
    counts: [[AtomicU64; BUCKETS]; 2],
    exported: arc_swap::ArcSwapOption<[::metrics::Histogram; 2]>,
}

#[cfg(feature = "metrics")]
impl Default for LoadTimes {
    fn default() -> Self {
        let empty = || std::array::from_fn(|_| AtomicU64::new(0));
        Self { counts: [empty(), empty()], exported: arc_swap::ArcSwapOption::empty() }
    }
}

#[cfg(feature = "metrics")]
impl LoadTimes {
    /// Sets the histograms of loads that returned a value, and of loads that failed.
    pub fn export(&self, histograms: [::metrics::Histogram; 2]) {
        self.exported.store(Some(std::sync::Arc::new(histograms)));
    }

    /// Notes that a load has taken so many nanoseconds.
    pub fn note(&self, nanos: u64, has_failed: bool) {
        let kind = usize::from(has_failed);
        self.counts[kind][bucket_of(nanos)].fetch_add(1, Ordering::Relaxed); // a count
        if let Some(histograms) = &*self.exported.load() {
            histograms[kind].record(nanos as f64 / 1e9);
        }
    }

    /// Returns the counts.
    pub fn durations(&self) -> [LoadDurations; 2] {
        self.counts.each_ref().map(|counts| {
            let counts = counts.iter().map(|count| count.load(Ordering::Relaxed));
            LoadDurations { counts: counts.collect() }
        })
    }
}

/// There are no histograms.
#[cfg(not(feature = "metrics"))]
#[derive(Default)]
pub struct LoadTimes(());

#[cfg(not(feature = "metrics"))]
impl LoadTimes {
    #[inline(always)]
    pub fn note(&self, _: u64, _: bool) {}
}

#[cfg(all(test, feature = "metrics", not(coeval_loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_time_is_in_a_bucket_that_is_at_most_a_quarter_too_long() {
        for nanos in (10..40).flat_map(|power| [1_u64 << power, (1 << power) + 7, (3 << power) / 2])
        {
            let end = end_of(bucket_of(nanos)).as_nanos() as u64;
            assert!(nanos < end && end <= nanos + nanos / 4 + 1, "{nanos}: {end}");
        }
        assert_eq!((bucket_of(0), bucket_of(u64::MAX)), (0, BUCKETS - 1));
    }

    #[test]
    fn quantiles_are_those_of_the_times() {
        let times = LoadTimes::default();
        let [none, _] = times.durations();
        assert_eq!((none.count(), none.quantile(0.5)), (0, None));
        (1..=100).for_each(|ms| times.note(ms * 1_000_000, false));
        times.note(1, true);
        let [succeeded, failed] = times.durations();
        assert_eq!((succeeded.count(), failed.count()), (100, 1));
        for (share, ms) in [(0.0, 1.0), (0.5, 50.0), (0.99, 99.0), (1.0, 100.0)] {
            let found = succeeded.quantile(share).unwrap().as_secs_f64() * 1e3;
            assert!((ms..=ms * 1.26).contains(&found), "{share}: {found}");
        }
        assert_eq!(succeeded.since(&none), succeeded);
        assert_eq!(succeeded.since(&succeeded).count(), 0);
        assert_eq!(succeeded.buckets().map(|(_, count)| count).sum::<u64>(), 100);
    }
}
