//! Transactions: keys as `get` takes them, updates that keep what the entry had, and no types to be
//! named.

use crate::common::{Store, on_every_reclaimer, store, stress, together};
use coeval::reclaim::Reclaim;
use coeval::{Cache, Equivalent, ManualClock, Tag, Terms, TransactError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A key that can neither be cloned nor be made of its borrowed form.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Account(String);

#[derive(PartialEq, Eq, Hash)]
struct Name<'a>(&'a str);

impl Equivalent<Account> for Name<'_> {
    fn equivalent(&self, key: &Account) -> bool {
        self.0 == key.0
    }
}

#[test]
fn a_transaction_takes_the_keys_that_get_takes() {
    let cache: Cache<&str, u64> = [("a", 1)].into_iter().collect();
    let n = cache.atomically(|tx| {
        let [a, b] = tx.get_many(["a", "b"]);
        assert_eq!((tx.get("a"), tx.get(&"a"), a, b), (Some(1), Some(1), Some(1), None));
        assert!(tx.contains_key("a") && !tx.contains_key("b"));
        tx.insert("b", 2);
        assert_eq!(tx.get_many(&["a", "b", "b"]), [Some(1), Some(2), Some(2)]);
        assert_eq!(tx.get_many(Vec::<&&str>::new()), []);
        7
    });
    assert_eq!((n.unwrap().value, cache.get("b")), (7, Some(2)));

    let cache = Cache::<Account, u64>::new();
    cache.insert(Account("ada".into()), 5);
    let total = cache.atomically(|tx| {
        let found = tx.get_many(&[Name("ada"), Name("bob")]);
        tx.insert(Account("bob".into()), 6);
        found.into_iter().chain([tx.get(&Name("bob"))]).flatten().sum::<u64>()
    });
    assert_eq!((total.unwrap().value, cache.get(&Name("bob"))), (11, Some(6)));
    let text: Cache<String, u64> = Cache::new();
    let absent = text.atomically(|tx| (tx.get("a"), tx.get_many("a b".split(' '))));
    assert_eq!(absent.unwrap().value, (None, vec![None, None]));
    assert_eq!(text.version().get(), 0, "it wrote nothing");
}

#[test]
fn a_transaction_without_errors_needs_no_types() {
    let cache = Cache::new();
    cache.batch().insert("from", 10).insert("to", 0).commit();
    let moved = cache.atomically(|tx| {
        let left = tx.get("from").unwrap_or(0) - 3;
        tx.insert("from", left);
        tx.update("to", |to| to + 3);
        left
    });
    let moved = moved.unwrap();
    assert_eq!(moved.value, 7);
    assert_eq!(cache.get_versioned("to"), Some((3, moved.version)));
    let disturbed = cache.atomically(|tx| {
        let found = tx.get("from");
        cache.insert("from", 0);
        tx.insert("to", found.unwrap_or(0));
    });
    assert_eq!(disturbed, Err(TransactError::Conflict));
    let panicked = AssertUnwindSafe(|| {
        cache.atomically(|tx| {
            tx.insert("to", 100);
            tx.update("from", |_| panic!("rude"))
        })
    });
    assert!(catch_unwind(panicked).is_err());
    assert_eq!(cache.get_many(["from", "to"]), [Some(0), Some(3)]);
}

#[test]
fn an_update_keeps_what_the_entry_had() {
    let clock = ManualClock::new();
    let second = Duration::from_secs(1);
    let cache = Cache::builder().manual_clock(&clock).build();
    cache.insert_with_ttl("deadline", 1, 10 * second);
    cache.insert_tagged("tagged", 1, &[Tag::from("a")]);
    cache.batch().insert_with("idle", 1, Terms::new().time_to_idle(4 * second)).commit();
    let both = cache.batch().insert_with("both", 1, Terms::new().tags(["b"])).commit();
    clock.advance(3 * second);
    let before = cache.atomically(|tx| {
        let keys = ["deadline", "tagged", "idle", "both", "absent"];
        tx.insert("plain", 0);
        assert_eq!(tx.update("plain", |n| n + 1), Some(0));
        keys.map(|key| tx.update(key, |n| n + 1))
    });
    assert_eq!(before.unwrap().value, [Some(1), Some(1), Some(1), Some(1), None]);
    assert_eq!(cache.get_many(["plain", "absent"]), [Some(1), None]);
    assert!(cache.get_versioned("both").unwrap().1 > both);
    assert_eq!(cache.get_many(["deadline", "tagged", "idle"]), [Some(2), Some(2), Some(2)]);
    cache.invalidate_tag("a");
    assert_eq!(cache.get_many(["tagged", "both"]), [None, Some(2)]);
    cache.invalidate_tag("b");
    assert_eq!(cache.get("both"), None);
    clock.advance(4 * second);
    assert_eq!(cache.get_many(["deadline", "idle"]), [Some(2), None]);
    clock.advance(3 * second);
    assert_eq!(cache.get("deadline"), None);
}

