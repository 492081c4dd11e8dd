//! Reads whose value ends before the commit without anyone writing the key: it is evicted, expires,
//! is cleared, loses its tag, or was derived from what has changed.

use super::{Cache, X, Y, commit, once};
use crate::common::on_every_reclaimer;
use coeval::reclaim::Reclaim;
use coeval::{ManualClock, Tag, Terms};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A cache in which x may end in each way, and its clock.
fn cache<R: Reclaim>() -> (Cache<R>, ManualClock) {
    let clock = ManualClock::new();
    let builder = coeval::Cache::builder().max_capacity(16).manual_clock(&clock);
    (builder.reclaimer::<R>().build(), clock)
}

/// A way in which x comes, and one in which it ends.
struct Way<R: Reclaim> {
    name: &'static str,
    comes: fn(&Cache<R>),
    ends: fn(&Cache<R>, &ManualClock),
}

fn insert<R: Reclaim>(cache: &Cache<R>) {
    cache.insert(X, 10);
}

fn derive<R: Reclaim>(cache: &Cache<R>) {
    cache.insert(5, 5);
    let ten = cache.derive(X, |scope| scope.derive(6, |scope| scope.get(&5).unwrap_or(0)) * 2);
    assert_eq!(ten, 10);
}

fn insert_tagged<R: Reclaim>(cache: &Cache<R>) {
    cache.insert_tagged(X, 10, &[Tag::from("one"), Tag::from("other")]);
}

fn insert_for_a_second<R: Reclaim>(cache: &Cache<R>) {
    cache.insert_with_ttl(X, 10, SECOND);
}

/// Brings other entries until there is no room for x.
fn crowd_out<R: Reclaim>(cache: &Cache<R>) {
    for key in 1_000..100_000 {
        cache.insert(key, key);
        if cache.view().get(&X).is_none() {
            return;
        }
    }
    panic!("x is still there");
}

fn ways<R: Reclaim>() -> [Way<R>; 9] {
    let way = |name, comes, ends| Way { name, comes, ends };
    [
        way("evicted", insert, |cache, _| crowd_out(cache)),
        way("expired", insert_for_a_second, |_, clock| clock.advance(2 * SECOND)),
        way("expired and collected", insert_for_a_second, |cache, clock| {
            clock.advance(2 * SECOND);
            cache.collect();
        }),
        way("cleared", insert, |cache, _| _ = cache.invalidate_all()),
        way("cleared and collected", insert, |cache, _| {
            cache.invalidate_all();
            cache.collect();
        }),
        way("un-tagged", insert_tagged, |cache, _| _ = cache.invalidate_tag("other")),
        way("derived from a changed input", derive, |cache, _| _ = cache.insert(5, 6)),
        way("derived from a removed input", derive, |cache, _| _ = cache.remove(&5)),
        way("derived from a cleared input", derive, |cache, _| _ = cache.invalidate(&6)),
    ]
}

/// The transaction goes on to see the value, and is then tried again: its write does not rest on
/// what had ended.
fn a_write_never_rests_on_an_ended_read<R: Reclaim>() {
    for Way { name, comes, ends } in ways::<R>() {
        let ((cache, clock), first) = (cache::<R>(), once());
        comes(&cache);
        let (seen, runs) = commit(&cache, |tx| {
            let is_first = first();
            let seen = tx.get(&X);
            if is_first {
                ends(&cache, &clock);
                assert_eq!(cache.get(&X), None, "{name}");
                assert_eq!(tx.get(&X), seen, "{name}: two reads of one transaction differ");
            }
            tx.insert(Y, seen.unwrap_or(0));
            seen
        });
        assert_eq!((seen, runs), (None, 2), "{name}");
        assert_eq!(cache.get(&Y), Some(0), "{name}");
    }
}

/// A transaction that only reads took effect before the value ended.
fn a_reader_took_effect_before_the_end<R: Reclaim>() {
    for Way { name, comes, ends } in ways::<R>() {
        let ((cache, clock), first) = (cache::<R>(), once());
        comes(&cache);
        let (seen, runs) = commit(&cache, |tx| {
            let before = tx.get(&X);
            if first() {
                ends(&cache, &clock);
            }
            [before, tx.get(&X)]
        });
        assert_eq!((seen, runs), ([Some(10); 2], 1), "{name}");
    }
}

/// The value ends, and comes again as it was: that is a change, too.
fn the_same_value_again_is_another_one<R: Reclaim>() {
    for Way { name, comes, ends } in ways::<R>() {
        let ((cache, clock), first) = (cache::<R>(), once());
        comes(&cache);
        let (_, runs) = commit(&cache, |tx| {
            let seen = tx.get(&X);
            if first() {
                ends(&cache, &clock);
                comes(&cache);
            }
            tx.insert(Y, seen.unwrap_or(0));
        });
        assert_eq!((cache.get_many([&X, &Y]), runs), ([Some(10); 2], 2), "{name}");
    }
}

/// The value ends within another transaction's closure: of two that read it, neither writes by it.
fn neither_of_two_rests_on_it<R: Reclaim>() {
    for Way { name, comes, ends } in ways::<R>() {
        let ((cache, clock), first, second) = (cache::<R>(), once(), once());
        comes(&cache);
        let (seen, _) = commit(&cache, |outer| {
            let seen = outer.get(&X);
            if first() {
                let (seen, runs) = commit(&cache, |inner| {
                    let seen = inner.get(&X);
                    if second() {
                        ends(&cache, &clock);
                    }
                    inner.insert(3, seen.unwrap_or(0));
                    seen
                });
                assert_eq!((seen, runs), (None, 2), "{name}");
            }
            outer.insert(4, seen.unwrap_or(0));
            seen
        });
        assert_eq!(seen, None, "{name}");
        // The entry of the inner one may have had to make room.
        assert_eq!(cache.get(&4), Some(0), "{name}");
        assert!(matches!(cache.get(&3), None | Some(0)), "{name}");
    }
}

/// `Terms::as_it_was` is a read: the new value does not have the tag or the time of what has ended.
fn kept_terms_are_those_of_a_value_that_is_there<R: Reclaim>() {
    for Way { name, comes, ends } in ways::<R>() {
        let ((cache, clock), first) = (cache::<R>(), once());
        comes(&cache);
        let (_, runs) = commit(&cache, |tx| {
            if first() {
                tx.insert_with(X, 11, Terms::as_it_was());
                ends(&cache, &clock);
            } else {
                tx.insert_with(X, 12, Terms::as_it_was());
            }
        });
        assert_eq!(runs, 2, "{name}");
        // The key was absent, so the settings apply: nothing ends the new value.
        clock.advance(2 * SECOND);
        cache.invalidate_tag("one");
        cache.remove(&5);
        assert_eq!(cache.get(&X), Some(12), "{name}");
    }
}

on_every_reclaimer!(
    a_write_never_rests_on_an_ended_read,
    a_reader_took_effect_before_the_end,
    the_same_value_again_is_another_one,
    neither_of_two_rests_on_it,
    kept_terms_are_those_of_a_value_that_is_there,
);
