//! The cache's source of time: nanoseconds since the cache was made, or a time set by a test.

use super::hook::planted;
use super::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

/// A deadline that never passes.
pub(crate) const NEVER: u64 = u64::MAX;

/// A clock for tests, which moves only when it is advanced.
///
/// Clones share the same clock. The clock begins at zero.
///
/// ```
/// use coeval::{Cache, ManualClock};
/// use std::time::Duration;
///
/// let clock = ManualClock::new();
/// let cache = Cache::builder()
///     .time_to_live(Duration::from_secs(60))
///     .manual_clock(&clock)
///     .build();
/// cache.insert("key", 1);
///
/// clock.advance(Duration::from_secs(59));
/// assert_eq!(cache.get("key"), Some(1));
/// clock.advance(Duration::from_secs(1));
/// assert_eq!(cache.get("key"), None);
/// ```
#[derive(Clone, Debug, Default)]
pub struct ManualClock {
    nanos: Arc<AtomicU64>,
}

// SeqCst everywhere, although a time orders no other memory. If one thread reads the clock after
// another, in the order of the adjacent fences (`Order::instant`, `Descriptor::stamp`,
// `Engine::present`), it must not read a smaller time. The system's clock has the same property.
impl ManualClock {
    /// Creates a clock that shows zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the clock forward. It stops at its maximum, after 584 years.
    pub fn advance(&self, by: Duration) {
        let later = |now: u64| Some(now.saturating_add(nanos(by)));
        let _ = self.nanos.fetch_update(Ordering::SeqCst, Ordering::SeqCst, later);
    }

    /// Returns the time since the clock was made, as the clock shows it.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::SeqCst))
    }
}

/// How much earlier than the right time a rough time may be. Linux notes the rough time at each of
/// its ticks, of which there are at least a hundred a second. If a virtual processor stands still
/// that should note it, another one does so a few ticks later.
const SLACK: u64 = 1_000_000_000;

/// A cache's source of time.
#[derive(Clone, Debug)]
pub enum Timer {
    /// The system's monotonic clock, relative to an instant.
    Monotonic(TimerStart),
    /// A clock that a test advances.
    Manual(ManualClock),
}

impl Timer {
    /// Creates a timer from the system's monotonic clock. In models, which must be deterministic,
    /// creates one that stands still.
    pub fn new() -> Self {
        match cfg!(coeval_loom) {
            true => Self::Manual(ManualClock::new()),
            false => Self::Monotonic(TimerStart::now()),
        }
    }

    /// Creates a timer that shows the time of this clock.
    pub fn manual(clock: &ManualClock) -> Self {
        Self::Manual(clock.clone())
    }

    /// Returns the nanoseconds since the timer, or its manual clock, was made.
    #[inline]
    pub fn now(&self) -> u64 {
        match self {
            Self::Monotonic(start) => start.elapsed(),
            Self::Manual(clock) => clock.nanos.load(Ordering::SeqCst),
        }
    }

    /// Returns a time that has passed, at most [`SLACK`] ago. It costs a fraction of what the
    /// right time costs.
    #[inline]
    pub fn rough(&self) -> u64 {
        match self {
            Self::Monotonic(start) => start.rough(),
            Self::Manual(_) => self.now().saturating_sub(SLACK),
        }
    }
}

/// Returns whether it was not `limit` yet when this rough time was read. `false` says nothing.
#[inline]
pub fn was_surely_before(limit: u64, rough: u64) -> bool {
    let slack = if planted("time.no_slack") { 0 } else { SLACK };
    limit > rough.saturating_add(slack)
}

/// The instant from which a timer counts.
#[cfg(target_os = "linux")]
#[derive(Clone, Debug)]
pub struct TimerStart {
    /// As the system's clock showed it. Both times are differences to this one reading.
    nanos: u64,
}

#[cfg(target_os = "linux")]
impl TimerStart {
    fn now() -> Self {
        Self { nanos: read(libc::CLOCK_MONOTONIC).unwrap_or(0) }
    }

