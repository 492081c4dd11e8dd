//! What happened in one race, as in a log: microseconds, thread, event, a line each.

use std::{fmt, time::Instant};

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
    fn name(self) -> &'static str {
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

/// Told each step of an update. `()` hears nothing and costs nothing.
pub trait Log {
    /// `step` is done.
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

/// One line.
#[derive(Clone, Debug)]
pub struct Line {
    /// Since the first line.
    pub micros: f64,
    /// Who.
    pub thread: String,
    /// What.
    pub event: String,
    /// What was seen, if anything.
    pub detail: String,
}

/// The lines of one race, in order of time.
#[derive(Clone, Debug)]
pub struct Timeline {
    /// First to last.
    pub lines: Vec<Line>,
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
    /// Merges the threads' events; times count from the first.
    pub fn merge(mut events: Vec<Event>) -> Self {
        events.sort_by_key(|event| event.at);
        let first = events.first().map(|event| event.at);
        let lines = events.into_iter().map(|event| Line {
            micros: first.map_or(0.0, |first| (event.at - first).as_nanos() as f64 / 1e3),
            thread: event.thread,
            event: event.step.name().to_owned(),
            detail: event.detail,
        });
        Self { lines: lines.collect() }
    }

    /// Whether the whole read lies between the two steps of the update: the plainest case.
    pub fn read_lies_between_the_steps(&self) -> bool {
        let order = [Step::UpdateStart, Step::SetComplete, Step::ReadStart, Step::ReadComplete];
        let names = self.lines.iter().map(|line| line.event.as_str());
        names.take(4).eq(order.map(Step::name)) && self.lines.len() > 4
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

    #[test]
    fn lines_are_in_order_of_time_and_aligned() {
        let text = Timeline::merge(events()).to_string();
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
    fn the_plain_case_is_recognised() {
        assert!(Timeline::merge(events()).read_lies_between_the_steps());
        let mut early = events();
        early[3].at = early[0].at + Duration::from_nanos(500);
        assert!(!Timeline::merge(early).read_lies_between_the_steps());
    }

    #[test]
    fn no_events_print_nothing() {
        assert_eq!(Timeline::merge(Vec::new()).to_string(), "");
    }
}
