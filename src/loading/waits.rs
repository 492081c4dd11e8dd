//! The wait-for graph of loads, which finds loads that wait for each other in a cycle.
//!
//! There is one graph per process, for the flights of all caches and types. Each flight has a
//! *vertex*, and a vertex has at most one *edge*: to the flight for which its leader waits, or to
//! the flight that its leader leads within its own load. A thread knows on behalf of which flight
//! it works, if any (`enter`).
//!
//! **Finding a cycle.** A thread that is about to wait first sets the edge, then passes a fence,
//! and then follows the edges from the edge's target. If several threads close a cycle at the same
//! time, the one whose fence is last sees the edges of all the others. Several of them may see the
//! cycle. A thread reads a path edge by edge. If a path returns to its beginning, the thread
//! follows it again until it finds the same path twice. Then all its edges existed at one moment.
//!
//! **What counts as a wait.** A wait on a thread holds up everything beneath it on that thread's
//! stack. An example is a loader that runs another job while it waits for its own, as in rayon: the
//! loader continues only when that job is done. So the wait is the load's, and a cycle through it
//! is a cycle. A future that waits is part of the load within which it was polled last. Polled
//! outside of any load, it has no edge. A load may poll a future that is not part of it: an
//! executor that runs within a loader polls other tasks. Such a future counts as part of the load
//! until it is polled elsewhere.
//!
//! **What is not found.** A wait counts on behalf of a load while `Leader::during` of that load is
//! on the stack of the thread that waits, or that polls the waiting future. So a wait belongs to no
//! load if the load hands it to another thread or task. A load that polls several waits at the same
//! time has the edge of the one polled last. What a leader does outside of `during` is not part of
//! its load. A wait with a time limit counts as any other wait: its cycle is reported at once.
//!
//! **Memory.** A vertex has a slot in a table that is never freed. Later flights reuse the slot.
//! The id of a vertex contains a generation that each use of the slot raises. So an edge to a
//! flight that has ended leads nowhere, and a thread that follows edges touches no freed memory and
//! need not be waited for.

use crate::sync::hook::{is_torn_down, step, too_early};
use crate::sync::segmented::SegmentedArray;
use crate::sync::{AtomicU32, AtomicU64, Ordering, fence};
use std::cell::Cell;
use std::num::NonZeroU64;

/// The id of a vertex: its slot's number plus one, and the generation of that slot above it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct VertexId(NonZeroU64);

