//! The time of one operation.

use crate::sync::time::Timer;
use std::cell::Cell;

/// The time of one operation. It is read on demand, and then kept. So all values that one commit
/// writes with the same lifetime expire at the same time.
pub struct Moment<'t> {
    timer: &'t Timer,
    read: Cell<Option<u64>>,
}

impl<'t> Moment<'t> {
    /// Makes a moment that is not read yet.
    pub fn new(timer: &'t Timer) -> Self {
        Self { timer, read: Cell::new(None) }
    }

    /// Makes a moment with this time.
    pub fn at(timer: &'t Timer, time: u64) -> Self {
        Self { timer, read: Cell::new(Some(time)) }
    }

    /// Makes another moment of the same timer, which is not read yet.
    pub fn again(&self) -> Self {
        Self::new(self.timer)
    }

    /// Discards the time. The next use reads it again.
    pub fn renew(&self) {
        self.read.set(None);
    }

    /// Whether the time was read.
    pub fn is_read(&self) -> bool {
        self.read.get().is_some()
    }

    /// The time.
    pub fn time(&self) -> u64 {
        self.read.get().unwrap_or_else(|| {
            let now = self.timer.now();
            self.read.set(Some(now));
            now
        })
    }
}
