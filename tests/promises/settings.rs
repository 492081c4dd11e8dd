//! Promise: settings that can change while a cache is in use change at once, and all settings of
//! one call change together. Each operation uses one consistent set of settings. Earlier values
//! keep their terms.

use crate::common::{Store, on_every_reclaimer, stress};
use coeval::reclaim::Reclaim;
use coeval::{BuildError, ManualClock, Related, Settings};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Cache<R> = Store<u64, u64, R>;

const SECOND: Duration = Duration::from_secs(1);
/// The partner of a key, which relations write along with the key.
const PARTNER: u64 = 1 << 32;

fn cache<R: Reclaim>() -> (ManualClock, Cache<R>) {
    let clock = ManualClock::new();
    let cache = coeval::Cache::builder().manual_clock(&clock).reclaimer::<R>().build();
    (clock, cache)
}

fn change<R: Reclaim>(cache: &Cache<R>, change: impl FnOnce(&mut Settings<u64, u64>)) {
    cache.reconfigure(change).expect("sensible settings");
}

/// Changes the named settings of a cache.
macro_rules! set {
    ($cache:expr, $($setting:ident($($to:expr)?)),+) => {
        change(&$cache, |settings| {
            settings$(.$setting($($to)?))+;
        })
    };
}

/// A relation that sets a key's partner to `value`.
fn partner_is(value: u64) -> impl Fn(&u64, &mut Related<u64, u64>) + Send + Sync + 'static {
    move |key, related| {
        if *key < PARTNER {
            related.insert(key + PARTNER, value);
        }
    }
}

fn done<T>(_: T) {}

fn present<R: Reclaim, const N: usize>(cache: &Cache<R>, keys: [u64; N]) -> [bool; N] {
    keys.map(|key| cache.get(&key).is_some())
}

fn time_to_live<R: Reclaim>() {
    let (clock, cache) = cache::<R>();
    cache.insert(1, 0);
    set!(cache, time_to_live(10 * SECOND));
    cache.insert(2, 0);
    cache.insert_with_ttl(3, 0, 20 * SECOND);
    cache.batch().insert(4, 0).insert(5, 0).commit();
    set!(cache, time_to_live(5 * SECOND));
    cache.insert(5, 1); // A shorter time than the value before had.
    cache.compare_and_set(6, None, 0).unwrap();
    cache.lease(&7).fill(0).unwrap();
    set!(cache, time_to_live(None));
    cache.insert(8, 0);
    clock.advance(5 * SECOND);
    let keys = [1, 2, 3, 4, 5, 6, 7, 8];
    assert_eq!(present(&cache, keys), [true, true, true, true, false, false, false, true]);
    clock.advance(5 * SECOND);
    assert_eq!(present(&cache, keys), [true, false, true, false, false, false, false, true]);
    clock.advance(1_000_000 * SECOND);
    assert_eq!(present(&cache, keys), [true, false, false, false, false, false, false, true]);
    (0..100).for_each(|_| done(cache.insert(8, 0)));
    assert_eq!(cache.len(), 2, "the memory of the others is freed");
}

fn time_to_idle<R: Reclaim>() {
    let (clock, cache) = cache::<R>();
    cache.insert(1, 0);
    set!(cache, time_to_idle(10 * SECOND));
    cache.insert(2, 0);
    set!(cache, time_to_idle(None));
    cache.insert(3, 0);
    for _ in 0..3 {
        clock.advance(6 * SECOND);
        assert_eq!(present(&cache, [1, 2, 3]), [true; 3], "a use extends it");
    }
    clock.advance(10 * SECOND);
    assert_eq!(present(&cache, [1, 2, 3]), [true, false, true]);
}

fn refresh_after<R: Reclaim>() {
    let (clock, cache) = cache::<R>();
    cache.insert(1, 0);
    set!(cache, refresh_after(SECOND));
    cache.insert(2, 0);
    set!(cache, refresh_after(None));
    cache.insert(3, 0);
    clock.advance(SECOND);
    assert_eq!([1, 2, 3].map(|key| cache.get_with(key, || 1)), [0, 1, 0]);
    clock.advance(100 * SECOND);
    assert_eq!(cache.get_with(2, || 2), 1, "it was loaded when no refresh was set");
}

