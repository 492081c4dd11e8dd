//! Promise: a transaction takes effect at one instant, or not at all.

use crate::common::{Store, on_every_reclaimer, stress, together};
use coeval::reclaim::Reclaim;
use coeval::{Cache, Committed, ManualClock, RemovalCause, Tag, TransactError};
use std::cell::Cell;
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Never<T> = Result<T, Infallible>;

#[test]
fn it_sees_its_own_writes_and_no_other_thread_does_before_the_commit() {
    let cache = Cache::new();
    cache.insert(1, 10);
    let before = cache.version();
    let committed = cache
        .transact(|tx| -> Never<_> {
            tx.insert(1, 11);
            tx.insert(2, 20);
            assert_eq!(tx.get_many([&1, &2, &3]), [Some(11), Some(20), None]);
            tx.remove(1);
            tx.invalidate(2);
            tx.insert(2, 21);
            assert_eq!(tx.get_many([&1, &2]), [None, Some(21)]);
            assert_eq!(cache.get_many([&1, &2]), [Some(10), None]);
            Ok("done")
        })
        .unwrap();
    assert_eq!(committed.value, "done");
    assert!(committed.version > before);
    assert_eq!(cache.get(&1), None);
    assert_eq!(cache.get_versioned(&2), Some((21, committed.version)));
}

#[test]
fn an_abandoned_transaction_changes_nothing() {
    let cache = Cache::new();
    let before = cache.insert(1, 10);
    let given_up = cache.transact(|tx| -> Result<(), _> {
        tx.insert(1, 11);
        tx.remove(1);
        Err("no")
    });
    assert_eq!(given_up, Err(TransactError::Aborted("no")));
    assert_eq!((cache.get(&1), cache.version()), (Some(10), before));
}

#[test]
fn a_panic_changes_nothing() {
    let cache = Cache::new();
    let before = cache.insert(1, 10);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        cache.transact(|tx| -> Never<()> {
            tx.get(&2);
            tx.insert(1, 11);
            panic!("in the closure");
        })
    }));
    assert!(panicked.is_err());
    assert_eq!((cache.get(&1), cache.version()), (Some(10), before));
    assert_eq!(cache.stats().views, 0);
}

/// How often the closure of a transaction runs that reads these keys, if `meanwhile` runs once
/// beside it.
fn runs(cache: &Cache<u64, u64>, keys: &[u64], meanwhile: impl FnOnce()) -> u32 {
    let (mut runs, mut meanwhile) = (0, Some(meanwhile));
    let committed = cache.transact(|tx| -> Never<_> {
        runs += 1;
        keys.iter().for_each(|key| _ = tx.get(key));
        tx.insert(1_000, 0);
        if let Some(meanwhile) = meanwhile.take() {
            meanwhile();
        }
        Ok(())
    });
    assert!(committed.is_ok());
    runs
}

#[test]
fn clearing_does_not_change_absent_reads() {
    let clock = ManualClock::new();
    let cache = Cache::builder().manual_clock(&clock).build();
    let tag = [Tag::from("tag")];
    cache.insert(2, 20);
    cache.remove(&2);
    cache.insert_tagged(3, 30, &tag);
    cache.insert(4, 40);
    cache.invalidate_all();
    cache.insert_with_ttl(5, 50, Duration::from_secs(1));
    clock.advance(Duration::from_secs(2));
    cache.insert_tagged(7, 70, &tag);
    cache.invalidate_tag("tag");
    cache.insert(6, 60);
    // Never written, removed, cleared, expired, and invalidated by its tag.
    let absent = [1, 2, 3, 4, 5, 7];
    assert_eq!(runs(&cache, &absent, || _ = cache.invalidate_tag("tag")), 1);
    assert_eq!(runs(&cache, &absent, || _ = cache.invalidate_all()), 1);
    // A change of a present key disturbs it, and so does a new key.
    cache.insert(6, 60);
    assert_eq!(runs(&cache, &[1, 6], || _ = cache.invalidate_all()), 2);
    assert_eq!(runs(&cache, &[1], || _ = cache.insert(1, 10)), 2);
    cache.remove(&1);
    let come_and_gone = || {
        cache.insert(1, 10);
        cache.invalidate_all();
    };
    assert_eq!(runs(&cache, &[1], come_and_gone), 1);
}

#[test]
fn a_read_only_transaction_has_the_version_of_its_reads() {
    let cache = Cache::new();
    let empty = cache.transact(|tx| -> Never<_> { Ok(tx.get(&1)) }).unwrap();
    assert_eq!((empty.value, empty.version.get()), (None, 0));
    let written = cache.insert(1, 10);
    let read = cache.transact(|tx| -> Never<_> {
        let first = tx.get(&1);
        cache.insert(1, 11);
        Ok((first, tx.get(&1)))
    });
    assert_eq!(read, Ok(Committed { value: (Some(10), Some(10)), version: written }));
}

