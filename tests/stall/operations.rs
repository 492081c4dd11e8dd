//! What the stopped threads do, and what other threads must be able to do in the meantime.

use crate::common::counted::{Counted, Ledger};
use crate::domain::{self, Beside};
use crate::full;
use coeval::reclaim::Reclaim;
use coeval::{Loaded, ManualClock, Op, Repair, Tag};
use std::convert::Infallible;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// With fixed hashes, a run visits the same steps as the one before.
pub type Fixed = BuildHasherDefault<DefaultHasher>;
type Cache<R> = coeval::Cache<u64, Counted, Fixed, R>;
/// A name, and an operation on a cache.
pub type Case<R> = (&'static str, fn(&Stage<R>, &Arc<Ledger>));

/// The kind of cache.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Without a bound.
    Plain,
    /// At its bound, and with deadlines.
    Full,
}

pub const KINDS: [Kind; 2] = [Kind::Plain, Kind::Full];

/// A cache, and its clock.
pub struct Stage<R: Reclaim> {
    cache: Cache<R>,
    kind: Kind,
    pub clock: ManualClock,
    pub beside: Beside<R>,
}

impl<R: Reclaim> Deref for Stage<R> {
    type Target = Cache<R>;

    fn deref(&self) -> &Cache<R> {
        &self.cache
    }
}

/// Keys that are only written together, with one value.
pub const GROUP: [u64; 8] = [0, 1, 2, 3, 4, 5, 6, 7];
/// Present at first.
const SINGLES: std::ops::Range<u64> = 20..25;
/// Absent at first.
const FRESH: u64 = 40;
/// The first key that is loaded.
const LOADED: u64 = 1 << 40;
/// The first key that is loaded as the first of a group.
const FIRST: u64 = 3 << 40;
/// The first key that is derived.
const DERIVED: u64 = 1 << 41;
/// The first key that has tags.
const TAGGED: u64 = 1 << 42;
/// The first key that is loaded on terms of its own.
const ON_TERMS: u64 = 1 << 43;
/// Keys that come and go.
const COMING: std::ops::Range<u64> = 3_000..3_200;

pub fn value(id: u64, ledger: &Arc<Ledger>) -> Counted {
    Counted::new(id, ledger)
}

/// A small cache, whose table is about to grow.
pub fn filled<R: Reclaim>(kind: Kind, ledger: &Arc<Ledger>) -> Stage<R> {
    let clock = ManualClock::new();
    let mut builder = coeval::Cache::builder().hasher(Fixed::default()).initial_capacity(0);
    if kind == Kind::Full {
        builder = builder.max_capacity(full::CAPACITY);
    }
    let beside = domain::beside::<R>();
    let cache = builder.manual_clock(&clock).reclaimer::<R>().domain(&beside.domain).build();
    let stage = Stage { cache, kind, clock, beside };
    if kind == Kind::Full {
        full::fill(&stage, ledger);
    }
    write_group(&stage, 0, ledger);
    for key in SINGLES {
        stage.insert(key, value(key, ledger));
    }
    stage
}

fn write_group<R: Reclaim>(cache: &Stage<R>, id: u64, ledger: &Arc<Ledger>) {
    let batch = GROUP.iter().fold(cache.batch(), |b, key| b.insert(*key, value(id, ledger)));
    batch.commit();
}

/// Every kind of operation, on keys that the other threads use too.
pub fn cases<R: Reclaim>(kind: Kind) -> Vec<Case<R>> {
    let mut all = writes();
    all.extend(reads());
    match kind {
        Kind::Plain => all.extend(upkeep().into_iter().chain(domain::cases())),
        Kind::Full => all.extend(full::cases()),
    }
    all
}

