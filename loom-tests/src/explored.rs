//! How loom explores a model.

use super::free_left;
use coeval::internals::hook::{with_mutant, with_turns};
use coeval::internals::per_thread::end_thread;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

std::thread_local! {
    /// Whether the explored model must fail.
    static MUST_FAIL: Cell<bool> = const { Cell::new(false) };
}

/// How long a model is explored. `LOOM_SECONDS` sets the limit; without it there is none.
fn limit() -> Option<Duration> {
    let seconds = std::env::var("LOOM_SECONDS").ok()?.parse().expect("a number of seconds");
    Some(Duration::from_secs(seconds))
}

/// Spawns a thread with twice the stack that loom gives to one, for acts that go deep.
pub fn spawn_deep<T: Send + 'static>(
    act: impl FnOnce() -> T + Send + 'static,
) -> loom::thread::JoinHandle<T> {
    const WORDS: usize = 0x2000;
    loom::thread::Builder::new().stack_size(WORDS).spawn(act).expect("loom has room for a thread")
}

/// Runs a thread of a model until the thread has ended.
pub fn run_to_its_end(act: impl FnOnce() + Send + 'static) {
    let thread = loom::thread::spawn(|| {
        act();
        end_thread();
    });
    thread.join().unwrap();
}

/// Explores the interleavings of `model` with at most `preemptions` preemptions.
/// `LOOM_MAX_PREEMPTIONS` overrides that number, except where a model must fail.
///
/// All code that races must run on spawned threads. loom 0.7.3 explores a single execution of a
/// model whose main thread only reads what another thread loads and then writes
/// (`findings/loom-leading-load.sh`). On spawned threads it may miss orders, too: see
/// `explore_steps`.
pub fn explore(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    let asked = builder.preemption_bound.filter(|_| !MUST_FAIL.get());
    builder.preemption_bound = asked.or(Some(preemptions));
    builder.max_branches = 20_000;
    builder.max_duration = limit();
    builder.check(move || {
        free_left();
        model();
    });
}

/// Like `explore`, with every order of the threads' steps (see `with_turns`).
pub fn explore_steps(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    with_turns(|| explore(preemptions, model));
}

/// Requires that the model fails when the library has `defect`, with a message that contains
/// `kind`. So a failure by one of loom's limits, or by an index out of bounds, does not count. A
/// model that must fail without a defect of the library names `NONE`.
pub fn must_fail(defect: &'static str, kind: &str, model: impl FnOnce()) {
    assert!(!kind.is_empty(), "state how the model must fail");
    MUST_FAIL.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(|| with_mutant(defect, model)));
    MUST_FAIL.set(false);
    let failure = outcome.expect_err("the model does not see this defect");
    let message = match failure.downcast_ref::<String>() {
        Some(message) => message.as_str(),
        None => failure.downcast_ref::<&str>().copied().unwrap_or("?"),
    };
    assert!(message.contains(kind), "it failed for another reason: {message}");
}
