//! Hooks for tests: named steps at which a test may stop a thread, defects that a model or a test
//! switches on to check that it detects them, and claims, which models and tests check on the way.
//! In a normal build, all of them compile to nothing.
//!
//! A mutant is a defect that a model must find. A defect that is only for whole caches is
//! *planted*. In the build of the models, mutants are switched on for one execution. In a build
//! with
//! `--cfg coeval_internals`, both kinds are switched on for the whole process (`set_defect`).

/// Marks a named step of an operation. In a build with `--cfg coeval_internals`, a test may install
/// a function that every step calls, for example to freeze the thread there. A model may have
/// threads take turns at steps (`with_turns`).
#[inline(always)]
pub fn step(_name: &'static str) {
    #[cfg(coeval_loom)]
    turns::take();
    #[cfg(all(coeval_internals, not(coeval_loom)))]
    armed::visit(_name);
}

/// Panics with `otherwise` unless `holds`, in builds of models and of tests with steps.
#[inline(always)]
pub fn claim(holds: impl FnOnce() -> bool, otherwise: &'static str) {
    if cfg!(any(coeval_loom, coeval_internals)) {
        assert!(holds(), "{otherwise}");
    }
}

/// Returns whether the running model, or the process, asked for this defect. Always false in a
/// normal build.
#[inline(always)]
pub fn mutant(_name: &'static str) -> bool {
    #[cfg(coeval_loom)]
    {
        mutants::is_active(_name)
    }
    #[cfg(not(coeval_loom))]
    {
        planted(_name)
    }
}

/// Returns whether the process asked for this defect, which no model looks for. Always false in a
/// normal build, and in models.
#[inline(always)]
pub fn planted(_name: &'static str) -> bool {
    #[cfg(all(coeval_internals, not(coeval_loom)))]
    {
        defects::is_active(_name)
    }
    #[cfg(not(all(coeval_internals, not(coeval_loom))))]
    {
        false
    }
}

/// A step in the middle of a defect. Models have none there: they stop threads at every access.
#[inline(always)]
pub fn lapse() {
    #[cfg(all(coeval_internals, not(coeval_loom)))]
    armed::visit("lapse");
}

/// The number before the first commit of a new cache. In a build with `--cfg coeval_internals`, the
/// environment variable `COEVAL_CLOCK` may set it, so that a test comes to the end of the numbers.
pub fn clocks_begin_at() -> u64 {
    #[cfg(all(coeval_internals, not(coeval_loom)))]
    if let Ok(begin) = std::env::var("COEVAL_CLOCK") {
        return begin.parse().expect("COEVAL_CLOCK is a number");
    }
    0
}

/// What `read` returns, if the process asked for this defect: that something is read too early. The
/// thread may then be stopped before it goes on.
#[inline(always)]
pub fn too_early<T>(name: &'static str, read: impl FnOnce() -> T) -> Option<T> {
    mutant(name).then(|| {
        let early = read();
        lapse();
        early
    })
}

/// Returns whether a failed model is being unwound. Its remaining threads are then unwound outside
/// of the execution, where a destructor must not access the model's objects. Always false outside
/// of models.
#[inline(always)]
pub fn is_torn_down() -> bool {
    cfg!(coeval_loom) && std::thread::panicking()
}

#[cfg(all(coeval_internals, not(coeval_loom)))]
pub use armed::set_step_hook;
#[cfg(all(coeval_internals, not(coeval_loom)))]
pub use defects::set_defect;

#[cfg(all(coeval_internals, not(coeval_loom)))]
mod armed {
    use std::sync::atomic::{AtomicPtr, Ordering};

