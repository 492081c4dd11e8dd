//! Loads by borrowed keys and of lists of keys, by futures.

use super::futures::{give_way, poll, run};
use coeval::{Cache, LoadError, ManualClock, ToKey};
use std::cell::Cell;
use std::future::pending;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// A future that is ready at its first poll.
fn now<T>(future: impl Future<Output = T>) -> T {
    match poll(pin!(future)) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits"),
    }
}

/// A borrowed key that counts how often it was made an owned one.
#[derive(Hash)]
struct Counts<'c>(u64, #[allow(dead_code)] Ignored<'c>);

struct Ignored<'c>(&'c Cell<u32>);

impl std::hash::Hash for Ignored<'_> {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}

impl coeval::Equivalent<u64> for Counts<'_> {
    fn equivalent(&self, key: &u64) -> bool {
        self.0 == *key
    }
}

impl ToKey<u64> for Counts<'_> {
    fn to_key(&self) -> u64 {
        self.1.0.set(self.1.0.get() + 1);
        self.0
    }
}

#[test]
fn a_hit_by_a_borrowed_key_makes_no_key() {
    let clock = ManualClock::new();
    let second = Duration::from_secs(1);
    let cache = Cache::builder().refresh_after(second).manual_clock(&clock).build();
    let made = Cell::new(0);
    let key = Counts(7, Ignored(&made));
    assert_eq!(now(cache.get_with_ref_async(&key, async { 1 })), 1);
    assert_eq!((made.get(), cache.get(&7)), (1, Some(1)));
    for _ in 0..3 {
        assert_eq!(now(cache.get_with_ref_async(&key, async { unreachable!() })), 1);
        assert_eq!(now(cache.try_get_with_ref_async(&key, async { Err(()) })), Ok(1));
        assert_eq!(now(cache.load_ref_async(&key, async { Err(()) })), Ok(1));
    }
    assert_eq!(made.get(), 1, "a hit makes no key");
    clock.advance(second);
    assert_eq!(now(cache.load_ref_async(&key, async { Err("down") })), Ok(1), "it stays");
    assert_eq!(now(cache.get_with_ref_async(&key, async { 2 })), 2, "it was due");
    assert!(made.get() > 1);

    let absent = Counts(8, Ignored(&made));
    assert_eq!(now(cache.try_get_with_ref_async(&absent, async { Err(5) })), Err(Arc::new(5)));
    let failed = now(cache.load_ref_async(&absent, async { Err(5) }));
    assert_eq!(failed, Err(LoadError::Failed(5)));

    // The look-up is made by the first poll.
    let later = cache.get_with_ref_async(&absent, async { unreachable!() });
    cache.insert(8, 80);
    assert_eq!(now(later), 80);
    let large = Cache::<String, [u64; 1000]>::new();
    assert_eq!(now(large.get_with_ref_async("key", async { [7; 1000] }))[999], 7);
    assert_eq!(now(large.get_with_ref_async("key", async { unreachable!() }))[0], 7);
}

#[test]
fn one_load_for_borrowed_and_owned_keys() {
    let cache = Cache::<String, u64>::new();
    let loads = Cell::new(0);
    let load = || async {
        loads.set(loads.get() + 1);
        give_way().await;
        7
    };
    let futures: [Pin<Box<dyn Future<Output = u64>>>; 3] = [
        Box::pin(cache.get_with_ref_async("key", load())),
        Box::pin(cache.get_with_async("key".to_string(), load())),
        Box::pin(cache.get_with_ref_async("key", load())),
    ];
    assert_eq!((run(futures), loads.get()), (vec![7; 3], 1));
}

