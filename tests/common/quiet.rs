//! Panics that a test expects, without their messages.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

std::thread_local! { static IS_QUIET: Cell<bool> = const { Cell::new(false) }; }

/// Switches the panic messages of this thread off or on.
pub fn set_quiet(is_quiet: bool) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !IS_QUIET.get() {
                hook(info);
            }
        }));
    });
    IS_QUIET.set(is_quiet);
}

/// Runs `panics`, which must panic, without a message.
pub fn quietly(panics: impl FnOnce()) {
    set_quiet(true);
    let outcome = catch_unwind(AssertUnwindSafe(panics));
    set_quiet(false);
    assert!(outcome.is_err(), "the closure did not panic");
}
