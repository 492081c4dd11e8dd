//! The figures and recorded events that the cache shows.

use super::Engine;
use crate::commit::ShownView;
#[cfg(feature = "metrics")]
use crate::metrics::LoadDurations;
use crate::metrics::{LoadInfo, Recorded, Recorder, Stats, ViewInfo};
use crate::reclaim::Reclaim;
use crate::sync::time::NEVER;
use crate::version::Version;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

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
        if let Some((oldest, opened)) = oldest {
            stats.oldest_view = Some(Version::from_u64(oldest));
            stats.oldest_view_lag = store.version().saturating_sub(oldest);
            let age = self.timer.now().saturating_sub(opened);
            stats.oldest_view_age = Duration::from_nanos(age);
        }
        stats.retired = store.reclaim.retired() as u64;
        let policy = self.policy.as_ref().map_or(0, |policy| policy.bytes());
        let queues = observers.departures.bytes() + self.deadlines.bytes();
        stats.index_memory = store.index_bytes(&guard) as u64;
        stats.memory = (store.bytes() + policy + queues) as u64;
        stats
    }

    /// Returns the open views, the oldest first.
    pub fn open_views(&self) -> Vec<ViewInfo> {
        let mut views: Vec<_> = self.store.shown_views(&self.pin()).collect();
        views.reverse();
        let now = self.timer.now();
        let info = |view: ShownView| ViewInfo {
            version: Version::from_u64(view.version),
            age: Duration::from_nanos(now.saturating_sub(view.opened)),
            opened_at: view.opener,
        };
        views.into_iter().map(info).collect()
    }

    /// Returns the loads under way.
    pub fn loads_under_way(&self) -> Vec<LoadInfo> {
        let info = |(key_hash, age, waiters)| LoadInfo { key_hash, age, waiters };
        self.flights.under_way().into_iter().map(info).collect()
    }

    /// Sets the histograms of loads that returned a value, and of loads that failed.
    #[cfg(feature = "metrics")]
    pub fn export_load_times(&self, histograms: [::metrics::Histogram; 2]) {
        self.observers().load_times.export(histograms);
    }

    /// Returns how long loads took that returned a value, and loads that failed.
    #[cfg(feature = "metrics")]
    pub fn load_durations(&self) -> [LoadDurations; 2] {
        self.observers().load_times.durations()
    }

    /// Tells that the oldest view has been open for longer than the limit, if it has.
    pub fn tell_old_view(&self) {
        if self.view_limit == NEVER {
            return;
        }
        let guard = self.pin();
        if let Some((version, opened)) = self.store.oldest_view(&guard) {
            let age = self.timer.now().saturating_sub(opened);
            drop(guard);
            if age > self.view_limit {
                self.tell_view_age(version, age);
            }
        }
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

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns a key with this hash that the index has.
    pub fn key_with_hash(&self, hash: u32) -> Option<K>
    where
        K: Clone,
    {
        let guard = self.pin();
        self.store.find_by_hash(&guard, hash).map(|record| record.key().clone())
    }
}
