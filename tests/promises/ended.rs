//! Promise: values that a tag or an input has ended are removed by `collect` and `maintain`, and by
//! writers if they are asked to. A valid value is never removed. Without any of that, a loaded
//! value has the tags of the ended one.

use crate::common::counted::{Counted, Ledgers};
use crate::common::{Store, on_every_reclaimer, store, together};
use coeval::reclaim::Reclaim;
use coeval::{Cache as Plain, RemovalCause, Tag};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

type Cache<R> = Store<u64, u64, R>;

const ENDED: u64 = 3000;

fn swept<R: Reclaim>() -> Cache<R> {
    Plain::builder().sweep_ended().reclaimer::<R>().build()
}

fn tagged<R: Reclaim>(cache: Cache<R>) -> Cache<R> {
    let tags = [Tag::from("odd"), Tag::from("even")];
    for key in 0..2 * ENDED {
        cache.insert_tagged(key, key, &tags[key as usize % 2..][..1]);
    }
    cache
}

#[track_caller]
fn assert_half_is_left<R: Reclaim>(cache: &Cache<R>, more: u64) {
    assert_eq!(cache.len() as u64, ENDED + more);
    let is_right = |key: u64| cache.get(&key) == (key % 2 == 1).then_some(key);
    assert!((0..2 * ENDED).all(is_right));
}

fn collect_removes_what_a_tag_ended<R: Reclaim>() {
    let cache = tagged::<R>(store());
    cache.invalidate_tag("odd");
    assert_eq!((cache.len() as u64, cache.present_len() as u64), (2 * ENDED, ENDED));
    assert_eq!(cache.collect(), 0);
    assert_half_is_left(&cache, 0);
    assert_eq!(cache.present_len() as u64, ENDED);
}

fn maintain_removes_it_step_by_step<R: Reclaim>() {
    let cache = tagged::<R>(store());
    assert!(!cache.maintain(100_000), "nothing is left to do");
    cache.invalidate_tag("odd");
    assert!(cache.maintain(1), "one step is not enough");
    assert!(cache.len() as u64 > 2 * ENDED - 100, "a step is bounded");
    let mut steps = 0;
    while cache.maintain(50) {
        steps += 50;
        assert!(steps < 100_000);
    }
    assert_half_is_left(&cache, 0);
    assert_eq!(cache.stats().retired, 0);
}

/// As many writes of other keys as there are entries are enough.
fn writers_remove_what_a_tag_ended<R: Reclaim>() {
    let cache = tagged::<R>(swept());
    cache.invalidate_tag("odd");
    for round in 0..6 * ENDED {
        cache.insert(10 * ENDED + round % 100, round);
    }
    assert_half_is_left(&cache, 100);
}

fn writers_remove_what_an_input_ended<R: Reclaim>() {
    let cache: Cache<R> = swept();
    cache.insert(0, 1);
    for key in 1..=ENDED {
        cache.derive(key, |scope| scope.get(&0).unwrap() + key);
    }
    cache.insert(0, 2);
    for round in 0..40 * ENDED {
        cache.insert(10 * ENDED + round % 100, round);
    }
    assert_eq!(cache.len(), 101);
    assert_eq!(cache.derive(1, |scope| scope.get(&0).unwrap() + 1), 3);
}

/// Writers that were not asked to leave ended values, and with them their tags, to the next load.
fn a_load_has_the_tags_of_what_ended<R: Reclaim>() {
    let cache = tagged::<R>(store());
    cache.invalidate_tag("odd");
    for round in 0..6 * ENDED {
        cache.insert(10 * ENDED + round % 100, round);
    }
    assert_eq!(cache.len() as u64, 2 * ENDED + 100);
    cache.get_with(0, || 1);
    cache.invalidate_tag("odd");
    assert_eq!(cache.get(&0), None);
}

