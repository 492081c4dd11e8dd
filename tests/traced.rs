//! Promise: with the feature `tracing`, a subscriber hears of what an operator must know, with the
//! name of the cache, the hash of the key and the version.

use coeval::Cache;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// The events that were heard, one line each.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0 += &format!(" {}={value:?}", field.name());
    }
}

impl Subscriber for Heard {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "coeval"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }
}

/// The events while `act` runs.
fn heard(act: impl FnOnce()) -> Vec<String> {
    let heard = Heard::default();
    tracing::subscriber::with_default(heard.clone(), act);
    std::mem::take(&mut heard.0.lock().unwrap())
}

#[track_caller]
fn assert_has(line: &str, parts: &[&str]) {
    for part in parts {
        assert!(line.contains(part), "{line:?} has no {part:?}");
    }
}

#[test]
fn a_refused_fill_is_told() {
    let cache: Cache<u64, u64> = Cache::builder().name("users").build();
    let lines = heard(|| {
        let lease = cache.lease(&7);
        cache.insert(7, 1);
        assert!(lease.fill(2).is_err());
        cache.get_with(8, || 3);
    });
    assert_eq!(lines.len(), 1, "{lines:?}");
    let parts = ["INFO", "cache.name=\"users\"", "cache.key_hash=", "cache.version=", "refused"];
    assert_has(&lines[0], &parts);
}

#[test]
fn a_listener_that_panics_is_told() {
    let listener = |_: Arc<u64>, _: u64, _, _| panic!("expected in this test");
    let cache = Cache::builder().name("users").eviction_listener(listener).build();
    let lines = heard(|| {
        cache.insert(7, 1);
        cache.insert(7, 2);
    });
    assert_eq!((lines.len(), cache.stats().listener_panics), (1, 1), "{lines:?}");
    assert_has(&lines[0], &["ERROR", "cache.name=\"users\"", "panics=1", "listener panicked"]);
}

#[test]
fn a_finding_is_told() {
    let builder = Cache::builder().name("users").related(|key: &u64, related| {
        if *key == 1 {
            related.invalidate(2);
        }
    });
    let cache: Cache<u64, u64> = builder.build();
    cache.insert(2, 2);
    let filled = cache.lease(&1).fill(1).unwrap();
    let lines = heard(|| assert_eq!(cache.monitor().step(10).mismatches, 1));
    assert_eq!(lines.len(), 1, "{lines:?}");
    let version = format!("cache.version={}", filled.get());
    let parts = ["WARN", "cache.name=\"users\"", &version, "related.version=1", "older"];
    assert_has(&lines[0], &parts);
}
