//! Promise: a panic in the user's code leaves the cache intact and usable by all threads, and no
//! half of a batch visible. Everything is still dropped exactly once.
//!
//! Each operation runs again and again on a fresh cache. The first call of the user's code panics,
//! then the second, and so on, until the operation completes.

mod fuse;
mod terms;
#[cfg(coeval_internals)]
mod unset;

use crate::common::random::{Random, run_seed};
use crate::common::{Store, on_every_reclaimer, stress, together, within};
use coeval::Related;
use coeval::reclaim::Reclaim;
use fuse::{ById, Key, Maker, Site, Val, reach, with_fuse};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

type Cache<R> = Store<Key, Val, R>;
type Contents = BTreeMap<u64, u64>;
/// An operation, and its name.
type Case<R> = (&'static str, fn(&Cache<R>, &Maker));

/// Keys 0 to 11, each with its own number as its value. A write of 0 also rewrites 1 and drops 2. A
/// write of 1 drops 3.
fn filled<R: Reclaim>(maker: &Maker) -> Cache<R> {
    let made = maker.clone();
    let cache = coeval::Cache::builder()
        .reclaimer::<R>()
        .initial_capacity(0)
        .related(move |key: &Key, related: &mut Related<Key, Val>| {
            reach(Site::Relation);
            match key.0.read() {
                0 => {
                    related.insert(made.key(1), made.value(201));
                    reach(Site::Relation);
                    related.invalidate(made.key(2));
                }
                1 => drop(related.recompute(made.key(3))),
                _ => {}
            }
        })
        .build();
    for id in (0..12).rev() {
        let batch = cache.batch().remove(maker.key(id));
        drop(batch);
        cache.insert(maker.key(id), maker.value(id));
    }
    for id in 1..4 {
        cache.insert(maker.key(id), maker.value(id));
    }
    cache
}

fn contents<R: Reclaim>(cache: &Cache<R>) -> Contents {
    let view = cache.view();
    let all: Contents = view.iter().map(|(key, value)| (key.0.read(), value.0.read())).collect();
    assert_eq!((view.iter().count(), cache.len()), (all.len(), all.len()));
    all
}

/// All operations. Each makes at most one commit.
fn cases<R: Reclaim>() -> Vec<Case<R>> {
    vec![
        ("insert new", |cache, make| {
            cache.insert(make.key(50), make.value(500));
        }),
        ("overwrite", |cache, make| {
            cache.insert(make.key(5), make.value(500));
        }),
        ("insert with relations", |cache, make| {
            cache.insert(make.key(0), make.value(500));
        }),
        ("batch", |cache, make| {
            let batch = cache.batch().insert(make.key(4), make.value(400)).remove(make.key(5));
            let batch = batch.insert(make.key(60), make.value(600)).invalidate(make.key(6));
            let batch =
                batch.insert(make.key(0), make.value(100)).insert(make.key(4), make.value(401));
            batch.insert(make.key(61), make.value(601)).remove(make.key(70)).commit();
        }),
        ("dropped batch", |cache, make| {
            drop(cache.batch().insert(make.key(4), make.value(400)).remove(make.key(5)));
        }),
        ("remove", |cache, _| drop(cache.remove(&ById(5)))),
        ("remove absent", |cache, _| drop(cache.remove(&ById(99)))),
        ("invalidate", |cache, make| {
            cache.invalidate(&make.key(0));
        }),
        ("invalidate absent", |cache, make| {
            cache.invalidate(&make.key(99));
        }),
        ("invalidate_all", |cache, _| {
            cache.invalidate_all();
        }),
        ("get", |cache, _| drop((cache.get(&ById(5)), cache.get(&ById(99))))),
        ("read", |cache, _| drop(cache.read(&ById(5), Val::clone))),
        ("get_versioned", |cache, _| drop(cache.get_versioned(&ById(5)))),
        ("contains_key", |cache, _| assert!(cache.contains_key(&ById(5)))),
        ("pin", |cache, _| assert!(cache.pin().get(&ById(5)).is_some())),
        ("get_many", |cache, _| {
            drop(cache.get_many([&ById(5), &ById(99), &ById(6), &ById(7), &ById(5)]));
        }),
        ("view", |cache, make| {
            let view = cache.view();
            cache.remove(&ById(5));
            cache.insert(make.key(5), make.value(5));
            assert_eq!(view.get(&ById(5)).map(|value| value.0.read()), Some(5));
            assert!(!view.contains_key(&ById(99)));
            assert_eq!(view.iter().count(), 12);
        }),
        ("compare_and_set", |cache, make| {
            let expected = cache.get_versioned(&ById(5)).map(|(_, version)| version);
            drop(cache.compare_and_set(make.key(5), expected, make.value(500)));
        }),
        ("compare_and_set absent", |cache, make| {
            drop(cache.compare_and_set(make.key(50), None, make.value(500)));
        }),
        ("compare_and_set refused", |cache, make| {
            drop(cache.compare_and_set(make.key(5), None, make.value(500)));
        }),
        ("lease and fill", |cache, make| {
            let key = make.key(50);
            drop(cache.lease(&key).fill(make.value(500)));
        }),
        ("lease and fill a present key", |cache, make| {
            drop(cache.lease(&make.key(5)).fill(make.value(500)));
        }),
        ("load", |cache, make| drop(cache.get_with(make.key(50), || make.value(500)))),
        ("load a present key", |cache, make| {
            drop(cache.get_with(make.key(5), || make.value(500)));
        }),
        ("load that fails", |cache, make| {
            drop(cache.load(make.key(50), || Err::<Val, _>(make.value(500))));
        }),
        ("prewarm", |cache, make| {
            cache.prewarm([(make.key(5), make.value(1)), (make.key(50), make.value(500))]);
        }),
        ("compare_and_set with relations", |cache, make| {
            let expected = cache.view().get_versioned(&ById(0)).map(|(_, version)| version);
            drop(cache.compare_and_set(make.key(0), expected, make.value(500)));
        }),
        ("transact with relations", |cache, make| {
            let outcome = cache.transact(|tx| {
                drop(tx.get_many([&make.key(5), &make.key(60), &make.key(2)]));
                tx.insert(make.key(0), make.value(500));
                tx.insert(make.key(0), make.value(501));
                tx.remove(make.key(6));
                // The key is dropped before the return: a panic in its drop on the way out would
                // leak the returned value.
                let key = make.key(0);
                let written = tx.get(&key);
                drop(key);
                Ok::<_, Infallible>(written)
            });
            drop(outcome);
        }),
    ]
}

/// The contents that `case` leaves when nothing panics.
fn outcome<R: Reclaim>(case: fn(&Cache<R>, &Maker)) -> Contents {
    let maker = Maker::new();
    let cache = filled::<R>(&maker);
    case(&cache, &maker);
    contents(&cache)
}

/// Checks that every entry can still be read and written.
fn assert_open<R: Reclaim>(cache: &Cache<R>, maker: &Maker) {
    let held = contents(cache);
    for id in 0..80 {
        assert_eq!(cache.get(&ById(id)).map(|value| value.0.read()), held.get(&id).copied());
    }
    let view = cache.view();
    for id in 4..80 {
        cache.insert(maker.key(id), maker.value(1_000 + id));
        assert_eq!(cache.get(&ById(id)).map(|value| value.0.read()), Some(1_000 + id));
        assert_eq!(view.get(&ById(id)).map(|value| value.0.read()), held.get(&id).copied());
    }
    let batch = (0..80).fold(cache.batch(), |b, id| b.insert(maker.key(id), maker.value(id)));
    let version = batch.commit();
    for id in 0..80 {
        let found =
            cache.get_versioned(&ById(id)).map(|(value, version)| (value.0.read(), version));
        assert_eq!(found, Some((id, version)));
        assert_eq!(cache.remove(&ById(id)).map(|value| value.0.read()), Some(id));
    }
    let others: Contents = held.into_iter().filter(|(id, _)| *id >= 80).collect();
    assert_eq!(contents(cache), others);
}

fn settled(maker: &Maker) {
    maker.0.assert_settled();
}

fn every_call_may_panic<R: Reclaim>() {
    within(Duration::from_secs(300), "operations that panic", || {
        for (name, case) in cases::<R>() {
            let after = outcome(case);
            for site in [Site::Hash, Site::Eq, Site::Clone, Site::Relation] {
                if (name, site) == ("remove", Site::Clone) {
                    continue; // `every_destructor_may_panic` tests these.
                }
                let mut call = 0;
                while panics_at(name, case, &after, site, call) {
                    call += 1;
                }
                println!("{name}: {call} calls of {site:?}");
            }
        }
    });
}

/// `remove` clones the value that it returns. If the clone panics, nothing was removed.
fn a_failed_clone_removes_nothing<R: Reclaim>() {
    let remove: fn(&Cache<R>, &Maker) = |cache, _| drop(cache.remove(&ById(5)));
    assert!(panics_at("remove", remove, &outcome(remove), Site::Clone, 0));
}

/// Runs one round. Returns false if the operation completed.
fn panics_at<R: Reclaim>(
    name: &str,
    case: fn(&Cache<R>, &Maker),
    after: &Contents,
    site: Site,
    call: u64,
) -> bool {
    let maker = Maker::new();
    let cache = filled::<R>(&maker);
    let before = contents(&cache);
    let burnt = with_fuse(site, call, || case(&cache, &maker));
    let now = contents(&cache);
    if burnt && name != "view" {
        assert_eq!(now, before, "{name}: the panic at call {call} of {site:?} changed something");
    } else if !burnt {
        assert_eq!(&now, after, "{name}");
    }
    assert_open(&cache, &maker);
    drop(cache);
    settled(&maker);
    burnt
}

/// A destructor may panic at any time after a commit. That changes no outcome.
fn every_destructor_may_panic<R: Reclaim>() {
    let step = stress(7, 2, 1);
    within(Duration::from_secs(300), "destructors that panic", || {
        for (name, case) in cases::<R>() {
            let after = outcome(case);
            for site in [Site::DropKey, Site::DropValue] {
                for call in 0.. {
                    let maker = Maker::new();
                    let cache = filled::<R>(&maker);
                    let before = contents(&cache);
                    let burnt = with_fuse(site, call, || case(&cache, &maker));
                    let now = contents(&cache);
                    let whole = now == before || now == after || name == "view";
                    assert!(whole, "{name}, call {call} of {site:?}: {now:?}");
                    assert_open(&cache, &maker);
                    // Once more while the cache itself, or its last values, are dropped.
                    with_fuse(site, call * step, || drop(cache));
                    settled(&maker);
                    if !burnt {
                        println!("{name}: {call} calls of {site:?}");
                        break;
                    }
                }
            }
        }
    });
}

/// Enough work that memory is reclaimed on the way, with destructors that panic during that.
fn destructors_may_panic_while_memory_is_reclaimed<R: Reclaim>() {
    let (rounds, step) = (6_000, stress(1_501, 101, 7) as usize);
    within(Duration::from_secs(600), "reclaiming with destructors that panic", || {
        for site in [Site::DropKey, Site::DropValue] {
            for call in (0..rounds).step_by(step) {
                let maker = Maker::new();
                let cache = filled::<R>(&maker);
                let burnt = with_fuse(site, call, || {
                    for round in 0..rounds {
                        let id = 20 + round % 5;
                        cache.insert(maker.key(id), maker.value(round));
                        if round % 2 == 0 {
                            let batch = cache.batch().insert(maker.key(8), maker.value(round));
                            batch.remove(maker.key(id)).commit();
                        }
                    }
                });
                assert!(burnt, "call {call} of {site:?} was never reached");
                assert_open(&cache, &maker);
                drop(cache);
                settled(&maker);
            }
        }
    });
}

/// The index grows while keys are hashed and compared.
fn growth_survives_panics<R: Reclaim>() {
    const KEYS: u64 = 400;
    let step = stress(997, 97, 7) as usize;
    for site in [Site::Hash, Site::Eq] {
        for call in (0..).step_by(step) {
            let maker = Maker::new();
            let cache = filled::<R>(&maker);
            let burnt = with_fuse(site, call, || {
                for id in 100..100 + KEYS {
                    cache.insert(maker.key(id), maker.value(id));
                }
            });
            // The inserts before the one that panicked are present, and the others are not.
            let new: Vec<_> = contents(&cache).into_iter().filter(|(id, _)| *id >= 100).collect();
            assert!(
                new.iter()
                    .enumerate()
                    .all(|(at, (id, value))| id == value && at as u64 + 100 == *id)
            );
            assert_eq!(burnt, (new.len() as u64) < KEYS);
            assert_eq!(cache.len(), 12 + new.len());
            for id in 100..100 + KEYS {
                cache.insert(maker.key(id), maker.value(id + 1));
            }
            assert_eq!(
                contents(&cache).iter().filter(|(id, value)| **id + 1 == **value).count(),
                KEYS as usize
            );
            drop(cache);
            settled(&maker);
            if !burnt {
                break;
            }
        }
    }
}

/// Threads whose operations panic at random, beside each other. Pairs stay pairs.
fn panics_beside_other_threads<R: Reclaim>() {
    let (seed, rounds) = (run_seed(), stress(1_500, 30_000, 1_000_000));
    let maker = Maker::new();
    let cache = filled::<R>(&maker);
    within(Duration::from_secs(120 + rounds / 100), "threads that panic", || {
        together(6, |thread| {
            let mut random = Random::new(seed ^ thread as u64);
            let sites =
                [Site::Hash, Site::Eq, Site::Clone, Site::Relation, Site::DropKey, Site::DropValue];
            for round in 0..rounds {
                let (site, pair) = (random.pick(&sites), 100 + random.below(4) * 2);
                with_fuse(site, random.below(12), || {
                    let value = round << 8 | thread as u64;
                    let (one, two) = (maker.key(pair), maker.key(pair + 1));
                    let batch = cache.batch();
                    match random.below(3) {
                        0 => batch.remove(one).remove(two).commit(),
                        1 => batch
                            .insert(two, maker.value(value))
                            .insert(one, maker.value(value))
                            .commit(),
                        _ => batch
                            .insert(one, maker.value(value))
                            .insert(two, maker.value(value))
                            .commit(),
                    };
                });
                let found = cache.get_many([&ById(pair), &ById(pair + 1)]);
                let [one, two] = found.map(|value| value.map(|value| value.0.read()));
                assert_eq!(one, two, "half of a batch");
            }
        });
    });
    assert_eq!(contents(&cache).len() % 2, 0);
    assert_open(&cache, &maker);
    drop(cache);
    settled(&maker);
}

/// Types that refer to a cache are unwind-safe, for any key and value types. The compiler checks
/// that.
fn types_are_unwind_safe<R: Reclaim>() {
    use std::cell::Cell;
    use std::panic::{RefUnwindSafe, UnwindSafe, catch_unwind};
    fn holds<T: UnwindSafe + RefUnwindSafe>(_: &T) {}
    type Inside = std::sync::Arc<dyn Fn() -> u64 + Send + Sync>;
    let builder = coeval::Cache::<u64, Inside>::builder().reclaimer::<R>();
    holds(&builder);
    let cache = builder.build();
    holds(&cache);
    holds(&&cache);
    holds(&cache.downgrade());
    holds(&cache.view());
    holds(&cache.view().iter());
    holds(&cache.pin());
    holds(&cache.batch());
    holds(&cache.lease(&1));
    holds(&cache.monitor());
    holds(&cache.timeline());
    let cell = Cell::new(0);
    let burnt = catch_unwind(|| {
        cache.insert(1, std::sync::Arc::new(|| 7));
        let held = cache.pin();
        assert!(held.get(&1).is_none_or(|value| value() != 7), "burnt");
    });
    assert!(burnt.is_err());
    cell.set(cache.get(&1).expect("it was written")());
    assert_eq!((cell.get(), cache.len()), (7, 1));
    let (view, batch) = (cache.view(), cache.batch());
    assert!(catch_unwind(move || (view.len(), batch.remove(1).commit())).is_ok());
    assert!(cache.is_empty());
}

on_every_reclaimer!(
    types_are_unwind_safe,
    every_call_may_panic,
    a_failed_clone_removes_nothing,
    every_destructor_may_panic,
    destructors_may_panic_while_memory_is_reclaimed,
    growth_survives_panics,
    panics_beside_other_threads,
);