fn relations<R: Reclaim>() {
    let (_, cache) = cache::<R>();
    cache.insert(1, 0);
    assert_eq!(cache.get(&(1 + PARTNER)), None);
    for round in 1..4 {
        set!(cache, related(partner_is(round)));
        let pair = || cache.get_many([&1, &(1 + PARTNER)]);
        cache.insert(1, round);
        assert_eq!(pair(), [Some(round); 2]);
        cache.invalidate(&1);
        assert_eq!(pair(), [None, Some(round)]);
        let version = cache.compare_and_set(1, None, 9).unwrap();
        assert_eq!(cache.get_versioned(&(1 + PARTNER)), Some((round, version)));
        cache.remove(&(1 + PARTNER));
    }
    set!(cache, unrelated());
    cache.insert(1, 7);
    cache.batch().insert(1, 8).commit();
    assert_eq!(cache.get_many([&1, &(1 + PARTNER)]), [Some(8), None]);
}

fn the_listener<R: Reclaim>() {
    let (_, cache) = cache::<R>();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let listen = |name: &'static str| {
        let heard = Arc::clone(&heard);
        change(&cache, |settings| {
            settings.eviction_listener(move |key, value, _, _| {
                heard.lock().unwrap().push((name, *key, value));
            });
        });
    };
    cache.insert(1, 0);
    cache.insert(1, 1);
    listen("first");
    cache.insert(1, 2);
    listen("second");
    cache.insert(1, 3);
    cache.insert(2, 0);
    cache.batch().insert(2, 1).remove(1).commit();
    set!(cache, no_eviction_listener());
    cache.remove(&2);
    let mut heard = heard.lock().unwrap();
    heard.sort();
    assert_eq!(*heard, [("first", 1, 1), ("second", 1, 2), ("second", 1, 3), ("second", 2, 0)]);
}

/// A listener is taken away while it is told of several values: it hears of those of the same list,
/// and of none that leaves later.
fn a_listener_is_taken_away_in_use<R: Reclaim>() {
    let (_, cache) = cache::<R>();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let (hear, weak) = (Arc::clone(&heard), cache.downgrade());
    change(&cache, |settings| {
        settings.eviction_listener(move |key, _, _, _| {
            hear.lock().unwrap().push(*key);
            let cache = weak.upgrade().expect("it is in use");
            cache.remove(&9); // The listener is told of this later.
            change(&cache, |settings| _ = settings.no_eviction_listener());
        });
    });
    (0..10).for_each(|key| _ = cache.insert(key, key));
    cache.batch().remove(1).remove(2).remove(3).commit();
    let mut told = std::mem::take(&mut *heard.lock().unwrap());
    told.sort_unstable();
    assert_eq!(told, [1, 2, 3]);
    cache.remove(&4);
    assert!(heard.lock().unwrap().is_empty());
    assert_eq!((cache.len(), cache.stats().listener_panics), (5, 0));
}

fn nonsense_is_refused_whole<R: Reclaim>() {
    let (clock, cache) = cache::<R>();
    let refused = |change: fn(&mut Settings<u64, u64>), error| {
        assert_eq!(cache.reconfigure(change), Err(error));
    };
    refused(
        |settings| {
            settings.time_to_live(SECOND).time_to_idle(Duration::ZERO);
        },
        BuildError::TimeToIdle,
    );
    let of_refresh = |settings: &mut Settings<u64, u64>| {
        settings.refresh_after(Duration::ZERO);
    };
    refused(of_refresh, BuildError::RefreshAfter);
    let of_live = cache.reconfigure(|settings| {
        settings.time_to_live(Duration::ZERO);
    });
    let error = of_live.unwrap_err();
    assert!(error.to_string().starts_with("time_to_live(0)"), "{error}");
    cache.insert(1, 0);
    clock.advance(SECOND);
    assert_eq!(cache.get(&1), Some(0), "the valid half did not take effect either");
}

