//! Promise: a value that a batch or a transaction writes has the terms that the write gives, or the
//! terms of the value before. Entries that a transaction or a derivation reads count as used.

use crate::common::{Store, on_every_reclaimer};
use coeval::reclaim::Reclaim;
use coeval::{Cache, Loaded, ManualClock, Tag, Terms};
use std::convert::Infallible;
use std::time::Duration;

type Never<T> = Result<T, Infallible>;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn timed<R: Reclaim>(idle: Option<u64>, live: Option<u64>) -> (ManualClock, Store<u64, u64, R>) {
    let clock = ManualClock::new();
    let mut builder = Cache::builder().manual_clock(&clock);
    if let Some(idle) = idle {
        builder = builder.time_to_idle(secs(idle));
    }
    if let Some(live) = live {
        builder = builder.time_to_live(secs(live));
    }
    (clock, builder.reclaimer::<R>().build())
}

/// Writes a value, by a batch or by a transaction.
type Write<R> = fn(&Store<u64, u64, R>, u64, u64, Terms);

fn by_batch<R: Reclaim>(cache: &Store<u64, u64, R>, key: u64, value: u64, terms: Terms) {
    cache.batch().insert(100, 1).insert_with(key, value, terms).insert(101, 1).commit();
}

fn by_transaction<R: Reclaim>(cache: &Store<u64, u64, R>, key: u64, value: u64, terms: Terms) {
    let done = cache.transact(|tx| -> Never<_> {
        tx.insert(100, 1);
        tx.insert_with(key, value, terms.clone());
        tx.insert(101, 1);
        Ok(())
    });
    done.unwrap();
}

fn writes<R: Reclaim>() -> [Write<R>; 2] {
    [by_batch, by_transaction]
}

/// How many seconds key 1 stays present, checked each second without a use; up to 100.
fn lives<R: Reclaim>(clock: &ManualClock, cache: &Store<u64, u64, R>) -> u64 {
    for second in 0..100 {
        if !cache.contains_key(&1) {
            return second;
        }
        clock.advance(secs(1));
    }
    100
}

/// A change of key 1 that keeps its terms.
type Change<R> = fn(&Store<u64, u64, R>);

/// A weight that a caller gave is kept with the other terms; one that the weigher said is not.
fn a_given_weight_stays<R: Reclaim>() {
    let changes: [Change<R>; 5] = [
        |cache| by_batch(cache, 1, 5, Terms::as_it_was()),
        |cache| by_transaction(cache, 1, 5, Terms::as_it_was()),
        |cache| _ = cache.upsert(1, |value| value.unwrap() + 1),
        |cache| _ = cache.get_and_update(1, |value| value.map(|value| value + 1)),
        |cache| _ = cache.transact(|tx| Never::Ok(tx.update(1, |value| value + 1))).unwrap(),
    ];
    let weight = |cache: &Store<u64, u64, R>| cache.explain(&1).weight;
    for change in changes {
        let weigher = |_: &u64, value: &u64| *value as u32;
        let cache = Cache::builder().max_capacity(1_000).weigher(weigher).reclaimer::<R>().build();
        cache.insert(1, 4);
        change(&cache);
        assert_eq!(weight(&cache), 5, "the weigher says it again");
        for given in [0, 7] {
            cache.insert(1, 4);
            assert_eq!(weight(&cache), 4, "a write without terms follows the weigher");
            cache.batch().insert_with(1, 4, Terms::new().weight(given)).commit();
            (0..3).for_each(|_| change(&cache));
            assert_eq!(weight(&cache), given);
        }
        let (seven, as_it_was) = (Terms::new().weight(7), Terms::as_it_was());
        cache.batch().insert_with(1, 1, seven).insert_with(1, 2, as_it_was).commit();
        assert_eq!(weight(&cache), 7, "an earlier write of the batch gave it");
        cache.batch().insert_with(1, 1, Terms::as_it_was().weight(9)).commit();
        assert_eq!(weight(&cache), 9);
        cache.get_with_terms(2, || Loaded::new(4).weight(3));
        cache.upsert(2, |value| value.unwrap() + 1);
        assert_eq!(cache.explain(&2).weight, 3, "the load gave it");
        let both = || Loaded::new(4).weight(3).terms(Terms::new().weight(5));
        cache.get_with_terms(3, both);
        assert_eq!(cache.explain(&3).weight, 5, "its terms take precedence");
    }
}

