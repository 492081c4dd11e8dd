//! A reclamation scheme for models of what is built upon one.

use coeval::internals::reclaim::{Garbage, Reclaim};
use loom::sync::atomic::{AtomicUsize, Ordering};
use std::collections::BTreeSet;
use std::sync::Mutex;

/// Reclaims in `collect` all of which no guard is left that was live when it was retired: as early as the
/// contract of [`Reclaim`] allows, so that what relies on more than the contract fails.
///
/// Its bookkeeping is no part of the model. Every operation is a read-modify-write of one word, by which
/// all of them happen in one order; that gives what the contract says of fences.
pub struct Exact {
    order: AtomicUsize,
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    /// The number of the next guard.
    next: usize,
    live: BTreeSet<usize>,
    /// What was retired, when the guards below that number were live or gone.
    retired: Vec<(usize, Garbage)>,
}

// SAFETY: what is retired may be reclaimed by any thread (contract of `retire`).
unsafe impl Send for Exact {}
// SAFETY: as above.
unsafe impl Sync for Exact {}

impl Exact {
    /// Runs `act` on the books, in the one order.
    fn next<T>(&self, act: impl FnOnce(&mut Books) -> T) -> T {
        self.order.fetch_add(1, Ordering::AcqRel);
        act(&mut self.books.lock().unwrap())
    }
}

/// A guard of [`Exact`].
pub struct Guard<'a>(&'a Exact, usize);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.next(|books| books.live.remove(&self.1));
    }
}

// SAFETY: an object is due when the guards that were live as it was retired have been dropped. Who pins
// later has everything that came before the retirement before it, by `order`.
unsafe impl Reclaim for Exact {
    type Guard<'a> = Guard<'a>;

    fn new() -> Self {
        Self { order: AtomicUsize::new(0), books: Mutex::default() }
    }

    fn pin(&self) -> Guard<'_> {
        let number = self.next(|books| {
            books.next += 1;
            books.live.insert(books.next - 1);
            books.next - 1
        });
        Guard(self, number)
    }

    unsafe fn retire(&self, _: &Guard<'_>, garbage: Garbage) {
        self.next(|books| books.retired.push((books.next, garbage)));
    }

    fn collect(&self) {
        let due: Vec<_> = self.next(|books| {
            let oldest = books.live.first().copied().unwrap_or(usize::MAX);
            books.retired.extract_if(.., |(bound, _)| *bound <= oldest).collect()
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
        self.books.lock().unwrap().retired.len()
    }
}
