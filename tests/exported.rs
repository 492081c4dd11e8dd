//! Promise: a cache exports its figures under the names that docs/metrics.md lists, with units, to
//! whatever recorder the program has; and the dashboard shows these metrics and no others.

use coeval::Cache;
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString,
    Unit, with_local_recorder,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

/// The figures by their names and labels.
type Figures = Arc<Mutex<BTreeMap<String, f64>>>;

/// Keeps all that is exported.
#[derive(Default)]
struct Kept {
    figures: Figures,
    described: Mutex<BTreeMap<String, Option<Unit>>>,
}

/// One metric.
struct Figure(Figures, String);

impl Figure {
    fn new(kept: &Kept, key: &Key) -> Arc<Self> {
        let labels: Vec<String> =
            key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let name = format!("{}{{{}}}", key.name(), labels.join(","));
        kept.figures.lock().unwrap().insert(name.clone(), f64::NAN);
        Arc::new(Self(Arc::clone(&kept.figures), name))
    }

    fn put(&self, value: f64) {
        self.0.lock().unwrap().insert(self.1.clone(), value);
    }
}

impl CounterFn for Figure {
    fn increment(&self, _: u64) {
        unreachable!("all figures are absolute")
    }

    fn absolute(&self, value: u64) {
        self.put(value as f64);
    }
}

impl GaugeFn for Figure {
    fn increment(&self, _: f64) {
        unreachable!("all figures are absolute")
    }

    fn decrement(&self, _: f64) {
        unreachable!("all figures are absolute")
    }

    fn set(&self, value: f64) {
        self.put(value);
    }
}

impl Recorder for Kept {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        self.described.lock().unwrap().insert(key.as_str().to_owned(), unit);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        self.described.lock().unwrap().insert(key.as_str().to_owned(), unit);
    }

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Figure::new(self, key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(Figure::new(self, key))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[test]
fn the_figures_are_those_of_stats() {
    let kept = Kept::default();
    with_local_recorder(&kept, || {
        let cache: Cache<u64, u64> = Cache::builder().name("users").max_capacity(10).build();
        let exporter = cache.export_metrics();
        (0..30).for_each(|key| _ = cache.insert(key, key));
        cache.insert(29, 7);
        cache.remove(&29);
        (0..5).for_each(|_| _ = cache.get(&28));
        cache.get(&99);
        cache.get_with(50, || 1);
        let view = cache.view();
        assert!(exporter.update());
        let stats = cache.stats();
        let of = |name: &str| kept.figures.lock().unwrap()[name];
        let same = |name: &str, figure: u64| assert_eq!(of(name), figure as f64, "{name}");
        same("cache_gets_total{cache=users,result=hit}", stats.hits);
        same("cache_gets_total{cache=users,result=miss}", stats.misses);
        same("cache_puts_total{cache=users}", 32);
        same("cache_evictions_total{cache=users,cause=size}", 20);
        same("cache_removals_total{cache=users,cause=replaced}", 1);
        same("cache_removals_total{cache=users,cause=explicit}", 1);
        same("cache_loads_total{cache=users,result=success}", 1);
        same("cache_commits_total{cache=users}", stats.commits);
        same("cache_size{cache=users}", 10);
        same("cache_weight{cache=users}", 10);
        same("cache_max_weight{cache=users}", 10);
        same("cache_views{cache=users}", 1);
        same("cache_memory_bytes{cache=users,part=index}", stats.index_memory);
        assert!(of("cache_memory_bytes{cache=users,part=pools}") > 0.0);
        drop(view);
        cache.resize(5);
        exporter.update();
        same("cache_max_weight{cache=users}", 5);
        same("cache_views{cache=users}", 0);
        assert!(kept.figures.lock().unwrap().values().all(|figure| !figure.is_nan()));
        drop(cache);
        assert!(!exporter.update());
    });
}

/// The names of metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("cache_")).map(str::to_owned).collect()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[test]
fn the_dashboard_and_the_documentation_have_these_metrics() {
    let kept = Kept::default();
    with_local_recorder(&kept, || Cache::<u64, u64>::new().export_metrics().update());
    let described = kept.described.lock().unwrap();
    assert!(described.values().all(Option::is_some), "each has a unit");
    let exported: BTreeSet<String> = described.keys().cloned().collect();
    let registered = names(&kept.figures.lock().unwrap().keys().cloned().collect::<String>());
    assert_eq!(registered, exported);
    assert_eq!(names(&read("docs/grafana.json")), exported, "the dashboard");
    assert_eq!(names(&read("docs/metrics.md")), exported, "the documentation");
}
