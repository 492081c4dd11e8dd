//! Windows of fixed length in which readers and writers work side by side.
//!
//! The loops are compiled for each operation by itself and call nothing through a pointer; only the
//! threads are started by code that all share.

use std::{
    sync::{Barrier, Mutex},
    thread,
    time::{Duration, Instant},
};

use crate::{latency::Latency, machine};

/// Operations between two looks at the clock while counting, at most.
const BATCH: u64 = 256;
/// The operations between two looks grow while they take less than this, and shrink when they take
/// more than twenty times as long, so that slow stores end in time too.
const SHORT_BATCH: Duration = Duration::from_micros(100);
/// Where operations have a schedule, a thread that is late may go on for this many windows. What is due
/// and not done by then is recorded as having taken until then.
const OVERTIME: u32 = 3;

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

/// What is measured of the operations of a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Their number, one after the other without a pause.
    Count,
    /// Their number, but each thread ends after so many.
    UpTo(u64),
    /// The time that each takes, one after the other without a pause. What would have been asked for
    /// during a slow one is not: coordinated omission.
    Time,
    /// Each is due at a moment of a schedule, at this interval, and its time runs from that moment,
    /// whether or not the thread was ready for it: nothing is omitted.
    Schedule(Duration),
}

/// Threads that do the same.
#[derive(Clone, Copy, Debug)]
pub struct Role {
    /// How many.
    pub threads: usize,
    /// What is measured of them.
    pub how: How,
}

/// How a window is run.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Threads that read.
    pub readers: Role,
    /// Threads that write.
    pub writers: Role,
    /// Not measured; in the manner of `Count`.
    pub warm_up: Duration,
    /// Measured.
    pub length: Duration,
    /// What rates are measured by, while counting.
    pub clock: Clock,
}

/// What one role did in a window.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// Operations a second, summed over the role's threads (each by its own clock).
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

/// What readers and writers did.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The readers together.
    pub reads: Done,
    /// The writers together.
    pub writes: Done,
}

impl Window {
    /// Runs the window, in which operations are counted. `reader(i)` and `writer(i)` are called on the
    /// thread that will work, and give what performs one operation: they may hold a guard.
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

    /// Runs the window, in which operations may be timed. (Apart, because every way to measure an
    /// operation compiles it once more.)
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

    /// Starts all threads, and adds up what they did.
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

/// The work of the thread of that number, from the barrier on.
type Worker<'a> = dyn Fn(usize, &Barrier) -> Done + Sync + 'a;

/// Repeats `one` for `length`, or `most` times; its rate a second. The operation is inlined into this,
/// and this, which is called before and while measuring, is compiled once for each.
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

/// Calls `one` whenever it is due, or as soon after as it can, and records how long after it was due
/// it had ended.
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
    fn what_is_due_during_a_stall_counts() {
        let mut first = true;
        let one = &mut || {
            if std::mem::take(&mut first) {
                thread::sleep(Duration::from_millis(40));
            }
        };
        let done = keep(one, Duration::from_millis(50), Duration::from_millis(1));
        let summary = done.latency.summary();
        assert_eq!(summary.samples, 49);
        // The stall itself, and what fell due meanwhile: the median is far from an idle thread's.
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
