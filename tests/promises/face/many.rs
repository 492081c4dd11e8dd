//! Many keys: any number, from anything that iterates, as of one instant.

use crate::common::{StopOnDrop, Store, on_every_reclaimer, store, stress};
use coeval::reclaim::Reclaim;
use coeval::{Cache, Equivalent, ManualClock};
use std::collections::{BTreeSet, HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct UserId(String);

/// A borrowed form of `UserId`.
#[derive(PartialEq, Eq, Hash)]
struct UserName<'a>(&'a str);

impl Equivalent<UserId> for UserName<'_> {
    fn equivalent(&self, key: &UserId) -> bool {
        self.0 == key.0
    }
}

#[test]
fn any_collection_gives_keys() {
    let cache = Cache::new();
    cache.insert_many((1..=40_u64).map(|n| (n, n * n)));
    let ids = vec![3, 50, 3];
    let found = [Some(9), None, Some(9)];
    assert_eq!(cache.get_many(&ids), found);
    assert_eq!(cache.get_many(&ids[..]), found);
    assert_eq!(cache.get_many(&[3, 50, 3]), found);
    assert_eq!(cache.get_many([&3, &50, &3]), found);
    assert_eq!(cache.get_many(ids.iter()), found);
    assert_eq!(cache.get_many(ids.iter().copied()), found);
    assert_eq!(cache.get_many(ids.iter().filter(|id| **id > 3)), [None]);
    assert_eq!(cache.get_many(&VecDeque::from(ids.clone())), found);
    assert_eq!(cache.get_many(ids), found);
    assert_eq!(cache.get_many(&HashSet::from([7])), [Some(49)]);
    assert_eq!(cache.get_many(&BTreeSet::from([8, 2])), [Some(4), Some(64)]);
    assert_eq!(cache.get_many(1..=100).into_iter().flatten().count(), 40);
}

#[test]
fn keys_may_be_borrowed() {
    let cache = Cache::new();
    cache.insert(UserId("ada".into()), 1);
    let ids = vec![UserId("ada".into()), UserId("bob".into())];
    assert_eq!(cache.get_many(&ids), [Some(1), None]);
    assert_eq!(cache.get_many(ids), [Some(1), None]);
    assert_eq!(cache.get_many(&[UserName("bob"), UserName("ada")]), [None, Some(1)]);
    assert_eq!(cache.get_many([&UserName("ada")]), [Some(1)]);

    let cache: Cache<String, u64> = [("ada".to_string(), 1)].into_iter().collect();
    let names = vec!["ada", "bob"];
    assert_eq!(cache.get_many(names.iter().copied()), [Some(1), None]);
    assert_eq!(cache.get_many(names), [Some(1), None]);
    assert_eq!(cache.get_many("bob ada".split(' ')), [None, Some(1)]);
    let [ada, bob] = cache.get_many(["ada", "bob"]);
    assert_eq!((ada, bob), (Some(1), None));

    let cache: Cache<&str, u64> = [("ada", 1)].into_iter().collect();
    let names = vec!["ada", "bob"];
    assert_eq!(cache.get_many(&names), [Some(1), None]);
    assert_eq!(cache.get_many(names.iter()), [Some(1), None]);
    assert_eq!(cache.get_many(["ada", "bob"]), [Some(1), None]);
    assert_eq!(cache.get_many([&"ada", &"bob"]), [Some(1), None]);
}

#[test]
fn no_keys_are_no_values() {
    let cache: Cache<u64, u64> = Cache::new();
    assert!(cache.get_many(&[0_u64; 0]).is_empty());
    assert!(cache.get_many(Vec::<u64>::new()).is_empty());
    assert!(cache.view().get_many(0..0).is_empty());
    let before = cache.version();
    assert!(cache.insert_many([]) > before, "an empty commit takes a version, as an empty batch");
}

