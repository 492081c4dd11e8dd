//! What the owner of a commit owes when it is decided: counts, the listener, the disposal of what was superseded.

use super::Engine;
use super::keep::Moment;
use crate::chain::{Chain, Node, Record};
use crate::commit::{Era, Limit};
use crate::metrics::{EventKind, ThreadCounts};
use crate::reclaim::Reclaim;
use crate::removal::RemovalCause;
use crate::sync::hook::step;
use crate::version::State;

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// The value that a commit of ours superseded at `node`, unless it had been cleared.
    pub(super) fn superseded<'g>(
        &self,
        record: &'g Record<K, V>,
        node: &'g Node<V>,
        state: State,
    ) -> Option<&'g Node<V>> {
        let (before, was) = self.below(record, node)?;
        // SAFETY: the version of a commit made under our guard.
        let floor = unsafe { self.order.floor_at(Limit::Now(state.version())) };
        (was.version() > floor).then_some(before)
    }

    /// The value below `node`, a version of a commit of ours, cleared or not.
    #[inline(always)]
    fn below<'g>(
        &self,
        record: &'g Record<K, V>,
        node: &'g Node<V>,
    ) -> Option<(&'g Node<V>, State)> {
        // SAFETY: installed in this record, under our guard.
        let prev = unsafe { record.prev_of(node) }.link().target();
        if prev.is_null() {
            return None;
        }
        // SAFETY: superseded by a commit made under our guard, and the link is open until we settle
        // it, so this is what it was when installed.
        let prev: &'g Node<V> = unsafe { &*prev };
        let state = prev.state();
        state.is_value().then_some((prev, state))
    }

    /// What settling the versions of a commit of ours goes by.
    #[inline(always)]
    pub(super) fn settling<'g, 'm>(
        &'g self,
        _guard: &'g R::Guard<'_>,
        version: u64,
        moment: &'m Moment<'m>,
    ) -> Settling<'g, 'm> {
        // SAFETY: the version of a commit made under our guard.
        let (floor, era) = unsafe { self.order.floor.at(&self.order.clock, Limit::Now(version)) };
        Settling { version, floor, era, mine: self.counters.mine(), moment }
    }

    /// What the owner of a commit owes for each version that it wrote: the count, the listener, and the
    /// disposal of what was superseded. Then, for what it returns, the weight; and when this is done for all
    /// of the commit, for values, the bound. `cause` is why it took away what it superseded.
    #[inline(always)]
    pub(super) fn settle<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        settling: &Settling<'g, '_>,
        record: &Record<K, V>,
        node: &Node<V>,
        state: State,
        cause: RemovalCause,
    ) -> Settled<'g> {
        step("settle.begin");
        settling.mine.versions_made.add(1);
        let before = self.below(record, node);
        if let Some((_, was)) = before
            && was.version() > settling.floor
            && !was.has_terms()
            && state.is_plain()
            && self.is_unobserved()
        {
            // One plain value for another: nothing but the version below changes hands.
            settling.mine.removal(cause);
            self.dispose_below(guard, record, node);
            return Settled { era: settling.era, change: 0 };
        }
        self.settle_anyhow(guard, settling, record, (node, state), before, cause)
    }

    /// The same, whatever was there before, and whoever is to hear of it.
    #[inline(never)]
    fn settle_anyhow<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        settling: &Settling<'g, '_>,
        record: &Record<K, V>,
        (node, state): (&Node<V>, State),
        before: Option<(&Node<V>, State)>,
        cause: RemovalCause,
    ) -> Settled<'g> {
        if self.order.is_watched() {
            self.record(EventKind::Committed, Some(record.hash()), Some(settling.version));
        }
        let was = before.filter(|(_, was)| was.version() > settling.floor);
        let new = state.is_value();
        let weight = |node: &Node<V>, state: State| i64::from(self.weight_of(node, state));
        let old_weight = was.map_or(0, |(was, state)| weight(was, state));
        let change = if new { weight(node, state) } else { 0 } - old_weight;
        if was.is_some() != new {
            settling.era.count(if new { 1 } else { -1 });
        }
        if let Some((_, was)) = was
            && new
            && state.hits_left() > 0
        {
            // A write is a use, too, and the entry is the same.
            node.set_hits_left(state, was.hits_left().saturating_sub(1));
        }
        if let Some((left, _)) = was {
            let cause = self.cause_of(left, settling.version, cause, settling.moment);
            self.leave(settling.mine, record, left, cause, settling.version);
        } else if let Some((cleared, _)) = before {
            let cause = RemovalCause::Explicit;
            self.leave(settling.mine, record, cleared, cause, settling.floor);
        }
        // SAFETY: installed in this record, under our guard.
        if !unsafe { record.prev_of(node) }.link().target().is_null() {
            self.dispose_below(guard, record, node);
        }
        if !new {
            self.try_condemn(guard, record);
        } else if state.has_terms() {
            self.schedule(guard, record, node, was.map(|(was, _)| was));
        }
        if let Some((before, _)) = before.filter(|(_, before)| before.has_terms()) {
            self.superseded_early(guard, record, node, before);
        }
        Settled { era: settling.era, change: if self.is_weighed() { change } else { 0 } }
    }

    /// Whether the weight is kept account of.
    pub(super) fn is_weighed(&self) -> bool {
        self.policy.is_some() || self.rules.weigher.is_some()
    }

    /// Settles a write of one key.
    pub(super) fn settle_one<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        record: &Record<K, V>,
        (node, state): (&Node<V>, State),
        cause: RemovalCause,
        moment: &Moment<'_>,
    ) -> Settled<'g> {
        let settling = self.settling(guard, state.version(), moment);
        settling.mine.commits.add(1);
        self.settle(guard, &settling, record, node, state, cause)
    }
}

/// What settling the versions of one commit goes by.
pub(super) struct Settling<'g, 'm> {
    pub version: u64,
    /// Up to which version everything had been cleared then.
    floor: u64,
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
