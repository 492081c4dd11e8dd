//! What the cache counts, records and tells, and the settings that it goes by.
//!
//! This is the store's host: reclamation reports to it in the middle of any operation.

use crate::chain::{Record, Visible};
use crate::config::Config;
use crate::listener::Departures;
use crate::metrics::{Counters, EventKind, Recorder, ThreadCounts};
use crate::removal::RemovalCause;
use crate::store::Host;
use crate::sync::time::Timer;
use crate::sync::{AtomicU32, Ordering};
use crate::version::Version;

/// Counters, recorder, settings and listener of one cache.
pub struct Observers<K, V> {
    pub counters: Counters,
    pub recorder: Recorder,
    pub config: Config<K, V>,
    pub departures: Departures<K, V>,
    timer: Timer,
    /// 1 while events are recorded.
    recording: AtomicU32,
}

impl<K, V> Observers<K, V> {
    pub(super) fn new(config: Config<K, V>, timer: Timer) -> Self {
        Self {
            counters: Counters::new(),
            recorder: Recorder::new(),
            config,
            departures: Departures::new(),
            timer,
            recording: AtomicU32::new(0),
        }
    }

    /// Switches the recorder on or off.
    pub(super) fn switch(&self, on: bool) {
        self.recording.store(u32::from(on), Ordering::Relaxed); // Threads may notice a little later.
    }

    /// Whether events are recorded.
    #[inline(always)]
    pub fn is_recording(&self) -> bool {
        // Models record nothing: to ask would only multiply the schedules.
        !cfg!(coeval_loom) && self.recording.load(Ordering::Relaxed) != 0
    }

    /// Records an event, if that is switched on.
    #[inline(always)]
    pub fn record(&self, kind: EventKind, hash: Option<u32>, version: Option<u64>) {
        if self.is_recording() {
            self.recorder.record(kind, hash, version.map(Version::from_u64), self.timer.now());
        }
    }

    /// A commit of the caller's has been made.
    pub fn committed(&self) {
        self.counters.mine().commits.add(1);
    }

    /// A commit was not made, as another came before.
    pub fn conflicted(&self, hash: u32) {
        self.counters.mine().conflicts.add(1);
        self.record(EventKind::Conflict, Some(hash), None);
    }

    /// What was loaded was not committed.
    pub fn refused(&self, hash: u32) {
        self.counters.mine().loads_refused.add(1);
        self.record(EventKind::LoadRefused, Some(hash), None);
    }

    /// Whether nobody is to hear of what leaves.
    #[inline(always)]
    pub fn is_unobserved(&self) -> bool {
        !self.config.may_have_listener() && !self.is_recording()
    }

    /// A value has left `record`, by the commit `version`. Called once for each that does.
    #[inline]
    pub fn leave(
        &self,
        mine: &ThreadCounts,
        record: &Record<K, V>,
        value: Visible<'_, V>,
        cause: RemovalCause,
        version: u64,
    ) {
        mine.removal(cause);
        if !self.is_unobserved() {
            self.report(record, value, cause, version);
        }
    }

    #[cold]
    fn report(
        &self,
        record: &Record<K, V>,
        value: Visible<'_, V>,
        cause: RemovalCause,
        version: u64,
    ) {
        match cause {
            RemovalCause::Size => {
                self.record(EventKind::Evicted, Some(record.hash()), Some(version));
            }
            RemovalCause::Expired => {
                self.record(EventKind::Expired, Some(record.hash()), Some(version));
            }
            _ => {} // The commit itself is recorded.
        }
        if !self.config.may_have_listener() {
            return;
        }
        let config = self.config.listening();
        let Some(listener) = &config.listener else { return };
        if self.departures.push(listener, record, value, cause, version).is_err() {
            self.counters.mine().listener_panics.add(1);
        }
    }

    /// Leaves what departs meanwhile to whoever tells next.
    pub fn for_others<G>(&self, guard: &G, act: impl FnOnce()) {
        if self.config.may_have_listener() {
            self.departures.for_others(guard, act);
        } else {
            act();
        }
    }
}

impl<K, V> Host<K, V> for Observers<K, V> {
    #[inline(always)]
    fn reclaimed(&self) {
        self.counters.mine().versions_reclaimed.add(1);
    }

    fn cleared<G>(&self, guard: &G, record: &Record<K, V>, value: Visible<'_, V>, watermark: u64) {
        self.for_others(guard, || {
            let cause = RemovalCause::Explicit;
            self.leave(self.counters.mine(), record, value, cause, watermark);
        });
    }

    fn view_opened(&self, version: u64) {
        self.record(EventKind::ViewOpened, None, Some(version));
    }

    fn view_closed(&self, version: u64) {
        self.record(EventKind::ViewClosed, None, Some(version));
    }
}
