//! Races, thousands of runs: in each run every writer updates one group once, beside the readers.
//!
//! With a freeze, the writers update repeatedly instead, and a signal stops one of them at a random
//! moment of the run.

use std::{
    sync::{
        Barrier, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    contestant::{Contestant, spin},
    group::{Groups, Mixed, Reading},
    timeline::{Event, Step, Timeline},
};
use crate::{
    freeze::{self, Enrolled, Freezes, Target},
    machine,
    random::Random,
};

/// The longest delay of the update after the readers have started. Requests do not arrive in step.
const JITTER: Duration = Duration::from_micros(20);
/// The longest pause of a reader between two reads.
const BETWEEN_READS: Duration = Duration::from_micros(5);
/// The latest start of a freeze within its run.
const FREEZE_WITHIN: Duration = Duration::from_micros(300);

/// The settings of a race.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Plan<'a> {
    pub groups: &'a Groups,
    pub runs: usize,
    pub readers: usize,
    pub writers: usize,
    /// How long a writer is stopped in every run, if at all.
    pub freeze: Option<Duration>,
    pub seed: u64,
}

/// The results of a race.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct Tally {
    pub runs: usize,
    pub failed_runs: usize,
    pub reads: u64,
    pub mixed_reads: u64,
    pub freezes: Freezes,
    pub first_failure: Option<Mixed>,
    /// The timeline of a mixed read, the plainest of all.
    pub timeline: Option<Timeline>,
    /// The timeline of a read beside an update that was not mixed.
    pub whole: Option<Timeline>,
}

/// The state that the threads of one run share.
struct Arena<'a, C> {
    plan: Plan<'a>,
    cache: &'a C,
    line_up: Barrier,
    finish: Barrier,
    reading: AtomicUsize,
    written: AtomicUsize,
    stop: AtomicBool,
    seen: Vec<Mutex<Seen>>,
    steps: Vec<Mutex<Vec<(Instant, Step)>>>,
    streams: Vec<Vec<u32>>,
}

/// What a reader saw in one run.
#[derive(Default)]
struct Seen {
    reads: u64,
    mixed_reads: u64,
    mixed: Vec<Read>,
    /// The last reads that were not mixed, in no order.
    whole: Vec<Read>,
}

/// A read and its times.
struct Read {
    start: Instant,
    end: Instant,
    reading: Reading,
}

/// How many reads of each kind are remembered in one run. A timeline is chosen from them.
const REMEMBERED: usize = 8;

/// Runs the plan. Calls `tick` after each run.
pub fn race<C: Contestant>(cache: &C, plan: Plan<'_>, mut tick: impl FnMut()) -> Tally {
    let threads = plan.readers + plan.writers + 1;
    let arena = Arena {
        plan,
        cache,
        line_up: Barrier::new(threads),
        finish: Barrier::new(threads),
        reading: AtomicUsize::new(0),
        written: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
        seen: (0..plan.readers).map(|_| Mutex::default()).collect(),
        steps: (0..plan.writers).map(|_| Mutex::default()).collect(),
        streams: (0..plan.writers).map(|w| plan.groups.stream_of(w, plan.writers)).collect(),
    };
    let (enrolled, enrolment) = mpsc::channel();
    thread::scope(|scope| {
        for reader in 0..plan.readers {
            let arena = &arena;
            scope.spawn(move || (0..plan.runs).for_each(|run| arena.read(reader, run)));
        }
        for writer in 0..plan.writers {
            let (arena, enrolled) = (&arena, enrolled.clone());
            scope.spawn(move || {
                let member = freeze::enrol();
                enrolled.send((writer, member.as_ref().map(|(_, target)| *target))).ok();
                drop(enrolled);
                let member = member.as_ref().map(|(enrolled, _)| enrolled);
                (0..plan.runs).for_each(|run| arena.write(writer, run, member));
            });
        }
        drop(enrolled);
        let mut targets: Vec<(usize, Option<Target>)> = enrolment.iter().collect();
        targets.sort_by_key(|(writer, _)| *writer);
        let targets: Vec<Target> = targets.into_iter().filter_map(|(_, target)| target).collect();
        arena.direct(&targets, &mut tick)
    })
}

