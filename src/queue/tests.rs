use super::*;
use std::collections::HashSet;
use std::sync::atomic::AtomicBool;

fn queued(number: u64) -> Queued {
    Queued { handle: Handle::new((number + 1) * 2), stamp: number as u16 }
}

fn number(queued: Queued) -> u64 {
    assert_eq!(queued.stamp, (queued.handle.bits() / 2 - 1) as u16);
    queued.handle.bits() / 2 - 1
}

#[test]
fn first_in_first_out_through_growth() {
    for most in [0, 10, 300, 100_000] {
        let queue = Queue::new(most);
        let mut expected = 0..;
        for n in 0..20_000 {
            queue.push(queued(n));
            if n % 3 == 0 {
                assert_eq!(queue.peek().map(number), expected.clone().next());
                assert_eq!(queue.pop().map(number), expected.next());
            }
        }
        assert_eq!(queue.len(), 20_000 - expected.start);
        while let Some(queued) = queue.pop() {
            assert_eq!(Some(number(queued)), expected.next());
        }
        assert_eq!((expected.start, queue.len(), queue.peek()), (20_000, 0, None));
    }
}

#[test]
fn a_ring_comes_round_without_growing() {
    let queue = Queue::new(0);
    for n in 0..100_000 {
        queue.push(queued(n));
        queue.push(queued(n));
        assert_eq!(queue.pop().map(number), Some(n));
        assert_eq!(queue.pop().map(number), Some(n));
    }
    assert_eq!(queue.slots(), FIRST);
}

#[test]
fn the_last_ring_has_the_size_that_was_asked_for() {
    for (most, expected) in
        [(1000, 64 + 1000), (20_000, 64 + 1024 + 20_000), (5, 5 + 10 + 20 + 40 + 80 + 160)]
    {
        let queue = Queue::new(most);
        for n in 0..most.max(200) {
            queue.push(queued(n));
        }
        let rings = (0..MAX_RINGS).map_while(|index| queue.rings.get(index));
        assert_eq!(rings.map(Ring::size).sum::<u64>(), expected);
    }
}

#[test]
fn a_short_queue_has_rings_that_are_hardly_longer() {
    let most_of = |entries: u64| entries + entries / 4 + 64;
    let few = 64 + 256 + 1024 + 4096;
    for (entries, length, slots) in [
        (1 << 20, 10_000, few + 16_384),
        (52_300, 4_095, few),
        (52_300, 4_096, few + most_of(52_300)), // the last ring comes early
    ] {
        let (most, queue) = (most_of(entries), Queue::short(most_of(entries)));
        for n in 0..2 * most {
            queue.push(queued(n % 1000));
            if n >= length {
                queue.pop();
            }
        }
        assert_eq!(queue.len(), length);
        assert_eq!(queue.slots(), slots, "{length} of {entries}");
        for n in 0..2 * most {
            queue.push(queued(n % 1000));
            if n >= entries - length {
                queue.pop();
            }
        }
        let bytes = (queue.slots() * 8) as f64;
        assert!(bytes / (entries as f64) < 14.0, "{bytes} bytes for all {entries}");
    }
}

/// A late pusher finds that its turn is past. Nothing is lost, and no thread waits.
#[test]
fn a_stopped_pusher_is_passed() {
    let ring = Ring::new(4);
    let late = ring.draw_tickets(1).ok().unwrap();
    assert!(ring.push(queued(1).word()).is_ok());
    assert_eq!(ring.pop(), Some(queued(1).word()));
    assert!(!ring.write(late, queued(0).word()));
    assert!(ring.push(queued(0).word()).is_ok());
    assert_eq!(ring.pop(), Some(queued(0).word()));
    assert_eq!(ring.pop(), None);
}

#[test]
fn a_stopped_popper_delays_one_word_for_a_round() {
    let ring = Ring::new(4);
    ring.push(queued(0).word()).ok().unwrap();
    let late = ring.drawn.popped.fetch_add(1, Ordering::Relaxed);
    let popped = (1..10).map(|n| {
        ring.push(queued(n).word()).ok().unwrap();
        number(Queued::from_word(ring.pop().unwrap()))
    });
    assert_eq!(popped.collect::<Vec<_>>(), [1, 2, 3, 0, 4, 5, 6, 7, 8]);
    assert_eq!(ring.take(late), None);
}