/// Unless it was collected, a value that has ended is valid again if its input comes out equal.
fn a_value_that_may_come_back_stays<R: Reclaim>() {
    let cache: Cache<R> = swept();
    let parity = || cache.derive(1, |scope| scope.get(&0).unwrap() % 2);
    let mut derived = 0;
    let mut top = || {
        parity();
        cache.derive(2, |scope| {
            derived += 1;
            scope.get(&1).unwrap() * 10
        })
    };
    for base in 0..40 {
        cache.insert(0, 2 * base);
        (0..10).for_each(|key| _ = cache.insert(100 + key, base));
        assert_eq!(top(), 0);
    }
    assert_eq!(derived, 1);
    cache.insert(0, 80);
    assert_eq!((cache.len(), cache.collect(), cache.len()), (13, 0, 11));
}

/// Writers set values anew while others end them. A value is there from its write to the next
/// invalidation, so a thread whose tag is its own always finds what it has just written.
fn a_valid_value_is_never_removed<R: Reclaim>() {
    let cache: Cache<R> = store();
    let is_done = AtomicBool::new(false);
    together(3, |thread| {
        if thread == 2 {
            while !is_done.load(SeqCst) {
                cache.maintain(20);
            }
            return;
        }
        let tag = Tag::from(thread as u64);
        for round in 0..200 {
            for key in 0..20 {
                cache.insert_tagged(2 * key + thread as u64, round, std::slice::from_ref(&tag));
            }
            let keys = || (0..20).map(|key| 2 * key + thread as u64);
            assert!(keys().all(|key| cache.get(&key) == Some(round)));
            cache.invalidate_tag(&tag);
            assert!(keys().all(|key| cache.get(&key).is_none()));
        }
        is_done.store(true, SeqCst);
    });
    cache.collect();
    assert!(cache.is_empty());
}

fn a_view_still_shows_them<R: Reclaim>() {
    let cache = tagged::<R>(store());
    let view = cache.view();
    cache.invalidate_tag("odd");
    cache.collect();
    assert_eq!((view.len() as u64, cache.len() as u64), (2 * ENDED, ENDED));
    drop(view);
    assert_eq!(cache.collect(), 0);
    assert_half_is_left(&cache, 0);
}

fn memory_is_given_back<R: Reclaim>() {
    let (made, cache) = (Ledgers::new(), store::<Counted, Counted, R>());
    for key in 0..200 {
        cache.insert_tagged(made.key(key), made.value(key), &["tag".into()]);
    }
    cache.invalidate_tag("tag");
    let mut calls = 0;
    while cache.maintain(10) {
        calls += 1;
        assert!(calls < 10_000);
    }
    assert_eq!((made.keys.live(), made.values.live()), (0, 0));
}

/// A run of calls of `maintain` ends although another thread commits between any two of them, so
/// that there is always a derived value that may have ended.
fn maintenance_ends_beside_commits<R: Reclaim>() {
    let cache = store::<u64, u64, R>();
    cache.derive(0, |scope| scope.get(&1).unwrap_or(0));
    let (ask, asked) = std::sync::mpsc::channel();
    let (answer, answered) = std::sync::mpsc::channel();
    let other = cache.clone();
    let other = std::thread::spawn(move || {
        for key in asked {
            other.insert(key, key);
            answer.send(()).unwrap();
        }
    });
    let mut calls = 0;
    while cache.maintain(1) {
        ask.send(2 + calls % 2).unwrap();
        answered.recv().unwrap();
        calls += 1;
        assert!(calls < 5_000, "it goes on");
    }
    drop(ask);
    other.join().unwrap();
}

on_every_reclaimer!(
    maintenance_ends_beside_commits,
    collect_removes_what_a_tag_ended,
    maintain_removes_it_step_by_step,
    writers_remove_what_a_tag_ended,
    writers_remove_what_an_input_ended,
    a_load_has_the_tags_of_what_ended,
    a_value_that_may_come_back_stays,
    a_valid_value_is_never_removed,
    a_view_still_shows_them,
    memory_is_given_back,
);

#[test]
fn the_listener_hears_of_them() {
    let left = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&left);
    let cache = Plain::builder()
        .eviction_listener(move |key: Arc<u64>, _: u64, cause, _| {
            heard.lock().unwrap().push((*key, cause));
        })
        .build();
    cache.insert_tagged(1, 1, &["tag".into()]);
    cache.insert(2, 2);
    cache.invalidate_tag("tag");
    while cache.maintain(1) {}
    assert_eq!(*left.lock().unwrap(), [(1, RemovalCause::Related)]);
}
