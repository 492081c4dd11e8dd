//! Growth: how entries move from a table into the next one, by many hands and without waiting.
//!
//! A bucket is *frozen* (no tag is added any more), its living entries are *copied* (the same
//! pointer, into the next table), and it is marked *moved*. Anyone may move any bucket at any time,
//! also one that another thread is moving or has moved: every step may be repeated.
//!
//! - **A reader** that meets a frozen bucket in its sequence and does not find its key there goes on
//!   to the next table. What was in the frozen bucket stays in it, so a copy that is not made yet is
//!   found in its old place, and one that is made is found in either.
//! - **An inserter** that meets a frozen bucket moves its whole sequence, then inserts into the next
//!   table. So the key's old entry is in the next table before a new one could be: no two living
//!   entries of one key. An inserter that had searched a bucket before it was frozen fails to
//!   publish, since freezing changed the header.
//! - **A late copier** brings no dead entry back: it revives what it copies, under its guard. Either
//!   that fails since the entry is sealed, and it is left out; or the entry is not sealed before that
//!   guard ends, and until it is sealed nobody takes away the tags that the copier sees or sets.
//!
//! These hold for each key's sequence by itself, so there may be any number of tables in a row. There
//! are more than two only when a table is exhausted before the move into it is complete: its size was
//! estimated badly, or very many inserters hold reservations in it. Then it is frozen in its turn and
//! entries go on to a larger one; no insert fails or waits for that.
//!
//! Every insert moves a few buckets of the oldest table. When all are claimed it verifies a longer run
//! of them, and moves what a stalled thread left behind; so the end does not depend on anyone. The
//! verified count, not a count of moved buckets, decides: a thread that stopped between marking and
//! counting would keep such a count short forever.

use super::bucket::{Bucket, Header};
use super::table::{Placed, Table};
use super::{Index, Indexed};
use crate::memory::Mapped;
use crate::reclaim::{Garbage, Reclaim};
use crate::sync::{Ordering, hook};
use std::ptr::{self, NonNull};

/// Buckets that one insert moves.
const MOVE: usize = 8;
/// Buckets that one insert verifies, when all are claimed.
const VERIFY: usize = 64;

impl<E: Indexed> Table<E> {
    /// Places `entry` in this table or one after it, unless `same` holds for an entry there.
    ///
    /// # Safety
    /// As for [`place`](Self::place).
    pub(super) unsafe fn place_from<'g>(
        &'g self,
        hash: u32,
        entry: NonNull<E>,
        same: &mut impl FnMut(&'g E) -> bool,
        overflowed: &mut bool,
    ) -> Result<(), &'g E> {
        let mut table = self;
        loop {
            // SAFETY: the caller's clause; the guard protects the tables after this one too.
            match unsafe { table.place(hash, entry, same, overflowed) } {
                Placed::Here => return Ok(()),
                Placed::Met(met) => return Err(met),
                Placed::Frozen => {}
                Placed::Exhausted => {
                    table.grow(true);
                }
            }
            table = table.move_sequence(hash);
        }
    }

    /// The next table, made now if there is none.
    pub(super) fn grow(&self, forced: bool) -> &Self {
        match self.next() {
            Some(next) => next,
            None => self.set_next(Self::new(self.next_size(forced))),
        }
    }

    /// Moves all buckets of a hash's sequence. The table that they went to.
    fn move_sequence(&self, hash: u32) -> &Self {
        // A bucket is frozen only when there is a next table, and an exhausted one has just got one.
        let next = self.grow(true);
        for bucket in self.probe(hash) {
            let header = if hook::mutant("index.insert_without_copying") {
                bucket.freeze()
            } else {
                self.move_bucket(bucket, next)
            };
            if !header.is_overflowed() {
                break;
            }
        }
        next
    }

    /// Moves one bucket, unless that is done. Its header: final but for tags that are cleared.
    fn move_bucket(&self, bucket: &Bucket<E>, next: &Self) -> Header {
        let header = bucket.header();
        if header.is_moved() {
            return header;
        }
        let header = bucket.freeze();
        hook::step("index.frozen");
        for slot in header.occupied() {
            // SAFETY: tagged in a header that was loaded under the caller's guard.
            let entry: &E = unsafe { bucket.entry(slot) };
            if entry.revive() || hook::mutant("index.copy_without_reviving") {
                // SAFETY: the guard protects `next`; the entry stays valid until it is unlinked, by
                // whoever inserted it. Met: another thread has copied it.
                let _ = unsafe {
                    next.place_from(
                        entry.hash(),
                        NonNull::from(entry),
                        &mut |there| ptr::eq(there, entry),
                        &mut false,
                    )
                };
                hook::step("index.copied");
            }
        }
        bucket.mark_moved();
        hook::step("index.moved");
        header
    }

    /// Does a bounded part of moving this table into `next`. True if all of it is moved.
    fn move_some(&self, next: &Self) -> bool {
        let progress = &*self.progress;
        // Relaxed, both: who claims what is a matter of speed alone; any bucket may be moved twice.
        if progress.claimed.load(Ordering::Relaxed) < self.len() {
            let start = progress.claimed.fetch_add(MOVE, Ordering::Relaxed);
            for number in start..self.len().min(start + MOVE) {
                self.move_bucket(self.bucket(number), next);
            }
            if start + MOVE < self.len() {
                return false;
            }
        }
        // Acquire: pairs with the release below. What others have verified is moved for us too, and
        // so for all who see the root that we may set.
        let start = progress.verified.load(Ordering::Acquire);
        let end = self.len().min(start + VERIFY);
        for number in start..end {
            self.move_bucket(self.bucket(number), next);
        }
        if start < end {
            // Release: pairs with the load above. A failure means that another thread has verified
            // the same buckets.
            let _ = progress.verified.compare_exchange(
                start,
                end,
                Ordering::Release,
                Ordering::Relaxed,
            );
        }
        end == self.len()
    }
}

