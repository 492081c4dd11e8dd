//! What it costs look-ups and insertions that a program watches its cache: with the features
//! `metrics` and `tracing`, a recorder and a subscriber that take everything, and an exporter that
//! exports the figures once. Without the features, the counts are printed alone, for a comparison of
//! two builds.

use crate::counter::{costs_of_self, count};
use crate::row::{Cache, builder, filled};
use std::hint::black_box;

const TIMES: u64 = 20_000;
const KEYS: u64 = 1_000;

/// How many times as much an operation may take.
const MOST: f64 = 1.05;

/// An operation, done so often on a cache.
type Operation = fn(&Cache, u64);

const OPERATIONS: [(&str, Operation); 3] = [
    ("get", |cache, times| (0..times).for_each(|n| _ = black_box(cache.get(&(n % KEYS))))),
    ("overwrite", |cache, times| (0..times).for_each(|n| _ = cache.insert(n % KEYS, n))),
    ("insert, full", |cache, times| (0..times).for_each(|n| _ = cache.insert(KEYS + n, n))),
];

/// The cache for an operation.
fn cache(operation: usize) -> Cache {
    match operation {
        2 => {
            let cache = builder().name("full").max_capacity(KEYS).build();
            (0..10 * KEYS).for_each(|key| _ = cache.insert(u64::MAX - key, key));
            cache
        }
        _ => filled(KEYS),
    }
}

/// Runs in the child: counts each operation, first while nobody watches.
pub fn run() {
    for (at, (_, operation)) in OPERATIONS.iter().enumerate() {
        let cache = cache(at);
        operation(&cache, KEYS);
        count(TIMES, || operation(&cache, TIMES));
    }
    #[cfg(all(feature = "metrics", feature = "tracing"))]
    {
        watching::install();
        for (at, (_, operation)) in OPERATIONS.iter().enumerate() {
            let cache = cache(at);
            let exporter = cache.export_metrics();
            operation(&cache, KEYS);
            count(TIMES, || {
                operation(&cache, TIMES);
                exporter.update();
            });
        }
        assert!(watching::was_told(), "the recorder has heard of the operations");
    }
}

/// Prints what each operation costs. Returns those that cost too much if they are watched.
pub fn report() -> Vec<String> {
    let is_watched = cfg!(all(feature = "metrics", feature = "tracing"));
    let all = OPERATIONS.len();
    let costs =
        costs_of_self("watched_operations_cost_no_more", if is_watched { 2 * all } else { all });
    let mut wrong = Vec::new();
    for (at, (name, _)) in OPERATIONS.iter().enumerate() {
        let plain = costs[at];
        let Some(watched) = costs.get(all + at) else {
            println!("{name}: {plain:.1} instructions");
            continue;
        };
        let line = format!("{name}: {plain:.1} instructions, {watched:.1} if it is watched");
        println!("{line}");
        if *watched > MOST * plain {
            wrong.push(line);
        }
    }
    wrong
}

#[cfg(all(feature = "metrics", feature = "tracing"))]
mod watching {
    use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit};
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, Mutex};
    use tracing::span;

    /// Every figure that was registered.
    static FIGURES: Mutex<Vec<Arc<AtomicU64>>> = Mutex::new(Vec::new());

    fn figure() -> Arc<AtomicU64> {
        let figure = Arc::new(AtomicU64::new(0));
        FIGURES.lock().unwrap().push(figure.clone());
        figure
    }

    struct All;

    impl metrics::Recorder for All {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(figure())
        }
        fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::from_arc(figure())
        }
        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    impl tracing::Subscriber for All {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }
        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
        fn event(&self, _: &tracing::Event<'_>) {}
        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
    }

    pub fn install() {
        metrics::set_global_recorder(All).map_err(|_| ()).unwrap();
        tracing::subscriber::set_global_default(All).unwrap();
    }

    /// Whether some figure has counted many operations.
    pub fn was_told() -> bool {
        let figures = FIGURES.lock().unwrap();
        figures.iter().any(|figure| figure.load(Ordering::Relaxed) >= super::TIMES)
    }
}