/// A delayed popper may set a slot back to an earlier turn. A delayed pusher that then gets in
/// takes its word back.
#[test]
fn no_word_is_left_behind() {
    let ring = Ring::new(2);
    ring.push(queued(0).word()).ok().unwrap();
    let popper = ring.drawn.popped.fetch_add(1, Ordering::Relaxed); // Ticket 0, turn 0.
    // Ticket 2, turn 1.
    let pusher = (0..2).map(|_| ring.draw_tickets(1).ok().unwrap()).last().unwrap();
    assert_eq!((popper, pusher), (0, 2));
    // The poppers of tickets 1 and 2 run: the second takes the first word, and ends turn 1.
    assert_eq!((ring.take(1), ring.take(2)), (None, Some(queued(0).word())));
    ring.drawn.popped.store(3, Ordering::Relaxed);
    // Tickets 3 and 4: the slot holds a word of turn 2, and the first popper continues.
    assert!(ring.write(4, queued(4).word()));
    ring.drawn.pushed.store(5, Ordering::Relaxed);
    assert_eq!(ring.take(popper), Some(queued(4).word()));
    // Now the slot is back at turn 1, and the late pusher sees that its popper has passed.
    assert!(!ring.write(pusher, queued(2).word()));
    assert_eq!(empty_turn(ring.slots[0].load(Ordering::Relaxed)), Some(2));
}

#[test]
fn no_word_is_lost_or_doubled_and_each_pushers_order_is_kept() {
    const EACH: u64 = 40_000;
    let queue = Queue::new(0);
    let done = AtomicBool::new(false);
    let popped: Vec<Vec<u64>> = std::thread::scope(|scope| {
        let pushers: Vec<_> = (0..3)
            .map(|pusher| {
                let queue = &queue;
                scope.spawn(move || (0..EACH).for_each(|n| queue.push(queued(pusher * EACH + n))))
            })
            .collect();
        let poppers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut mine = Vec::new();
                    loop {
                        let last = done.load(Ordering::SeqCst);
                        match queue.pop() {
                            Some(queued) => mine.push(number(queued)),
                            None if last => return mine,
                            None => std::thread::yield_now(),
                        }
                    }
                })
            })
            .collect();
        pushers.into_iter().for_each(|thread| thread.join().unwrap());
        done.store(true, Ordering::SeqCst);
        poppers.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let all: HashSet<u64> = popped.iter().flatten().copied().collect();
    assert_eq!(popped.iter().map(Vec::len).sum::<usize>() as u64, 3 * EACH, "a word came twice");
    assert_eq!(all.len() as u64, 3 * EACH, "a word was lost");
    for pusher in 0..3 {
        for mine in &popped {
            let of_pusher = mine.iter().filter(|n| **n / EACH == pusher);
            let disorder = of_pusher.clone().zip(of_pusher.skip(1)).filter(|(a, b)| a > b).count();
            // A popper may be overtaken for a round between its ticket and its slot.
            assert!(disorder < 100, "{disorder}");
        }
    }
}

#[test]
fn an_unused_queue_has_no_memory() {
    let queue = Queue::new(0);
    assert_eq!((queue.pop(), queue.peek(), queue.len(), queue.slots()), (None, None, 0, 0));
    queue.push(queued(1));
    // Only what was used counts.
    assert_eq!((queue.slots(), queue.pop()), (1, Some(queued(1))));
}

/// Threads push and pop in lots, and leave tickets. What waits for them is recovered, so no word is
/// lost, and none comes twice.
#[test]
fn no_word_is_lost_or_doubled_with_tickets_in_lots() {
    const EACH: u64 = 40_000;
    let queue = Queue::new(0);
    let popped: Vec<Vec<u64>> = std::thread::scope(|scope| {
        let work = |thread: u64| {
            let queue = &queue;
            scope.spawn(move || {
                let ((push, pop), mut mine) = ((Tickets::default(), Tickets::default()), vec![]);
                for n in 0..EACH {
                    queue.push_by(&push, 1 + n % 8, queued(thread * EACH + n));
                    if n % 64 > 8 {
                        mine.extend(queue.pop_by(&pop, 1 + n % 5).map(number));
                    }
                    if n % 10_000 == 0 {
                        queue.recover();
                    }
                }
                mine
            })
        };
        let threads: Vec<_> = (0..4).map(work).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    queue.recover();
    let mut all: Vec<u64> = popped.into_iter().flatten().collect();
    all.extend(std::iter::from_fn(|| queue.pop()).map(number));
    all.sort_unstable();
    assert_eq!(all, (0..4 * EACH).collect::<Vec<_>>());
}

#[test]
fn words_that_wait_for_a_thread_are_recovered() {
    let queue = Queue::new(0);
    (0..20).for_each(|n| queue.push(queued(n)));
    let idle = Tickets::default();
    assert_eq!(queue.pop_by(&idle, 8).map(number), Some(0));
    assert_eq!((queue.len(), queue.len_by(&Tickets::default(), &idle)), (12, 19));
    assert_eq!((queue.pop().map(number), queue.peek_by(&idle).map(number)), (Some(8), Some(1)));
    assert!(queue.recover());
    let rest: Vec<u64> = std::iter::from_fn(|| queue.pop()).map(number).collect();
    assert_eq!(rest, (9..20).chain(1..8).collect::<Vec<_>>());
    assert_eq!((queue.pop_by(&idle, 8), queue.recover()), (None, false));
}
