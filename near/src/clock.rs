//! The monotonic clock. A hit asks it one question, whose answer is usually clear from a rough time
//! that costs next to nothing.

/// The monotonic clock, in nanoseconds.
///
/// Its times are behind those of the system by the slack: so much earlier than the right time a
/// rough time of the system may be. Thus a rough time is compared with a limit as it is. From so
/// much before the limit on, it does not tell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// `MOST_SLACK` without the slack. All times have `MOST_SLACK` added, so that none is negative.
    offset: u64,
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
            offset: MOST_SLACK - (max_staleness / 2).clamp(LEAST_SLACK, MOST_SLACK),
            #[cfg(not(target_os = "linux"))]
            made: std::time::Instant::now(),
        }
    }

    /// Whether none of these limits has come yet. This is right as long as the rough time is not
    /// behind by more than the slack; from the slack before a limit on, always.
    #[inline]
    pub fn is_before<const N: usize>(&self, limits: [u64; N]) -> bool {
        match self.rough() {
            Some(time) if is_before_all(time + MOST_SLACK, limits) => true,
            _ => self.is_exactly_before(limits),
        }
    }

    #[cold]
    fn is_exactly_before<const N: usize>(&self, limits: [u64; N]) -> bool {
        is_before_all(self.now(), limits)
    }

    pub fn now(&self) -> u64 {
        self.exact().unwrap_or(NEVER) + self.offset
    }
}

#[inline]
fn is_before_all<const N: usize>(time: u64, limits: [u64; N]) -> bool {
    limits.iter().all(|limit| time < *limit)
}

/// In place of the time of a clock that the system does not know: it is later than any limit.
const NEVER: u64 = 1 << 63;

#[cfg(target_os = "linux")]
impl Clock {
    fn exact(&self) -> Option<u64> {
        read(libc::CLOCK_MONOTONIC)
    }

    #[inline]
    fn rough(&self) -> Option<u64> {
        read(libc::CLOCK_MONOTONIC_COARSE)
    }
}

/// None if the system does not know the clock.
#[cfg(target_os = "linux")]
#[inline]
fn read(clock: libc::clockid_t) -> Option<u64> {
    let mut time = std::mem::MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: `time` may be written to.
    if unsafe { libc::clock_gettime(clock, time.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: zero says that it was written.
    let time = unsafe { time.assume_init() };
    Some(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

#[cfg(not(target_os = "linux"))]
impl Clock {
    fn exact(&self) -> Option<u64> {
        u64::try_from(self.made.elapsed().as_nanos()).ok()
    }

    fn rough(&self) -> Option<u64> {
        self.exact()
    }
}

#[cfg(test)]
mod tests {
    use super::{Clock, LEAST_SLACK, MOST_SLACK, NEVER};

    /// A rough time alone would be before the limit, which is a time that the clock has shown.
    #[test]
    fn a_limit_is_kept_to_the_nanosecond() {
        for max_staleness in [0, LEAST_SLACK * 4, MOST_SLACK * 4] {
            let clock = Clock::new(max_staleness);
            for _ in 0..1_000 {
                assert!(!clock.is_before([clock.now()]));
            }
            assert!(clock.is_before([clock.now() + 60 * MOST_SLACK]));
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_clock_that_is_unknown_is_later_than_any_limit() {
        assert_eq!(super::read(-1), None);
        assert!(NEVER > Clock::new(0).now() + 1_000_000_000_000_000_000);
    }
}
