//! What the policy asks the engine, and what it tells the engine to do.

use crate::queue::Handle;

/// Whether to spare an entry that would otherwise be evicted, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpareDecision {
    /// Evict the entry.
    Evict,
    /// Spare the entry: the thread that makes room has brought it. The front of the other queue is
    /// tried first.
    SpareOwn,
    /// Spare the entry: another thread has brought it just now. It moves to main, so that it does
    /// not hold up the new entries.
    SpareOther,
    /// Spare the entry, which the thread has brought: there seems to be nothing else to evict. The
    /// search ends if no queue has another entry by now.
    EndSearch,
}

/// What came of an eviction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvictionOutcome {
    /// The value was removed.
    pub is_gone: bool,
    /// The engine has taken the handle back, as [`release`](Residents::release) would.
    pub is_released: bool,
}

/// The engine as the policy sees it. The documentation of the [room](super) states the contract.
pub trait Residents {
    /// Returns the total weight of the present entries.
    fn weight(&self) -> u64;
    /// Returns the number of present entries.
    fn count(&self) -> u64;
    /// Returns the hash of the entry's key.
    fn hash(&self, entry: Handle) -> u32;
    /// Returns the entry's hit counter, at most [`HITS`](super::HITS) and zero at its admission;
    /// `None` if the entry has no value.
    fn hits(&self, entry: Handle) -> Option<u32>;
    /// Announces a question about the entry. The handle may already be released.
    fn prefetch(&self, _entry: Handle) {}
    /// Announces that the entry is likely to be evicted. The policy held the handle during the
    /// caller's guard. Returns the hash of the entry's key.
    fn prefetch_to_evict(&self, entry: Handle) -> u32 {
        self.hash(entry)
    }
    /// Sets the hit counter.
    fn set_hits(&self, entry: Handle, hits: u32);
    /// Decides whether to spare an entry that would otherwise be evicted. Eventually returns
    /// [`SpareDecision::Evict`] or [`SpareDecision::EndSearch`].
    fn spare(&self, entry: Handle) -> SpareDecision;
    /// Makes the thread's changes of the weight visible to other threads, unless they are small.
    /// The policy calls this before an eviction.
    fn publish(&self) {}
    /// Removes the entry's value, unless the entry has none or is being changed.
    fn evict(&self, entry: Handle) -> EvictionOutcome;
    /// Takes the handle back from the policy. Returns false if the policy must keep it, because a
    /// value became present meanwhile whose writer found the handle held.
    fn release(&self, entry: Handle) -> bool;
}
