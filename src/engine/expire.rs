//! Deadlines: what the engine tells the wheel, and does with what comes out of it.
//!
//! Readers go by a version's own deadline, so an entry is absent from it on, to the tick of the clock. The wheel only
//! brings the memory back: an entry that comes out ends by a tombstone, as an evicted one does.
//!
//! A record that is in the wheel for a deadline is in it for every later one: when it comes out it goes in again. So
//! a value that is overwritten by one that is kept longer costs the wheel nothing. One whose deadline is dropped or
//! brought forward leaves a handle behind that is of no more use; whoever does that looks for such.

use super::Engine;
use super::evict::{Keeper, handle};
use super::tend::due;
use crate::chain::{Node, Record};
use crate::expiry::{DueOutcome, SIFT_BATCH, Timed, Wheel};
use crate::queue::Handle;
use crate::reclaim::Reclaim;
use crate::removal::RemovalCause;
use crate::sync::time::NEVER;
use crate::sync::{AtomicUsize, Ordering};

/// How many entries, at most, a write takes out of the wheel.
const STEPS: usize = if cfg!(coeval_loom) { 1 } else { 16 };
/// One in so many deadlines that are dropped or brought forward has the wheel sifted. So four entries are looked at
/// for each: more than one, or what is of no use would gain on the rest.
const SIFTED: u32 = (SIFT_BATCH as u32).div_ceil(4);
/// A record that is held so often is not put in once more: its count has room for no more than 2^24.
const HOLDS: u32 = 1 << 20;

/// The wheel of a cache.
pub(super) struct Deadlines {
    wheel: Wheel,
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

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// Has the value `node`, which a commit of ours has put upon `was`, end when its time comes.
    pub(super) fn schedule(
        &self,
        guard: &R::Guard<'_>,
        record: &Record<K, V>,
        node: &Node<V>,
        was: Option<&Node<V>>,
    ) {
        // SAFETY: both are kept by our guard.
        let of = |node: &Node<V>| unsafe { node.terms() }.map_or(NEVER, |terms| terms.deadline());
        let deadline = of(node);
        if deadline == NEVER || was.is_some_and(|was| of(was) <= deadline) {
            return;
        }
        if record.holds() >= HOLDS {
            return; // It comes out at a deadline that it had before, if later than it should.
        }
        if !self.due.is_set(due::TIME) {
            self.due.set(due::TIME);
        }
        let keeper = Keeper::new(self, guard);
        self.deadlines.wheel.schedule(handle(record), deadline, &keeper);
    }

    /// The value `was`, which has terms, has been superseded by `node`, which a commit of ours has put there. If its
    /// deadline was dropped or brought forward by that, now and then has the wheel sifted.
    pub(super) fn superseded_early(
        &self,
        guard: &R::Guard<'_>,
        record: &Record<K, V>,
        node: &Node<V>,
        was: &Node<V>,
    ) {
        // SAFETY: both are kept by our guard.
        let of = |node: &Node<V>| unsafe { node.terms() }.map_or(NEVER, |terms| terms.deadline());
        let (old, state) = (of(was), node.state());
        let is_kept = state.is_value() && of(node) != NEVER && old <= of(node);
        if old == NEVER || is_kept || self.deadlines.wheel.has_reached(old) {
            return;
        }
        // By chance, of which the numbers of commits are the source: no pattern of writes evades it.
        let chance =
            (state.version() ^ u64::from(record.hash())).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        if ((chance >> 32) as u32).is_multiple_of(SIFTED) {
            self.deadlines.wheel.sift(&Keeper::new(self, guard));
        }
    }

    /// Ends some of the values whose time has come. Called without a guard.
    pub(super) fn expire_due(&self) {
        self.expire_by(self.timer.now());
    }

    /// Ends some of the values whose time had come by `now`. Whether there may be more.
    pub(super) fn expire_by(&self, now: u64) -> bool {
        if !self.due.is_set(due::TIME) || self.deadlines.wheel.is_idle(now) {
            return false;
        }
        let guard = self.reclaim.pin();
        let keeper = Keeper::new(self, &guard);
        self.deadlines.wheel.advance(now, &keeper, STEPS) == STEPS
    }
}

impl<K, V, S, R: Reclaim> Timed for Keeper<'_, '_, K, V, S, R> {
    fn hold(&self, entry: Handle) {
        self.record(entry).hold();
    }

    fn come_due(&self, entry: Handle, now: u64) -> DueOutcome {
        let record = self.record(entry);
        while let Some((node, _)) = self.newest(record) {
            // SAFETY: kept by our guard.
            let Some(terms) = (unsafe { node.terms() }) else { break };
            if !terms.is_over(now) {
                match terms.deadline() {
                    NEVER => break,
                    deadline => return DueOutcome::Reschedule(deadline),
                }
            }
            // Tried again only if somebody wrote the key meanwhile.
            if let Some(ended) = self.engine.end(self.guard, record, node, RemovalCause::Expired) {
                ended.weigh();
                break;
            }
        }
        self.let_go(entry);
        DueOutcome::Release
    }

    fn deadline_of(&self, entry: Handle) -> Option<u64> {
        let (node, _) = self.newest(self.record(entry))?;
        // SAFETY: kept by our guard.
        let deadline = unsafe { node.terms() }?.deadline();
        (deadline != NEVER).then_some(deadline)
    }

    fn let_go(&self, entry: Handle) {
        let record = self.record(entry);
        record.let_go();
        self.engine.try_condemn(self.guard, record);
    }

    fn prefetch(&self, entry: Handle) {
        Record::<K, V>::prefetch_at(entry.bits() as usize);
    }
}
