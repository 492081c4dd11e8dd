//! A view's place in the list of views, and its registration.

use super::{ClosableList, CodePlace, JointInstant, Opener};
use crate::sync::hook::{mutant, step};
use crate::sync::{AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence};
use crate::version::Clock;
use std::ptr;
use std::sync::Arc;

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

/// A view's place in the list.
pub struct ViewPlace {
    /// The number of holders that share the registration. 0: the view is closed, and no holder may
    /// join.
    pub(super) holders: AtomicUsize,
    /// The version plus one; 0: the place has no version yet.
    pub(super) version: AtomicU64,
    /// The time at which the view was opened, plus one. 0: no holder may join yet.
    pub(super) opened: AtomicU64,
    /// The next, older place. Marked if this view is closed.
    pub(super) older: AtomicPtr<ViewPlace>,
    /// The removals that wait for this view to close. The list is closed when the view closes.
    pub(super) waiting: ClosableList<DeferredPrune>,
    /// The instant of the joint view that the place belongs to.
    pub(super) joint: Option<Arc<JointInstant>>,
    /// The place in the code that opened the view.
    pub(super) opener: Opener,
}

/// A registration of a view. It must be given back with [`Views::close`].
pub struct Registered {
    pub(super) place: *const ViewPlace,
    pub(super) version: u64,
    /// See [`ViewPlace::opened`].
    pub(super) opened: u64,
}

// SAFETY: a place is accessed only through atomics, and lives as long as its registration.
unsafe impl Send for Registered {}
// SAFETY: as above.
unsafe impl Sync for Registered {}

impl Registered {
    /// The version that the view sees; 0 before the first commit.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether the view has a time that belongs to its version.
    pub fn is_timed(&self) -> bool {
        self.opened != 0
    }

    /// The time that belongs to the version.
    pub fn opened(&self) -> u64 {
        self.opened.saturating_sub(1)
    }

    /// Keeps the place in the code that has opened the view.
    #[inline]
    pub fn note_opener(&self, opener: CodePlace) {
        // SAFETY: the place lives as long as its registration.
        unsafe { &*self.place }.opener.note(opener);
    }
}

/// The place of a joint view, which is in its list.
pub struct AnnouncedPlace(pub(super) *const ViewPlace);

/// The mark of a place's link: the view is closed.
const CLOSED: usize = 1;

pub(super) fn is_closed_link(link: *mut ViewPlace) -> bool {
    link.addr() & CLOSED != 0
}

pub(super) fn unmarked(link: *mut ViewPlace) -> *mut ViewPlace {
    link.map_addr(|address| address & !CLOSED)
}

impl ViewPlace {
    /// Makes a place that is not in the list yet.
    pub fn new() -> Self {
        Self {
            holders: AtomicUsize::new(1),
            version: AtomicU64::new(0),
            opened: AtomicU64::new(0),
            older: AtomicPtr::new(ptr::null_mut()),
            waiting: ClosableList::new(),
            joint: None,
            opener: Opener::unknown(),
        }
    }

    /// The version of the view. The place is in the list, and gets its version now if it has none.
    /// `None` if it belongs to a joint view that is opening: it gets a version that is not older
    /// than any commit that was stamped before a fence of the caller.
    pub(super) fn announced_version(&self, clock: &Clock) -> Option<u64> {
        // Acquire: pairs with the compare-and-swap in `set_version`. The view sees all that was
        // committed up to its version.
        let seen = self.version.load(Ordering::Acquire);
        if seen != 0 {
            return Some(seen - 1);
        }
        if let Some(joint) = &self.joint {
            return joint.version(clock).map(|version| self.set_version(version));
        }
        Some(self.version_now(clock))
    }

    /// Gives the place the version of now, unless it has one. Detaches it from its joint view if
    /// that is opening. Returns the version of the place.
    fn version_now(&self, clock: &Clock) -> u64 {
        if !mutant("views.no_fence") {
            fence(Ordering::SeqCst); // partner: the writer's fence, in `none` and `first_below`
        }
        self.set_version(clock.now())
    }

    /// The version of the view, upon whose place another one is to be put.
    pub(super) fn version_to_put_upon(&self, clock: &Clock) -> u64 {
        self.announced_version(clock).unwrap_or_else(|| self.version_now(clock))
    }

    /// Gives the place this version, unless it has one. Returns the version of the place.
    pub(super) fn set_version(&self, number: u64) -> u64 {
        step("view.versioned");
        let (release, acquire) = (Ordering::AcqRel, Ordering::Acquire); // pairs with `version`
        match self.version.compare_exchange(0, number + 1, release, acquire) {
            Ok(_) => number,
            Err(other) => other - 1,
        }
    }

    /// The registration of this place, which has this version. Others may join it if there is a
    /// time that belongs to the version.
    pub(super) fn registered(&self, version: u64, time: Option<u64>) -> Registered {
        let opened = time.map_or(0, |time| time.saturating_add(1));
        self.opened.store(opened, Ordering::Release); // pairs with `join`
        Registered { place: self, version, opened }
    }

    /// Marks the link of a closed view's place: the link does not change any more.
    pub(super) fn mark_closed(&self) {
        let mut link = self.older.load(Ordering::Relaxed);
        let closed = |link: *mut Self| link.map_addr(|address| address | CLOSED);
        // AcqRel: pairs with `walk`.
        while let Err(now) =
            self.older.compare_exchange(link, closed(link), Ordering::AcqRel, Ordering::Relaxed)
        {
            link = now;
        }
    }
}
