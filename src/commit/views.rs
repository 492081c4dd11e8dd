//! The registry of open views: it says which versions must be kept.

#[cfg(all(test, not(coeval_loom)))]
mod tests;

use super::view_place::{is_closed_link, unmarked};
use super::{
    AnnouncedPlace, ClosableList, CodePlace, DeferredPrune, Drained, JointInstant, Registered,
    ViewPlace,
};
use crate::chain::Live;
use crate::pool::{Pool, Shape};
use crate::sync::hook::{is_torn_down, mutant, planted, step};
use crate::sync::{AtomicPtr, AtomicUsize, Ordering, fence};
use crate::version::Clock;
use crossbeam_utils::CachePadded;
use std::alloc::Layout;
use std::ptr::{self, NonNull};
use std::sync::Arc;

/// How many more places than open views the list may have before a closing view removes all places
/// of closed views.
const SLACK: usize = if cfg!(coeval_loom) { 1 } else { 8 };

/// The list of open views.
///
/// A view that opens and a writer that disposes of what it superseded meet as in Dekker's
/// algorithm. The view announces itself, then reads the clock. The writer moves the clock (its
/// stamp), then looks for announcements. A full fence lies between the two steps on either side. So
/// the writer sees the view, or the view begins at the writer's version or later and needs no
/// version below it.
///
/// The list has the newest view first, **and the versions descend along it**: a place gets its
/// version while it is in the list, and no place is put above one without a version. A thread that
/// meets a place without a version gives it one. So the first view that is older than the
/// superseding commit decides whether a view needs the superseded version.
///
/// A view that closes leaves its place in the list. A thread that passes removes the place (M.
/// Michael, *High performance dynamic lock-free hash tables and list-based sets*, 2002: a mark on a
/// place's link keeps it from changing any more). Where no thread passes, a closing view does so
/// once the list is twice as long as necessary.
pub struct Views {
    pub(super) registered: CachePadded<AtomicUsize>,
    newest: AtomicPtr<ViewPlace>,
    /// The number of places of closed views that are in the list, or are about to be.
    closed: AtomicUsize,
    places: Pool,
}

impl Views {
    /// Makes an empty list.
    pub fn new() -> Self {
        Self {
            registered: CachePadded::new(AtomicUsize::new(0)),
            newest: AtomicPtr::new(ptr::null_mut()),
            closed: AtomicUsize::new(0),
            places: Pool::new(Shape::plain(Layout::new::<ViewPlace>())),
        }
    }

    /// Makes a place for a view.
    #[inline]
    pub fn place(&self, _: Live<'_>) -> NonNull<ViewPlace> {
        // SAFETY: a guard is live, and places are retired through guards.
        let place = unsafe { self.places.take() }.cast::<ViewPlace>();
        // SAFETY: this thread owns the slot, which has this layout.
        unsafe { place.write(ViewPlace::new()) };
        place
    }

    /// Takes a place back.
    ///
    /// # Safety
    /// The place is from [`place`](Self::place), and was retired a grace period ago.
    pub unsafe fn give(&self, place: NonNull<ViewPlace>) {
        // SAFETY: the caller's promise.
        unsafe {
            drop((*place.as_ptr()).joint.take());
            self.places.give(place.cast());
        }
    }

    /// The memory of the places, in bytes.
    pub fn bytes(&self) -> usize {
        self.places.bytes()
    }

    /// Opens a view of all that is committed now.
    ///
    /// `instant` reads the clock, and a time that belongs to that number. If another thread gives
    /// the view its version, that time may not belong to the version. Then the view [is not
    /// timed](Registered::is_timed), and the caller must close it.
    ///
    /// # Safety
    /// A guard is live, through which places are retired. No other thread knows `place`, which
    /// lives until it is retired.
    pub unsafe fn open(
        &self,
        clock: &Clock,
        instant: impl FnOnce() -> (u64, u64),
        place: NonNull<ViewPlace>,
        retire: impl Fn(*mut ViewPlace),
    ) -> Registered {
        // SAFETY: the caller's promise.
        let fresh = unsafe { self.announce(clock, place, retire) };
        if !mutant("views.no_fence") {
            fence(Ordering::SeqCst); // partner: the writer's fence, in `none` and `first_below`
        }
        let (number, time) = instant();
        let version = fresh.set_version(number);
        fresh.registered(version, (version == number).then_some(time))
    }

    /// Makes the place one of a joint view, and puts it into the list. The caller
    /// [registers](Self::register) the view when all places are in their lists.
    ///
    /// # Safety
    /// As for [`open`](Self::open).
    pub unsafe fn open_joint(
        &self,
        clock: &Clock,
        joint: &Arc<JointInstant>,
        mut place: NonNull<ViewPlace>,
        retire: impl Fn(*mut ViewPlace),
    ) -> AnnouncedPlace {
        // SAFETY: the caller's promise.
        unsafe {
            place.as_mut().joint = Some(Arc::clone(joint));
            AnnouncedPlace(self.announce(clock, place, retire))
        }
    }

