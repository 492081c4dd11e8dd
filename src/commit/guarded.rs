//! An instant together with the guard that keeps what it sees.

use super::{Limit, Order, ReadAt};
use crate::chain::Live;
use crate::reclaim::Reclaim;
use crate::sync::hook::too_early;

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
    /// Takes a guard, and the instant of the newest number under it. `is_timeless` is called after
    /// the number was read, and says whether no version up to it has a deadline; then no time
    /// matters.
    pub fn guarded<'r, R: Reclaim>(
        &self,
        pin: impl FnOnce() -> R::Guard<'r>,
        is_timeless: impl Fn() -> bool,
    ) -> GuardedInstant<'r, R> {
        let early = too_early("brief_view.clock_first", || self.clock.now());
        let guard = pin();
        let live = Live::by::<R>(&guard);
        let (mut number, mut at) = self.now(live);
        let mut time = 0;
        if !is_timeless() {
            (at, time) = self.instant_under(live);
            number = at.number().expect("it is of a number");
        }
        let watermark = self.watermark_at(at);
        GuardedInstant { guard, number: early.unwrap_or(number), time, watermark }
    }
}
