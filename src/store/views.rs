//! Opens, shares and closes views.

use super::{Host, PendingRemovals, Store};
use crate::chain::Live;
use crate::commit::{
    AnnouncedPlace, CodePlace, JointInstant, Limit, ReadAt, Registered, ShownView, Views,
};
use crate::reclaim::Reclaim;
use crate::sync::hook::step;
use crate::version::{State, Version};
use std::sync::Arc;

/// A read as of a registered view finds all versions that it needs.
pub const KEPT: &str = "the view keeps the versions that it shows";

/// The version of a committed state, as the public type.
pub fn version_of(state: State) -> Version {
    Version::from_u64(state.version())
}

/// A registered view and its clear watermark.
pub struct Snapshot {
    /// The registration.
    registered: Registered,
    /// Everything up to this version had been cleared.
    watermark: u64,
}

impl Snapshot {
    /// The version that the view sees; 0 before the first commit.
    pub fn version(&self) -> u64 {
        self.registered.version()
    }

    /// The time at which the view was opened. A value is absent in the view if its deadline had
    /// passed by then, and only then.
    pub fn opened(&self) -> u64 {
        self.registered.opened()
    }

    /// Keeps the place in the code that has opened the view.
    #[inline]
    pub fn opened_by(&self, opener: CodePlace) {
        self.registered.note_opener(opener);
    }

    /// The clear watermark of the view.
    pub fn watermark(&self) -> u64 {
        self.watermark
    }

    /// The instant of the view, for a reader with a guard.
    #[inline(always)]
    pub fn at<'g>(&'g self, _: Live<'g>) -> ReadAt<'g> {
        // SAFETY: the view is registered as long as this is borrowed, and a guard is live.
        unsafe { ReadAt::new(Limit::View(self.registered.version())) }.above(self.watermark)
    }
}

impl<K, V, S, R: Reclaim, H: Host<K, V>> Store<K, V, S, R, H> {
    /// Opens a view. `is_timeless` is called after a number was read, and says whether no version
    /// up to that number has a deadline.
    pub fn open(&self, is_timeless: impl Fn() -> bool) -> Snapshot {
        let guard = self.pin();
        let registered = self.register(&guard, is_timeless);
        self.snapshot(&guard, registered)
    }

    /// Registers a view. Lock-free: the loop repeats only if another view was opened meanwhile and
    /// a number was taken.
    fn register(&self, guard: &R::Guard<'_>, is_timeless: impl Fn() -> bool) -> Registered {
        loop {
            let place = self.views.place(self.live(guard));
            let instant = || self.order.instant_if(&is_timeless);
            // SAFETY: the guard is live, and the place is made for this view. What is taken out of
            // the list is passed once; so it is in the other calls.
            let registered = unsafe {
                let retire = |place| self.retire_place(guard, place);
                self.views.open(&self.order.clock, instant, place, retire)
            };
            if registered.is_timed() {
                return registered;
            }
            if let Some(waiting) = self.unregister(guard, registered) {
                self.defer(guard, waiting);
            }
        }
    }

    /// A view of exactly `version`, if an open view keeps that version or it is the newest one.
    pub fn open_at(&self, version: u64, is_timeless: impl Fn() -> bool) -> Option<Snapshot> {
        let guard = self.pin();
        // SAFETY: the guard is live.
        let joined = unsafe { self.views.join(version, |place| self.retire_place(&guard, place)) };
        if let Some(registered) = joined {
            return Some(self.snapshot(&guard, registered));
        }
        if self.version() != version {
            return None;
        }
        let registered = self.register(&guard, is_timeless);
        if registered.version() == version {
            return Some(self.snapshot(&guard, registered));
        }
        if let Some(waiting) = self.unregister(&guard, registered) {
            self.defer(&guard, waiting);
        }
        None
    }

    /// Puts a place of a joint view into the list. The caller passes it to
    /// [`register_joint`](Self::register_joint) when all places of the view are in their lists.
    pub fn announce_joint(&self, joint: &Arc<JointInstant>) -> AnnouncedPlace {
        let guard = self.pin();
        let place = self.views.place(self.live(&guard));
        // SAFETY: as in `register`.
        unsafe {
            let retire = |place| self.retire_place(&guard, place);
            self.views.open_joint(&self.order.clock, joint, place, retire)
        }
    }