    /// The registration of a view whose place is in the list. `version` is that of its joint view,
    /// and `time` a time that belongs to it, if that is known. The registration has another version
    /// if the place was detached; then it is not timed, and the caller must close it.
    pub fn register(announced: AnnouncedPlace, version: u64, time: Option<u64>) -> Registered {
        // SAFETY: the place lives as long as its registration, which this makes.
        let place = unsafe { &*announced.0 };
        let own = place.set_version(version);
        place.registered(own, time.filter(|_| own == version))
    }

    /// Counts a view, and puts its place on top of the list.
    ///
    /// # Safety
    /// As for [`open`](Self::open).
    unsafe fn announce<'p>(
        &self,
        clock: &Clock,
        place: NonNull<ViewPlace>,
        retire: impl Fn(*mut ViewPlace),
    ) -> &'p ViewPlace {
        // SeqCst, and the fence after this: the announcement comes before the clock is read.
        self.registered.fetch_add(1, Ordering::SeqCst);
        step("view.counted");
        // SAFETY: the caller's promise.
        let fresh = unsafe { place.as_ref() };
        loop {
            // Closed views at the front are removed. The first open one gets its version.
            //
            // SAFETY: a guard is live.
            let top = unsafe { self.walk(&retire, |_| true) };
            let newest = top.map_or(ptr::null_mut(), |top| ptr::from_ref(top).cast_mut());
            if let Some(top) = top
                && !mutant("views.upon_unversioned")
            {
                top.version_to_put_upon(clock);
            }
            fresh.older.store(newest, Ordering::Relaxed); // Relaxed: published by what follows.
            step("view.before_announced");
            let (success, failure) = (Ordering::AcqRel, Ordering::Relaxed);
            // AcqRel: Release pairs with `walk`.
            if self.newest.compare_exchange(newest, place.as_ptr(), success, failure).is_ok() {
                break;
            }
        }
        step("view.announced");
        fresh
    }

    /// Adds a holder to an open registration.
    pub fn share(&self, view: &Registered) -> Registered {
        // SAFETY: the place lives as long as its registration. Relaxed: the holder that is copied
        // keeps it open.
        unsafe { &*view.place }.holders.fetch_add(1, Ordering::Relaxed);
        Registered { place: view.place, version: view.version, opened: view.opened }
    }

    /// Joins an open view of exactly `version`, if there is one. Visits the newer views.
    ///
    /// # Safety
    /// A guard is live, through which places are retired.
    pub unsafe fn join(&self, version: u64, retire: impl Fn(*mut ViewPlace)) -> Option<Registered> {
        // Relaxed: the holders that this one joins have opened the view.
        let join = |place: &ViewPlace| {
            let joined = |n| (n != 0).then_some(n + 1);
            place.holders.fetch_update(Ordering::Relaxed, Ordering::Relaxed, joined).is_ok()
        };
        let mut joined = None;
        // SAFETY: the caller's promise.
        unsafe {
            // Acquire: pairs with `ViewPlace::set_version`.
            self.walk(&retire, |place| match place.version.load(Ordering::Acquire) {
                0 => false, // not open yet
                its if its - 1 == version => {
                    // Acquire: pairs with `open`. 0: not open yet, or not to be joined.
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

    /// Gives a registration back. If it was the last holder's, returns the removals that waited for
    /// the view.
    ///
    /// # Safety
    /// A guard is live, through which places are retired.
    pub unsafe fn close(
        &self,
        view: Registered,
        retire: impl Fn(*mut ViewPlace),
    ) -> Option<Drained<DeferredPrune>> {
        // SAFETY: the place lives as long as its registration, and after that the guard keeps it.
        let place = unsafe { &*view.place };
        // AcqRel: pairs with the other holders' decrements. What they read happens before a thread
        // that sees the place closed disposes of it.
        if place.holders.fetch_sub(1, Ordering::AcqRel) != 1 {
            return None;
        }
        let taken = place.waiting.close();
        step("view.closed");
        self.closed.fetch_add(1, Ordering::Relaxed); // before the mark, which allows its removal
        if !mutant("views.unmarked") {
            place.mark_closed();
        }
        let open = self.registered.fetch_sub(1, Ordering::Release) - 1; // pairs with `none`
        let long = self.closed.load(Ordering::Relaxed) > open + SLACK;
        // SAFETY: the caller's promise.
        unsafe { self.walk(&retire, |_| !long) };
        Some(taken)
    }

    /// The number of open views.
    pub fn count(&self) -> usize {
        self.registered.load(Ordering::Relaxed)
    }

    /// The open views, the newest first, for statistics. Views that are still opening are left out.
    ///
    /// # Safety
    /// A guard is live for `'g`, through which places are retired.
    pub unsafe fn shown<'g>(&'g self) -> impl Iterator<Item = ShownView> + 'g {
        let mut next = self.newest.load(Ordering::Acquire); // pairs with `open`
        std::iter::from_fn(move || {
            loop {
                // SAFETY: the guard keeps each place that is or was in the list.
                let place = unsafe { next.as_ref() }?;
                next = unmarked(place.older.load(Ordering::Acquire)); // pairs with `walk`
                // Relaxed: no other memory depends on it.
                let version = place.version.load(Ordering::Relaxed);
                if !place.waiting.is_closed() && version != 0 {
                    let opened = place.opened.load(Ordering::Relaxed).saturating_sub(1);
                    let opener = place.opener.get();
                    return Some(ShownView { version: version - 1, opened, opener });
                }
            }
        })
    }

    /// The newest open view that is older than `version`. The caller has seen the stamp of that
    /// version.
    ///
    /// # Safety
    /// A guard is live for `'g`, through which places are retired.
    pub unsafe fn first_below<'g>(
        &'g self,
        clock: &Clock,
        version: u64,
        retire: impl Fn(*mut ViewPlace),
    ) -> Option<ViewCursor<'g>> {
        if !mutant("views.no_fence") {
            fence(Ordering::SeqCst); // partners: the fences in `open` and `ViewPlace::version`
        }
        // A view that gets its version now, or later, gets no smaller one.
        let unseen = planted("views.unseen");
        let wanted = |place: &ViewPlace| {
            let seen = place.announced_version(clock);
            seen.is_some_and(|seen| seen < version) && !place.waiting.is_closed() && !unseen
        };
        // SAFETY: the caller's promise.
        unsafe { self.walk(&retire, wanted) }.map(ViewCursor)
    }

    /// Shows all places of the list.
    ///
    /// # Safety
    /// No other thread uses the views meanwhile.
    #[cfg(any(coeval_loom, coeval_internals))]
    pub unsafe fn each(&self, mut show: impl FnMut(&ViewPlace)) {
        let mut next = self.newest.load(Ordering::Relaxed);
        // SAFETY: the caller's promise.
        while let Some(place) = unsafe { next.as_ref() } {
            show(place);
            next = unmarked(place.older.load(Ordering::Relaxed));
        }
    }

    /// The first place of an open view for which `wanted` returns true. `wanted` may be called
    /// twice for one place. Removes the places of closed views before that place.
    ///
    /// # Safety
    /// A guard is live for `'g`, through which places are retired.
    unsafe fn walk<'g>(
        &'g self,
        retire: &impl Fn(*mut ViewPlace),
        mut wanted: impl FnMut(&'g ViewPlace) -> bool,
    ) -> Option<&'g ViewPlace> {
        'again: loop {
            let mut link = &self.newest;
            // Acquire, here and below: pairs with `open`, `mark_closed` and the compare-and-swap
            // below.
            let mut next = link.load(Ordering::Acquire);
            loop {
                // SAFETY: it was in the list during the guard, which keeps it.
                let place = unsafe { next.as_ref() }?;
                let older = place.older.load(Ordering::Acquire);
                let unnoticed = mutant("views.unmarked") && place.waiting.is_closed();
                if !is_closed_link(older) && !unnoticed {
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
                        self.closed.fetch_sub(1, Ordering::Relaxed);
                        retire(next);
                        next = after;
                    }
                    // The place before this one is closed. No place is removed behind it any more.
                    Err(now) if is_closed_link(now) => continue 'again,
                    Err(now) => next = now,
                }
            }
        }
    }
}

