//! Tests of the wheel with entries that are only a deadline each.

use super::*;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32};

const TICK: u64 = 1 << TICK_BITS;
const ALL: usize = usize::MAX;

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Returns a number of at most `bits` bits; each length is equally likely.
    pub fn spread(&mut self, bits: u64) -> u64 {
        self.next() >> (63 - self.below(bits))
    }
}

/// The state of one entry.
struct WheelEntry {
    deadline: AtomicU64,
    held: AtomicU32,
    came_out: AtomicU32,
    expired: AtomicU32,
}

/// A wheel, and entries that are identified by numbers.
struct WheelCache {
    wheel: Wheel,
    entries: Vec<WheelEntry>,
    /// The latest time that any thread has seen.
    clock: AtomicU64,
}

impl WheelCache {
    fn new(entries: usize) -> Self {
        let entry = |_| WheelEntry {
            deadline: AtomicU64::new(NEVER),
            held: AtomicU32::new(0),
            came_out: AtomicU32::new(0),
            expired: AtomicU32::new(0),
        };
        let entries = (0..entries).map(entry).collect();
        Self { wheel: Wheel::new(), entries, clock: AtomicU64::new(0) }
    }

    fn entry(&self, handle: Handle) -> &WheelEntry {
        &self.entries[handle.bits() as usize / 2 - 1]
    }

    fn schedule(&self, number: usize, deadline: u64) {
        self.entries[number].deadline.store(deadline, Ordering::SeqCst);
        self.wheel.schedule(Handle::new((number as u64 + 1) * 2), deadline, self);
    }

    fn advance(&self, now: u64, steps: usize) -> usize {
        self.clock.fetch_max(now, Ordering::SeqCst);
        self.wheel.advance(now, self, steps)
    }

    fn sum(&self, count: impl Fn(&WheelEntry) -> &AtomicU32) -> u64 {
        self.entries.iter().map(|entry| u64::from(count(entry).load(Ordering::SeqCst))).sum()
    }

    /// Checks that the holds that the entries count equal those of the wheel.
    fn check(&self) {
        let held = self.sum(|entry| &entry.held);
        assert_eq!((self.wheel.len(), self.wheel.is_empty()), (held, held == 0));
    }
}

impl Scheduled for WheelCache {
    fn hold(&self, entry: Handle) {
        self.entry(entry).held.fetch_add(1, Ordering::SeqCst);
    }

    fn deadline_of(&self, entry: Handle) -> Option<u64> {
        let deadline = self.entry(entry).deadline.load(Ordering::SeqCst);
        (deadline != NEVER).then_some(deadline)
    }

    fn let_go(&self, entry: Handle) {
        let held = self.entry(entry).held.fetch_sub(1, Ordering::SeqCst);
        assert!(held > 0, "released more often than held");
    }
}

impl Timed for WheelCache {
    fn come_due(&self, handle: Handle, now: u64) -> DueOutcome {
        assert!(now <= self.clock.load(Ordering::SeqCst), "no thread has seen this time");
        let entry = self.entry(handle);
        entry.came_out.fetch_add(1, Ordering::SeqCst);
        let deadline = entry.deadline.load(Ordering::SeqCst);
        if deadline != NEVER && deadline > now {
            return DueOutcome::Reschedule(deadline);
        }
        if deadline != NEVER && entry.deadline.swap(NEVER, Ordering::SeqCst) != NEVER {
            entry.expired.fetch_add(1, Ordering::SeqCst);
        }
        self.let_go(handle);
        DueOutcome::Release
    }
}

/// Random deadlines at all distances, some of them postponed, and random steps of time, compared
/// with a set that is ordered by deadline.
#[test]
fn entries_expire_when_their_deadlines_pass() {
    const ENTRIES: usize = 500;
    for seed in 0..30 {
        let mut random = Random(seed);
        let cache = WheelCache::new(ENTRIES);
        let mut waiting = BTreeSet::new();
        let (mut now, mut expired) = (0u64, 0);
        // Some seeds stay within seconds, others go through centuries.
        let bits = [26, 32, 40, 62][seed as usize % 4];
        for _ in 0..3000 {
            let number = random.below(ENTRIES as u64) as usize;
            let old = cache.entries[number].deadline.load(Ordering::SeqCst);
            let deadline = now.saturating_add(random.spread(bits)).min(NEVER - 1);
            let comes_out_at = |deadline| ticks::of_deadline(deadline).max(ticks::of_time(now) + 1);
            if old == NEVER {
                cache.schedule(number, deadline);
                waiting.insert((comes_out_at(deadline), number, deadline));
            } else if deadline > old {
                cache.entries[number].deadline.store(deadline, Ordering::SeqCst);
                waiting.retain(|(_, other, _)| *other != number);
                waiting.insert((comes_out_at(deadline), number, deadline));
            }
            if random.below(3) == 0 {
                now = now.saturating_add(random.spread(bits - 4));
                cache.advance(now, ALL);
                waiting.retain(|(tick, number, deadline)| {
                    let is_over = cache.entries[*number].deadline.load(Ordering::SeqCst) == NEVER;
                    assert!(
                        is_over || *tick > ticks::of_time(now),
                        "{number} is late, seed {seed}"
                    );
                    assert!(!is_over || *deadline <= now, "{number} is early, seed {seed}");
                    expired += u64::from(is_over);
                    !is_over
                });
                assert_eq!(cache.sum(|entry| &entry.expired), expired);
                assert_eq!(cache.wheel.len(), waiting.len() as u64);
                cache.check();
            }
        }
        assert!(expired > 200, "{expired}");
    }
}

