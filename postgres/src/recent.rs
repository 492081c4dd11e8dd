//! Transactions that the stream has told of, and that snapshots of the server may not see yet.
//!
//! A transaction is in the log, and so in the stream, before it is visible: the server makes it
//! visible after its commit record is flushed, and, with synchronous replication, after the
//! standbys have answered. So a read may begin after the cache was told of a transaction, and still
//! not see it. What it brings must not be cached: nobody would end it.

use crate::fence::Snapshot;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// How many transactions may be waiting for a snapshot that sees them.
const ROOM: usize = 1 << 16;

/// The numbers of the transactions that were applied last, in their order. One thread pushes; any
/// thread asks.
pub(crate) struct Recent {
    numbers: Box<[AtomicU32]>,
    applied: AtomicU64,
    /// How many of the applied ones were all seen by one snapshot. Later snapshots see them, too.
    visible: AtomicU64,
}

/// There are more transactions that no snapshot has seen than there is room for.
#[derive(Debug)]
pub(crate) struct Overrun;

impl Recent {
    pub fn new() -> Self {
        Self {
            numbers: (0..ROOM).map(|_| AtomicU32::new(0)).collect(),
            applied: AtomicU64::new(0),
            visible: AtomicU64::new(0),
        }
    }

    /// Notes that a transaction is about to be applied. Returns how many are waiting. Called by one
    /// thread at a time.
    pub fn push(&self, transaction: u32) -> Result<u64, Overrun> {
        let applied = self.applied.load(Ordering::Relaxed); // written by this thread only
        let waiting = applied - self.visible.load(Ordering::Acquire);
        if waiting >= ROOM as u64 {
            return Err(Overrun);
        }
        // Release: pairs with the load in `are_visible`.
        self.slot(applied).store(transaction, Ordering::Release);
        // Release: pairs with `to_see`. Whoever sees the count finds the number.
        self.applied.store(applied + 1, Ordering::Release);
        Ok(waiting + 1)
    }

    /// Whether it is time to ask for a snapshot, since so many are waiting for one: now and then
    /// from when half of the room is taken.
    pub fn is_filling(waiting: u64) -> bool {
        let (half, step) = (ROOM as u64 / 2, ROOM as u64 / 16);
        waiting >= half && waiting.is_multiple_of(step)
    }

    /// Forgets what was pushed, since everything was cleared. Called by the thread that pushes.
    pub fn forget(&self) {
        let applied = self.applied.load(Ordering::Relaxed); // written by this thread only
        self.visible.fetch_max(applied, Ordering::AcqRel);
    }

    /// Those that a read must see that begins now. Asked after a lease was taken: all that were
    /// applied before the lease are among them, because their numbers were pushed before their
    /// commit, which the lease saw; or snapshots have seen them before.
    pub fn to_see(&self) -> Range<u64> {
        // Acquire, twice: pairs with the fetch_max in `are_visible`, and with `push`.
        let visible = self.visible.load(Ordering::Acquire);
        visible..self.applied.load(Ordering::Acquire).max(visible)
    }

    /// Whether a snapshot sees the transactions that `to_see` returned before it was taken.
    pub fn are_visible(&self, to_see: Range<u64>, snapshot: &Snapshot) -> bool {
        // Acquire: pairs with the store in `push`. If it was one for a later transaction, in the
        // same slot, then the count below tells.
        let sees = |at| snapshot.sees(self.slot(at).load(Ordering::Acquire));
        if !to_see.clone().all(sees) || self.applied() >= to_see.start + ROOM as u64 {
            return false;
        }
        // Release: pairs with the loads of `visible`. `push` takes a slot only after these reads.
        self.visible.fetch_max(to_see.end, Ordering::AcqRel);
        true
    }

    fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire) // pairs with `push`
    }

    fn slot(&self, at: u64) -> &AtomicU32 {
        &self.numbers[at as usize % ROOM]
    }
}

#[cfg(test)]
mod tests {
    use super::{ROOM, Recent};
    use crate::fence::{Fence, Snapshot};

    fn snapshot(text: &str) -> Snapshot {
        format!("{text} 0/1").parse::<Fence>().unwrap().snapshot
    }

    #[test]
    fn a_transaction_that_a_snapshot_does_not_see_is_found() {
        let recent = Recent::new();
        assert!(recent.are_visible(recent.to_see(), &snapshot("5:5:")), "none was applied");
        for transaction in [12, 10, 11] {
            recent.push(transaction).unwrap();
        }
        let to_see = recent.to_see();
        assert!(!recent.are_visible(to_see.clone(), &snapshot("10:13:10")));
        assert!(recent.are_visible(to_see.clone(), &snapshot("13:13:")));
        assert!(
            !recent.are_visible(to_see, &snapshot("10:13:10")),
            "that a later snapshot sees them does not help an earlier one"
        );
        assert!(recent.to_see().is_empty(), "all later snapshots see them");
    }

    #[test]
    fn room_is_bounded() {
        let recent = Recent::new();
        for transaction in 0..ROOM as u32 {
            recent.push(transaction + 3).unwrap();
        }
        assert!(recent.push(1).is_err());
        let next = ROOM + 3;
        let all = snapshot(&format!("{next}:{next}:"));
        let early = recent.to_see();
        assert!(!recent.are_visible(early.clone(), &all), "the first slot may be taken any time");
        recent.forget();
        recent.push(next as u32).unwrap();
        assert!(!recent.are_visible(recent.to_see(), &all));
        assert!(!recent.are_visible(early, &all), "a slot was taken");
    }
}