#[test]
fn a_buffer_is_used_again() {
    let cache = Cache::new();
    cache.insert_many((0..100_u64).map(|n| (n, n)));
    let mut values = Vec::with_capacity(100);
    let place = values.as_ptr();
    for round in 0..3 {
        let ids: Vec<u64> = (round..round + 100).collect();
        cache.get_many_into(&ids, &mut values);
        assert_eq!(
            values,
            (round..round + 100).map(|n| (n < 100).then_some(n)).collect::<Vec<_>>()
        );
        cache.get_many_into([&round, &200], &mut values);
        assert_eq!(values, [Some(round), None]);
    }
    assert_eq!(values.as_ptr(), place);
}

#[test]
fn look_ups_of_many_keys_count_each() {
    let cache = Cache::builder().max_capacity(1000).build();
    cache.insert_many((0..50_u64).map(|n| (n, n)));
    assert_eq!(cache.get_many(0..60).len(), 60);
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses), (50, 10));
}

#[test]
fn expired_entries_are_absent() {
    let clock = ManualClock::new();
    let cache = Cache::builder().manual_clock(&clock).build();
    for n in 0..40_u64 {
        cache.insert_with_ttl(n, n, Duration::from_secs(1 + n % 2));
    }
    clock.advance(Duration::from_secs(1));
    let found = cache.get_many(0..40);
    assert_eq!(found, (0..40).map(|n| (n % 2 == 1).then_some(n)).collect::<Vec<_>>());
    clock.advance(Duration::from_secs(1));
    assert_eq!(cache.get_many(0..40), [None; 40]);
}

#[test]
fn a_panic_while_cloning_leaves_the_cache_whole() {
    #[derive(Debug)]
    struct Rude(u64);
    impl Clone for Rude {
        fn clone(&self) -> Self {
            assert_ne!(self.0, 20);
            Self(self.0)
        }
    }
    let cache = Cache::new();
    cache.insert_many((0..40_u64).map(|n| (n, Rude(n))));
    let mut values = Vec::new();
    let all: Vec<u64> = (0..40).collect();
    let read = AssertUnwindSafe(|| cache.get_many_into(&all, &mut values));
    assert!(catch_unwind(read).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| cache.get_many(&all))).is_err());
    cache.remove_quietly();
    assert_eq!(cache.get_many(&all).into_iter().flatten().count(), 39);
    trait RemoveQuietly {
        fn remove_quietly(&self);
    }
    impl RemoveQuietly for Cache<u64, Rude> {
        fn remove_quietly(&self) {
            self.invalidate(&20);
        }
    }
}

#[test]
fn a_panic_of_the_entries_writes_nothing() {
    let cache = Cache::new();
    let entries = (0..10_u64).map(|n| {
        assert_ne!(n, 5);
        (n, n)
    });
    assert!(catch_unwind(AssertUnwindSafe(|| cache.insert_many(entries))).is_err());
    assert_eq!((cache.len(), cache.version().get()), (0, 0));
}

fn many_keys_are_read_at_one_instant<R: Reclaim>() {
    let cache: Store<u64, u64, R> = store();
    let rounds = stress(2_000, 20_000, 200_000);
    let ids: Vec<u64> = (0..50).collect();
    cache.insert_many(ids.iter().map(|id| (*id, 0)));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1.. {
                if stop.load(Ordering::Acquire) {
                    break;
                }
                // Some keys are removed, and open views have versions taken out.
                let view = cache.view();
                let mut batch = cache.batch_mut();
                for id in &ids {
                    match round % 3 {
                        0 => batch.remove(*id),
                        1 => batch.insert_with_ttl(*id, round, Duration::from_secs(1000)),
                        _ => batch.insert(*id, round),
                    };
                }
                batch.commit();
                drop(view);
            }
        });
        let _stop = StopOnDrop(&stop);
        let mut values = Vec::new();
        for _ in 0..rounds {
            let found = cache.get_many(&ids);
            assert!(found.iter().all(|value| *value == found[0]), "{found:?}");
            cache.get_many_into(ids.iter(), &mut values);
            assert!(values.iter().all(|value| *value == values[0]), "{values:?}");
        }
    });
}

on_every_reclaimer!(many_keys_are_read_at_one_instant);
