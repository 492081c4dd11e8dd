//! Views: opened for a caller, or for one operation; and closed.

use super::Engine;
use super::maintenance::CLOSING_STEPS;
use crate::reclaim::Reclaim;
use crate::store::Snapshot;
use crate::sync::time::NEVER;
use std::time::Duration;

/// A view that an operation opens for itself. It closes when it is dropped, also if user code
/// panics.
pub struct EngineView<'e, K, V, S, R: Reclaim> {
    engine: &'e Engine<K, V, S, R>,
    snapshot: Option<Snapshot>,
}

impl<K, V, S, R: Reclaim> EngineView<'_, K, V, S, R> {
    /// Returns what it sees.
    pub fn snapshot(&self) -> &Snapshot {
        self.snapshot.as_ref().expect("taken only at its end")
    }

    /// Closes it in the middle of an operation, which tends when it ends.
    pub(super) fn close(mut self, guard: &R::Guard<'_>) {
        self.close_early(guard);
    }

    /// Does the same. It shows nothing any more.
    pub(super) fn close_early(&mut self, guard: &R::Guard<'_>) {
        if let Some(snapshot) = self.snapshot.take() {
            self.engine.close_under(guard, snapshot);
        }
    }
}

impl<K, V, S, R: Reclaim> Drop for EngineView<'_, K, V, S, R> {
    fn drop(&mut self) {
        if let Some(snapshot) = self.snapshot.take() {
            self.engine.close(snapshot);
        }
    }
}

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// Opens a view.
    pub fn open(&self) -> Snapshot {
        self.store.open(|| !self.deadlines.may_be())
    }

    /// Opens a view for the duration of an operation.
    pub fn open_view(&self) -> EngineView<'_, K, V, S, R> {
        EngineView { engine: self, snapshot: Some(self.open()) }
    }

    /// Opens another handle of this view for the duration of an operation.
    pub(super) fn share_view(&self, snapshot: &Snapshot) -> EngineView<'_, K, V, S, R> {
        EngineView { engine: self, snapshot: Some(self.share(snapshot)) }
    }

    /// Opens a view of exactly `version`, if an open view keeps it or it is the newest.
    pub fn open_at(&self, version: u64) -> Option<Snapshot> {
        self.store.open_at(version, || !self.deadlines.may_be())
    }

    /// Returns another handle of the same view.
    pub fn share(&self, snapshot: &Snapshot) -> Snapshot {
        self.store.share(snapshot)
    }

    /// Returns how long ago a view was opened.
    pub fn age(&self, snapshot: &Snapshot) -> Duration {
        Duration::from_nanos(self.timer.now().saturating_sub(snapshot.opened()))
    }

    /// Closes a view, and does a part of the maintenance that waited for it.
    pub fn close(&self, snapshot: Snapshot) {
        if self.close_under(&self.pin(), snapshot) {
            self.collect_some();
            self.notify_listener();
        }
    }

    /// Does the same under a guard, except for reclamation and the listener. Returns whether the
    /// caller was the last holder of the view.
    fn close_under(&self, guard: &R::Guard<'_>, snapshot: Snapshot) -> bool {
        let opened = snapshot.opened();
        let version = snapshot.version();
        let Some(waiting) = self.store.close(guard, snapshot) else { return false };
        if self.view_limit != NEVER {
            let age = self.timer.now().saturating_sub(opened);
            if age > self.view_limit {
                self.tell_view_age(version, age);
            }
        }
        self.work_off(guard, waiting, CLOSING_STEPS);
        self.store.trim_clearings(guard);
        true
    }
}
