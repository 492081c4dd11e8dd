//! The registry of open views: which versions must be kept.

#[cfg(all(test, not(coeval_loom)))]
mod tests;

use super::{ClosableList, Drained};
use crate::pool::{Pool, Shape};
use crate::sync::hook::{mutant, step};
use crate::sync::{AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence, fence_after_rmw};
use crate::version::Clock;
use crossbeam_utils::CachePadded;
use std::alloc::Layout;
use std::ptr::{self, NonNull};

/// So many more places than there are open views may stand in the list before all of it is tidied.
const SLACK: usize = if cfg!(coeval_loom) { 1 } else { 8 };

/// A deferred removal: `version` of `record` is removed when no view needs it. The store uses
/// special values of both; see `store/prune.rs`.
#[derive(Clone, Copy)]
pub struct DeferredPrune {
    pub record: *const (),
    pub version: u64,
}

// SAFETY: the thread that defers the removal holds the record for the thread that does it. Records
// are shared between threads.
unsafe impl Send for DeferredPrune {}

/// The versions that open views see. A view that opens and a writer that wants to dispose of what it superseded
/// meet as in Dekker's algorithm: the view announces itself, then reads the clock; the writer moves
/// the clock (its stamp), then looks for announcements; a full fence stands between the two on
/// either side. So the writer sees the view, or the view begins at the writer's version or later and
/// needs nothing below it.
///
/// The views stand in a list, the newest first, **and their versions descend along it**: a place gets its version when
/// it is in the list, and none is put on top of one that has yet to get it. Whoever comes upon such a one gives it
/// its version. So whether a view needs a version is told by the first view that is older than what superseded it.
///
/// A view that closes leaves its place in the list. Whoever passes takes it out (M. Michael, *High performance dynamic
/// lock-free hash tables and list-based sets*, 2002: a mark on a place's link keeps it from changing any more); where
/// nobody passes, a closing does once the list is twice as long as it need be.
pub struct Views {
    registered: CachePadded<AtomicUsize>,
    newest: AtomicPtr<ViewPlace>,
    /// How many places of closed views are in the list, or are about to be.
    over: AtomicUsize,
    places: Pool,
}

/// A view's place in the list.
pub struct ViewPlace {
    /// How many share the registration. 0: it is over, and nobody may join.
    holders: AtomicUsize,
    /// The version plus one; 0: it has none yet.
    version: AtomicU64,
    /// When a view was opened here, plus one, as its opener found; 0: nobody may join yet.
    opened: AtomicU64,
    /// The next one, which is older; with the mark if this one is over.
    older: AtomicPtr<ViewPlace>,
    /// What waits for this view to close; closed when it does.
    waiting: ClosableList<DeferredPrune>,
}

/// A registration. It must be given back with [`Views::close`].
pub struct Registered {
    place: *const ViewPlace,
    version: u64,
    /// As in the place.
    opened: u64,
}

// SAFETY: a place is only touched through atomics and lives as long as its registration.
unsafe impl Send for Registered {}
// SAFETY: as above.
unsafe impl Sync for Registered {}

impl Registered {
    /// The version that the view sees; 0 before the first commit.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether it knows a time that belongs to its version.
    pub fn is_timed(&self) -> bool {
        self.opened != 0
    }

    /// The time that belongs to its version.
    pub fn opened(&self) -> u64 {
        self.opened.saturating_sub(1)
    }
}

/// In a place's link: the place is over.
const OVER: usize = 1;

fn is_over(link: *mut ViewPlace) -> bool {
    link.addr() & OVER != 0
}

fn unmarked(link: *mut ViewPlace) -> *mut ViewPlace {
    link.map_addr(|address| address & !OVER)
}

impl ViewPlace {
    /// A place that is not in the list yet.
    pub fn new() -> Self {
        Self {
            holders: AtomicUsize::new(1),
            version: AtomicU64::new(0),
            opened: AtomicU64::new(0),
            older: AtomicPtr::new(ptr::null_mut()),
            waiting: ClosableList::new(),
        }
    }