/// An entry comes out at most once per level, and never expires too early.
#[test]
fn an_entry_is_touched_once_per_level() {
    for (ticks, most) in
        [(1, 1), (60, 1), (64, 1), (100, 2), (5000, 3), (1 << 36, 1), (u64::MAX >> 21, 8)]
    {
        let cache = WheelCache::new(1);
        cache.schedule(0, ticks * TICK);
        let mut now = 0;
        while now < ticks * TICK {
            assert_eq!(cache.sum(|entry| &entry.expired), 0);
            now = (now + (1 + now / 8)).min(ticks * TICK);
            cache.advance(now, ALL);
        }
        assert_eq!(cache.sum(|entry| &entry.expired), 1);
        let came_out = cache.sum(|entry| &entry.came_out);
        assert!(came_out <= most, "{ticks}: {came_out}");
    }
}

#[test]
fn a_passed_deadline_comes_out_at_the_next_tick() {
    let cache = WheelCache::new(2);
    cache.advance(1000 * TICK, ALL);
    cache.schedule(0, 0);
    cache.schedule(1, 1000 * TICK);
    assert_eq!(cache.advance(1001 * TICK - 1, ALL), 0);
    assert_eq!(cache.advance(1001 * TICK, ALL), 2);
    assert_eq!(cache.sum(|entry| &entry.expired), 2);
}

#[test]
fn no_more_entries_come_out_than_allowed() {
    let cache = WheelCache::new(1000);
    (0..1000).for_each(|number| cache.schedule(number, 1 + number as u64 * TICK / 3));
    let mut out = 0;
    loop {
        let came = cache.advance(3_600_000_000_000, 7);
        out += came;
        assert_eq!(cache.sum(|entry| &entry.came_out), out as u64);
        cache.check();
        if came < 7 {
            break;
        }
    }
    assert!(cache.wheel.is_empty() && out < 2000, "{out}");
}

/// A thread may call with a time that it read long ago.
#[test]
fn an_outdated_time_turns_nothing() {
    let cache = WheelCache::new(1);
    cache.advance(500 * TICK, ALL);
    cache.schedule(0, 510 * TICK);
    assert_eq!((cache.advance(400 * TICK, ALL), cache.advance(500 * TICK, ALL)), (0, 0));
    assert_eq!(cache.advance(510 * TICK, ALL), 1);
}

/// While one thread is stopped with an entry in hand, all other entries come out.
#[test]
fn a_stopped_thread_delays_no_other() {
    struct Stopped<'a>(&'a WheelCache, AtomicBool);
    impl Scheduled for Stopped<'_> {
        fn hold(&self, entry: Handle) {
            self.0.hold(entry);
        }
        fn deadline_of(&self, entry: Handle) -> Option<u64> {
            self.0.deadline_of(entry)
        }
        fn let_go(&self, entry: Handle) {
            self.0.let_go(entry);
        }
    }

    impl Timed for Stopped<'_> {
        fn come_due(&self, entry: Handle, now: u64) -> DueOutcome {
            if !self.1.swap(true, Ordering::SeqCst) {
                assert_eq!(self.0.advance(3000 * TICK, ALL), 19);
                self.0.schedule(20, 3003 * TICK);
            }
            self.0.come_due(entry, now)
        }
    }
    let cache = WheelCache::new(21);
    (0..20).for_each(|number| cache.schedule(number, (10 + number as u64) * TICK));
    let stopped = Stopped(&cache, AtomicBool::new(false));
    cache.clock.store(10 * TICK, Ordering::SeqCst);
    assert_eq!(cache.wheel.advance(10 * TICK, &stopped, ALL), 1);
    assert_eq!(cache.sum(|entry| &entry.expired), 20);
    assert_eq!(cache.advance(3003 * TICK, ALL), 1);
}

#[test]
fn a_handle_may_be_held_several_times() {
    let cache = WheelCache::new(1);
    cache.schedule(0, 900 * TICK);
    cache.schedule(0, 20 * TICK);
    cache.schedule(0, 20 * TICK);
    assert_eq!(cache.wheel.len(), 3);
    assert_eq!(cache.advance(20 * TICK, ALL), 2);
    assert_eq!((cache.sum(|entry| &entry.expired), cache.wheel.len()), (1, 1));
    cache.advance(900 * TICK, ALL);
    assert_eq!((cache.sum(|entry| &entry.expired), cache.wheel.len()), (1, 0));
}

