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
//! refusal counts [`REFUSAL`] times that fraction.
//!
//! A loop that is hardly longer than the cache misleads the first signal: its entries return soon
//! after their eviction, whatever the shares are, and would do so with any larger small queue. The
//! sign of such a loop is that main refuses the returning entry, and that entries get no hits while
//! they are in small. In that case a return does not count.
//!
//! # At first
//! A new cache puts the entries that fill it into main, so that a loop has hits in its second round
//! already. If recency decides instead, small is much too small then. So the first steps are up to
//! [`HASTE`] times as large. They shrink with the cube of the age, and are as small as all later
//! ones after four times as many insertions as the cache has entries. A step that enlarges small is
//! that large only if many insertions are returns: a few such returns come about by chance, and
//! what main gives up too early costs a miss for each entry.

use super::QueueKind;
use crate::sync::{AtomicU64, Ordering};
use crossbeam_utils::CachePadded;

/// An eviction is recent within this fraction of the cache's size.
pub const NEAR: u64 = 16;
/// The number of entries by which a return moves the border between the queues.
pub const STEP: u64 = 4;
/// How much a refusal counts.
const REFUSAL: u64 = 2;
/// How many times larger the first steps are.
pub const HASTE: u64 = 64;
/// The first steps are as large as that if one in this many insertions is a recent return.
const RETURNS: u64 = 20;
/// While steps are large, an eviction from small is recent within this fraction of the cache's
/// size.
pub const NEAR_AT_FIRST: u64 = 5;
/// Small has no hits if fewer than one in this many entries at its front had one.
const FEW_HITS: u64 = 50;
/// The share of hits at the front of small is an average over about this many entries.
const AVERAGED: u64 = 64;
/// The number of marks of each queue. A model has few, because its stack is small.
const MARKS: u64 = if cfg!(coeval_loom) { 2 } else { 16 };

const ONE: u64 = 1 << 32;
/// The share of small: its initial, smallest and largest value.
const AT_FIRST: u64 = ONE / 20;
const LEAST: u64 = ONE / 100;
const MOST: u64 = ONE / 10 * 9;

/// The share of small, and the evictions that adapt it. All accesses are Relaxed: a race loses an
/// adjustment, and no more.
pub struct Balance {
    /// In units of `1/ONE`.
    small: AtomicU64,
    /// For each queue, the times of the last few evictions, one mark every [`spacing`] evictions.
    marks: [[AtomicU64; MARKS as usize]; 2],
    evictions: CachePadded<Evictions>,
    /// The number of recent returns to small while steps are large.
    first_returns: AtomicU64,
}

/// How long ago a returning entry was evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lapse {
    /// The eviction is recent.
    Recent,
    /// The eviction is recent while steps are large.
    RecentAtFirst,
    /// The eviction is not recent.
    Long,
}

/// What each eviction writes, on one line.
#[derive(Default)]
struct Evictions {
    /// For each queue, the number of evictions.
    counts: [AtomicU64; 2],
    /// For each queue, the time from the last push of its last evicted entry to that eviction.
    stays: [AtomicU64; 2],
    /// The share of entries with hits among those that came to the front of small, in units of
    /// `1/ONE`.
    small_hits: AtomicU64,
}

/// Returns how many times larger than later ones the steps are at this time.
fn haste(now: u64, entries: u64) -> u64 {
    if now >= entries.saturating_mul(4) {
        return 1;
    }
    let age = (now * 16 / entries).max(16);
    (HASTE * 16 * 16 * 16 / (age * age * age)).max(1)
}

/// Returns the number of evictions between two marks, and the number of marks that cover the
/// recent evictions.
#[inline]
fn spacing(entries: u64) -> (u64, u64) {
    let near = (entries / NEAR).max(1);
    let spacing = (near / 8).max(1);
    (spacing, near / spacing)
}

