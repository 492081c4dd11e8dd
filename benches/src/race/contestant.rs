//! The interface of a cache in the race.

use std::time::{Duration, Instant};

use super::{
    group::{Group, Reading, Way},
    timeline::Log,
};

/// A cache in the race.
pub trait Contestant: Sync {
    /// Fills the whole group while no other thread uses it.
    fn load(&self, group: Group, generation: u64);

    /// Sets the key to `generation` and updates its related entries. The owner of the group calls
    /// this.
    fn update(&self, group: Group, generation: u64, log: &mut impl Log);

    /// Inserts the related entries again, derived from `generation`. The owner of the group calls
    /// this.
    fn refill(&self, group: Group, generation: u64);

    /// Reads the whole group.
    fn read(&self, group: Group, way: Way) -> Reading;

    /// The ways of reading that differ for this cache.
    fn ways(&self) -> &'static [Way] {
        &[Way::Gets]
    }
}

/// Pauses for `duration` as a slow step does: the thread sleeps, as if it waited for the network
/// (which takes some 50 µs more).
#[inline]
pub fn dawdle(duration: Duration) {
    if !duration.is_zero() {
        std::thread::sleep(duration);
    }
}

/// Waits for `duration`, to the microsecond, by spinning.
#[inline]
pub fn spin(duration: Duration) {
    let began = Instant::now();
    while began.elapsed() < duration {
        std::hint::spin_loop();
    }
}
