//! Which tags may have been invalidated of late, by the hashes of the tags.
//!
//! The cell of a tag knows the commits that invalidated the tag, but it exists only while some
//! version has the tag. A load that gives its value a tag of which there was no cell could miss an
//! invalidation that came while it was running. So each invalidation leaves a mark here *before* it
//! looks for the cell, and a load looks for a mark *after* it has made the cell. Either the
//! invalidation finds the cell, or the load finds the mark.
//!
//! Tags with equal low bits in their hashes share a mark. A load may therefore be refused without
//! need, if another tag was invalidated meanwhile.

use crate::sync::hook::mutant;
use crate::sync::{AtomicU64, Ordering, fence};

/// The number of marks.
const MARKS: usize = if cfg!(coeval_loom) { 1 } else { 256 };

/// For each class of tags, a number that is larger than that of every commit before the newest
/// invalidation of one of them.
pub(super) struct TagMarks([AtomicU64; MARKS]);

impl TagMarks {
    pub fn new() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }

    fn mark(&self, hash: u32) -> &AtomicU64 {
        #[allow(clippy::modulo_one)] // Models have one mark.
        let mark = hash as usize % MARKS;
        &self.0[mark]
    }

    /// Notes that a tag is about to be invalidated. `newest` is a number that the clock showed
    /// since the caller came.
    pub fn note(&self, hash: u32, newest: u64) {
        // Relaxed: the fence orders it.
        self.mark(hash).fetch_max(newest + 1, Ordering::Relaxed);
        fence(Ordering::SeqCst); // partner: the fence in `is_noted_since`
    }

    /// Returns whether the tag, whose cell the caller has made or found, may have been invalidated
    /// after `since` without a trace in the cell.
    pub fn is_noted_since(&self, hash: u32, since: u64) -> bool {
        fence(Ordering::SeqCst); // partner: the fence in `note`
        // Relaxed: the fence orders it
        self.mark(hash).load(Ordering::Relaxed) > since && !mutant("tag.unmarked")
    }
}