    /// The view's version, which the place gets now if it has none; it is in the list.
    fn version(&self, clock: &Clock) -> u64 {
        // Acquire: pairs with the CAS below: the view sees all that was committed up to there.
        let seen = self.version.load(Ordering::Acquire);
        if seen != 0 {
            return seen - 1;
        }
        if !mutant("views.no_fence") {
            fence(Ordering::SeqCst); // partner: the writer's fence, in `none` and `first_below`
        }
        self.set_version(clock.now())
    }

    /// Gives the place this version, unless it has one; returns the one that it has.
    fn set_version(&self, number: u64) -> u64 {
        step("view.versioned");
        let (release, acquire) = (Ordering::AcqRel, Ordering::Acquire); // as in `version`
        match self.version.compare_exchange(0, number + 1, release, acquire) {
            Ok(_) => number,
            Err(other) => other - 1,
        }
    }

    /// Marks the link of a place that is over: it leads where it leads.
    fn end(&self) {
        let mut link = self.older.load(Ordering::Relaxed);
        let over = |link: *mut Self| link.map_addr(|address| address | OVER);
        // AcqRel: pairs with `walk`.
        while let Err(now) =
            self.older.compare_exchange(link, over(link), Ordering::AcqRel, Ordering::Relaxed)
        {
            link = now;
        }
    }
}

impl Views {
    /// No view is open.
    pub fn new() -> Self {
        Self {
            registered: CachePadded::new(AtomicUsize::new(0)),
            newest: AtomicPtr::new(ptr::null_mut()),
            over: AtomicUsize::new(0),
            places: Pool::new(Shape::plain(Layout::new::<ViewPlace>())),
        }
    }

    /// A place to open a view in.
    pub fn place<G>(&self, _guard: &G) -> NonNull<ViewPlace> {
        // SAFETY: a guard is live, and places come back by it.
        let place = unsafe { self.places.take() }.cast::<ViewPlace>();
        // SAFETY: the slot is ours, and of this layout.
        unsafe { place.write(ViewPlace::new()) };
        place
    }

    /// Takes a place back.
    ///
    /// # Safety
    /// It is from [`place`](Self::place), and was retired a grace period ago.
    pub unsafe fn give(&self, place: NonNull<ViewPlace>) {
        // SAFETY: the caller's promise.
        unsafe { self.places.give(place.cast()) };
    }

    /// The memory of the places, in bytes.
    pub fn bytes(&self) -> usize {
        self.places.bytes()
    }

    /// Opens a view of everything that is committed now.
    ///
    /// `instant` reads the clock, and a time that belongs to that number. If somebody else gave the view its version, the
    /// time may not belong to it: then the view [is not timed](Registered::is_timed), and to be closed.
    ///
    /// # Safety
    /// A guard is live, by which places are retired. Nobody else knows `place`, which lives until it is retired.
    pub unsafe fn open(
        &self,
        clock: &Clock,
        instant: impl FnOnce() -> (u64, u64),
        place: NonNull<ViewPlace>,
        retire: impl Fn(*mut ViewPlace),
    ) -> Registered {
        // SeqCst, and the fence in `version`: the announcement, before the clock is read.
        self.registered.fetch_add(1, Ordering::SeqCst);
        step("view.counted");
        // SAFETY: the caller's promise.
        let fresh = unsafe { place.as_ref() };
        loop {
            // What is over on top goes, and what is not has its version.
            // SAFETY: a guard is live.
            let top = unsafe { self.walk(&retire, |_| true) };
            let newest = top.map_or(ptr::null_mut(), |top| ptr::from_ref(top).cast_mut());
            if let Some(top) = top
                && !mutant("views.upon_unversioned")
            {
                top.version(clock);
            }
            fresh.older.store(newest, Ordering::Relaxed); // published by what follows
            step("view.before_announced");
            let (success, failure) = (Ordering::AcqRel, Ordering::Relaxed);
            // AcqRel: Release pairs with `walk`.
            if self.newest.compare_exchange(newest, place.as_ptr(), success, failure).is_ok() {
                break;
            }
        }
        step("view.announced");
        if !mutant("views.no_fence") {
            fence(Ordering::SeqCst); // partner: the writer's fence, in `none` and `first_below`
        }
        let (number, time) = instant();
        let version = fresh.set_version(number);
        let opened = if version == number { time.saturating_add(1) } else { 0 };
        fresh.opened.store(opened, Ordering::Release); // pairs with `join`
        Registered { place: fresh, version, opened }
    }

