//! Claim: a reader of a ring of the flight recorder, while the ring's thread records,
//! - sees no event that mixes parts of two events;
//! - sees the last events that were recorded before, without a gap, except those that are being
//!   overwritten; and learns how many events came before these.
#![cfg(any(coeval_loom, coeval_internals))]

use coeval::internals::metrics::{EventRing, EventWords};
use loom_tests::loom::thread;
use loom_tests::{explore, must_fail};
use std::sync::Arc;

/// The length of a ring in the models.
const LENGTH: u64 = 2;

/// An event of which each word determines the others.
fn event(number: u64) -> EventWords {
    [number + 1, 10 * (number + 1), 100 * (number + 1)]
}

/// Reads the ring. In all, `all` events are pushed to it, `before` of them before this call begins.
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

/// One thread pushes `pushed` events after `before` earlier ones, while another reads.
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

/// The memory of the ring is allocated while it is read; nothing is overwritten.
fn filling() {
    model(0, LENGTH);
}

#[test]
fn no_torn_event_is_shown() {
    overwriting();
}

#[test]
fn recorded_events_are_shown() {
    filling();
}

#[test]
fn defect_not_counting_an_event_that_has_begun() {
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