#[test]
fn the_absent_keys_of_a_list_are_loaded_by_one_call() {
    let cache: Cache<u64, String> = Cache::from([(2, "two".to_string())]);
    let names = now(cache.get_each_with_async([5, 2, 3, 5], async |missing: &[u64]| {
        give_none().await;
        assert_eq!(missing, [5, 3]);
        missing.iter().map(|id| format!("#{id}")).collect::<Vec<_>>()
    }));
    assert_eq!(names, ["#5", "two", "#3", "#5"]);
    let none = async |_: &[u64]| -> Vec<String> { unreachable!() };
    assert_eq!(now(cache.get_each_with_async(&[3, 2], none)), ["#3", "two"]);
    assert!(now(cache.get_each_with_async(0..0, none)).is_empty());

    let failed =
        now(cache.load_each_async([2, 9], async |_: &[u64]| Err::<Vec<String>, _>("down")));
    assert_eq!(failed, Err(LoadError::Failed("down")));
    assert_eq!(cache.get(&9), None);

    // A key that changes meanwhile refuses its value alone.
    let loaded = now(cache.get_each_with_async([10, 11], async |missing: &[u64]| {
        cache.insert(10, "other".to_string());
        missing.iter().map(u64::to_string).collect::<Vec<_>>()
    }));
    assert_eq!(loaded, ["10", "11"]);
    assert_eq!(cache.get_many([&10, &11]), [Some("other".into()), Some("11".into())]);
}

async fn give_none() {}

#[test]
fn lists_that_overlap_load_each_key_once() {
    let cache = Cache::<u64, u64>::new();
    let loaded = std::cell::RefCell::new(Vec::new());
    let list = |keys: std::ops::Range<u64>| -> Pin<Box<dyn Future<Output = Vec<u64>> + '_>> {
        let (cache, loaded) = (&cache, &loaded);
        Box::pin(async move {
            let load = async |missing: &[u64]| {
                loaded.borrow_mut().extend_from_slice(missing);
                give_way().await;
                missing.iter().map(|key| key * 10).collect::<Vec<_>>()
            };
            cache.get_each_with_async(keys, load).await
        })
    };
    let found = run([list(0..6), list(3..9), list(0..9), list(8..10)]);
    let tens = |keys: std::ops::Range<u64>| keys.map(|key| key * 10).collect::<Vec<_>>();
    assert_eq!(found, [tens(0..6), tens(3..9), tens(0..9), tens(8..10)]);
    let mut loaded = loaded.into_inner();
    loaded.sort_unstable();
    assert_eq!(loaded, (0..10).collect::<Vec<_>>());
}

#[test]
fn a_list_that_is_given_up_is_loaded_by_a_waiter() {
    let cache = Cache::<u64, u64>::new();
    let asked = Cell::new(0);
    let mut first = Box::pin(cache.get_each_with_async([1, 2], async |_: &[u64]| {
        asked.set(asked.get() + 1);
        pending::<Vec<u64>>().await
    }));
    assert!(poll(first.as_mut()).is_pending());
    let mut second = Box::pin(cache.get_each_with_async([2, 3], async |missing: &[u64]| {
        missing.iter().map(|key| key * 10).collect::<Vec<_>>()
    }));
    assert!(poll(second.as_mut()).is_pending(), "key 2 is being loaded");
    assert_eq!(cache.get(&3), Some(30), "its own key is loaded before it waits");
    drop(first);
    assert_eq!(poll(second.as_mut()), Poll::Ready(vec![20, 30]));
    assert_eq!((asked.get(), cache.get(&1)), (1, None));
}

#[test]
fn a_loader_that_waits_for_its_own_keys_is_told_so() {
    let cache = Cache::<u64, u64>::new();
    let found = now(cache.load_each_async([1, 2], async |_: &[u64]| {
        let circle = cache.load_async(2, async { Ok::<_, ()>(0) }).await;
        assert_eq!(circle, Err(LoadError::Cycle));
        Ok::<_, ()>([1, 2])
    }));
    assert_eq!(found, Ok(vec![1, 2]));
}

#[test]
fn the_futures_may_be_sent() {
    fn check<T: Send>(_: T) {}
    let cache = Cache::<String, u64>::new();
    check(cache.get_with_ref_async("key", async { 1 }));
    check(cache.load_ref_async("key", async { Ok::<_, ()>(1) }));
}