fn times_are_as_given<R: Reclaim>() {
    for write in writes::<R>() {
        for (idle, live, terms, expected) in [
            (None, None, Terms::new(), 100),
            (None, Some(7), Terms::new(), 7),
            (None, Some(7), Terms::new().time_to_live(secs(9)), 9),
            (None, None, Terms::new().time_to_live(secs(9)), 9),
            (None, None, Terms::new().time_to_idle(secs(4)), 4),
            (Some(8), None, Terms::new().time_to_idle(secs(4)), 4),
            (Some(8), None, Terms::new().time_to_live(secs(4)), 4),
            (Some(8), Some(9), Terms::new().time_to_idle(secs(30)), 9),
            (Some(8), None, Terms::new().tags(["a"]), 8),
            (None, None, Terms::new().time_to_live(Duration::ZERO), 0),
            (None, None, Terms::new().time_to_idle(Duration::ZERO), 0),
            (None, None, Terms::new().time_to_live(Duration::MAX), 100),
            // The key was absent.
            (None, Some(7), Terms::as_it_was(), 7),
            (None, Some(7), Terms::as_it_was().time_to_live(secs(3)), 3),
        ] {
            let (clock, cache) = timed::<R>(idle, live);
            write(&cache, 1, 10, terms.clone());
            assert_eq!(lives(&clock, &cache), expected, "{terms:?}");
        }
    }
}

fn as_it_was<R: Reclaim>() {
    for write in writes::<R>() {
        let as_it_was = Terms::as_it_was;
        for (before, after, expected) in [
            (Terms::new(), as_it_was(), 50),
            (Terms::new().time_to_live(secs(9)), as_it_was(), 4),
            (Terms::new().time_to_idle(secs(9)), as_it_was(), 9),
            (Terms::new().time_to_idle(secs(9)).time_to_live(secs(12)), as_it_was(), 7),
            (Terms::new().time_to_live(secs(9)), as_it_was().time_to_live(secs(20)), 20),
            (Terms::new().time_to_live(secs(9)), as_it_was().time_to_idle(secs(2)), 2),
            (Terms::new().time_to_live(secs(9)), as_it_was().tags(["a"]), 4),
            // The value had ended.
            (Terms::new().time_to_live(secs(5)), as_it_was(), 55),
            (Terms::new().time_to_live(secs(9)), Terms::new(), 55),
        ] {
            let (clock, cache) = timed::<R>(None, Some(55));
            write(&cache, 1, 10, before.clone());
            clock.advance(secs(5));
            write(&cache, 1, 11, after.clone());
            assert_eq!(lives(&clock, &cache), expected, "{before:?}, {after:?}");
        }
    }
}

fn a_value_without_a_deadline_stays_so<R: Reclaim>() {
    for write in writes::<R>() {
        let (clock, cache) = timed::<R>(None, None);
        cache.insert(1, 10);
        let _ = cache.reconfigure(|settings| _ = settings.time_to_live(Some(secs(5))));
        write(&cache, 1, 11, Terms::as_it_was());
        assert_eq!((lives(&clock, &cache), cache.get(&1)), (100, Some(11)));
        write(&cache, 1, 12, Terms::new());
        assert_eq!(lives(&clock, &cache), 5);
    }
}

fn tags_are_as_given<R: Reclaim>() {
    let tags = ["a", "b"].map(Tag::from);
    for write in writes::<R>() {
        for (before, after, ends) in [
            (None, Terms::new().tags(["a"]), ["a"].as_slice()),
            (None, Terms::new().tags(tags.clone()), &["a", "b"]),
            (Some("a"), Terms::as_it_was(), &["a"]),
            (Some("a"), Terms::as_it_was().time_to_live(secs(9)), &["a"]),
            (Some("a"), Terms::as_it_was().tags(["b"]), &["b"]),
            (Some("a"), Terms::as_it_was().tags(Vec::<Tag>::new()), &[]),
            (Some("a"), Terms::new(), &[]),
            (Some("ended"), Terms::as_it_was(), &[]),
        ] {
            for tag in ["a", "b", "ended"] {
                let (_, cache) = timed::<R>(None, None);
                if let Some(before) = before {
                    cache.insert_tagged(1, 10, &[before.into()]);
                }
                cache.invalidate_tag("ended");
                write(&cache, 1, 11, after.clone());
                assert_eq!(cache.get(&1), Some(11));
                cache.invalidate_tag(tag);
                let is_there = cache.get(&1).is_some();
                assert_eq!(is_there, !ends.contains(&tag), "{before:?}, {after:?}, {tag}");
            }
        }
    }
}

