//! What the race asks of a cache.

use std::time::{Duration, Instant};

use super::{
    group::{Group, Reading, Way},
    timeline::Log,
};

/// A cache in the race.
pub trait Contestant: Sync {
    /// Fills the whole group while nobody else touches it.
    fn load(&self, group: Group, generation: u64);

    /// Sets the key to `generation` and brings its related entries up to date. Called by the
    /// group's owner.
    fn update(&self, group: Group, generation: u64, log: &mut impl Log);

    /// Puts the related entries back, derived from `generation`. Called by the group's owner.
    fn refill(&self, group: Group, generation: u64);

    /// Reads the whole group.
    fn read(&self, group: Group, way: Way) -> Reading;

    /// The ways of reading that differ here.
    fn ways(&self) -> &'static [Way] {
        &[Way::Gets]
    }
}

/// Lets `duration` pass as a slow step does: the thread sleeps, as it would while it waits for the
/// network (and so takes some 50 µs more).
#[inline]
pub fn dawdle(duration: Duration) {
    if !duration.is_zero() {
        std::thread::sleep(duration);
    }
}

/// Lets `duration` pass to the microsecond, by spinning.
#[inline]
pub fn spin(duration: Duration) {
    let began = Instant::now();
    while began.elapsed() < duration {
        std::hint::spin_loop();
    }
}