    /// Another holder of an open registration.
    pub fn share(&self, view: &Registered) -> Registered {
        // SAFETY: the place lives as long as its registration. Relaxed: the holder that we copy keeps it.
        unsafe { &*view.place }.holders.fetch_add(1, Ordering::Relaxed);
        Registered { place: view.place, version: view.version, opened: view.opened }
    }

    /// Joins an open view of exactly `version`, if there is one. Goes over the views that are newer.
    ///
    /// # Safety
    /// A guard is live, by which places are retired.
    pub unsafe fn join(&self, version: u64, retire: impl Fn(*mut ViewPlace)) -> Option<Registered> {
        // Relaxed: the holders that we join have opened it.
        let join = |place: &ViewPlace| {
            let joined = |n| (n != 0).then_some(n + 1);
            place.holders.fetch_update(Ordering::Relaxed, Ordering::Relaxed, joined).is_ok()
        };
        let mut joined = None;
        // SAFETY: the caller's promise.
        unsafe {
            // Acquire: pairs with `ViewPlace::version`.
            self.walk(&retire, |place| match place.version.load(Ordering::Acquire) {
                0 => false, // not open yet
                its if its - 1 == version => {
                    // Acquire: pairs with `open`. 0: not open yet, or never to be.
                    let opened = place.opened.load(Ordering::Acquire);
                    let is_ours = opened != 0 && join(place);
                    if is_ours {
                        joined = Some(Registered { place, version, opened });
                    }
                    is_ours
                }
                its => its <= version,
            });
        }
        joined
    }

    /// Gives a registration back. If it was the last holder's, says what waited for that: what the view kept may go.
    ///
    /// # Safety
    /// A guard is live, by which places are retired.
    pub unsafe fn close(
        &self,
        view: Registered,
        retire: impl Fn(*mut ViewPlace),
    ) -> Option<Drained<DeferredPrune>> {
        // SAFETY: the place lives as long as its registration, and then by the guard.
        let place = unsafe { &*view.place };
        // AcqRel: what holders read happens before whoever sees the place closed disposes of it.
        if place.holders.fetch_sub(1, Ordering::AcqRel) != 1 {
            return None;
        }
        let taken = place.waiting.close();
        step("view.closed");
        self.over.fetch_add(1, Ordering::Relaxed); // before the mark, after which it may be taken out
        if !mutant("views.unmarked") {
            place.end();
        }
        let open = self.registered.fetch_sub(1, Ordering::Release) - 1; // pairs with `none`
        let long = self.over.load(Ordering::Relaxed) > open + SLACK;
        // SAFETY: the caller's promise.
        unsafe { self.walk(&retire, |_| !long) };
        Some(taken)
    }

    /// Whether no view can need what a commit superseded. To be asked after its stamp was seen, and
    /// after a `SeqCst` read-modify-write of the caller's.
    #[inline(always)]
    pub fn none(&self) -> bool {
        if !mutant("views.no_fence") {
            fence_after_rmw(); // partner: the fence in `ViewPlace::version`
        }
        // Acquire: pairs with `close`.
        self.registered.load(Ordering::Acquire) == 0
    }

    /// How many views are open.
    pub fn count(&self) -> usize {
        self.registered.load(Ordering::Relaxed)
    }

    /// The smallest version of an open view: a moment's picture, for statistics. Goes over all views.
    ///
    /// # Safety
    /// A guard is live, by which places are retired.
    pub unsafe fn oldest(&self) -> Option<u64> {
        if self.count() == 0 {
            return None;
        }
        let mut oldest = 0;
        let mut next = self.newest.load(Ordering::Acquire); // pairs with `open`
        // SAFETY: the guard keeps what is or was in the list.
        while let Some(place) = unsafe { next.as_ref() } {
            // Relaxed: nothing is read through it. What is still opening or closed is left out.
            if !place.waiting.is_closed() && place.version.load(Ordering::Relaxed) != 0 {
                oldest = place.version.load(Ordering::Relaxed);
            }
            next = unmarked(place.older.load(Ordering::Acquire)); // pairs with `walk`
        }
        oldest.checked_sub(1)
    }