/// Runs a transaction that reads key 1 and writes key 2, while `disturb` runs up to `times` times.
/// Returns whether it committed, and how often it ran.
fn disturbed(cache: &Cache<u64, u64>, times: u32, disturb: impl Fn(u32)) -> (bool, u32) {
    let runs = Cell::new(0);
    let outcome = cache.transact(|tx| -> Never<()> {
        let seen = tx.get(&1);
        tx.insert(2, seen.unwrap_or(0));
        runs.set(runs.get() + 1);
        if runs.get() <= times {
            disturb(runs.get());
        }
        Ok(())
    });
    if let Ok(Committed { version, .. }) = &outcome {
        assert_eq!(cache.get_versioned(&2), Some((cache.get(&1).unwrap_or(0), *version)));
    }
    (outcome.is_ok(), runs.get())
}

#[test]
fn its_reads_are_unchanged_at_the_commit() {
    let cache = Cache::new();
    let others: [&dyn Fn(u32); 8] = [
        &|by| _ = cache.insert(1, by.into()),
        &|_| _ = cache.remove(&1),
        &|by| _ = cache.insert(1, by.into()), // The key was absent.
        &|_| _ = cache.invalidate_all(),
        &|by| _ = cache.batch().insert(3, 1).insert(1, by.into()).commit(),
        &|_| _ = cache.tag(1, &[Tag::from(7)]),
        &|_| _ = cache.invalidate_tag(7),
        &|_| {
            _ = cache.transact(|tx| -> Never<_> {
                tx.insert(1, 5);
                Ok(())
            })
        },
    ];
    for (at, disturb) in others.into_iter().enumerate() {
        assert_eq!(disturbed(&cache, 1, disturb), (true, 2), "{at}");
    }
    assert_eq!(cache.stats().conflicts, 8);
}

#[test]
fn unread_keys_may_change() {
    let cache = Cache::new();
    cache.insert(1, 10);
    assert_eq!(disturbed(&cache, 1, |_| _ = cache.insert(2, 5)), (true, 1));
    assert_eq!(disturbed(&cache, 1, |_| _ = cache.insert(3, 5)), (true, 1));
    // A read by another thread is not a change.
    let other = || {
        cache.transact(|tx| -> Never<_> {
            tx.get(&1);
            tx.insert(4, 4);
            Ok(())
        })
    };
    assert_eq!(disturbed(&cache, 1, |_| _ = other()), (true, 1));
}

#[test]
fn a_transaction_disturbed_again_and_again_fails() {
    let cache = Cache::new();
    let (is_ok, runs) = disturbed(&cache, u32::MAX, |by| _ = cache.insert(1, by.into()));
    assert_eq!((is_ok, runs), (false, 64));
    assert_eq!(cache.get(&2), None);
    let outcome = cache.transact(|tx| -> Never<_> {
        tx.get(&1);
        cache.insert(1, 0);
        tx.insert(2, 2);
        Ok(())
    });
    let error = outcome.unwrap_err();
    assert_eq!(error, TransactError::Conflict);
    assert!(error.to_string().contains("try it again"));
}

#[test]
fn a_derived_value_is_unchanged_if_its_inputs_are() {
    let cache: Cache<u64, u64> = Cache::new();
    cache.insert(5, 50);
    cache.insert(6, 60);
    let derive = || {
        cache.derive(1, |scope| {
            scope.derive(7, |scope| scope.get(&5).unwrap_or(0)) + scope.get(&6).unwrap_or(0)
        })
    };
    for (key, other) in [(5, 51), (6, 61), (5, 52)] {
        derive();
        assert_eq!(disturbed(&cache, 1, |_| _ = cache.insert(key, other)), (true, 2));
        assert_eq!(cache.get(&1), None);
    }
    cache.insert_tagged(5, 53, &[Tag::from("in")]);
    derive();
    assert_eq!(disturbed(&cache, 1, |_| _ = cache.invalidate_tag("in")), (true, 2));
    derive();
    assert_eq!(disturbed(&cache, 1, |_| _ = cache.invalidate_tag("other")), (true, 1));
}

#[test]
fn an_expired_value_has_changed() {
    let clock = ManualClock::new();
    let cache = Cache::builder().manual_clock(&clock).build();
    cache.insert_with_ttl(1, 10, Duration::from_secs(1));
    assert_eq!(disturbed(&cache, 1, |_| clock.advance(Duration::from_secs(2))), (true, 2));
    // The value had expired already.
    cache.insert_with_ttl(1, 10, Duration::from_secs(1));
    clock.advance(Duration::from_secs(2));
    assert_eq!(disturbed(&cache, 1, |_| clock.advance(Duration::from_secs(2))), (true, 1));
}

