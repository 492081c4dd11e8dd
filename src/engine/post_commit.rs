//! What the owner of a commit does when the commit is decided: counts, notes departures for the
//! listener, disposes of superseded versions, and schedules new ones. All kinds of writes end here.

use super::Engine;
use super::terms::weight_of;
use crate::chain::{NodeRef, RecordRef, Visible};
use crate::commit::{Era, Over};
use crate::dependencies::Moment;
use crate::metrics::{EventKind, ThreadCounts};
use crate::reclaim::Reclaim;
use crate::removal::RemovalCause;
use crate::store::{Commit, Evicted, OwnVersion, RecordEnd, Written};
use crate::sync::hook::step;
use crate::version::State;

/// The state for settling the versions of one commit.
pub(super) struct Settling<'g> {
    commit: Commit<'g>,
    /// The clear watermark at the commit: all older values had been cleared.
    watermark: u64,
    era: &'g Era,
    pub mine: &'g ThreadCounts,
}

/// A version with its state, and the value below.
type Unsettled<'g, K, V> = ((OwnVersion<'g, K, V>, State), Option<Visible<'g, V>>);

/// What a commit changed in the sums that all threads share, and is not accounted for yet.
#[must_use]
pub(super) struct Settled<'g> {
    pub era: &'g Era,
    /// How many more entries are present.
    pub entries: i64,
    /// By how much the weight has grown.
    pub weight: i64,
}

