//! Claim: `get_many` returns the state at one instant, including absences. Two keys take turns
//! being present, and their records are removed and made anew. `get_many` always finds exactly one
//! of them.
#![cfg(any(coeval_loom, coeval_internals))]

use loom_tests::loom::thread;
use loom_tests::with_one_order;
use loom_tests::{advance, explore, must_fail, small_cache};
use std::sync::Arc;

/// How the reader reads.
#[derive(Clone, Copy)]
enum Reads {
    /// By `get_many`.
    Many,
    /// One after the other, in a brief view.
    Briefly,
}

/// Makes the other key present `turns` times. Afterwards, the record of the absent key may end.
fn take_turns(preemptions: usize, turns: usize, after: usize) {
    read_beside(preemptions, turns, after, Reads::Many);
}

fn read_beside(preemptions: usize, turns: usize, after: usize, reads: Reads) {
    explore(preemptions, move || {
        let cache = small_cache();
        let writer = {
            let cache = Arc::clone(&cache);
            thread::spawn(move || {
                for turn in 0..turns {
                    let (from, to) = (turn % 2, (turn + 1) % 2);
                    cache.batch().remove(from).insert(to, 1).commit();
                    advance(&cache, after);
                }
            })
        };
        let reader = {
            let cache = Arc::clone(&cache);
            thread::spawn(move || {
                let count = match reads {
                    Reads::Many => cache.get_many([&0, &1]).iter().flatten().count(),
                    Reads::Briefly => cache.view_briefly(|view| {
                        Ok([0, 1].iter().filter_map(|key| view.get(key).unwrap()).count())
                    }),
                };
                assert_eq!(count, 1, "both or none");
            })
        };
        writer.join().unwrap();
        reader.join().unwrap();
    });
}

#[test]
fn one_turn() {
    take_turns(1, 1, 0);
}

#[test]
fn one_turn_beside_a_brief_view() {
    with_one_order(|| read_beside(1, 1, 5, Reads::Briefly));
}

#[test]
fn two_turns() {
    // Takes minutes otherwise. `one_turn` explores every order in which a thread can see the stores
    // of others.
    with_one_order(|| take_turns(1, 2, 0));
}

#[test]
fn one_turn_and_the_end_of_the_record() {
    with_one_order(|| take_turns(1, 1, 5));
}

#[test]
#[ignore = "takes minutes"]
fn one_turn_and_the_end_of_the_record_at_length() {
    take_turns(1, 1, 5);
}

#[test]
fn defect_sealing_at_once() {
    must_fail("record.no_grace", "both or none", || take_turns(1, 1, 0));
}

#[test]
fn defect_the_clock_is_read_before_the_pin() {
    let model = || with_one_order(|| take_turns(1, 1, 5));
    must_fail("get_many.clock_first", "both or none", model);
}

#[test]
fn defect_the_clock_is_read_before_the_pin_of_a_brief_view() {
    let model = || with_one_order(|| read_beside(1, 1, 5, Reads::Briefly));
    must_fail("brief_view.clock_first", "both or none", model);
}
