//! Panics that a test expects and that nobody needs to read about.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

std::thread_local! { static IS_QUIET: Cell<bool> = const { Cell::new(false) }; }

/// From now on this thread panics without a message, until it is told otherwise.
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

/// Runs what must panic, without a message.
pub fn quietly(panics: impl FnOnce()) {
    set_quiet(true);
    let outcome = catch_unwind(AssertUnwindSafe(panics));
    set_quiet(false);
    assert!(outcome.is_err(), "it does not panic");
}
