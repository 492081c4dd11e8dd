//! Windows of fixed length in which readers and writers work side by side.
//!
//! The loops are compiled for each operation separately, without calls through pointers. All
//! operations share only the code that starts the threads.

use std::{
    sync::{Barrier, Mutex},
    thread,
    time::{Duration, Instant},
};

use crate::{latency::Latency, machine};

/// The most operations between two readings of the clock while counting.
const BATCH: u64 = 256;
/// The number of operations between two readings grows while they take less than this, and shrinks
/// when they take more than twenty times as long. So slow stores also end in time.
const SHORT_BATCH: Duration = Duration::from_micros(100);
/// With a schedule, a late thread may go on for this many windows. Operations that are due and not
/// done by then are recorded as if they ended then.
const OVERTIME: u32 = 3;

/// The clock of a thread's rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clock {
    /// Wall-clock time.
    #[default]
    Wall,
    /// The processor time of the thread. This is steadier on a busy machine, but does not see
    /// waiting. Wall-clock time if the system does not report processor time.
    Cpu,
}

impl Clock {
    /// The unit after "per" in a rate.
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

/// What to measure of the operations of a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The number of operations, one after the other without a pause.
    Count,
    /// The number of operations, up to this many per thread.
    UpTo(u64),
    /// The time of each operation, one after the other without a pause. Operations that a user
    /// would have begun during a slow one do not count (coordinated omission).
    Time,
    /// Each operation is due at a moment of a schedule, with this interval. Its time runs from that
    /// moment, whether or not the thread was ready, so nothing is omitted.
    Schedule(Duration),
}

/// Threads that do the same work.
#[derive(Clone, Copy, Debug)]
pub struct Role {
    /// The number of threads.
    pub threads: usize,
    /// What to measure.
    pub how: How,
}

/// The settings of a window.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Threads that read.
    pub readers: Role,
    /// Threads that write.
    pub writers: Role,
    /// The time before the measurement, in which operations run as in `Count`.
    pub warm_up: Duration,
    /// The time of the measurement.
    pub length: Duration,
    /// The clock of rates, while counting.
    pub clock: Clock,
}

/// The results of one role in a window.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// Operations per second, summed over the role's threads (each by its own clock).
    pub rate: f64,
    /// Empty if operations were only counted.
    pub latency: Latency,
}

impl Done {
    fn add(&mut self, other: &Self) {
        self.rate += other.rate;
        self.latency.merge(&other.latency);
    }
}

/// The results of readers and writers.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// All readers together.
    pub reads: Done,
    /// All writers together.
    pub writes: Done,
}

impl Window {
    /// Runs the window and counts operations. `reader(i)` and `writer(i)` are called on the working
    /// thread. They return a closure that does one operation, which may hold a guard.
    pub fn run<R: FnMut(), W: FnMut()>(
        &self,
        reader: impl Fn(usize) -> R + Sync,
        writer: impl Fn(usize) -> W + Sync,
    ) -> Outcome {
        let (reads, writes) = (self.readers.how, self.writers.how);
        self.start(&|i, start| self.work::<false>(reader(i), reads, start), &|i, start| {
            self.work::<false>(writer(i), writes, start)
        })
    }

    /// Runs the window, with operations that may be timed. (A separate function, because each way
    /// to measure compiles the operation once more.)
    pub fn run_timed<R: FnMut(), W: FnMut()>(
        &self,
        reader: impl Fn(usize) -> R + Sync,
        writer: impl Fn(usize) -> W + Sync,
    ) -> Outcome {
        let (reads, writes) = (self.readers.how, self.writers.how);
        self.start(&|i, start| self.work::<true>(reader(i), reads, start), &|i, start| {
            self.work::<true>(writer(i), writes, start)
        })
    }

    /// Starts all threads, and sums up their results.
    fn start(&self, reader: &Worker<'_>, writer: &Worker<'_>) -> Outcome {
        let start = Barrier::new(self.readers.threads + self.writers.threads);
        let outcome = Mutex::new(Outcome::default());
        thread::scope(|scope| {
            for i in 0..self.readers.threads {
                let (start, outcome) = (&start, &outcome);
                scope.spawn(move || {
                    let done = reader(i, start);
                    outcome.lock().expect("no worker panicked").reads.add(&done);
                });
            }
            for i in 0..self.writers.threads {
                let (start, outcome) = (&start, &outcome);
                scope.spawn(move || {
                    let done = writer(i, start);
                    outcome.lock().expect("no worker panicked").writes.add(&done);
                });
            }
        });
        outcome.into_inner().expect("no worker panicked")
    }

