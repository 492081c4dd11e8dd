//! Tests of the list of views, with a single thread.

use super::*;

/// Views without a reclaimer: places are reused at once, because there is no other thread.
struct World(Views, Clock);

impl World {
    fn retire(&self) -> impl Fn(*mut ViewPlace) + '_ {
        // SAFETY: removed from the list just now, and no other thread exists.
        |place| unsafe { self.0.give(NonNull::new(place).unwrap()) }
    }

    fn open(&self) -> Registered {
        // SAFETY: a single thread, so nothing that a guard would keep is reclaimed.
        unsafe {
            let place = self.0.place(Live::assumed());
            self.0.open(&self.1, || (self.1.now(), 0), place, self.retire())
        }
    }

    fn close(&self, view: Registered) -> bool {
        // SAFETY: as above. The place is not given back, because the closing view still reads it.
        unsafe { self.0.close(view, |_| ()) }.is_some()
    }

    fn oldest(&self) -> Option<u64> {
        // SAFETY: as above.
        unsafe { self.0.shown() }.last().map(|view| view.version)
    }

    fn first_below(&self, version: u64) -> Option<u64> {
        // SAFETY: as above.
        unsafe { self.0.first_below(&self.1, version, |_| ()) }.map(|view| view.version())
    }

    /// The number of places in the list.
    fn length(&self) -> usize {
        let mut next = self.0.newest.load(Ordering::Relaxed);
        let mut length = 0;
        // SAFETY: as above.
        while let Some(place) = unsafe { next.as_ref() } {
            next = unmarked(place.older.load(Ordering::Relaxed));
            length += 1;
        }
        length
    }
}

#[test]
fn the_oldest_view_has_the_smallest_version() {
    let world = World(Views::new(), Clock::new());
    assert_eq!(world.oldest(), None);
    let open = |_| {
        let view = world.open();
        world.1.tick();
        view
    };
    let mut open: Vec<_> = (0..60).map(open).collect();
    let shared = world.0.share(&open[0]);
    assert!(!world.close(open.remove(0)));
    assert_eq!(world.oldest(), Some(0), "the view has another holder");
    assert!(world.close(shared));
    for view in open {
        assert_eq!(world.oldest(), Some(view.version()));
        // A newer view changes nothing.
        let newest = world.open();
        assert_eq!(world.oldest(), Some(view.version()));
        world.close(newest);
        world.close(view);
    }
    assert_eq!((world.oldest(), world.length()), (None, 0));
}

#[test]
fn the_first_view_below_a_version_is_the_newest_such_view() {
    let world = World(Views::new(), Clock::new());
    let mut open = Vec::new();
    for _ in 0..20 {
        open.push(world.open());
        (0..10).for_each(|_| _ = world.1.tick());
    }
    assert_eq!(world.first_below(0), None);
    assert_eq!(world.first_below(1), Some(0));
    assert_eq!(world.first_below(100), Some(90));
    assert_eq!(world.first_below(101), Some(100));
    world.close(open.remove(10));
    assert_eq!(world.first_below(101), Some(90));
    assert_eq!(world.first_below(1_000), Some(190));
    open.into_iter().for_each(|view| assert!(world.close(view)));
    assert_eq!(world.first_below(1_000), None);
}

/// In whatever order views close, the list is at most about twice as long as the number of open
/// views.
#[test]
fn places_of_closed_views_leave_the_list() {
    let world = World(Views::new(), Clock::new());
    let oldest = world.open();
    let mut last = world.open();
    for _ in 0..1_000 {
        let next = world.open();
        world.close(std::mem::replace(&mut last, next));
        assert!(world.length() <= 2 * world.0.count() + SLACK, "{}", world.length());
    }
    let many: Vec<_> = (0..1_000).map(|_| world.open()).collect();
    let newest = world.open();
    for view in many {
        world.close(view);
        assert!(world.length() <= 2 * world.0.count() + SLACK);
    }
    [last, newest, oldest].into_iter().for_each(|view| assert!(world.close(view)));
    assert_eq!(world.length(), 0);
}
