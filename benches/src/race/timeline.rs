//! The log of one race: one line per event, with microseconds, thread and event.

use std::{fmt, time::Instant};

use super::group::Reading;

/// A step of a writer or a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Step {
    UpdateStart,
    SetComplete,
    InvalidateComplete,
    CommitComplete,
    ReadStart,
    ReadComplete,
}

impl Step {
    /// The step in words.
    pub fn name(self) -> &'static str {
        match self {
            Self::UpdateStart => "update start",
            Self::SetComplete => "set complete",
            Self::InvalidateComplete => "invalidate complete",
            Self::CommitComplete => "commit complete",
            Self::ReadStart => "read start",
            Self::ReadComplete => "read complete",
        }
    }
}

/// Receives each step of an update. `()` ignores the steps and costs nothing.
pub trait Log {
    /// Notes that `step` is done.
    fn note(&mut self, step: Step);
}

impl Log for () {
    #[inline(always)]
    fn note(&mut self, _: Step) {}
}

impl Log for Vec<(Instant, Step)> {
    fn note(&mut self, step: Step) {
        self.push((Instant::now(), step));
    }
}

/// One line of a timeline.
#[derive(Clone, Debug)]
pub struct Line {
    /// The time since the first line.
    pub micros: f64,
    /// The name of the thread.
    pub thread: String,
    /// The event in words.
    pub event: String,
    /// What the thread saw, if anything.
    pub detail: String,
}

/// The lines of one race, in order of time.
#[derive(Clone, Debug)]
pub struct Timeline {
    /// The lines, first to last.
    pub lines: Vec<Line>,
    /// The generations that the reader saw, the key's first; `None` for absent members.
    pub seen: Vec<Option<u64>>,
}

/// An event of a thread before the threads' logs are merged.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Event {
    pub at: Instant,
    pub thread: String,
    pub step: Step,
    pub detail: String,
}

impl Timeline {
    /// Merges the events of the threads. Times count from the first event.
    pub fn merge(mut events: Vec<Event>, reading: &Reading) -> Self {
        events.sort_by_key(|event| event.at);
        let first = events.first().map(|event| event.at);
        let lines = events.into_iter().map(|event| Line {
            micros: first.map_or(0.0, |first| (event.at - first).as_nanos() as f64 / 1e3),
            thread: event.thread,
            event: event.step.name().to_owned(),
            detail: event.detail,
        });
        Self { lines: lines.collect(), seen: reading.seen().to_vec() }
    }

    /// How plain the case is: whether the whole read is between two steps of the update, and if so,
    /// whether it is between the last two, which is the plainest case.
    fn plainness(&self) -> usize {
        let names: Vec<&str> = self.lines.iter().map(|line| line.event.as_str()).collect();
        let [start, complete] = [Step::ReadStart, Step::ReadComplete].map(Step::name);
        match names.as_slice() {
            [_, .., before_last, last, _] if [*before_last, *last] == [start, complete] => 2,
            [first, .., last] if *first != start && *last != complete => 1,
            _ => 0,
        }
    }

    /// Whether this timeline is a better example than `other`: plainer, or as plain and shorter.
    pub fn is_plainer_than(&self, other: &Self) -> bool {
        let rank = |timeline: &Self| (timeline.plainness(), -timeline.span());
        rank(self) > rank(other)
    }

    /// The time from the first line to the last, in microseconds.
    pub fn span(&self) -> f64 {
        self.lines.last().map_or(0.0, |line| line.micros)
    }
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |of: fn(&Line) -> usize| self.lines.iter().map(of).max().unwrap_or(0);
        let threads = width(|line| line.thread.len());
        let events = width(|line| line.event.len());
        for line in &self.lines {
            let Line { micros, thread, event, detail } = line;
            let text = format!("{micros:>10.2} µs  {thread:<threads$}  {event:<events$}  {detail}");
            writeln!(f, "{}", text.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::race::group::Group;
    use std::time::Duration;

    fn events() -> Vec<Event> {
        let start = Instant::now();
        let event = |nanos, thread: &str, step, detail: &str| Event {
            at: start + Duration::from_nanos(nanos),
            thread: thread.to_owned(),
            step,
            detail: detail.to_owned(),
        };
        vec![
            event(0, "writer-0", Step::UpdateStart, "key 42"),
            event(1_210, "writer-0", Step::SetComplete, ""),
            event(12_004_000, "writer-0", Step::InvalidateComplete, ""),
            event(2_000, "reader-11", Step::ReadStart, ""),
            event(2_900, "reader-11", Step::ReadComplete, "related 3: generation 0 [OLD]"),
        ]
    }

    fn timeline(events: Vec<Event>) -> Timeline {
        let group = Group { id: 42, related: 3 };
        Timeline::merge(events, &Reading::of(group).by(|key| (key.member != 2).then_some(1)))
    }

    #[test]
    fn lines_are_in_order_of_time_and_aligned() {
        let text = timeline(events()).to_string();
        let expected = [
            "      0.00 µs  writer-0   update start         key 42",
            "      1.21 µs  writer-0   set complete",
            "      2.00 µs  reader-11  read start",
            "      2.90 µs  reader-11  read complete        related 3: generation 0 [OLD]",
            "  12004.00 µs  writer-0   invalidate complete",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_plainest_case_is_kept_and_of_these_the_shortest() {
        let plain = timeline(events());
        let mut early = events();
        early[3].at = early[0].at + Duration::from_nanos(500);
        let early = timeline(early);
        let mut outside = events();
        outside[3].at = outside[0].at - Duration::from_nanos(1);
        let outside = timeline(outside);
        assert!(plain.is_plainer_than(&early) && early.is_plainer_than(&outside));
        let mut short = events();
        short[2].at -= Duration::from_millis(1);
        assert!(timeline(short).is_plainer_than(&plain) && !plain.is_plainer_than(&plain));
    }

    #[test]
    fn no_events_print_nothing() {
        assert_eq!(timeline(Vec::new()).to_string(), "");
    }
}
