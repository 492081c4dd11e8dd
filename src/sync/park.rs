//! The one place where a thread waits: parked, until whoever it waits for wakes it.

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

/// Wakes a thread that runs [`block_on`].
struct Parked(Thread);

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// A future that a failed model leaves as it is.
struct Held<F>(ManuallyDrop<F>);

impl<F> Drop for Held<F> {
    fn drop(&mut self) {
        if !is_torn_down() {
            // SAFETY: dropped once, here.
            unsafe { ManuallyDrop::drop(&mut self.0) };
        }
    }
}

/// In models time stands still.
#[cfg(coeval_loom)]
fn park_timeout(_: Duration) {
    park();
}

/// Runs a future to its end on the calling thread, which is parked as long as there is nothing to do, but no
/// longer than `rest` says before it asks the future again.
pub(crate) fn block_on<F: Future + Unpin>(
    future: F,
    rest: impl Fn(&F) -> Option<Duration>,
) -> F::Output {
    let mut future = Held(ManuallyDrop::new(future));
    let waker = Waker::from(Arc::new(Parked(current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = Pin::new(&mut *future.0).poll(&mut context) {
            return output;
        }
        // It may return for no reason, or for an older one: the future is asked again.
        match rest(&*future.0) {
            Some(rest) => park_timeout(rest),
            None => park(),
        }
    }
}
