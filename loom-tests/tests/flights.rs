//! Claim: of the callers that want a key one loads it at a time, and each of the others is told of an
//! outcome or leads in its turn: nobody waits for ever, whoever fails, leaves or comes meanwhile. Of
//! loads that wait for each other in a circle at least one is told. A load that was handed out is begun by
//! one alone, and nobody waits for it before. Nobody waits for a load that was ousted.
//!
//! One who waits for ever is a deadlock, which loom reports. What is loaded is a loom cell, which every
//! clone reads; so are the cells for wakers. Nodes that are taken out of the registry are kept to the end of the
//! execution.
#![cfg(coeval_loom)]
// The models are small programs that use an unsafe interface as it asks to be used.
#![allow(clippy::undocumented_unsafe_blocks)]

use coeval::internals::hook::with_one_order;
use coeval::internals::loading::{Flights, HandedOut, Joined, Leader, Waited, Waiter};
use coeval::internals::reclaim::{Garbage, Reclaim};
use loom::cell::UnsafeCell;
use loom::thread;
use loom_tests::{Shared, explore, leak, must_fail};
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize as Count, Ordering::Relaxed};
use std::task::{Context, Waker};

/// Reclaims nothing before it is drained.
struct AtTheEnd(Mutex<Vec<Garbage>>);

// What is retired may be reclaimed by any thread.
unsafe impl Send for AtTheEnd {}
unsafe impl Sync for AtTheEnd {}

unsafe impl Reclaim for AtTheEnd {
    type Guard<'a> = ();

    fn new() -> Self {
        Self(Mutex::default())
    }

    fn pin(&self) {}

    unsafe fn retire(&self, (): &(), garbage: Garbage) {
        self.0.lock().unwrap().push(garbage);
    }

    fn collect(&self) {}

    unsafe fn drain(&self) {
        for garbage in self.0.lock().unwrap().drain(..) {
            unsafe { (garbage.reclaim)(garbage.object, garbage.context) };
        }
    }

