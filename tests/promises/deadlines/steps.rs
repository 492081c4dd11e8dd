//! A deadline that passes at each step of a commit, and of a look-up.

use super::{Never, SECOND, timed};
use crate::common::steps::at;
use crate::common::{Store, on_every_reclaimer};
use coeval::reclaim::Reclaim;
use coeval::{ManualClock, Version};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::mpsc::channel;

type Look<R> = fn(&Store<u64, u64, R>) -> Option<u64>;

fn looks<R: Reclaim>() -> [Look<R>; 5] {
    [
        |cache| cache.get(&1),
        |cache| cache.get_many([&2, &1])[1],
        |cache| cache.view().get(&1).copied(),
        |cache| cache.transact(|tx| -> Never<_> { Ok(tx.get(&1)) }).unwrap().value,
        |cache| cache.pin().get(&1).copied(),
    ]
}

/// Commits a change that requires this version of key 1. Returns whether the commit was made.
type Commit<R> = fn(&Store<u64, u64, R>, Version) -> bool;

fn commits<R: Reclaim>() -> [Commit<R>; 3] {
    [
        |cache, version| cache.compare_and_set(1, Some(version), 2).is_ok(),
        |cache, _| {
            let written = cache.transact(|tx| {
                tx.get(&1).ok_or(())?;
                tx.insert(1, 2);
                Ok::<_, ()>(())
            });
            written.is_ok()
        },
        |cache, _| cache.remove(&1).is_some(),
    ]
}

const STEPS: [&[&str]; 7] = [
    &["expect.planned", "transact.planned"],
    &["install.before_prev"],
    &["install.before_head"],
    &["commit.before_ready"],
    &["commit.ready"],
    &["commit.ticked"],
    &["write.before_install", "write.installed"],
];

fn at_each_step_of_a_commit<R: Reclaim>() {
    for idle in [false, true] {
        for (step, look, commit) in STEPS
            .iter()
            .flat_map(|step| looks::<R>().map(|look| (step, look)))
            .flat_map(|(step, look)| commits::<R>().map(|commit| (step, look, commit)))
        {
            let (clock, cache) = timed::<R>(idle);
            let version = cache.insert_with_ttl(1, 1, SECOND);
            let other = cache.clone();
            let seen = Rc::new(Cell::new(Some(1)));
            let found = seen.clone();
            at(step, move || {
                clock.advance(SECOND);
                found.set(look(&other));
            });
            let is_made = commit(&cache, version);
            at(&[], || ());
            assert!(!is_made || seen.get().is_some(), "{step:?}: expired, and yet continued");
        }
    }
}

/// A view is opened. Between its number and its time, a thread commits on a value, which then
/// reaches its deadline.
fn a_view_has_a_number_and_a_time_that_belong_together<R: Reclaim>() {
    for commit in &commits::<R>()[..2] {
        let (clock, cache) = timed::<R>(false);
        let version = cache.insert_with_ttl(1, 1, SECOND);
        let (other, commit) = (cache.clone(), *commit);
        at(&["instant.numbered"], move || {
            assert!(commit(&other, version));
            clock.advance(SECOND);
        });
        assert_eq!(cache.view().get(&1), Some(&2), "expired, and yet continued");
    }
}

/// A look-up finds a value that has been replaced by the time it is seen to have expired, so it
/// returns the value of another version.
fn an_expired_value_may_have_been_continued<R: Reclaim>() {
    let clock = ManualClock::new();
    let cache = coeval::Cache::builder().manual_clock(&clock).reclaimer::<R>().build();
    let version: Version = cache.insert_with_ttl(1_u64, 1_u64, SECOND);
    let other = cache.clone();
    at(&["present.found"], move || {
        assert!(other.compare_and_set(1, Some(version), 2).is_ok());
        clock.advance(SECOND);
    });
    assert_eq!(cache.get(&1), Some(2));
}

/// A commit reads the time and takes its number. In between, the deadline passes, and a view sees
/// the value expired, helps the commit, and is stopped before it decides.
fn a_commit_and_a_view_that_helps_it<R: Reclaim>() {
    let (clock, cache) = timed::<R>(false);
    let version = cache.insert_with_ttl(1, 1, SECOND);
    let (other, reader) = (cache.clone(), Rc::new(Cell::new(None)));
    let ((ticked, has_ticked), (go_on, may_go_on)) = (channel(), channel());
    let begun = reader.clone();
    // The first of these steps is between the two only if a defect swaps them.
    at(&["lapse", "commit.ticked"], move || {
        clock.advance(SECOND);
        let look = move || {
            let stops = ticked.clone();
            at(&["commit.ticked"], move || {
                stops.send(()).unwrap();
                may_go_on.recv().unwrap();
            });
            let seen = other.view().get(&1).copied();
            let _ = ticked.send(()); // It may have helped nobody.
            seen
        };
        begun.set(Some(std::thread::spawn(look)));
        has_ticked.recv().unwrap();
    });
    let is_made = cache.compare_and_set(1, Some(version), 2).is_ok();
    let _ = go_on.send(());
    let seen = reader.take().expect("it came to a step").join().unwrap();
    assert!(!is_made || seen.is_some(), "expired, and yet continued");
}

on_every_reclaimer!(
    a_commit_and_a_view_that_helps_it,
    at_each_step_of_a_commit,
    a_view_has_a_number_and_a_time_that_belong_together,
    an_expired_value_may_have_been_continued,
);
