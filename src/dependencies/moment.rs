//! The time of one operation.

use crate::sync::time::{Timer, was_surely_before};
use std::cell::Cell;

/// The time of one operation. It is read on demand, and then kept. So all values that one commit
/// writes with the same lifetime expire at the same time.
pub struct Moment<'t> {
    timer: &'t Timer,
    read: Cell<Option<u64>>,
    /// A rough time, if it was read first.
    rough: Cell<Option<u64>>,
    /// The operation opened a view for itself, and closed it.
    opened_view: Cell<bool>,
}

impl<'t> Moment<'t> {
    /// Makes a moment that is not read yet.
    pub fn new(timer: &'t Timer) -> Self {
        Self { timer, read: Cell::new(None), rough: Cell::new(None), opened_view: Cell::new(false) }
    }

    /// Makes a moment with this time.
    pub fn at(timer: &'t Timer, time: u64) -> Self {
        Self { read: Cell::new(Some(time)), ..Self::new(timer) }
    }

    /// Makes another moment of the same timer, which is not read yet.
    pub fn again(&self) -> Self {
        Self::new(self.timer)
    }

    /// Discards the time. The next use reads it again.
    pub fn renew(&self) {
        self.read.set(None);
        self.rough.set(None);
    }

    /// Whether it is not `limit` yet. Reads the time only if a rough time, which costs little, does
    /// not tell. The rough time is kept, too. A value that is judged by it may be judged present
    /// although one with the same deadline is judged absent by a time that was read later. So an
    /// operation on several keys that finds one absent after the time [was read](Self::is_read)
    /// looks again, as of an instant and its time.
    #[inline]
    pub fn is_before(&self, limit: u64) -> bool {
        if let Some(time) = self.read.get() {
            return time < limit;
        }
        let rough = self.rough.get().unwrap_or_else(|| self.timer.rough());
        self.rough.set(Some(rough));
        was_surely_before(limit, rough) || self.time() < limit
    }

    /// Notes that the operation opened a view for itself.
    pub(super) fn note_view(&self) {
        self.opened_view.set(true);
    }

    /// Whether the operation opened a view for itself. What waited for that view is in the backlog.
    pub fn has_opened_view(&self) -> bool {
        self.opened_view.get()
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
