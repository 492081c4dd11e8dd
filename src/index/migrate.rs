//! Growth: many threads together move entries from a table into the next one, without waiting.
//!
//! To move a bucket, a thread *freezes* it (no fingerprint is added any more), *copies* its living
//! entries (the same numbers, into the next table), and marks it *moved*. Any thread may move any
//! bucket at any time, also one that another thread is moving or has moved: every step is
//! idempotent.
//!
//! - **A reader** that does not find its key in its sequence, and met a frozen bucket there, goes
//!   on to the next table. The entries of a frozen bucket stay in it. So an entry that is not yet
//!   copied is found in the old table, and a copied entry is found in either.
//! - **An inserter** that meets a frozen bucket moves its whole sequence, then inserts into the
//!   next table. So the key's old entry is in the next table before a new one could be, and a key
//!   never has two living entries. An inserter that searched a bucket before it was frozen fails to
//!   publish, since freezing changed the header.
//! - **A late copier** brings no dead entry back: it revives what it copies, under its guard. If
//!   that fails, the entry is sealed and is not copied. Otherwise the entry is not sealed before
//!   that guard ends. Until it is sealed, no thread clears the fingerprints that the copier sees or
//!   sets.
//!
//! These properties hold for each key's sequence separately, so there may be any number of
//! successive tables. There are more than two only if a table is exhausted before the move into it
//! is complete: because its size was estimated badly, or because very many inserters hold
//! reservations in it. Then that table is frozen in turn, and its entries move to a larger one. No
//! insert fails or waits for that.
//!
//! Every insert moves a few buckets of the oldest table. Once all are claimed, an insert verifies a
//! longer run of buckets, and moves those that a stalled thread left behind. So completion does not
//! depend on any one thread. The count of verified buckets decides, not a count of moved buckets: a
//! thread that stopped between marking and counting would keep the latter short forever.

use super::bucket::{Bucket, BucketHeader};
use super::place::Placed;
use super::table::Table;
use super::{Index, Indexed, Memory};
use crate::memory::Mapped;
use crate::reclaim::{Garbage, Reclaim};
use crate::sync::{Ordering, hook};
use std::num::NonZeroU32;
use std::ptr::{self, NonNull};

/// The number of buckets that one insert moves.
const MOVED_PER_INSERT: usize = 8;
/// The number of buckets that one insert verifies, once all are claimed.
const VERIFIED_PER_INSERT: usize = 64;

