//! Counts, one block a thread.

use super::{Removals, Stats};
use crate::removal::RemovalCause;
use crate::sync::per_thread::PerThread;
use crate::sync::{AtomicU64, Ordering};

/// One thread's count of one thing.
#[derive(Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Counts `n` more. Only by the thread whose count it is.
    #[inline(always)]
    pub fn add(&self, n: u64) {
        // Relaxed, and no read-modify-write: only its own thread writes it, and sums are exact once
        // threads have come to rest.
        let now = self.0.load(Ordering::Relaxed);
        self.0.store(now.wrapping_add(n), Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed) // Relaxed: as above.
    }
}

/// One thread's counts; [`Stats`] says what each counts.
#[derive(Default)]
#[repr(C)] // What `get` counts is in the first line.
pub struct Mine {
    pub hits: Count,
    pub misses: Count,
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

impl Mine {
    /// A look-up found a value.
    #[inline(always)]
    pub fn hit(&self) {
        self.hits.add(1);
    }

    /// A look-up found none.
    #[inline(always)]
    pub fn miss(&self) {
        self.misses.add(1);
    }

    /// A value went.
    #[inline(always)]
    pub fn removal(&self, cause: RemovalCause) {
        self.removals[cause as usize].add(1);
    }
}

/// All threads' counts.
pub struct Counters {
    threads: PerThread<Mine>,
}

impl Counters {
    /// Nothing counted.
    pub fn new() -> Self {
        Self { threads: PerThread::new() }
    }

    /// The calling thread's counts. They must not be used on another thread, where some would be lost.
    #[inline(always)]
    pub fn mine(&self) -> &Mine {
        self.threads.get()
    }

    /// The sums. What is not counted here, such as entries and views, is left at zero.
    pub fn sum(&self) -> Stats {
        let of = |count: fn(&Mine) -> &Count| {
            let counts = self.threads.shared().map(|(_, mine)| count(mine).get());
            counts.fold(0, u64::wrapping_add)
        };
        // What is reclaimed was made before: asked in this order, the difference is seldom too small.
        let reclaimed = of(|mine| &mine.versions_reclaimed);
        Stats {
            hits: of(|mine| &mine.hits),
            misses: of(|mine| &mine.misses),
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
                        mine.hit();
                        mine.versions_made.add(2);
                        mine.versions_reclaimed.add(1);
                        mine.removal(RemovalCause::ALL[thread % 5]);
                        if n % 10 == 0 {
                            mine.miss();
                        }
                    }
                });
            }
        });
        let stats = counters.sum();
        assert_eq!((stats.hits, stats.misses, stats.versions), (40_000, 4_000, 40_000));
        for cause in RemovalCause::ALL {
            assert_eq!(stats.removals.of(cause), 8_000, "{cause}");
        }
        assert_eq!((stats.loads, stats.commits, stats.repaired), (0, 0, 0));
    }

    #[test]
    fn each_count_has_its_own_sum() {
        let counters = Counters::new();
        let mine = counters.mine();
        let all = [
            &mine.hits,
            &mine.misses,
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
            s.hits,
            s.misses,
            s.loads,
            s.loads_failed,
            s.loads_refused,
            s.commits,
            s.conflicts,
            s.recomputed,
            s.repaired,
            s.listener_panics,
        ];
        assert!(sums.into_iter().eq(1..=10), "{sums:?}");
    }

    #[test]
    fn what_a_look_up_counts_is_in_the_first_line() {
        assert!(std::mem::offset_of!(Mine, hits) < 64 && std::mem::offset_of!(Mine, misses) < 64);
    }

    #[test]
    fn more_reclaimed_than_made_is_none_alive() {
        let counters = Counters::new();
        counters.mine().versions_reclaimed.add(1); // As a reader may see it that comes in between.
        assert_eq!(counters.sum().versions, 0);
    }
}
