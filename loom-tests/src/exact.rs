//! A reclamation scheme for the models of code that is built on reclamation.

use crate::loom::sync::atomic::{AtomicUsize, Ordering};
use coeval::internals::reclaim::{Garbage, Reclaim};
use std::collections::BTreeSet;
use std::sync::Mutex;

/// Reclaims a retired object in `collect` as soon as no guard is left that was live at its
/// retirement. This is as early as the contract of [`Reclaim`] allows, so code that relies on more
/// than the contract fails.
///
/// The bookkeeping is not part of the model. Every operation is a read-modify-write of one word,
/// which puts all operations in one order. That order gives what the contract says about fences.
pub struct Exact {
    order: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The number of the next guard.
    next: usize,
    live: BTreeSet<usize>,
    /// Each retired object, with the number of the next guard at its retirement: every guard that
    /// was live then has a lower number.
    retired: Vec<(usize, Garbage)>,
}

// SAFETY: any thread may reclaim a retired object (contract of `retire`).
unsafe impl Send for Exact {}
// SAFETY: as above.
unsafe impl Sync for Exact {}

impl Exact {
    /// Runs `act` on the bookkeeping, in the one order of all operations.
    fn in_order<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        self.order.fetch_add(1, Ordering::AcqRel);
        act(&mut self.state.lock().unwrap())
    }
}

/// A guard of [`Exact`].
pub struct Guard<'a>(&'a Exact, usize);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.in_order(|state| state.live.remove(&self.1));
    }
}

// SAFETY: an object is due when all guards that were live at its retirement have been dropped. A
// later pin comes after the retirement in `order`, so everything before the retirement happens
// before the pin.
unsafe impl Reclaim for Exact {
    type Guard<'a> = Guard<'a>;

    fn new() -> Self {
        Self { order: AtomicUsize::new(0), state: Mutex::default() }
    }

    fn pin(&self) -> Guard<'_> {
        let number = self.in_order(|state| {
            state.next += 1;
            state.live.insert(state.next - 1);
            state.next - 1
        });
        Guard(self, number)
    }

    unsafe fn retire(&self, _: &Guard<'_>, garbage: Garbage) {
        self.in_order(|state| state.retired.push((state.next, garbage)));
    }

    fn collect(&self) {
        let due: Vec<_> = self.in_order(|state| {
            let oldest = state.live.first().copied().unwrap_or(usize::MAX);
            state.retired.extract_if(.., |(bound, _)| *bound <= oldest).collect()
        });
        for (_, garbage) in due {
            // SAFETY: see above.
            unsafe { (garbage.reclaim)(garbage.object, garbage.context) };
        }
    }

    unsafe fn drain(&self) {
        while self.retired() != 0 {
            self.collect();
        }
    }

    fn retired(&self) -> usize {
        self.state.lock().unwrap().retired.len()
    }
}
