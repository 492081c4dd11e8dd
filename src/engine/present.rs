//! Whether a value that was found is to be had: it has not come to its deadline, and what it was derived from still
//! is what it was.
//!
//! What one reads is to have been so at one instant. Of a value with plain inputs that is the instant at which it was
//! found: inputs do not come back once they were superseded, so if they stand later, they stood then. Of
//! nested ones it is an instant that is fixed before: a derived input may come back.

use super::Engine;
use super::keep::Moment;
use super::read::Opened;
use crate::chain::{Bonds, FEW, Input, Node, Record, Terms};
use crate::commit::{Found, Limit, TakenOut};
use crate::reclaim::Reclaim;
use crate::relation::TagCell;
use crate::removal::RemovalCause;
use crate::sync::hook::{mutant, step};
use crate::sync::time::NEVER;
use crate::sync::{Ordering, fence};
use crate::version::State;
use std::ptr;

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// What a record holds, if that is to be had. A look-up that `counts` is a use of it.
    pub(super) fn present<'g>(
        &self,
        guard: &'g R::Guard<'_>,
        record: &'g Record<K, V>,
        counts: bool,
        moment: &Moment<'_>,
    ) -> Option<(&'g Node<V>, State)> {
        // SAFETY: callers located it, or hold it, under the guard.
        let newest = || match unsafe { self.order.newest(record) } {
            Found::Value(node, state) => Some((node, state)),
            _ => None,
        };
        let mut found = newest()?;
        let serving = self.serving(guard, record, found, counts, moment);
        if serving.is_some() {
            return serving;
        }
        loop {
            // It has ended. That was an instant at which there was nothing only if nobody has put anything in
            // its place before it did: tried again, if so, upon what that is. Nor has a commit been decided then
            // that found the deadline not to have come, but before: one that is ready is stamped by this look.
            fence(Ordering::SeqCst); // partner: the fence in `Descriptor::time`; the clock was read before
            let again = newest()?;
            if ptr::eq(again.0, found.0) || mutant("present.ended_is_absent") {
                return None;
            }
            found = again;
            // What was put there since is judged by a time since.
            let serving = self.serving(guard, record, found, counts, &moment.again());
            if serving.is_some() {
                return serving;
            }
        }
    }

    /// What was found newest in a record, if it is to be had.
    #[inline]
    pub(super) fn serving<'g>(
        &self,
        guard: &'g R::Guard<'_>,
        record: &'g Record<K, V>,
        (node, state): (&'g Node<V>, State),
        counts: bool,
        moment: &Moment<'_>,
    ) -> Option<(&'g Node<V>, State)> {
        // SAFETY: kept by the guard.
        if state.has_terms() && unsafe { node.bonds() }.is_some_and(Bonds::is_nested) {
            return self.nested(guard, record, counts, moment);
        }
        step("present.found");
        let serves = self.serves(node, state, Limit::Newest, counts, moment);
        serves.is_ok_and(|serves| serves).then_some((node, state))
    }

    /// Whether a version that is derived from a few plain values, or has one tag, and nothing else that could end it, is to
    /// be had: most look-ups of what is tied end here. `None`: it is not of that kind.
    ///
    /// # Safety
    /// It was found on top of a record, and [tied](State::is_tied), under a guard that is live, when nothing had been
    /// cleared.
    #[inline(always)]
    pub(super) unsafe fn stands_on_few(&self, node: &Node<V>) -> Option<bool> {
        // SAFETY: the caller's promise: tied, it has terms, and the guard keeps it and what it holds.
        unsafe {
            let Some(inputs) = node.few_inputs() else {
                let is_kind = node.has_one_tag();
                let own = || node.state().version();
                return is_kind.then(|| self.has_stayed(node.tie_at(0), own()));
            };
            // The bound is a constant: this becomes no loop.
            for at in 0..FEW {
                if !self.is_as_seen(node.tie_at(at)) {
                    return Some(false);
                }
                if at + 1 == inputs {
                    break;
                }
            }
        }
        Some(true)
    }

    /// The same, of any number. False says nothing.
    ///
    /// # Safety
    /// As for [`stands_on_few`](Self::stands_on_few).
    #[inline(always)]
    pub(super) unsafe fn stands_plainly(&self, node: &Node<V>) -> bool {
        // SAFETY: the caller's promise, as above.
        unsafe {
            let Some((inputs, tags)) = node.plain_ties() else { return false };
            let own = node.state().version();
            (0..inputs).all(|at| self.is_as_seen(node.tie_at(at)))
                && (inputs..inputs + tags).all(|at| self.has_stayed(node.tie_at(at), own))
        }
    }

    /// Whether a tag of a version of this number was not invalidated, which is easily said.
    ///
    /// # Safety
    /// The version is kept by a live guard.
    #[inline(always)]
    unsafe fn has_stayed(&self, tag: &Input, own: u64) -> bool {
        // SAFETY: the caller's promise: the version holds the tag's cell.
        let ended = unsafe { (*tag.cell::<TagCell>()).ended.newest_settled() };
        ended.is_some_and(|ended| ended <= tag.tagged_since(own))
    }

    /// Whether a record holds a plain value, the one that it held.
    ///
    /// # Safety
    /// The input is held by a version that a live guard keeps.
    #[inline(always)]
    unsafe fn is_as_seen(&self, input: &Input) -> bool {
        // SAFETY: the caller's promise.
        let top = unsafe { (*input.record::<Record<K, V>>()).top() };
        // SAFETY: reached from the head under the guard.
        top.is_some_and(|top| input.was(unsafe { top.as_ref() }.state()))
    }

    /// What a record holds at one instant, if it is to be had then.
    #[inline(never)]
    fn nested<'g>(
        &self,
        _guard: &'g R::Guard<'_>,
        record: &'g Record<K, V>,
        counts: bool,
        moment: &Moment<'_>,
    ) -> Option<(&'g Node<V>, State)> {
        let try_at =
            |limit, moment: &Moment<'_>| -> Result<Option<(&'g Node<V>, State)>, TakenOut> {
                // SAFETY: the clock was read, or the view is registered, under the guard.
                let found = unsafe { self.order.at(record, limit, self.order.floor_at(limit)) };
                match found {
                    Found::Value(node, state) => {
                        step("derive.found");
                        let serves = self.serves(node, state, limit, counts, moment)?;
                        Ok(serves.then_some((node, state)))
                    }
                    Found::Absent => Ok(None),
                    Found::Unknown => Err(TakenOut),
                }
            };
        if mutant("derive.nested_now") {
            return try_at(Limit::Newest, moment).ok().flatten();
        }
        // A time that is read after the number: what is in time by it was then.
        let later = moment.again();
        let found = match try_at(Limit::Now(self.order.clock.now()), &later) {
            // Over by that time: it may have been there as of the number.
            Ok(None) if later.is_read() => {
                let (number, time) = self.order.instant();
                try_at(Limit::Now(number), &Moment::at(&self.timer, time))
            }
            found => found,
        };
        found.unwrap_or_else(|TakenOut| {
            let view = Opened::new(self);
            let opened = Moment::at(&self.timer, view.snapshot().opened());
            // What is found was visible under the guard, so that keeps it when the view is closed.
            try_at(Limit::View(view.snapshot().version()), &opened).expect("a view can tell")
        })
    }

    /// Whether a version whose value is visible is to be had: it has not come to its deadline, and what it was
    /// derived from still is as it was `as_of` then; and what a look-up that `counts` leaves behind. An error: what
    /// it was derived from cannot be told as of that limit; it can as of a view, and now if it is not
    /// [nested](Bonds::is_nested). The caller's guard keeps the version.
    pub(super) fn serves(
        &self,
        node: &Node<V>,
        state: State,
        as_of: Limit,
        counts: bool,
        moment: &Moment<'_>,
    ) -> Result<bool, TakenOut> {
        if state.has_terms() {
            // SAFETY: the caller's guard.
            let (terms, bonds) = unsafe { (node.terms(), node.bonds()) };
            if terms.is_some_and(|terms| !self.is_in_time(terms, counts, moment)) {
                return Ok(false);
            }
            if let Some(bonds) = bonds
                && !self.stands((bonds, state.version()), as_of, counts, moment)?
            {
                return Ok(false);
            }
        }
        if counts {
            node.count_hit(state);
        }
        Ok(true)
    }

    /// Whether a deadline has not come; a use moves it on.
    pub(super) fn is_in_time(&self, terms: &Terms, counts: bool, moment: &Moment<'_>) -> bool {
        if terms.deadline() == NEVER {
            return true;
        }
        let time = moment.time();
        let is_over = terms.is_over(time);
        if counts && !is_over {
            terms.touch(time);
        }
        !is_over
    }

    /// Notes that a value which was there in a view is used now, if it is still in time.
    pub(super) fn is_used(&self, node: &Node<V>, state: State) {
        node.count_hit(state);
        // SAFETY: the caller's view keeps it.
        if let Some(terms) = unsafe { node.terms() } {
            self.is_in_time(terms, true, &Moment::new(&self.timer));
        }
    }

    /// Why a value that the commit `version` took away was absent already; `None`: it was not.
    #[inline]
    pub(super) fn absence(
        &self,
        was: &Node<V>,
        version: u64,
        moment: &Moment<'_>,
    ) -> Option<RemovalCause> {
        if !was.state().has_terms() {
            return None;
        }
        // SAFETY: kept by the caller's guard.
        let (terms, bonds) = unsafe { (was.terms()?, was.bonds()) };
        if !self.is_in_time(terms, false, moment) {
            return Some(RemovalCause::Expired);
        }
        let before = Limit::Now(version - 1);
        let bonds = (bonds?, was.state().version());
        let stands = self.stands(bonds, before, false, moment).unwrap_or(true);
        (!stands).then_some(RemovalCause::Related)
    }

    /// Why a commit took a value away: the cause that it has, or why that was absent already.
    pub(super) fn cause_of(
        &self,
        was: &Node<V>,
        version: u64,
        cause: RemovalCause,
        moment: &Moment<'_>,
    ) -> RemovalCause {
        if cause != RemovalCause::Related {
            return self.absence(was, version, moment).unwrap_or(cause);
        }
        // So whatever it is tied to. SAFETY: kept by the caller's guard.
        let terms = unsafe { was.terms() };
        let is_over = terms.is_some_and(|terms| !self.is_in_time(terms, false, moment));
        if is_over { RemovalCause::Expired } else { cause }
    }

    /// Ends a value that was found absent, unless it was superseded.
    pub(super) fn end_absent(
        &self,
        guard: &R::Guard<'_>,
        record: &Record<K, V>,
        current: &Node<V>,
        moment: &Moment<'_>,
    ) -> bool {
        let cause = self.absence(current, self.order.clock.now() + 1, moment);
        let ended = self.end(guard, record, current, cause.unwrap_or(RemovalCause::Expired));
        ended.map(|ended| ended.weigh()).is_some()
    }
}
