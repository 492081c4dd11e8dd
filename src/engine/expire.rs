//! Deadlines: what the engine tells the timing wheel, and what it does with entries that come out
//! of it.
//!
//! Readers compare a version's own deadline with the clock, so an entry is absent from its deadline
//! on, exact to one tick of the clock. The wheel only frees memory: an entry that comes out ends by
//! a tombstone, as an evicted one does.
//!
//! A record that is in the wheel for one deadline is also covered for every later one, because it
//! goes in again when it comes out. Therefore overwriting a value by one that is kept longer costs
//! the wheel nothing. If a write drops a deadline or brings it forward, a useless handle stays in
//! the wheel. Such writes sift the wheel for useless handles.

use super::Engine;
use super::maintenance::due;
use crate::chain::{NodeRef, Record, RecordRef};
use crate::expiry::{SIFT_BATCH, Scheduled, Wheel};
use crate::queue::Handle;
use crate::reclaim::Reclaim;
use crate::sync::time::NEVER;
use crate::sync::{AtomicUsize, Ordering};
use std::ptr;

/// One in so many writes that drop a deadline or bring it forward sifts the wheel. On average each
/// of them looks at four entries. It must be more than one, or useless handles would accumulate.
const SIFTED: u32 = (SIFT_BATCH as u32).div_ceil(4);
/// A record with this many holds is not put into the wheel again, because its count ends at 2^24.
const HOLDS: u32 = 1 << 20;

/// The deadlines of a cache.
pub(super) struct Deadlines {
    pub wheel: Wheel,
    /// Whether any value ever had a deadline. Set before the first such value is committed.
    used: AtomicUsize,
}

impl Deadlines {
    pub fn new() -> Self {
        Self { wheel: Wheel::new(), used: AtomicUsize::new(0) }
    }

    /// Returns whether a committed value may have a deadline.
    #[inline(always)]
    pub fn may_be(&self) -> bool {
        // Relaxed: a thread that sees a commit also sees what was set before the commit.
        self.used.load(Ordering::Relaxed) != 0
    }

    /// Notes that a value with a deadline is about to be written.
    #[inline(always)]
    pub fn expect(&self) {
        if !self.may_be() {
            self.used.store(1, Ordering::Relaxed); // Relaxed: the commit publishes it
        }
    }

    /// Returns the size of the wheel in bytes.
    pub fn bytes(&self) -> usize {
        self.wheel.bytes()
    }
}

/// Returns the deadline of a version, or [`NEVER`].
fn deadline_of<V>(node: NodeRef<'_, V>) -> u64 {
    node.terms().map_or(NEVER, |terms| terms.deadline())
}

/// Returns the handle of a record. The handle is usable while the wheel holds the record.
pub(super) fn handle_of<K, V>(record: RecordRef<'_, K, V>) -> Handle {
    Handle::new(ptr::from_ref(record.get()).expose_provenance() as u64)
}

/// The engine as seen by the wheel under a guard, when a deadline is scheduled or has passed.
pub(super) struct Scheduler<'g, 'r, K, V, S, R: Reclaim> {
    pub engine: &'g Engine<K, V, S, R>,
    pub guard: &'g R::Guard<'r>,
}

impl<'g, K, V, S, R: Reclaim> Scheduler<'g, '_, K, V, S, R> {
    /// Returns the record of a handle.
    pub fn record(&self, entry: Handle) -> RecordRef<'g, K, V> {
        // SAFETY: `handle_of` made the handle. The wheel holds the record by a count, and calls
        // this under a guard that was live before the wheel let the record go.
        unsafe { RecordRef::new(&*ptr::with_exposed_provenance(entry.bits() as usize)) }
    }
}

impl<K, V, S, R: Reclaim> Scheduled for Scheduler<'_, '_, K, V, S, R> {
    fn hold(&self, entry: Handle) {
        self.record(entry).hold();
    }

    fn deadline_of(&self, entry: Handle) -> Option<u64> {
        let found = self.engine.store.order.newest(self.record(entry))?;
        Some(deadline_of(found.node())).filter(|deadline| *deadline != NEVER)
    }

    fn let_go(&self, entry: Handle) {
        let record = self.record(entry);
        record.let_go();
        self.engine.store.try_condemn(self.guard, record);
    }

    fn prefetch(&self, entry: Handle) {
        Record::<K, V>::prefetch_at(entry.bits() as usize);
    }
}

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// Schedules the end of `node`, a value that a commit of the caller has put on `was`.
    pub(super) fn schedule<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        record: RecordRef<'g, K, V>,
        node: NodeRef<'g, V>,
        was: Option<NodeRef<'g, V>>,
    ) {
        let deadline = deadline_of(node);
        if deadline == NEVER || was.is_some_and(|was| deadline_of(was) <= deadline) {
            return;
        }
        if record.holds() >= HOLDS {
            return; // it comes out at an earlier deadline, although late
        }
        if !self.due.is_set(due::TIME) {
            self.due.set(due::TIME);
        }
        let scheduler = Scheduler { engine: self, guard };
        self.deadlines.wheel.schedule(handle_of(record), deadline, &scheduler);
    }

    /// Sifts the wheel now and then, if a write drops a deadline or brings it forward. `was`, which
    /// has terms, is the superseded value; `node` is the version that a commit of the caller has
    /// put on it.
    pub(super) fn superseded_early<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        record: RecordRef<'g, K, V>,
        node: NodeRef<'g, V>,
        was: NodeRef<'g, V>,
    ) {
        let (old, new, state) = (deadline_of(was), deadline_of(node), node.state());
        let is_kept = state.is_value() && new != NEVER && old <= new;
        if old == NEVER || is_kept || self.deadlines.wheel.has_reached(old) {
            return;
        }
        // Random, with commit numbers as the source, so that no pattern of writes evades it.
        let chance =
            (state.version() ^ u64::from(record.hash())).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        if ((chance >> 32) as u32).is_multiple_of(SIFTED) {
            self.deadlines.wheel.sift(&Scheduler { engine: self, guard });
        }
    }
}