fn each_call_takes_terms<R: Reclaim>() {
    let (clock, cache) = timed::<R>(None, None);
    cache
        .batch()
        .insert_tagged(1, 1, &["a".into()])
        .insert_with_ttl(2, 2, secs(5))
        .insert_tagged(3, 3, &[])
        .commit();
    let done = cache.transact(|tx| -> Never<_> {
        tx.insert_tagged(4, 4, &["a".into()]);
        tx.insert_with_ttl(5, 5, secs(5));
        assert_eq!(tx.get_many([&4, &5]), [Some(4), Some(5)]);
        Ok(())
    });
    let version = done.unwrap().version;
    assert_eq!(cache.get_versioned(&5), Some((5, version)));
    let shown = || [1, 2, 3, 4, 5].map(|key| cache.contains_key(&key));
    assert_eq!(shown(), [true; 5]);
    cache.invalidate_tag("a");
    assert_eq!(shown(), [false, true, true, false, true]);
    clock.advance(secs(5));
    assert_eq!(shown(), [false, false, true, false, false]);
}

/// "As it was" refers to an earlier write of the same commit.
fn after_an_earlier_write_of_its_own<R: Reclaim>() {
    let (clock, cache) = timed::<R>(None, None);
    let minute = || Terms::new().time_to_live(secs(50)).tags(["a"]);
    let as_it_was = Terms::as_it_was;
    for key in 0..40 {
        cache.insert_with_ttl(key, 0, secs(5));
    }
    let mut batch = cache.batch();
    for key in 0..40 {
        batch = match key % 5 {
            0 => batch.insert_with(key, 1, minute()).insert_with(key, 2, as_it_was()),
            1 => batch.insert(key, 1).insert_with(key, 2, as_it_was()),
            2 => batch.remove(key).insert_with(key, 2, as_it_was()),
            3 => batch.insert_with_ttl(key, 1, secs(50)).insert_with(key, 2, as_it_was()),
            _ => batch.insert_with(key, 1, as_it_was()).insert_with(key, 2, as_it_was()),
        };
    }
    batch.commit();
    let shown = |cache: &Store<u64, u64, R>| {
        [0, 1, 2, 3, 4].map(|kind| {
            let mut keys = (0..40).filter(|key| key % 5 == kind);
            let first = cache.contains_key(&kind);
            assert!(keys.all(|key| cache.contains_key(&key) == first));
            first
        })
    };
    assert_eq!(shown(&cache), [true; 5]);
    clock.advance(secs(5));
    assert_eq!(shown(&cache), [true, true, true, true, false]);
    cache.invalidate_tag("a");
    assert_eq!(shown(&cache), [false, true, true, true, false]);

    let done = cache.transact(|tx| -> Never<_> {
        tx.insert_with(1, 1, minute());
        tx.insert_with(1, 2, as_it_was());
        tx.insert_with(2, 1, as_it_was().time_to_live(secs(3)));
        tx.insert_with(2, 2, as_it_was().tags(["b"]));
        Ok(())
    });
    done.unwrap();
    clock.advance(secs(3));
    assert_eq!((cache.contains_key(&1), cache.contains_key(&2)), (true, false));
    clock.advance(secs(47));
    assert!(!cache.contains_key(&1));
    assert_eq!((cache.contains_key(&3), cache.contains_key(&6)), (false, true));
}

/// A write with the terms of the value before reads that value, so the transaction runs again if it
/// changes.
fn a_transaction_keeps_the_terms_at_its_commit<R: Reclaim>() {
    type Other<R> = fn(&Store<u64, u64, R>, &ManualClock);
    let others: [(Other<R>, u64); 4] = [
        (|cache, _| _ = cache.insert_with_ttl(1, 9, secs(20)), 20),
        (|cache, _| _ = cache.remove(&1), 100),
        (|cache, _| _ = cache.invalidate_tag("a"), 100),
        (|_, clock| clock.advance(secs(10)), 100),
    ];
    for (other, expected) in others {
        let (clock, cache) = timed::<R>(None, None);
        cache.batch().insert_with(1, 1, Terms::new().time_to_live(secs(10)).tags(["a"])).commit();
        let mut runs = 0;
        let done = cache.transact(|tx| -> Never<_> {
            tx.insert_with(1, 2, Terms::as_it_was());
            runs += 1;
            if runs == 1 {
                other(&cache, &clock);
            }
            Ok(())
        });
        done.unwrap();
        assert_eq!((runs, cache.get(&1)), (2, Some(2)));
        assert_eq!(lives(&clock, &cache), expected);
    }
}

