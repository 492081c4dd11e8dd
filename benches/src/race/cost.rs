//! The cost of each cache: the same readers and writers at full speed, in interleaved rounds.
//!
//! A write is an update of a group by its owner, and then the refill of its related entries, so
//! that readers find full groups. A read is a whole group. Rates are counted in windows without a
//! clock in the loop, and latencies are measured in separate windows. Every reading is checked here
//! too.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use super::{
    contestant::{Contestant, dawdle},
    group::{Groups, Way},
};
use crate::{
    freeze::{self, Enrolled, Target},
    latency::Summary,
    measure::{Clock, Done, How, Role, Window, median},
    random::Random,
};

/// The settings of the windows.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Plan<'a> {
    pub groups: &'a Groups,
    pub readers: usize,
    pub writers: usize,
    pub length: Duration,
    pub warm_up: Duration,
    pub seed: u64,
}

/// One window of one cache.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct Sample {
    pub reads: Done,
    pub writes: Done,
    pub mixed_reads: u64,
    pub freezes: u64,
}

/// The rounds of one cache: medians, and the latencies of all rounds together.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Cost {
    pub cache: String,
    pub reads_per_second: f64,
    pub writes_per_second: f64,
    pub read: Summary,
    pub write: Summary,
    pub mixed_reads: u64,
    pub freezes: u64,
    pub rounds: Vec<[f64; 2]>,
}

/// Runs one window in which groups are read `way`. With `freeze`, writer 0 is stopped repeatedly
/// for that long, with short random pauses in between.
pub fn window<C: Contestant>(
    cache: &C,
    way: Way,
    plan: Plan<'_>,
    timed: bool,
    freeze: Option<Duration>,
) -> Sample {
    let (mixed, victim) = (AtomicU64::new(0), Victim::default());
    let outcome = thread::scope(|scope| {
        if let Some(duration) = freeze {
            let victim = &victim;
            scope.spawn(move || victim.keep_freezing(duration, plan.seed));
        }
        let outcome = plan.window(timed).run_timed(
            |i| reader(cache, way, plan, i, &mixed),
            |i| writer(cache, plan, i, (i == 0 && freeze.is_some()).then_some(&victim)),
        );
        victim.over.store(true, Ordering::Release);
        outcome
    });
    Sample {
        reads: outcome.reads,
        writes: outcome.writes,
        mixed_reads: mixed.into_inner(),
        freezes: victim.target().map_or(0, |target| target.freezes().all),
    }
}

impl Plan<'_> {
    fn window(&self, timed: bool) -> Window {
        let Self { warm_up, length, .. } = *self;
        let how = if timed { How::Time } else { How::Count };
        let readers = Role { threads: self.readers, how };
        let writers = Role { threads: self.writers, how };
        Window { readers, writers, warm_up, length, clock: Clock::Wall }
    }
}

/// Reads group after group, and counts the mixed ones.
fn reader<'a, C: Contestant>(
    cache: &'a C,
    way: Way,
    plan: Plan<'a>,
    i: usize,
    mixed: &'a AtomicU64,
) -> impl FnMut() + 'a {
    let stream = plan.groups.stream();
    let mut at = i * stream.len() / plan.readers;
    move || {
        at = if at + 1 < stream.len() { at + 1 } else { 0 };
        if cache.read(plan.groups.group(stream[at]), way).mixed().is_some() {
            mixed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Updates and refills the groups of writer `i`, which may be a victim.
fn writer<'a, C: Contestant>(
    cache: &'a C,
    plan: Plan<'a>,
    i: usize,
    victim: Option<&Victim>,
) -> impl FnMut() + use<'a, C> {
    let stream = plan.groups.stream_of(i, plan.writers);
    let member = victim.and_then(Victim::enrol);
    let mut at = 0;
    move || {
        let _enrolled_while_it_works = &member;
        at = if at + 1 < stream.len() { at + 1 } else { 0 };
        let group = plan.groups.group(stream[at]);
        let generation = plan.groups.advance(stream[at]);
        cache.update(group, generation, &mut ());
        cache.refill(group, generation);
    }
}

/// The thread to freeze repeatedly, once it has enrolled.
#[derive(Default)]
struct Victim {
    target: Mutex<Option<Target>>,
    over: AtomicBool,
}

impl Victim {
    fn enrol(&self) -> Option<Enrolled> {
        let (member, target) = freeze::enrol()?;
        *self.target.lock().expect("nothing panics while holding it") = Some(target);
        Some(member)
    }

    fn target(&self) -> Option<Target> {
        *self.target.lock().expect("nothing panics while holding it")
    }

    fn keep_freezing(&self, duration: Duration, seed: u64) {
        let mut random = Random::new(seed, 0xF0);
        while !self.over.load(Ordering::Acquire) {
            dawdle(Duration::from_micros(200 + random.below(2_000)));
            if let Some(target) = self.target() {
                target.freeze(duration);
            }
        }
    }
}

/// Sums up the rounds of `cache`: `counted` for the rates, `timed` for the latencies.
pub fn sum_up(cache: &str, counted: &[Sample], timed: &[Sample]) -> Cost {
    let rates = |of: fn(&Sample) -> f64| counted.iter().map(of).collect::<Vec<_>>();
    let (reads, writes) = (rates(|s| s.reads.rate), rates(|s| s.writes.rate));
    let all = |of: fn(&Sample) -> &Done| {
        let mut all = Done::default();
        timed.iter().for_each(|sample| all.latency.merge(&of(sample).latency));
        all.latency.summary()
    };
    Cost {
        cache: cache.to_owned(),
        reads_per_second: median(&reads),
        writes_per_second: median(&writes),
        read: all(|s| &s.reads),
        write: all(|s| &s.writes),
        mixed_reads: counted.iter().chain(timed).map(|sample| sample.mixed_reads).sum(),
        freezes: counted.iter().chain(timed).map(|sample| sample.freezes).sum(),
        rounds: reads.into_iter().zip(writes).map(|(r, w)| [r, w]).collect(),
    }
}
