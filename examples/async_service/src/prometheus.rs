//! A recorder of metrics, and the text in which Prometheus reads them.
//!
//! It is small, so that this example compiles quickly. A service takes the crate
//! `metrics-exporter-prometheus`, with buckets (`PrometheusBuilder::set_buckets`).

use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// The upper ends of the buckets of all histograms, in seconds.
const BUCKETS: [f64; 10] = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];

/// All metrics by their names.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Mutex<BTreeMap<String, Family>>>);

/// The metrics of one name.
#[derive(Default)]
struct Family {
    kind: &'static str,
    help: String,
    /// By their labels.
    series: BTreeMap<String, Series>,
}

#[derive(Clone)]
enum Series {
    Counter(Arc<AtomicU64>),
    /// The bits of a number.
    Gauge(Arc<AtomicU64>),
    Histogram(Arc<Buckets>),
}

#[derive(Default)]
struct Buckets {
    counts: [AtomicU64; BUCKETS.len()],
    all: AtomicU64,
    nanos: AtomicU64,
}

impl HistogramFn for Buckets {
    fn record(&self, seconds: f64) {
        if let Some(bucket) = BUCKETS.iter().position(|end| seconds <= *end) {
            self.counts[bucket].fetch_add(1, Relaxed);
        }
        self.all.fetch_add(1, Relaxed);
        self.nanos.fetch_add((seconds * 1e9) as u64, Relaxed);
    }
}

impl Metrics {
    /// Makes this the recorder of the program.
    pub fn install() -> Self {
        let metrics = Self::default();
        metrics::set_global_recorder(metrics.clone()).expect("it is the only recorder");
        metrics
    }

    fn family<T>(&self, name: &str, change: impl FnOnce(&mut Family) -> T) -> T {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(all.entry(name.to_owned()).or_default())
    }

    fn describe(&self, name: &KeyName, kind: &'static str, help: &str) {
        self.family(name.as_str(), |family| (family.kind, family.help) = (kind, help.to_owned()));
    }

    /// Returns the metric with these labels, which is made if there is none.
    fn series(&self, key: &Key, make: impl FnOnce() -> Series) -> Series {
        let labels: Vec<String> =
            key.labels().map(|label| format!("{}={:?}", label.key(), label.value())).collect();
        let labels = labels.join(",");
        self.family(key.name(), |family| family.series.entry(labels).or_insert_with(make).clone())
    }
}

impl Recorder for Metrics {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe(&name, "counter", &help);
    }

    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe(&name, "gauge", &help);
    }

    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe(&name, "histogram", &help);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        match self.series(key, || Series::Counter(Arc::default())) {
            Series::Counter(counter) => Counter::from_arc(counter),
            _ => Counter::noop(),
        }
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        match self.series(key, || Series::Gauge(Arc::default())) {
            Series::Gauge(gauge) => Gauge::from_arc(gauge),
            _ => Gauge::noop(),
        }
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        match self.series(key, || Series::Histogram(Arc::default())) {
            Series::Histogram(histogram) => Histogram::from_arc(histogram),
            _ => Histogram::noop(),
        }
    }
}

/// The text that Prometheus reads.
impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, Family { kind, help, series }) in &*all {
            writeln!(f, "# HELP {name} {help}\n# TYPE {name} {kind}")?;
            for (labels, series) in series {
                match series {
                    Series::Counter(count) => {
                        writeln!(f, "{name}{{{labels}}} {}", count.load(Relaxed))?
                    }
                    Series::Gauge(bits) => {
                        writeln!(f, "{name}{{{labels}}} {}", f64::from_bits(bits.load(Relaxed)))?
                    }
                    Series::Histogram(buckets) => buckets.write(f, name, labels)?,
                }
            }
        }
        Ok(())
    }
}

impl Buckets {
    fn write(&self, f: &mut impl Write, name: &str, labels: &str) -> fmt::Result {
        let mut sum = 0;
        for (end, count) in BUCKETS.iter().zip(&self.counts) {
            sum += count.load(Relaxed);
            writeln!(f, "{name}_bucket{{{labels},le=\"{end}\"}} {sum}")?;
        }
        let (all, nanos) = (self.all.load(Relaxed), self.nanos.load(Relaxed));
        writeln!(f, "{name}_bucket{{{labels},le=\"+Inf\"}} {all}")?;
        writeln!(f, "{name}_sum{{{labels}}} {}", nanos as f64 / 1e9)?;
        writeln!(f, "{name}_count{{{labels}}} {all}")
    }
}
