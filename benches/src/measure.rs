//! Windows of fixed length in which readers and writers work side by side.

use std::{
    sync::{Barrier, Mutex},
    thread,
    time::{Duration, Instant},
};

use crate::{latency::Latency, machine};

/// Operations between two looks at the clock while counting.
const BATCH: u32 = 256;
/// A batch that took longer than this is halved, so that slow stores end in time too.
const LONG_BATCH: Duration = Duration::from_millis(2);

/// What a thread's rate is measured by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clock {
    /// Time passing.
    #[default]
    Wall,
    /// The thread's time on a processor: steadier where others are at work on the machine, but blind
    /// to waiting. Where the system does not tell, time passing.
    Cpu,
}

impl Clock {
    /// What a rate is "per".
    pub fn second(self) -> &'static str {
        match self {
            Self::Wall => "second",
            Self::Cpu => "second of the thread's processor time",
        }
    }

    fn now(self, began: Instant) -> Duration {
        match self {
            Self::Wall => began.elapsed(),
            Self::Cpu => machine::thread_time().unwrap_or_else(|| began.elapsed()),
        }
    }
}

/// How a window is run.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Threads that read.
    pub readers: usize,
    /// Threads that write.
    pub writers: usize,
    /// Not measured.
    pub warm_up: Duration,
    /// Measured.
    pub length: Duration,
    /// Time every operation, or count them in batches.
    pub timed: bool,
    /// What rates are measured by, while counting.
    pub clock: Clock,
}

/// What one role did in a window.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// Operations a second, summed over the role's threads (each by its own clock).
    pub rate: f64,
    /// Empty unless the window was timed.
    pub latency: Latency,
}

impl Done {
    fn add(&mut self, other: &Self) {
        self.rate += other.rate;
        self.latency.merge(&other.latency);
    }
}

/// What readers and writers did.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The readers together.
    pub reads: Done,
    /// The writers together.
    pub writes: Done,
}

impl Window {
    /// Runs the window. `reader(i)` and `writer(i)` are called on the thread that will work, and
    /// give what performs one operation: they may hold a guard.
    pub fn run<R: FnMut(), W: FnMut()>(
        &self,
        reader: impl Fn(usize) -> R + Sync,
        writer: impl Fn(usize) -> W + Sync,
    ) -> Outcome {
        let start = Barrier::new(self.readers + self.writers);
        let outcome = Mutex::new(Outcome::default());
        thread::scope(|scope| {
            for i in 0..self.readers {
                let (reader, start, outcome) = (&reader, &start, &outcome);
                scope.spawn(move || {
                    let done = self.work(reader(i), start);
                    outcome.lock().expect("no worker panicked").reads.add(&done);
                });
            }
            for i in 0..self.writers {
                let (writer, start, outcome) = (&writer, &start, &outcome);
                scope.spawn(move || {
                    let done = self.work(writer(i), start);
                    outcome.lock().expect("no worker panicked").writes.add(&done);
                });
            }
        });
        outcome.into_inner().expect("no worker panicked")
    }

    fn work(&self, mut one: impl FnMut(), start: &Barrier) -> Done {
        start.wait();
        if !self.warm_up.is_zero() {
            count(&mut one, self.warm_up, Clock::Wall);
        }
        if self.timed {
            time(&mut one, self.length)
        } else {
            Done { rate: count(&mut one, self.length, self.clock), latency: Latency::default() }
        }
    }
}

/// Repeats `one` for `length`; its rate a second.
fn count(one: &mut impl FnMut(), length: Duration, clock: Clock) -> f64 {
    let began = Instant::now();
    let clock_began = clock.now(began);
    let (mut done, mut batch, mut last) = (0u64, BATCH, Duration::ZERO);
    loop {
        for _ in 0..batch {
            one();
        }
        done += u64::from(batch);
        let elapsed = began.elapsed();
        if elapsed >= length {
            return done as f64 / (clock.now(began) - clock_began).as_secs_f64();
        }
        if elapsed - last > LONG_BATCH {
            batch = (batch / 2).max(1);
        }
        last = elapsed;
    }
}

/// Repeats `one` for `length` and times every call; the end of one is the beginning of the next.
fn time(one: &mut impl FnMut(), length: Duration) -> Done {
    let mut latency = Latency::default();
    let began = Instant::now();
    let (mut before, mut done) = (began, 0u64);
    loop {
        one();
        let now = Instant::now();
        latency.record(now - before);
        before = now;
        done += 1;
        if now - began >= length {
            return Done { rate: done as f64 / (now - began).as_secs_f64(), latency };
        }
    }
}

/// The middle of `figures` (the mean of the middle two), 0 of none.
pub fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0]), 2.5);
    }

    #[test]
    fn a_window_counts_both_roles() {
        let window = Window {
            readers: 1,
            writers: 2,
            warm_up: Duration::ZERO,
            length: Duration::from_millis(5),
            timed: true,
            clock: Clock::Wall,
        };
        let outcome = window.run(|_| || (), |_| || thread::sleep(Duration::from_micros(200)));
        assert!(outcome.reads.rate > outcome.writes.rate);
        assert!(outcome.writes.latency.summary().p50 > 150_000);
    }
}