    /// Opens this store's view of a joint view, of this version. `time` belongs to the version, if
    /// it is given. Without a time, or if the place was detached, closes the view again.
    pub fn register_joint(
        &self,
        announced: AnnouncedPlace,
        version: u64,
        time: Option<u64>,
    ) -> Option<Snapshot> {
        let guard = self.pin();
        let registered = Views::register(announced, version, time);
        if registered.is_timed() {
            return Some(self.snapshot(&guard, registered));
        }
        if let Some(waiting) = self.unregister(&guard, registered) {
            self.defer(&guard, waiting);
        }
        None
    }

    /// Adds a holder to a view.
    pub fn share(&self, snapshot: &Snapshot) -> Snapshot {
        Snapshot { registered: self.views.share(&snapshot.registered), ..*snapshot }
    }

    fn snapshot(&self, _guard: &R::Guard<'_>, registered: Registered) -> Snapshot {
        // SAFETY: the version is that of a registered view, and a guard is live. Each clearing
        // commit that may be at or before the version was ready before the view read the clock, so
        // the answer is final.
        let at = unsafe { ReadAt::new(Limit::View(registered.version())) };
        let watermark = self.order.watermark_at(at);
        self.host.view_opened(registered.version());
        Snapshot { registered, watermark }
    }

    /// Closes a view. If the caller was the last holder, returns the removals that waited for the
    /// view. The caller [processes](Self::work_off) or [defers](Self::defer) them.
    pub fn close(&self, guard: &R::Guard<'_>, snapshot: Snapshot) -> Option<PendingRemovals> {
        self.unregister(guard, snapshot.registered)
    }

    fn unregister(&self, guard: &R::Guard<'_>, view: Registered) -> Option<PendingRemovals> {
        let version = view.version();
        // SAFETY: the guard is live, and places are retired through it.
        let taken = unsafe { self.views.close(view, |place| self.retire_place(guard, place)) }?;
        self.host.view_closed(version);
        step("leftover.taken");
        Some(PendingRemovals::after(taken, version))
    }

    /// Whether a view is open.
    pub fn has_views(&self) -> bool {
        !self.views.none()
    }

    /// The smallest version of an open view at some instant, and when that view was opened, for
    /// statistics. Visits all views.
    pub fn oldest_view(&self, guard: &R::Guard<'_>) -> Option<(u64, u64)> {
        if self.views.count() == 0 {
            return None;
        }
        self.shown_views(guard).last().map(|view| (view.version, view.opened))
    }

    /// The open views, the newest first, for statistics.
    pub fn shown_views<'g>(
        &'g self,
        _guard: &'g R::Guard<'_>,
    ) -> impl Iterator<Item = ShownView> + 'g {
        // SAFETY: a guard is live for `'g`.
        unsafe { self.views.shown() }
    }

    /// Retires the clearing commits that no view needs any more, if they are many.
    pub fn trim_clearings(&self, guard: &R::Guard<'_>) {
        if self.order.watermark.is_raised() {
            let (clock, views) = (&self.order.clock, &self.views);
            // SAFETY: a guard is live. What the callbacks receive was taken out, once.
            unsafe {
                let retire = |node| self.retire_era(guard, node);
                self.order.watermark.trim(clock, views, retire, |place| {
                    self.retire_place(guard, place);
                });
            }
        }
    }
}

/// A view that is closed when it is dropped, even if a user's closure panics. The removals that
/// waited for it are deferred.
pub struct OpenView<'s, K, V, S, R: Reclaim, H: Host<K, V>> {
    store: &'s Store<K, V, S, R, H>,
    snapshot: Option<Snapshot>,
}

impl<'s, K, V, S, R: Reclaim, H: Host<K, V>> OpenView<'s, K, V, S, R, H> {
    /// Opens a view.
    pub fn new(store: &'s Store<K, V, S, R, H>, is_timeless: impl Fn() -> bool) -> Self {
        Self { store, snapshot: Some(store.open(is_timeless)) }
    }

    /// The snapshot of the view.
    pub fn snapshot(&self) -> &Snapshot {
        self.snapshot.as_ref().expect("the snapshot is taken only when the view is closed")
    }
}

impl<K, V, S, R: Reclaim, H: Host<K, V>> Drop for OpenView<'_, K, V, S, R, H> {
    fn drop(&mut self) {
        let guard = self.store.pin();
        if let Some(snapshot) = self.snapshot.take()
            && let Some(waiting) = self.store.close(&guard, snapshot)
        {
            self.store.defer(&guard, waiting);
            self.store.trim_clearings(&guard);
        }
    }
}
