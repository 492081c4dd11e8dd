//! One table: a power-of-two number of buckets, with linear probing from a hash's home bucket; and
//! the look-ups, which search tables.
//!
//! The *sequence* of a hash in a table is its home bucket and, after each bucket that has
//! overflowed, the next one. An overflowed bucket admits no more entries. So an entry goes into the
//! last bucket of its sequence, and a sequence only grows.

use super::bucket::{Bucket, BucketHeader, Fingerprint};
use super::{Index, Indexed};
use crate::memory::{Mapped, Zeroed};
use crate::reclaim::Reclaim;
use crate::sync::{AtomicPtr, AtomicUsize, Ordering, hook, prefetch};
use crossbeam_utils::CachePadded;
use std::ptr;

/// The result of [`Index::peek`].
pub enum Peek<'g, E> {
    /// The entry, which may be sealed.
    Found(&'g E),
    /// The index has no such entry.
    Absent,
    /// The entry is not where it usually is, but may be elsewhere.
    Elsewhere,
}

/// The last bucket of a sequence without a certain entry, as it was when it was searched.
pub struct Vacancy<'g, E> {
    pub(super) bucket: &'g Bucket<E>,
    pub(super) header: BucketHeader,
    pub(super) fingerprint: Fingerprint,
}

/// The address of a table's buckets, and its mask. The two may be those of different tables for a
/// while, or those of a table that has been freed.
pub(super) struct BucketsHint {
    buckets: AtomicUsize,
    mask: AtomicUsize,
}

// All accesses are Relaxed: a hint.
impl BucketsHint {
    pub(super) fn new<E: Indexed>(table: &Table<E>) -> Self {
        let hint = Self { buckets: AtomicUsize::new(0), mask: AtomicUsize::new(0) };
        hint.set(table);
        hint
    }

    pub(super) fn set<E: Indexed>(&self, table: &Table<E>) {
        self.buckets.store(table.buckets.as_ptr().addr(), Ordering::Relaxed);
        self.mask.store(table.mask, Ordering::Relaxed);
    }

    /// Returns the address where the home bucket of a hash may be.
    #[inline(always)]
    fn home<E>(&self, hash: u32) -> *const Bucket<E> {
        let number = hash as usize & self.mask.load(Ordering::Relaxed);
        let offset = number.wrapping_mul(size_of::<Bucket<E>>());
        ptr::without_provenance(self.buckets.load(Ordering::Relaxed).wrapping_add(offset))
    }
}

/// A table, and the progress of its move into the next one.
pub(super) struct Table<E> {
    // This cache line is read-only, except for `next`, which changes once.
    mask: usize,
    buckets: Zeroed<Bucket<E>>,
    next: AtomicPtr<Table<E>>,
    pub(super) progress: CachePadded<Progress>,
}

/// The part of a table that changes while it fills and is moved.
pub(super) struct Progress {
    /// The number of overflowed buckets (fewer until the thread that set a flag has counted it).
    pub(super) overflowed: AtomicUsize,
    /// Some thread has claimed all buckets below this, in order to move them.
    pub(super) claimed: AtomicUsize,
    /// All buckets below this were verified to be moved.
    pub(super) verified: AtomicUsize,
}

impl<E> Table<E> {
    /// Returns the address of the next table, for the exclusive owner of all tables.
    pub(super) fn next_pointer(&self) -> *mut Self {
        self.next.load(Ordering::Relaxed) // Relaxed: the caller is the exclusive owner.
    }
}

impl<E: Indexed> Table<E> {
    pub(super) fn new(buckets: usize) -> Mapped<Self> {
        debug_assert!(buckets.is_power_of_two());
        Mapped::new(Self {
            mask: buckets - 1,
            buckets: Zeroed::new(buckets),
            next: AtomicPtr::new(ptr::null_mut()),
            progress: CachePadded::new(Progress {
                overflowed: AtomicUsize::new(0),
                claimed: AtomicUsize::new(0),
                verified: AtomicUsize::new(0),
            }),
        })
    }

    pub(super) fn len(&self) -> usize {
        self.mask + 1
    }

    pub(super) fn memory(&self) -> usize {
        size_of::<Self>() + size_of::<Bucket<E>>() * self.len()
    }

    /// Returns the bucket with this number, modulo the size of the table.
    #[inline(always)]
    pub(super) fn bucket(&self, number: usize) -> &Bucket<E> {
        // SAFETY: there are `mask + 1` buckets.
        unsafe { self.buckets.get_unchecked(number & self.mask) }
    }

