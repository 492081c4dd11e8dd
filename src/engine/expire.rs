//! Deadlines: what the engine tells the wheel, and does with what comes out of it.
//!
//! Readers go by a version's own deadline, so an entry is absent from it on, to the tick of the clock. The wheel only
//! brings the memory back: an entry that comes out ends by a tombstone, as an evicted one does.
//!
//! A record that is in the wheel for a deadline is in it for every later one: when it comes out it goes in again. So
//! a value that is overwritten by one that is kept longer costs the wheel nothing. One whose deadline is dropped or
//! brought forward leaves a handle behind that is of no more use; whoever does that looks for such.

use super::Engine;
use super::maintenance::due;
use crate::chain::{NodeRef, Record, RecordRef};
use crate::expiry::{SIFT_BATCH, Scheduled, Wheel};
use crate::queue::Handle;
use crate::reclaim::Reclaim;
use crate::sync::time::NEVER;
use crate::sync::{AtomicUsize, Ordering};
use std::ptr;

/// One in so many deadlines that are dropped or brought forward has the wheel sifted. So four entries are looked at
/// for each: more than one, or what is of no use would gain on the rest.
const SIFTED: u32 = (SIFT_BATCH as u32).div_ceil(4);
/// A record that is held so often is not put in once more: its count has room for no more than 2^24.
const HOLDS: u32 = 1 << 20;

/// The wheel of a cache.
pub(super) struct Deadlines {
    pub wheel: Wheel,
    /// Whether there ever was a deadline. Set before the first is committed.
    used: AtomicUsize,
}

impl Deadlines {
    pub fn new() -> Self {
        Self { wheel: Wheel::new(), used: AtomicUsize::new(0) }
    }

    /// Whether a value may have a deadline that is committed already.
    #[inline(always)]
    pub fn may_be(&self) -> bool {
        // Relaxed: who knows of a commit knows what was set before.
        self.used.load(Ordering::Relaxed) != 0
    }

    /// A value with a deadline is about to be written.
    #[inline(always)]
    pub fn expect(&self) {
        if !self.may_be() {
            self.used.store(1, Ordering::Relaxed); // comes with the commit
        }
    }

    /// Bytes of the wheel.
    pub fn bytes(&self) -> usize {
        self.wheel.bytes()
    }
}

/// The deadline of a version; [`NEVER`] if it has none.
fn deadline_of<V>(node: NodeRef<'_, V>) -> u64 {
    node.terms().map_or(NEVER, |terms| terms.deadline())
}

/// A record's handle. It works as long as the wheel holds the record.
pub(super) fn handle_of<K, V>(record: RecordRef<'_, K, V>) -> Handle {
    Handle::new(ptr::from_ref(record.get()).expose_provenance() as u64)
}

/// The engine as the wheel sees it when a deadline is put in, under a guard.
pub(super) struct Scheduler<'g, 'r, K, V, S, R: Reclaim> {
    pub engine: &'g Engine<K, V, S, R>,
    pub guard: &'g R::Guard<'r>,
}

impl<'g, K, V, S, R: Reclaim> Scheduler<'g, '_, K, V, S, R> {
    /// The record of a handle.
    pub fn record(&self, entry: Handle) -> RecordRef<'g, K, V> {
        // SAFETY: made by `handle_of`. The wheel holds the record by a count, and calls us under a
        // guard that was live before it let go.
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
    /// Has the value `node`, which a commit of the caller's has put upon `was`, end when its time
    /// comes.
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
            return; // It comes out at a deadline that it had before, if later than it should.
        }
        if !self.due.is_set(due::TIME) {
            self.due.set(due::TIME);
        }
        let scheduler = Scheduler { engine: self, guard };
        self.deadlines.wheel.schedule(handle_of(record), deadline, &scheduler);
    }

    /// The value `was`, which has terms, has been superseded by `node`, which a commit of the
    /// caller's has put there. If its deadline was dropped or brought forward by that, now and then
    /// has the wheel sifted.
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
        // By chance, of which the numbers of commits are the source: no pattern of writes evades it.
        let chance =
            (state.version() ^ u64::from(record.hash())).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        if ((chance >> 32) as u32).is_multiple_of(SIFTED) {
            self.deadlines.wheel.sift(&Scheduler { engine: self, guard });
        }
    }
}
