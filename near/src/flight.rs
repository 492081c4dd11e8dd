//! One read of a key at a time; other callers wait for it, and then look into the L1. A read that
//! takes too long can be replaced.

use coeval::Cache;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// The reads under way, by key.
pub(crate) struct Flights(Cache<String, Arc<Semaphore>>);

/// A read under way. It is over when this is dropped, so also when its caller is cancelled.
pub(crate) struct Flight<'f> {
    flights: &'f Flights,
    key: &'f str,
    over: Arc<Semaphore>,
}

impl Flights {
    pub fn new() -> Self {
        Self(Cache::new())
    }

    /// Begins a read of `key`, or waits until the one under way is over and returns `None`. The
    /// caller may not take over what that read returned: it may have been read before the caller
    /// came. But what is in the L1 now is as good as any hit.
    pub async fn begin<'f>(&'f self, key: &'f str) -> Option<Flight<'f>> {
        let over = Arc::new(Semaphore::new(0));
        if self.0.compare_and_set(key.to_owned(), None, Arc::clone(&over)).is_ok() {
            return Some(Flight { flights: self, key, over });
        }
        if let Some(other) = self.0.get(key) {
            // It has no permits; it ends by being closed.
            drop(other.acquire().await);
        }
        None
    }

    /// Begins a read of `key` in place of the one under way, which may take too long. Who waits for
    /// that one looks again, and waits for this one.
    pub fn replace<'f>(&'f self, key: &'f str) -> Flight<'f> {
        let over = Arc::new(Semaphore::new(0));
        let other = self.0.get(key);
        self.0.insert(key.to_owned(), Arc::clone(&over));
        if let Some(other) = other {
            other.close();
        }
        Flight { flights: self, key, over }
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        // Not if it was replaced. If that happens just now, nobody waits for the other one, which
        // makes a read too many, and no more.
        if self.flights.0.get(self.key).is_some_and(|it| Arc::ptr_eq(&it, &self.over)) {
            self.flights.0.invalidate(self.key);
        }
        self.over.close();
    }
}