impl Balance {
    /// Creates a balance with the initial share.
    pub fn new() -> Self {
        Self {
            small: AtomicU64::new(AT_FIRST),
            marks: Default::default(),
            evictions: CachePadded::default(),
            first_returns: AtomicU64::new(0),
        }
    }

    /// Returns the number of places that small gets out of `entries`.
    #[inline]
    pub fn target(&self, entries: u64) -> u64 {
        let share = self.small.load(Ordering::Relaxed) >> 16;
        ((u128::from(entries) * u128::from(share)) >> 16).max(1) as u64
    }

    /// Notes some evictions, and for the last of them the time from the last push of the entry to
    /// the eviction.
    #[inline]
    pub fn evicted(&self, queue: QueueKind, count: u32, stay: u16, now: u64, entries: u64) {
        let (evictions, count) = (&self.evictions, u64::from(count));
        let before = evictions.counts[queue as usize].fetch_add(count, Ordering::Relaxed);
        evictions.stays[queue as usize].store(stay.into(), Ordering::Relaxed);
        let (spacing, _) = spacing(entries);
        for mark in before / spacing..(before + count) / spacing {
            let mark = ((mark + 1) % MARKS) as usize;
            self.marks[queue as usize][mark].store(now, Ordering::Relaxed);
        }
    }

    /// Returns the time from the last push of the entry that was evicted last from this queue to
    /// its eviction.
    pub fn last_stay(&self, queue: QueueKind) -> u16 {
        self.evictions.stays[queue as usize].load(Ordering::Relaxed) as u16
    }

    /// Returns the time since which evictions from the queue are recent.
    pub fn recent_since(&self, queue: QueueKind, entries: u64) -> u64 {
        let (spacing, back) = spacing(entries);
        let mark = self.evictions.counts[queue as usize].load(Ordering::Relaxed) / spacing;
        let marks = &self.marks[queue as usize];
        match mark.checked_sub(back) {
            Some(mark) => marks[(mark % MARKS) as usize].load(Ordering::Relaxed),
            None => 0,
        }
    }

    /// Notes a few entries at the front of small, and how many of them had a hit.
    #[inline]
    pub fn passed_small(&self, count: u32, with_hits: u32) {
        let small_hits = &self.evictions.small_hits;
        let average = small_hits.load(Ordering::Relaxed);
        let gone = (average / AVERAGED * u64::from(count)).min(average);
        let hits = ONE / AVERAGED * u64::from(with_hits);
        small_hits.store(average - gone + hits, Ordering::Relaxed);
    }

    /// Notes the return of an entry that was evicted from `queue`. Returns the share of small
    /// before.
    pub fn returned(&self, queue: QueueKind, lapse: Lapse, now: u64, entries: u64) -> u64 {
        let before = self.small.load(Ordering::Relaxed);
        let step = STEP * ONE / entries;
        let haste = haste(now, entries);
        match queue {
            QueueKind::Main if lapse == Lapse::Recent => {
                self.update(|small| small.saturating_sub(step * haste));
            }
            QueueKind::Main => {}
            QueueKind::Small => {
                let haste = self.haste_of_small(haste, lapse, now, entries);
                if lapse == Lapse::Recent || (lapse == Lapse::RecentAtFirst && haste > 1) {
                    self.update(|small| small + step * haste);
                }
            }
        }
        before
    }

    /// Returns how many times larger than later ones a step is that enlarges small.
    fn haste_of_small(&self, haste: u64, lapse: Lapse, now: u64, entries: u64) -> u64 {
        if haste == 1 {
            return 1;
        }
        let more = u64::from(lapse == Lapse::Recent);
        let returns = self.first_returns.load(Ordering::Relaxed) + more;
        self.first_returns.store(returns, Ordering::Relaxed);
        let insertions = (now.saturating_sub(entries) + entries / NEAR).max(1);
        (haste * RETURNS * returns / insertions).clamp(1, haste)
    }

