//! Promise: a policy of the user decides how long each value is kept, when it is set and when it is
//! read.

use coeval::{Cache, Expiry, Loaded, ManualClock, Terms};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A call of the policy: its kind, the value, and the seconds left.
type Call = (&'static str, u64, Option<u64>);

/// Values are kept for as many seconds as they say, after a read for that long again. A value of
/// zero is kept for ever. An update keeps the deadline, unless the new value is a multiple of 100.
#[derive(Clone, Default)]
struct BySelf(Arc<Mutex<Vec<Call>>>);

impl BySelf {
    fn note(&self, kind: &'static str, value: u64, left: Option<Duration>) {
        self.0.lock().unwrap().push((kind, value, left.map(|left| left.as_secs())));
    }

    fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn kept(value: u64) -> Option<Duration> {
    (value > 0).then_some(SECOND * value as u32)
}

impl Expiry<u64, u64> for BySelf {
    fn expire_after_create(&self, _: &u64, value: &u64) -> Option<Duration> {
        self.note("create", *value, None);
        assert_ne!(*value, 666, "the policy panics");
        kept(*value)
    }

    fn expire_after_update(
        &self,
        _: &u64,
        value: &u64,
        left: Option<Duration>,
    ) -> Option<Duration> {
        self.note("update", *value, left);
        if value.is_multiple_of(100) { kept(*value) } else { left }
    }

    fn expire_after_read(&self, _: &u64, value: &u64, left: Option<Duration>) -> Option<Duration> {
        self.note("read", *value, left);
        kept(*value)
    }
}

fn cache() -> (Cache<u64, u64>, ManualClock, BySelf) {
    let (clock, policy) = (ManualClock::new(), BySelf::default());
    let cache = Cache::builder().expire_after(policy.clone()).manual_clock(&clock).build();
    (cache, clock, policy)
}

/// A value that says that there is none has a time of its own, whatever was there before.
#[test]
fn what_is_not_there_is_kept_for_less() {
    let clock = ManualClock::new();
    let builder = Cache::builder().time_to_live(10 * SECOND).none_for(2 * SECOND);
    let cache = builder.manual_clock(&clock).build();
    cache.insert(1, Some(1));
    cache.insert(2, None);
    cache.insert(3, Some(3));
    cache.insert(3, None);
    cache.insert(4, None);
    cache.insert(4, Some(4));
    clock.advance(2 * SECOND);
    let shown = || [1, 2, 3, 4].map(|key| cache.get(&key));
    assert_eq!(shown(), [Some(Some(1)), None, None, Some(Some(4))]);
    clock.advance(8 * SECOND);
    assert_eq!(shown(), [None; 4]);
}

/// By default a policy keeps values for ever, and an update or a read leaves the deadline.
#[test]
fn a_policy_that_decides_nothing() {
    struct OfFives;
    impl Expiry<u64, u64> for OfFives {
        fn expire_after_create(&self, key: &u64, _: &u64) -> Option<Duration> {
            (*key == 5).then_some(5 * SECOND)
        }
    }
    struct Nothing;
    impl Expiry<u64, u64> for Nothing {}
    let clock = ManualClock::new();
    let kept = Cache::builder().expire_after(Nothing).manual_clock(&clock).build();
    let cache = Cache::builder().expire_after(OfFives).manual_clock(&clock).build();
    kept.insert(5, 1);
    cache.insert(5, 1);
    clock.advance(3 * SECOND);
    cache.insert(5, 2);
    assert_eq!((cache.get(&5), kept.get(&5)), (Some(2), Some(1)));
    clock.advance(2 * SECOND);
    assert_eq!((cache.get(&5), kept.get(&5)), (None, Some(1)));
}

#[test]
fn each_kind_of_write_asks_the_policy() {
    let (cache, clock, policy) = cache();
    cache.insert(1, 10);
    cache.batch().insert(2, 10).commit();
    cache.compare_and_set(3, None, 10).unwrap();
    cache.get_with(4, || 10);
    cache.get_with_terms(5, || Loaded::new(10).tags(["tag"]));
    cache.insert_tagged(6, 10, &["tag".into()]);
    cache.upsert(7, |_| 10);
    cache.derive(8, |scope| scope.get(&1).unwrap());
    let calls = policy.calls();
    assert_eq!(calls.iter().filter(|call| call.0 == "create").count(), 8, "{calls:?}");
    assert_eq!(cache.present_len(), 8);
    clock.advance(10 * SECOND);
    assert_eq!(cache.present_len(), 0);
    assert!(policy.calls().is_empty(), "views do not count");
    assert_eq!((1..9).filter(|key| cache.contains_key(key)).count(), 0);
}

#[test]
fn updates_and_reads_move_the_deadline() {
    let (cache, clock, policy) = cache();
    cache.insert(1, 10);
    clock.advance(4 * SECOND);
    cache.insert(1, 11);
    assert_eq!(policy.calls(), [("create", 10, None), ("update", 11, Some(6))]);
    clock.advance(5 * SECOND);
    assert!(cache.contains_key(&1));
    cache.insert(1, 100);
    clock.advance(5 * SECOND);
    assert_eq!(policy.calls(), [("update", 100, Some(1))]);
    assert_eq!(cache.get(&1), Some(100));
    assert_eq!(cache.get_many([&1]), [Some(100)]);
    assert_eq!(cache.pin().get(&1), Some(&100));
    let read = |left| ("read", 100, Some(left));
    assert_eq!(policy.calls(), [read(95), read(100), read(100)]);
    clock.advance(99 * SECOND);
    assert!(cache.contains_key(&1));
    clock.advance(SECOND);
    assert_eq!((cache.get(&1), policy.calls()), (None, vec![]));
    // It is absent, so this is no update.
    cache.insert(1, 0);
    assert_eq!(policy.calls(), [("create", 0, None)]);
    clock.advance(1_000_000 * SECOND);
    assert_eq!((cache.get(&1), policy.calls()), (Some(0), vec![("read", 0, None)]));
    cache.insert(1, 7);
    assert_eq!(policy.calls(), [("update", 7, None)]);
}

#[test]
fn the_earliest_deadline_counts() {
    let (clock, policy) = (ManualClock::new(), BySelf::default());
    let build = |idle: u64| {
        let builder = Cache::builder().time_to_live(60 * SECOND).expire_after(policy.clone());
        let builder = if idle > 0 { builder.time_to_idle(SECOND * idle as u32) } else { builder };
        builder.manual_clock(&clock).build()
    };
    let (live, idle) = (build(0), build(20));
    for cache in [&live, &idle] {
        cache.insert(1, 10);
        cache.insert(2, 1000);
        cache.insert(3, 30);
    }
    clock.advance(10 * SECOND);
    assert_eq!([1, 2, 3].map(|key| live.get(&key)), [None, Some(1000), Some(30)]);
    assert_eq!([1, 2, 3].map(|key| idle.get(&key)), [None, Some(1000), Some(30)]);
    clock.advance(19 * SECOND);
    assert_eq!([2, 3].map(|key| live.get(&key)), [Some(1000), Some(30)]);
    assert_eq!([2, 3].map(|key| idle.get(&key)), [Some(1000), Some(30)]);
    clock.advance(SECOND);
    assert_eq!([2, 3].map(|key| idle.get(&key)), [Some(1000), None], "a read does not extend it");
    clock.advance(30 * SECOND);
    assert_eq!([2, 3].map(|key| live.get(&key)), [None, None]);
}

#[test]
fn a_callers_own_time_takes_precedence() {
    let (cache, clock, policy) = cache();
    cache.insert_with_ttl(1, 10, 50 * SECOND);
    cache.batch().insert_with(2, 10, Terms::new().time_to_live(50 * SECOND)).commit();
    cache.batch().insert_with(3, 10, Terms::new().tags(["tag"])).commit();
    assert!(!policy.calls().is_empty());
    clock.advance(49 * SECOND);
    assert_eq!([1, 2, 3].map(|key| cache.get(&key)), [Some(10), Some(10), None]);
    clock.advance(SECOND);
    assert_eq!([1, 2].map(|key| cache.get(&key)), [None, None]);
    assert_eq!(policy.calls(), []);
    cache.collect();
    assert!(cache.is_empty());
}

#[test]
fn a_panic_of_the_policy_writes_nothing() {
    let (cache, _, _) = cache();
    let version = cache.version();
    assert!(catch_unwind(AssertUnwindSafe(|| cache.insert(1, 666))).is_err());
    let batch = || cache.batch().insert(2, 1).insert(3, 666).commit();
    assert!(catch_unwind(AssertUnwindSafe(batch)).is_err());
    assert_eq!((cache.version(), cache.len()), (version, 0));
    cache.insert(1, 1);
    assert_eq!(cache.get(&1), Some(1));
}

/// A value that one reader has found expired does not come back for another one.
#[test]
fn an_expired_value_does_not_come_back() {
    let (cache, clock, _) = cache();
    let expired = AtomicUsize::new(0);
    for key in 0..200 {
        cache.insert(key, 1);
        crate::common::together(3, |thread| {
            if thread == 0 {
                return clock.advance(SECOND);
            }
            let found: Vec<_> = (0..20).map(|_| cache.get(&key).is_some()).collect();
            assert!(found.is_sorted_by(|a, b| a >= b), "{found:?}");
            expired.fetch_add(usize::from(!found[19]), SeqCst);
        });
    }
    assert!(expired.load(SeqCst) > 0);
}
