//! Single flight: of the callers that want the same key, one loads it, and the others wait for that
//! load. This is the only module of the library in which a thread waits, and it waits only for a
//! load that another caller runs.
//!
//! - A **flight** is a load under way (`flight`). The **registry** has at most one flight per key
//!   (`registry`). The registry has its own lists instead of the [index](crate::index). The index
//!   keeps an entry findable for a grace period after the entry was condemned, because look-ups
//!   must not miss it meanwhile. A flight is over at once, dozens may follow each other within a
//!   grace period, and there are few at a time. For them, lists of nodes that are marked and taken
//!   out are simpler and sufficient.
//! - The **leader** loads. It [ends the load](Leader::share) with an outcome, of which all waiters
//!   get a clone. If it is dropped instead, one of the waiters leads. Without a waiter, the flight
//!   is over, and the next caller leads another flight.
//! - A **waiter** sits in a seat of the flight (`seat`). It leaves its waker there, and receives a
//!   signal there: the flight is over, or the waiter leads, or it moves to another flight.
//! - **A load that has failed** ends without an outcome, if the rules report failures. The callers
//!   that have waited for it then load beside each other, so that none of them waits for a second
//!   failure. If the rules do not report failures, one of the waiters leads instead.
//! - **A load that takes too long** is ousted: the key no longer has this flight, and the waiters
//!   join another. This happens at the time limit, if there is one. It also happens if a waiter is
//!   polled again and again without having been woken, while no thread works on the load: the
//!   load's future may have been abandoned.
//! - **A load may be handed out**, to begin later. A caller that wants the key before takes it
//!   over.
//! - **A cycle** of loads that wait for each other is found before its last member waits (`waits`).
//!
//! No step here waits for another thread. So a thread that is stopped anywhere delays only the
//! waiters of the load that it leads, or is about to lead or to end. User code (a waker, the clone
//! of an outcome, the equality or the destructor of a key) may panic at any point. User code that
//! runs on behalf of other callers (a waker, a destructor) runs within `contain`.

mod flight;
mod leader;
mod registry;
mod seat;
mod seats;
#[cfg(all(test, not(coeval_loom)))]
mod tests;
mod waiter;
mod waits;

pub use leader::{HandedOut, Leader};
pub use waiter::{Waited, Waiter};

use crate::reclaim::Reclaim;
use crate::sync::time::{NEVER, Timer, deadline};
use equivalent::Equivalent;
use flight::{Arrival, Flight, LeadAttempt};
use registry::{FlightNode, Registry, Search, Section};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// Runs user code on behalf of other callers. A panic ends here; the panic hook has reported it.
fn contain(act: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(act));
}

/// The loads under way, with keys of type `K` and outcomes of type `T`.
pub struct Flights<K, T, R: Reclaim> {
    registry: Registry<K, T, R>,
    /// The time limit of a load, in nanoseconds, or `NEVER`.
    limit: u64,
    /// Measures the limit. It uses the system's clock, which also wakes a waiting thread.
    timer: Timer,
    rules: LoadRules,
}

/// The rules for loads and their waiters.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoadRules {
    /// The longest time for which callers wait for a load, from its beginning.
    pub limit: Option<Duration>,
    /// Whether all waiters of a failed load are told so. Otherwise one of them is signaled to lead.
    pub tells_failures: bool,
    /// The time for which values stay as they are after a failure to load them anew. The engine
    /// applies it.
    pub pause: Duration,
    /// The time to which the pause grows with each further failure, if that is longer.
    pub longest_pause: Duration,
    /// When old values are served. The caller applies it.
    pub serving: ServeRules,
}

/// The rules for values that are served although they are old, or loaded anew although they are
/// not.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServeRules {
    /// The age beyond which a value is not served.
    pub max_age: Option<Duration>,
    /// How long a caller waits for a load that an executor runs, if there is an old value.
    pub soft_timeout: Duration,
    /// The factor of the time that a load takes, for loads before a value is due; 0 for none.
    pub early: f64,
}