#[test]
fn an_empty_wheel_takes_no_memory_and_cells_are_reused() {
    let cache = WheelCache::new(50);
    cache.advance(1 << 60, ALL);
    assert_eq!(cache.wheel.bytes(), 0);
    for round in 0..1000 {
        let now = (1 << 60) + round * 64 * TICK;
        (0..50).for_each(|number| cache.schedule(number, now + (number as u64 + 1) * TICK));
        cache.advance(now + 64 * TICK, ALL);
    }
    assert!(cache.wheel.is_empty());
    let (levels, cells) = (4 * size_of::<Level>(), 64 * 16);
    assert!(cache.wheel.bytes() <= levels + cells, "{}", cache.wheel.bytes());
}

#[test]
fn all_handles_are_given_back() {
    let cache = WheelCache::new(300);
    (0..300).for_each(|number| cache.schedule(number, (1 + number as u64 * number as u64) << 22));
    cache.advance(200 * TICK, 5);
    let held = cache.sum(|entry| &entry.held);
    let mut drained = 0;
    cache.wheel.drain(|entry| {
        cache.entry(entry).held.fetch_sub(1, Ordering::SeqCst);
        drained += 1;
    });
    assert_eq!((drained, cache.sum(|entry| &entry.held)), (held, 0));
    cache.check();
}

/// Some threads schedule entries while others turn and sift the wheel. Each entry expires once, not
/// too early, and comes out as often as it was inserted.
#[test]
fn nothing_is_lost_with_many_threads() {
    const EACH: usize = 30_000;
    const SCHEDULERS: usize = 3;
    let cache = WheelCache::new(SCHEDULERS * EACH);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let schedulers: Vec<_> = (0..SCHEDULERS)
            .map(|which| {
                let cache = &cache;
                scope.spawn(move || {
                    let mut random = Random(which as u64);
                    for number in which * EACH..(which + 1) * EACH {
                        let now = cache.clock.load(Ordering::SeqCst);
                        if random.below(4) == 0 {
                            cache.schedule(number, now + (1 << 38));
                        }
                        cache.schedule(number, now + random.spread(10) * TICK);
                    }
                })
            })
            .collect();
        for which in 0..2 {
            let (cache, done) = (&cache, &done);
            scope.spawn(move || {
                let mut random = Random(100 + which);
                while !done.load(Ordering::SeqCst) {
                    let step = random.spread(8) * TICK / 4;
                    let now = cache.clock.fetch_add(step, Ordering::SeqCst) + step;
                    cache.wheel.advance(now, cache, 1 + random.below(100) as usize);
                    (0..random.below(4)).for_each(|_| cache.wheel.sift(cache));
                }
            });
        }
        schedulers.into_iter().for_each(|thread| thread.join().unwrap());
        done.store(true, Ordering::SeqCst);
    });
    cache.check();
    // No entry is late: none is only in a slot that the wheel has passed.
    let now = cache.clock.load(Ordering::SeqCst) + TICK;
    cache.advance(now, ALL);
    let late = |entry: &&WheelEntry| entry.deadline.load(Ordering::SeqCst) <= now - TICK;
    assert_eq!(cache.entries.iter().filter(late).count(), 0);
    cache.advance(now + 2000 * TICK, ALL);
    assert_eq!(cache.sum(|entry| &entry.expired), (SCHEDULERS * EACH) as u64);
    // Copies that were left behind come out one round later.
    cache.advance(now + (1 << 40), ALL);
    assert_eq!((cache.wheel.len(), cache.sum(|entry| &entry.held)), (0, 0));
}

/// A cell that was popped and pushed again does not count as untouched.
#[test]
fn only_an_untouched_push_is_undone() {
    let (cells, stack) = (Cells::new(), CellStack::new());
    let entry = |number: u64| Handle::new(number * 2);
    let first = cells.allocate(entry(1));
    let pushed = cells.push(&stack, &[first]);
    assert!(cells.undo_push(&stack, pushed, &[first]) && stack.is_empty());

    let pushed = cells.push(&stack, &[first]);
    let second = cells.allocate(entry(2));
    cells.push(&stack, &[second]);
    assert!(!cells.undo_push(&stack, pushed, &[first]), "undone below another cell");

    assert_eq!((cells.pop(&stack), cells.pop(&stack)), (Some(second), Some(first)));
    assert!(!cells.undo_push(&stack, pushed, &[first]), "undone after a pop");
    cells.push(&stack, &[first]);
    assert!(!cells.undo_push(&stack, pushed, &[first]), "undone after another push");
    assert_eq!((cells.count(&stack), cells.entry(first)), (1, entry(1)));
}

#[test]
fn cells_have_distinct_numbers() {
    let (cells, stack) = (Cells::new(), CellStack::new());
    for round in 0..3 {
        for number in 1..=10_000 {
            cells.push(&stack, &[cells.allocate(Handle::new(number * 2))]);
        }
        assert_eq!(cells.count(&stack), 10_000);
        for number in (1..=10_000).rev() {
            let cell = cells.pop(&stack).unwrap();
            assert_eq!(cells.entry(cell).bits(), number * 2, "round {round}");
            cells.free(&[cell]);
        }
    }
    assert!(cells.bytes() < 2 * 16 * 10_000);
}

mod sifting;
