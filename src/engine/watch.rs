//! The figures and recorded events that the cache shows.

use super::Engine;
use crate::metrics::{Recorded, Recorder, Stats};
use crate::reclaim::Reclaim;
use crate::version::Version;

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// Returns the figures of the cache.
    pub fn stats(&self) -> Stats {
        let (store, observers) = (&self.store, self.observers());
        let mut stats = observers.counters.sum();
        (stats.hits, stats.misses) = store.reclaim.tallied();
        let guard = self.pin();
        let era = store.era(&guard);
        stats.entries = era.present() as u64;
        stats.weight = if self.is_weighed() { era.weight() } else { stats.entries };
        stats.views = store.views.count() as u64;
        let oldest = store.oldest_view(&guard);
        stats.oldest_view = oldest.map(Version::from_u64);
        stats.oldest_view_lag = oldest.map_or(0, |oldest| store.version().saturating_sub(oldest));
        stats.retired = store.reclaim.retired() as u64;
        let policy = self.policy.as_ref().map_or(0, |policy| policy.bytes());
        let queues = observers.departures.bytes() + self.deadlines.bytes();
        stats.index_memory = store.index_bytes(&guard) as u64;
        stats.memory = (store.bytes() + policy + queues) as u64;
        stats
    }

    /// Counts a group whose entries did not belong together and which a monitor repaired.
    pub fn repaired(&self) {
        self.observers().counters.mine().repaired.add(1);
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
        &self.observers().recorder
    }

    fn switch(&self, on: bool) {
        self.observers().switch(on);
        self.store.order.watch(on);
    }

    fn is_recording(&self) -> bool {
        self.store.order.is_watched()
    }
}
