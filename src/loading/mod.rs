//! Single flight: of the callers that want the same key, one loads it, and the others wait for that
//! load. It is the only place in the library where anybody waits, and nobody waits here for anything but
//! a load that another caller is about.
//!
//! - A **flight** is a load under way (`flight`). The **registry** has at most one a key (`registry`). It
//!   has its own lists and not the [index](crate::index), which keeps an entry findable for a grace period
//!   after it was condemned, since look-ups must not miss it meanwhile: a flight is over at once, dozens
//!   may follow each other within a grace period, and there are few at a time. So lists of nodes that are
//!   marked and taken out are the simpler thing, and the right one.
//! - **The leader** loads. It [ends it](Leader::share) with an outcome, of which all who wait get a
//!   clone; or it is dropped, and one of those who wait leads in its place. If nobody waits then, the flight is
//!   over, and the next caller leads another.
//! - **A waiter** sits in a seat of the flight (`seat`), where it leaves a waker and is given a verdict: the
//!   outcome is there, or lead.
//! - **A circle** of loads that wait for each other is found before its last member waits (`waits`).
//!
//! No step here waits for another thread, so a thread that is stopped anywhere holds up those who wait for
//! the load that it leads, or is about to lead or to end, and nobody else. Users' code (a waker, the clone
//! of an outcome, the equality or the destructor of a key) may panic at any point of it: what wakes or
//! drops for others contains that.

mod flight;
mod leader;
mod registry;
mod seat;
mod seats;
#[cfg(all(test, not(coeval_loom)))]
mod tests;
mod waiter;
mod waits;

pub use leader::Leader;
pub use waiter::{Waited, Waiter};

use crate::reclaim::Reclaim;
use equivalent::Equivalent;
use flight::{Came, Flight};
use registry::{Node, Registry, Search, Section};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::Arc;

/// Runs users' code on behalf of others. If it panics it has told so through the panic hook, and that
/// is all.
fn contain(act: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(act));
}

/// The loads under way: keys of type `K`, and outcomes of type `T`.
pub struct Flights<K, T, R: Reclaim> {
    registry: Registry<K, T, R>,
}

/// What a caller is to do.
pub enum Joined<'f, K, T, R: Reclaim> {
    /// Load the key.
    Leader(Leader<'f, K, T, R>),
    /// Wait for the load that is under way.
    Waiter(Waiter<'f, K, T, R>),
}

/// Where a flight's node is. Followed only while the flight is known not to be over, or under a section
/// that began then.
struct Spot<K, T>(NonNull<Node<K, T>>);

impl<K, T> Spot<K, T> {
    fn of(node: &Node<K, T>) -> Self {
        Self(NonNull::from(node))
    }

    /// # Safety
    /// See the type.
    unsafe fn node(&self) -> &Node<K, T> {
        // SAFETY: a node leaves the registry when its flight is over.
        unsafe { self.0.as_ref() }
    }
}

impl<K, T> Clone for Spot<K, T> {
    fn clone(&self) -> Self {
        Self(self.0)
    }
}

// SAFETY: it leads to a key and a flight that are shared among threads.
unsafe impl<K: Send + Sync, T: Send + Sync> Send for Spot<K, T> {}
// SAFETY: as above.
unsafe impl<K: Send + Sync, T: Send + Sync> Sync for Spot<K, T> {}

impl<K, T, R: Reclaim> Flights<K, T, R> {
    /// No loads under way. It takes no memory before the first.
    pub fn new() -> Self {
        Self { registry: Registry::new() }
    }

    /// Joins the load of `key`: the caller leads it, if there is none.
    ///
    /// `hash` is the key's, by the same function in every call. `own` makes the key that is kept as long as the
    /// load is under way, and is called at most once. If users' code panics nothing has begun.
    pub fn join<Q>(&self, hash: u32, key: &Q, own: impl FnOnce() -> K) -> Joined<'_, K, T, R>
    where
        Q: Equivalent<K> + ?Sized,
    {
        let mut own = Some(own);
        let mut fresh = None;
        let section = self.registry.pin();
        loop {
            let first = match section.find(hash, |there| key.equivalent(there)) {
                Search::Met(node) => match self.come(&section, node) {
                    Some(joined) => return joined,
                    None => continue, // It is over, and taken out.
                },
                Search::Absent(first) => first,
            };
            let (flight, node) = fresh.take().unwrap_or_else(|| {
                let flight = Arc::new(Flight::new());
                let key = own.take().expect("called once")();
                let node = Node::new(hash, key, &flight);
                (flight, node)
            });
            match section.insert(first, node) {
                Ok(node) => {
                    // SAFETY: a new flight is its maker's to lead.
                    let leader = unsafe { Leader::new(self, flight, Spot::of(node)) };
                    return Joined::Leader(leader);
                }
                Err(node) => fresh = Some((flight, node)),
            }
        }
    }

    /// Comes to a flight, unless it is over: then it is taken out.
    fn come(
        &self,
        section: &Section<'_, K, T, R>,
        node: &Node<K, T>,
    ) -> Option<Joined<'_, K, T, R>> {
        let came = node.flight().map(|flight| (flight.come(), flight));
        let spot = Spot::of(node);
        match came {
            Some((Came::Sits(seat), flight)) => {
                return Some(Joined::Waiter(Waiter::new(self, flight, spot, seat)));
            }
            Some((Came::Leads, flight)) => {
                // SAFETY: just told so.
                return Some(Joined::Leader(unsafe { Leader::new(self, flight, spot) }));
            }
            Some((Came::Late, _)) | None => {}
        }
        section.remove(node);
        None
    }
}

impl<K, T, R: Reclaim> Default for Flights<K, T, R> {
    fn default() -> Self {
        Self::new()
    }
}
