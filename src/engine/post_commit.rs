//! What the owner of a commit does when it is decided: counts, tells, disposes of what was
//! superseded, and schedules what is new. Every way to write ends here.

use super::Engine;
use super::terms::weight_of;
use crate::chain::{NodeRef, RecordRef, Visible};
use crate::commit::Era;
use crate::dependencies::Moment;
use crate::metrics::{EventKind, ThreadCounts};
use crate::reclaim::Reclaim;
use crate::removal::RemovalCause;
use crate::store::{Commit, Written};
use crate::sync::hook::step;
use crate::version::State;

/// What settling the versions of one commit goes by.
pub(super) struct Settling<'g, 'm> {
    commit: Commit<'g>,
    /// Up to which version everything had been cleared then.
    watermark: u64,
    era: &'g Era,
    pub mine: &'g ThreadCounts,
    moment: &'m Moment<'m>,
}

/// A change of the weight that is yet to be accounted for.
#[must_use]
pub(super) struct Settled<'g> {
    pub era: &'g Era,
    pub change: i64,
}

impl Settled<'_> {
    /// Accounts for it.
    #[inline]
    pub fn weigh(self) {
        if self.change != 0 {
            self.era.weigh(self.change);
        }
    }
}

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// What settling the versions of a commit of the caller's goes by.
    #[inline(always)]
    pub(super) fn settling<'g, 'm>(
        &'g self,
        commit: Commit<'g>,
        moment: &'m Moment<'m>,
    ) -> Settling<'g, 'm> {
        let (watermark, era) = self.store.order.watermark.at(&self.store.order.clock, commit.at());
        let mine = self.observers().counters.mine();
        Settling { commit, watermark, era, mine, moment }
    }

    /// What the owner of a commit does for each version that it wrote: the count, the listener, and
    /// the disposal of what was superseded. Then, for what it returns, the weight; and when this is
    /// done for all of the commit, for values, the bound. `cause` is why it took away what it
    /// superseded.
    #[inline(always)]
    pub(super) fn settle<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        settling: &Settling<'g, '_>,
        record: RecordRef<'g, K, V>,
        (node, state): (NodeRef<'g, V>, State),
        cause: RemovalCause,
    ) -> Settled<'g> {
        step("settle.begin");
        settling.mine.versions_made.add(1);
        let before = self.store.superseded(record, node);
        if let Some(before) = before
            && before.number() > settling.watermark
            && !before.seen().has_terms()
            && state.is_plain()
            && self.observers().is_unobserved()
        {
            // One plain value for another: nothing but the version below changes hands.
            settling.mine.removal(cause);
            self.store.dispose_superseded(guard, record, node);
            return Settled { era: settling.era, change: 0 };
        }
        self.settle_fully(guard, settling, record, (node, state), before, cause)
    }

    /// The same, whatever was there before, and whoever is to hear of it.
    #[inline(never)]
    fn settle_fully<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        settling: &Settling<'g, '_>,
        record: RecordRef<'g, K, V>,
        (node, state): (NodeRef<'g, V>, State),
        before: Option<Visible<'g, V>>,
        cause: RemovalCause,
    ) -> Settled<'g> {
        let version = settling.commit.version();
        self.observers().record(EventKind::Committed, Some(record.hash()), Some(version));
        let was = before.filter(|before| before.number() > settling.watermark);
        let new = state.is_value();
        let old_weight = was.map_or(0, |was| i64::from(weight_of(was.node(), was.seen())));
        let new_weight = if new { i64::from(weight_of(node, state)) } else { 0 };
        if was.is_some() != new {
            settling.era.count(if new { 1 } else { -1 });
        }
        if let Some(was) = was
            && new
            && state.hits_left() > 0
        {
            // A write is a use, too, and the entry is the same.
            node.set_hits_left(state, was.seen().hits_left().saturating_sub(1));
        }
        self.tell_what_left(settling, record, (before, was), cause);
        if !record.prev_of(node).link().target().is_null() {
            self.store.dispose_superseded(guard, record, node);
        }
        if !new {
            self.store.try_condemn(guard, record);
        } else if state.has_terms() {
            self.schedule(guard, record, node, was.map(Visible::node));
        }
        if let Some(before) = before.filter(|before| before.seen().has_terms()) {
            self.superseded_early(guard, record, node, before.node());
        }
        let change = if self.is_weighed() { new_weight - old_weight } else { 0 };
        Settled { era: settling.era, change }
    }

    /// Counts and tells what a commit took away: what was `before`, and what of that was there.
    #[inline(always)]
    fn tell_what_left<'g>(
        &'g self,
        settling: &Settling<'g, '_>,
        record: RecordRef<'g, K, V>,
        (before, was): (Option<Visible<'g, V>>, Option<Visible<'g, V>>),
        cause: RemovalCause,
    ) {
        let Settling { commit, mine, .. } = *settling;
        if let Some(left) = was {
            let cause =
                self.store.removal_cause(left.node(), commit.before(), cause, settling.moment);
            self.observers().leave(mine, &record, left, cause, commit.version());
        } else if let Some(cleared) = before {
            let cause = RemovalCause::Explicit;
            self.observers().leave(mine, &record, cleared, cause, settling.watermark);
        }
    }

    /// Settles a write of one key.
    pub(super) fn settle_one<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        record: RecordRef<'g, K, V>,
        written: Written<'g, V>,
        cause: RemovalCause,
        moment: &Moment<'_>,
    ) -> Settled<'g> {
        let Written { node, state, commit } = written;
        let settling = self.settling(commit, moment);
        settling.mine.commits.add(1);
        self.settle(guard, &settling, record, (node, state), cause)
    }

    /// Ends the value `current` of `record`, unless it was superseded, by a commit of the cache's
    /// own. Its weight is yet to be accounted for.
    pub(super) fn end<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        record: RecordRef<'g, K, V>,
        current: NodeRef<'g, V>,
        cause: RemovalCause,
    ) -> Option<Settled<'g>> {
        if !record.revive() {
            return None;
        }
        step("evict.before_write");
        let written = self.store.write(guard, record, &mut None, None, Some(current))?;
        let moment = Moment::new(&self.timer);
        Some(self.settle_one(guard, record, written, cause, &moment))
    }

    /// Ends a value that was found absent, unless it was superseded.
    pub(super) fn end_absent<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        record: RecordRef<'g, K, V>,
        current: NodeRef<'g, V>,
        moment: &Moment<'_>,
    ) -> bool {
        let now = self.store.order.now(record.live()).1;
        let cause = self.store.absence_cause(current, now, moment);
        let ended = self.end(guard, record, current, cause.unwrap_or(RemovalCause::Expired));
        ended.map(Settled::weigh).is_some()
    }

    /// Ends the value of a record if it was cleared.
    pub(super) fn end_cleared<'g>(&'g self, guard: &'g R::Guard<'_>, record: RecordRef<'g, K, V>) {
        if let Some(node) = self.store.cleared_value(record)
            && let Some(ended) = self.end(guard, record, node, RemovalCause::Explicit)
        {
            ended.weigh();
        }
    }
}