#[test]
fn updates_in_a_full_cache() {
    let cache = Cache::builder().max_capacity(8).build();
    for n in 0..100_u64 {
        let sum = cache.atomically(|tx| {
            tx.update(n / 2, |value| value + 1);
            tx.insert(n, n);
            tx.get_many(0..100).into_iter().flatten().count()
        });
        assert!(sum.unwrap().value <= 9, "the transaction's own write and the eight");
        assert!(cache.len() <= 8);
    }
}

#[test]
fn a_key_that_comes_in_between_is_a_change() {
    let cache: Cache<String, u64> = Cache::new();
    let mut runs = 0;
    let done = cache.atomically(|tx| {
        runs += 1;
        let found = tx.get("late");
        if found.is_none() {
            cache.insert("late".into(), 1);
        }
        tx.insert("seen".into(), found.unwrap_or(0));
    });
    assert_eq!((done.is_ok(), runs, cache.get("seen")), (true, 2, Some(1)));

    // A key that comes and goes again is absent, as it was.
    let done = cache.atomically(|tx| {
        assert_eq!(tx.get("brief"), None);
        tx.insert("seen".into(), 2);
    });
    assert_eq!((done.is_ok(), cache.get("seen")), (true, Some(2)));
    // The transaction's own write of the key that it found absent is no change.
    let done = cache.atomically(|tx| {
        assert_eq!(tx.get("new"), None);
        tx.insert("new".into(), 1);
        assert_eq!(tx.get("new"), Some(1));
    });
    assert_eq!((done.is_ok(), cache.stats().conflicts), (true, 1));
}

#[test]
fn other_keys_of_the_same_hash_are_no_hindrance() {
    #[derive(Clone, Default)]
    struct Same;
    impl std::hash::BuildHasher for Same {
        type Hasher = Same;
        fn build_hasher(&self) -> Same {
            Same
        }
    }
    impl std::hash::Hasher for Same {
        fn finish(&self) -> u64 {
            7
        }
        fn write(&mut self, _: &[u8]) {}
    }
    let cache: Cache<u64, u64, Same> = (0..5).map(|n| (n, n)).collect();
    cache.remove(&4);
    let done = cache.atomically(|tx| {
        assert_eq!((tx.get(&9), tx.get(&3), tx.get(&4)), (None, Some(3), None));
        tx.insert(8, 8);
        tx.insert(3, 33);
    });
    assert!(done.is_ok());
    assert_eq!(cache.get_many([&8, &3, &9]), [Some(8), Some(33), None]);
    // A change of another key with the hash disturbs at most one attempt.
    let mut runs = 0;
    let done = cache.atomically(|tx| {
        runs += 1;
        assert_eq!(tx.get(&9), None);
        if runs == 1 {
            cache.insert(1, 11);
        }
        tx.insert(7, 7);
    });
    assert!(done.is_ok() && runs == 2);
}

/// Each thread writes its key if the key of the other is absent. All keys are fresh.
fn no_write_skew_between_fresh_keys<R: Reclaim>() {
    let cache: Store<u64, u64, R> = store();
    let rounds = stress(20_000, 100_000, 1_000_000);
    let at = AtomicU64::new(0);
    together(2, |thread| {
        for round in 0..rounds {
            at.fetch_add(1, Ordering::AcqRel);
            while at.load(Ordering::Acquire) < 2 * round + 1 {
                std::thread::yield_now();
            }
            let (mine, other) = (2 * round + thread as u64, 2 * round + 1 - thread as u64);
            let done = cache.atomically(|tx| {
                if !tx.contains_key(&other) {
                    tx.insert(mine, 1);
                }
            });
            done.expect("a transaction of two threads is disturbed a few times at most");
        }
    });
    for round in 0..rounds {
        let pair = cache.get_many([&(2 * round), &(2 * round + 1)]);
        assert_eq!(pair.iter().flatten().count(), 1, "in round {round}");
    }
}

/// A writer writes fresh keys, which transactions find absent or not. The versions must agree.
fn what_was_found_absent_comes_later<R: Reclaim>() {
    let cache: Store<u64, u64, R> = store();
    let keys = stress(20_000, 100_000, 1_000_000);
    let written = AtomicU64::new(0);
    let seen = Mutex::new(Vec::new());
    together(3, |thread| {
        if thread == 0 {
            for key in 0..keys {
                cache.insert(key, key);
                written.store(key, Ordering::Release);
            }
            return;
        }
        let mine = keys + thread as u64;
        let mut found = Vec::new();
        while written.load(Ordering::Acquire) + 1 < keys {
            let next = written.load(Ordering::Acquire) + 2;
            let read = cache.atomically(|tx| {
                tx.insert(mine, next);
                tx.get_many([&next, &(next + 1)]).map(|value| value.is_some())
            });
            if let Ok(read) = read {
                found.push((next, read.value, read.version));
            }
        }
        seen.lock().unwrap().append(&mut found);
    });
    for (next, is_present, version) in seen.into_inner().unwrap() {
        for (key, is_present) in (next..).zip(is_present) {
            let Some((_, wrote)) = cache.get_versioned(&key) else {
                assert!(!is_present && key >= keys);
                continue;
            };
            if key < keys {
                assert_eq!(is_present, wrote < version, "{key} of {wrote} at {version}");
            }
        }
    }
}

on_every_reclaimer!(no_write_skew_between_fresh_keys, what_was_found_absent_comes_later);
