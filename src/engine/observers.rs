//! The counters, the recorder, the settings and the listener of a cache.
//!
//! This is the host of the store: reclamation reports to it in the middle of any operation.

use super::Engine;
#[cfg(feature = "serde")]
use super::gone_marks::GoneMarks;
use crate::chain::{Record, Visible};
use crate::config::Config;
use crate::listener::Departures;
use crate::metrics::{Counters, EventKind, LoadTimes, Recorder, ThreadCounts};
use crate::reclaim::Reclaim;
use crate::removal::RemovalCause;
use crate::store::Host;
use crate::sync::hook::planted;
use crate::sync::time::Timer;
use crate::sync::{AtomicU32, Ordering};
use crate::version::Version;

/// The counters, recorder, settings and listener of one cache.
pub struct Observers<K, V> {
    pub counters: Counters,
    pub recorder: Recorder,
    pub config: Config<K, V>,
    pub departures: Departures<K, V>,
    /// Where the times of loads go.
    pub load_times: LoadTimes,
    /// Which keys have left during a restore.
    #[cfg(feature = "serde")]
    pub gone: GoneMarks,
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
            load_times: LoadTimes::default(),
            #[cfg(feature = "serde")]
            gone: GoneMarks::new(),
            timer,
            recording: AtomicU32::new(0),
        }
    }

    /// Switches the recorder on or off.
    pub(super) fn switch(&self, on: bool) {
        // Relaxed: threads may notice a little later
        self.recording.store(u32::from(on), Ordering::Relaxed);
    }

    /// Returns whether events are recorded.
    #[inline(always)]
    pub fn is_recording(&self) -> bool {
        // Models record nothing. A load here would only multiply the schedules.
        !cfg!(coeval_loom) && self.recording.load(Ordering::Relaxed) != 0
    }

    /// Records an event, if the recorder is on.
    #[inline(always)]
    pub fn record(&self, kind: EventKind, hash: Option<u32>, version: Option<u64>) {
        if self.is_recording() {
            self.record_now(kind, hash, version);
        }
    }

    #[cold]
    #[inline(never)]
    fn record_now(&self, kind: EventKind, hash: Option<u32>, version: Option<u64>) {
        self.recorder.record(kind, hash, version.map(Version::from_u64), self.timer.now());
    }

    /// Notes that a key is about to be removed, that its record is about to end, or that a tag with
    /// this hash is about to be invalidated.
    #[inline(always)]
    #[cfg_attr(not(feature = "serde"), allow(clippy::unused_self))]
    pub fn note_gone(&self, _hash: u32) {
        #[cfg(feature = "serde")]
        self.gone.note(_hash);
    }

    /// The number of commits of this thread.
    pub fn own_commits(&self) -> u64 {
        self.counters.mine().commits.get()
    }

    /// Counts a commit of the caller.
    pub fn committed(&self) {
        self.counters.mine().commits.add(1);
    }

    /// Counts and records a commit that failed because another commit came first.
    pub fn conflicted(&self, hash: u32) {
        self.counters.mine().conflicts.add(1);
        self.record(EventKind::Conflict, Some(hash), None);
    }

    /// Counts and records a refused fill.
    pub fn refused(&self, hash: u32) {
        self.counters.mine().loads_refused.add(1);
        self.record(EventKind::LoadRefused, Some(hash), None);
    }

    /// Returns whether neither the listener nor the recorder needs to know of departures.
    #[inline(always)]
    pub fn is_unobserved(&self) -> bool {
        !self.config.may_have_listener() && !self.is_recording()
    }

    /// Reports that the commit `version` removed a value from `record`. Called once for each
    /// removed value.
    #[inline]
    pub fn record_departure(
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
            _ => {} // the commit itself is recorded
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

    /// Runs `act` and leaves its departures to other threads.
    pub fn defer_to_others<G>(&self, guard: &G, act: impl FnOnce()) {
        if self.config.may_have_listener() {
            self.departures.defer_to_others(guard, act);
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
        self.defer_to_others(guard, || {
            let cause = RemovalCause::Explicit;
            self.record_departure(self.counters.mine(), record, value, cause, watermark);
        });
    }

    #[inline(always)]
    fn record_ends(&self, hash: u32) {
        if !planted("gone.end_unnoted") {
            self.note_gone(hash);
        }
    }

    fn view_opened(&self, version: u64) {
        self.record(EventKind::ViewOpened, None, Some(version));
    }

    fn view_closed(&self, version: u64) {
        self.record(EventKind::ViewClosed, None, Some(version));
    }
}

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// Returns the counters, the recorder, the settings and the listener.
    #[inline(always)]
    pub(super) fn observers(&self) -> &Observers<K, V> {
        &self.store.host
    }

    /// Notifies the listener of departures. The caller has no guard.
    #[inline]
    pub(super) fn notify_listener(&self) {
        let observers = self.observers();
        if observers.config.may_have_listener() {
            let config = || observers.config.listening();
            let panics = observers
                .departures
                .notify(&self.store.reclaim, config, |config| config.listener.as_deref());
            observers.counters.mine().listener_panics.add(panics);
            self.tell_listener_panics(panics);
        }
    }
}
