//! Who waits for whom, to find out when it goes round in a circle.
//!
//! A graph of the process's flights, of all caches and types. Each flight has a *point* in it, and a
//! point at most one *edge*: to the flight that the one who leads it waits for, or leads within its own
//! load. A thread knows on behalf of which flight it is at work, if of any (`enter`).
//!
//! **Finding a circle.** One who is to wait sets the edge first, passes a fence, and then follows the edges
//! from where its own leads to. Of several that close a circle at the same time, the one whose fence is
//! the last sees the edges of all others. It may be that several see it.
//! A path is seen only edge by edge. So one that comes back is followed again, until it was the same
//! twice: then all of it was there at one moment.
//!
//! **What is told.** What waits on a thread holds up whatever is beneath it on that thread's stack: a load whose loader runs
//! another's job while it waits for its own (rayon does so) goes on when that job is done, and not before. So the wait is the
//! load's, and a circle through it is one. A future that waits is a part of the load within which it was polled last: polled
//! outside of any, it has no edge. What one load polls that is no part of it (an executor that runs within a loader
//! polls others' tasks) counts as its own until it is polled elsewhere.
//!
//! **What is not found.** Waits count on behalf of a load while its `Leader::during` is on the stack of the
//! thread that waits, or polls what waits. So a wait is nobody's if a load hands it to another thread or
//! task. A load that polls several waits at the same time has the edge of the last one polled. And what a
//! leader does outside of `during` is not its load. A wait that a load would give up after a time is a wait
//! as any other: its circle is told at once.
//!
//! **Memory.** A point has a slot in a table that is never freed, and a slot is used again by later
//! flights. Its name bears a generation that each use raises, so an edge to a flight that is no more leads
//! nowhere, and nobody who follows edges touches freed memory, or need be waited for.

use crate::sync::hook::{is_torn_down, mutant, step};
use crate::sync::segmented::SegmentedArray;
use crate::sync::{AtomicU32, AtomicU64, Ordering, fence};
use std::cell::Cell;
use std::num::NonZeroU64;

/// A point's name: the slot's number and one, and above it the generation of its use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Name(NonZeroU64);

impl Name {
    fn new(slot: u32, generation: u32) -> Self {
        let word = (u64::from(slot) + 1) | (u64::from(generation) << 32);
        Self(NonZeroU64::new(word).expect("not zero in its lower half"))
    }

    fn from_word(word: u64) -> Option<Self> {
        NonZeroU64::new(word).map(Self)
    }

    fn word(self) -> u64 {
        self.0.get()
    }

    fn slot(self) -> usize {
        (self.word() as u32 - 1) as usize
    }

    fn generation(self) -> u32 {
        (self.word() >> 32) as u32
    }
}

#[derive(Default)]
struct Slot {
    generation: AtomicU32,
    /// The number, and one, of the slot below it among those that are free.
    next_free: AtomicU32,
    /// The name of the point that the edge leads to, or 0.
    edge: AtomicU64,
}

struct Graph {
    slots: SegmentedArray<Slot>,
    /// Slots below this have been used.
    used: AtomicU32,
    /// The number, and one, of the topmost free slot; above it a count of those that were taken, so
    /// that a head that comes back is not taken for the one that was seen.
    free: AtomicU64,
}

#[cfg(not(coeval_loom))]
static GRAPH: Graph =
    Graph { slots: SegmentedArray::new(), used: AtomicU32::new(0), free: AtomicU64::new(0) };

#[cfg(coeval_loom)]
loom::lazy_static! {
    static ref GRAPH: Graph =
        Graph { slots: SegmentedArray::new(), used: AtomicU32::new(0), free: AtomicU64::new(0) };
}

const LOWER: u64 = u32::MAX as u64;

impl Graph {
    fn slot(&self, number: usize) -> &Slot {
        self.slots.get_or_make(number)
    }

    fn take(&self) -> u32 {
        // Acquire, also on failure: pairs with `give`, for what the slot holds.
        let mut head = self.free.load(Ordering::Acquire);
        while let Some(top) = (head as u32).checked_sub(1) {
            // Relaxed: if it is not the one that goes with `head`, the CAS fails.
            let next = self.slot(top as usize).next_free.load(Ordering::Relaxed);
            let new = (head & !LOWER).wrapping_add(1 << 32) | u64::from(next);
            let change = (Ordering::Acquire, Ordering::Acquire);
            match self.free.compare_exchange_weak(head, new, change.0, change.1) {
                Ok(_) => return top,
                Err(now) => head = now,
            }
        }
        self.used.fetch_add(1, Ordering::Relaxed) // Relaxed: nobody has used it.
    }

