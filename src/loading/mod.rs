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
//! - **A load that has failed** ends the same way, without an outcome, if the flights tell of failures: those who have
//!   waited for it load beside each other, for none of them is to wait for a second failure. Else one of them leads in its place.
//! - **A load that takes too long** is ousted: it is no longer the key's, and who waited for it joins another. That is so
//!   after a time, if one is set, and if a waiter is asked again and again without having been woken,
//!   while nobody goes on with the load: its future may have been left alone for good.
//! - **A load may be handed out**, to be begun later; who wants the key before then takes it over.
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

pub use leader::{Handed, Leader};
pub use waiter::{Waited, Waiter};

use crate::reclaim::Reclaim;
use crate::sync::time::{NEVER, Timer, deadline};
use equivalent::Equivalent;
use flight::{Came, Flight, Idle};
use registry::{Node, Registry, Search, Section};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// Runs users' code on behalf of others. If it panics it has told so through the panic hook, and that
/// is all.
fn contain(act: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(act));
}

/// The loads under way: keys of type `K`, and outcomes of type `T`.
pub struct Flights<K, T, R: Reclaim> {
    registry: Registry<K, T, R>,
    /// The longest that one waits for a load, in nanoseconds; or `NEVER`.
    limit: u64,
    /// By which that is. It is the system's: who waits on a thread is woken by that.
    timer: Timer,
    rules: Rules,
}

/// By what rules loads are waited for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    /// The longest that one waits for a load, from when it was begun.
    pub limit: Option<Duration>,
    /// Whether all who waited for a load that has failed are told so; else one of them is told to lead.
    pub tells_failures: bool,
    /// How long values are left as they are when it has failed to load them anew. (It is for the engine to see to.)
    pub pause: Duration,
}

/// What a caller is to do.
pub enum Joined<'f, K, T, R: Reclaim> {
    /// Load the key.
    Leader(Leader<'f, K, T, R>),
    /// Wait for the load that is under way.
    Waiter(Waiter<'f, K, T, R>),
}

impl<K, T, R: Reclaim> Flights<K, T, R> {
    /// No loads under way. It takes no memory before the first.
    pub fn new() -> Self {
        Self::with(Rules::default())
    }

    /// The same, by these rules.
    pub fn with(rules: Rules) -> Self {
        let limit = rules.limit.map_or(NEVER, |limit| deadline(0, limit));
        Self { registry: Registry::new(), limit, timer: Timer::new(), rules }
    }

    /// The rules that it goes by.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The time, if it matters.
    fn now(&self) -> u64 {
        if self.limit == NEVER { 0 } else { self.timer.now() }
    }

    /// How long a load is still to be waited for, if that is limited.
    fn rest(&self, flight: &Flight<T>) -> Option<Duration> {
        let end = flight.begun().saturating_add(self.limit);
        (self.limit != NEVER).then(|| Duration::from_nanos(end.saturating_sub(self.timer.now())))
    }

    fn is_overdue(&self, flight: &Flight<T>) -> bool {
        self.rest(flight).is_some_and(|rest| rest.is_zero())
    }

    /// Has a flight be the key's no longer: who waits for it joins another.
    #[cold]
    fn oust(&self, flight: &Flight<T>) {
        let section = self.registry.pin();
        // SAFETY: it is not over, as was seen in the section.
        if flight.is_over() || !unsafe { section.remove_flight(flight) } {
            return; // All who wait are told so.
        }
        drop(section);
        flight.tell_to_move();
        self.registry.collect();
    }

    /// Leads the load of `key`, unless somebody else does. One that is handed out is taken over if `takes`.
    pub fn try_lead<Q>(
        &self,
        hash: u32,
        key: &Q,
        own: impl FnOnce() -> K,
        takes: bool,
    ) -> Option<Leader<'_, K, T, R>>
    where
        Q: Equivalent<K> + ?Sized,
    {
        let come = |section: &Section<'_, K, T, R>, node: &Node<K, T>| {
            let Some(flight) = node.flight() else { return self.late(section, node) };
            match flight.come_idle(takes) {
                // SAFETY: just told so.
                Idle::Leads => Some(Some(unsafe { Leader::new(self, flight) })),
                Idle::Busy if self.is_overdue(&flight) => {
                    self.oust(&flight);
                    None
                }
                Idle::Busy => Some(None),
                Idle::Late => self.late(section, node),
            }
        };
        self.find_or_begin(hash, key, own, come, Some)
    }

    /// Joins the load of `key`: the caller leads it, if there is none.
    ///
    /// `hash` is the key's, by the same function in every call. `own` makes the key that is kept as long as the
    /// load is under way, and is called at most once. If users' code panics nothing has begun.
    pub fn join<Q>(&self, hash: u32, key: &Q, own: impl FnOnce() -> K) -> Joined<'_, K, T, R>
    where
        Q: Equivalent<K> + ?Sized,
    {
        self.find_or_begin(hash, key, own, |section, node| self.come(section, node), Joined::Leader)
    }

    /// What `come` makes of the flight of `key`, or what `begun` makes of a new one's leader. `come` is called again if
    /// the flight was none any more.
    fn find_or_begin<'f, Q, J>(
        &'f self,
        hash: u32,
        key: &Q,
        own: impl FnOnce() -> K,
        come: impl Fn(&Section<'f, K, T, R>, &Node<K, T>) -> Option<J>,
        begun: impl FnOnce(Leader<'f, K, T, R>) -> J,
    ) -> J
    where
        Q: Equivalent<K> + ?Sized,
    {
        let mut own = Some(own);
        let mut fresh = None;
        let section = self.registry.pin();
        loop {
            let first = match section.find(hash, |there| key.equivalent(there)) {
                Search::Met(node) => match come(&section, node) {
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
            match section.insert(first, node, &flight) {
                // SAFETY: a new flight is its maker's to lead.
                Ok(()) => return begun(unsafe { Leader::new(self, flight) }),
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
        match came {
            Some((Came::Sits(seat), flight)) => {
                Some(Joined::Waiter(Waiter::new(self, flight, seat)))
            }
            Some((Came::Leads, flight)) => {
                // SAFETY: just told so.
                Some(Joined::Leader(unsafe { Leader::new(self, flight) }))
            }
            Some((Came::Late, _)) | None => self.late(section, node),
        }
    }

    /// A flight is over, or ousted: it is taken out.
    fn late<J>(&self, section: &Section<'_, K, T, R>, node: &Node<K, T>) -> Option<J> {
        section.remove(node);
        None
    }
}

impl<K, T, R: Reclaim> Default for Flights<K, T, R> {
    fn default() -> Self {
        Self::new()
    }
}
