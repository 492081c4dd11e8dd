//! One event, and how it prints.

use crate::version::Version;
use std::fmt;
use std::time::Duration;

/// What an [`Event`] reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
pub(super) struct Widths {
    seconds: usize,
    thread: usize,
    version: usize,
}

impl Widths {
    pub fn of(event: &Event) -> Self {
        Self {
            seconds: digits(event.time.as_secs()),
            thread: digits(event.thread as u64),
            version: event.version.map_or(1, |version| 1 + digits(version.get())),
        }
    }

    pub fn or(self, other: Self) -> Self {
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
    pub(super) fn line(&self, widths: &Widths, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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

#[cfg(all(test, not(coeval_loom)))]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_listed_at_their_numbers() {
        for (number, kind) in EventKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, number);
            assert!(kind.name().len() <= 10, "{kind} does not fit its column");
        }
    }
}
