//! The monotonic clock. A hit asks it one question, whose answer is usually clear from a rough time
//! that costs next to nothing.

/// The monotonic clock, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// How much earlier than the right time a rough time may be. It is not relied on from so much
    /// before a limit on.
    slack: u64,
    #[cfg(not(target_os = "linux"))]
    made: std::time::Instant,
}

/// Linux writes the rough time down at each of its ticks, of which there are at least a hundred in
/// a second, and makes up for it when ticks have not come. This is several of them.
const LEAST_SLACK: u64 = 50_000_000;

/// More would have short deadlines asked for exactly.
const MOST_SLACK: u64 = 1_000_000_000;

impl Clock {
    /// A clock for entries that may be so old. The heartbeat comes several times meanwhile, so that
    /// what is young enough is far from its limit.
    pub fn new(max_staleness: u64) -> Self {
        Self {
            slack: (max_staleness / 2).clamp(LEAST_SLACK, MOST_SLACK),
            #[cfg(not(target_os = "linux"))]
            made: std::time::Instant::now(),
        }
    }

    /// Whether it is not that late yet. This is right as long as the rough time is not behind by
    /// more than the slack; from the slack before the limit on, always.
    #[inline]
    pub fn is_before(&self, limit: u64) -> bool {
        self.rough() + self.slack < limit || self.is_exactly_before(limit)
    }

    #[cold]
    fn is_exactly_before(&self, limit: u64) -> bool {
        self.now() < limit
    }
}

#[cfg(target_os = "linux")]
impl Clock {
    pub fn now(&self) -> u64 {
        read(libc::CLOCK_MONOTONIC)
    }

    #[inline]
    fn rough(&self) -> u64 {
        read(libc::CLOCK_MONOTONIC_COARSE)
    }
}

/// If the system does not know the clock, the time is later than any limit.
#[cfg(target_os = "linux")]
#[inline]
fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 1 << 33, tv_nsec: 0 };
    // SAFETY: `time` may be written to.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    // 2^33 seconds, 270 years, and some slack are less than u64::MAX nanoseconds.
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(not(target_os = "linux"))]
impl Clock {
    pub fn now(&self) -> u64 {
        u64::try_from(self.made.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn rough(&self) -> u64 {
        self.now()
    }
}

#[cfg(test)]
mod tests {
    use super::{Clock, LEAST_SLACK, MOST_SLACK};

    /// A rough time alone would be before the limit, which is a time that the clock has shown.
    #[test]
    fn a_limit_is_kept_to_the_nanosecond() {
        for max_staleness in [0, LEAST_SLACK * 4, MOST_SLACK * 4] {
            let clock = Clock::new(max_staleness);
            for _ in 0..1_000 {
                assert!(!clock.is_before(clock.now()));
            }
            assert!(clock.is_before(clock.now() + 60 * MOST_SLACK));
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_clock_that_is_unknown_is_later_than_any_limit() {
        let never = super::read(-1);
        assert!(never > Clock::new(0).now() + 1_000_000_000_000_000_000, "{never}");
    }
}
