//! Claim: `get_many` is the state at one instant, absences included: of two keys that take turns being
//! present, their records removed and made anew, it finds exactly one.
#![cfg(coeval_loom)]

use coeval::Cache;
use loom::thread;
use loom_tests::{Hash, explore, must_fail};
use std::sync::Arc;

fn take_turns(preemptions: usize, turns: u32) {
    explore(preemptions, move || {
        let cache: Arc<Cache<u32, u32, Hash>> = Arc::new(Cache::builder().hasher(Hash).build());
        cache.insert(0, 0);
        let writer = {
            let cache = Arc::clone(&cache);
            thread::spawn(move || {
                for turn in 0..turns {
                    let (from, to) = (turn % 2, (turn + 1) % 2);
                    cache.batch().remove(from).insert(to, turn).commit();
                }
            })
        };
        let reader = {
            let cache = Arc::clone(&cache);
            thread::spawn(move || {
                let found = cache.get_many([&0, &1]);
                assert_eq!(found.iter().flatten().count(), 1, "{found:?}");
            })
        };
        writer.join().unwrap();
        reader.join().unwrap();
    });
}

#[test]
fn one_turn() {
    take_turns(2, 1);
}

#[test]
fn two_turns() {
    take_turns(1, 2);
}

#[test]
fn defect_sealing_at_once() {
    must_fail("record.no_grace", "", || take_turns(2, 1));
}

#[test]
fn defect_the_clock_is_read_before_the_pin() {
    must_fail("get_many.clock_first", "", || take_turns(2, 2));
}