impl<E: Indexed, R: Reclaim> Index<E, R> {
    /// Does a bounded part of a move that is under way. Every insert does this; a caller that inserts
    /// nothing for long may do it to have readers back on one table. False if nothing is to be moved.
    pub fn assist(&self, reclaim: &R, guard: &R::Guard<'_>) -> bool {
        let table = self.root(guard);
        let Some(next) = table.next() else { return false };
        if table.move_some(next) {
            self.promote(reclaim, guard, table, next);
        }
        true
    }

    /// Makes `next` the first table in the place of `table`, all of which is moved.
    fn promote(&self, reclaim: &R, guard: &R::Guard<'_>, table: &Table<E>, next: &Table<E>) {
        hook::step("index.promote");
        let (old, new) = (ptr::from_ref(table).cast_mut(), ptr::from_ref(next).cast_mut());
        // Release: pairs with the load in `root`: whoever begins at `next` sees all that was copied
        // into it. The CAS cannot take another table at the same address for ours: the guard keeps
        // ours from being freed. Relaxed on failure: another thread did it.
        if self.root.compare_exchange(old, new, Ordering::Release, Ordering::Relaxed).is_ok() {
            let garbage =
                Garbage { object: old.cast(), context: ptr::null(), reclaim: free_table::<E> };
            // SAFETY: the root leads to this table no more and nothing else ever did (no table before
            // it is left), and only the thread whose CAS succeeded retires it. It may be freed from
            // any thread at any time: it refers to entries but owns none.
            unsafe { reclaim.retire(guard, garbage) };
            reclaim.hurry();
        }
    }

    /// Begins to move to a larger table, for the models.
    #[cfg(coeval_loom)]
    pub fn begin_growth(&self, guard: &R::Guard<'_>) {
        self.root(guard).grow(true);
    }

    /// Begins to move to a smaller table if most of this one is empty, and no move is under way. It
    /// looks at some hundred buckets: worth a call after much was removed. The next inserts, or calls
    /// of `assist`, do the moving.
    pub fn shrink(&self, guard: &R::Guard<'_>) {
        let table = self.root(guard);
        if table.next().is_none() && table.is_sparse() {
            table.grow(false);
        }
    }

    /// Begins to rebuild the table if it is crowded, and not while a move into it is under way: then
    /// it has just been given room.
    #[cold]
    pub(super) fn consider_growth(&self, guard: &R::Guard<'_>) {
        let table = self.root(guard);
        if table.next().is_none() && table.is_crowded() {
            table.grow(false);
        }
    }
}

/// Frees a retired table.
///
/// # Safety
/// `table` is a mapped `Table<E>`, and nobody uses it any more.
unsafe fn free_table<E>(table: *mut (), _: *const ()) {
    // SAFETY: the caller's clauses.
    drop(unsafe { Mapped::from_raw(table.cast::<Table<E>>()) });
}