    /// Returns the home bucket of a hash, where its sequence begins.
    #[inline(always)]
    pub(super) fn home(&self, hash: u32) -> &Bucket<E> {
        self.bucket(hash as usize)
    }

    /// Iterates over all buckets in the order in which `hash` probes them. The caller stops at the
    /// first one that has not overflowed, which ends the sequence.
    pub(super) fn probe(&self, hash: u32) -> impl Iterator<Item = &Bucket<E>> {
        (0..self.len()).map(move |step| self.bucket(hash as usize + step))
    }

    /// Returns the table into which this one is moved, if that has begun.
    #[inline(always)]
    pub(super) fn next(&self) -> Option<&Self> {
        // Acquire: pairs with the CAS in `set_next`.
        // SAFETY: a table is retired after the one before it, so the guard that protects this table
        // also protects the next one. `Index::drop` owns all tables.
        unsafe { self.next.load(Ordering::Acquire).as_ref() }
    }

    /// Makes `fresh` the next table, unless there is one. Returns the next table.
    pub(super) fn set_next(&self, fresh: Mapped<Self>) -> &Self {
        let fresh = Mapped::into_raw(fresh);
        // Release: pairs with `next`, for the table's content. Acquire: for that of the winner's
        // table.
        match self.next.compare_exchange(
            ptr::null_mut(),
            fresh,
            Ordering::Release,
            Ordering::Acquire,
        ) {
            // SAFETY: published just now; protected as in `next`.
            Ok(_) => unsafe { &*fresh },
            Err(winner) => {
                // SAFETY: mapped above, and never published.
                drop(unsafe { Mapped::from_raw(fresh) });
                // SAFETY: published by another thread; protected as in `next`.
                unsafe { &*winner }
            }
        }
    }
}

impl<E: Indexed, R: Reclaim> Index<E, R> {
    /// Returns the oldest table.
    #[inline(always)]
    pub(super) fn root<'g>(&self, _guard: &'g R::Guard<'_>) -> &'g Table<E> {
        // Acquire: pairs with the CAS in `promote`, which publishes the table's content.
        // SAFETY: the root is never null. A table is freed a grace period after it stopped being
        // the root, so not while this guard lives.
        unsafe { &*self.root.load(Ordering::Acquire) }
    }

    /// Returns whether entries are being moved to another table.
    #[inline(always)]
    pub fn is_moving(&self, guard: &R::Guard<'_>) -> bool {
        self.root(guard).next().is_some()
    }

