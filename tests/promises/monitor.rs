//! Promise: a monitor finds each related entry that is older than its key, and describes it in
//! words. If asked to repair, it removes the entry, but only if the entry has not changed since. It
//! finds nothing in groups that commits have written. Its steps are bounded.

use crate::common::random::Random;
use crate::common::{Store, on_every_reclaimer, stress};
use coeval::reclaim::Reclaim;
use coeval::{Finding, ManualClock, Monitor, RandomState, Related, RemovalCause, Repair, Report};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Cache<R> = Store<u64, u64, R>;
type Watch<K, V, R> = Monitor<K, V, RandomState, R>;

/// The feed of a key has the key's number plus this.
const FEED: u64 = 1 << 32;
/// The page of a key has the key's number plus this.
const PAGE: u64 = 2 << 32;

/// Key → feed → page. A write of the key invalidates the feed and sets the page.
fn chain(key: &u64, related: &mut Related<u64, u64>) {
    match *key {
        user if user < FEED => related.invalidate(user + FEED),
        feed if feed < PAGE => related.insert(feed - FEED + PAGE, 7),
        _ => related,
    };
}

/// A cache in which the pages of these keys, their feeds and then the keys were written, in this
/// order.
fn before_relations<R: Reclaim>(keys: std::ops::Range<u64>) -> Cache<R> {
    let cache = coeval::Cache::builder().reclaimer::<R>().build();
    for of in [PAGE, FEED, 0] {
        keys.clone().for_each(|key| done(cache.insert(key + of, 0)));
    }
    cache
        .reconfigure(|settings| {
            settings.related(chain);
        })
        .unwrap();
    cache
}

fn done<T>(_: T) {}

fn repairing<R: Reclaim>(cache: &Cache<R>) -> Watch<u64, u64, R> {
    cache.monitor().on_mismatch(|_| Repair::Invalidate)
}

/// Does steps of `keys` keys until a round is over. Returns the sum of their reports.
fn round<R: Reclaim>(monitor: &mut Watch<u64, u64, R>, keys: usize) -> Report {
    let mut all = Report::default();
    while all.rounds == 0 {
        let report = monitor.step(keys);
        assert!(report.keys <= keys as u64, "{report:?}");
        all += report;
    }
    all
}

/// Which entries of a key the cache holds: user, feed, page.
fn present<R: Reclaim>(cache: &Cache<R>, key: u64) -> [bool; 3] {
    [0, FEED, PAGE].map(|of| cache.contains_key(&(key + of)))
}

fn it_describes_mismatches_in_words<R: Reclaim>() {
    let cache: Store<String, &str, R> = coeval::Cache::builder()
        .related(|key: &String, related| {
            if let Some(id) = key.strip_prefix("user:") {
                related.invalidate(format!("feed:{id}")).insert(format!("name:{id}"), "derived");
            }
        })
        .reclaimer()
        .build();
    let name = cache.insert("name:42".into(), "Ada");
    let feed = cache.insert("feed:42".into(), "of Ada");
    // The source has changed, but the cache was not told.
    let filled = cache.lease("user:42").fill("Ada Lovelace").unwrap();
    let said = Arc::new(Mutex::new(Vec::new()));
    let hear = Arc::clone(&said);
    let mut monitor = cache.monitor().on_mismatch(move |finding| {
        hear.lock().unwrap().push(finding.to_string());
        assert!(finding.related_version() < finding.version());
        assert_eq!((finding.key().as_str(), &finding.related()[4..]), ("user:42", ":42"));
        Repair::Invalidate
    });
    let report = monitor.step(100);
    let mut said = std::mem::take(&mut *said.lock().unwrap());
    said.sort();
    let expected = [
        format!(
            "user:42 was written at {filled}, its related feed:42 is of {feed}: \
             no commit wrote both"
        ),
        format!(
            "user:42 was written at {filled}, its related name:42 is of {name}: \
             no commit wrote both"
        ),
    ];
    assert_eq!(said, expected);
    assert_eq!(
        report.to_string(),
        "looked at 3 keys and 2 related ones: 2 do not belong to their keys, 2 removed, \
         0 overtaken by other writes; 0 entries past their deadline, 0 fills refused, 0 panics"
    );
    assert_eq!(
        monitor.step(100).to_string(),
        "looked at 1 keys and 2 related ones: all belong together; 0 entries past their deadline, \
         0 fills refused, 0 panics"
    );
    assert_eq!(cache.get_many(["user:42", "feed:42", "name:42"])[1..], [None, None]);
    assert_eq!((monitor.report().rounds, cache.stats().repaired), (2, 1));
    cache.insert("feed:42".into(), "older than the user");
    cache.remove("user:42");
    cache.lease("user:42").fill("Ada").unwrap();
    let report = monitor.step(100).to_string();
    assert!(report.contains(": 1 does not belong to its key, 1 removed, 0 overtaken"), "{report}");
}

