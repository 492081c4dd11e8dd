//! Promise: caches of one domain commit together. A commit of several caches is visible in all of
//! them at one instant, a view of the domain shows one instant, and a transaction across them is
//! strictly serializable.

mod parts;
#[cfg(coeval_internals)]
mod steps;

use crate::common::{StopOnDrop, Store, disturb, on_every_reclaimer, stress, together, within};
use coeval::reclaim::Reclaim;
use coeval::{
    Cache, Domain, ForeignCache, ManualClock, RemovalCause, Tag, Terms, TransactError, Version,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(120);

/// Two caches of one domain, of different types.
struct Pair<R: Reclaim> {
    domain: Domain,
    numbers: Store<u64, u64, R>,
    names: Store<String, Box<str>, R>,
}

fn pair<R: Reclaim>() -> Pair<R> {
    let domain = Domain::new();
    let numbers = Cache::builder().reclaimer::<R>().domain(&domain).build();
    let names = Cache::builder().reclaimer::<R>().domain(&domain).build();
    Pair { domain, numbers, names }
}

impl<R: Reclaim> Pair<R> {
    /// Sets `key` to `value` in both caches by one commit.
    fn set(&self, key: u64, value: u64) -> Version {
        let mut batch = self.domain.batch();
        batch.insert(&self.numbers, key, value).unwrap();
        batch.insert(&self.names, key.to_string(), value.to_string().into()).unwrap();
        batch.commit()
    }

    /// What both caches hold, as of one view.
    fn shown(&self, keys: std::ops::Range<u64>) -> Vec<(Option<u64>, Option<u64>)> {
        let view = self.domain.view();
        let (numbers, names) = (view.of(&self.numbers).unwrap(), view.of(&self.names).unwrap());
        assert_eq!((numbers.version(), names.version()), (view.version(), view.version()));
        let name = |key: u64| names.get(&key.to_string()).map(|name| name.parse().unwrap());
        keys.map(|key| (numbers.get(&key).copied(), name(key))).collect()
    }
}

#[test]
fn one_commit_has_one_version_in_all_caches() {
    let Pair { domain, numbers, names } = pair::<coeval::reclaim::Asymmetric>();
    let before = numbers.insert(1, 1);
    let mut batch = domain.batch();
    batch.of(&numbers).unwrap().insert(1, 10).insert(2, 20).insert(2, 21).remove(3);
    batch.insert(&names, "1".into(), "one".into()).unwrap();
    assert!(!batch.is_empty());
    let version = batch.commit();
    assert!(before < version && domain.version() == version && names.version() == version);
    assert_eq!(numbers.get_versioned(&1), Some((10, version)));
    assert_eq!(numbers.get_versioned(&2), Some((21, version)), "the last write of a key counts");
    assert_eq!(names.get_versioned("1"), Some(("one".into(), version)));
    let next = names.insert("2".into(), "two".into());
    assert!(next > version, "the caches have one order of versions");
    let empty = domain.batch().commit();
    assert!(empty > next && domain.version() == empty);
    domain.batch().insert(&numbers, 1, 11).map(drop).unwrap();
    assert_eq!(numbers.get(&1), Some(10), "a batch that is dropped changes nothing");
}

#[test]
fn a_foreign_cache_is_refused_and_values_come_back() {
    let Pair { domain, numbers, .. } = pair::<coeval::reclaim::Asymmetric>();
    let (alone, other) = (Cache::<u64, u64>::new(), Domain::new().cache::<u64, u64>());
    for foreign in [&alone, &other] {
        let mut batch = domain.batch();
        batch.insert(&numbers, 1, 10).unwrap();
        let refused = batch.insert(foreign, 2, 20).map(drop).unwrap_err();
        assert_eq!(refused.into_inner(), (2, 20));
        assert_eq!(batch.remove(foreign, 7).map(drop).unwrap_err().into_inner(), 7);
        assert!(batch.of(foreign).is_err());
        batch.commit();
        assert_eq!((numbers.remove(&1), foreign.len()), (Some(10), 0), "the batch is as before");
        assert!(domain.view().of(foreign).is_err());
        let refused = domain.transact(|tx| tx.of(foreign).map(drop));
        assert!(matches!(refused, Err(TransactError::Aborted(ForeignCache { .. }))));
        assert!(refused.unwrap_err().to_string().contains("not of this domain"));
    }
}

#[test]
fn a_view_has_the_caches_that_were_there() {
    let domain = Domain::new();
    let early = domain.cache::<u64, u64>();
    early.insert(1, 10);
    let view = domain.view();
    let late = domain.cache::<u64, u64>();
    assert!(view.of(&late).is_err() && domain.view().of(&late).is_ok());
    early.insert(1, 11);
    let shown = view.of(&early).unwrap();
    drop(view);
    assert_eq!((shown.get(&1), early.stats().views), (Some(&10), 1), "it may outlive the other");
    drop(shown);
    drop(early);
    let view = domain.view();
    assert_eq!(late.stats().views, 1);
    drop(view);
    assert_eq!(late.stats().views, 0, "a cache that is gone is no part of a view");
}

/// Writers of both caches, and readers by views: no view shows halves of commits, and versions
/// never go back.
fn no_view_shows_a_part_of_a_commit<R: Reclaim>() {
    const KEYS: u64 = 8;
    disturb();
    let pair = pair::<R>();
    let (stop, shown) = (AtomicBool::new(false), AtomicU64::new(0));
    (0..KEYS).for_each(|key| _ = pair.set(key, 0));
    within(LIMIT, "writers and readers", || {
        together(4, |thread| match thread {
            0 | 1 => {
                let _stop = StopOnDrop(&stop);
                for n in 1..=stress(4_000, 40_000, 400_000) {
                    pair.set((n + 3 * thread as u64) % KEYS, n);
                    if n % 3 == 0 {
                        // A commit of all keys in both caches, with one value.
                        let mut batch = pair.domain.batch();
                        for key in 0..KEYS {
                            batch.insert(&pair.numbers, key, n).unwrap();
                            let (name, value) = (key.to_string(), n.to_string().into());
                            batch.insert(&pair.names, name, value).unwrap();
                        }
                        batch.commit();
                    }
                }
            }
            2 => {
                while !stop.load(Ordering::Acquire) {
                    let all = pair.shown(0..KEYS);
                    let torn = all.iter().find(|(number, name)| number != name);
                    assert_eq!(torn, None, "of {all:?}");
                    shown.fetch_add(1, Ordering::Relaxed);
                }
            }
            _ => {
                // Single operations and views of one cache beside the others.
                let mut newest = Version::default();
                while !stop.load(Ordering::Acquire) {
                    let view = pair.numbers.view();
                    assert!(view.version() >= newest);
                    newest = view.version();
                    let (_, version) = pair.numbers.get_versioned(&0).unwrap();
                    assert!(version <= pair.domain.version());
                    pair.names.insert("alone".into(), "x".into());
                }
            }
        });
    });
    assert!(shown.load(Ordering::Relaxed) > 0);
    assert_eq!((pair.numbers.stats().views, pair.names.stats().views), (0, 0));
}

/// Each of two threads reads the key of the other one, in the other cache, and writes its own only
/// if that is absent: at most one of them may.
fn there_is_no_write_skew_across_caches<R: Reclaim>() {
    disturb();
    let Pair { domain, numbers, names } = pair::<R>();
    let rounds = stress(1_500, 15_000, 150_000);
    let both = AtomicU64::new(0);
    for round in 0..rounds {
        // With a record known before, or with nothing known of the key.
        if round % 2 == 0 {
            numbers.insert(round, 0);
            names.insert(round.to_string(), "".into());
            numbers.remove(&round);
            names.remove(&round.to_string());
        }
        together(2, |thread| {
            let done = domain.transact(|tx| {
                if thread == 0 {
                    if !tx.of(&names)?.contains_key(&round.to_string()) {
                        tx.of(&numbers)?.insert(round, 1);
                    }
                } else if tx.of(&numbers)?.get(&round).is_none() {
                    tx.of(&names)?.insert(round.to_string(), "1".into());
                }
                Ok::<_, ForeignCache>(())
            });
            assert!(!matches!(done, Err(TransactError::Aborted(_))));
        });
        if numbers.contains_key(&round) && names.contains_key(&round.to_string()) {
            both.fetch_add(1, Ordering::Relaxed);
        }
    }
    assert_eq!(both.into_inner(), 0, "of {rounds} rounds");
}

/// Money moves between two caches. Each view and each transaction sees the same sum.
fn a_sum_over_both_caches_is_kept<R: Reclaim>() {
    const ACCOUNTS: u64 = 6;
    disturb();
    let domain = Domain::new();
    let one: Store<u64, i64, R> = Cache::builder().reclaimer::<R>().domain(&domain).build();
    let two: Store<u64, i64, R> = Cache::builder().reclaimer::<R>().domain(&domain).build();
    for account in 0..ACCOUNTS {
        one.insert(account, 100);
        two.insert(account, 100);
    }
    let (stop, moved) = (AtomicBool::new(false), AtomicU64::new(0));
    within(LIMIT, "moving and summing", || {
        together(4, |thread| {
            if thread == 3 {
                while moved.load(Ordering::Relaxed) == 0 || !stop.load(Ordering::Acquire) {
                    let view = domain.view();
                    let (one, two) = (view.of(&one).unwrap(), view.of(&two).unwrap());
                    let sum: i64 = one.iter().chain(two.iter()).map(|(_, money)| money).sum();
                    assert_eq!(sum, 200 * ACCOUNTS as i64);
                }
                return;
            }
            let _stop = StopOnDrop(&stop);
            for n in 0..stress(1_500, 15_000, 150_000) {
                let (from, to) = ((n * 5 + thread as u64) % ACCOUNTS, (n * 7) % ACCOUNTS);
                let (source, target) = if n % 2 == 0 { (&one, &two) } else { (&two, &one) };
                let done = domain.transact(|tx| {
                    let left = tx.of(source)?.get(&from).unwrap() - 1;
                    let more = tx.of(target)?.get(&to).unwrap() + 1;
                    tx.of(source)?.insert(from, left);
                    tx.of(target)?.insert(to, more);
                    Ok::<_, ForeignCache>(())
                });
                moved.fetch_add(u64::from(done.is_ok()), Ordering::Relaxed);
            }
        });
    });
    let all = one.iter().chain(two.iter()).map(|(_, money)| money).sum::<i64>();
    assert_eq!(all, 200 * ACCOUNTS as i64);
}

#[test]
fn a_transaction_reads_its_own_writes_and_one_version() {
    let Pair { domain, numbers, names } = pair::<coeval::reclaim::Asymmetric>();
    numbers.insert(1, 10);
    let done = domain
        .atomically(|tx| {
            let version = tx.version();
            // Another thread's commit is not seen.
            if numbers.get(&1) == Some(10) {
                numbers.insert(9, 9);
            }
            assert!(tx.of(&names).unwrap().get("1").is_none());
            tx.of(&names).unwrap().insert("1".into(), "one".into());
            assert_eq!(tx.of(&names).unwrap().get("1").as_deref(), Some("one"));
            let mut of_numbers = tx.of(&numbers).unwrap();
            assert_eq!(of_numbers.update(1, |n| n + 1), Some(10));
            assert_eq!(of_numbers.get(&1), Some(11));
            of_numbers.remove(2);
            assert!(numbers.get_versioned(&1).unwrap().1 <= version);
            (names.get("1"), version)
        })
        .unwrap();
    assert_eq!(done.value.0, None, "nothing is visible before the commit");
    assert_eq!(numbers.get_versioned(&1), Some((11, done.version)));
    assert_eq!(names.get_versioned("1"), Some(("one".into(), done.version)));

    // Without writes, it is as of its version, and makes no commit.
    let before = domain.version();
    let read = domain.atomically(|tx| tx.of(&numbers).unwrap().get(&1)).unwrap();
    assert_eq!((read.value, read.version, domain.version()), (Some(11), before, before));
    let refused = domain.transact(|tx| {
        tx.of(&numbers).unwrap().insert(1, 0);
        Err::<(), _>("no")
    });
    assert_eq!(refused, Err(TransactError::Aborted("no")));
    assert_eq!((numbers.get(&1), domain.version()), (Some(11), before));
    assert_eq!((numbers.stats().views, names.stats().views), (0, 0));
}

/// A change of what was read in one cache alone makes the transaction run again, though it writes
/// only another one.
#[test]
fn what_was_read_in_any_cache_must_be_unchanged() {
    let Pair { domain, numbers, names } = pair::<coeval::reclaim::Asymmetric>();
    let tag = [Tag::from("tag")];
    numbers.insert(1, 10);
    numbers.insert_tagged(2, 20, &tag);
    let changes: [(&str, &dyn Fn()); 6] = [
        ("a write", &|| _ = numbers.insert(1, 11)),
        ("a removal", &|| _ = numbers.remove(&1)),
        ("a tag", &|| _ = numbers.invalidate_tag("tag")),
        ("clearing", &|| _ = numbers.invalidate_all()),
        ("an unknown key", &|| _ = numbers.insert(3, 30)),
        ("nothing", &|| ()),
    ];
    for (what, change) in changes {
        numbers.insert(1, 10);
        numbers.insert_tagged(2, 20, &tag);
        let (mut runs, before) = (0, numbers.stats().conflicts);
        let key = if what == "an unknown key" { 3 } else { 1 };
        domain
            .transact(|tx| {
                runs += 1;
                let mut read = tx.of(&numbers)?;
                read.get(&key);
                read.get(&2);
                tx.of(&names)?.insert("it".into(), what.into());
                if runs == 1 {
                    change();
                }
                Ok::<_, ForeignCache>(())
            })
            .unwrap();
        assert_eq!(runs, if what == "nothing" { 1 } else { 2 }, "{what}");
        assert_eq!(numbers.stats().conflicts - before, runs - 1, "{what}");
        assert_eq!(names.get("it").as_deref(), Some(what));
    }
}

/// The weigher and the relations of each cache run before the commit. A panic in any of them
/// changes no cache, and all are in order afterwards.
#[test]
fn a_panic_changes_no_cache() {
    for at in 0..2 {
        let domain = Domain::new();
        let panics = Arc::new(AtomicBool::new(false));
        let build = |which: usize| {
            let panics = Arc::clone(&panics);
            let weigh = move |key: &u64, _: &String| {
                assert!(which != at || *key != 1 || !panics.load(Ordering::Relaxed), "of the test");
                1
            };
            Cache::builder().max_capacity(100).weigher(weigh).domain(&domain).build()
        };
        let caches = [build(0), build(1)];
        let before = caches.each_ref().map(|cache| cache.insert(1, "before".to_string()))[1];
        let fill = |value: &str| {
            let mut batch = domain.batch();
            for cache in &caches {
                batch.insert(cache, 2, value.to_string()).unwrap();
                batch.insert(cache, 1, value.to_string()).unwrap();
            }
            batch.commit()
        };
        panics.store(true, Ordering::Relaxed);
        assert!(catch_unwind(AssertUnwindSafe(|| fill("after"))).is_err());
        let transaction = catch_unwind(AssertUnwindSafe(|| {
            domain.transact(|tx| {
                tx.of(&caches[0])?.insert(2, "after".to_string());
                tx.of(&caches[1])?.insert(1, "after".to_string());
                tx.of(&caches[0])?.insert(1, "after".to_string());
                Ok::<_, ForeignCache>(())
            })
        }));
        assert!(transaction.is_err());
        assert!(catch_unwind(|| domain.atomically(|_| panic!("of the test"))).is_err());
        assert_eq!(domain.version(), before);
        panics.store(false, Ordering::Relaxed);
        for cache in &caches {
            assert_eq!((cache.get(&1).as_deref(), cache.get(&2)), (Some("before"), None));
            assert_eq!((cache.stats().views, cache.len()), (0, 1));
        }
        let version = fill("after");
        for cache in &caches {
            assert_eq!(cache.get_versioned(&1), Some(("after".to_string(), version)));
        }
    }
}

/// Each cache keeps its own bound, and its listener hears of its own entries.
fn bounds_hold_beside_commits_of_several_caches<R: Reclaim>() {
    let domain = Domain::new();
    let gone = Arc::new(Mutex::new(Vec::new()));
    let listener = {
        let gone = Arc::clone(&gone);
        move |key: Arc<u64>, value: u64, cause, _| gone.lock().unwrap().push((*key, value, cause))
    };
    let small: Store<u64, u64, R> = Cache::builder()
        .max_capacity(50)
        .eviction_listener(listener)
        .reclaimer::<R>()
        .domain(&domain)
        .build();
    let large: Store<u64, u64, R> =
        Cache::builder().max_capacity(500).reclaimer::<R>().domain(&domain).build();
    for n in 0..2_000 {
        let mut batch = domain.batch();
        batch.insert(&small, n, n).unwrap().insert(&large, n, n).unwrap();
        batch.commit();
        assert!(small.len() <= 50 && large.len() <= 500, "after {n}");
    }
    assert_eq!((small.len(), large.len()), (50, 500));
    let gone = gone.lock().unwrap();
    assert_eq!(gone.len(), 1_950);
    assert!(gone.iter().all(|&(key, value, cause)| key == value && cause == RemovalCause::Size));
}

#[test]
fn deadlines_and_tags_belong_to_each_cache() {
    let (clock, domain) = (ManualClock::new(), Domain::new());
    let second = Duration::from_secs(1);
    let timed = Cache::<u64, u64>::builder()
        .time_to_live(10 * second)
        .manual_clock(&clock)
        .domain(&domain)
        .build();
    let plain = domain.cache::<u64, u64>();
    let mut batch = domain.batch();
    let terms = Terms::new().time_to_live(30 * second).tags(["tag"]);
    batch.of(&timed).unwrap().insert(1, 1).insert_with(2, 2, terms);
    batch.of(&timed).unwrap().insert_with_ttl(3, 3, second).insert_tagged(4, 4, &["tag".into()]);
    batch.of(&plain).unwrap().insert(1, 1).insert_tagged(2, 2, &["tag".into()]);
    batch.commit();
    let view = domain.view();
    clock.advance(second);
    assert_eq!(timed.get_many([&1, &2, &3, &4]), [Some(1), Some(2), None, Some(4)]);
    let at_one = domain.view();
    clock.advance(10 * second);
    assert_eq!(timed.get_many([&1, &2, &3, &4]), [None, Some(2), None, None]);
    assert_eq!(plain.get(&1), Some(1));
    for (view, three) in [(&view, Some(&3)), (&at_one, None)] {
        let shown = view.of(&timed).unwrap();
        assert_eq!((shown.get(&1), shown.get(&3)), (Some(&1), three), "a view shows its time");
    }
    timed.invalidate_tag("tag");
    assert_eq!((timed.get(&2), plain.get(&2)), (None, Some(2)), "tags are those of one cache");
    assert_eq!(view.of(&timed).unwrap().get(&2), Some(&2));

    // A transaction whose value expires meanwhile runs again.
    timed.insert(1, 7);
    let mut seen = Vec::new();
    let done = domain.transact(|tx| {
        seen.push(tx.of(&timed)?.get(&1));
        tx.of(&plain)?.insert(5, 5);
        clock.advance(10 * second);
        Ok::<_, ForeignCache>(())
    });
    assert!(done.is_ok());
    assert_eq!(seen, [Some(7), None]);
}

/// A cache may end while the domain and others go on, and while another thread commits.
fn caches_come_and_go<R: Reclaim>() {
    disturb();
    let domain = Domain::new();
    let stays: Store<u64, Arc<u64>, R> = Cache::builder().reclaimer::<R>().domain(&domain).build();
    let alive = Arc::new(0);
    together(3, |thread| {
        for n in 0..stress(300, 3_000, 30_000) {
            let key = n % 4;
            if thread == 2 {
                let view = domain.view();
                let shown = view.of(&stays).unwrap();
                assert!(shown.iter().count() <= 4);
                stays.insert(key, Arc::clone(&alive));
                continue;
            }
            let comes: Store<u64, Arc<u64>, R> =
                Cache::builder().reclaimer::<R>().domain(&domain).build();
            let mut batch = domain.batch();
            batch.insert(&stays, key, Arc::clone(&alive)).unwrap();
            batch.insert(&comes, key, Arc::clone(&alive)).unwrap();
            drop(comes);
            batch.commit();
        }
    });
    assert!(stays.get_many([&0, &1, &2, &3]).iter().all(Option::is_some));
    drop((stays, domain));
    assert_eq!(Arc::strong_count(&alive), 1, "everything was dropped");
}

on_every_reclaimer!(
    no_view_shows_a_part_of_a_commit,
    there_is_no_write_skew_across_caches,
    a_sum_over_both_caches_is_kept,
    bounds_hold_beside_commits_of_several_caches,
    caches_come_and_go,
);