fn writes<R: Reclaim>() -> Vec<Case<R>> {
    vec![
        ("insert", |cache, made| {
            cache.insert(FRESH, value(1, made));
        }),
        ("overwrite", |cache, made| {
            cache.insert(20, value(1, made));
        }),
        ("remove", |cache, _| drop(cache.remove(&20))),
        ("invalidate", |cache, _| {
            cache.invalidate(&21);
        }),
        ("invalidate absent", |cache, _| {
            cache.invalidate(&FRESH);
            drop(cache.remove(&22));
            cache.invalidate(&22); // Its record still exists.
        }),
        ("invalidate_all", |cache, _| {
            cache.invalidate_all();
        }),
        ("compare_and_set", |cache, made| {
            let expected = cache.get_versioned(&20).map(|(_, version)| version);
            drop(cache.compare_and_set(20, expected, value(1, made)));
        }),
        ("compare_and_set absent", |cache, made| {
            drop(cache.compare_and_set(FRESH, None, value(1, made)));
        }),
        ("compare_and_set refused", |cache, made| {
            drop(cache.compare_and_set(20, None, value(1, made)));
        }),
        ("transact", |cache, made| {
            let outcome = cache.transact(|tx| {
                tx.get_many([&20, &21, &FRESH]);
                tx.insert(22, value(1, made));
                tx.remove(23);
                Ok::<_, Infallible>(())
            });
            drop(outcome);
        }),
        ("transact disturbed", |cache, made| {
            let mut is_first = true;
            let outcome = cache.transact(|tx| {
                tx.get(&20);
                tx.insert(21, value(1, made));
                if std::mem::take(&mut is_first) {
                    cache.insert(20, value(1, made));
                }
                Ok::<_, Infallible>(())
            });
            drop(outcome);
        }),
        ("lease", |cache, made| {
            let (absent, present) = (cache.lease(&FRESH), cache.lease(&20));
            drop(absent.fill(value(1, made)));
            drop(cache.remove(&FRESH));
            drop(cache.lease(&FRESH));
            drop(present.fill(value(1, made)));
            let unfilled = cache.lease(&(FRESH + 2));
            drop(cache.remove(&(FRESH + 2)));
            drop(unfilled);
        }),
        ("load", |cache, made| {
            // Each operation has its own key, because a caller that wants a key that a stopped
            // thread loads must wait.
            static NEXT: AtomicU64 = AtomicU64::new(LOADED);
            let key = NEXT.fetch_add(1, Ordering::Relaxed);
            cache.get_with(key, || value(key, made));
            drop(cache.remove(&key));
        }),
        ("load a group", |cache, made| {
            // The first key belongs to the operation, as above; the other keys are shared.
            static NEXT: AtomicU64 = AtomicU64::new(FIRST);
            let keys = [NEXT.fetch_add(1, Ordering::Relaxed), 22, FRESH];
            cache.get_many_with(keys, || keys.map(|key| value(key, made)));
            drop(cache.remove(&keys[0]));
        }),
        ("derive", |cache, made| {
            // Each operation has its own keys, as above.
            static NEXT: AtomicU64 = AtomicU64::new(DERIVED);
            let key = NEXT.fetch_add(2, Ordering::Relaxed);
            cache.derive(key, |scope| {
                let made_of = |read: Option<Counted>| read.map_or(0, |read| read.read());
                let inner = scope.derive(key + 1, |scope| {
                    value(made_of(scope.get(&20)) + made_of(scope.get(&FRESH)), made)
                });
                value(inner.read() + made_of(scope.get(&21)), made)
            });
            drop((cache.get(&key), cache.get_many([&key, &20])));
            cache.insert(20, value(2, made));
            drop((cache.get(&key), cache.remove(&key), cache.remove(&(key + 1))));
        }),
        ("tags", |cache, made| {
            // Each operation has its own keys, but all share one tag.
            static NEXT: AtomicU64 = AtomicU64::new(TAGGED);
            let key = NEXT.fetch_add(2, Ordering::Relaxed);
            let (shared, own) = (Tag::from("shared"), Tag::from(key));
            cache.invalidate_tag(&own);
            cache.insert_tagged(key, value(1, made), &[shared.clone(), own.clone()]);
            cache.insert(key + 1, value(1, made));
            cache.tag(key + 1, std::slice::from_ref(&own));
            cache.invalidate_tag(&own);
            assert!(cache.get(&key).is_none() && cache.get(&(key + 1)).is_none());
            cache.insert_tagged(key, value(2, made), &[own, shared.clone()]);
            cache.lease(&key).fill(value(3, made)).map_err(drop).ok();
            cache.get_with(key, || value(4, made));
            cache.invalidate_tag(shared);
            drop((cache.get(&key), cache.remove(&key), cache.remove(&(key + 1))));
        }),
        ("compute", |cache, made| {
            cache.entry(20).and_compute_with(|_| Op::Put(value(1, made)));
            cache.entry(FRESH).or_insert_with_if(|| value(1, made), |_| true);
            drop(cache.get_and_update(FRESH, |_| None));
            cache.upsert(21, |_| value(1, made));
        }),
        ("load on terms", |cache, made| {
            // Each operation has its own keys, as above.
            static NEXT: AtomicU64 = AtomicU64::new(ON_TERMS);
            let key = NEXT.fetch_add(2, Ordering::Relaxed);
            let tag = Tag::from(key);
            cache.get_with_terms(key, || Loaded::new(value(1, made)).tags([&tag]));
            cache.get_with_terms(key + 1, || {
                cache.invalidate_tag(&tag);
                Loaded::new(value(1, made)).tags([&tag])
            });
            drop(cache.pin().get_with(&(key + 1), || value(2, made)));
            drop((cache.remove(&key), cache.remove(&(key + 1))));
        }),
        ("retain, and maintain", |cache, made| {
            cache.insert_tagged(FRESH, value(1, made), &[Tag::from("ended")]);
            cache.insert(FRESH + 1, value(1, made));
            cache.invalidate_tag("ended");
            cache.retain(|key, _| *key != FRESH + 1);
            cache.maintain(20);
            drop(cache.remove(&FRESH)); // It counts in `len` until the walk has come to it.
        }),
        ("batch", |cache, made| write_group(cache, 1, made)),
        ("mixed batch", |cache, made| {
            let batch = cache.batch().insert(FRESH, value(1, made)).remove(20);
            let batch = batch.insert(FRESH + 1, value(1, made)).invalidate(21).remove(99);
            GROUP.iter().rev().fold(batch, |b, key| b.insert(*key, value(2, made))).commit();
        }),
        ("reconfigure, and monitor", |cache, made| {
            let relate = cache.reconfigure(|settings| {
                settings.related(|key, related| {
                    if *key == 24 {
                        related.invalidate(23);
                    }
                });
            });
            cache.insert(24, value(1, made));
            cache.lease(&24).fill(value(2, made)).map_err(drop).ok();
            cache.monitor().on_mismatch(|_| Repair::Invalidate).step(400);
            let unrelate = cache.reconfigure(|settings| {
                settings.unrelated();
            });
            assert_eq!((relate, unrelate), (Ok(()), Ok(())));
        }),
    ]
}

