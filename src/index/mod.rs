//! The index: a lock-free hash table from keys to entries.
//!
//! It knows neither keys nor values: callers bring a hash and say which entry is the right one. It
//! owns its tables, not the entries.
//!
//! The life of an entry, as the index sees it: *inserted* (a tag in a bucket is what makes it findable)
//! → *sealed* by its owner, a grace period after it was condemned → *unlinked* (its tags are cleared in
//! all tables) → a grace period → *released* (its slots may be used again) and freed.

mod bucket;
mod iterate;
mod migrate;
mod table;
#[cfg(all(test, not(coeval_loom)))]
mod tests;

use crate::memory::{Mapped, prefetch};
use crate::reclaim::Reclaim;
use crate::sync::{AtomicPtr, Ordering, hook};
use bucket::{Header, Tag};
use std::marker::PhantomData;
use std::ptr::NonNull;
use table::Table;

/// What an index points to.
pub trait Indexed {
    /// How many bytes, from its beginning, who finds the entry usually reads; 0 if they never lie in two
    /// cache lines.
    const READ: usize;

    /// The 32 bits of the hash under which the entry was inserted. Never changes, never panics.
    fn hash(&self) -> u32;

    /// Makes sure that the entry stays alive for the rest of the caller's guard: takes off a mark
    /// that condemned it. False if it is sealed, which is for good. Never panics.
    ///
    /// It is not sealed during a guard under which this returned true: a grace period lies between
    /// condemning an entry and sealing it.
    fn revive(&self) -> bool;

    /// Whether it is sealed.
    fn is_sealed(&self) -> bool;
}

/// What a look at one place tells.
pub enum Peek<'g, E> {
    /// This entry is there, perhaps sealed.
    Met(&'g E),
    /// There is none.
    Absent,
    /// There is none in this place.
    Beyond,
}

/// A lock-free hash table from keys to entries of type `E`. Tables that were outgrown are retired
/// through `R`; guards must be guards of the one instance that `insert` and `assist` are given.
pub struct Index<E, R: Reclaim> {
    /// The oldest table that is not moved completely. The others hang on it.
    root: AtomicPtr<Table<E>>,
    /// It is `Send` and `Sync` only as entries are.
    entries: PhantomData<E>,
    retires_through: PhantomData<fn(&R)>,
}

impl<E: Indexed, R: Reclaim> Index<E, R> {
    /// An index with room for `entries` entries before it grows.
    pub fn with_capacity(entries: usize) -> Self {
        Self {
            root: AtomicPtr::new(Mapped::into_raw(Table::with_capacity(entries))),
            entries: PhantomData,
            retires_through: PhantomData,
        }
    }

    /// The oldest table.
    #[inline(always)]
    fn root<'g>(&self, _guard: &'g R::Guard<'_>) -> &'g Table<E> {
        // Acquire: pairs with the CAS in `promote`, for what is in the table.
        // SAFETY: the root is never null, and a table is freed a grace period after the root left
        // it: not while this guard lives.
        unsafe { &*self.root.load(Ordering::Acquire) }
    }