    /// Notes that main had no place for an entry that returned after its eviction from `queue`.
    /// `before` is what [`returned`](Self::returned) gave.
    pub fn refused(&self, queue: QueueKind, before: u64, entries: u64) {
        let small_hits = self.evictions.small_hits.load(Ordering::Relaxed);
        if queue == QueueKind::Small && small_hits < ONE / FEW_HITS {
            self.small.store(before, Ordering::Relaxed);
        }
        self.update(|small| {
            let main = (ONE - small) >> 16;
            small.saturating_sub((STEP * ONE / entries * REFUSAL / NEAR * main) >> 16)
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

    /// A time at which steps are as small as they ever are.
    const LATE: u64 = 10_000;

    fn share(balance: &Balance) -> f64 {
        balance.small.load(Ordering::Relaxed) as f64 / ONE as f64
    }

    #[test]
    fn returns_move_the_share_within_its_limits() {
        let balance = Balance::new();
        let many_returns = |queue| {
            (0..10_000).for_each(|_| _ = balance.returned(queue, Lapse::Recent, LATE, 1000));
        };
        assert_eq!(balance.target(1000), 49);
        many_returns(QueueKind::Small);
        assert_eq!(balance.target(1000), 899);
        many_returns(QueueKind::Main);
        assert_eq!(balance.target(1000), 9);
        assert_eq!(balance.target(3), 1, "small has no place");
    }

    #[test]
    fn refusals_weigh_less_in_proportion_to_main() {
        let moved_share = |first: u64| {
            let balance = Balance::new();
            balance.small.store(first, Ordering::Relaxed);
            (0..8).for_each(|_| balance.refused(QueueKind::Main, first, 1000));
            (first - balance.small.load(Ordering::Relaxed)) as f64
                / (ONE as f64 * STEP as f64 / 1000.0)
        };
        assert!((moved_share(ONE / 10) - 0.9).abs() < 0.01);
        assert!((moved_share(ONE / 2) - 0.5).abs() < 0.01);
    }

    #[test]
    fn first_steps_are_larger_and_only_if_many_entries_return() {
        let entries = 100_000;
        let moved = |now: u64, returns: u64| {
            let balance = Balance::new();
            balance.first_returns.store(returns, Ordering::Relaxed);
            balance.returned(QueueKind::Small, Lapse::Recent, now, entries);
            (share(&balance) - 0.05) * entries as f64 / STEP as f64
        };
        assert!((moved(entries, entries) - 64.0).abs() < 0.01);
        assert!((moved(2 * entries, entries) - 8.0).abs() < 0.01);
        assert!((moved(4 * entries, entries) - 1.0).abs() < 0.01);
        assert!((moved(entries * 5 / 4, 10) - 1.0).abs() < 0.01, "few entries return");
    }

    #[test]
    fn a_refused_return_counts_only_if_small_has_hits() {
        let balance = Balance::new();
        let turn_away = || {
            let before = balance.returned(QueueKind::Small, Lapse::Recent, LATE, 1000);
            balance.refused(QueueKind::Small, before, 1000);
        };
        let first = share(&balance);
        turn_away();
        assert!(share(&balance) < first, "a loop enlarges small");
        (0..100).for_each(|at| balance.passed_small(1, u32::from(at % 10 == 0)));
        let then = share(&balance);
        turn_away();
        assert!(share(&balance) > then, "recency does not enlarge small");
    }

    #[test]
    fn recent_covers_a_sixteenth_of_the_entries() {
        let balance = Balance::new();
        for now in 1..=1600 {
            assert_eq!(
                balance.recent_since(QueueKind::Small, 1600),
                if now <= 100 { 0 } else { now - 1 - (now - 1) % 12 - 96 }
            );
            balance.evicted(QueueKind::Small, 1, 0, now, 1600);
        }
        assert_eq!(balance.recent_since(QueueKind::Main, 1600), 0, "the queues share a log");
    }
}