fn reads<R: Reclaim>() -> Vec<Case<R>> {
    vec![
        ("get", |cache, _| drop((cache.get(&20), cache.get(&99), cache.get(&0)))),
        ("read", |cache, _| {
            let read = |value: &Counted| drop(value.read().to_string());
            _ = (cache.read(&20, read), cache.read(&0, read));
        }),
        ("get_versioned", |cache, _| drop((cache.get_versioned(&20), cache.get_versioned(&0)))),
        ("pin", |cache, _| {
            let pinned = cache.pin();
            for key in GROUP {
                pinned.get(&key).inspect(|value| drop(value.read().to_string()));
            }
        }),
        ("get_many", |cache, _| assert_one_group(cache)),
        ("view_briefly", |cache, _| {
            let found = cache.view_briefly(|view| {
                let mut found = Vec::new();
                for key in &GROUP {
                    found.push(view.get(key)?.map(Counted::read));
                }
                Ok(found)
            });
            cache.assert_one(&found);
        }),
        ("timeline", |cache, made| {
            let timeline = cache.timeline();
            timeline.start();
            cache.insert(20, value(1, made));
            assert!(!timeline.events().is_empty());
            timeline.stop();
        }),
        ("view", |cache, _| {
            let view = cache.view();
            drop(view.iter().map(|(_, value)| value.read()).sum::<u64>().to_string());
            assert_eq!(view.len(), view.iter().count());
            let second = cache.view_at(view.version());
            drop((view.clone(), view));
            assert!(second.is_some());
        }),
    ]
}

