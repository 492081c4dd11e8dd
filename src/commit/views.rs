//! The registry of open views: which versions must be kept.

use crate::memory::Mapped;
use crate::sync::hook::{mutant, step};
use crate::sync::{AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence, fence_after_rmw};
use crate::version::Clock;
use crossbeam_utils::CachePadded;
use smallvec::SmallVec;
use std::ptr;

/// How many places a block of the registry has.
const PLACES: usize = if cfg!(coeval_loom) { 2 } else { 31 };

/// A place that is being released: nobody may join its holders.
const CLOSING: usize = usize::MAX;

/// The versions that open views see. A view that opens and a writer that wants to dispose of what it superseded
/// meet as in Dekker's algorithm: the view announces itself, then reads the clock; the writer moves
/// the clock (its stamp), then looks for announcements; a full fence stands between the two on
/// either side. So the writer sees the view, or the view begins at the writer's version or later and
/// needs nothing below it.
pub struct Views {
    registered: CachePadded<AtomicUsize>,
    /// How often a view has closed: tells whether a look at the registry is out of date.
    closed: AtomicU64,
    places: Block,
}

struct Block {
    places: [Place; PLACES],
    next: AtomicPtr<Block>,
}

struct Place {
    /// How many share the registration; 0: free.
    holders: AtomicUsize,
    /// 0, or a version `t` as `t << 2 | 2`, or, while a view is opening, a lower bound of it as `t << 2 | 1`.
    version: AtomicU64,
    /// When a view was opened here; written before its version, and read after that.
    opened: AtomicU64,
}

const OPENING: u64 = 1;
const OPEN: u64 = 2;

/// A registration. It must be given back with [`Views::close`].
pub struct Registered {
    place: *const Place,
    version: u64,
    opened: u64,
}

// SAFETY: a place is only touched through atomics and lives as long as the registry.
unsafe impl Send for Registered {}
// SAFETY: as above.
unsafe impl Sync for Registered {}

impl Registered {
    /// The version that the view sees; 0 before the first commit.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The time that belongs to it.
    pub fn opened(&self) -> u64 {
        self.opened
    }
}

impl Block {
    fn new() -> Self {
        Self {
            places: std::array::from_fn(|_| Place {
                holders: AtomicUsize::new(0),
                version: AtomicU64::new(0),
                opened: AtomicU64::new(0),
            }),
            next: AtomicPtr::new(ptr::null_mut()),
        }
    }

    fn next(&self) -> Option<&Block> {
        // Acquire: pairs with the CAS in `append`. SAFETY: blocks live as long as the registry.
        unsafe { self.next.load(Ordering::Acquire).as_ref() }
    }

    fn append(&self) -> &Block {
        let fresh = Mapped::new(Block::new()).into_raw();
        let null = ptr::null_mut();
        match self.next.compare_exchange(null, fresh, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: published just now; lives as long as the registry.
            Ok(_) => unsafe { &*fresh },
            Err(winner) => {
                // SAFETY: `fresh` was not published; `winner` was.
                unsafe {
                    drop(Mapped::from_raw(fresh));
                    &*winner
                }
            }
        }
    }
}

impl Views {
    /// No view is open.
    pub fn new() -> Self {
        Self {
            registered: CachePadded::new(AtomicUsize::new(0)),
            closed: AtomicU64::new(0),
            places: Block::new(),
        }
    }

    fn places(&self) -> impl Iterator<Item = &Place> {
        std::iter::successors(Some(&self.places), |block| block.next())
            .flat_map(|block| block.places.iter())
    }

    /// Opens a view of everything that is committed now.
    #[cfg(any(test, coeval_loom))]
    pub fn open(&self, clock: &Clock) -> Registered {
        self.open_at(clock, || (clock.now(), 0))
    }