impl LoadRules {
    /// Returns the pause after a failure to load a key with this hash anew, when `failures` loads
    /// have failed before. If pauses grow, each is twice as long as the one before it, and up to a
    /// quarter shorter, so that keys that fail together are not tried again together.
    pub fn pause_after(&self, failures: u8, hash: u32) -> Duration {
        if self.longest_pause <= self.pause {
            return self.pause;
        }
        let doubled = 1_u32.checked_shl(failures.into()).unwrap_or(u32::MAX);
        let longest = self.pause.saturating_mul(doubled).min(self.longest_pause);
        let mixed = (hash ^ u32::from(failures)).wrapping_mul(0x9E37_79B9) >> 16;
        longest.saturating_sub(longest.mul_f64(f64::from(mixed) / f64::from(1 << 18)))
    }
}

/// What a caller that has joined a load does next.
pub enum Joined<'f, K, T, R: Reclaim> {
    /// The caller loads the key.
    Leader(Leader<'f, K, T, R>),
    /// The caller waits for the load that is under way.
    Waiter(Waiter<'f, K, T, R>),
}

impl<K, T, R: Reclaim> Flights<K, T, R> {
    /// Creates an empty set of flights with the usual rules.
    #[cfg(any(test, coeval_loom, coeval_internals))]
    pub fn new() -> Self {
        Self::with(LoadRules::default())
    }

    /// Creates an empty set of flights with these rules. The first load allocates its memory.
    pub fn with(rules: LoadRules) -> Self {
        let limit = rules.limit.map_or(NEVER, |limit| deadline(0, limit));
        Self { registry: Registry::new(), limit, timer: Timer::new(), rules }
    }

    /// Returns the rules.
    pub fn rules(&self) -> &LoadRules {
        &self.rules
    }

    /// Returns the time if there is a limit, or if metrics show it; otherwise 0.
    fn now(&self) -> u64 {
        if self.limit == NEVER && !cfg!(feature = "metrics") { 0 } else { self.timer.now() }
    }

    /// Returns the loads under way: the hash of the key, the time since the load began if that is
    /// known, and the number of waiters. Loads that begin or end meanwhile may be left out.
    pub fn under_way(&self) -> Vec<(u32, Option<Duration>, usize)> {
        let now = self.timer.now();
        let mut all = Vec::new();
        self.registry.pin().each(|hash, flight| {
            let age = match flight.begun() {
                0 => None,
                begun => Some(Duration::from_nanos(now.saturating_sub(begun))),
            };
            all.push((hash, age, flight.waiting()));
        });
        all
    }

    /// Returns how long callers still wait for a load, if there is a limit.
    fn time_left(&self, flight: &Flight<T>) -> Option<Duration> {
        let end = flight.begun().saturating_add(self.limit);
        (self.limit != NEVER).then(|| Duration::from_nanos(end.saturating_sub(self.timer.now())))
    }

    fn is_overdue(&self, flight: &Flight<T>) -> bool {
        self.time_left(flight).is_some_and(|left| left.is_zero())
    }

    /// Takes a flight away from its key, so that its waiters join another flight.
    #[cold]
    fn oust(&self, flight: &Flight<T>) {
        let section = self.registry.pin();
        // SAFETY: the flight is of this registry, and `is_over` returned false within the section.
        if flight.is_over() || !unsafe { section.remove_flight(flight) } {
            return; // Another thread signals the waiters.
        }
        drop(section);
        flight.signal_move();
        self.registry.collect();
    }

    /// Leads the load of `key`, unless another caller does. Takes over a load that is handed out
    /// only if `takes_over`.
    pub fn try_lead<Q>(
        &self,
        hash: u32,
        key: &Q,
        own: impl FnOnce() -> K,
        takes_over: bool,
    ) -> Option<Leader<'_, K, T, R>>
    where
        Q: Equivalent<K> + ?Sized,
    {
        let meet = |section: &Section<'_, K, T, R>, node: &FlightNode<K, T>| {
            let Some(flight) = node.flight() else { return remove_over(section, node) };
            match flight.try_lead(takes_over) {
                // SAFETY: `try_lead` returned that this caller leads.
                LeadAttempt::Leads => Some(Some(unsafe { Leader::new(self, flight) })),
                LeadAttempt::Busy if self.is_overdue(&flight) => {
                    self.oust(&flight);
                    None
                }
                LeadAttempt::Busy => Some(None),
                LeadAttempt::Over => remove_over(section, node),
            }
        };
        self.find_or_begin(hash, key, own, meet, Some)
    }

    /// Joins the load of `key`. If there is none, the caller leads a new one.
    ///
    /// `hash` is the hash of the key, by the same function in every call. `own` makes the key that
    /// is kept while the load is under way; it is called at most once. If user code panics, no load
    /// has begun.
    pub fn join<Q>(&self, hash: u32, key: &Q, own: impl FnOnce() -> K) -> Joined<'_, K, T, R>
    where
        Q: Equivalent<K> + ?Sized,
    {
        let meet = |section: &Section<'_, K, T, R>, node: &FlightNode<K, T>| {
            self.join_flight(section, node)
        };
        self.find_or_begin(hash, key, own, meet, Joined::Leader)
    }

    /// Returns the result of `meet` for the flight of `key`, or the result of `begun` for the
    /// leader of a new flight. `meet` returns `None` after it has taken out a flight that is over;
    /// the search then begins again.
    fn find_or_begin<'f, Q, J>(
        &'f self,
        hash: u32,
        key: &Q,
        own: impl FnOnce() -> K,
        meet: impl Fn(&Section<'f, K, T, R>, &FlightNode<K, T>) -> Option<J>,
        begun: impl FnOnce(Leader<'f, K, T, R>) -> J,
    ) -> J
    where
        Q: Equivalent<K> + ?Sized,
    {
        let mut own = Some(own);
        let mut fresh = None;
        let section = self.registry.pin();
        loop {
            let first = match section.find(hash, |other| key.equivalent(other)) {
                Search::Found(node) => match meet(&section, node) {
                    Some(joined) => return joined,
                    None => continue,
                },
                Search::Absent(first) => first,
            };
            let (flight, node) = fresh.take().unwrap_or_else(|| {
                let flight = Arc::new(Flight::new());
                let key = own.take().expect("called once")();
                let node = FlightNode::new(hash, key, &flight);
                (flight, node)
            });
            match section.insert(first, node, &flight) {
                // SAFETY: the creator of a flight leads it.
                Ok(()) => return begun(unsafe { Leader::new(self, flight) }),
                Err(node) => fresh = Some((flight, node)),
            }
        }
    }

    /// Joins the flight of a node. If the flight is over, takes the node out.
    fn join_flight(
        &self,
        section: &Section<'_, K, T, R>,
        node: &FlightNode<K, T>,
    ) -> Option<Joined<'_, K, T, R>> {
        let arrival = node.flight().map(|flight| (flight.join(), flight));
        match arrival {
            Some((Arrival::Waits(seat), flight)) => {
                Some(Joined::Waiter(Waiter::new(self, flight, seat)))
            }
            Some((Arrival::Leads, flight)) => {
                // SAFETY: `join` returned that this caller leads.
                Some(Joined::Leader(unsafe { Leader::new(self, flight) }))
            }
            Some((Arrival::Over, _)) | None => remove_over(section, node),
        }
    }
}

/// Takes out the node of a flight that is over or ousted.
fn remove_over<K, T, R: Reclaim, J>(
    section: &Section<'_, K, T, R>,
    node: &FlightNode<K, T>,
) -> Option<J> {
    section.remove(node);
    None
}
