//! The events of all threads, in order.

use super::recorder::{Recorder, Recording};
use crate::version::Version;
use std::fmt::{self, Write};
use std::sync::Arc;
use std::time::Duration;

/// What an [`Event`] reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum EventKind {
    /// A read found a value, with the version shown.
    Hit = 0,
    /// A read found no value.
    Miss = 1,
    /// A thread began to install a commit.
    CommitBegun = 2,
    /// A commit became visible, with the version shown.
    Committed = 3,
    /// A commit changed nothing because another commit came first.
    Conflict = 4,
    /// The capacity bound evicted an entry.
    Evicted = 5,
    /// The deadline of an entry passed.
    Expired = 6,
    /// A loaded value was committed.
    Loaded = 7,
    /// A loaded value was not committed because the keys it was for had changed meanwhile.
    LoadRefused = 8,
    /// A view of the version shown was opened.
    ViewOpened = 9,
    /// A view of the version shown was closed.
    ViewClosed = 10,
    /// Entries that did not belong together were repaired.
    Repaired = 11,
}

impl EventKind {
    /// Lists each kind at its own number.
    pub(crate) const ALL: [Self; 12] = [
        Self::Hit,
        Self::Miss,
        Self::CommitBegun,
        Self::Committed,
        Self::Conflict,
        Self::Evicted,
        Self::Expired,
        Self::Loaded,
        Self::LoadRefused,
        Self::ViewOpened,
        Self::ViewClosed,
        Self::Repaired,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::CommitBegun => "begin",
            Self::Committed => "commit",
            Self::Conflict => "conflict",
            Self::Evicted => "evicted",
            Self::Expired => "expired",
            Self::Loaded => "loaded",
            Self::LoadRefused => "refused",
            Self::ViewOpened => "view open",
            Self::ViewClosed => "view close",
            Self::Repaired => "repaired",
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// An action of a thread on a cache. It prints as a line:
///
/// ```text
/// +0.000123456s  thread 3  commit      v1042  key 9f3a21c0
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Event {
    /// The time since a moment that is the same for all events of a cache. Events are in the order
    /// of this time. Events of one instant are ordered by thread, then as each thread recorded
    /// them.
    pub time: Duration,
    /// The thread, among those that record. Numbers are small, and go to new threads when threads
    /// end.
    pub thread: usize,
    /// The number of events that this thread number had recorded before.
    pub sequence: u64,
    /// The kind of the event.
    pub kind: EventKind,
    /// The key: bits of its hash, equal for equal keys and seldom equal for others. `None` if the
    /// event concerns no key, or more than one.
    pub key: Option<u32>,
    /// The version that was read, made, viewed or replaced, if there is one.
    pub version: Option<Version>,
}

/// The widths of the columns of a line.
struct Widths {
    seconds: usize,
    thread: usize,
    version: usize,
}

impl Widths {
    fn of(event: &Event) -> Self {
        Self {
            seconds: digits(event.time.as_secs()),
            thread: digits(event.thread as u64),
            version: event.version.map_or(1, |version| 1 + digits(version.get())),
        }
    }

    fn or(self, other: Self) -> Self {
        Self {
            seconds: self.seconds.max(other.seconds),
            thread: self.thread.max(other.thread),
            version: self.version.max(other.version),
        }
    }
}

fn digits(number: u64) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}

impl Event {
    fn line(&self, widths: &Widths, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = (self.time.as_secs(), self.time.subsec_nanos());
        write!(f, "+{seconds:0width$}.{nanos:09}s", width = widths.seconds)?;
        write!(f, "  thread {:width$}  {:10}", self.thread, self.kind, width = widths.thread)?;
        let version = self.version.map_or("-".into(), |version| version.to_string());
        write!(f, "  {version:>width$}", width = widths.version)?;
        self.key.map_or(Ok(()), |key| write!(f, "  key {key:08x}"))
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.line(&Widths::of(self), f)
    }
}

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
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

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
    fn kinds_are_listed_at_their_numbers() {
        for (number, kind) in EventKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, number);
            assert!(kind.name().len() <= 10, "{kind} does not fit its column");
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