    /// Opens a view of everything that is committed now; `instant` reads the clock, and a time that belongs to that.
    pub fn open_at(&self, clock: &Clock, instant: impl FnOnce() -> (u64, u64)) -> Registered {
        // SeqCst, and the fence below: the announcement, before the clock is read.
        self.registered.fetch_add(1, Ordering::SeqCst);
        step("view.counted");
        let bound = clock.now();
        if !cfg!(coeval_loom) {
            step("view.bounded"); // It would only multiply the schedules.
        }
        let place = self.claim(bound << 2 | OPENING);
        step("view.announced");
        if !mutant("views.no_fence") {
            fence(Ordering::SeqCst); // partner: the writer's fence, in `none` and `seen`
        }
        let (version, opened) = instant();
        step("view.versioned");
        place.opened.store(opened, Ordering::Relaxed); // comes with the version
        // Release: the place's later readers see the announcement's end only with its version.
        place.version.store(version << 2 | OPEN, Ordering::Release);
        Registered { place, version, opened }
    }

    fn claim(&self, announced: u64) -> &Place {
        let mut block = &self.places;
        loop {
            for place in &block.places {
                // Relaxed look, then Acquire: pairs with the Release in `close` that freed it.
                if place.holders.load(Ordering::Relaxed) == 0
                    && place
                        .holders
                        .compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed)
                        .is_ok()
                {
                    place.version.store(announced, Ordering::Release);
                    return place;
                }
            }
            block = block.next().unwrap_or_else(|| block.append());
        }
    }

    /// Another holder of an open registration.
    pub fn share(&self, view: &Registered) -> Registered {
        // SAFETY: the place lives as long as the registry. Relaxed: the holder that we copy keeps it.
        unsafe { &*view.place }.holders.fetch_add(1, Ordering::Relaxed);
        Registered { place: view.place, version: view.version, opened: view.opened }
    }

    /// Joins an open view of exactly `version`, if there is one. `close` gives back a registration that
    /// turns out to be another's; the one that it belonged to may have closed meanwhile.
    pub fn join(&self, version: u64, close: impl Fn(Registered)) -> Option<Registered> {
        let wanted = version << 2 | OPEN;
        self.places().find_map(|place| {
            if place.version.load(Ordering::Acquire) != wanted {
                return None;
            }
            let join = |n| (n != 0 && n != CLOSING).then(|| n + 1);
            // Acquire: pairs with `close`: if the place was given to another view, we see its version.
            place.holders.fetch_update(Ordering::Acquire, Ordering::Relaxed, join).ok()?;
            let mut joined = Registered { place, version, opened: 0 };
            if place.version.load(Ordering::Acquire) != wanted {
                close(joined);
                return None;
            }
            // Relaxed: it was there before the version, and is not written while somebody holds the place.
            joined.opened = place.opened.load(Ordering::Relaxed);
            Some(joined)
        })
    }

    /// Gives a registration back. True if it was the last holder's: what the view kept may go.
    pub fn close(&self, view: Registered) -> bool {
        // SAFETY: the place lives as long as the registry.
        let place = unsafe { &*view.place };
        let leave = |n: usize| Some(if n == 1 { CLOSING } else { n - 1 });
        // AcqRel: what holders read happens before whoever sees the place free disposes of it.
        let before = place.holders.fetch_update(Ordering::AcqRel, Ordering::Relaxed, leave);
        if before != Ok(1) {
            return false;
        }
        place.version.store(0, Ordering::Release); // pairs with `seen`
        place.holders.store(0, Ordering::Release); // pairs with `claim`
        self.registered.fetch_sub(1, Ordering::Release); // pairs with `none`
        // SeqCst, with the fence in `closings`: see there.
        self.closed.fetch_add(1, Ordering::SeqCst);
        if !mutant("views.no_closing_fence") {
            fence_after_rmw();
        }
        step("view.closed");
        true
    }

    /// Whether no view can need what a commit superseded. To be asked after its stamp was seen, and
    /// after a `SeqCst` read-modify-write of the caller's.
    #[inline(always)]
    pub fn none(&self) -> bool {
        if !mutant("views.no_fence") {
            fence_after_rmw(); // partner: the fence in `open`
        }
        // Acquire: pairs with `close`.
        self.registered.load(Ordering::Acquire) == 0
    }

    /// How many views are open.
    pub fn count(&self) -> usize {
        self.registered.load(Ordering::Relaxed)
    }

    /// The smallest version of an open view: a moment's picture, for statistics.
    pub fn oldest(&self) -> Option<u64> {
        if self.count() == 0 {
            return None;
        }
        // Relaxed: nothing is read through it. Views that are still opening are left out.
        let words = self.places().map(|place| place.version.load(Ordering::Relaxed));
        words.filter(|word| word & 3 == OPEN).map(|word| word >> 2).min()
    }

    /// A count that has changed if a view closed meanwhile. One who leaves work for a view that may be closing compares
    /// it before and after: either the closer finds the work, or the leaver finds the count changed.
    pub fn closings(&self) -> u64 {
        if !mutant("views.no_closing_fence") {
            fence(Ordering::SeqCst); // partner: the fence at the end of `close`
        }
        self.closed.load(Ordering::Acquire)
    }

    /// The open views. To be asked after the stamp of the newest version in question was seen.
    pub fn seen(&self) -> Seen {
        fence(Ordering::SeqCst); // partner: the fence in `open`
        let mut seen = Seen { versions: SmallVec::new(), opening: u64::MAX };
        if self.registered.load(Ordering::Acquire) == 0 {
            return seen;
        }
        for place in self.places() {
            // Acquire: pairs with `close`: a place seen free is no longer read through.
            let word = place.version.load(Ordering::Acquire);
            match word & 3 {
                OPEN => seen.versions.push(word >> 2),
                OPENING => seen.opening = seen.opening.min(word >> 2),
                _ => {}
            }
        }
        seen.versions.sort_unstable();
        seen
    }
}