    fn work<const TIMED: bool>(&self, mut one: impl FnMut(), how: How, start: &Barrier) -> Done {
        start.wait();
        if !self.warm_up.is_zero() {
            count(&mut one, self.warm_up, u64::MAX, Clock::Wall);
        }
        match how {
            How::Time if TIMED => time(&mut one, self.length),
            How::Schedule(interval) if TIMED => keep(&mut one, self.length, interval),
            How::Time | How::Schedule(_) => unreachable!("this window only counts"),
            How::Count | How::UpTo(_) => {
                let most = if let How::UpTo(most) = how { most } else { u64::MAX };
                let rate = count(&mut one, self.length, most, self.clock);
                Done { rate, latency: Latency::default() }
            }
        }
    }
}

/// The work of one thread, by its number, from the barrier on.
type Worker<'a> = dyn Fn(usize, &Barrier) -> Done + Sync + 'a;

/// Repeats `one` for `length`, or `most` times. Returns the rate per second. The operation is
/// inlined into this function. This function is called both for the warm-up and for the
/// measurement, and is compiled once per operation.
#[inline(never)]
fn count(one: &mut impl FnMut(), length: Duration, most: u64, clock: Clock) -> f64 {
    let began = Instant::now();
    let clock_began = clock.now(began);
    let (mut done, mut batch, mut last) = (0u64, 1, Duration::ZERO);
    loop {
        let batch_now = batch.min(most - done);
        for _ in 0..batch_now {
            one();
        }
        done += batch_now;
        let elapsed = began.elapsed();
        if elapsed >= length || done >= most {
            return done as f64 / (clock.now(began) - clock_began).as_secs_f64();
        }
        match elapsed - last {
            took if took < SHORT_BATCH => batch = (2 * batch).min(BATCH),
            took if took > 20 * SHORT_BATCH => batch = (batch / 2).max(1),
            _ => {}
        }
        last = elapsed;
    }
}

/// Repeats `one` for `length` and times every call. The end of one call is the beginning of the
/// next.
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

/// Calls `one` when it is due, or as soon after that as possible. Records the time from when it was
/// due to its end.
fn keep(one: &mut impl FnMut(), length: Duration, interval: Duration) -> Done {
    machine::sleep_precisely();
    let mut latency = Latency::default();
    let began = Instant::now();
    let (mut due, mut done) = (interval, 0u64);
    while due < length {
        let now = began.elapsed();
        if now > length * OVERTIME {
            latency.record(now - due);
        } else {
            if due > now {
                thread::sleep(due - now);
            }
            one();
            done += 1;
            latency.record(began.elapsed().saturating_sub(due));
        }
        due += interval;
    }
    Done { rate: done as f64 / began.elapsed().as_secs_f64(), latency }
}

/// The median of `figures` (the mean of the middle two); 0 if there are none.
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

    fn window(readers: Role, writers: Role) -> Window {
        let length = Duration::from_millis(5);
        Window { readers, writers, warm_up: Duration::ZERO, length, clock: Clock::Wall }
    }

    const NOBODY: Role = Role { threads: 0, how: How::Count };

    #[test]
    fn a_limited_role_ends_early() {
        use std::sync::atomic::{AtomicU64, Ordering};
        let calls = AtomicU64::new(0);
        let mut window = window(NOBODY, Role { threads: 2, how: How::UpTo(1000) });
        window.length = Duration::from_secs(600);
        let one = |_| {
            || {
                calls.fetch_add(1, Ordering::Relaxed);
            }
        };
        assert!(window.run(|_| || (), one).writes.rate > 0.0);
        assert_eq!(calls.into_inner(), 2000);
    }

    #[test]
    fn operations_due_during_a_stall_count() {
        let mut first = true;
        let one = &mut || {
            if std::mem::take(&mut first) {
                thread::sleep(Duration::from_millis(40));
            }
        };
        let done = keep(one, Duration::from_millis(50), Duration::from_millis(1));
        let summary = done.latency.summary();
        assert_eq!(summary.samples, 49);
        // The stall itself, and the operations that fell due in the meantime. The median is far
        // from that of an idle thread.
        assert!(summary.max >= 40_000_000, "{summary:?}");
        assert!(summary.p50 >= 10_000_000, "{summary:?}");
    }

    #[test]
    fn a_window_counts_both_roles() {
        let window =
            window(Role { threads: 1, how: How::Time }, Role { threads: 2, how: How::Time });
        let outcome = window.run_timed(|_| || (), |_| || thread::sleep(Duration::from_micros(200)));
        assert!(outcome.reads.rate > outcome.writes.rate);
        assert!(outcome.writes.latency.summary().p50 > 150_000);
    }
}