fn the_memory_of_tags_comes_back<R: Reclaim>() {
    let (_, cache) = timed::<R>(None, None);
    // A value that the same batch overwrites, or that is refused, holds no tag.
    for round in 0..100 {
        let tag = || Terms::new().tags([Tag::from(round)]);
        cache.batch().insert_with(1, 1, tag()).insert_with(1, 2, tag()).insert(1, 3).commit();
        drop(cache.batch().insert_with(2, 1, tag()));
        let refused = cache.transact(|tx| {
            tx.insert_with(3, 1, tag());
            Err::<(), _>(())
        });
        assert!(refused.is_err());
        cache.invalidate_tag(round);
    }
    assert_eq!((cache.get(&1), cache.get(&2), cache.get(&3)), (Some(3), None, None));
}

type Read<R> = fn(&Store<u64, u64, R>, u64);

fn reads<R: Reclaim>() -> [Read<R>; 5] {
    [
        |cache, key| _ = cache.transact(|tx| -> Never<_> { Ok(tx.get(&key)) }),
        |cache, key| {
            _ = cache.transact(|tx| -> Never<_> {
                tx.get(&key);
                tx.insert(1 << 40, 0);
                Ok(())
            });
        },
        |cache, key| {
            cache.derive(1 << 41, |scope| scope.get(&key).unwrap_or(0));
            cache.remove(&(1 << 41));
        },
        |cache, key| {
            cache.derive(1 << 41, |scope| scope.get_many([&key])[0].unwrap_or(0));
            cache.remove(&(1 << 41));
        },
        |cache, key| {
            _ = cache.transact(|tx| -> Never<_> {
                let read = tx.get(&key);
                tx.insert_with(key, read.unwrap_or(0), Terms::as_it_was());
                Ok(())
            });
        },
    ]
}

fn reads_count_as_uses<R: Reclaim>() {
    for read in reads::<R>() {
        let (clock, cache) = timed::<R>(Some(60), None);
        cache.insert(1, 1);
        for _ in 0..10 {
            clock.advance(secs(30));
            read(&cache, 1);
        }
        assert_eq!(cache.get(&1), Some(1));
        clock.advance(secs(60));
        read(&cache, 1);
        assert!(
            cache.get(&1).is_none_or(|value| value == 0),
            "an expired value does not come back"
        );
    }
}

fn failed_operations_are_not_uses<R: Reclaim>() {
    let (clock, cache) = timed::<R>(Some(60), None);
    cache.insert(1, 1);
    for _ in 0..2 {
        clock.advance(secs(30));
        let given_up = cache.transact(|tx| {
            tx.get(&1);
            Err::<(), _>(())
        });
        assert!(given_up.is_err());
    }
    assert_eq!(cache.get(&1), None);
}

/// Entries that are read again and again stay beside a stream of new ones.
fn read_entries_are_kept<R: Reclaim>() {
    const HOT: u64 = 50;
    type Read<'r, R> = &'r dyn Fn(&Store<u64, u64, R>, u64);
    let kept = |read: Read<'_, R>| {
        let cache: Store<u64, u64, R> = Cache::builder().max_capacity(200).reclaimer::<R>().build();
        (0..HOT).for_each(|key| _ = cache.insert(key, key));
        for round in 0..40 {
            (0..HOT).for_each(|key| read(&cache, key));
            (0..50).for_each(|new| _ = cache.insert(1_000 + round * 50 + new, 0));
        }
        (0..HOT).filter(|key| cache.contains_key(key)).count()
    };
    let by_get = kept(&|cache, key| _ = cache.get(&key));
    assert!(by_get >= 25, "{by_get}");
    for (at, read) in reads::<R>().iter().enumerate().take(2) {
        let by_this = kept(read);
        assert!(by_this + 5 >= by_get, "{at}: {by_this}, {by_get}");
    }
    let by_scope = kept(&|cache, key| {
        cache.derive(1 << 41, |scope| scope.get(&key).unwrap_or(0));
        cache.remove(&(1 << 41));
    });
    assert!(by_scope + 5 >= by_get, "{by_scope}, {by_get}");
}

on_every_reclaimer!(
    times_are_as_given,
    as_it_was,
    a_value_without_a_deadline_stays_so,
    a_given_weight_stays,
    tags_are_as_given,
    each_call_takes_terms,
    after_an_earlier_write_of_its_own,
    a_transaction_keeps_the_terms_at_its_commit,
    the_memory_of_tags_comes_back,
    reads_count_as_uses,
    failed_operations_are_not_uses,
    read_entries_are_kept,
);
