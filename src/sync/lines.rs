//! A record of accesses to memory that threads share, by cache line. In a build with
//! `--cfg coeval_lines`, a test records them and computes which lines move between cores. In a
//! normal build, the notes compile to nothing.
//!
//! Atomics note each access. Plain accesses to memory that other threads read or have written are
//! noted where they happen: when a record or a version is made, and when a key or a value is read.

use super::prefetch;

/// The kind of an access. A read-modify-write is a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    Read,
    Write,
}

/// Notes an access to all of `place`.
#[inline(always)]
#[cfg_attr(coeval_lines, track_caller)]
pub fn note<T>(_place: *const T, _access: Access) {
    #[cfg(coeval_lines)]
    recorder::note(_place.addr(), size_of::<T>(), _access);
}

/// Asks for the line in which `place` begins, for a write. The caller is about to read the place
/// and then to write it. Without this, a line that another core has written moves here for the
/// read, and the other core is asked once more for the write.
#[inline(always)]
#[cfg_attr(coeval_lines, track_caller)]
pub fn ask_to_write<T>(place: &T) {
    prefetch::line_to_write(place);
    note(std::ptr::from_ref(place).cast::<u8>(), Access::Write);
}

#[cfg(coeval_lines)]
pub use recorder::{LINE, LineAccess, record};

#[cfg(coeval_lines)]
mod recorder {
    use super::Access;
    use std::cell::{Cell, RefCell};
    use std::panic::Location;

    /// The size of a cache line in bytes.
    pub const LINE: usize = 64;

    /// An access to a line. The number of a line is its address divided by [`LINE`].
    #[derive(Clone, Copy, Debug)]
    pub struct LineAccess {
        pub line: usize,
        pub access: Access,
        /// The place in the code.
        pub by: &'static Location<'static>,
    }

    std::thread_local! {
        static ON: Cell<bool> = const { Cell::new(false) };
        static ACCESSES: RefCell<Vec<LineAccess>> = const { RefCell::new(Vec::new()) };
    }

    /// Runs `body`. Returns its result, and the accesses of this thread meanwhile, in order.
    pub fn record<T>(body: impl FnOnce() -> T) -> (T, Vec<LineAccess>) {
        struct Off;
        impl Drop for Off {
            fn drop(&mut self) {
                ON.set(false);
            }
        }
        ACCESSES.take();
        ON.set(true);
        let off = Off;
        let result = body();
        drop(off);
        (result, ACCESSES.take())
    }

    #[track_caller]
    pub(super) fn note(address: usize, size: usize, access: Access) {
        // After its thread-local values are gone, a thread records nothing.
        if size == 0 || !ON.try_with(Cell::get).unwrap_or(false) {
            return;
        }
        let by = Location::caller();
        let _ = ACCESSES.try_with(|accesses| {
            let lines = address / LINE..=(address + size - 1) / LINE;
            accesses.borrow_mut().extend(lines.map(|line| LineAccess { line, access, by }));
        });
    }
}
