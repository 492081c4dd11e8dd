//! Where the times of loads go: to histograms of the program's recorder of metrics, if the cache is
//! exported. Without the feature `metrics`, nowhere.

/// The histograms of a cache.
#[cfg(feature = "metrics")]
#[derive(Default)]
pub struct LoadTimes(arc_swap::ArcSwapOption<[::metrics::Histogram; 2]>);

#[cfg(feature = "metrics")]
impl LoadTimes {
    /// Sets the histograms of loads that returned a value, and of loads that failed.
    pub fn export(&self, histograms: [::metrics::Histogram; 2]) {
        self.0.store(Some(std::sync::Arc::new(histograms)));
    }

    /// Notes that a load has taken so many nanoseconds.
    pub fn note(&self, nanos: u64, has_failed: bool) {
        if let Some(histograms) = &*self.0.load() {
            histograms[usize::from(has_failed)].record(nanos as f64 / 1e9);
        }
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
