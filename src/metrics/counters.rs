//! Counts, one block per thread.

use super::{Removals, Stats};
use crate::removal::RemovalCause;
use crate::sync::count::Count;
use crate::sync::per_thread::PerThread;

/// One thread's counts. [`Stats`] documents what each counts.
#[derive(Default)]
pub struct ThreadCounts {
    pub loads: Count,
    pub loads_failed: Count,
    pub loads_refused: Count,
    pub commits: Count,
    pub conflicts: Count,
    pub recomputed: Count,
    pub repaired: Count,
    pub listener_panics: Count,
    pub versions_made: Count,
    pub versions_reclaimed: Count,
    removals: [Count; RemovalCause::ALL.len()],
}

impl ThreadCounts {
    /// Returns all counts.
    fn all(&self) -> impl Iterator<Item = &Count> {
        let Self {
            loads,
            loads_failed,
            loads_refused,
            commits,
            conflicts,
            recomputed,
            repaired,
            listener_panics,
            versions_made,
            versions_reclaimed,
            removals,
        } = self;
        let counts = [
            loads,
            loads_failed,
            loads_refused,
            commits,
            conflicts,
            recomputed,
            repaired,
            listener_panics,
            versions_made,
            versions_reclaimed,
        ];
        counts.into_iter().chain(removals)
    }

    /// Counts a value that left the cache.
    #[inline(always)]
    pub fn removal(&self, cause: RemovalCause) {
        self.removals[cause as usize].add(1);
    }
}

/// The counts of all threads.
pub struct Counters {
    threads: PerThread<ThreadCounts>,
    /// The counts of threads that have ended.
    ended: ThreadCounts,
}

impl Counters {
    /// Creates counters at zero.
    pub fn new() -> Self {
        Self { threads: PerThread::new(), ended: ThreadCounts::default() }
    }

    /// Returns the counts of the calling thread. Another thread must not use them, because some
    /// counts would be lost.
    #[inline(always)]
    pub fn mine(&self) -> &ThreadCounts {
        self.threads.get()
    }

    /// Returns the sums. Figures that are not counted here, such as look-ups, entries and views,
    /// are zero.
    pub fn sum(&self) -> Stats {
        self.threads.vacate(|left| {
            self.ended.all().zip(left.all()).for_each(|(count, left)| count.inherit(left));
            true
        });
        self.threads.read_stable(|| self.sum_now())
    }

    fn sum_now(&self) -> Stats {
        let of = |count: fn(&ThreadCounts) -> &Count| {
            let all = self.threads.shared().map(|(_, mine)| mine).chain([&self.ended]);
            all.fold(0_u64, |sum, mine| sum.wrapping_add(count(mine).get()))
        };
        // A version is made before it is reclaimed. Reading the counts in this order makes the
        // difference seldom too small.
        let reclaimed = of(|mine| &mine.versions_reclaimed);
        Stats {
            loads: of(|mine| &mine.loads),
            loads_failed: of(|mine| &mine.loads_failed),
            loads_refused: of(|mine| &mine.loads_refused),
            commits: of(|mine| &mine.commits),
            conflicts: of(|mine| &mine.conflicts),
            recomputed: of(|mine| &mine.recomputed),
            repaired: of(|mine| &mine.repaired),
            listener_panics: of(|mine| &mine.listener_panics),
            versions: of(|mine| &mine.versions_made).saturating_sub(reclaimed),
            removals: Removals {
                explicit: of(|mine| &mine.removals[RemovalCause::Explicit as usize]),
                replaced: of(|mine| &mine.removals[RemovalCause::Replaced as usize]),
                expired: of(|mine| &mine.removals[RemovalCause::Expired as usize]),
                size: of(|mine| &mine.removals[RemovalCause::Size as usize]),
                related: of(|mine| &mine.removals[RemovalCause::Related as usize]),
            },
            ..Stats::default()
        }
    }
}

#[cfg(all(test, not(coeval_loom)))]
mod tests {
    use super::*;

    #[test]
    fn sums_are_exact_at_rest() {
        let counters = Counters::new();
        std::thread::scope(|scope| {
            for thread in 0..40 {
                let counters = &counters;
                scope.spawn(move || {
                    for n in 0..1000 {
                        let mine = counters.mine();
                        mine.loads.add(1);
                        mine.versions_made.add(2);
                        mine.versions_reclaimed.add(1);
                        mine.removal(RemovalCause::ALL[thread % 5]);
                        if n % 10 == 0 {
                            mine.commits.add(1);
                        }
                    }
                });
            }
        });
        let stats = counters.sum();
        assert_eq!((stats.loads, stats.commits, stats.versions), (40_000, 4_000, 40_000));
        for cause in RemovalCause::ALL {
            assert_eq!(stats.removals.of(cause), 8_000, "{cause}");
        }
        assert_eq!((stats.conflicts, stats.repaired), (0, 0));
    }

    #[test]
    fn each_count_has_its_own_sum() {
        let counters = Counters::new();
        let mine = counters.mine();
        let all = [
            &mine.loads,
            &mine.loads_failed,
            &mine.loads_refused,
            &mine.commits,
            &mine.conflicts,
            &mine.recomputed,
            &mine.repaired,
            &mine.listener_panics,
        ];
        (1..).zip(all).for_each(|(n, count)| count.add(n));
        let s = counters.sum();
        let sums = [
            s.loads,
            s.loads_failed,
            s.loads_refused,
            s.commits,
            s.conflicts,
            s.recomputed,
            s.repaired,
            s.listener_panics,
        ];
        assert!(sums.into_iter().eq(1..=8), "{sums:?}");
    }

    #[test]
    fn more_versions_reclaimed_than_made_count_as_none() {
        let counters = Counters::new();
        // A reader may see this while a version is made and reclaimed.
        counters.mine().versions_reclaimed.add(1);
        assert_eq!(counters.sum().versions, 0);
    }
}
