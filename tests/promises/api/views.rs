//! Views and pins.

use crate::common::{on_every_reclaimer, store};
use coeval::reclaim::Reclaim;
use std::collections::BTreeMap;

fn a_view_stays_as_it_was<R: Reclaim>() {
    let cache = store::<String, String, R>();
    cache.insert("a".into(), "1".into());
    let version = cache.insert("b".into(), "2".into());
    let view = cache.view();
    let value = view.get("a").expect("inserted");
    cache.insert("a".into(), "10".into());
    cache.remove("b");
    cache.insert("c".into(), "3".into());
    cache.invalidate_all();
    assert_eq!(value, "1");
    let check = |view: &coeval::View<String, String, _, R>| {
        assert_eq!(view.get("a").map(String::as_str), Some("1"));
        assert_eq!(view.get_versioned("b"), Some((&"2".to_string(), version)));
        assert!(!view.contains_key("c"));
        assert_eq!((view.len(), view.version()), (2, version));
        let all: BTreeMap<_, _> = view.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(all, BTreeMap::from([("a", "1"), ("b", "2")]));
    };
    check(&view);
    let copy = view.clone();
    drop(view);
    for round in 0..1_000 {
        cache.insert("a".into(), round.to_string());
    }
    check(&copy);
    std::thread::scope(|scope| {
        scope.spawn(|| check(&copy));
    });
    std::thread::scope(|scope| {
        scope.spawn(move || check(&copy));
    });
    assert_eq!(cache.len(), 1);
}

fn views_age<R: Reclaim>() {
    let cache = store::<u32, u32, R>();
    let view = cache.view();
    let young = view.age();
    std::thread::sleep(std::time::Duration::from_millis(5));
    assert!(view.age() >= young + std::time::Duration::from_millis(5));
    assert!(view.clone().age() <= view.age());
}

fn view_at_goes_back_while_a_view_is_kept<R: Reclaim>() {
    let cache = store::<&str, u32, R>();
    let first = cache.insert("a", 1);
    let view = cache.view();
    cache.insert("a", 2);
    let second = cache.insert("b", 2);
    let past = cache.view_at(first).expect("a view of it is kept");
    assert_eq!((past.version(), past.len(), past.get("a")), (first, 1, Some(&1)));
    drop(view);
    assert_eq!(past.get("a"), Some(&1));
    let now = cache.view_at(second).expect("the newest");
    assert_eq!((now.version(), now.len(), now.get("a")), (second, 2, Some(&2)));
    let later = [cache.insert("c", 3), cache.insert("c", 4)][1];
    let younger = store::<&str, u32, R>();
    younger.insert("a", 1);
    assert!(younger.view_at(later).is_none(), "a version that was not given out yet");
    // It never shows another state, whether that one is gone or not.
    drop(past);
    if let Some(past) = cache.view_at(first) {
        assert_eq!((past.version(), past.len(), past.get("a")), (first, 1, Some(&1)));
    }
}

fn a_view_may_outlive_the_handle_that_opened_it<R: Reclaim>() {
    let cache = store::<u32, String, R>();
    cache.insert(1, "one".into());
    let clone = cache.clone();
    let view = clone.view();
    cache.insert(1, "two".into());
    drop(cache);
    assert_eq!(view.get(&1).map(String::as_str), Some("one"));
}

fn pinned_references_live_as_long_as_the_pin<R: Reclaim>() {
    let cache = store::<u32, String, R>();
    cache.insert(1, "one".into());
    let pinned = cache.pin();
    let one = pinned.get(&1).expect("inserted");
    for round in 0..1_000 {
        cache.insert(1, format!("{round}"));
    }
    cache.remove(&1);
    cache.invalidate_all();
    assert_eq!(one, "one");
    assert_eq!(pinned.get(&1), None);
    let nested = cache.pin();
    cache.insert(1, "again".into());
    assert_eq!(nested.get(&1).map(String::as_str), Some("again"));
    drop(pinned);
    assert_eq!(nested.get(&1).map(String::as_str), Some("again"));
}

on_every_reclaimer!(
    a_view_stays_as_it_was,
    views_age,
    view_at_goes_back_while_a_view_is_kept,
    a_view_may_outlive_the_handle_that_opened_it,
    pinned_references_live_as_long_as_the_pin,
);

#[cfg(feature = "rayon")]
#[test]
fn a_view_can_be_iterated_in_parallel() {
    use coeval::Cache;
    use rayon::iter::ParallelIterator;
    let cache = Cache::new();
    for key in 0..10_000u64 {
        cache.insert(key, key + 1);
    }
    let view = cache.view();
    cache.invalidate_all();
    let mut found: Vec<(u64, u64)> = view.par_iter().map(|(k, v)| (*k, *v)).collect();
    found.sort_unstable();
    assert!(found.into_iter().eq((0..10_000).map(|key| (key, key + 1))));
    assert_eq!(cache.view().par_iter().count(), 0);
}
