//! The balance: adapts the share of the cache that the small queue gets.
//!
//! Each of the two queues would have more hits if it were larger. Entries that return soon after
//! their eviction show how many more. An entry is *recent* in a queue if it is among the last
//! `1/`[`NEAR`] of the cache's size to be evicted from that queue. A queue larger by that much
//! would still hold it. The return of a recent entry therefore enlarges its queue's share, and the
//! shares settle where both queues would gain equally. (ARC, Megiddo & Modha, FAST'03, adapts by
//! the same signal, but counts returns to a list as long as the cache. The marginal gain is what
//! decides, and a short list measures it.)
//!
//! This signal misses one case. In a loop that is longer than the cache nothing returns soon, but
//! each place in main is worth one hit per round. The sign of such a loop is an entry that returns
//! and is refused by main, because all of main is in use. A main queue larger by `1/`[`NEAR`] would
//! have kept about that fraction of the refused entries, in proportion to main's own share. A
//! refusal is therefore weighted by that fraction.

use super::QueueKind;
use crate::sync::{AtomicU64, Ordering};

/// An eviction is recent within this fraction of the cache's size.
pub const NEAR: u64 = 16;
/// The number of entries by which a return moves the border between the queues.
pub const STEP: u64 = 4;
/// The number of marks in the log of each queue.
const MARKS: u64 = 16;

const ONE: u64 = 1 << 32;
/// The share of small: its initial, smallest and largest value.
const AT_FIRST: u64 = ONE / 10;
const LEAST: u64 = ONE / 100;
const MOST: u64 = ONE / 10 * 9;

/// The share of small, and the evictions that adapt it. All accesses are Relaxed: a race loses an
/// adjustment, and no more.
pub struct Balance {
    /// In units of `1/ONE`.
    small: AtomicU64,
    logs: [EvictionLog; 2],
}

impl Default for Balance {
    fn default() -> Self {
        Self::new()
    }
}

/// The number of evictions from a queue, and the times of some of them.
#[derive(Default)]
struct EvictionLog {
    evicted: AtomicU64,
    /// The times of the last few evictions, one mark every [`spacing`] evictions.
    marks: [AtomicU64; MARKS as usize],
}

/// Returns the number of evictions between two marks, and the number of marks that cover the
/// recent evictions.
fn spacing(entries: u64) -> (u64, u64) {
    let near = (entries / NEAR).max(1);
    let spacing = (near / 8).max(1);
    (spacing, near / spacing)
}

impl Balance {
    /// Creates a balance with the initial share.
    pub fn new() -> Self {
        Self { small: AtomicU64::new(AT_FIRST), logs: Default::default() }
    }

    /// Returns the number of places that small gets out of `entries`.
    pub fn target(&self, entries: u64) -> u64 {
        let share = self.small.load(Ordering::Relaxed) >> 16;
        ((u128::from(entries) * u128::from(share)) >> 16).max(1) as u64
    }

    /// Notes an eviction.
    pub fn evicted(&self, queue: QueueKind, now: u64, entries: u64) {
        let log = &self.logs[queue as usize];
        let evicted = log.evicted.fetch_add(1, Ordering::Relaxed) + 1;
        let (spacing, _) = spacing(entries);
        if evicted.is_multiple_of(spacing) {
            log.marks[(evicted / spacing % MARKS) as usize].store(now, Ordering::Relaxed);
        }
    }

    /// Returns the time since which evictions from the queue are recent.
    pub fn recent_since(&self, queue: QueueKind, entries: u64) -> u64 {
        let log = &self.logs[queue as usize];
        let (spacing, back) = spacing(entries);
        let mark = log.evicted.load(Ordering::Relaxed) / spacing;
        match mark.checked_sub(back) {
            Some(mark) => log.marks[(mark % MARKS) as usize].load(Ordering::Relaxed),
            None => 0,
        }
    }

    /// Notes the return of an entry whose eviction from `queue` was recent.
    pub fn returned(&self, queue: QueueKind, entries: u64) {
        let step = STEP * ONE / entries;
        self.update(|small| match queue {
            QueueKind::Small => small + step,
            QueueKind::Main => small.saturating_sub(step),
        });
    }

    /// Notes the return of an entry that main has no place for.
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
        (0..10_000).for_each(|_| balance.returned(QueueKind::Small, 1000));
        assert_eq!(balance.target(1000), 899);
        (0..10_000).for_each(|_| balance.returned(QueueKind::Main, 1000));
        assert_eq!(balance.target(1000), 9);
        assert_eq!(balance.target(3), 1, "small has no place");
    }

    #[test]
    fn refusals_weigh_less_in_proportion_to_main() {
        let moved_share = |first: u64| {
            let balance = Balance::new();
            balance.small.store(first, Ordering::Relaxed);
            (0..16).for_each(|_| balance.refused(1000));
            (first - balance.small.load(Ordering::Relaxed)) as f64
                / (ONE as f64 * STEP as f64 / 1000.0)
        };
        assert!((moved_share(ONE / 10) - 0.9).abs() < 0.01);
        assert!((moved_share(ONE / 2) - 0.5).abs() < 0.01);
    }

    #[test]
    fn recent_covers_a_sixteenth_of_the_entries() {
        let balance = Balance::new();
        for now in 1..=1600 {
            assert_eq!(
                balance.recent_since(QueueKind::Small, 1600),
                if now <= 100 { 0 } else { now - 1 - (now - 1) % 12 - 96 }
            );
            balance.evicted(QueueKind::Small, now, 1600);
        }
        assert_eq!(balance.recent_since(QueueKind::Main, 1600), 0, "the queues share a log");
    }
}
