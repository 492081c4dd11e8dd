//! Whether one version is valid as of an instant.

use super::{DependencyWalk, Moment};
use crate::chain::{Bonds, Dependency, EntryTerms, Tied, Visible};
use crate::commit::{ReadAt, TakenOut};
use crate::reclaim::Reclaim;
use crate::removal::RemovalCause;
use crate::store::{Host, Store, cell_of};
use crate::sync::hook::{planted, step};
use crate::sync::time::{NEVER, was_surely_before};

impl<K, V, S, R: Reclaim, H: Host<K, V>> Store<K, V, S, R, H> {
    /// Why a value is not valid as of an instant: its deadline has passed, or a dependency does not
    /// hold. `None`: the value is valid. A look-up that `counts` is a use of a valid value. An
    /// error means that its dependencies as of that instant are not known. They are known as of a
    /// view, and as of now if the value is not [nested](Bonds::is_nested).
    #[inline]
    pub fn judge<'g>(
        &'g self,
        found: Visible<'g, V>,
        at: ReadAt<'g>,
        counts: bool,
        moment: &Moment<'_>,
    ) -> Result<Option<RemovalCause>, TakenOut> {
        let state = found.seen();
        if state.has_terms() {
            if found.terms().is_some_and(|terms| !self.is_in_time(terms, counts, moment)) {
                return Ok(Some(RemovalCause::Expired));
            }
            if let Some(bonds) = found.bonds()
                && !self.stands((bonds, state.version()), at, counts, moment)?
            {
                return Ok(Some(RemovalCause::Related));
            }
        }
        if counts {
            found.count_hit(state);
        }
        Ok(None)
    }

    /// Whether the deadline has not passed. A use moves the deadline on.
    pub fn is_in_time(&self, terms: &EntryTerms, counts: bool, moment: &Moment<'_>) -> bool {
        if terms.deadline() == NEVER {
            return true;
        }
        if !terms.is_moved_by_uses() {
            return moment.is_before(terms.deadline());
        }
        let time = moment.time();
        let is_expired = terms.is_expired(time);
        if counts && !is_expired {
            step("look.timed");
            terms.touch(time);
        }
        !is_expired
    }

    /// Notes a use of a value that a view returned. Moves its deadline on, if the value has not
    /// expired.
    pub fn note_use(&self, found: Visible<'_, V>) {
        found.count_hit(found.seen());
        if let Some(terms) = found.terms() {
            self.is_in_time(terms, true, &Moment::new(self.order.timer()));
        }
    }

    /// Decides quickly whether a value is valid that is derived from a few plain values, or has one
    /// tag, and has no deadline. Most look-ups of values with dependencies end here. Returns `None`
    /// for any other value. The value was the head of its record when nothing had been cleared.
    #[inline(always)]
    pub fn stands_on_few<'g>(&self, tied: Tied<'g, V>) -> Option<bool> {
        let own = || tied.found().number();
        let is_as_seen = |input: &Dependency| self.is_as_seen(tied, input);
        tied.stands_on_few(is_as_seen, |tag| Self::is_tag_valid(tied, tag, own()))
    }

    /// The same for any number of plain values and tags. `false` says nothing.
    #[inline(always)]
    pub fn stands_plainly<'g>(&self, tied: Tied<'g, V>) -> bool {
        let own = tied.found().number();
        let is_as_seen = |input: &Dependency| self.is_as_seen(tied, input);
        tied.stands_plainly(is_as_seen, |tag| Self::is_tag_valid(tied, tag, own))
    }

    /// Decides quickly whether a value is valid that has no dependencies, and whose deadline is far
    /// away and is not moved by uses. `false` says nothing.
    #[inline(always)]
    pub fn is_surely_in_time(&self, tied: Tied<'_, V>) -> bool {
        let deadline = tied.found().terms().and_then(EntryTerms::plain_deadline);
        let is_in_time = |deadline| was_surely_before(deadline, self.order.timer().rough());
        deadline.is_some_and(|deadline| deadline == NEVER || is_in_time(deadline))
    }

    /// Whether a tag of the version `own` was not invalidated. `false` if the newest invalidation
    /// is not stamped yet.
    #[inline(always)]
    fn is_tag_valid(tied: Tied<'_, V>, tag: &Dependency, own: u64) -> bool {
        // SAFETY: one of the tags of the version.
        let cell = unsafe { cell_of(tag) };
        let ended = cell.ended.newest_stamped(tied.found().live());
        ended.is_some_and(|ended| ended <= tag.tagged_since(own) || planted("tag.unchecked"))
    }

    /// Whether the record of an input still holds the same plain value.
    #[inline(always)]
    fn is_as_seen(&self, tied: Tied<'_, V>, input: &Dependency) -> bool {
        let top = self.record_of(tied.found().live(), input).top();
        top.is_some_and(|(_, state)| input.matches(state) || planted("derive.input_unchecked"))
    }

    /// Why a commit removed a value: `cause`, or the reason for which the value was absent already.
    #[inline(always)]
    pub fn removal_cause<'g>(
        &'g self,
        was: Visible<'g, V>,
        before: ReadAt<'g>,
        cause: RemovalCause,
        moment: &Moment<'_>,
    ) -> RemovalCause {
        if !was.seen().has_terms() {
            return cause;
        }
        self.removal_cause_by_terms(was, before, cause, moment)
    }

    /// The same for a value with terms.
    #[inline(never)]
    fn removal_cause_by_terms<'g>(
        &'g self,
        was: Visible<'g, V>,
        before: ReadAt<'g>,
        cause: RemovalCause,
        moment: &Moment<'_>,
    ) -> RemovalCause {
        if cause != RemovalCause::Related {
            let ended = self.judge(was, before, false, moment);
            return ended.ok().flatten().unwrap_or(cause);
        }
        // The value counts as related, whether or not its dependencies hold.
        let is_expired = was.terms().is_some_and(|terms| !self.is_in_time(terms, false, moment));
        if is_expired { RemovalCause::Expired } else { cause }
    }

    /// Whether the dependencies of a value, which are those of a version with this number, hold as
    /// of an instant: all inputs are unchanged, and no tag was invalidated. Takes time in
    /// proportion to the number of dependencies on all levels.
    pub fn stands<'g>(
        &'g self,
        bonds: (&'g Bonds, u64),
        at: ReadAt<'g>,
        counts: bool,
        moment: &Moment<'_>,
    ) -> Result<bool, TakenOut> {
        let at = self.order.with_watermark(at);
        self.walk(bonds, at, (counts, moment), &(), &mut DependencyWalk::default())
    }
}