fn a_panic_changes_nothing<R: Reclaim>() {
    let (clock, cache) = cache::<R>();
    set!(cache, time_to_live(10 * SECOND));
    let panicking = || {
        cache.reconfigure(|settings| {
            settings.time_to_live(SECOND).related(partner_is(1));
            panic!("in the middle of it");
        })
    };
    assert!(catch_unwind(AssertUnwindSafe(panicking)).is_err());
    cache.insert(1, 0);
    clock.advance(9 * SECOND);
    assert_eq!(cache.get_many([&1, &(1 + PARTNER)]), [Some(0), None]);
    clock.advance(SECOND);
    assert_eq!(cache.get(&1), None);
}

/// The relation removes itself, and the deadlines, in the middle of a commit. The commit uses the
/// settings with which it began.
fn a_commit_uses_the_settings_with_which_it_began<R: Reclaim>() {
    let (clock, cache) = cache::<R>();
    let inner = cache.clone();
    change(&cache, move |settings| {
        settings.time_to_live(SECOND).related(move |key: &u64, related| {
            set!(inner, time_to_live(None), unrelated());
            partner_is(1)(key, related);
        });
    });
    cache.batch().insert(1, 1).insert(2, 1).insert(3, 1).commit();
    let keys = [1, 2, 3, 1 + PARTNER, 2 + PARTNER, 3 + PARTNER];
    assert_eq!(present(&cache, keys), [true; 6]);
    cache.insert(4, 1);
    assert_eq!(present(&cache, [4, 4 + PARTNER]), [true, false]);
    clock.advance(SECOND);
    assert_eq!(present(&cache, keys), [false; 6]);
    assert_eq!(present(&cache, [4]), [true]);
}

/// Relations and deadlines are set and removed together while other threads write. No write uses
/// one without the other.
fn each_write_uses_one_consistent_set<R: Reclaim>() {
    crate::common::disturb();
    let (clock, cache) = cache::<R>();
    let rounds = stress(3_000, 50_000, 1_000_000);
    let is_over = AtomicBool::new(false);
    let swap = |on: bool| match on {
        true => change(&cache, |settings| {
            settings.time_to_live(SECOND).related(partner_is(1));
        }),
        false => set!(cache, time_to_live(None), unrelated()),
    };
    let write = |writer: u64| {
        for round in 0..rounds {
            if round % 50 == 0 {
                swap(round % 100 == 0); // However rarely the swapper gets a turn.
            }
            let key = (writer * rounds + round) * 2;
            match round % 4 {
                0 => done(cache.insert(key, 0)),
                1 => done(cache.batch().insert(key, 0).insert(key + 1, 0).commit()),
                2 => done(cache.compare_and_set(key, None, 0).unwrap()),
                _ => done(cache.batch().insert(key + 1, 0).commit()),
            }
        }
    };
    std::thread::scope(|scope| {
        let writers = [0, 1].map(|writer| scope.spawn(move || write(writer)));
        let swapper = scope.spawn(|| {
            for round in 0.. {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                swap(round % 2 == 0);
                std::thread::yield_now();
            }
        });
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        is_over.store(true, Ordering::Relaxed);
        swapper.join().unwrap();
    });
    let keys = || (0..4 * rounds).filter(|key| cache.contains_key(key));
    let related: Vec<_> = keys().map(|key| (key, cache.contains_key(&(key + PARTNER)))).collect();
    clock.advance(SECOND);
    for (key, has_partner) in &related {
        assert_eq!(cache.contains_key(key), !has_partner, "{key}: a relation without its deadline");
        assert!(!cache.contains_key(&(key + PARTNER)));
    }
    assert_eq!(related.len() as u64, 2 * (rounds + rounds / 4));
    let count = related.iter().filter(|(_, has_partner)| *has_partner).count();
    assert!(count > 0 && count < related.len(), "both were seen: {count} of {}", related.len());
}