fn it_finds_entries_older_than_the_relations<R: Reclaim>() {
    let cache = before_relations::<R>(0..100);
    let mut counting = cache.monitor();
    let report = round(&mut counting, 1_000);
    // The feed and page of each user, and the page of each feed.
    assert_eq!((report.keys, report.related, report.mismatches), (300, 300, 300));
    assert_eq!((report.repaired, report.overtaken, cache.len()), (0, 0, 300));
    assert!(!report.is_sound());
    assert_eq!(round(&mut counting, 1_000), report, "the round changed nothing");
    cache.insert(7, 1); // The entries of one group now match.
    let mut monitor = repairing(&cache);
    let report = round(&mut monitor, 1_000);
    assert_eq!((report.keys, report.mismatches), (299, 297));
    // Each page is found twice, with the user and with the feed, and removed once.
    assert_eq!((report.repaired, report.overtaken), (198, 99));
    assert_eq!(present(&cache, 7), [true, false, true]);
    assert!(
        (0..100).filter(|key| *key != 7).all(|key| present(&cache, key) == [true, false, false])
    );
    assert!(round(&mut monitor, 1_000).is_sound());
    assert_eq!(monitor.report().mismatches, 297);
    let stats = cache.stats();
    assert!((99..=198).contains(&stats.repaired), "{}", stats.repaired);
    assert_eq!((stats.removals.related, stats.views), (1 + 198 + 1, 0));
}

/// The monitor follows relations through absent entries, as a write does.
fn it_looks_past_absent_entries<R: Reclaim>() {
    let cache = before_relations::<R>(0..1);
    cache.remove(&FEED);
    let mut monitor = repairing(&cache);
    assert_eq!(round(&mut monitor, 10).repaired, 1);
    assert_eq!(present(&cache, 0), [true, false, false]);
}

fn newer_entries_are_left<R: Reclaim>() {
    let cache = before_relations::<R>(0..1);
    cache.insert(0, 1);
    cache.lease(&FEED).fill(1).unwrap();
    let report = round(&mut repairing(&cache), 10);
    assert_eq!((report.mismatches, report.repaired), (1, 1), "the page is older than the feed");
    cache.insert(PAGE, 2);
    assert!(round(&mut repairing(&cache), 10).is_sound());
    assert_eq!(present(&cache, 0), [true; 3]);
}

/// Each key is visited once per round, and no step visits more keys than asked for, however the
/// cache grows in the meantime.
fn steps_are_bounded<R: Reclaim>() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let hear = Arc::clone(&asked);
    let cache: Cache<R> = coeval::Cache::builder()
        .related(move |key: &u64, _| hear.lock().unwrap().push(*key))
        .reclaimer()
        .build();
    let (count, grown) = (1_000, 20_000);
    (0..count).for_each(|key| done(cache.insert(key, 0)));
    let mut monitor = cache.monitor();
    for keys in [1, 3, 10, 64, 5_000, usize::MAX] {
        asked.lock().unwrap().clear();
        let report = round(&mut monitor, keys);
        let mut asked = std::mem::take(&mut *asked.lock().unwrap());
        asked.sort();
        assert_eq!(report.keys, count);
        assert!(asked.into_iter().eq(0..count), "each once, by steps of {keys}");
    }
    assert_eq!((monitor.step(0).keys, monitor.step(1).rounds), (0, 0));
    let earlier = monitor.step(50).keys;
    for key in count..grown {
        cache.insert(key, 0);
        if key % 400 == 0 {
            assert!(monitor.step(10).keys <= 10);
        }
    }
    assert!(earlier > 0);
    round(&mut monitor, 100);
    assert_eq!(round(&mut monitor, 100).keys, grown);
}

/// An entry that changed between the look and the repair is not touched.
fn changed_entries_are_left<R: Reclaim>() {
    for change in 0..4 {
        let cache = before_relations::<R>(5..6);
        let (inner, feed) = (cache.clone(), 5 + FEED);
        let mut monitor = cache.monitor().on_mismatch(move |finding: &Finding<'_, u64>| {
            if *finding.related() == feed {
                match change {
                    0 => done(inner.insert(feed, 9)),
                    1 => done(inner.remove(&feed)),
                    2 => done(inner.insert(5, 9)),
                    _ => {
                        inner.remove(&feed);
                        inner.lease(&feed).fill(9).unwrap();
                    }
                }
            }
            Repair::Invalidate
        });
        let report = round(&mut monitor, 10);
        assert!(report.overtaken > 0 && report.panics == 0, "{change}: {report:?}");
        assert_eq!(cache.get(&feed), [Some(9), None, None, Some(9)][change], "{change}");
        assert!(cache.contains_key(&5));
    }
}