fn upkeep<R: Reclaim>() -> Vec<Case<R>> {
    vec![
        ("growth", |cache, made| {
            for key in 1_000..1_120 {
                cache.insert(key, value(key, made));
            }
        }),
        ("growth by batch", |cache, made| {
            (2_000..2_100).fold(cache.batch(), |b, key| b.insert(key, value(key, made))).commit();
        }),
        ("overwrite beside a view", |cache, made| {
            let view = cache.view();
            for id in 0..3 {
                cache.insert(20, value(id, made));
                cache.insert(21, value(id, made));
                write_group(cache, id, made);
                let second = cache.view();
                drop(cache.remove(&21));
                drop(second);
            }
            drop(view);
            cache.insert(20, value(9, made));
        }),
        ("clear beside a view", |cache, made| {
            let view = cache.view();
            cache.invalidate_all();
            cache.insert(20, value(1, made));
            drop(view);
            cache.invalidate_all();
            for key in 20..60 {
                cache.insert(key, value(1, made));
            }
        }),
        ("records come and go", |cache, made| {
            let outcome = cache.transact(|tx| {
                tx.get(&(FRESH + 3));
                tx.get(&21); // nobody writes it, so its witness stays until it is withdrawn
                tx.insert(FRESH, value(1, made));
                Ok::<_, Infallible>(())
            });
            drop(outcome);
            // Long enough for the reclaimer to seal and free some records, and to process what that
            // leaves.
            for round in 0..1_600 {
                let key = COMING.start + round;
                cache.insert_tagged(key, value(key, made), &[Tag::from(round)]);
                drop(cache.remove(&key));
                cache.batch().insert(FRESH, value(1, made)).remove(key + 1).commit();
                cache.invalidate(&FRESH);
            }
        }),
    ]
}

fn assert_one_group<R: Reclaim>(cache: &Stage<R>) {
    let found = cache.get_many(GROUP.each_ref());
    let found: Vec<_> = found.iter().map(|value| value.as_ref().map(Counted::read)).collect();
    cache.assert_one(&found);
}

impl<R: Reclaim> Stage<R> {
    /// Checks a group that was read at one instant. A bound may have evicted some of its keys.
    fn assert_one(&self, group: &[Option<u64>]) {
        let is_one = match self.kind {
            Kind::Plain => group.iter().all(|value| *value == group[0]),
            Kind::Full => {
                let mut present = group.iter().flatten();
                let first = present.next();
                present.all(|value| Some(value) == first)
            }
        };
        assert!(is_one, "torn: {group:?}");
    }
}

/// Does everything that must work while other threads are stopped.
#[allow(dead_code)] // for `stall` alone
pub fn work<R: Reclaim>(cache: &Stage<R>, who: u64, made: &Arc<Ledger>) {
    for round in 0..3 {
        let id = 100 + who * 10 + round;
        let view = cache.view();
        let seen: Vec<_> = GROUP.iter().map(|key| view.get(key).map(Counted::read)).collect();
        cache.assert_one(&seen);
        for (name, case) in cases::<R>(cache.kind) {
            if name != "records come and go" {
                case(cache, made); // That case takes long; a short form follows.
            }
            assert_one_group(cache);
        }
        let version = cache.insert(20, value(id, made));
        let (_, now) = cache.get_versioned(&20).map_or((0, version), |(v, n)| (v.read(), n));
        assert!(now >= version, "a write that returned cannot be read");
        let again: Vec<_> = GROUP.iter().map(|key| view.get(key).map(Counted::read)).collect();
        assert_eq!(seen, again, "a view changed");
        for key in 0..100 {
            let fresh = 10_000 * (who + 1) + 100 * round + key;
            cache.insert(fresh, value(key, made));
        }
        for key in COMING {
            cache.insert_tagged(key, value(key, made), &[Tag::from(key)]);
            drop(cache.remove(&key));
        }
    }
}

/// Checks the whole cache at rest.
pub fn assert_whole<R: Reclaim>(cache: &Stage<R>, ledger: &Arc<Ledger>) {
    if cache.kind == Kind::Full {
        full::settle(cache, ledger);
    }
    let view = cache.view();
    assert_eq!((view.len(), view.iter().count()), (cache.len(), cache.len()));
    for (key, value) in view.iter() {
        assert_eq!(cache.get(key).expect("listed").read(), value.read());
        assert_eq!(view.get(key).expect("listed").read(), value.read());
    }
    assert_one_group(cache);
}