/// Each entry that leaves is reported once, by one of the listeners.
fn a_listener_is_swapped_in_use<R: Reclaim>() {
    crate::common::disturb();
    let (_, cache) = cache::<R>();
    let heard = [(); 2].map(|()| Arc::new(AtomicU64::new(0)));
    let listen = |which: usize| {
        let heard = Arc::clone(&heard[which % 2]);
        change(&cache, |settings| {
            settings.eviction_listener(move |_, _, _, _| {
                heard.fetch_add(1, Ordering::Relaxed);
            });
        });
    };
    listen(0);
    let rounds = stress(10_000, 200_000, 5_000_000);
    std::thread::scope(|scope| {
        for writer in 0..2 {
            let cache = &cache;
            scope.spawn(move || (0..rounds).for_each(|n| done(cache.insert(writer + n % 8, n))));
        }
        scope.spawn(|| (0..rounds / 10).for_each(|n| listen(n as usize)));
    });
    let heard = heard.each_ref().map(|heard| heard.load(Ordering::Relaxed));
    assert_eq!(heard[0] + heard[1], cache.stats().removals.replaced);
    assert_eq!(heard[0] + heard[1] + cache.len() as u64, 2 * rounds);
}

/// Concurrent changes of different settings all take effect.
fn no_change_is_lost<R: Reclaim>() {
    for _ in 0..stress(50, 1_000, 20_000) {
        let (clock, cache) = cache::<R>();
        let told = Arc::new(AtomicU64::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| set!(cache, time_to_live(9 * SECOND)));
            scope.spawn(|| set!(cache, refresh_after(SECOND)));
            scope.spawn(|| set!(cache, related(partner_is(1))));
            let told = Arc::clone(&told);
            let cache = &cache;
            scope.spawn(move || {
                change(cache, |settings| {
                    settings.eviction_listener(move |_, _, _, _| {
                        told.fetch_add(1, Ordering::Relaxed);
                    });
                });
            });
        });
        cache.insert(1, 0);
        assert_eq!(present(&cache, [1 + PARTNER]), [true]);
        clock.advance(SECOND);
        assert_eq!(cache.get_with(1, || 5), 5);
        assert_eq!(told.load(Ordering::Relaxed), 1);
        clock.advance(9 * SECOND);
        assert_eq!(present(&cache, [1, 1 + PARTNER]), [false; 2]);
    }
}

/// A value whose destructor panics.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("a closure's destructor");
    }
}

/// A replaced setting is dropped. A listener may remove itself. A panic of a destructor reaches no
/// caller.
fn replaced_settings_are_dropped<R: Reclaim>() {
    let (_, cache) = cache::<R>();
    let kept = Arc::new(());
    let (listening, relating, inner) = (Arc::clone(&kept), Arc::clone(&kept), cache.clone());
    change(&cache, move |settings| {
        settings
            .eviction_listener(move |_, _, _, _| {
                let _kept = &listening;
                set!(inner, no_eviction_listener());
            })
            .related(move |_, _| drop(Arc::clone(&relating)));
    });
    assert_eq!(Arc::strong_count(&kept), 3);
    cache.insert(1, 0);
    cache.insert(1, 1); // The listener hears of this, and removes itself.
    assert_eq!(Arc::strong_count(&kept), 2);
    let bomb = Bomb;
    change(&cache, move |settings| {
        settings.related(move |_, _| {
            let _bomb = &bomb;
        });
    });
    assert_eq!(Arc::strong_count(&kept), 1);
    cache.insert(1, 2);
    set!(cache, unrelated());
    cache.insert(1, 3);
    assert_eq!(cache.get(&1), Some(3));
}

on_every_reclaimer!(
    time_to_live,
    time_to_idle,
    refresh_after,
    relations,
    the_listener,
    a_listener_is_taken_away_in_use,
    nonsense_is_refused_whole,
    a_panic_changes_nothing,
    a_commit_uses_the_settings_with_which_it_began,
    each_write_uses_one_consistent_set,
    a_listener_is_swapped_in_use,
    no_change_is_lost,
    replaced_settings_are_dropped,
);