impl Drop for Views {
    /// Lets go of the instants of joint views. The memory of the places goes with the pool.
    fn drop(&mut self) {
        if is_torn_down() {
            return;
        }
        let mut next = self.newest.load(Ordering::Relaxed); // Relaxed: the access is exclusive.
        // SAFETY: the places of the list were not retired, and nobody else has access to them.
        while let Some(place) = unsafe { next.as_mut() } {
            drop(place.joint.take());
            next = unmarked(place.older.load(Ordering::Relaxed));
        }
    }
}

/// An open view, as statistics show it.
pub struct ShownView {
    pub version: u64,
    /// When it was opened.
    pub opened: u64,
    /// The place in the code that opened it, if it is known.
    pub opener: Option<CodePlace>,
}

/// A view that is open, or was open a moment ago, and the way from it to older views.
#[derive(Clone, Copy)]
pub struct ViewCursor<'g>(&'g ViewPlace);

impl<'g> ViewCursor<'g> {
    /// The version of the view.
    pub fn version(&self) -> u64 {
        // Relaxed: the thread that found the place has seen it. A place that is not the first one
        // has its version.
        self.0.version.load(Ordering::Relaxed) - 1
    }

    /// The list of the removals that wait for the view to close.
    pub fn waiting(&self) -> &'g ClosableList<DeferredPrune> {
        &self.0.waiting
    }

    /// The next older view that is open.
    pub fn next(&self) -> Option<Self> {
        let mut place = self.0;
        loop {
            // Acquire: pairs with `walk` and `open`. SAFETY: each place from here on was in the
            // list during the guard for which this cursor was made.
            place = unsafe { unmarked(place.older.load(Ordering::Acquire)).as_ref() }?;
            if !place.waiting.is_closed() {
                return Some(Self(place));
            }
        }
    }
}