impl VertexId {
    fn new(slot: u32, generation: u32) -> Self {
        let word = (u64::from(slot) + 1) | (u64::from(generation) << 32);
        Self(NonZeroU64::new(word).expect("the lower half is not zero"))
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
struct VertexSlot {
    generation: AtomicU32,
    /// The number plus one of the next slot in the stack of free slots.
    next_free: AtomicU32,
    /// The id of the vertex to which the edge leads, or 0.
    edge: AtomicU64,
}

struct WaitGraph {
    slots: SegmentedArray<VertexSlot>,
    /// Slots below this number have been used.
    used: AtomicU32,
    /// The number plus one of the topmost free slot. The upper half counts the pops, so that a CAS
    /// notices if the same slot is on top again.
    free: AtomicU64,
}

#[cfg(not(coeval_loom))]
static GRAPH: WaitGraph =
    WaitGraph { slots: SegmentedArray::new(), used: AtomicU32::new(0), free: AtomicU64::new(0) };

#[cfg(coeval_loom)]
loom::lazy_static! {
    static ref GRAPH: WaitGraph = WaitGraph {
        slots: SegmentedArray::new(),
        used: AtomicU32::new(0),
        free: AtomicU64::new(0),
    };
}

const LOWER: u64 = u32::MAX as u64;

impl WaitGraph {
    fn slot(&self, number: usize) -> &VertexSlot {
        self.slots.get_or_make(number)
    }

    /// Allocates a slot. Returns its number.
    fn allocate(&self) -> u32 {
        // Acquire, also on failure: pairs with `release`, for the contents of the slot.
        let mut head = self.free.load(Ordering::Acquire);
        while let Some(top) = (head as u32).checked_sub(1) {
            // Relaxed: if the value does not belong to `head`, the CAS fails.
            let next = self.slot(top as usize).next_free.load(Ordering::Relaxed);
            let new = (head & !LOWER).wrapping_add(1 << 32) | u64::from(next);
            let change = (Ordering::Acquire, Ordering::Acquire);
            match self.free.compare_exchange_weak(head, new, change.0, change.1) {
                Ok(_) => return top,
                Err(now) => head = now,
            }
        }
        self.used.fetch_add(1, Ordering::Relaxed) // Relaxed: no thread has used the slot before.
    }

    /// Frees a slot for reuse.
    fn release(&self, number: u32) {
        let slot = self.slot(number as usize);
        let mut head = self.free.load(Ordering::Relaxed); // Relaxed: the value is only stored back.
        loop {
            slot.next_free.store(head as u32, Ordering::Relaxed); // The CAS publishes it.
            let new = head & !LOWER | u64::from(number + 1);
            // Release: pairs with `allocate`.
            let change = (Ordering::Release, Ordering::Relaxed);
            match self.free.compare_exchange_weak(head, new, change.0, change.1) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    fn edge(&self, from: VertexId) -> Option<VertexId> {
        let slot = self.slot(from.slot());
        // Acquire: pairs with `Edge::set`. An edge of a later use comes with that use's generation.
        let edge = slot.edge.load(Ordering::Acquire);
        let is_same_use = slot.generation.load(Ordering::Relaxed) == from.generation();
        VertexId::from_word(edge).filter(|_| is_same_use)
    }

    /// Returns the path from `at` to `end`, if edges lead there.
    fn path(&self, mut at: VertexId, end: VertexId) -> Option<Vec<VertexId>> {
        let mut path = vec![at];
        while at != end {
            at = self.edge(at)?;
            path.push(at);
            // A longer path runs in another cycle, which other threads find.
            if path.len() > self.used.load(Ordering::Relaxed) as usize {
                return None;
            }
        }
        Some(path)
    }

    fn is_path(&self, from: VertexId, to: VertexId) -> bool {
        let mut seen = self.path(from, to);
        while seen.is_some() {
            let again = self.path(from, to);
            if again == seen {
                return true;
            }
            seen = again; // Other threads changed edges meanwhile.
        }
        false
    }
}

/// The vertex of a flight.
pub(super) struct Vertex(VertexId);

impl Vertex {
    /// Creates a vertex without an edge.
    pub(super) fn new() -> Self {
        let slot = GRAPH.allocate();
        // Relaxed: the slot's last user changed it, which `allocate` has acquired.
        let generation = GRAPH.slot(slot as usize).generation.load(Ordering::Relaxed);
        Self(VertexId::new(slot, generation))
    }

    pub(super) fn id(&self) -> VertexId {
        self.0
    }

    /// Removes the edge, before another thread leads.
    pub(super) fn clear(&self) {
        // Relaxed: a thread that still sees the edge follows it to a dead end, or reports a cycle
        // that existed until just now.
        GRAPH.slot(self.0.slot()).edge.store(0, Ordering::Relaxed);
    }
}

impl Drop for Vertex {
    fn drop(&mut self) {
        let slot = GRAPH.slot(self.0.slot());
        // Relaxed, both: `release` publishes them. The generation may wrap around: no thread that
        // still follows edges holds an id from 2^32 flights ago.
        slot.generation.store(self.0.generation().wrapping_add(1), Ordering::Relaxed);
        slot.edge.store(0, Ordering::Relaxed);
        GRAPH.release(self.0.slot() as u32);
    }
}

/// An edge of the graph. Dropping it removes the edge.
pub(super) struct Edge {
    from: VertexId,
    to: VertexId,
}

impl Edge {
    /// Sets the edge of a live flight, and stores it in `held`. Replaces the edge that `held` has;
    /// if it is the same, sets it again.
    pub(super) fn set(held: &mut Option<Self>, from: VertexId, to: VertexId) {
        if held.as_ref().is_some_and(|held| (held.from, held.to) != (from, to)) {
            *held = None;
        }
        // Release: pairs with `WaitGraph::edge`.
        GRAPH.slot(from.slot()).edge.store(to.word(), Ordering::Release);
        held.get_or_insert_with(|| Self { from, to });
    }

    /// Sets the edge of a flight whose leader is about to wait. Returns whether the edge closes a
    /// cycle.
    pub(super) fn wait(held: &mut Option<Self>, from: VertexId, to: VertexId) -> bool {
        let look = || GRAPH.is_path(to, from);
        let early = too_early("flights.cycle_looks_first", look);
        Self::set(held, from, to);
        step("flights.waits");
        // Partner: this fence in the other threads of the cycle. One of them sees all edges.
        fence(Ordering::SeqCst);
        early.unwrap_or_else(look)
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        // The CAS keeps an edge that leads elsewhere by now. Relaxed: as in `Vertex::clear`.
        let edge = &GRAPH.slot(self.from.slot()).edge;
        let relaxed = Ordering::Relaxed;
        let _ = edge.compare_exchange(self.to.word(), 0, relaxed, relaxed);
    }
}

#[cfg(not(coeval_loom))]
std::thread_local! {
    /// The flight on behalf of which the thread works.
    static INNERMOST: Cell<Option<VertexId>> = const { Cell::new(None) };
}

#[cfg(coeval_loom)]
loom::thread_local! { static INNERMOST: Cell<Option<VertexId>> = Cell::new(None); }

/// Returns the flight on behalf of which the thread works.
pub(super) fn innermost() -> Option<VertexId> {
    INNERMOST.with(Cell::get)
}

/// The time during which a thread works on behalf of a flight. Dropping it ends that time.
pub(super) struct FlightScope {
    pub(super) outer: Option<VertexId>,
}

/// Begins to work on behalf of a flight. The flight on whose behalf the thread worked so far
/// becomes the outer one.
pub(super) fn enter(flight: VertexId) -> FlightScope {
    FlightScope { outer: INNERMOST.with(|innermost| innermost.replace(Some(flight))) }
}

impl Drop for FlightScope {
    fn drop(&mut self) {
        if !is_torn_down() {
            INNERMOST.with(|innermost| innermost.set(self.outer));
        }
    }
}
