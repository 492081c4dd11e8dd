//! Claim: of the callers that want a key, one at a time loads it. Each of the others receives an
//! outcome or leads in its turn. No caller waits for ever, even if others fail, leave or arrive in
//! the meantime. When loads wait for each other in a cycle, at least one of them is told so.
//! Exactly one caller begins a load that was handed out, and no caller waits for it before that. No
//! caller waits for a load that was ousted.
//!
//! A caller that waits for ever is a deadlock, which loom reports. The loaded value is in a loom
//! cell, which every clone reads; so are the wakers. Nodes that are unlinked from the registry live
//! to the end of the execution.
#![cfg(any(coeval_loom, coeval_internals))]
// The models are small programs that meet the preconditions of the unsafe interface.
#![allow(clippy::undocumented_unsafe_blocks)]

use coeval::internals::loading::{Flights, HandedOut, Joined, Leader, Waited, Waiter};
use coeval::internals::reclaim::{Garbage, Reclaim};
use loom_tests::loom::cell::UnsafeCell;
use loom_tests::loom::thread;
use loom_tests::with_one_order;
use loom_tests::{Shared, explore, leak, must_fail};
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize as Count, Ordering::Relaxed};
use std::task::{Context, Waker};

/// Reclaims nothing before it is drained.
struct AtTheEnd(Mutex<Vec<Garbage>>);

// Any thread may reclaim a retired object.
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

/// The result of a load: its leader writes it, and each clone reads it.
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

/// The flights of keys 0 and 1, which share one list. A load yields its key plus one.
struct World {
    flights: Flights<usize, Outcome, AtTheEnd>,
    /// The number of running loads of each key. Not loom's atomics, because this count is not part
    /// of the model.
    running: [Count; 2],
}

/// Explores `parts`, each in a thread of its own, in a world that `begin` has prepared.
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
        // All loads have ended, so the next caller leads.
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
        let Joined::Waiter(waiter) = self.join(key) else { panic!("no caller leads") };
        waiter
    }

    /// Waits, and leads if it is told to. Returns false if it is in a cycle.
    fn wait(&'static self, key: usize, waiter: Wait) -> bool {
        match waiter.wait() {
            Waited::Failed => panic!("no load fails in this model"),
            Waited::Moved => return self.get(key),
            Waited::Done(outcome) => assert_eq!(outcome.value(), 1),
            Waited::Lead(leader) => self.succeed_of(key, leader),
            Waited::Cycle => return false,
        }
        true
    }

    /// Waits for the load of another caller, or leads. Returns false if it is in a cycle.
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

    /// Runs a load of `key`.
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

    /// Ends the load of `key`, which may have ended already.
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
fn one_caller_loads_and_the_other_shares() {
    two_callers();
}

#[test]
fn defect_joining_after_the_look_at_the_state() {
    must_fail("flights.lost_wakeup", "deadlock", two_callers);
}

#[test]
fn defect_a_relaxed_verdict() {
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

/// The leader fails while another caller arrives.
fn one_takes_over() {
    model(3, |world| [Part::Fails(world.lead(0)), Part::Comes], play);
}

#[test]
fn a_caller_that_arrives_when_the_leader_fails_leads() {
    one_takes_over();
}

#[test]
fn defect_the_lead_is_not_handed_over() {
    must_fail("flights.no_handover", "deadlock", one_takes_over);
}

#[test]
fn defect_joining_a_failing_load_after_the_look_at_the_state() {
    must_fail("flights.lost_wakeup", "deadlock", one_takes_over);
}

/// The leader fails while one waiter, whose waker is set, leaves and another waits.
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
fn the_lead_skips_a_waiter_that_leaves() {
    one_leaves();
}

#[test]
fn defect_a_leaving_waiter_keeps_the_lead() {
    must_fail("flights.leaves_with_the_lead", "deadlock", one_leaves);
}

/// The leader fails. A second caller arrives, takes the lead and also fails. A third arrives and
/// waits. (All accesses are in one order: this model checks the number in the state, not the
/// fences.)
fn two_fail(preemptions: usize) {
    let begin = |world: &'static World| {
        [Part::GivesUp(world.lead(0)), Part::ComesAndGivesUp, Part::ComesAndWaits]
    };
    with_one_order(|| model(preemptions, begin, play));
}

#[test]
fn a_caller_between_two_failures_is_noticed() {
    two_fail(2); // With three preemptions, which the defect needs, this takes a minute.
}

#[test]
fn defect_a_drifting_flight_is_like_an_earlier_one() {
    must_fail("flights.unnumbered", "deadlock", || two_fail(3));
}

/// Two callers each lead the load of a key, and ask for the key of the other.
fn crossing() {
    let ask = |world: &'static World, mut leader: Lead| {
        let other = 1 - *leader.key();
        world.load(&mut leader, || world.get(other));
        leader.finish(Outcome::new(1));
    };
    model(3, |world| [world.lead(0), world.lead(1)], ask);
}

#[test]
fn a_caller_in_a_cycle_gets_an_error() {
    crossing();
}

#[test]
fn defect_looking_for_a_cycle_before_joining_it() {
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
                    thread::yield_now(); // Others may arrive in the middle of the load.
                    Outcome::new(1)
                });
                leader.finish(outcome);
            }
        }
        // The job neither runs nor is dropped.
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

/// A load was handed out. One thread begins it while another caller arrives.
fn handed_out() {
    let begin = |world: &'static World| {
        let handed = world.lead(0).hand_out().expect("no caller waits");
        [Late::Begins(handed), Late::Comes]
    };
    model(3, begin, play_late);
}

#[test]
fn one_caller_begins_a_load_that_was_handed_out() {
    handed_out();
}

#[test]
fn defect_a_job_begins_a_load_that_was_taken_over() {
    must_fail("flights.begins_anyway", "two loads of a key", handed_out);
}

/// A leader hands out its load, which never begins, while another caller arrives.
fn never_begun() {
    model(3, |world| [Late::HandsOut(world.lead(0)), Late::Comes], play_late);
}

#[test]
fn no_caller_waits_for_a_load_that_has_not_begun() {
    never_begun();
}

#[test]
fn defect_handing_out_before_the_look_at_the_seats() {
    must_fail("flights.hands_out_unseen", "deadlock", never_begun);
}

/// A leader abandons its load without ending it. A waiter ousts the load while another caller
/// arrives.
fn abandoned() {
    let begin = |world: &'static World| {
        std::mem::forget(world.lead(0));
        [Late::Ousts(world.sit(0)), Late::Comes]
    };
    model(2, begin, play_late);
}

#[test]
fn no_caller_waits_for_an_ousted_load() {
    abandoned();
}

#[test]
fn defect_joining_an_ousted_load() {
    must_fail("flights.sits_in_the_ousted", "deadlock", abandoned);
}

#[test]
fn defect_waiters_are_not_told_that_the_load_was_ousted() {
    must_fail("flights.ousts_silently", "deadlock", abandoned);
}

/// A load is ousted as it ends. The caller that ousted it may load at the same time.
#[test]
fn a_caller_that_ousts_an_ending_load_gets_its_value_or_loads() {
    let begin = |world: &'static World| [Late::Ends(world.lead(0)), Late::Ousts(world.sit(0))];
    model(3, begin, play_late);
}