    fn give(&self, number: u32) {
        let slot = self.slot(number as usize);
        let mut head = self.free.load(Ordering::Relaxed); // Only to be put back.
        loop {
            slot.next_free.store(head as u32, Ordering::Relaxed); // Published by the CAS.
            let new = head & !LOWER | u64::from(number + 1);
            // Release: pairs with `take`.
            let change = (Ordering::Release, Ordering::Relaxed);
            match self.free.compare_exchange_weak(head, new, change.0, change.1) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    fn edge(&self, from: Name) -> Option<Name> {
        let slot = self.slot(from.slot());
        // Acquire: pairs with `Edge::set`. An edge of a later use comes with that use's generation.
        let edge = slot.edge.load(Ordering::Acquire);
        let is_same_use = slot.generation.load(Ordering::Relaxed) == from.generation();
        Name::from_word(edge).filter(|_| is_same_use)
    }

    /// The path from `at` to `end`, if edges lead there.
    fn path(&self, mut at: Name, end: Name) -> Option<Vec<Name>> {
        let mut path = vec![at];
        while at != end {
            at = self.edge(at)?;
            path.push(at);
            // One that is longer runs in another circle, of which others learn.
            if path.len() > self.used.load(Ordering::Relaxed) as usize {
                return None;
            }
        }
        Some(path)
    }

    fn is_path(&self, from: Name, to: Name) -> bool {
        let mut seen = self.path(from, to);
        while seen.is_some() {
            let again = self.path(from, to);
            if again == seen {
                return true;
            }
            seen = again; // Others went on meanwhile.
        }
        false
    }
}

/// A flight's point in the graph.
pub(super) struct Point(Name);

impl Point {
    /// A point without an edge.
    pub(super) fn new() -> Self {
        let slot = GRAPH.take();
        // Relaxed: changed by whoever had the slot before us, which `take` has acquired.
        let generation = GRAPH.slot(slot as usize).generation.load(Ordering::Relaxed);
        Self(Name::new(slot, generation))
    }

    pub(super) fn name(&self) -> Name {
        self.0
    }

    /// Takes its edge away, before another leads.
    pub(super) fn clear(&self) {
        // Relaxed: who sees an edge too many follows it to where it does not come back from, or
        // reports a circle that was there until just now.
        GRAPH.slot(self.0.slot()).edge.store(0, Ordering::Relaxed);
    }
}

impl Drop for Point {
    fn drop(&mut self) {
        let slot = GRAPH.slot(self.0.slot());
        // Relaxed, both: published by `give`. It may wrap around: a name of 2^32 flights ago is
        // held by nobody who still follows its edge.
        slot.generation.store(self.0.generation().wrapping_add(1), Ordering::Relaxed);
        slot.edge.store(0, Ordering::Relaxed);
        GRAPH.give(self.0.slot() as u32);
    }
}

/// An edge, taken away when dropped.
pub(super) struct Edge {
    from: Name,
    to: Name,
}

impl Edge {
    /// Sets the edge of a flight that is alive, in the place of another, perhaps; again, if `held` is
    /// the same.
    pub(super) fn set(held: &mut Option<Self>, from: Name, to: Name) {
        if held.as_ref().is_some_and(|held| (held.from, held.to) != (from, to)) {
            *held = None;
        }
        // Release: pairs with `Graph::edge`.
        GRAPH.slot(from.slot()).edge.store(to.word(), Ordering::Release);
        held.get_or_insert_with(|| Self { from, to });
    }

    /// Sets the edge of a flight whose leader is to wait. Whether that closes a circle.
    pub(super) fn wait(held: &mut Option<Self>, from: Name, to: Name) -> bool {
        let look = || GRAPH.is_path(to, from);
        let early = mutant("flights.cycle_looks_first").then(look);
        Self::set(held, from, to);
        step("flights.waits");
        // Pairs with itself, in the other threads of a circle: one of us sees all edges.
        fence(Ordering::SeqCst);
        early.unwrap_or_else(look)
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        // Unless it leads elsewhere by now. Relaxed: as in `Point::clear`.
        let edge = &GRAPH.slot(self.from.slot()).edge;
        let relaxed = Ordering::Relaxed;
        let _ = edge.compare_exchange(self.to.word(), 0, relaxed, relaxed);
    }
}

#[cfg(not(coeval_loom))]
std::thread_local! {
    /// The flight on behalf of which the thread is at work.
    static INNERMOST: Cell<Option<Name>> = const { Cell::new(None) };
}

#[cfg(coeval_loom)]
loom::thread_local! { static INNERMOST: Cell<Option<Name>> = Cell::new(None); }

/// The flight on behalf of which the thread is at work.
pub(super) fn innermost() -> Option<Name> {
    INNERMOST.with(Cell::get)
}

/// The time in which a thread is at work on behalf of a flight.
pub(super) struct Scope {
    pub(super) outer: Option<Name>,
}

/// Begins to be at work on behalf of a flight, within what the thread does already.
pub(super) fn enter(flight: Name) -> Scope {
    Scope { outer: INNERMOST.with(|innermost| innermost.replace(Some(flight))) }
}

impl Drop for Scope {
    fn drop(&mut self) {
        if !is_torn_down() {
            INNERMOST.with(|innermost| innermost.set(self.outer));
        }
    }
}
