//! The events of all threads, in order.

use super::event::{Event, Widths};
use super::recorder::{Recorder, Recording};
use std::fmt::{self, Write};
use std::sync::Arc;

impl fmt::Display for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.overwritten, self.events.len()) {
            (0, 0) => return f.write_str("nothing was recorded"),
            (0, _) => {}
            (1, _) => f.write_str("1 older event was overwritten\n")?,
            (older, _) => writeln!(f, "{older} older events were overwritten")?,
        }
        let Some(widths) = self.events.iter().map(Widths::of).reduce(Widths::or) else {
            return Ok(());
        };
        for (n, event) in self.events.iter().enumerate() {
            if n > 0 {
                f.write_char('\n')?;
            }
            event.line(&widths, f)?;
        }
        Ok(())
    }
}

/// The owner of a recorder: a cache's engine.
pub trait Recorded: Send + Sync {
    fn recorder(&self) -> &Recorder;
    /// Switches the recording of events on or off.
    fn switch(&self, on: bool);
    /// Returns whether events are recorded.
    fn is_recording(&self) -> bool;
}

/// The flight recorder of a cache: it shows what each thread did last, and so how a race came
/// about.
///
/// The recorder is off at first. While it is off, it costs a look-up nothing and a write one load.
/// After it was [started](Self::start), each thread keeps its last 1,024 events, in 24 KiB of its
/// own, and overwrites the oldest. Neither recording nor reading delays any thread. A read omits
/// events that are being overwritten at that moment.
///
/// It prints as a log, one line per event, oldest first:
///
/// ```text
/// 17 older events were overwritten
/// +0.000123104s  thread 0  view open   v1041
/// +0.000123456s  thread 3  commit      v1042  key 9f3a21c0
/// +0.000123498s  thread 0  hit         v1041  key 9f3a21c0
/// +0.000124010s  thread 1  miss            -  key 00c1d2e3
/// ```
///
/// A `Timeline` is a handle, and keeps the cache alive.
#[derive(Clone)]
pub struct Timeline {
    source: Arc<dyn Recorded>,
}

impl Timeline {
    pub(crate) fn new(source: Arc<dyn Recorded>) -> Self {
        Self { source }
    }

    /// Starts the recording. Threads in the middle of an operation may notice a little later.
    pub fn start(&self) {
        self.source.switch(true);
    }

    /// Stops the recording. Events recorded so far stay.
    pub fn stop(&self) {
        self.source.switch(false);
    }

    /// Returns whether events are recorded.
    #[must_use]
    pub fn is_recording(&self) -> bool {
        self.source.is_recording()
    }

    /// Returns the events of all threads that the recorder now holds, in the order of their times.
    /// O(n log n) for n events.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.source.recorder().read().events
    }

    /// Returns the number of events that were recorded but are overwritten by now.
    #[must_use]
    pub fn overwritten(&self) -> u64 {
        self.source.recorder().read().overwritten
    }

    /// Deletes the events recorded so far.
    pub fn clear(&self) {
        self.source.recorder().clear();
    }
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.recorder().read().fmt(f)
    }
}

impl fmt::Debug for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeline")
            .field("is_recording", &self.is_recording())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(coeval_loom)))]
mod tests {
    use super::super::event::EventKind;
    use super::*;
    use crate::version::Version;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    struct Source {
        recorder: Recorder,
        on: AtomicBool,
    }

    impl Recorded for Source {
        fn recorder(&self) -> &Recorder {
            &self.recorder
        }

        fn switch(&self, on: bool) {
            self.on.store(on, Ordering::Relaxed);
        }

        fn is_recording(&self) -> bool {
            self.on.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn it_prints_as_a_log() {
        let event = |nanos, thread, kind, version: Option<u64>, key| Event {
            time: Duration::from_nanos(nanos),
            thread,
            sequence: 0,
            kind,
            key,
            version: version.map(Version::from_u64),
        };
        let first = event(123_456, 3, EventKind::Committed, Some(1042), Some(0x9f3a_21c0));
        assert_eq!(first.to_string(), "+0.000123456s  thread 3  commit      v1042  key 9f3a21c0");
        let events = vec![
            first,
            event(123_460, 12, EventKind::Miss, None, Some(1)),
            event(12_000_000_005, 12, EventKind::ViewClosed, Some(0), None),
        ];
        let printed = Recording { events, overwritten: 17 }.to_string();
        let expected = [
            "17 older events were overwritten",
            "+00.000123456s  thread  3  commit      v1042  key 9f3a21c0",
            "+00.000123460s  thread 12  miss            -  key 00000001",
            "+12.000000005s  thread 12  view close     v0",
        ];
        assert_eq!(printed.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_timeline_starts_stops_and_clears() {
        let timeline = Timeline::new(Arc::new(Source {
            recorder: Recorder::new(),
            on: AtomicBool::new(false),
        }));
        assert!(!timeline.is_recording());
        assert_eq!(timeline.to_string(), "nothing was recorded");
        timeline.start();
        assert!(timeline.is_recording());
        let recorder = timeline.source.recorder();
        (0..1030).for_each(|n| recorder.record(EventKind::Hit, None, None, n));
        assert_eq!((timeline.events().len(), timeline.overwritten()), (1024, 6));
        assert_eq!(timeline.events()[0].sequence, 6);
        assert_eq!(timeline.to_string().lines().count(), 1025);
        timeline.stop();
        assert!(!timeline.is_recording());
        assert_eq!(timeline.events().len(), 1024);
        timeline.clear();
        assert!(timeline.events().is_empty());
        assert_eq!(timeline.overwritten(), 0);
        fn shared<T: Send + Sync + Clone>(_: &T) {}
        shared(&timeline);
    }
}
