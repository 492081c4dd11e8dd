//! Promise: a loader decides the terms of its value. A tag that it gives cannot be passed by an
//! invalidation that came after the load began, even if no entry had the tag before.

use crate::common::{Store, on_every_reclaimer, store, together};
use coeval::reclaim::Reclaim;
use coeval::{Cache as Plain, Loaded, ManualClock, Tag, Terms};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

type Cache<R> = Store<u64, u64, R>;

const SECOND: Duration = Duration::from_secs(1);

fn tags_of_a_first_load_count_from_its_beginning<R: Reclaim>() {
    let cache: Cache<R> = store();
    let loaded = cache.get_with_terms(1, || {
        cache.invalidate_tag("new");
        Loaded::new(1).tags(["new"])
    });
    assert_eq!((loaded, cache.get(&1)), (1, None));
    assert_eq!(cache.get_with_terms(1, || Loaded::new(2).tags(["new"])), 2);
    assert_eq!(cache.get(&1), Some(2));
    // Another entry has the tag by now.
    let loaded = cache.get_with_terms(2, || {
        cache.invalidate_tag("new");
        Loaded::new(3).tags(["old", "new"])
    });
    assert_eq!((loaded, cache.get(&1), cache.get(&2)), (3, None, None));
    // An earlier invalidation does not matter.
    assert_eq!(cache.get_with_terms(2, || Loaded::new(4).tags(["old", "new"])), 4);
    assert_eq!(cache.get(&2), Some(4));
    cache.invalidate_tag("old");
    assert_eq!(cache.get(&2), None);
    let stats = cache.stats();
    assert_eq!((stats.loads, stats.loads_refused), (2, 2));
}

/// After an invalidation of a fresh tag has returned, no value that was read before is found.
fn invalidations_beside_loads<R: Reclaim>() {
    let cache: Cache<R> = store();
    for round in 0..300 {
        let (source, tag) = (AtomicU64::new(0), Tag::from(round));
        together(3, |thread| {
            if thread == 0 {
                source.store(1, SeqCst);
                cache.invalidate_tag(&tag);
                let found = cache.get(&round);
                assert!(found.is_none_or(|found| found == 1), "{found:?} is old");
                return;
            }
            cache.get_with_terms(round, || {
                let read = source.load(SeqCst);
                std::thread::yield_now();
                Loaded::new(read).tags([&tag])
            });
        });
        assert!(cache.get(&round).is_none_or(|found| found == 1));
    }
}

fn one_loads_and_the_others_wait<R: Reclaim>() {
    let (cache, loads): (Cache<R>, _) = (store(), AtomicU64::new(0));
    together(4, |_| {
        let value = cache.get_with_terms(1, || {
            std::thread::sleep(Duration::from_millis(20));
            Loaded::new(loads.fetch_add(1, SeqCst)).tags(["tag"])
        });
        assert_eq!(value, 0);
    });
    assert_eq!(loads.load(SeqCst), 1);
    assert!(cache.try_get_with_terms(2, || Err(7)).is_err_and(|error| *error == 7));
    assert_eq!(cache.load_with_terms(2, || Ok::<_, ()>(8.into())), Ok(8));
}

on_every_reclaimer!(
    tags_of_a_first_load_count_from_its_beginning,
    invalidations_beside_loads,
    one_loads_and_the_others_wait,
);

/// Terms "as it was" keep the times of the old value. Its tags count only if the loader gives none.
#[test]
fn tags_of_the_loader_replace_those_of_the_old_value() {
    let clock = ManualClock::new();
    let cache = Plain::builder().manual_clock(&clock).refresh_after(SECOND).build();
    for (tags, kept) in [(None, false), (Some(vec![]), true), (Some(vec!["new"]), true)] {
        cache.insert_tagged(1, 1, &["old".into()]);
        clock.advance(2 * SECOND);
        let terms = Terms::as_it_was();
        let terms = if let Some(tags) = tags { terms.tags(tags) } else { terms };
        assert_eq!(cache.get_with_terms(1, || Loaded::new(2).terms(terms)), 2);
        cache.invalidate_tag("old");
        assert_eq!(cache.get(&1), kept.then_some(2));
    }
}

#[test]
fn times_and_weights_are_the_loaders() {
    let clock = ManualClock::new();
    let cache = Plain::builder()
        .manual_clock(&clock)
        .time_to_live(100 * SECOND)
        .refresh_after(50 * SECOND)
        .max_capacity(100)
        .weigher(|_, _| 1)
        .build();
    cache.get_with_terms(1, || Loaded::new(1).ttl(10 * SECOND));
    cache.get_with_terms(2, || Loaded::new(2).idle(10 * SECOND));
    cache.get_with_terms(3, || Loaded::new(3).weight(40).tags(["tag"]));
    cache.get_with_terms(4, || 4.into());
    assert_eq!(cache.weighted_size(), 43);
    clock.advance(9 * SECOND);
    assert_eq!([1, 2, 3, 4].map(|key| cache.get(&key)), [Some(1), Some(2), Some(3), Some(4)]);
    clock.advance(9 * SECOND);
    assert_eq!([1, 2, 3, 4].map(|key| cache.get(&key)), [None, Some(2), Some(3), Some(4)]);
    // A reload decides anew; without tags of its own, it keeps those that there were.
    clock.advance(40 * SECOND);
    assert_eq!(cache.get_with_terms(3, || Loaded::new(30).weight(7)), 30);
    assert_eq!(cache.get_with_terms(4, || Loaded::new(40).tags(["other"])), 40);
    assert_eq!(cache.get_with_terms(4, || unreachable!("it is not due")), 40);
    cache.invalidate_tag("tag");
    assert_eq!([3, 4].map(|key| cache.get(&key)), [None, Some(40)]);
    cache.invalidate_tag("other");
    assert_eq!(cache.get(&4), None);
}

/// A reload is refused if a tag of the value that it would replace was invalidated meanwhile.
#[test]
fn a_reload_cannot_pass_the_tags_before_it() {
    let clock = ManualClock::new();
    let cache = Plain::builder().manual_clock(&clock).refresh_after(SECOND).build();
    cache.insert_tagged(1, 1, &["old".into()]);
    clock.advance(SECOND);
    let loaded = cache.get_with_terms(1, || {
        cache.invalidate_tag("old");
        Loaded::new(2).tags(["new"])
    });
    assert_eq!((loaded, cache.get(&1)), (2, None));
}

#[cfg(feature = "async")]
#[test]
fn futures_decide_too() {
    let cache = Plain::<u64, u64>::new();
    let finish = |future: &mut dyn Future<Output = Result<u64, coeval::LoadError<()>>>| {
        // SAFETY: it is not moved; it is dropped by the caller, which does not move it either.
        let future = unsafe { std::pin::Pin::new_unchecked(future) };
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match future.poll(&mut context) {
            std::task::Poll::Ready(value) => value,
            std::task::Poll::Pending => panic!("nothing is pending"),
        }
    };
    let mut load = cache.load_with_terms_async(1, async { Ok(Loaded::new(1).tags(["tag"])) });
    assert_eq!(finish(&mut load), Ok(1));
    drop(load);
    assert_eq!(cache.get(&1), Some(1));
    cache.invalidate_tag("tag");
    assert_eq!(cache.get(&1), None);
    let mut failing = cache.load_with_terms_async(1, async { Err(()) });
    assert!(finish(&mut failing).is_err());
}