    /// The newest open view that is older than `version`, whose stamp was seen.
    ///
    /// # Safety
    /// A guard is live for `'g`, by which places are retired.
    pub unsafe fn first_below<'g>(
        &'g self,
        clock: &Clock,
        version: u64,
        retire: impl Fn(*mut ViewPlace),
    ) -> Option<ViewCursor<'g>> {
        if !mutant("views.no_fence") {
            fence(Ordering::SeqCst); // partner: the fence in `ViewPlace::version`
        }
        // One that gets its version just now gets none that is smaller.
        let wanted =
            |place: &ViewPlace| place.version(clock) < version && !place.waiting.is_closed();
        // SAFETY: the caller's promise.
        unsafe { self.walk(&retire, wanted) }.map(ViewCursor)
    }

    /// Shows all places that are in the list.
    ///
    /// # Safety
    /// Nobody else uses the views meanwhile.
    #[cfg(coeval_loom)]
    pub unsafe fn each(&self, mut show: impl FnMut(&ViewPlace)) {
        let mut next = self.newest.load(Ordering::Relaxed);
        // SAFETY: the caller's promise.
        while let Some(place) = unsafe { next.as_ref() } {
            show(place);
            next = unmarked(place.older.load(Ordering::Relaxed));
        }
    }

    /// The first of the places, of those that are not over, for which `wanted`, which may be asked twice about one. What
    /// is over and lies before that is taken out.
    ///
    /// # Safety
    /// A guard is live for `'g`, by which places are retired.
    unsafe fn walk<'g>(
        &'g self,
        retire: &impl Fn(*mut ViewPlace),
        mut wanted: impl FnMut(&'g ViewPlace) -> bool,
    ) -> Option<&'g ViewPlace> {
        'again: loop {
            let mut link = &self.newest;
            // Acquire, here and below: pairs with `open`, `end` and the CAS below.
            let mut next = link.load(Ordering::Acquire);
            loop {
                // SAFETY: it was in the list during the guard, which keeps it.
                let place = unsafe { next.as_ref() }?;
                let older = place.older.load(Ordering::Acquire);
                let unnoticed = mutant("views.unmarked") && place.waiting.is_closed();
                if !is_over(older) && !unnoticed {
                    if wanted(place) {
                        return Some(place);
                    }
                    (link, next) = (&place.older, older);
                    continue;
                }
                step("view.before_unlink");
                let after = unmarked(older);
                match link.compare_exchange(next, after, Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) => {
                        self.over.fetch_sub(1, Ordering::Relaxed);
                        retire(next);
                        next = after;
                    }
                    // What we stand on is over: nothing is taken out behind it any more.
                    Err(now) if is_over(now) => continue 'again,
                    Err(now) => next = now,
                }
            }
        }
    }
}

/// An open view, or one that was open a moment ago, from which to go on to older ones.
#[derive(Clone, Copy)]
pub struct ViewCursor<'g>(&'g ViewPlace);

impl<'g> ViewCursor<'g> {
    /// Its version.
    pub fn version(&self) -> u64 {
        // Relaxed: seen by whoever found the place. What is not on top has its version.
        self.0.version.load(Ordering::Relaxed) - 1
    }

    /// The list of what waits for it to close.
    pub fn waiting(&self) -> &'g ClosableList<DeferredPrune> {
        &self.0.waiting
    }

    /// The next one that is open.
    pub fn next(&self) -> Option<Self> {
        let mut place = self.0;
        loop {
            // Acquire: pairs with `walk` and `open`. SAFETY: every place from here on was in the list during the
            // guard for which we were made.
            place = unsafe { unmarked(place.older.load(Ordering::Acquire)).as_ref() }?;
            if !place.waiting.is_closed() {
                return Some(Self(place));
            }
        }
    }
}
