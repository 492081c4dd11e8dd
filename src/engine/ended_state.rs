//! How far the walk for ended values is, and the notes by which a walk is known to be needed.

use super::Engine;
use super::index_walk::IndexWalk;
use super::maintenance::due;
use crate::reclaim::Reclaim;
use crate::sync::{AtomicU64, AtomicUsize, Ordering};

/// Writers leave a value whose input changed less than so many commits ago: in a small cache, a
/// walk takes little time.
const LATELY: u64 = if cfg!(coeval_loom) { 0 } else { 1 << 14 };
/// The number of parts that an ended value pays for.
const PAID: usize = 8;
/// The most parts that are paid for.
const MAX_CREDIT: usize = 1 << 16;

/// The progress of the walk. All fields are hints, except for the walk itself: at worst a value is
/// removed later, or by a walk that does not pay. Hence Relaxed, where nothing else is said.
pub(super) struct EndedSweep {
    /// Whether writers walk.
    pub by_writers: bool,
    pub walk: IndexWalk,
    /// The clock when this walk began, and when the one before it did.
    pub began: AtomicU64,
    pub began_before: AtomicU64,
    /// The number of parts that are paid for.
    credit: AtomicUsize,
    /// Whether another walk is needed after this one.
    pub again: AtomicUsize,
    /// Whether this walk removes values whose input has changed only lately, too.
    pub is_full: AtomicUsize,
    /// The clock at the beginning of the last full walk that has ended.
    pub full_until: AtomicU64,
}

impl EndedSweep {
    pub fn new(by_writers: bool) -> Self {
        Self {
            by_writers,
            walk: IndexWalk::new(),
            began: AtomicU64::new(0),
            began_before: AtomicU64::new(0),
            credit: AtomicUsize::new(0),
            again: AtomicUsize::new(0),
            is_full: AtomicUsize::new(0),
            full_until: AtomicU64::new(0),
        }
    }

    /// Returns the number of parts into which the walk divides the index.
    pub fn parts(&self) -> usize {
        self.walk.parts()
    }

    /// Returns the number before which an input must have changed for writers.
    pub fn long_ago(&self, newest: u64) -> u64 {
        self.began_before.load(Ordering::Relaxed).min(newest.saturating_sub(LATELY))
    }

    pub fn is_needed_again(&self) -> bool {
        self.again.load(Ordering::Relaxed) != 0
    }

    pub fn need_again(&self) {
        if !self.is_needed_again() {
            self.again.store(1, Ordering::Relaxed); // a `DueWork::set` follows, and publishes it
        }
    }

    /// Returns whether something has paid for a part, and takes the payment.
    pub fn pay(&self) -> bool {
        let pay = |credit: usize| credit.checked_sub(1);
        self.credit.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay).is_ok()
    }

    pub fn earn(&self, ended: usize) {
        let earn = |credit: usize| Some((credit + ended * PAID).min(MAX_CREDIT));
        let _ = self.credit.fetch_update(Ordering::Relaxed, Ordering::Relaxed, earn);
    }
}

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// Notes that a value that was committed may end by an input, or that a tag has just ended
    /// values.
    pub(super) fn expect_ended(&self) {
        self.ended.need_again();
        if self.ended.by_writers && !self.due.is_set(due::ENDED) {
            self.due.set(due::ENDED);
        }
    }
}