    /// A look at the one place where an entry with this hash usually is. Unlike [`find`](Self::find) it
    /// may come upon a sealed entry.
    #[inline(always)]
    pub fn peek<'g>(
        &self,
        guard: &'g R::Guard<'_>,
        hash: u32,
        eq: impl FnOnce(&E) -> bool,
    ) -> Peek<'g, E> {
        let home = self.root(guard).home(hash);
        let header = home.header();
        let mut slots = header.matching(Tag::new(hash));
        if let Some(slot) = slots.next() {
            // SAFETY: tagged in a header that was loaded under `guard`.
            let entry = unsafe { home.entry(slot) };
            if E::READ != 0 {
                prefetch::end(entry, E::READ);
            }
            if eq(entry) {
                return Peek::Met(entry);
            }
        }
        let leads_on = header.leads_on() || slots.first().is_some();
        if leads_on { Peek::Beyond } else { Peek::Absent }
    }

    /// The living entry with this hash for which `eq` holds. `eq` is called on entries whose tag
    /// matches. An entry that is sealed is passed over; a condemned one may be returned.
    ///
    /// It searches one bucket, in nearly all cases; at most the hash's sequence in every table.
    #[inline(always)]
    pub fn find<'g>(
        &self,
        guard: &'g R::Guard<'_>,
        hash: u32,
        mut eq: impl FnMut(&E) -> bool,
    ) -> Option<&'g E> {
        let table = self.root(guard);
        let tag = Tag::new(hash);
        let home = table.home(hash);
        let header = home.header();
        // SAFETY: `header` was loaded under `guard`.
        let found = unsafe { home.search(header, tag, |entry| eq(entry) && !entry.is_sealed()) };
        if found.is_some() || !header.leads_on() {
            return found;
        }
        // SAFETY: `guard` protects the tables reached from the root.
        unsafe { find_beyond(table, header, hash, eq) }
    }

    /// Asks for the line of the hash's home bucket.
    #[inline(always)]
    pub fn prefetch(&self, guard: &R::Guard<'_>, hash: u32) {
        prefetch::line(self.root(guard).home(hash));
    }

    /// The first entry in the home bucket whose tag matches, for the caller to prefetch: usually the one
    /// that is meant.
    #[inline(always)]
    pub fn candidate<'g>(&self, guard: &'g R::Guard<'_>, hash: u32) -> Option<&'g E> {
        let home = self.root(guard).home(hash);
        let slot = home.header().matching(Tag::new(hash)).first()?;
        // SAFETY: tagged in a header that was loaded under `guard`.
        Some(unsafe { home.entry(slot) })
    }

    /// Inserts `entry` unless a living entry is there for which `eq` holds: that one, revived, is the
    /// error. On success the entry is published. If `eq` panics, nothing was published.
    ///
    /// # Safety
    /// `entry.hash()` is `hash`. The entry is in no index. It stays valid until it was sealed, then
    /// unlinked, and after a grace period released.
    pub unsafe fn insert<'g>(
        &self,
        reclaim: &R,
        guard: &'g R::Guard<'_>,
        hash: u32,
        entry: NonNull<E>,
        mut eq: impl FnMut(&E) -> bool,
    ) -> Result<(), &'g E> {
        let assisted = self.assist(reclaim, guard);
        let mut overflowed = false;
        // SAFETY: `guard` protects the tables reached from the root; the caller's clauses on `entry`.
        let placed = unsafe {
            self.root(guard).place_from(
                hash,
                entry,
                &mut |there: &E| eq(there) && there.revive(),
                &mut overflowed,
            )
        };
        if assisted || overflowed {
            self.consider_growth(guard);
        }
        placed
    }

    /// Clears the tags of a sealed entry, in every table. Guards that begin afterwards cannot find it.
    ///
    /// It cannot come back: nobody copies a sealed entry, and whoever began to copy it while it lived
    /// has ended that guard, for it was not sealed before.
    ///
    /// # Safety
    /// The entry is sealed.
    pub unsafe fn unlink(&self, guard: &R::Guard<'_>, entry: NonNull<E>) {
        // SAFETY: valid until released, which is later.
        let hash = unsafe { entry.as_ref() }.hash();
        let tag = Tag::new(hash);
        self.for_each_bucket(guard, hash, |bucket| bucket.clear(entry, tag));
    }

    /// Makes the slots of an entry usable again.
    ///
    /// # Safety
    /// A grace period has passed since the entry was unlinked; it is not freed yet.
    pub unsafe fn release(&self, guard: &R::Guard<'_>, entry: NonNull<E>) {
        // SAFETY: the caller's clause.
        let hash = unsafe { entry.as_ref() }.hash();
        self.for_each_bucket(guard, hash, |bucket| bucket.release(entry));
    }

    /// Visits the hash's sequence in every table: all buckets in which an entry with it can be.
    fn for_each_bucket(
        &self,
        guard: &R::Guard<'_>,
        hash: u32,
        mut visit: impl FnMut(&bucket::Bucket<E>),
    ) {
        let mut table = Some(self.root(guard));
        while let Some(current) = table {
            for bucket in current.probe(hash) {
                visit(bucket);
                if !bucket.header().is_overflowed() {
                    break;
                }
            }
            table = current.next();
        }
    }

    /// Bytes of the tables in use.
    #[allow(dead_code)] // For tests, as long as there are no statistics.
    pub fn memory(&self, guard: &R::Guard<'_>) -> usize {
        let tables = std::iter::successors(Some(self.root(guard)), |table| table.next());
        tables.map(Table::memory).sum()
    }
}

/// The rest of a look-up that did not end in its home bucket, whose header was `header`.
///
/// # Safety
/// The caller's guard protects `table`, and those after it, as long as the reference to it lives.
#[inline(never)]
unsafe fn find_beyond<E: Indexed>(
    mut table: &Table<E>,
    mut header: Header,
    hash: u32,
    mut eq: impl FnMut(&E) -> bool,
) -> Option<&E> {
    let tag = Tag::new(hash);
    let mut buckets = table.probe(hash);
    buckets.next(); // The home bucket is searched.
    loop {
        let mut frozen = header.is_frozen();
        while header.is_overflowed() {
            let Some(bucket) = buckets.next() else { break };
            header = bucket.header();
            frozen |= header.is_frozen();
            // SAFETY: `header` was loaded under the caller's guard.
            let found = unsafe { bucket.search(header, tag, |e| eq(e) && !e.is_sealed()) };
            if found.is_some() {
                return found;
            }
        }
        if !frozen || hook::mutant("index.reader_stays") {
            return None;
        }
        // The flag came with the next table (see `Bucket::freeze`).
        table = table.next()?;
        buckets = table.probe(hash);
        let home = buckets.next()?;
        header = home.header();
        // SAFETY: as above.
        let found = unsafe { home.search(header, tag, |e| eq(e) && !e.is_sealed()) };
        if found.is_some() {
            return found;
        }
    }
}

impl<E, R: Reclaim> Drop for Index<E, R> {
    fn drop(&mut self) {
        let mut table = self.root.load(Ordering::Relaxed); // Relaxed: `&mut self` is exclusive.
        while !table.is_null() {
            // SAFETY: mapped; reached from the root, so not retired; and nobody else is left.
            let freed = unsafe { Mapped::from_raw(table) };
            table = freed.next_pointer();
        }
    }
}
