//! The cache's time.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
/// Manual.
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Arc<AtomicU64>);
impl ManualClock {
    /// New.
    pub fn new() -> Self {
        Self::default()
    }
    /// Moves it.
    pub fn advance(&self, time: Duration) {
        self.0.fetch_add(time.as_nanos() as u64, Ordering::SeqCst);
    }
}
/// Nanoseconds since it was made.
pub enum Timer {
    Real(Instant),
    Manual(ManualClock),
}
impl Timer {
    pub fn new() -> Self {
        Self::Real(Instant::now())
    }
    pub fn manual(clock: &ManualClock) -> Self {
        Self::Manual(clock.clone())
    }
    pub fn now(&self) -> u64 {
        match self {
            Self::Real(at) => at.elapsed().as_nanos() as u64,
            Self::Manual(clock) => clock.0.load(Ordering::SeqCst),
        }
    }
    pub fn deadline(now: u64, time: Duration) -> u64 {
        now.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
    }
}
