//! Promise: with the feature `tracing`, a subscriber hears of what an operator must know, with the
//! name of the cache, the hash of the key and the version.

use coeval::{Cache, ManualClock};
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;
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

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut line = Line(format!("new {}", span.metadata().name()));
        span.record(&mut line);
        self.0.lock().unwrap().push(line.0);
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        let mut line = Line("record".to_owned());
        values.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {
        self.0.lock().unwrap().push("enter".to_owned());
    }

    fn exit(&self, _: &Id) {
        self.0.lock().unwrap().push("exit".to_owned());
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }
}

/// The events while `act` runs.
fn heard(act: impl FnOnce()) -> Vec<String> {
    let is_event = |line: &String| line.starts_with(char::is_uppercase);
    heard_with_spans(act).into_iter().filter(is_event).collect()
}

/// The same, with what happens to spans.
fn heard_with_spans(act: impl FnOnce()) -> Vec<String> {
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

#[test]
fn loads_and_transactions_have_spans() {
    let cache: Cache<u64, u64> = Cache::builder().name("users").build();
    let lines = heard_with_spans(|| {
        cache.get_with(1, || 1);
        cache.get_with(1, || unreachable!("it is there: there is no load"));
        cache.load_many([2, 3], || Err::<[u64; 2], ()>(())).unwrap_err();
    });
    assert_eq!(lines.len(), 6, "{lines:?}");
    assert_has(&lines[0], &["new load", "cache.name=\"users\"", "cache.key_hash=", "keys=1"]);
    assert_eq!((&*lines[1], &*lines[2]), ("enter", "exit"));
    assert_has(&lines[3], &["new load", "keys=2"]);

    let mut runs = 0;
    let lines = heard_with_spans(|| {
        let done = cache.atomically(|tx| {
            runs += 1;
            if runs == 1 {
                cache.insert(1, 5); // So that it is tried again.
            }
            let value = tx.get(&1).unwrap();
            tx.insert(1, value + 1);
        });
        done.unwrap();
    });
    assert_eq!(lines.len(), 5, "{lines:?}");
    assert_has(&lines[0], &["new transaction", "cache.name=\"users\""]);
    let version = format!("cache.version={}", cache.version().get());
    let recorded = lines[2..4].join(" ");
    assert_eq!((&*lines[1], &*lines[4]), ("enter", "exit"));
    assert_has(&recorded, &[&version, "attempts=2"]);
}

#[cfg(feature = "async")]
#[test]
fn each_poll_of_a_load_is_within_its_span() {
    let cache: Cache<u64, u64> = Cache::new();
    let lines = heard_with_spans(|| {
        let mut polls = 0;
        let load = std::future::poll_fn(|_| {
            polls += 1;
            if polls < 3 { std::task::Poll::Pending } else { std::task::Poll::Ready(7) }
        });
        let mut load = std::pin::pin!(cache.get_with_async(1, load));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        while load.as_mut().poll(&mut context).is_pending() {}
    });
    assert_has(&lines[0], &["new load"]);
    assert_eq!(lines[1..], ["enter", "exit"].repeat(3), "{lines:?}");
}

#[test]
fn a_view_that_is_open_for_long_is_told() {
    let (clock, second) = (ManualClock::new(), Duration::from_secs(1));
    let builder = Cache::builder().name("users").view_limit(second).manual_clock(&clock);
    let cache: Cache<u64, u64> = builder.build();
    let version = cache.insert(1, 1);
    let lines = heard(|| {
        drop(cache.view());
        let view = cache.view();
        clock.advance(second);
        cache.maintain(1);
        drop(view);
    });
    assert_eq!(lines, [""; 0], "no view is above the limit");
    let lines = heard(|| {
        let view = cache.view();
        clock.advance(second * 2);
        cache.maintain(1);
        drop(view);
        cache.maintain(1);
    });
    assert_eq!(lines.len(), 2, "{lines:?}");
    let version = format!("cache.version={}", version.get());
    for line in lines {
        assert_has(&line, &["WARN", "cache.name=\"users\"", &version, "age_ms=2000"]);
    }
}
