//! Stops threads in the middle of an operation, through the library's step hooks.

use crate::common::fail_now;
use std::cell::RefCell;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// How many seconds anything may take before it counts as a hang. The limit is generous, because it
/// only separates "late" from "never". It counts waits, so that time for which the whole process is
/// suspended does not count.
const PATIENCE: u32 = 120;

/// Where to stop a thread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stop {
    /// At this visit of any step; the first visit is 0.
    Visit(usize),
    /// At this visit of this step.
    Step(&'static str, usize),
}

/// Where to stop a thread, and what became of the thread.
#[derive(Default)]
struct State {
    /// The steps that the thread has visited.
    visited: Vec<&'static str>,
    stop_at: Option<Stop>,
    /// The visits of the step at which the thread stops.
    matched: usize,
    stopped: bool,
    released: bool,
    finished: bool,
}

/// Controls one thread that can be stopped.
#[derive(Clone, Default)]
pub struct Ice(Arc<(Mutex<State>, Condvar)>);

std::thread_local! {
    static OWN: RefCell<Option<Ice>> = const { RefCell::new(None) };
}

/// Makes the library call this module at each step. Threads without ice are not affected.
pub fn install() {
    coeval::internals::set_step_hook(|step| {
        let own = OWN.try_with(|own| own.borrow().clone());
        if let Ok(Some(ice)) = own {
            ice.visit(step);
        }
    });
}

impl Ice {
    /// Ice for a thread that stops there, or nowhere.
    pub fn at(stop: Option<Stop>) -> Self {
        let ice = Self::default();
        ice.lock().stop_at = stop;
        ice
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn visit(&self, step: &'static str) {
        let mut state = self.lock();
        let stops = match state.stop_at {
            Some(Stop::Visit(number)) => number == state.visited.len(),
            Some(Stop::Step(name, number)) => {
                state.matched += usize::from(name == step);
                name == step && state.matched == number + 1
            }
            None => false,
        };
        state.visited.push(step);
        if stops {
            state.stopped = true;
            self.0.1.notify_all();
            while !state.released {
                state = self.0.1.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
            }
        }
    }

    /// Runs `body` as the thread of this ice. Returns the steps that it visited.
    pub fn run(&self, body: impl FnOnce()) -> Vec<&'static str> {
        OWN.set(Some(self.clone()));
        let finish = Finish(self);
        body();
        drop(finish);
        self.lock().visited.clone()
    }

    /// Waits until the thread has stopped or finished. Returns the step at which it stopped.
    pub fn wait_stopped(&self, what: &dyn Fn() -> String) -> Option<&'static str> {
        let state = self.wait(what, |state| state.stopped || state.finished);
        state.stopped.then(|| *state.visited.last().expect("it stopped at a step"))
    }

    /// Lets the thread go on, and waits until it has finished.
    pub fn release(&self, what: &dyn Fn() -> String) {
        self.lock().released = true;
        self.0.1.notify_all();
        drop(self.wait(what, |state| state.finished));
    }

    /// Waits until the thread has finished.
    pub fn wait_finished(&self, what: &dyn Fn() -> String) {
        drop(self.wait(what, |state| state.finished));
    }

    fn wait(
        &self,
        what: &dyn Fn() -> String,
        ready: impl Fn(&State) -> bool,
    ) -> std::sync::MutexGuard<'_, State> {
        let mut waits = 0;
        let mut state = self.lock();
        while !ready(&state) {
            if waits > PATIENCE {
                let last = state.visited.last();
                fail_now(&format!("hang: {} (its last step: {last:?})", what()));
            }
            let second = Duration::from_secs(1);
            let waited = self.0.1.wait_timeout(state, second);
            let (next, result) = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
            waits += u32::from(result.timed_out());
            state = next;
        }
        state
    }
}

/// Marks a thread as finished, even if it panics.
struct Finish<'a>(&'a Ice);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        OWN.set(None);
        self.0.lock().finished = true;
        self.0.0.1.notify_all();
    }
}