impl Drop for Views {
    fn drop(&mut self) {
        let mut next = self.places.next.load(Ordering::Relaxed); // exclusive
        while !next.is_null() {
            // SAFETY: exclusive; mapped by `append`.
            let block = unsafe { Mapped::from_raw(next) };
            next = block.next.load(Ordering::Relaxed);
        }
    }
}

/// The views that were open at a look at the registry.
pub struct Seen {
    /// Their versions, ascending. The allocator is not asked for those of one block.
    versions: SmallVec<[u64; PLACES]>,
    /// A lower bound of the versions of views that were opening; they may see anything from there up.
    opening: u64,
}

impl Seen {
    /// Whether a view may see a version that was current in `from..to`.
    pub fn any_between(&self, from: u64, to: u64) -> bool {
        let next = self.versions.partition_point(|&version| version < from);
        self.opening < to || self.versions.get(next).is_some_and(|&version| version < to)
    }

    /// Whether a view may be older than `version`.
    pub fn any_below(&self, version: u64) -> bool {
        self.any_between(0, version)
    }
}

#[cfg(all(test, not(coeval_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_view_is_the_one_of_the_smallest_version() {
        let (views, clock) = (Views::new(), Clock::new());
        assert_eq!(views.oldest(), None);
        let open = |_| {
            let view = views.open(&clock);
            clock.tick();
            view
        };
        // More than a block has places for.
        let mut open: Vec<_> = (0..2 * PLACES).map(open).collect();
        let shared = views.share(&open[0]);
        assert!(!views.close(open.remove(0)));
        assert_eq!(views.oldest(), Some(0), "it has another holder");
        assert!(views.close(shared));
        for view in open {
            assert_eq!(views.oldest(), Some(view.version()));
            // A newer one in a place that is free again does not matter.
            let newest = views.open(&clock);
            assert_eq!(views.oldest(), Some(view.version()));
            views.close(newest);
            views.close(view);
        }
        assert_eq!(views.oldest(), None);
    }
}