    #[inline]
    fn elapsed(&self) -> u64 {
        // Each Linux has this clock. Else, everything would have expired.
        read(libc::CLOCK_MONOTONIC).map_or(NEVER, |now| now.saturating_sub(self.nanos))
    }

    #[inline]
    fn rough(&self) -> u64 {
        let rough = read(libc::CLOCK_MONOTONIC_COARSE);
        rough.map_or_else(|| self.elapsed(), |now| now.saturating_sub(self.nanos))
    }
}

/// The instant from which a timer counts.
#[cfg(not(target_os = "linux"))]
#[derive(Clone, Debug)]
pub struct TimerStart(std::time::Instant);

#[cfg(not(target_os = "linux"))]
impl TimerStart {
    fn now() -> Self {
        Self(std::time::Instant::now())
    }

    fn elapsed(&self) -> u64 {
        nanos(self.0.elapsed())
    }

    fn rough(&self) -> u64 {
        self.elapsed()
    }
}

/// Reads a clock of the system, in nanoseconds.
#[cfg(target_os = "linux")]
#[inline]
fn read(clock: libc::clockid_t) -> Option<u64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` may be written to.
    let failed = unsafe { libc::clock_gettime(clock, &raw mut time) } != 0;
    (!failed).then_some(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// Returns the deadline of a value that lives for `ttl` from `now` on, or `NEVER` if that cannot be
/// represented.
pub(crate) fn deadline(now: u64, ttl: Duration) -> u64 {
    now.saturating_add(nanos(ttl))
}

/// Converts to nanoseconds, and saturates after 584 years.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(all(test, not(coeval_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_and_its_timers_agree() {
        let clock = ManualClock::new();
        let timer = Timer::manual(&clock);
        assert_eq!((clock.now(), timer.now()), (Duration::ZERO, 0));
        clock.clone().advance(Duration::from_millis(1500));
        clock.advance(Duration::from_nanos(1));
        assert_eq!((clock.now(), timer.now()), (Duration::new(1, 500_000_001), 1_500_000_001));
        clock.advance(Duration::MAX);
        clock.advance(Duration::MAX);
        assert_eq!(timer.now(), u64::MAX);
    }

    #[test]
    fn concurrent_advances_add_up() {
        let clock = ManualClock::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| clock.advance(Duration::from_nanos(3))));
            }
        });
        assert_eq!(clock.now(), Duration::from_nanos(12_000));
    }

    #[test]
    fn the_system_clock_advances() {
        let timer = Timer::new();
        let first = timer.now();
        std::thread::sleep(Duration::from_millis(2));
        assert!(timer.now() >= first + 2_000_000);
    }

    #[test]
    fn a_rough_time_is_a_little_earlier() {
        let (timer, mut least) = (Timer::new(), 0);
        for _ in 0..1_000 {
            let before = timer.now();
            let rough = timer.rough();
            assert!(rough <= timer.now() && before < rough + SLACK && rough >= least);
            assert!(!was_surely_before(before, rough) && was_surely_before(NEVER, rough));
            assert!(was_surely_before(rough + SLACK + 1, rough));
            assert!(!was_surely_before(rough + SLACK, rough));
            least = rough;
        }
        std::thread::sleep(Duration::from_millis(50));
        assert!(timer.rough() >= least + 10_000_000, "it moves");
        let (clock, hour) = (ManualClock::new(), Duration::from_secs(3600));
        clock.advance(hour);
        let rough = Timer::manual(&clock).rough();
        assert!(
            was_surely_before(nanos(hour) + 1, rough) && !was_surely_before(nanos(hour), rough)
        );
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn an_unknown_clock_is_no_time() {
        assert_eq!(read(-1), None);
    }

    #[test]
    fn a_deadline_too_far_away_is_never() {
        assert_eq!(deadline(5, Duration::from_nanos(7)), 12);
        assert_eq!(deadline(5, Duration::MAX), NEVER);
        assert_eq!(deadline(u64::MAX - 1, Duration::from_secs(1)), NEVER);
        assert_eq!(deadline(0, Duration::from_secs(u64::MAX)), NEVER);
    }
}