    fn retired(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

/// What a load yields: written by its leader, read by each clone.
struct Outcome(Shared<UnsafeCell<usize>>);

impl Outcome {
    fn new(value: usize) -> Self {
        let outcome = Shared(leak(UnsafeCell::new(0)));
        unsafe { &*outcome.get() }.with_mut(|cell| unsafe { *cell = value });
        Self(outcome)
    }

    fn value(&self) -> usize {
        unsafe { &*self.0.get() }.with(|cell| unsafe { *cell })
    }
}

impl Clone for Outcome {
    fn clone(&self) -> Self {
        self.value();
        Self(self.0)
    }
}

type Lead = Leader<'static, usize, Outcome, AtTheEnd>;
type Wait = Waiter<'static, usize, Outcome, AtTheEnd>;
type Hand = HandedOut<'static, usize, Outcome, AtTheEnd>;

/// The flights of keys 0 and 1, which are in one list. A load of a key yields one more than the key.
struct World {
    flights: Flights<usize, Outcome, AtTheEnd>,
    /// How many loads of a key are running. Not loom's: it is no part of the model.
    running: [Count; 2],
}

/// Explores what `parts` do, each on a thread of its own, in a world that `begin` has prepared for them.
fn model<S: 'static, const N: usize>(
    preemptions: usize,
    begin: fn(&'static World) -> [S; N],
    part: fn(&'static World, S),
) {
    explore(preemptions, move || {
        let world = leak(World { flights: Flights::new(), running: Default::default() });
        let shared = Shared(world);
        let threads = begin(unsafe { &*world })
            .map(|state| thread::spawn(move || part(unsafe { &*shared.get() }, state)));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        // All is over: the next one leads.
        let again = unsafe { &*world };
        (0..2).for_each(|key| again.succeed(again.lead(key)));
        unsafe { world.drop_in_place() };
    });
}

impl World {
    fn join(&'static self, key: usize) -> Joined<'static, usize, Outcome, AtTheEnd> {
        self.flights.join(0, &key, || key)
    }

    fn lead(&'static self, key: usize) -> Lead {
        let Joined::Leader(leader) = self.join(key) else { panic!("another leads") };
        leader
    }

    fn sit(&'static self, key: usize) -> Wait {
        let Joined::Waiter(waiter) = self.join(key) else { panic!("nobody leads") };
        waiter
    }

    /// Waits, and leads if it is told to. False in a circle.
    fn wait(&'static self, key: usize, waiter: Wait) -> bool {
        match waiter.wait() {
            Waited::Failed => panic!("nobody is told so"),
            Waited::Moved => return self.get(key),
            Waited::Done(outcome) => assert_eq!(outcome.value(), 1),
            Waited::Lead(leader) => self.succeed_of(key, leader),
            Waited::Cycle => return false,
        }
        true
    }

    /// Waits for another's load, or leads. False in a circle.
    fn get(&'static self, key: usize) -> bool {
        match self.join(key) {
            Joined::Leader(leader) => {
                self.succeed_of(key, leader);
                true
            }
            Joined::Waiter(waiter) => self.wait(key, waiter),
        }
    }

    /// Runs a load.
    fn load<T>(&self, leader: &mut Lead, load: impl FnOnce() -> T) -> T {
        let key = *leader.key();
        self.load_of(key, leader, load)
    }

    /// Runs a load of that key.
    fn load_of<T>(&self, key: usize, leader: &mut Lead, load: impl FnOnce() -> T) -> T {
        let running = &self.running[key];
        assert_eq!(running.fetch_add(1, Relaxed), 0, "two loads of a key");
        let loaded = leader.during(load);
        running.fetch_sub(1, Relaxed);
        loaded
    }

    fn succeed(&self, leader: Lead) {
        let key = *leader.key();
        self.succeed_of(key, leader);
    }

    /// Ends a load of that key, which may be over.
    fn succeed_of(&self, key: usize, mut leader: Lead) {
        let outcome = self.load_of(key, &mut leader, || Outcome::new(1));
        leader.finish(outcome);
    }

    fn fail(&self, mut leader: Lead) {
        self.load(&mut leader, || ());
    }
}

/// Two callers of one key.
fn two_callers() {
    model(3, |_| [(), ()], |world, ()| assert!(world.get(0)));
}

#[test]
fn one_loads_and_the_other_gets_it() {
    two_callers();
}

#[test]
fn defect_sitting_down_after_the_look_at_the_state() {
    must_fail("flights.lost_wakeup", "deadlock", two_callers);
}

#[test]
fn defect_a_verdict_without_what_it_is_about() {
    must_fail("flights.relaxed_verdict", "Causality violation", two_callers);
}

enum Part {
    Fails(Lead),
    Leaves(Wait),
    Waits(Wait),
    Comes,
    GivesUp(Lead),
    ComesAndGivesUp,
    ComesAndWaits,
}

fn play(world: &'static World, part: Part) {
    match part {
        Part::Fails(leader) => world.fail(leader),
        Part::Leaves(waiter) => drop(waiter),
        Part::Waits(waiter) => assert!(world.wait(0, waiter)),
        Part::Comes => assert!(world.get(0)),
        Part::GivesUp(leader) => drop(leader),
        Part::ComesAndGivesUp => drop(world.join(0)),
        Part::ComesAndWaits => {
            if let Joined::Waiter(waiter) = world.join(0) {
                drop(waiter.wait());
            }
        }
    }
}

/// A leader fails while another comes.
fn one_takes_over() {
    model(3, |world| [Part::Fails(world.lead(0)), Part::Comes], play);
}

#[test]
fn who_comes_when_the_leader_fails_leads() {
    one_takes_over();
}

#[test]
fn defect_the_lead_is_not_handed_over() {
    must_fail("flights.no_handover", "deadlock", one_takes_over);
}

/// A leader fails while one waiter leaves, whose waker is set, and another waits.
fn one_leaves() {
    let begin = |world: &'static World| {
        let (leader, mut leaves) = (world.lead(0), world.sit(0));
        let mut context = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut leaves).poll(&mut context).is_pending());
        [Part::Fails(leader), Part::Leaves(leaves), Part::Waits(world.sit(0))]
    };
    model(2, begin, play);
}

#[test]
fn the_lead_passes_by_one_who_leaves() {
    one_leaves();
}

#[test]
fn defect_who_leaves_keeps_the_lead() {
    must_fail("flights.leaves_with_the_lead", "deadlock", one_leaves);
}

/// A leader fails; one comes, takes the lead and fails, too; another comes and waits. (All accesses in
/// one order: the state's number is to be seen here, not the fences.)
fn two_fail(preemptions: usize) {
    let begin = |world: &'static World| {
        [Part::GivesUp(world.lead(0)), Part::ComesAndGivesUp, Part::ComesAndWaits]
    };
    with_one_order(|| model(preemptions, begin, play));
}

