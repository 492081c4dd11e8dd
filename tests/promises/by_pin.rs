//! Promise: values that are not `Clone` can be loaded, and are lent under a pin.

use coeval::{Cache, Lent};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// Not `Clone`.
#[derive(Debug, PartialEq)]
struct Page(String);

#[test]
fn values_that_are_not_clone_are_loaded() {
    let cache: Cache<u64, Page> = Cache::new();
    let pin = cache.pin();
    let page = pin.get_with(&1, || Page("first".into()));
    assert_eq!(page.0, "first");
    assert!(std::ptr::eq(&*page, &*pin.get_with(&1, || unreachable!("it is cached"))));
    cache.insert(1, Page("second".into()));
    assert_eq!((page.0.as_str(), pin.get(&1).unwrap().0.as_str()), ("first", "second"));
    assert_eq!(pin.try_get_with(&2, || Err::<Page, _>(7)), Err(7));
    assert_eq!(pin.try_get_with(&2, || Ok::<_, ()>(Page("third".into()))).unwrap().0, "third");
    // A value that was overtaken goes to its caller alone.
    let page = pin.get_with(&3, || {
        cache.invalidate(&3);
        Page("old".into())
    });
    assert!(matches!(page, Lent::Own(page) if page.0 == "old"));
    assert_eq!(pin.get(&3), None);
}

#[test]
fn all_callers_get_one_value() {
    for round in 0..100 {
        let (cache, loads) = (Cache::<u64, Page>::new(), AtomicUsize::new(0));
        crate::common::together(4, |_| {
            let pin = cache.pin();
            let page = pin.get_with(&round, || {
                loads.fetch_add(1, SeqCst);
                Page(round.to_string())
            });
            assert!(std::ptr::eq(&*page, pin.get(&round).unwrap()));
        });
        assert!((1..=4).contains(&loads.load(SeqCst)));
        assert_eq!(cache.stats().commits, 1);
    }
}
