//! Claim: the queue loses and duplicates no word, even if a thread is late. A thread that stops
//! while it holds a ticket stops no other thread. Both also hold while the queue changes to a
//! larger ring.
//!
//! Two threads push and one pops, on rings of one slot, two slots and more. Afterwards the main
//! thread empties the queue. The words that it and the popper got are the words that were pushed,
//! and the words of each pusher came in order (unless the threads draw tickets in lots). A thread
//! that waits for another one never ends in a model, because loom also explores schedules without
//! the other thread. loom gives up on such a schedule, which counts as a failure.
#![cfg(any(coeval_loom, coeval_internals))]

use coeval::internals::queue::{Handle, Queue, Queued, Tickets};
use loom_tests::loom::thread;
use loom_tests::with_turns;
use loom_tests::{explore, must_fail};
use std::sync::Arc;

fn queued(number: u64) -> Queued {
    Queued { handle: Handle::new((number + 1) * 2), stamp: number as u16 }
}

fn number(queued: Queued) -> u64 {
    assert_eq!(u64::from(queued.stamp), queued.handle.bits() / 2 - 1, "a word is torn");
    queued.stamp.into()
}

/// Pushes `before`, then lets two threads push while a third pops `pops` times.
fn model(
    before: &'static [u64],
    pushers: [&'static [u64]; 2],
    pops: usize,
    (first_ring, preemptions): (u64, usize),
) {
    explore(preemptions, move || {
        let queue = Arc::new(Queue::new(first_ring));
        before.iter().for_each(|n| queue.push(queued(*n)));
        let threads = pushers.map(|numbers| {
            let queue = queue.clone();
            thread::spawn(move || numbers.iter().for_each(|n| queue.push(queued(*n))))
        });
        let mut popped: Vec<u64> = (0..pops).filter_map(|_| queue.pop()).map(number).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        while let Some(queued) = queue.pop() {
            popped.push(number(queued));
        }
        assert_eq!(queue.len(), 0, "the length of the empty queue is not 0");
        for pushed in [before, pushers[0], pushers[1]] {
            let came: Vec<_> = popped.iter().filter(|n| pushed.contains(n)).collect();
            assert!(came.iter().all(|n| pushed.contains(n)), "a word was never pushed");
            assert!(came.len() >= pushed.len(), "a word is lost: {popped:?}");
            assert!(came.len() <= pushed.len(), "a word came twice: {popped:?}");
            assert!(came.is_sorted(), "the words of a pusher came out of order: {popped:?}");
        }
    });
}

/// A popper that comes between the ticket of a pusher and its word.
fn late_pushers() {
    with_turns(|| model(&[], [&[10], &[20]], 2, (2, 2)));
}

#[test]
fn nothing_is_lost_to_a_popper_that_comes_first() {
    late_pushers();
}

#[test]
fn defect_a_popper_skips_without_a_mark() {
    must_fail("queue.skips_without_a_mark", "a word is lost", late_pushers);
}

#[test]
fn defect_a_popper_waits_for_a_late_pusher() {
    must_fail("queue.waits", "exceeded maximum number of branches", late_pushers);
}

/// The ring is full when the pushers come. (With one preemption. With two, this takes more than two
/// minutes.)
fn growth() {
    with_turns(|| model(&[1], [&[10], &[20]], 2, (1, 1)));
}

#[test]
fn nothing_is_lost_when_the_queue_grows() {
    growth();
}

#[test]
fn defect_a_closed_ring_lets_in() {
    must_fail("queue.closed_ring_lets_in", "a word is lost", growth);
}

/// Two threads draw tickets in lots of two, and keep one each: one pushes a word, and one pops a
/// word where there are two. A third one recovers what waits for the popper, and pops.
fn lots(preemptions: usize) {
    explore(preemptions, || {
        let queue = Arc::new(Queue::new(2));
        [1, 2].into_iter().for_each(|n| queue.push(queued(n)));
        let act = |act: fn(&Queue, &Tickets) -> Option<Queued>| {
            let queue = queue.clone();
            thread::spawn(move || act(&queue, &Tickets::default()).map(number))
        };
        let threads = [
            act(|queue, tickets| {
                queue.push_by(tickets, 2, queued(3));
                None
            }),
            act(|queue, tickets| queue.pop_by(tickets, 2)),
        ];
        queue.recover();
        let mut popped: Vec<u64> = queue.pop().map(number).into_iter().collect();
        popped.extend(threads.into_iter().filter_map(|thread| thread.join().unwrap()));
        queue.recover();
        while let Some(queued) = queue.pop() {
            popped.push(number(queued));
        }
        popped.sort_unstable();
        assert!(popped.windows(2).all(|pair| pair[0] < pair[1]), "a word came twice: {popped:?}");
        assert_eq!(popped, [1, 2, 3], "a word is lost");
    });
}

#[test]
fn nothing_is_lost_with_tickets_in_lots() {
    lots(2);
}

#[test]
fn defect_what_is_recovered_is_dropped() {
    must_fail("queue.recovers_nothing", "a word is lost", || lots(1));
}
