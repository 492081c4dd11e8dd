//! The time of one operation.

use crate::sync::time::Timer;
use std::cell::Cell;

/// The time of one operation: read once, and only if somebody asks. So what one commit writes for
/// the same time ends at the same time.
pub struct Moment<'t> {
    timer: &'t Timer,
    read: Cell<Option<u64>>,
}

impl<'t> Moment<'t> {
    /// A moment that is yet to be read.
    pub fn new(timer: &'t Timer) -> Self {
        Self { timer, read: Cell::new(None) }
    }

    /// A moment that is given.
    pub fn at(timer: &'t Timer, time: u64) -> Self {
        Self { timer, read: Cell::new(Some(time)) }
    }

    /// Another one, that is yet to be read.
    pub fn again(&self) -> Self {
        Self::new(self.timer)
    }

    /// It is read anew.
    pub fn renew(&self) {
        self.read.set(None);
    }

    /// Whether somebody has asked for the time.
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