impl<C: Contestant> Arena<'_, C> {
    /// Starts and ends each run, and counts.
    fn direct(&self, targets: &[Target], tick: &mut impl FnMut()) -> Tally {
        let mut tally = Tally::default();
        let mut random = Random::new(self.plan.seed, 0);
        for run in 0..self.plan.runs {
            self.prepare(run);
            self.line_up.wait();
            if let Some(duration) = self.plan.freeze {
                spin(random_pause(&mut random, FREEZE_WITHIN));
                if let Some(target) = targets.get(run % targets.len().max(1)) {
                    target.freeze(duration);
                }
                self.stop.store(true, Ordering::Release);
            }
            self.finish.wait();
            self.count(run, &mut tally);
            tick();
        }
        for freezes in targets.iter().map(Target::freezes) {
            tally.freezes.all += freezes.all;
            tally.freezes.inside_a_write += freezes.inside_a_write;
        }
        tally
    }

    /// Prepares the run's groups. No other thread works now, so `Relaxed` is enough: the barrier
    /// publishes the stores.
    fn prepare(&self, run: usize) {
        for writer in 0..self.plan.writers {
            let place = self.place(writer, run);
            let generation = self.plan.groups.advance(place);
            self.cache.load(self.plan.groups.group(place), generation);
        }
        self.reading.store(0, Ordering::Relaxed);
        self.written.store(0, Ordering::Relaxed);
        self.stop.store(false, Ordering::Relaxed);
    }

    fn place(&self, writer: usize, run: usize) -> u32 {
        let stream = &self.streams[writer];
        stream[run % stream.len()]
    }

    fn write(&self, writer: usize, run: usize, member: Option<&Enrolled>) {
        let mut random = Random::new(self.plan.seed, ((run as u64) << 16) | (writer as u64 + 1));
        let place = self.place(writer, run);
        let group = self.plan.groups.group(place);
        self.line_up.wait();
        if self.plan.freeze.is_some() {
            while !self.stop.load(Ordering::Acquire) {
                let generation = self.plan.groups.advance(place);
                member.inspect(|member| member.begin_write());
                self.cache.update(group, generation, &mut ());
                self.cache.refill(group, generation);
                member.inspect(|member| member.end_write());
            }
        } else {
            // A race needs both, so the update waits until every reader has read once.
            while self.reading.load(Ordering::Acquire) < self.plan.readers {
                thread::yield_now();
            }
            spin(random_pause(&mut random, JITTER));
            let generation = self.plan.groups.advance(place);
            let mut steps = lock(&self.steps[writer]);
            self.cache.update(group, generation, &mut *steps);
        }
        self.written.fetch_add(1, Ordering::Release);
        self.finish.wait();
    }

    fn read(&self, reader: usize, run: usize) {
        let stream = ((run as u64) << 16) | 0x8000 | reader as u64;
        let mut random = Random::new(self.plan.seed, stream);
        let ways = self.cache.ways();
        let oversubscribed = self.plan.readers + self.plan.writers > machine::cores();
        self.line_up.wait();
        let mut seen = lock(&self.seen[reader]);
        let mut first = true;
        loop {
            let last = self.written.load(Ordering::Acquire) == self.plan.writers;
            let writer = random.below(self.plan.writers as u64) as usize;
            let group = self.plan.groups.group(self.place(writer, run));
            let way = ways[random.below(ways.len() as u64) as usize];
            let start = Instant::now();
            let reading = self.cache.read(group, way);
            let end = Instant::now();
            seen.note(reading, start, end);
            if std::mem::take(&mut first) {
                self.reading.fetch_add(1, Ordering::Release);
            }
            if last {
                break;
            }
            if oversubscribed {
                // Spinning would only keep the writer off its core.
                thread::yield_now();
            }
            spin(random_pause(&mut random, BETWEEN_READS));
        }
        drop(seen);
        self.finish.wait();
    }

    /// Adds the run to the tally, and keeps its timeline if it is the best so far.
    fn count(&self, run: usize, tally: &mut Tally) {
        tally.runs += 1;
        let mut failed = false;
        for reader in 0..self.plan.readers {
            let seen = std::mem::take(&mut *lock(&self.seen[reader]));
            tally.reads += seen.reads;
            tally.mixed_reads += seen.mixed_reads;
            failed |= seen.mixed_reads > 0;
            for read in &seen.mixed {
                tally.first_failure = tally.first_failure.or(read.reading.mixed());
                self.keep_timeline(run, reader, read, &mut tally.timeline);
            }
            for read in &seen.whole {
                self.keep_timeline(run, reader, read, &mut tally.whole);
            }
        }
        tally.failed_runs += usize::from(failed);
        self.steps.iter().for_each(|steps| lock(steps).clear());
    }

    /// Keeps the timeline of the read if the read was beside an update and is plainer than the one
    /// kept.
    fn keep_timeline(&self, run: usize, reader: usize, read: &Read, kept: &mut Option<Timeline>) {
        let (group, writers) = (read.reading.group(), 0..self.plan.writers);
        let mut updated = writers.filter(|w| self.plan.groups.group(self.place(*w, run)) == group);
        let Some(writer) = updated.next() else { return };
        let steps = lock(&self.steps[writer]);
        let (Some((first, _)), Some((last, _))) = (steps.first(), steps.last()) else { return };
        if read.end < *first || read.start > *last {
            return;
        }
        let timeline = Timeline::merge(self.events(writer, reader, &steps, read), &read.reading);
        if kept.as_ref().is_none_or(|kept| timeline.is_plainer_than(kept)) {
            *kept = Some(timeline);
        }
    }

    fn events(
        &self,
        writer: usize,
        reader: usize,
        steps: &[(Instant, Step)],
        read: &Read,
    ) -> Vec<Event> {
        let (writer, reader) = (format!("writer-{writer}"), format!("reader-{reader}"));
        let key = format!("key {}", read.reading.group().id);
        let event =
            |at, thread: &String, step, detail| Event { at, thread: thread.clone(), step, detail };
        let mut events: Vec<Event> =
            steps.iter().map(|(at, step)| event(*at, &writer, *step, String::new())).collect();
        events.iter_mut().take(1).for_each(|first| first.detail = key.clone());
        events.push(event(read.start, &reader, Step::ReadStart, key));
        let saw = read.reading.mixed().map_or_else(String::new, |mixed| mixed.to_string());
        events.push(event(read.end, &reader, Step::ReadComplete, saw));
        events
    }
}

