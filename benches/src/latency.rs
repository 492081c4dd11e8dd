//! Latencies, and what a closed loop hides.
//!
//! Every thread begins its next operation when the last one returns. A thread that is stalled for
//! 200 ms therefore records *one* slow sample, where a service would have had thousands of waiting
//! requests: coordinated omission. [`Summary`] has both: the percentiles as timed, and `corrected`.
//! There, each sample longer than the median also stands for the operations that would have begun
//! while it lasted (HdrHistogram's correction, with the median as the expected interval). With more
//! threads than cores, the corrected figures mostly measure the scheduler.

use std::time::Duration;

use hdrhistogram::Histogram;

const LONGEST: u64 = 60_000_000_000;

/// The latencies of one or more threads, in nanoseconds, to three digits.
#[derive(Clone, Debug)]
pub struct Latency(Histogram<u64>);

impl Default for Latency {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST, 3).expect("the bounds are valid"))
    }
}

/// The summary of a [`Latency`], in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct Summary {
    pub samples: u64,
    pub p50: u64,
    pub p99: u64,
    pub p999: u64,
    pub p9999: u64,
    pub max: u64,
    pub corrected_p99: u64,
    pub corrected_p999: u64,
    pub corrected_p9999: u64,
}

impl Latency {
    /// Records one operation.
    #[inline]
    pub fn record(&mut self, took: Duration) {
        self.0.saturating_record(took.as_nanos() as u64);
    }

    /// Adds the samples of another thread.
    pub fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all histograms have the same bounds");
    }

    /// The percentiles, as timed and corrected.
    pub fn summary(&self) -> Summary {
        if self.0.is_empty() {
            return Summary::default();
        }
        let timed = |q| self.0.value_at_quantile(q);
        let corrected = self.0.clone_correct(timed(0.5).max(1));
        Summary {
            samples: self.0.len(),
            p50: timed(0.5),
            p99: timed(0.99),
            p999: timed(0.999),
            p9999: timed(0.9999),
            max: self.0.max(),
            corrected_p99: corrected.value_at_quantile(0.99),
            corrected_p999: corrected.value_at_quantile(0.999),
            corrected_p9999: corrected.value_at_quantile(0.9999),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_counts_once_as_timed_and_fully_when_corrected() {
        let mut latency = Latency::default();
        for _ in 0..9_999 {
            latency.record(Duration::from_micros(1));
        }
        latency.record(Duration::from_millis(100));
        let summary = latency.summary();
        assert!(summary.p999 < 1_100);
        assert!(summary.corrected_p999 > 90_000_000);
        assert!(summary.max >= 100_000_000);
    }

    #[test]
    fn nothing_recorded_is_all_zero() {
        assert_eq!(Latency::default().summary().max, 0);
    }
}