    /// Checks the slots where an entry with this hash usually is. Unlike [`find`](Self::find), it
    /// may return a sealed entry.
    #[inline(always)]
    pub fn peek<'g>(
        &self,
        guard: &'g R::Guard<'_>,
        hash: u32,
        eq: impl Fn(&E) -> bool,
    ) -> Peek<'g, E> {
        let table = self.root(guard);
        let home = table.home(hash);
        let header = home.header();
        let mut slots = header.matching(Fingerprint::new(hash));
        if let Some(slot) = slots.next() {
            // SAFETY: the slot is occupied in a header that was loaded under `guard`.
            let entry = unsafe { home.entry(&self.memory, slot) };
            if E::READ != 0 {
                prefetch::end(entry, E::READ);
            }
            if eq(entry) {
                return Peek::Found(entry);
            }
        }
        if !header.may_continue() && slots.first().is_none() {
            return Peek::Absent;
        }
        if header.is_frozen() { Peek::Elsewhere } else { self.peek_on(table, header, hash, eq) }
    }

    /// Goes on with a look-up in the home bucket, whose header was `header`, and in the next one.
    #[inline(never)]
    fn peek_on<'g>(
        &self,
        table: &'g Table<E>,
        header: BucketHeader,
        hash: u32,
        eq: impl Fn(&E) -> bool,
    ) -> Peek<'g, E> {
        let fingerprint = Fingerprint::new(hash);
        let search = |bucket: &'g Bucket<E>, header| {
            // SAFETY: `header` was loaded under the guard that protects the table.
            unsafe { bucket.search(&self.memory, header, fingerprint, &eq) }
        };
        if let Some(found) = search(table.home(hash), header) {
            return Peek::Found(found);
        }
        if !header.is_overflowed() {
            return Peek::Absent;
        }
        let next = table.bucket(hash as usize + 1);
        let header = next.header();
        match search(next, header) {
            Some(found) => Peek::Found(found),
            None if header.may_continue() => Peek::Elsewhere,
            None => Peek::Absent,
        }
    }

    /// Returns the living entry with this hash for which `eq` holds. Calls `eq` on entries whose
    /// fingerprint matches. Skips sealed entries, but may return a condemned one.
    ///
    /// In most cases, this searches one bucket, or two that are neighbours. At most, it searches
    /// the hash's sequence in every table.
    #[inline(always)]
    pub fn find<'g>(
        &self,
        guard: &'g R::Guard<'_>,
        hash: u32,
        eq: impl FnMut(&E) -> bool,
    ) -> Option<&'g E> {
        self.find_or_vacancy(guard, hash, eq).ok()
    }

    /// Does the same. If there is no such entry, returns where one may be [inserted], unless
    /// entries are being moved.
    ///
    /// [inserted]: Self::insert_into
    #[inline(always)]
    pub fn find_or_vacancy<'g>(
        &self,
        guard: &'g R::Guard<'_>,
        hash: u32,
        mut eq: impl FnMut(&E) -> bool,
    ) -> Result<&'g E, Option<Vacancy<'g, E>>> {
        let table = self.root(guard);
        let fingerprint = Fingerprint::new(hash);
        let bucket = table.home(hash);
        let header = bucket.header();
        let same = |entry: &E| eq(entry) && !entry.is_sealed();
        // SAFETY: `header` was loaded under `guard`.
        let found = unsafe { bucket.search(&self.memory, header, fingerprint, same) };
        match found {
            Some(found) => Ok(found),
            None if !header.may_continue() => Err(Some(Vacancy { bucket, header, fingerprint })),
            // SAFETY: `guard` protects the tables reached from the root.
            None => unsafe { find_rest(&self.memory, table, header, hash, eq) },
        }
    }

    /// Prefetches the hash's home bucket.
    #[inline(always)]
    pub fn prefetch(&self, guard: &R::Guard<'_>, hash: u32) {
        prefetch::line(self.root(guard).home(hash));
    }

    /// Prefetches the hash's home bucket, without a guard.
    #[inline(always)]
    pub fn prefetch_early(&self, hash: u32) {
        if !cfg!(coeval_loom) {
            prefetch::line(self.near.home::<E>(hash));
        }
    }

    /// Returns the first entry in the home bucket whose fingerprint matches, for the caller to
    /// prefetch. It is usually the entry that a look-up finds.
    #[inline(always)]
    pub fn candidate<'g>(&self, guard: &'g R::Guard<'_>, hash: u32) -> Option<&'g E> {
        let home = self.root(guard).home(hash);
        let slot = home.header().matching(Fingerprint::new(hash)).first()?;
        // SAFETY: the slot is occupied in a header that was loaded under `guard`.
        Some(unsafe { home.entry(&self.memory, slot) })
    }
}

/// Continues a look-up that did not end in its home bucket, whose header was `header`. If there is
/// no such entry, returns where one may be inserted, unless entries are being moved.
///
/// # Safety
/// The caller's guard protects `table` and those after it, for the lifetime of the reference.
#[inline(never)]
unsafe fn find_rest<'g, E: Indexed>(
    memory: &E::Memory,
    mut table: &'g Table<E>,
    mut header: BucketHeader,
    hash: u32,
    mut eq: impl FnMut(&E) -> bool,
) -> Result<&'g E, Option<Vacancy<'g, E>>> {
    let fingerprint = Fingerprint::new(hash);
    let mut same = |entry: &E| eq(entry) && !entry.is_sealed();
    let mut buckets = table.probe(hash);
    buckets.next(); // The caller has searched the home bucket.
    loop {
        let mut frozen = header.is_frozen();
        let mut last = None;
        while header.is_overflowed() {
            let Some(bucket) = buckets.next() else { break };
            header = bucket.header();
            frozen |= header.is_frozen();
            last = Some(bucket);
            // SAFETY: `header` was loaded under the caller's guard.
            let found = unsafe { bucket.search(memory, header, fingerprint, &mut same) };
            if let Some(found) = found {
                return Ok(found);
            }
        }
        if !frozen || hook::mutant("index.reader_stays") {
            // As in `place`, an entry may be added to the last bucket of the sequence alone.
            let last = last.filter(|_| !header.may_continue());
            return Err(last.map(|bucket| Vacancy { bucket, header, fingerprint }));
        }
        // FROZEN was published together with the next table (see `Bucket::freeze`).
        table = table.next().ok_or(None)?;
        buckets = table.probe(hash);
        let home = buckets.next().ok_or(None)?;
        header = home.header();
        // SAFETY: as above.
        let found = unsafe { home.search(memory, header, fingerprint, &mut same) };
        if let Some(found) = found {
            return Ok(found);
        }
    }
}
