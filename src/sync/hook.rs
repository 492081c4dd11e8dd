//! Where tests reach into the algorithms: named steps at which a test may stop a thread, and
//! mutants, which a model switches on to see itself fail. Both compile to nothing in a normal
//! build.

/// A named step of an operation. A test built with `--cfg coeval_internals` may install a
/// function that is called at each of them, to freeze the thread that arrives there.
#[inline(always)]
pub fn step(_name: &'static str) {
    #[cfg(all(coeval_internals, not(coeval_loom)))]
    armed::visit(_name);
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
pub use mutants::with_mutant;

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
