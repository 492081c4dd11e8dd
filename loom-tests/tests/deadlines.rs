//! Claim: no commit builds on a value that other threads have seen expired. A commit reads the time
//! after it takes its number. What a reader sees as of a number is judged by a time that belongs to
//! that number.
//!
//! The models run the whole cache, with a clock that moves once.
#![cfg(any(coeval_loom, coeval_internals))]

use coeval::{ManualClock, Version};
use loom_tests::loom::thread;
use loom_tests::with_one_order;
use loom_tests::{Hash, Scheme, Small, explore, must_fail};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

const TIME: Duration = Duration::from_nanos(2);

/// How a thread looks at key 0.
type Look = fn(&Small) -> Option<u32>;
/// Commits a change on the condition that key 0 has this version. Returns whether the commit was
/// made.
type Commit = fn(&Small, Version) -> bool;

fn get(cache: &Small) -> Option<u32> {
    cache.get(&0)
}

fn get_many(cache: &Small) -> Option<u32> {
    cache.get_many([&0])[0]
}

fn view(cache: &Small) -> Option<u32> {
    cache.view().get(&0).copied()
}

fn set(cache: &Small, version: Version) -> bool {
    cache.compare_and_set(0, Some(version), 2).is_ok()
}

fn transact(cache: &Small, _: Version) -> bool {
    let made = cache.transact(|tx| {
        let is_there = tx.get(&0).is_some();
        tx.insert(0, 2);
        Ok::<_, Infallible>(is_there)
    });
    made.is_ok_and(|made| made.value)
}

/// One thread looks, another commits, and the deadline passes.
fn gone_and_continued(preemptions: usize, look: Look, commit: Commit) {
    with_one_order(|| {
        explore(preemptions, move || {
            let clock = ManualClock::new();
            let cache: Arc<Small> = Arc::new(
                coeval::Cache::builder()
                    .hasher(Hash)
                    .reclaimer::<Scheme>()
                    .manual_clock(&clock)
                    .build(),
            );
            let version = cache.insert_with_ttl(0, 1, TIME);
            let (mine, others) = (Arc::clone(&cache), Arc::clone(&cache));
            let committer = thread::spawn(move || commit(&mine, version));
            let reader = thread::spawn(move || look(&others));
            let pass = move || clock.advance(TIME);
            // loom has enough to explore without a third thread.
            let third = if cfg!(coeval_loom) { None } else { Some(thread::spawn(pass.clone())) };
            if third.is_none() {
                pass();
            }
            let (is_made, seen) = (committer.join().unwrap(), reader.join().unwrap());
            third.into_iter().for_each(|third| third.join().unwrap());
            assert!(!is_made || seen.is_some(), "expired, and yet continued");
        });
    });
}

const FAILURE: &str = "expired, and yet continued";

#[test]
fn a_look_beside_a_set() {
    gone_and_continued(2, get, set);
}

#[test]
fn a_look_beside_a_transaction() {
    gone_and_continued(1, get, transact);
}

#[test]
fn a_look_as_of_a_number_beside_a_set() {
    gone_and_continued(2, get_many, set);
}

#[test]
fn a_view_beside_a_set() {
    gone_and_continued(2, view, set);
}

#[test]
fn defect_looking_once() {
    must_fail("present.ended_is_absent", FAILURE, || gone_and_continued(2, get, set));
}

#[test]
fn defect_the_time_before_the_number() {
    must_fail("commit.time_first", FAILURE, || gone_and_continued(2, view, set));
}

#[test]
#[ignore = "takes minutes"]
fn defect_a_number_and_a_later_time() {
    // When the committer disposes of the superseded version, it gives the view a version. It must
    // be stopped before that.
    must_fail("instant.unchecked", FAILURE, || gone_and_continued(3, view, set));
}

#[test]
fn defect_several_by_a_later_time() {
    must_fail("get_many.clock_later", FAILURE, || gone_and_continued(2, get_many, set));
}