#[test]
fn relations_are_followed_by_its_commit() {
    let cache: Cache<String, u64> = Cache::builder()
        .related(|key: &String, related| {
            if let Some(id) = key.strip_prefix("user:") {
                related.invalidate(format!("feed:{id}"));
            }
        })
        .build();
    cache.insert("feed:1".into(), 1);
    let read_feed = cache.transact(|tx| -> Never<_> {
        let feed = tx.get("feed:1");
        tx.insert("user:1".into(), 2);
        Ok((feed, tx.get("feed:1")))
    });
    assert_eq!(read_feed.unwrap().value, (Some(1), Some(1)));
    assert_eq!(cache.get_many(["user:1", "feed:1"]), [Some(2), None]);
    cache.insert("feed:1".into(), 3);
    let _ = cache.transact(|tx| -> Never<_> {
        tx.remove("user:1".into());
        Ok(())
    });
    assert_eq!(cache.get("feed:1"), Some(3));
    let _ = cache.transact(|tx| -> Never<_> {
        tx.invalidate("user:1".into());
        Ok(())
    });
    assert_eq!(cache.get("feed:1"), None);
}

#[test]
fn the_listener_hears_of_its_writes_and_not_of_its_reads() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&heard);
    let cache = Cache::builder()
        .eviction_listener(move |key: Arc<u64>, value: u64, cause, _| {
            listener.lock().unwrap().push((*key, value, cause));
        })
        .build();
    (1..=4).for_each(|key| _ = cache.insert(key, key));
    let version = cache.get_versioned(&1).unwrap().1;
    let _ = cache.transact(|tx| -> Never<_> {
        tx.get_many([&1, &2, &9]);
        tx.insert(2, 20);
        tx.remove(3);
        Ok(())
    });
    let explicit = (3, 3, RemovalCause::Explicit);
    let mut heard = heard.lock().unwrap().clone();
    heard.sort_unstable_by_key(|(key, ..)| *key);
    assert_eq!(heard, [(2, 2, RemovalCause::Replaced), explicit]);
    assert_eq!(cache.get_versioned(&1), Some((1, version)));
    assert_eq!(cache.len(), 3);
}

/// The sum of three accounts never changes, in any kind of read.
fn money_is_neither_made_nor_lost<R: Reclaim>() {
    const ACCOUNTS: [u64; 3] = [1, 2, 3];
    let cache: Store<u64, i64, R> = crate::common::store();
    ACCOUNTS.iter().for_each(|key| _ = cache.insert(*key, 100));
    let rounds = stress(300, 3_000, 300_000);
    together(4, |thread| {
        crate::common::disturb();
        for round in 0..rounds {
            let [from, to, _] = [0, 1, 2].map(|at| ACCOUNTS[(thread + round as usize + at) % 3]);
            let moved = cache.transact(|tx| -> Never<_> {
                let [left, right] = tx.get_many([&from, &to]).map(Option::unwrap);
                tx.insert(from, left - 1);
                tx.insert(to, right + 1);
                Ok(())
            });
            assert!(moved.is_ok() || moved == Err(TransactError::Conflict));
            let seen = cache.get_many(ACCOUNTS.each_ref()).map(Option::unwrap);
            assert_eq!(seen.iter().sum::<i64>(), 300, "{seen:?}");
            let seen = cache.transact(|tx| -> Never<_> {
                Ok(tx.get_many(ACCOUNTS.each_ref()).map(Option::unwrap))
            });
            assert_eq!(seen.unwrap().value.iter().sum::<i64>(), 300);
        }
    });
}

/// Each of two goes off duty if the other is on duty, so one always is. Under snapshot isolation
/// both might go.
fn there_is_no_write_skew<R: Reclaim>() {
    let cache: Store<u64, bool, R> = crate::common::store();
    for _ in 0..stress(300, 3_000, 300_000) {
        cache.batch().insert(1, true).insert(2, true).commit();
        together(2, |thread| {
            crate::common::disturb();
            let (me, other) = ([1, 2][thread], [2, 1][thread]);
            let gone = cache.transact(|tx| -> Never<_> {
                if tx.get(&other) == Some(true) {
                    tx.insert(me, false);
                }
                Ok(())
            });
            gone.unwrap();
        });
        let on = cache.get_many([&1, &2]);
        assert_eq!(on.iter().filter(|on| **on == Some(true)).count(), 1, "{on:?}");
    }
}

on_every_reclaimer!(money_is_neither_made_nor_lost, there_is_no_write_skew);
