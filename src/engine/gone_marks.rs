//! Which keys may have been removed, or may have left the cache, and which tags may have been
//! invalidated, while a file is being restored.
//!
//! A restore must not bring back what was removed, or what is older than a value that has left
//! meanwhile. The record of a key knows its newest commit, but a removal of a key of which there is
//! no record leaves none, and a record ends some time after its value. So each removal leaves a
//! mark here *before* it looks for the record, and each record *before* it ends. A restore holds
//! the record of an entry, and looks for a mark *after* that. Either the removal finds a record
//! that is held, on which it leaves a tombstone, or the restore finds the mark.
//!
//! In the same way an invalidation of a tag leaves a mark before it looks for the tag's cell, and a
//! restore makes the cell before it looks for the mark. (`tag_marks.rs` has the number of the last
//! invalidation with each mark, for loads. So there are few of those marks, and they would tell
//! less after many invalidations.)
//!
//! Keys and tags with equal low bits in their hashes share a mark. So a restore may leave an entry
//! out without need.

use crate::sync::hook::mutant;
use crate::sync::lazy_array::LazyArray;
use crate::sync::{AtomicU32, AtomicU64, Ordering, fence};

/// The number of marks.
const MARKS: usize = if cfg!(coeval_loom) { WORD } else { 1 << 20 };
/// The marks of one word.
const WORD: usize = 64;

/// The marks of one cache.
pub struct GoneMarks {
    /// 1 while marks are left.
    on: AtomicU32,
    /// Made when they are used first, and kept as long as the cache.
    words: LazyArray<Box<[AtomicU64]>, 1>,
}

impl GoneMarks {
    pub fn new() -> Self {
        Self { on: AtomicU32::new(0), words: LazyArray::new() }
    }

    fn words(&self) -> &[AtomicU64] {
        self.words.get_or_make(0, || (0..MARKS / WORD).map(|_| AtomicU64::new(0)).collect())
    }

    /// Begins to leave marks. No other thread knows the cache yet.
    pub fn begin(&self) {
        self.words();
        self.on.store(1, Ordering::Relaxed); // Relaxed: what makes the cache known publishes this
    }

    /// Ends to leave marks.
    pub fn end(&self) {
        self.on.store(0, Ordering::Relaxed); // Relaxed: threads may notice a little later
    }

    /// Notes that the key with this hash is about to be removed, that its record is about to end,
    /// or that the tag with this hash is about to be invalidated.
    #[inline(always)]
    pub fn note(&self, hash: u32) {
        // Models of whole caches restore nothing. The load would only multiply their schedules.
        if !cfg!(coeval_loom) && self.on.load(Ordering::Relaxed) != 0 {
            self.note_now(hash);
        }
    }

    /// The same, while marks are left.
    #[cold]
    #[inline(never)]
    pub fn note_now(&self, hash: u32) {
        let mark = hash as usize % MARKS;
        // Relaxed: the fence orders it.
        self.words()[mark / WORD].fetch_or(1 << (mark % WORD), Ordering::Relaxed);
        if !mutant("gone.unfenced") {
            fence(Ordering::SeqCst); // partner: the fence in `GroupWork::restore`
        }
    }

    /// Returns whether the key with this hash may have been removed, or the tag invalidated. The
    /// caller holds the record or the cell, and has run a fence since.
    pub fn is_noted(&self, hash: u32) -> bool {
        let mark = hash as usize % MARKS;
        // Relaxed: the caller's fence orders it.
        self.words()[mark / WORD].load(Ordering::Relaxed) & 1 << (mark % WORD) != 0
    }
}
