//! Two threads make room at the same time, and each has in hand what the other looks for.

use crate::common::on_every_reclaimer;
use crate::common::steps::{AtStep, in_turn, left};
use crate::eviction::{Cache, assert_within, weighed};
use coeval::reclaim::Reclaim;
use std::sync::mpsc::{Receiver, Sender, channel};

/// The step at which a thread has an entry in hand, which it has taken out of a queue.
const IN_HAND: &str = "policy.in_hand";
/// More than the steps of all searches of an insertion.
const STEPS: usize = 400;

/// Calls `act` at each of these steps of `during`. Returns the number of all its steps.
fn at_steps(steps: [usize; 2], act: impl Fn() + Clone + 'static, during: impl FnOnce()) -> usize {
    in_turn(std::array::from_fn::<AtStep, STEPS, _>(|step| {
        let act = steps.contains(&step).then(|| act.clone());
        (IN_HAND, Box::new(move || act.into_iter().for_each(|act| act())) as Box<_>)
    }));
    during();
    STEPS - left()
}

/// Says that this thread stops, and waits until it may go on. If the other thread has ended, it
/// need not wait.
fn give_turn((stops, goes_on): &(Sender<()>, Receiver<()>)) {
    let _ = stops.send(());
    let _ = goes_on.recv();
}

/// Two threads bring what fills the cache, in turns: the first one runs to its first step of
/// `ones`, the second one to its first of `others`, the first one to its next, and so on. Returns
/// whether the second one had all these steps.
fn in_turns<R: Reclaim>(ones: [usize; 2], others: [usize; 2]) -> bool {
    let cache: Cache<R> = weighed(2);
    (0..2).for_each(|key| _ = cache.insert(key, 1));
    let ((to_one, from_other), (to_other, from_one)) = (channel(), channel());
    let of_other = cache.clone();
    let other = std::thread::spawn(move || {
        from_one.recv().unwrap();
        let turns = std::rc::Rc::new((to_one, from_one));
        at_steps(others, move || give_turn(&turns), || _ = of_other.insert(2, 2))
    });
    let turns = std::rc::Rc::new((to_other, from_other));
    let of_one = std::rc::Rc::clone(&turns);
    at_steps(ones, move || give_turn(&of_one), || _ = cache.insert(3, 2));
    drop(turns);
    let steps = other.join().unwrap();
    let weight = cache.weighted_size();
    assert!(weight <= 2, "above the bound at rest: {weight}, steps {ones:?} and {others:?}");
    assert_within(&cache, 2, true);
    steps > others[1]
}

/// The last thread that ends its search sees what the other one has put back, and evicts it.
fn two_searches_do_not_both_give_up<R: Reclaim>() {
    for next in 1..4 {
        let steps = (2..STEPS).take_while(|last| in_turns::<R>([0, next], [1, *last])).count();
        assert!(steps < STEPS - 2, "there are more steps than {steps}");
    }
}

on_every_reclaimer!(two_searches_do_not_both_give_up);
