//! What the engine counts and records, and what it shows of that.

use super::Engine;
use crate::metrics::{EventKind, Recorded, Recorder, Stats};
use crate::reclaim::Reclaim;
use crate::version::{State, Version};

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// A look-up has found this, which is not plain.
    pub(super) fn hit_of(&self, guard: &R::Guard<'_>, hash: u32, state: State) {
        if let Some(tally) = self.reclaim.tally(guard) {
            tally.hit(1);
        }
        self.record(EventKind::Hit, Some(hash), Some(state.version()));
    }

    /// A look-up has found nothing.
    #[inline(always)]
    pub(super) fn missed(&self, guard: &R::Guard<'_>, hash: u32) {
        if let Some(tally) = self.reclaim.tally(guard) {
            tally.miss(1);
        }
        self.record(EventKind::Miss, Some(hash), None);
    }

    /// Look-ups of several keys at once have found this.
    pub(super) fn looked_for_many<T>(&self, guard: &R::Guard<'_>, found: &[Option<T>]) {
        let hits = found.iter().flatten().count();
        if let Some(tally) = self.reclaim.tally(guard) {
            tally.hit(hits as u64);
            tally.miss((found.len() - hits) as u64);
        }
    }

    /// A commit of ours has been made.
    pub(super) fn committed(&self) {
        self.counters.mine().commits.add(1);
    }

    /// A commit was not made, as another came before.
    pub(super) fn conflicted(&self, hash: u32) {
        self.counters.mine().conflicts.add(1);
        self.record(EventKind::Conflict, Some(hash), None);
    }

    /// What was loaded was not committed.
    pub(super) fn refused(&self, hash: u32) {
        self.counters.mine().loads_refused.add(1);
        self.record(EventKind::LoadRefused, Some(hash), None);
    }

    /// A version's memory is free, or will be with that of its record.
    pub(super) fn reclaimed(&self, state: State) {
        if state.is_committed() {
            self.counters.mine().versions_reclaimed.add(1);
        }
    }

    /// Records an event, if that is switched on.
    #[inline(always)]
    pub(super) fn record(&self, kind: EventKind, hash: Option<u32>, version: Option<u64>) {
        if self.order.is_watched() {
            self.recorder.record(kind, hash, version.map(Version::from_u64), self.timer.now());
        }
    }

    /// The figures.
    pub fn stats(&self) -> Stats {
        let mut stats = self.counters.sum();
        (stats.hits, stats.misses) = self.reclaim.tallied();
        let _guard = self.reclaim.pin();
        // SAFETY: a guard is live.
        let era = unsafe { self.order.floor.era(&self.order.clock) };
        stats.entries = era.present() as u64;
        stats.weight = if self.is_weighed() { era.weight() } else { stats.entries };
        stats.views = self.views.count() as u64;
        // SAFETY: as above.
        let oldest = unsafe { self.views.oldest() };
        stats.oldest_view = oldest.map(Version::from_u64);
        stats.oldest_view_lag =
            oldest.map_or(0, |oldest| self.order.clock.now().saturating_sub(oldest));
        stats.retired = self.reclaim.retired() as u64;
        let pools = [&self.records, &self.nodes, &self.conditional, &self.derived];
        let pools: usize = pools.iter().map(|pool| pool.bytes()).sum();
        let policy = self.policy.as_ref().map_or(0, |policy| policy.bytes());
        let queues = self.leftover.bytes() + self.views.bytes() + self.untold.bytes();
        stats.memory =
            (pools + queues + policy + self.commits.bytes() + self.deadlines.bytes()) as u64;
        stats
    }
}

impl<K, V, S, R> Recorded for Engine<K, V, S, R>
where
    K: Send + Sync,
    V: Send + Sync,
    S: Send + Sync,
    R: Reclaim,
{
    fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    fn switch(&self, on: bool) {
        self.order.watch(on);
    }

    fn is_recording(&self) -> bool {
        self.order.is_watched()
    }
}
