//! An instant together with the guard that keeps what it sees.

use super::{Limit, Order, ReadAt};
use crate::reclaim::Reclaim;

/// An instant under a guard, with a time that belongs to it, and the guard.
pub struct GuardedInstant<'r, R: Reclaim + 'r> {
    guard: R::Guard<'r>,
    number: u64,
    time: u64,
    watermark: u64,
}

impl<'r, R: Reclaim> GuardedInstant<'r, R> {
    pub fn guard(&self) -> &R::Guard<'r> {
        &self.guard
    }

    /// The instant. What it sees is kept as long as this is borrowed.
    #[inline(always)]
    pub fn at(&self) -> ReadAt<'_> {
        // SAFETY: the clock was read under the guard, which is live.
        unsafe { ReadAt::new(Limit::Now(self.number)) }.above(self.watermark)
    }

    /// The same, but of this number, if there is one: the defect of a mutant.
    pub fn or(self, early: Option<u64>) -> Self {
        Self { number: early.unwrap_or(self.number), ..self }
    }

    /// The number of the newest commit that the instant sees.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The time that belongs to the instant.
    pub fn time(&self) -> u64 {
        self.time
    }
}

impl Order {
    /// The instant of the newest number under this guard. `is_timeless`
    /// is called after the number was read, and says whether no version up to it has a deadline.
    pub fn guarded<'r, R: Reclaim>(
        &self,
        guard: R::Guard<'r>,
        is_timeless: impl Fn() -> bool,
    ) -> GuardedInstant<'r, R> {
        let number = self.clock.now();
        // Called after the number was read: no version up to it has a deadline, so no time matters.
        let (number, time) = if is_timeless() { (number, 0) } else { self.instant() };
        // SAFETY: the clock was read under the guard, which is live.
        let at = unsafe { ReadAt::new(Limit::Now(number)) };
        let watermark = self.watermark_at(at);
        GuardedInstant { guard, number, time, watermark }
    }
}