#[test]
fn one_who_comes_between_two_failures_is_seen() {
    two_fail(2); // With three, which the defect takes, a minute.
}

#[test]
fn defect_a_drifting_flight_is_like_an_earlier_one() {
    must_fail("flights.unnumbered", "deadlock", || two_fail(3));
}

/// Two lead a key each, and ask for the other's.
fn crossing() {
    let ask = |world: &'static World, mut leader: Lead| {
        let other = 1 - *leader.key();
        world.load(&mut leader, || world.get(other));
        leader.finish(Outcome::new(1));
    };
    model(3, |world| [world.lead(0), world.lead(1)], ask);
}

#[test]
fn one_of_a_circle_is_told() {
    crossing();
}

#[test]
fn defect_looking_for_a_circle_before_one_is_in_it() {
    must_fail("flights.cycle_looks_first", "deadlock", crossing);
}

enum Late {
    Begins(Hand),
    HandsOut(Lead),
    Comes,
    Ousts(Wait),
    Ends(Lead),
}

fn play_late(world: &'static World, part: Late) {
    match part {
        Late::Begins(handed) => {
            if let Some(mut leader) = handed.begin() {
                let outcome = world.load_of(0, &mut leader, || {
                    thread::yield_now(); // Others may come in the middle of it.
                    Outcome::new(1)
                });
                leader.finish(outcome);
            }
        }
        // The job is never run, nor dropped.
        Late::HandsOut(leader) => std::mem::forget(leader.hand_out()),
        Late::Comes => assert!(world.get(0)),
        Late::Ousts(waiter) => {
            if waiter.oust() {
                assert!(world.get(0));
            }
        }
        Late::Ends(leader) => leader.finish(Outcome::new(1)),
    }
}

/// A load was handed out; one begins it while another comes.
fn handed_out() {
    let begin = |world: &'static World| {
        let handed = world.lead(0).hand_out().expect("nobody waits");
        [Late::Begins(handed), Late::Comes]
    };
    model(3, begin, play_late);
}

#[test]
fn what_was_handed_out_is_loaded_by_one() {
    handed_out();
}

#[test]
fn defect_a_job_begins_what_was_taken_over() {
    must_fail("flights.begins_anyway", "two loads of a key", handed_out);
}

/// A leader hands its load out, for good, while another comes.
fn never_begun() {
    model(3, |world| [Late::HandsOut(world.lead(0)), Late::Comes], play_late);
}

#[test]
fn nobody_waits_for_what_is_not_begun() {
    never_begun();
}

#[test]
fn defect_handing_out_before_the_look_at_the_seats() {
    must_fail("flights.hands_out_unseen", "deadlock", never_begun);
}

/// A load is let be, for good. One who waits ousts it while another comes.
fn let_be() {
    let begin = |world: &'static World| {
        std::mem::forget(world.lead(0));
        [Late::Ousts(world.sit(0)), Late::Comes]
    };
    model(2, begin, play_late);
}

#[test]
fn nobody_waits_for_what_was_ousted() {
    let_be();
}

#[test]
fn defect_sitting_down_in_what_was_ousted() {
    must_fail("flights.sits_in_the_ousted", "deadlock", let_be);
}

#[test]
fn defect_those_who_sit_are_not_told_that_it_was_ousted() {
    must_fail("flights.ousts_silently", "deadlock", let_be);
}

/// A load is ousted when it comes to its end. Who has ousted it may load beside.
#[test]
fn who_ousts_what_ends_is_told_or_loads() {
    let begin = |world: &'static World| [Late::Ends(world.lead(0)), Late::Ousts(world.sit(0))];
    model(3, begin, play_late);
}