impl Seen {
    #[inline]
    fn note(&mut self, reading: Reading, start: Instant, end: Instant) {
        self.reads += 1;
        let read = Read { start, end, reading };
        if reading.mixed().is_some() {
            self.mixed_reads += 1;
            if self.mixed.len() < REMEMBERED {
                self.mixed.push(read);
            }
        } else if self.whole.len() < REMEMBERED {
            self.whole.push(read);
        } else {
            self.whole[self.reads as usize % REMEMBERED] = read;
        }
    }
}

fn random_pause(random: &mut Random, most: Duration) -> Duration {
    Duration::from_nanos(random.below(most.as_nanos() as u64))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no racer panicked")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::race::{coeval::Coeval, coeval::Relation, locked::Locked, two_step::TwoStep};

    fn plan(groups: &Groups, runs: usize) -> Plan<'_> {
        Plan { groups, runs, readers: 2, writers: 2, freeze: None, seed: 1 }
    }

    #[test]
    fn two_steps_far_apart_are_caught_and_the_timeline_shows_it() {
        let groups = Groups::zipf(64, 256, 3, 1);
        let cache = TwoStep::new(Duration::from_millis(2));
        let tally = race(&cache, plan(&groups, 20), || ());
        assert_eq!(tally.runs, 20);
        assert!(tally.failed_runs > 0);
        let timeline = tally.timeline.expect("a failed run has a timeline").to_string();
        assert!(timeline.contains("[OLD]") && timeline.contains("invalidate complete"));
    }

    #[test]
    fn a_lock_and_a_commit_are_never_mixed() {
        let groups = Groups::zipf(64, 256, 3, 1);
        let widen = Duration::from_micros(20);
        let locked = race(&Locked::new(widen), plan(&groups, 100), || ());
        assert_eq!(locked.failed_runs, 0);
        for relation in [Relation::Invalidate, Relation::Rewrite] {
            let cache = Coeval::new(relation, 3, widen);
            let tally = race(&cache, plan(&groups, 100), || ());
            assert_eq!(tally.failed_runs, 0, "{:?}", tally.first_failure);
            assert!(tally.reads >= 200 && tally.timeline.is_none());
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn freezes_land_inside_writes() {
        let groups = Groups::zipf(64, 256, 3, 1);
        let frozen = Plan { freeze: Some(Duration::from_millis(2)), ..plan(&groups, 20) };
        let tally = race(&Coeval::new(Relation::Invalidate, 3, Duration::ZERO), frozen, || ());
        assert_eq!((tally.failed_runs, tally.freezes.all), (0, 20));
        assert!(tally.freezes.inside_a_write > 0);
    }
}
