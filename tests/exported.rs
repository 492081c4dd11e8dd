//! Promise: a cache exports its figures under the names that docs/metrics.md lists, with units, to
//! whatever recorder the program has; and the dashboard shows these metrics and no others.

use coeval::{Cache, ManualClock};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit, with_local_recorder,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

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

/// The last value that was recorded.
impl HistogramFn for Figure {
    fn record(&self, value: f64) {
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

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        self.described.lock().unwrap().insert(key.as_str().to_owned(), unit);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Figure::new(self, key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(Figure::new(self, key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Figure::new(self, key))
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
        assert!(cache.load(51, || Err::<u64, _>(())).is_err());
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
        same("cache_loads_total{cache=users,result=failure}", 1);
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
        let figures = kept.figures.lock().unwrap();
        assert!(figures.values().all(|figure| !figure.is_nan()), "{figures:?}");
        drop(figures);
        drop(cache);
        assert!(!exporter.update());
    });
}

/// By the clock of the cache.
#[test]
fn the_times_of_loads_and_of_the_oldest_view() {
    let (kept, clock) = (Kept::default(), ManualClock::new());
    with_local_recorder(&kept, || {
        let builder = Cache::<u64, u64>::builder().name("users").refresh_after(SECOND);
        let cache = builder.manual_clock(&clock).build();
        let exporter = cache.export_metrics();
        let slow = |seconds, result: Result<u64, ()>| {
            clock.advance(SECOND * seconds);
            result
        };
        let of = |name: &str| kept.figures.lock().unwrap()[name];
        let times = || {
            let of =
                |result| of(&format!("cache_load_duration_seconds{{cache=users,result={result}}}"));
            (of("success"), of("failure"))
        };
        assert!(times().0.is_nan());
        cache.load(1, || slow(2, Ok(1))).unwrap();
        assert_eq!(times().0, 2.0);
        assert!(cache.load(2, || slow(3, Err(()))).is_err());
        assert_eq!(times(), (2.0, 3.0));
        cache.load(1, || slow(4, Err(()))).unwrap();
        assert_eq!(times(), (2.0, 4.0), "a reload");
        cache.load_many([5, 6], || slow(5, Ok(1)).map(|n| [n; 2])).unwrap();
        cache.get_each_with([7, 8], |keys: &[u64]| {
            clock.advance(SECOND * 6);
            vec![1; keys.len()]
        });
        assert_eq!(times(), (6.0, 4.0));
        let panics = || cache.get_with(9, || slow(7, Ok(1)).map(|_| panic!("a loader")).unwrap());
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).is_err());
        assert_eq!(times(), (6.0, 7.0));
        let view = cache.view();
        clock.advance(SECOND * 8);
        let newer = cache.view();
        exporter.update();
        assert_eq!(of("cache_oldest_view_age_seconds{cache=users}"), 8.0);
        assert_eq!(cache.stats().oldest_view_age, SECOND * 8);
        drop(view);
        exporter.update();
        assert_eq!(of("cache_oldest_view_age_seconds{cache=users}"), 0.0);
        drop(newer);
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
    let histograms = ["_bucket", "_sum", "_count"];
    let dashboard = names(&read("docs/grafana.json"));
    let base = |name: String| {
        histograms.iter().fold(name, |name, end| name.trim_end_matches(end).to_owned())
    };
    let dashboard: BTreeSet<String> = dashboard.into_iter().map(base).collect();
    let registered = names(&kept.figures.lock().unwrap().keys().cloned().collect::<String>());
    assert_eq!(registered, exported);
    assert_eq!(dashboard, exported, "the dashboard");
    assert_eq!(names(&read("docs/metrics.md")), exported, "the documentation");
}

#[test]
fn durations_of_loads_are_told_to_the_program_too() {
    let clock = ManualClock::new();
    let cache: Cache<u64, u64> = Cache::builder().manual_clock(&clock).build();
    let exporter = cache.export_metrics();
    assert_eq!(format!("{exporter:?}"), "Exporter { .. }");
    let counts = || cache.load_durations().map(|durations| durations.count());
    let before = counts();
    cache.get_with(1, || 1);
    assert!(cache.try_get_with(2, || Err::<u64, _>(())).is_err());
    assert_eq!(counts(), before.map(|count| count + 1));
}
