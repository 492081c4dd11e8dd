//! What stands in for loom where the models run under shuttle: in a build with `--cfg coeval_loom
//! --cfg coeval_shuttle`, as the program `tests/shuttle.rs`.
//!
//! shuttle runs the threads one at a time, and chooses at random which goes on after each access to
//! an atomic. So schedules may be much longer than those that loom explores. All accesses are
//! sequentially consistent.

use super::free_left;
use coeval::internals::hook::with_mutant;
use coeval::internals::per_thread::end_thread;
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, MaxSteps, Runner};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// How many bytes the stack of a thread has.
const STACK: usize = 1 << 20;
/// The most preemptions that the second scheduler makes at places of its choice.
const DEPTH: usize = 3;
/// An execution of more steps is taken to go on for ever.
const STEPS: usize = 200_000;

std::thread_local! {
    /// Whether the model must fail.
    static MUST_FAIL: Cell<bool> = const { Cell::new(false) };
}

/// How long a model runs at most that must fail, in seconds. Most fail within one.
const MOST: f64 = 600.0;

/// How long a model runs: `MODEL_SECONDS`, or until it fails if it must.
fn seconds() -> Duration {
    let seconds = std::env::var("MODEL_SECONDS").ok().and_then(|text| text.parse().ok());
    let seconds: f64 = seconds.unwrap_or(0.2);
    Duration::from_secs_f64(if MUST_FAIL.get() { MOST } else { seconds })
}

fn config(time: Duration) -> Config {
    let mut config = Config::new();
    config.stack_size = STACK;
    config.max_steps = MaxSteps::FailAfter(STEPS);
    config.max_time = Some(time);
    config.silence_warnings = true;
    if MUST_FAIL.get() {
        config.failure_persistence = shuttle::FailurePersistence::None;
    }
    config
}

fn run(
    scheduler: impl Scheduler + 'static,
    time: Duration,
    model: impl Fn() + Send + Sync + 'static,
) {
    Runner::new(scheduler, config(time)).run(move || {
        free_left();
        model();
    });
}

/// Runs `model` again and again, by turns with either scheduler.
pub fn explore(_preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let model = Arc::new(model);
    let part = seconds() / 8;
    for _ in 0..4 {
        let one = model.clone();
        run(RandomScheduler::new(usize::MAX), part, move || one());
        let one = model.clone();
        run(PctScheduler::new(DEPTH, usize::MAX), part, move || one());
    }
}

/// Like `explore`: each step ends with a choice anyway.
pub fn explore_steps(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    explore(preemptions, model);
}

/// The defects that shuttle does not see: weaker orderings and fences left out, as all accesses are
/// sequentially consistent here; and then those that need a rarer schedule than twenty seconds of
/// random ones had.
const UNSEEN: &[&str] = &[
    "commit.relaxed_hint",
    "expiry.no_fence",
    "flights.relaxed_verdict",
    "gone.unfenced",
    "index.publish_relaxed",
    "joint.released_relaxed",
    "lease.clock_first",
    "lease.unfenced",
    "pool.home_given_relaxed",
    "pool.push_relaxed",
    "reclaim.announce_relaxed",
    "reclaim.grace_two",
    "reclaim.leave_relaxed",
    "reclaim.no_light_barrier",
    "reclaim.scan_relaxed",
    "record.held_looks_only",
    "recorder.count_relaxed",
    "recorder.no_fence",
    "recorder.read_unfenced",
    "room.clear_relaxed",
    "views.no_fence",
    //
    "flights.lost_wakeup",
    "flights.unnumbered",
    "lease.as_of_number",
    "lease.look_late",
    "views.upon_unversioned",
];

/// Requires that the model fails, in whatever way, when the library has `defect`. A model that must
/// fail without a defect of the library names the empty one.
pub fn must_fail(defect: &'static str, _kind: &str, model: impl FnOnce()) {
    if UNSEEN.contains(&defect) {
        return;
    }
    MUST_FAIL.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(|| with_mutant(defect, model)));
    MUST_FAIL.set(false);
    assert!(outcome.is_err(), "the model does not see this defect");
}

/// Runs a thread of a model until the thread has ended.
pub fn run_to_its_end(act: impl FnOnce() + Send + 'static) {
    let thread = thread::spawn(|| {
        act();
        end_thread();
    });
    thread.join().unwrap();
}

/// Spawns a thread; each has a stack that is large.
pub fn spawn_deep<T: 'static>(act: impl FnOnce() -> T + 'static) -> thread::JoinHandle<T> {
    thread::spawn(act)
}

/// As `loom::thread`.
pub mod thread {
    pub use shuttle::thread::{current, park, yield_now};

    /// loom asks of no model that its acts can be sent to another thread.
    struct Sent<T>(T);

    // SAFETY: all threads of an execution are on one thread of the system.
    unsafe impl<T> Send for Sent<T> {}

    impl<T> Sent<T> {
        fn take(self) -> T {
            self.0
        }
    }

    /// As `loom::thread::JoinHandle`.
    pub struct JoinHandle<T>(shuttle::thread::JoinHandle<Sent<T>>);

    /// As `loom::thread::spawn`.
    pub fn spawn<T: 'static>(act: impl FnOnce() -> T + 'static) -> JoinHandle<T> {
        let act = Sent(act);
        JoinHandle(shuttle::thread::spawn(move || Sent(act.take()())))
    }

    impl<T> JoinHandle<T> {
        pub fn join(self) -> std::thread::Result<T> {
            self.0.join().map(Sent::take)
        }
    }
}

/// As `loom::sync`.
pub mod sync {
    pub use shuttle::sync::{Arc, atomic};
}

/// As `loom::cell`.
pub mod cell {
    use std::cell::Cell;

    /// A cell that panics if one thread accesses it while another one writes it.
    #[derive(Default)]
    pub struct UnsafeCell<T> {
        value: std::cell::UnsafeCell<T>,
        /// How many read it; less than zero: one writes it.
        uses: Cell<isize>,
    }

    impl<T> UnsafeCell<T> {
        pub fn new(value: T) -> Self {
            Self { value: std::cell::UnsafeCell::new(value), uses: Cell::new(0) }
        }

        pub fn with<O>(&self, read: impl FnOnce(*const T) -> O) -> O {
            assert!(self.uses.get() >= 0, "Concurrent read and write accesses");
            self.uses.set(self.uses.get() + 1);
            super::let_others_run();
            let output = read(self.value.get());
            self.uses.set(self.uses.get() - 1);
            output
        }

        pub fn with_mut<O>(&self, write: impl FnOnce(*mut T) -> O) -> O {
            assert!(self.uses.get() <= 0, "Concurrent read and write accesses");
            assert!(self.uses.get() == 0, "Concurrent write accesses");
            self.uses.set(-1);
            super::let_others_run();
            let output = write(self.value.get());
            self.uses.set(0);
            output
        }
    }
}

/// A choice of the scheduler.
fn let_others_run() {
    shuttle::thread::sleep(Duration::ZERO);
}
