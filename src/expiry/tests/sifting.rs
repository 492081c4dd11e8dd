//! Tests of sifting: the wheel releases early those entries that it need not hold, and no others.

use super::*;

/// Sifts often enough to end all rounds that are under way.
fn sift_through(cache: &WheelCache, entries: usize) {
    let calls = entries.div_ceil(SIFT_BATCH) + LEVELS * SLOTS;
    (0..3 * calls).for_each(|_| cache.wheel.sift(cache));
}

/// Sifting releases exactly the entries that have no deadline any more, in all slots.
#[test]
fn entries_without_a_deadline_are_released() {
    const ENTRIES: usize = 2_000;
    let mut random = Random(8);
    let cache = WheelCache::new(ENTRIES);
    for round in 0..20 {
        let now = cache.clock.load(Ordering::SeqCst);
        for number in 0..ENTRIES {
            if cache.entries[number].deadline.load(Ordering::SeqCst) == NEVER {
                cache.schedule(number, now + TICK + random.spread(50));
            }
        }
        for entry in &cache.entries {
            if random.below(10) < round % 11 {
                entry.deadline.store(NEVER, Ordering::SeqCst);
            }
        }
        sift_through(&cache, ENTRIES);
        let waiting = |entry: &&WheelEntry| entry.deadline.load(Ordering::SeqCst) != NEVER;
        assert_eq!(cache.wheel.len(), cache.entries.iter().filter(waiting).count() as u64);
        cache.check();
        cache.advance(now + random.spread(44), ALL);
    }
    let cells = cache.wheel.cells.bytes();
    assert!(cells < 4 * 16 * ENTRIES, "{cells} bytes");
}

/// Sifting releases a handle from a slot later than its deadline, and one of two equal handles in a
/// slot.
#[test]
fn superfluous_holds_are_released() {
    for first in [900, 21] {
        let cache = WheelCache::new(3);
        cache.schedule(0, first * TICK);
        cache.schedule(1, 900 * TICK);
        (0..9).for_each(|_| cache.schedule(0, 21 * TICK));
        assert_eq!(cache.wheel.len(), 11);
        sift_through(&cache, 11);
        assert_eq!(cache.wheel.len(), 2, "{first}");
        cache.advance(21 * TICK, ALL);
        assert_eq!(cache.sum(|entry| &entry.expired), 1);
        cache.advance(900 * TICK, ALL);
        assert_eq!((cache.sum(|entry| &entry.expired), cache.wheel.len()), (2, 0));
    }
}

/// The entry is in a slot later than its deadline, and the wheel holds it only there.
#[test]
fn an_entry_with_a_passed_deadline_is_kept() {
    let cache = WheelCache::new(1);
    cache.advance(1000 * TICK, ALL);
    cache.schedule(0, 1000 * TICK);
    sift_through(&cache, 1);
    assert_eq!(cache.wheel.len(), 1);
    cache.advance(1001 * TICK, ALL);
    assert_eq!(cache.sum(|entry| &entry.expired), 1);
}

/// Deadlines are dropped, postponed and brought forward, with sifting in between. No entry is late.
#[test]
fn sifting_makes_no_entry_late() {
    const ENTRIES: usize = 200;
    for seed in 0..40 {
        let mut random = Random(seed);
        let cache = WheelCache::new(ENTRIES);
        let mut comes_out_at = [u64::MAX; ENTRIES];
        let bits = [24, 28, 32, 44][seed as usize % 4];
        let mut now = 0;
        for _ in 0..4_000 {
            let number = random.below(ENTRIES as u64) as usize;
            let old = cache.entries[number].deadline.load(Ordering::SeqCst);
            let deadline = now + random.spread(bits);
            match random.below(8) {
                0 => {
                    cache.entries[number].deadline.store(NEVER, Ordering::SeqCst);
                    comes_out_at[number] = u64::MAX;
                }
                1..4 => {
                    if old <= deadline {
                        cache.entries[number].deadline.store(deadline, Ordering::SeqCst);
                    } else {
                        // A first deadline, or one that is brought forward.
                        cache.schedule(number, deadline);
                    }
                    comes_out_at[number] =
                        ticks::of_deadline(deadline).max(ticks::of_time(now) + 1);
                }
                4 => {
                    now += random.spread(bits - 4);
                    let steps = if random.below(2) == 0 { ALL } else { random.below(9) as usize };
                    if cache.advance(now, steps) == steps {
                        continue; // there may be more
                    }
                    for (entry, tick) in cache.entries.iter().zip(&comes_out_at) {
                        let is_over = entry.deadline.load(Ordering::SeqCst) == NEVER;
                        assert!(is_over || *tick > ticks::of_time(now), "seed {seed}");
                    }
                }
                _ => cache.wheel.sift(&cache),
            }
        }
        cache.check();
    }
}
