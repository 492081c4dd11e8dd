//! Actions at the steps of an operation: another thread gets its turn, or the test's own code runs.
//! A process has only one hook, so all uses share it.

use super::random::Random;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Steps, and the action to run at the first of them that comes.
type Act = (Vec<&'static str>, Box<dyn FnOnce()>);

/// A step, and the action to run there.
pub type AtStep = (&'static str, Box<dyn FnOnce()>);

static IS_DISTURBED: AtomicBool = AtomicBool::new(false);
/// Whether threads also stall.
static IS_STALLED: AtomicBool = AtomicBool::new(false);
static NEXT_SEED: AtomicU64 = AtomicU64::new(0);

std::thread_local! {
    static ACTS: RefCell<VecDeque<Act>> = const { RefCell::new(VecDeque::new()) };
    static RANDOM: RefCell<Random> =
        RefCell::new(Random::new(NEXT_SEED.fetch_add(1, Ordering::Relaxed)));
}

fn hook(name: &'static str) {
    let in_turns = super::turns::visit();
    let due = ACTS.try_with(|acts| {
        let acts = &mut *acts.borrow_mut();
        let is_due = acts.front().is_some_and(|(steps, _)| steps.contains(&name));
        is_due.then(|| acts.pop_front()).flatten()
    });
    if let Ok(Some((_, act))) = due {
        act();
    }
    if !in_turns && IS_DISTURBED.load(Ordering::Relaxed) {
        rest();
    }
}

/// How often a thread was about to yield. In a test, it tells how far the others have come.
static RESTS: AtomicU64 = AtomicU64::new(0);
/// A thread stalls no longer than this.
const LONGEST_STALL: Duration = Duration::from_millis(2);

/// Yields now and then. Seldom, stalls until others have come some way (`stall`).
fn rest() {
    let choice = RANDOM.try_with(|random| random.borrow_mut().next() >> 16).unwrap_or(1);
    if !choice.is_multiple_of(8) {
        return;
    }
    // Relaxed: how far the others are matters only about.
    let rests = RESTS.fetch_add(1, Ordering::Relaxed);
    std::thread::yield_now();
    if (choice / 8).is_multiple_of(64) && IS_STALLED.load(Ordering::Relaxed) {
        let (begin, others) = (Instant::now(), 1 << (choice / 512 % 8));
        while RESTS.load(Ordering::Relaxed) < rests + others && begin.elapsed() < LONGEST_STALL {
            std::thread::yield_now();
        }
    }
}

/// Makes all threads yield in the middle of operations now and then. On few cores, most races need
/// this.
pub fn disturb() {
    IS_DISTURBED.store(true, Ordering::Relaxed);
    install();
}

/// The same, and has threads stall there now and then. That takes time.
pub fn stall() {
    IS_STALLED.store(true, Ordering::Relaxed);
    disturb();
}

/// Runs `act` once on this thread, at the first of these steps.
pub fn at(steps: &'static [&'static str], act: impl FnOnce() + 'static) {
    set([(steps.to_vec(), Box::new(act) as Box<dyn FnOnce()>)].into());
}

/// Runs these functions on this thread in order, each at its step.
pub fn in_turn<const N: usize>(acts: [AtStep; N]) {
    set(acts.into_iter().map(|(step, act)| (vec![step], act)).collect());
}

/// Returns how many of the actions this thread has not reached, and forgets them.
pub fn left() -> usize {
    ACTS.take().len()
}

fn set(acts: VecDeque<Act>) {
    ACTS.set(acts);
    install();
}

/// Makes the library call this module at each step.
pub fn install() {
    coeval::internals::set_step_hook(hook);
}
