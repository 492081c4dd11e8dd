//! How much of the cache is for newcomers.
//!
//! Each of the two queues would have more hits if it were larger. How many more, is seen in what comes
//! back soon after it left: an entry that is wanted again while it is among the last `1/`[`NEAR`] of
//! the cache's size to have been evicted from a queue would still be there if the queue were larger by
//! as much. So such a return makes its queue's share larger, and the shares come to rest where both
//! queues would gain as much. (ARC, Megiddo & Modha, FAST'03, adapts by the same signal, with all of a
//! list as long as the cache; the marginal gain is what decides, and a short list measures that.)
//!
//! One thing is not seen so: in a loop that is longer than the cache, nothing comes back soon, but
//! every place in the main queue is worth a hit a round. There the sign is an entry that comes back
//! and finds no place, because all of the main queue is in use. Of such entries, a main queue larger
//! by `1/`[`NEAR`] would have kept about that part, in proportion to its own share: as much less they
//! count.

use super::Place;
use crate::sync::{AtomicU64, Ordering};

/// A return is soon within this part of the cache's size.
pub const NEAR: u64 = 16;
/// By how many entries a return moves the border.
pub const STEP: u64 = 4;
/// Marks of the clock that each queue keeps.
const MARKS: u64 = 16;

const ONE: u64 = 1 << 32;
/// The newcomers' share at first, least and most.
const AT_FIRST: u64 = ONE / 10;
const LEAST: u64 = ONE / 100;
const MOST: u64 = ONE / 10 * 9;

/// The share, and what moves it. All Relaxed: a lost step is a step less.
pub struct Balance {
    /// Of `ONE`.
    small: AtomicU64,
    trails: [Trail; 2],
}

impl Default for Balance {
    fn default() -> Self {
        Self::new()
    }
}

/// How many entries were evicted from a queue, and when.
#[derive(Default)]
struct Trail {
    evicted: AtomicU64,
    /// The time at every `grain`th eviction, the last few.
    marks: [AtomicU64; MARKS as usize],
}

/// How many evictions lie between two marks, and how many marks back it is to the last that is soon.
fn grain(entries: u64) -> (u64, u64) {
    let near = (entries / NEAR).max(1);
    let grain = (near / 8).max(1);
    (grain, near / grain)
}

impl Balance {
    /// As at first.
    pub fn new() -> Self {
        Self { small: AtomicU64::new(AT_FIRST), trails: Default::default() }
    }

    /// How many of so many entries are for newcomers.
    pub fn target(&self, entries: u64) -> u64 {
        let share = self.small.load(Ordering::Relaxed) >> 16;
        ((u128::from(entries) * u128::from(share)) >> 16).max(1) as u64
    }

    /// Notes an eviction.
    pub fn evicted(&self, place: Place, now: u64, entries: u64) {
        let trail = &self.trails[place as usize];
        let evicted = trail.evicted.fetch_add(1, Ordering::Relaxed) + 1;
        let (grain, _) = grain(entries);
        if evicted.is_multiple_of(grain) {
            trail.marks[(evicted / grain % MARKS) as usize].store(now, Ordering::Relaxed);
        }
    }

    /// The time after which what was evicted from the queue went soon before now.
    pub fn soon(&self, place: Place, entries: u64) -> u64 {
        let trail = &self.trails[place as usize];
        let (grain, back) = grain(entries);
        let mark = trail.evicted.load(Ordering::Relaxed) / grain;
        match mark.checked_sub(back) {
            Some(mark) => trail.marks[(mark % MARKS) as usize].load(Ordering::Relaxed),
            None => 0,
        }
    }

    /// An entry has come back soon after it left that queue.
    pub fn returned(&self, place: Place, entries: u64) {
        let step = STEP * ONE / entries;
        self.update(|small| match place {
            Place::Small => small + step,
            Place::Main => small.saturating_sub(step),
        });
    }

    /// An entry has come back and found no place in the main queue.
    pub fn refused(&self, entries: u64) {
        self.update(|small| {
            let main = (ONE - small) >> 16;
            small.saturating_sub((STEP * ONE / entries / NEAR * main) >> 16)
        });
    }

    fn update(&self, change: impl FnOnce(u64) -> u64) {
        let share = change(self.small.load(Ordering::Relaxed)).clamp(LEAST, MOST);
        self.small.store(share, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(coeval_loom)))]
mod tests {
    use super::*;

    #[test]
    fn returns_move_the_share_within_its_limits() {
        let balance = Balance::new();
        assert_eq!(balance.target(1000), 99);
        (0..10_000).for_each(|_| balance.returned(Place::Small, 1000));
        assert_eq!(balance.target(1000), 899);
        (0..10_000).for_each(|_| balance.returned(Place::Main, 1000));
        assert_eq!(balance.target(1000), 9);
        assert_eq!(balance.target(3), 1, "never none");
    }

    #[test]
    fn refusals_weigh_less_and_by_the_main_share() {
        let moved = |first: u64| {
            let balance = Balance::new();
            balance.small.store(first, Ordering::Relaxed);
            (0..16).for_each(|_| balance.refused(1000));
            (first - balance.small.load(Ordering::Relaxed)) as f64
                / (ONE as f64 * STEP as f64 / 1000.0)
        };
        assert!((moved(ONE / 10) - 0.9).abs() < 0.01);
        assert!((moved(ONE / 2) - 0.5).abs() < 0.01);
    }

    #[test]
    fn soon_goes_back_a_sixteenth_of_the_entries() {
        let balance = Balance::new();
        for now in 1..=1600 {
            assert_eq!(
                balance.soon(Place::Small, 1600),
                if now <= 100 { 0 } else { now - 1 - (now - 1) % 12 - 96 }
            );
            balance.evicted(Place::Small, now, 1600);
        }
        assert_eq!(balance.soon(Place::Main, 1600), 0, "each queue has its own");
    }
}
