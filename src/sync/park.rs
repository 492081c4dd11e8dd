//! The only place where a thread waits: it parks until another thread wakes it.

use super::hook::is_torn_down;
#[cfg(coeval_loom)]
use loom::thread::{Thread, current, park};
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
#[cfg(not(coeval_loom))]
use std::thread::{Thread, current, park, park_timeout};
use std::time::Duration;

/// Wakes a thread that is in [`block_on`].
struct Parked(Thread);

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// A future that is not dropped when a model has failed.
struct PolledFuture<F>(ManuallyDrop<F>);

impl<F> Drop for PolledFuture<F> {
    fn drop(&mut self) {
        if !is_torn_down() {
            // SAFETY: dropped once, here.
            unsafe { ManuallyDrop::drop(&mut self.0) };
        }
    }
}

/// In models, time does not pass, so this only parks.
#[cfg(coeval_loom)]
fn park_timeout(_: Duration) {
    park();
}

/// Runs a future to completion on the calling thread. Between polls, the thread is parked until it
/// is woken, but at most for the time that `max_park` returns.
pub(crate) fn block_on<F: Future + Unpin>(
    future: F,
    max_park: impl Fn(&F) -> Option<Duration>,
) -> F::Output {
    let mut future = PolledFuture(ManuallyDrop::new(future));
    let waker = Waker::from(Arc::new(Parked(current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = Pin::new(&mut *future.0).poll(&mut context) {
            return output;
        }
        // Parking may end spuriously, or for an earlier wake-up, so the future is polled again.
        match max_park(&*future.0) {
            Some(max_park) => park_timeout(max_park),
            None => park(),
        }
    }
}
