//! Where tests reach into the algorithms: named steps at which a test may stop a thread, mutants,
//! which a model switches on to see itself fail, and claims, which models and tests check in
//! passing. All compile to nothing in a normal build.

/// A named step of an operation. A test built with `--cfg coeval_internals` may install a
/// function that is called at each of them, to freeze the thread that arrives there. A model may
/// have threads take turns at them (`with_turns`).
#[inline(always)]
pub fn step(_name: &'static str) {
    #[cfg(coeval_loom)]
    turns::take();
    #[cfg(all(coeval_internals, not(coeval_loom)))]
    armed::visit(_name);
}

/// Panics with `otherwise` unless `holds`, in the builds of models and of tests with steps.
#[inline(always)]
pub fn claim(holds: impl FnOnce() -> bool, otherwise: &'static str) {
    if cfg!(any(coeval_loom, coeval_internals)) {
        assert!(holds(), "{otherwise}");
    }
}

/// Whether the model that is running asked for this defect. Always false outside the models.
#[inline(always)]
pub fn mutant(_name: &'static str) -> bool {
    #[cfg(coeval_loom)]
    {
        mutants::is_active(_name)
    }
    #[cfg(not(coeval_loom))]
    {
        false
    }
}

/// Whether this is the end of a model that has failed: what is left of its threads is unwound then,
/// outside of the execution, where a destructor must touch nothing of it. Always false outside the models.
#[inline(always)]
pub fn is_torn_down() -> bool {
    cfg!(coeval_loom) && std::thread::panicking()
}

#[cfg(all(coeval_internals, not(coeval_loom)))]
pub use armed::set_step_hook;

#[cfg(all(coeval_internals, not(coeval_loom)))]
mod armed {
    use std::sync::atomic::{AtomicPtr, Ordering};

    static HOOK: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());

    /// Installs the function that every [`step`](super::step) calls with its name.
    pub fn set_step_hook(hook: fn(&'static str)) {
        // Release: pairs with the load in `visit`, so that what the hook reads is there.
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

    /// Runs `body`, a model, with every order of its threads' steps explored.
    ///
    /// loom looks for other orders where accesses depend on each other, but remembers only the last
    /// access to each atomic. A thread that loads a word and then swaps it has itself as the last one,
    /// and the order in which another thread's load comes after the swap is not tried. Nearly all of
    /// our operations are of this kind. Here every step is a read-modify-write of one word, without
    /// loads, so that all orders of the stretches between steps are tried.
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
            TURN.fetch_add(1, Ordering::Relaxed); // Relaxed: it must not order anything else.
        }
    }
}

#[cfg(coeval_loom)]
mod mutants {
    use std::cell::Cell;

    // loom runs all threads of a model on the thread that called `loom::model`, so a plain
    // thread-local is one per model and tests may run side by side.
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