/// Commits of all kinds, evictions, expirations and clearings go on, and the monitor finds nothing.
fn no_false_alarms<R: Reclaim>() {
    crate::common::disturb();
    for capacity in [1_000, 30] {
        let clock = ManualClock::new();
        let cache: Cache<R> = coeval::Cache::builder()
            .max_capacity(capacity)
            .time_to_live(Duration::from_secs(100))
            .manual_clock(&clock)
            .related(chain)
            .reclaimer()
            .build();
        let is_over = AtomicBool::new(false);
        let rounds = stress(4_000, 100_000, 3_000_000);
        let write = |writer: u64| {
            let mut random = Random::new(writer + crate::common::random::run_seed());
            for n in 0..rounds {
                let key = random.below(16);
                match random.below(12) {
                    0 => done(cache.remove(&(key + FEED))),
                    1 => done(cache.invalidate(&key)),
                    2 => done(cache.insert(key + FEED, n)),
                    3 => done(cache.insert(key + PAGE, n)),
                    4 => done(cache.batch().invalidate(key).insert(random.below(16), n).commit()),
                    5 => done(cache.compare_and_set(key, None, n)),
                    6 if random.one_in(50) => done(cache.invalidate_all()),
                    7 if random.one_in(10) => clock.advance(Duration::from_secs(40)),
                    8 => done(cache.batch().insert(key, n).insert(key + FEED, n).commit()),
                    _ => done(cache.insert(key, n)),
                }
            }
        };
        std::thread::scope(|scope| {
            let writers = [0, 1].map(|writer| scope.spawn(move || write(writer)));
            let watcher = scope.spawn(|| {
                let mut monitor = repairing(&cache);
                let mut rounds_beside = u64::MAX;
                while monitor.report().rounds < rounds_beside.saturating_add(3) {
                    if is_over.load(Ordering::Relaxed) {
                        rounds_beside = rounds_beside.min(monitor.report().rounds);
                    }
                    let report = monitor.step(40);
                    assert!(report.is_sound(), "{report}");
                }
                monitor.report()
            });
            writers.into_iter().for_each(|writer| writer.join().unwrap());
            cache.insert(0, rounds); // An entry, even if the watcher had no turn before.
            is_over.store(true, Ordering::Relaxed);
            let report = watcher.join().unwrap();
            assert!(report.related > 0 && report.panics == 0, "{report:?}");
        });
        assert_eq!(cache.stats().repaired, 0);
    }
}

/// Groups that are wrong at first are written correctly while a monitor repairs them. The values
/// that the writers wrote are always present.
fn repairs_race_with_writers<R: Reclaim>() {
    crate::common::disturb();
    for _ in 0..stress(5, 50, 500) {
        let cache = before_relations::<R>(0..200);
        cache
            .reconfigure(|settings| {
                settings.related(|key, related| {
                    if *key < FEED {
                        related.insert(key + FEED, 1);
                    }
                });
            })
            .unwrap();
        std::thread::scope(|scope| {
            for half in 0..2 {
                let cache = &cache;
                scope.spawn(move || {
                    (0..200).filter(|key| key % 2 == half).for_each(|key| {
                        cache.insert(key, 1);
                        std::thread::yield_now();
                    });
                });
            }
            scope.spawn(|| (0..10).for_each(|_| done(round(&mut repairing(&cache), 50))));
        });
        for key in 0..200 {
            let [user, feed] = [key, key + FEED].map(|key| cache.get_versioned(&key));
            assert_eq!(user.unwrap().1, feed.expect("a repair removed a correct entry").1);
        }
        assert!(round(&mut repairing(&cache), 50).is_sound());
    }
}

fn panics_are_counted<R: Reclaim>() {
    let cache = before_relations::<R>(0..10);
    cache
        .reconfigure(|settings| {
            settings.related(|key, related| {
                assert!(*key != 3, "a relation");
                chain(key, related);
            });
        })
        .unwrap();
    let mut monitor = cache.monitor().on_mismatch(|finding| {
        assert!(*finding.key() != 4, "a callback");
        Repair::Invalidate
    });
    let report = round(&mut monitor, 100);
    assert_eq!((report.keys, report.panics), (30, 2));
    assert_eq!(present(&cache, 5), [true, false, false]);
    // The feeds of both keys are still visited, and their pages found.
    assert_eq!([3, 4].map(|key| present(&cache, key)), [[true, true, false]; 2]);
    assert_eq!(cache.stats().views, 0);
}

