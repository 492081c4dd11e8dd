//! Claim: whoever reads a ring of the flight recorder while its thread records
//! - is shown no event of which a part is another event's;
//! - is shown the last of those that were recorded before, without a gap, all that are not being
//!   overwritten; and is told how many there were before these.
#![cfg(coeval_loom)]

use coeval::internals::metrics::{EventRing, EventWords};
use loom::thread;
use loom_tests::{explore, must_fail};
use std::sync::Arc;

/// A ring of the models holds so many.
const LENGTH: u64 = 2;

/// An event of which each word tells the others.
fn event(number: u64) -> EventWords {
    [number + 1, 10 * (number + 1), 100 * (number + 1)]
}

/// Reads the ring, to which so many events are pushed in all, so many of them before this begins.
fn check(ring: &EventRing, before: u64, all: u64) {
    let mut shown = Vec::new();
    let overwritten = ring.read(|number, words| {
        assert_eq!(words, event(number), "an event is torn");
        shown.insert(0, number);
    });
    let recorded = shown.len() as u64 + overwritten;
    assert!((before..=all).contains(&recorded), "events are missing: {shown:?}, {overwritten}");
    assert!(shown.iter().copied().eq(overwritten..recorded), "gaps: {shown:?}, {overwritten}");
    assert!(overwritten <= all.saturating_sub(LENGTH), "too many are missing: {overwritten}");
}

/// One thread pushes so many events upon those that are there, and another reads.
fn model(before: u64, pushed: u64) {
    explore(3, move || {
        let ring = Arc::new(EventRing::default());
        (0..before).for_each(|number| ring.push(event(number)));
        let reader = {
            let ring = ring.clone();
            thread::spawn(move || check(&ring, before, before + pushed))
        };
        let writer = {
            let ring = ring.clone();
            thread::spawn(move || {
                (before..before + pushed).for_each(|number| ring.push(event(number)))
            })
        };
        reader.join().unwrap();
        writer.join().unwrap();
        check(&ring, before + pushed, before + pushed);
    });
}

/// The ring is full: each event overwrites another.
fn overwriting() {
    model(LENGTH, 2);
}

/// The ring's memory is made while it is read; nothing is overwritten.
fn filling() {
    model(0, LENGTH);
}

#[test]
fn no_torn_event_is_shown() {
    overwriting();
}

#[test]
fn what_was_recorded_is_shown() {
    filling();
}

#[test]
fn defect_not_counting_what_is_begun() {
    must_fail("recorder.not_begun", "an event is torn", overwriting);
}

#[test]
fn defect_no_fence_before_the_words() {
    must_fail("recorder.no_fence", "an event is torn", overwriting);
}

#[test]
fn defect_no_fence_after_the_words() {
    must_fail("recorder.read_unfenced", "an event is torn", overwriting);
}

#[test]
fn defect_the_count_does_not_synchronize() {
    must_fail("recorder.count_relaxed", "an event is torn", overwriting);
}