    static HOOK: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());

    /// Installs the function that every [`step`](super::step) calls with its name.
    pub fn set_step_hook(hook: fn(&'static str)) {
        // Release: pairs with the load in `visit`, so that the hook's data is initialised.
        HOOK.store(hook as *mut (), Ordering::Release);
    }

    pub(super) fn visit(name: &'static str) {
        let hook = HOOK.load(Ordering::Acquire);
        if !hook.is_null() {
            // SAFETY: only `set_step_hook` stores here, and it stores a `fn(&'static str)`.
            let hook: fn(&'static str) = unsafe { std::mem::transmute(hook) };
            hook(name);
        }
    }
}

#[cfg(all(coeval_internals, not(coeval_loom)))]
mod defects {
    use std::ptr;
    use std::sync::atomic::{AtomicPtr, Ordering};

    /// The name of the defect that is switched on. The empty name stands for none, and null for
    /// what the environment says, which nobody has read yet.
    static ACTIVE: AtomicPtr<String> = AtomicPtr::new(ptr::null_mut());

    /// Switches this defect on, and all others off, for the whole process. The empty name is no
    /// defect. Before the first call, the environment variable `COEVAL_DEFECT` counts.
    pub fn set_defect(name: &str) {
        // What was there is left behind, because other threads may be reading it.
        let name = Box::leak(Box::new(name.to_owned()));
        // Release: pairs with the load in `is_active`, so that the text is there.
        ACTIVE.store(name, Ordering::Release);
    }

    pub(super) fn is_active(name: &str) -> bool {
        let active = ACTIVE.load(Ordering::Acquire);
        if active.is_null() {
            set_defect(&std::env::var("COEVAL_DEFECT").unwrap_or_default());
            return is_active(name);
        }
        // SAFETY: only `set_defect` stores here, and what it stores lives for ever.
        let is_active = unsafe { (*active).as_str() == name };
        if is_active {
            super::armed::visit("defect"); // its place is a step, too
        }
        is_active
    }
}

#[cfg(coeval_loom)]
pub use super::one_order::with_one_order;
#[cfg(coeval_loom)]
pub use mutants::with_mutant;
#[cfg(coeval_loom)]
pub use turns::with_turns;

#[cfg(coeval_loom)]
mod turns {
    use loom::sync::atomic::{AtomicUsize, Ordering};
    use std::cell::Cell;

    loom::lazy_static! { static ref TURN: AtomicUsize = AtomicUsize::new(0); }
    std::thread_local! { static ON: Cell<bool> = const { Cell::new(false) }; }

    /// Runs `body`, a model, and explores every order of its threads' steps.
    ///
    /// loom explores other orders where accesses depend on each other, but it remembers only the
    /// last access to each atomic. If a thread loads a word and then swaps it, the swap is its last
    /// access. loom then does not try the order in which another thread's load comes after the
    /// swap. Nearly all operations of this crate have this form. Here, every step is a
    /// read-modify-write of one word, without loads, so that loom tries all orders of the code
    /// between steps.
    pub fn with_turns<T>(body: impl FnOnce() -> T) -> T {
        struct Reset;
        impl Drop for Reset {
            fn drop(&mut self) {
                ON.set(false);
            }
        }
        ON.set(true);
        let _reset = Reset;
        body()
    }

    pub(super) fn take() {
        if ON.get() {
            TURN.fetch_add(1, Ordering::Relaxed); // Relaxed: it must order nothing else.
        }
    }
}

#[cfg(coeval_loom)]
mod mutants {
    use std::cell::Cell;

    // loom runs all threads of a model on the thread that called `loom::model`. So a plain
    // thread-local value belongs to one model, and tests may run in parallel.
    std::thread_local! { static ACTIVE: Cell<&'static str> = const { Cell::new("") } }

    /// Runs `body` with the defect `name` switched on.
    pub fn with_mutant<T>(name: &'static str, body: impl FnOnce() -> T) -> T {
        struct Reset;
        impl Drop for Reset {
            fn drop(&mut self) {
                ACTIVE.set("");
            }
        }
        ACTIVE.set(name);
        let _reset = Reset;
        body()
    }

    pub(super) fn is_active(name: &'static str) -> bool {
        ACTIVE.get() == name
    }
}
