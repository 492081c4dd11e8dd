//! Promise: `read` shows what `get` would have returned, and clones nothing.

use crate::common::on_every_reclaimer;
use coeval::reclaim::Reclaim;
use coeval::{Cache, ManualClock};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// Not `Clone`.
struct Page(String);

fn cache<R: Reclaim>() -> Cache<u64, Page, coeval::RandomState, R> {
    Cache::builder().reclaimer::<R>().build()
}

fn text<R: Reclaim>(cache: &Cache<u64, Page, coeval::RandomState, R>, key: u64) -> Option<String> {
    cache.read(&key, |page| page.0.clone())
}

fn it_is_counted_and_clones_nothing<R: Reclaim>() {
    let cache = cache::<R>();
    cache.insert(1, Page("first".into()));
    assert_eq!(text(&cache, 1).as_deref(), Some("first"));
    assert_eq!(cache.read(&2, |_| panic!("it is absent")), None);
    assert_eq!((cache.stats().hits, cache.stats().misses), (1, 1));
    let address = |page: &Page| std::ptr::from_ref(page) as usize;
    assert_eq!(cache.read(&1, address), cache.pin().get(&1).map(address));
}

/// What is read stays as it is, whatever the closure does to the cache.
fn the_closure_may_use_the_cache<R: Reclaim>() {
    let cache = cache::<R>();
    cache.insert(1, Page("first".into()));
    let seen = cache.read(&1, |page| {
        cache.insert(1, Page("second".into()));
        let newer = text(&cache, 1);
        cache.invalidate_all();
        (100..400).for_each(|key| _ = cache.insert(key, Page(String::new())));
        (page.0.clone(), newer, text(&cache, 1))
    });
    assert_eq!(seen, Some(("first".into(), Some("second".into()), None)));
}

fn a_panic_reaches_the_caller<R: Reclaim>() {
    let cache = cache::<R>();
    cache.insert(1, Page("first".into()));
    let read = || cache.read(&1, |_| panic!("in the closure"));
    assert!(catch_unwind(AssertUnwindSafe(read)).is_err());
    cache.insert(1, Page("other".into()));
    while cache.maintain(100) {}
    assert_eq!(cache.stats().retired, 0, "its guard has ended");
    assert_eq!(text(&cache, 1).as_deref(), Some("other"));
}

fn what_is_over_is_not_shown<R: Reclaim>() {
    let clock = ManualClock::new();
    let builder = Cache::<u64, Page>::builder().reclaimer::<R>().manual_clock(&clock);
    let cache = builder.time_to_live(Duration::from_secs(10)).build();
    cache.insert(1, Page("first".into()));
    cache.insert_tagged(2, Page("second".into()), &["tag".into()]);
    assert!(text(&cache, 1).is_some() && text(&cache, 2).is_some());
    cache.invalidate_tag("tag");
    assert!(text(&cache, 1).is_some() && text(&cache, 2).is_none());
    clock.advance(Duration::from_secs(10));
    assert_eq!(text(&cache, 1), None);
}

on_every_reclaimer!(
    it_is_counted_and_clones_nothing,
    the_closure_may_use_the_cache,
    a_panic_reaches_the_caller,
    what_is_over_is_not_shown,
);