impl Settled<'_> {
    /// Accounts for the changes.
    #[inline]
    pub fn account(self) {
        if self.entries != 0 || self.weight != 0 {
            self.account_and_weigh();
        }
    }

    /// Accounts for the changes. Returns the weight after that.
    #[inline]
    pub fn account_and_weigh(self) -> u64 {
        if self.entries != 0 {
            self.era.count(self.entries);
        }
        self.era.weigh(self.weight)
    }
}

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// Returns the state for settling the versions of a commit of the caller.
    #[inline(always)]
    pub(super) fn settling<'g>(&'g self, commit: Commit<'g>) -> Settling<'g> {
        let (watermark, era) = self.store.order.era_at(|| commit.at());
        let mine = self.observers().counters.mine();
        Settling { commit, watermark, era, mine }
    }

    /// Settles one version that a commit wrote: counts, notes what left for the listener, and
    /// disposes of the superseded version. The commit's owner calls this for each version.
    /// Afterwards it accounts for the returned changes, if there are any, and, when all versions
    /// are settled, keeps the bound if any of them is a value. `cause` is the cause of the removal
    /// of the superseded value.
    #[inline(always)]
    pub(super) fn settle<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        settling: &Settling<'g>,
        version: (OwnVersion<'g, K, V>, State),
        cause: RemovalCause,
        moment: &Moment<'_>,
    ) -> Option<Settled<'g>> {
        let (version, before) = self.settle_if_plain(guard, settling, version, cause).err()?;
        Some(self.settle_fully(guard, settling, version, (before, cause), moment))
    }

    /// Settles a plain version that replaces a plain one: only the version below needs disposal.
    /// Otherwise does nothing, and returns the version and the value below as the error.
    #[inline(always)]
    fn settle_if_plain<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        settling: &Settling<'g>,
        (own, state): (OwnVersion<'g, K, V>, State),
        cause: RemovalCause,
    ) -> Result<(), Unsettled<'g, K, V>> {
        step("settle.begin");
        settling.mine.versions_made.add(1);
        let before = own.superseded();
        if let Some(below) = before
            && below.number() > settling.watermark
            && !below.seen().has_terms()
            && state.is_plain()
            && self.observers().is_unobserved()
        {
            settling.mine.removal(cause);
            self.store.dispose_superseded(guard, own);
            return Ok(());
        }
        Err(((own, state), before))
    }

    /// Settles a version in the general case.
    #[inline(never)]
    fn settle_fully<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        settling: &Settling<'g>,
        (own, state): (OwnVersion<'g, K, V>, State),
        (before, cause): (Option<Visible<'g, V>>, RemovalCause),
        moment: &Moment<'_>,
    ) -> Settled<'g> {
        let (record, node) = (own.record(), own.node());
        let version = settling.commit.version();
        self.observers().record(EventKind::Committed, Some(record.hash()), Some(version));
        let was = before.filter(|before| before.number() > settling.watermark);
        let new = state.is_value();
        let old_weight = was.map_or(0, |was| i64::from(weight_of(was.node(), was.seen())));
        let new_weight = if new { i64::from(weight_of(node, state)) } else { 0 };
        let entries = i64::from(new) - i64::from(was.is_some());
        if let Some(was) = was
            && new
            && state.hits_left() > 0
        {
            // A write is a use, too, and the entry stays the same.
            node.set_hits_left(state, was.seen().hits_left().saturating_sub(1));
        }
        self.report_departures(settling, record, (before, was), cause, moment);
        self.store.dispose_superseded(guard, own);
        if !new {
            self.store.try_condemn(guard, record);
        } else if state.has_terms() {
            self.schedule(guard, record, node, was.map(Visible::node));
            if node.bonds().is_some_and(|bonds| !bonds.inputs().is_empty()) {
                // An input may have changed already. A walk that begins after this finds the value.
                self.expect_ended();
            }
        }
        if let Some(before) = before.filter(|before| before.seen().has_terms()) {
            self.superseded_early(guard, record, node, before.node());
        }
        let weight = if self.is_weighed() { new_weight - old_weight } else { 0 };
        Settled { era: settling.era, entries, weight }
    }

    /// Counts and reports the value that a commit removed. `before` is the superseded value, and
    /// `was` is the same value unless it had been cleared.
    #[inline(always)]
    fn report_departures<'g>(
        &'g self,
        settling: &Settling<'g>,
        record: RecordRef<'g, K, V>,
        (before, was): (Option<Visible<'g, V>>, Option<Visible<'g, V>>),
        cause: RemovalCause,
        moment: &Moment<'_>,
    ) {
        let Settling { commit, mine, .. } = *settling;
        if let Some(left) = was {
            let cause = self.store.removal_cause(left, commit.before(), cause, moment);
            self.observers().record_departure(mine, &record, left, cause, commit.version());
        } else if let Some(cleared) = before {
            let cause = RemovalCause::Explicit;
            self.observers().record_departure(mine, &record, cleared, cause, settling.watermark);
        }
    }

    /// Settles a write of one key.
    pub(super) fn settle_one<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        Written { own, state, commit }: Written<'g, K, V>,
        cause: RemovalCause,
        moment: &Moment<'_>,
    ) -> Settled<'g> {
        let settling = self.settling(commit);
        settling.mine.commits.add(1);
        let settled = self.settle(guard, &settling, (own, state), cause, moment);
        settled.unwrap_or(Settled { era: settling.era, entries: 0, weight: 0 })
    }

    /// Settles a write of one key that sets a value without terms. The time is read only if the
    /// replaced value may have ended.
    #[inline(always)]
    pub(super) fn settle_replacement<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        Written { own, state, commit }: Written<'g, K, V>,
    ) -> Option<Settled<'g>> {
        let settling = self.settling(commit);
        settling.mine.commits.add(1);
        let cause = RemovalCause::Replaced;
        let (version, before) =
            self.settle_if_plain(guard, &settling, (own, state), cause).err()?;
        let moment = Moment::new(&self.timer);
        Some(self.settle_fully(guard, &settling, version, (before, cause), &moment))
    }

    /// Settles the first version of a new record, which supersedes nothing and has no terms.
    pub(super) fn settle_first<'g>(
        &'g self,
        Written { own, state, commit }: Written<'g, K, V>,
    ) -> Settled<'g> {
        let (record, node) = (own.record(), own.node());
        let settling = self.settling(commit);
        step("settle.begin");
        settling.mine.commits.add(1);
        settling.mine.versions_made.add(1);
        let version = Some(commit.version());
        self.observers().record(EventKind::Committed, Some(record.hash()), version);
        let weight = if self.is_weighed() { i64::from(weight_of(node, state)) } else { 0 };
        Settled { era: settling.era, entries: 1, weight }
    }

    /// Evicts the value `current` of `record`, unless another commit has superseded it. The caller
    /// accounts for the weight change. If the policy has the handle of the record `in_hand`, this
    /// may take the record back from the policy; says in either case whether it did.
    #[cfg_attr(not(coeval_loom), inline(always))]
    pub(super) fn evict<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        record: RecordRef<'g, K, V>,
        current: Visible<'g, V>,
        in_hand: bool,
    ) -> (Option<Settled<'g>>, bool) {
        let (written, end) = match self.store.evict(guard, record, current.node(), in_hand) {
            Evicted::Gone(written, end) => (written, end),
            Evicted::Refused { is_released } => return (None, is_released),
        };
        let (node, commit) = (written.own.node(), written.commit);
        let moment = Moment::new(&self.timer);
        let settling = self.settling(commit);
        step("settle.begin");
        settling.mine.commits.add(1);
        settling.mine.versions_made.add(1);
        let version = Some(commit.version());
        self.observers().record(EventKind::Committed, Some(record.hash()), version);
        let was = Some(current).filter(|was| was.number() > settling.watermark);
        let weight = was.map_or(0, |was| -i64::from(weight_of(was.node(), was.seen())));
        let cause = RemovalCause::Size;
        self.report_departures(&settling, record, (Some(current), was), cause, &moment);
        self.store.dispose_evicted(guard, written.own, end);
        if current.seen().has_terms() {
            self.superseded_early(guard, record, node, current.node());
        }
        let weight = if self.is_weighed() { weight } else { 0 };
        let entries = -i64::from(was.is_some());
        let is_released = end == RecordEnd::WithTheValue;
        (Some(Settled { era: settling.era, entries, weight }), is_released)
    }

    /// Ends the value `current` of `record` by a commit of the cache itself, unless another commit
    /// has superseded it. The caller accounts for the weight change.
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
        let written = self.store.write(guard, record, None, None, Over::Only(current))?;
        let moment = Moment::new(&self.timer);
        Some(self.settle_one(guard, written, cause, &moment))
    }

    /// Ends a value that was found absent, unless another commit has superseded it. Returns whether
    /// it did.
    pub(super) fn end_absent<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        record: RecordRef<'g, K, V>,
        current: Visible<'g, V>,
        moment: &Moment<'_>,
    ) -> bool {
        let now = self.store.order.now(record.live()).1;
        let cause = self.store.judge(current, now, false, moment).ok().flatten();
        let cause = cause.unwrap_or(RemovalCause::Expired);
        let ended = self.end(guard, record, current.node(), cause);
        ended.map(Settled::account).is_some()
    }

    /// Ends the value of a record if it was cleared.
    pub(super) fn end_cleared<'g>(&'g self, guard: &'g R::Guard<'_>, record: RecordRef<'g, K, V>) {
        if let Some(node) = self.store.cleared_value(record)
            && let Some(ended) = self.end(guard, record, node, RemovalCause::Explicit)
        {
            ended.account();
        }
    }
}
