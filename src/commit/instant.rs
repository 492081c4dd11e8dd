//! The instant of a read: which commits it sees.

use super::Order;
use crate::chain::Live;
use crate::sync::hook::{mutant, step};
use crate::sync::{Ordering, fence};
use std::marker::PhantomData;

/// The error of a read that found a gap: the version may have been taken out of its chain, because
/// no registered view needed it.
#[derive(Debug)]
pub struct TakenOut;

/// The newest version that a read sees.
#[derive(Clone, Copy)]
pub enum Limit {
    /// The newest committed version.
    Newest,
    /// The version of a registered view.
    View(u64),
    /// A number that the clock showed under the reader's guard, without a registered view. The
    /// guard keeps all versions that the read needs, but one may have been taken out of its chain:
    /// [`TakenOut`].
    Now(u64),
}

/// The instant of a read, and the proof that all that the read may reach is kept for `'g`.
#[derive(Clone, Copy)]
pub struct ReadAt<'g> {
    limit: Limit,
    /// The clear watermark of the instant, or [`UNKNOWN`].
    watermark: u64,
    live: PhantomData<&'g ()>,
}

/// No commit has this number.
const UNKNOWN: u64 = u64::MAX;

impl<'g> ReadAt<'g> {
    /// The instant of the newest committed version.
    #[inline(always)]
    pub fn newest(_: Live<'g>) -> Self {
        Self { limit: Limit::Newest, watermark: UNKNOWN, live: PhantomData }
    }

    /// # Safety
    /// A guard is live for `'g`, and `limit` is valid: the version of a view that is registered for
    /// `'g`, or a number that was read from the clock, or taken, under that guard.
    #[inline(always)]
    pub unsafe fn new(limit: Limit) -> Self {
        Self { limit, watermark: UNKNOWN, live: PhantomData }
    }

    /// The same instant, of which this is the clear watermark.
    #[inline(always)]
    pub fn above(self, watermark: u64) -> Self {
        Self { watermark, ..self }
    }

    /// The clear watermark of the instant, if it is known.
    #[inline(always)]
    pub fn watermark(self) -> Option<u64> {
        (self.watermark != UNKNOWN).then_some(self.watermark)
    }

    /// The newest version that the read sees.
    #[inline(always)]
    pub fn limit(self) -> Limit {
        self.limit
    }

    /// The number of the instant; `None` if the read looks for the newest version.
    pub fn number(self) -> Option<u64> {
        match self.limit {
            Limit::View(number) | Limit::Now(number) => Some(number),
            Limit::Newest => None,
        }
    }

    /// Whether the read sees the commit of this number.
    #[inline(always)]
    pub fn sees(self, commit: u64) -> bool {
        match self.limit {
            Limit::Newest => true,
            Limit::View(number) | Limit::Now(number) => commit <= number,
        }
    }

    /// Whether no version that the read needs can have been taken out of its chain.
    pub(super) fn is_exact(self) -> bool {
        !matches!(self.limit, Limit::Now(_))
    }

    /// The proof that the guard of this read is live.
    #[inline(always)]
    pub fn live(self) -> Live<'g> {
        // SAFETY: `new` requires it.
        unsafe { Live::assumed() }
    }
}

impl Order {
    /// Returns a number, and a time that belongs to it: no number was taken while the time was
    /// read. So an operation that judges deadlines by an earlier time has no larger number, and one
    /// that judges by a later time has no smaller number.
    ///
    /// Lock-free: the loop repeats only if another thread took a number.
    pub fn instant(&self) -> (u64, u64) {
        let mut number = self.clock.now();
        loop {
            step("instant.numbered");
            let time = self.timer.now();
            step("instant.timed");
            fence(Ordering::SeqCst); // partner: the fence in `Descriptor::time`
            let now = self.clock.now();
            if now == number || mutant("instant.unchecked") {
                return (number, time);
            }
            number = now;
        }
    }

    /// Like [`instant`](Self::instant), but with any current time if `is_timeless`, which is called
    /// after the number was read, says that no version up to the number has a deadline.
    pub fn instant_if(&self, is_timeless: impl Fn() -> bool) -> (u64, u64) {
        let number = self.clock.now();
        if is_timeless() { (number, self.timer.now()) } else { self.instant() }
    }

    /// The newest number, and the instant of it under this guard.
    #[inline(always)]
    pub fn now<'g>(&self, _: Live<'g>) -> (u64, ReadAt<'g>) {
        let number = self.clock.now();
        // SAFETY: a guard is live for 'g, and the clock was read under it.
        (number, unsafe { ReadAt::new(Limit::Now(number)) })
    }

    /// Takes a number under this guard, and returns it with its instant.
    pub fn tick_under<'g>(&self, _: Live<'g>) -> (u64, ReadAt<'g>) {
        let number = self.clock.tick();
        // SAFETY: as in `now`.
        (number, unsafe { ReadAt::new(Limit::Now(number)) })
    }

    /// An instant under this guard, and a time that belongs to it; see [`instant`](Self::instant).
    pub fn instant_under<'g>(&self, _: Live<'g>) -> (ReadAt<'g>, u64) {
        let (number, time) = self.instant();
        // SAFETY: as in `now`.
        (unsafe { ReadAt::new(Limit::Now(number)) }, time)
    }
}
