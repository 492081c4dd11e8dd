//! Threads that do nothing for now have drawn tickets of the policy's queues. That hinders nobody:
//! the bound holds, what counts stays, and what others bring is spared.

use crate::common::on_every_reclaimer;
#[cfg(coeval_internals)]
use crate::common::steps::in_turn;
use crate::eviction::{assert_within, bounded};
use coeval::reclaim::Reclaim;
use std::sync::Barrier;
#[cfg(coeval_internals)]
use std::sync::mpsc::channel;

/// Idle threads have entries in hand that they would evict next. Others evict them if there is
/// nothing else.
fn what_they_have_in_hand_is_evicted<R: Reclaim>() {
    const FULL: u64 = 20_000;
    let (cache, filled, resized) = (&bounded::<R>(FULL), &Barrier::new(4), &Barrier::new(4));
    std::thread::scope(|scope| {
        for thread in 0..3 {
            scope.spawn(move || {
                (0..FULL + thread).for_each(|key| _ = cache.insert(thread << 32 | key, key));
                filled.wait();
                resized.wait();
            });
        }
        filled.wait();
        cache.resize(10);
        // Each of them evicts at least 32.
        (0..FULL / 32).for_each(|key| _ = cache.insert(key, key));
        let count = cache.len();
        resized.wait();
        assert_eq!(count, 10);
        assert_within(cache, 10, false);
    });
}

/// A loop of keys has hits, although a slot at the front of main waits for a thread that has ended.
fn main_takes_what_returns<R: Reclaim>() {
    const FULL: u64 = 20_000;
    let cache = bounded::<R>(FULL);
    let insert_used = |key| {
        cache.insert(key, key);
        (0..3).for_each(|_| _ = cache.get(&key));
    };
    (0..3 * FULL).for_each(insert_used);
    std::thread::scope(|scope| {
        _ = scope.spawn(|| (0..3_003).for_each(|n| insert_used(1 << 40 | n)))
    });
    for keys in [1_u64 << 50, 1 << 51, 1 << 52] {
        let mut hits = 0;
        for _ in 0..10 {
            hits = 0;
            for key in (0..FULL / 5 * 6).map(|key| keys | key) {
                match cache.get(&key) {
                    Some(_) => hits += 1,
                    None => _ = cache.insert(key, 0),
                }
            }
        }
        assert!(hits > FULL / 2, "{hits} hits in the last round of a loop");
    }
}

/// The cache was large, and is small now. What a thread brings is spared until it brings more.
fn what_is_brought_is_spared_after_a_resize<R: Reclaim>() {
    let cache = bounded::<R>(20_000);
    (0..40_000).for_each(|key| _ = cache.insert(key, key));
    cache.resize(10);
    cache.collect();
    assert_eq!(cache.len(), 10);
    let turn = Barrier::new(2);
    let found = std::thread::scope(|scope| {
        let brings = scope.spawn(|| {
            cache.insert(1 << 40, 7);
            turn.wait();
            turn.wait();
            cache.get(&(1 << 40))
        });
        turn.wait();
        (0..20).for_each(|key| _ = cache.insert(1 << 50 | key, 0));
        turn.wait();
        brings.join().unwrap()
    });
    assert_eq!(found, Some(7));
}

/// A thread has drawn tickets while the cache was large, and goes on when it is small. It draws as
/// many again, and is idle then.
#[cfg(coeval_internals)]
fn tickets_that_are_drawn_late<R: Reclaim>() {
    const FULL: u64 = 20_000;
    let cache = bounded::<R>(FULL);
    (0..2 * FULL).for_each(|key| _ = cache.insert(key, key));
    let ((stops, stopped), (go_on, goes_on)) = (channel(), channel::<()>());
    let ((done, is_done), (end, ends)) = (channel(), channel::<()>());
    let other = cache.clone();
    let thread = std::thread::spawn(move || {
        let stop = move || {
            stops.send(()).unwrap();
            goes_on.recv().unwrap();
        };
        in_turn([("queue.ticket_to_pop", Box::new(stop) as Box<_>)]);
        other.insert(1 << 40, 0);
        done.send(()).unwrap();
        let _ = ends.recv();
    });
    stopped.recv().unwrap();
    let mut fresh = 1 << 50..;
    let mut insert = |count| fresh.by_ref().take(count).for_each(|key| _ = cache.insert(key, 1));
    cache.resize(12);
    insert(2_000);
    cache.resize(6);
    insert(20);
    go_on.send(()).unwrap();
    is_done.recv().unwrap();
    cache.resize(1);
    insert(200);
    let count = cache.len();
    end.send(()).unwrap();
    thread.join().unwrap();
    assert_eq!(count, 1);
}

on_every_reclaimer!(
    what_they_have_in_hand_is_evicted,
    main_takes_what_returns,
    what_is_brought_is_spared_after_a_resize,
);

#[cfg(coeval_internals)]
mod at_a_step {
    use super::{on_every_reclaimer, tickets_that_are_drawn_late};

    on_every_reclaimer!(tickets_that_are_drawn_late);
}
