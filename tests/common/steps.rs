//! What happens at the steps of an operation: another thread's turn, or an act of the test's own.
//! A process has one hook, so that both share it.

use super::random::Random;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What is to be done, once one of the steps comes.
type Act = (Vec<&'static str>, Box<dyn FnOnce()>);

/// A step, and what is to be done there.
pub type AtStep = (&'static str, Box<dyn FnOnce()>);

static IS_DISTURBED: AtomicBool = AtomicBool::new(false);
static NEXT_SEED: AtomicU64 = AtomicU64::new(0);

std::thread_local! {
    static ACTS: RefCell<VecDeque<Act>> = const { RefCell::new(VecDeque::new()) };
    static RANDOM: RefCell<Random> =
        RefCell::new(Random::new(NEXT_SEED.fetch_add(1, Ordering::Relaxed)));
}

fn hook(name: &'static str) {
    let due = ACTS.try_with(|acts| {
        let acts = &mut *acts.borrow_mut();
        let is_due = acts.front().is_some_and(|(steps, _)| steps.contains(&name));
        is_due.then(|| acts.pop_front()).flatten()
    });
    if let Ok(Some((_, act))) = due {
        act();
    }
    if IS_DISTURBED.load(Ordering::Relaxed)
        && RANDOM.try_with(|random| random.borrow_mut().one_in(8)).unwrap_or(false)
    {
        std::thread::yield_now();
    }
}

/// Makes all threads give way in the middle of operations now and then: on few cores most races
/// need that.
pub fn disturb() {
    IS_DISTURBED.store(true, Ordering::Relaxed);
    coeval::internals::set_step_hook(hook);
}

/// This thread calls `act` once, when it comes to one of these steps.
pub fn at(steps: &'static [&'static str], act: impl FnOnce() + 'static) {
    set([(steps.to_vec(), Box::new(act) as Box<dyn FnOnce()>)].into());
}

/// This thread calls these functions, in their order, each when it comes to its step.
pub fn in_turn<const N: usize>(acts: [AtStep; N]) {
    set(acts.into_iter().map(|(step, act)| (vec![step], act)).collect());
}

/// How many of these this thread has not come to; it forgets them.
pub fn left() -> usize {
    ACTS.take().len()
}

fn set(acts: VecDeque<Act>) {
    ACTS.set(acts);
    coeval::internals::set_step_hook(hook);
}