impl<E: Indexed> Table<E> {
    /// Places the entry `number` in this table or a later one, unless `same` holds for an entry
    /// there.
    ///
    /// # Safety
    /// As for [`place`](Self::place).
    pub(super) unsafe fn place_from<'g>(
        &'g self,
        memory: &E::Memory,
        hash: u32,
        number: NonZeroU32,
        same: &mut impl FnMut(&'g E) -> bool,
        overflowed: &mut bool,
    ) -> Result<(), &'g E> {
        let mut table = self;
        loop {
            // SAFETY: the caller's promise; the guard also protects the tables after this one.
            match unsafe { table.place(memory, hash, number, same, overflowed) } {
                Placed::Here => return Ok(()),
                Placed::Existing(existing) => return Err(existing),
                Placed::Frozen => {}
                Placed::Exhausted => {
                    table.grow(true);
                }
            }
            table = table.move_sequence(memory, hash);
        }
    }

    /// Returns the next table, and makes it if necessary.
    pub(super) fn grow(&self, forced: bool) -> &Self {
        match self.next() {
            Some(next) => next,
            None => self.set_next(Self::new(self.next_size(forced))),
        }
    }

    /// Moves all buckets of a hash's sequence. Returns the table into which they were moved.
    fn move_sequence(&self, memory: &E::Memory, hash: u32) -> &Self {
        // A bucket is frozen only if there is a next table, and an exhausted table just got one.
        let next = self.grow(true);
        for bucket in self.probe(hash) {
            let header = if hook::mutant("index.insert_without_copying") {
                bucket.freeze()
            } else {
                self.move_bucket(memory, bucket, next)
            };
            if !header.is_overflowed() {
                break;
            }
        }
        next
    }

    /// Moves one bucket, unless it is moved. Returns its header, which then changes only by cleared
    /// fingerprints.
    fn move_bucket(&self, memory: &E::Memory, bucket: &Bucket<E>, next: &Self) -> BucketHeader {
        let header = bucket.header();
        if header.is_moved() {
            return header;
        }
        let header = bucket.freeze();
        hook::step("index.frozen");
        for slot in header.occupied() {
            // SAFETY: the slot is occupied in a header that was loaded under the caller's guard.
            let entry: &E = unsafe { bucket.entry(memory, slot) };
            if entry.revive() || hook::mutant("index.copy_without_reviving") {
                // SAFETY: the guard protects `next`; the caller of `insert` keeps it valid
                // until it is unlinked. An error means that another thread has copied it.
                let _ = unsafe {
                    next.place_from(
                        memory,
                        entry.hash(),
                        memory.number(NonNull::from(entry)),
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

    /// Does a bounded part of moving this table into `next`. Returns true if all of it is moved.
    fn move_some(&self, memory: &E::Memory, next: &Self) -> bool {
        let progress = &*self.progress;
        // Relaxed, both: claims only distribute the work, and any bucket may be moved twice.
        if progress.claimed.load(Ordering::Relaxed) < self.len() {
            let start = progress.claimed.fetch_add(MOVED_PER_INSERT, Ordering::Relaxed);
            let claimed = start..self.len().min(start + MOVED_PER_INSERT);
            // Most of the time goes into waiting for the entries. So all are asked for at once.
            for number in claimed.clone() {
                self.bucket(number).prefetch_entries(memory);
            }
            for number in claimed {
                self.move_bucket(memory, self.bucket(number), next);
            }
            if start + MOVED_PER_INSERT < self.len() {
                return false;
            }
        }
        // Acquire: pairs with the Release below. So what other threads have verified is also moved
        // for this thread, and for all threads that see the root that this one may set.
        let start = progress.verified.load(Ordering::Acquire);
        let end = self.len().min(start + VERIFIED_PER_INSERT);
        for number in start..end {
            self.move_bucket(memory, self.bucket(number), next);
        }
        if start < end {
            // Release: pairs with the load above. On failure, another thread has verified the same
            // buckets.
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
    /// Does a bounded part of the move from `table`, the root, to `next`.
    #[cold]
    #[inline(never)]
    pub(super) fn move_on(
        &self,
        reclaim: &R,
        guard: &R::Guard<'_>,
        table: &Table<E>,
        next: &Table<E>,
    ) {
        if table.move_some(&self.memory, next) {
            self.promote(reclaim, guard, table, next);
        }
    }

    /// Replaces the root `table`, all of which is moved, by `next`.
    fn promote(&self, reclaim: &R, guard: &R::Guard<'_>, table: &Table<E>, next: &Table<E>) {
        hook::step("index.promote");
        let (old, new) = (ptr::from_ref(table).cast_mut(), ptr::from_ref(next).cast_mut());
        // Release: pairs with the load in `root`. A thread that begins at `next` sees all copies in
        // it. The CAS cannot confuse this table with another one at the same address, since the
        // guard keeps this table from being freed. Relaxed on failure: another thread has replaced
        // it.
        if self.root.compare_exchange(old, new, Ordering::Release, Ordering::Relaxed).is_ok() {
            self.renew_hint(guard);
            let garbage =
                Garbage { object: old.cast(), context: ptr::null(), reclaim: free_table::<E> };
            // SAFETY: the root no longer leads to this table, and nothing else ever did (no table
            // before it is left). Only the thread whose CAS succeeded retires it. Any thread may
            // free it at any time: it refers to entries but owns none.
            unsafe { reclaim.retire(guard, garbage) };
            reclaim.hurry();
        }
    }

    /// Sets the hint of where the buckets are. A thread that is late sets it again, so the last hint
    /// is that of the last root.
    fn renew_hint(&self, guard: &R::Guard<'_>) {
        if cfg!(coeval_loom) {
            return; // Models do not prefetch.
        }
        loop {
            let root = self.root(guard);
            self.near.set(root);
            if ptr::eq(root, self.root(guard)) {
                return;
            }
        }
    }

    /// Begins a move to a larger table, for the models.
    #[cfg(any(coeval_loom, coeval_internals))]
    pub fn begin_growth(&self, guard: &R::Guard<'_>) {
        self.root(guard).grow(true);
    }

    /// Begins a move to a smaller table if most of this one is empty and no move is under way. It
    /// inspects a bounded number of buckets, so it is worth a call after many removals. Later
    /// inserts, or calls of `assist`, do the moving.
    pub fn shrink(&self, guard: &R::Guard<'_>) {
        let table = self.root(guard);
        if table.next().is_none() && table.is_sparse() {
            table.grow(false);
        }
    }

    /// Begins to rebuild the table if it is crowded, unless it is already being moved.
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
/// `table` is a mapped `Table<E>`, and no thread uses it any more.
unsafe fn free_table<E>(table: *mut (), _: *const ()) {
    // SAFETY: the caller's promise.
    drop(unsafe { Mapped::from_raw(table.cast::<Table<E>>()) });
}