/// A relation that names more keys than the cache allows counts as one that panics.
fn relations_without_end_are_counted<R: Reclaim>() {
    let cache: Cache<R> = coeval::Cache::builder().max_related(10).reclaimer().build();
    (0..5).for_each(|key| _ = cache.insert(key, key));
    let endless = |key: &u64, related: &mut Related<u64, u64>| {
        related.invalidate(if *key == 3 || *key >= 100 { *key + 100 } else { *key });
    };
    cache.reconfigure(|settings| _ = settings.related(endless)).unwrap();
    let report = round(&mut cache.monitor(), 100);
    assert_eq!((report.keys, report.panics, report.is_sound()), (5, 1, true));
}

fn other_counts<R: Reclaim>() {
    let clock = ManualClock::new();
    let cache: Cache<R> = coeval::Cache::builder().manual_clock(&clock).reclaimer().build();
    let mut monitor = cache.monitor();
    (0..5).for_each(|key| {
        cache.insert_with_ttl(key, 0, Duration::from_secs(1));
    });
    cache.insert(5, 0);
    let lease = cache.lease(&5);
    cache.insert(5, 1);
    assert!(lease.fill(2).is_err());
    cache.derive(6, |scope| scope.get(&5).unwrap());
    cache.insert(5, 3); // Its derived value has ended, but not by its deadline.
    clock.advance(Duration::from_secs(1));
    let report = round(&mut monitor, 100);
    assert_eq!((report.keys, report.related, report.overdue), (1, 0, 5));
    assert_eq!((report.fills_refused, report.is_sound()), (1, true));
    (0..100).for_each(|key| done(cache.insert(key + 10, 0)));
    let report = round(&mut monitor, 1_000);
    assert_eq!((report.keys, report.overdue, report.fills_refused), (101, 0, 0));
    assert_eq!(monitor.report().keys, 102);
}

/// A related key that is named twice counts once. Relations may form cycles. A key is not related
/// to itself.
fn groups_have_each_key_once<R: Reclaim>() {
    let cache: Cache<R> = coeval::Cache::builder().reclaimer().build();
    (0..100).rev().for_each(|key| done(cache.insert(key, 0)));
    cache
        .reconfigure(|settings| {
            settings.related(|key, related| {
                let next = (key + 1) % 100;
                related.invalidate(next).invalidate(*key).invalidate(next);
            });
        })
        .unwrap();
    let report = round(&mut cache.monitor(), 1_000);
    // Of any two keys, one is older.
    assert_eq!((report.keys, report.related, report.mismatches), (100, 9_900, 4_950));
}

/// The listener hears of a repair as of a removal by a relation. A monitor can move to any thread.
fn a_repair_is_a_removal<R: Reclaim>() {
    let cache = before_relations::<R>(1..2);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hear = Arc::clone(&heard);
    cache
        .reconfigure(|settings| {
            settings.eviction_listener(move |key: Arc<u64>, _, cause, version| {
                hear.lock().unwrap().push((*key, cause, version));
            });
        })
        .unwrap();
    let newest = cache.version();
    let mut monitor = repairing(&cache);
    assert!(format!("{monitor:?}").starts_with("Monitor { report: Report { keys: 0"));
    let timeline = cache.timeline();
    timeline.start();
    drop(cache);
    let report = std::thread::spawn(move || round(&mut monitor, 10)).join().unwrap();
    assert_eq!(report.repaired, 2);
    assert_eq!(timeline.to_string().matches("repaired").count(), 2);
    let mut heard = heard.lock().unwrap();
    heard.sort_by_key(|(key, ..)| *key);
    let told: Vec<_> = heard.iter().map(|(key, cause, _)| (*key, *cause)).collect();
    assert_eq!(told, [(1 + FEED, RemovalCause::Related), (1 + PAGE, RemovalCause::Related)]);
    assert!(heard.iter().all(|(.., version)| *version > newest));
}

on_every_reclaimer!(
    it_describes_mismatches_in_words,
    it_finds_entries_older_than_the_relations,
    it_looks_past_absent_entries,
    newer_entries_are_left,
    steps_are_bounded,
    changed_entries_are_left,
    no_false_alarms,
    repairs_race_with_writers,
    panics_are_counted,
    relations_without_end_are_counted,
    other_counts,
    groups_have_each_key_once,
    a_repair_is_a_removal,
);
