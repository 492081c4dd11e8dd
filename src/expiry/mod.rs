//! When entries' time is up: a wheel of deadlines that whoever writes keeps turning, in bounded steps,
//! without a lock or a thread for it.
//!
//! # The wheel
//! Hierarchical timing wheels (Varghese & Lauck, SOSP'87, scheme 7). Time is counted in ticks of 2^20 ns;
//! a level has 64 slots, and a slot of level `n` is for 64^n ticks. An entry goes to the lowest level on
//! which its deadline's tick and the present one differ, into the slot that its tick has there. When the
//! wheel comes to that slot, the entries come out of it; whose deadline has not come goes in again, on a
//! lower level by then. So an entry is touched as many times as there are levels below it, at most, and
//! the wheel knows no deadlines: the engine is asked, and it may have put one off meanwhile for nothing.
//!
//! # The contract with the engine
//! - An entry is known by a [`Handle`]. The engine answers for it through [`Timed`]; the wheel never
//!   looks behind it.
//! - `schedule` puts a handle in. A handle may be in the wheel any number of times, each for itself, and
//!   the engine counts them: one more at each `Timed::hold`, one less whenever `come_due` says `Gone`. A
//!   deadline that is put off needs no call; one that is brought forward needs another `schedule`.
//! - `come_due` decides by the deadline that the entry has now. The deadline may well lie ahead: it was
//!   put off, or the entry came out of a higher level, or it was held twice. An entry whose deadline
//!   has passed is expired there. `come_due` does not panic.
//! - `sift` takes out some of what is not waited for any more, by what `Timed::awaits` says. The engine calls it
//!   when a deadline is dropped, or brought forward.
//! - Calls are made under a guard of the engine's reclamation: a handle may be used here until the guard
//!   ends, although another thread released it meanwhile.
//! - All of these may be called by many threads at a time, with times that differ, as threads read the
//!   clock and are stopped before they come here.
//!
//! # What is promised
//! When an entry comes out of the lowest level, the deadline that it went in for has passed. It comes out
//! within a tick of that and the work that is to be done before it, provided that somebody calls
//! [`Wheel::advance`] and that it is not in the hands of a thread that was stopped. A call takes out
//! as many entries as it is told to at most; beside that it passes over the slots between one time and the
//! other, [`SLOTS`] a level and turn at most, in at most two turns a level however long nobody called, and
//! one load if there is nothing to pass over.
//!
//! # How it turns
//! `front` is the tick that the wheel has come to, `swept` the one before which all slots are empty. To turn
//! the wheel is to move `front` on (from `swept` only), to empty the slots in between, and then to move
//! `swept` up. Each step may be anybody's, so a thread that was stopped holds nobody up.
//!
//! One may be about to put an entry into a slot that is emptied meanwhile. So after it has put it in, it
//! looks at `front` again, and if that has come to the slot, puts the entry in once more, further on; unless
//! it could take it back, the slot keeps a copy until the wheel comes round. Who empties a slot has
//! seen `front` there before. There is a full fence between the two on either side (Dekker), so one of the
//! two sees the other.
//!
//! `front` goes as far at once as can be without passing a slot that takes new entries at the same time: see
//! `advanced` in `ticks`. No counts of entries are kept for that, which all would write to: to look at a slot
//! that is empty is a load.

mod cells;
mod sift;
mod ticks;

use crate::queue::Handle;
use crate::sync::{AtomicU64, Ordering, fence, hook, lazy_array::LazyArray, time::NEVER};
use cells::{Cells, List};
use crossbeam_utils::CachePadded;
pub use sift::AT_ONCE;
use sift::Cursor;
use ticks::{LEVELS, Place};
pub use ticks::{SLOTS, TICK_BITS};

/// What is to become of an entry that came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// It goes in again, for this deadline.
    Later(u64),
    /// The wheel holds it no longer.
    Gone,
}

/// The engine, as the wheel sees it. See the module's head for the contract.
pub trait Timed: Scheduled {
    /// The entry came out, and this is the time. If its deadline has passed, this expires it.
    fn come_due(&self, entry: Handle, now: u64) -> Due;
}

/// What the wheel asks of an entry that it holds.
pub trait Scheduled {
    /// The wheel holds the handle once more.
    fn hold(&self, entry: Handle);
    /// The entry's deadline, if it has one.
    fn awaits(&self, entry: Handle) -> Option<u64>;
    /// The wheel holds the handle once less.
    fn let_go(&self, entry: Handle);
    /// One of the other questions about the entry comes soon.
    fn prefetch(&self, _entry: Handle) {}
}

/// The slots of one level.
struct Level([Slot; SLOTS]);

/// The entries of a slot, in any order, on two sides; see `sift`.
struct Slot([List; 2]);

impl Slot {
    fn new() -> Self {
        Self(std::array::from_fn(|_| List::new()))
    }
}

/// The wheel of one cache.
pub struct Wheel {
    time: CachePadded<Time>,
    levels: LazyArray<Level, LEVELS>,
    cells: Cells,
    cursor: CachePadded<Cursor>,
}

/// See "How it turns". `swept <= front`, and both only grow.
struct Time {
    front: AtomicU64,
    swept: AtomicU64,
}

impl Default for Wheel {
    fn default() -> Self {
        Self::new()
    }
}

impl Wheel {
    /// An empty wheel, at time zero. The first entries make its memory.
    pub fn new() -> Self {
        let time = Time { front: AtomicU64::new(0), swept: AtomicU64::new(0) };
        let cursor = CachePadded::new(Cursor::new());
        Self { time: CachePadded::new(time), levels: LazyArray::new(), cells: Cells::new(), cursor }
    }

    /// Puts a handle in for a deadline, which is not `NEVER`. `Timed::hold` is called before each time that
    /// it goes in.
    pub fn schedule(&self, entry: Handle, deadline: u64, timed: &impl Scheduled) {
        timed.hold(entry);
        self.put(self.cells.make(entry), entry, deadline, timed);
    }

    /// Puts a cell in that holds this handle.
    fn put(&self, mut cell: u32, entry: Handle, deadline: u64, timed: &impl Scheduled) {
        debug_assert!(deadline != NEVER, "what never comes is not waited for");
        let tick = ticks::of_deadline(deadline);
        loop {
            // Relaxed: if this is not the newest, that is seen below.
            let place = Place::new(self.time.front.load(Ordering::Relaxed), tick);
            let list = self.list(place);
            let put = self.cells.push(list, &[cell]);
            hook::step("expiry.put");
            if !hook::mutant("expiry.no_fence") {
                fence(Ordering::SeqCst); // partner: the fence in `sweep`
            }
            let is_ahead = self.time.front.load(Ordering::Relaxed) < place.begins;
            if is_ahead || hook::mutant("expiry.no_recheck") {
                return;
            }
            if !self.cells.take_back(list, put, &[cell]) {
                if !hook::mutant("expiry.copy_uncounted") {
                    timed.hold(entry);
                }
                cell = self.cells.make(entry);
            }
        }
    }

    fn list(&self, place: Place) -> &List {
        let level =
            self.levels.get_or_make(place.level, || Level(std::array::from_fn(|_| Slot::new())));
        &level.0[place.slot].0[self.cursor.side()]
    }

    /// Turns the wheel to this time, as far as that is possible with so many entries that come out. Returns
    /// how many did.
    #[inline]
    pub fn advance(&self, now: u64, timed: &impl Timed, steps: usize) -> usize {
        if self.is_idle(now) { 0 } else { self.turn(now, timed, steps) }
    }

    /// Whether the wheel has come to this deadline.
    pub fn is_past(&self, deadline: u64) -> bool {
        ticks::of_deadline(deadline) <= self.time.front.load(Ordering::Relaxed) // nothing is read through it
    }

    /// Whether the wheel has come to this time, and nothing is to be done.
    #[inline]
    pub fn is_idle(&self, now: u64) -> bool {
        // Relaxed: nothing is read through it.
        self.time.swept.load(Ordering::Relaxed) >= ticks::of_time(now)
    }

    fn turn(&self, now: u64, timed: &impl Timed, steps: usize) -> usize {
        let tick = ticks::of_time(now);
        let mut left = steps;
        loop {
            // Acquire: pairs with the CAS below. `front` is not behind it.
            let swept = self.time.swept.load(Ordering::Acquire);
            if swept >= tick {
                return steps - left;
            }
            // None: another thread is further.
            let Some(front) = self.front(swept, tick) else { continue };
            hook::step("expiry.to_sweep");
            if !self.sweep(swept, front, now, timed, &mut left) {
                return steps - left;
            }
            hook::step("expiry.swept");
            if hook::mutant("expiry.empty_first") {
                self.move_front(swept, front);
            }
            // Release: who finds it there finds `front` there. Of several threads that were at it, one moves it.
            let _ = self.time.swept.compare_exchange(
                swept,
                front,
                Ordering::Release,
                Ordering::Relaxed,
            );
        }
    }

    /// Where the wheel is on its way to from `swept`: sent on its way by this call, if by no other.
    fn front(&self, swept: u64, tick: u64) -> Option<u64> {
        // Acquire: pairs with the CAS, before which `swept` was seen to have come to where it started.
        let mut front = self.time.front.load(Ordering::Acquire);
        if front == swept {
            let next = ticks::advanced(front, tick);
            if hook::mutant("expiry.empty_first") {
                return Some(next);
            }
            front = self.move_front(front, next);
        }
        self.is_swept_to(swept).then_some(front)
    }

    /// Moves the front on, unless another thread did. Returns where it is.
    fn move_front(&self, from: u64, to: u64) -> u64 {
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire); // see `front`
        let moved = self.time.front.compare_exchange(from, to, success, failure);
        moved.map_or_else(|other| other, |_| to)
    }

    /// Whether the wheel is still on its way from there.
    fn is_swept_to(&self, swept: u64) -> bool {
        self.time.swept.load(Ordering::Relaxed) == swept
    }

    /// Empties the slots after `swept`, to `front`. False if it was not allowed to take all out.
    fn sweep(
        &self,
        swept: u64,
        front: u64,
        now: u64,
        timed: &impl Timed,
        left: &mut usize,
    ) -> bool {
        if !hook::mutant("expiry.no_fence") {
            fence(Ordering::SeqCst); // partner: the fence in `put`
        }
        // Whoever moved the front may have seen a later time than this thread.
        let now = now.max(front << TICK_BITS);
        for number in 0..LEVELS {
            let Some(level) = self.levels.get(number) else { continue };
            for slot in ticks::passed(number, swept, front) {
                for list in &level.0[slot].0 {
                    // If others are done with it, what is in there now is for later.
                    while self.is_swept_to(swept) && !list.is_empty() {
                        if *left == 0 {
                            return hook::mutant("expiry.done_too_early");
                        }
                        let Some(cell) = self.cells.pop(list) else { break };
                        *left -= 1;
                        hook::step("expiry.out");
                        self.came_out(cell, now, timed);
                    }
                }
            }
        }
        true
    }

    fn came_out(&self, cell: u32, now: u64, timed: &impl Timed) {
        let entry = self.cells.entry(cell);
        match timed.come_due(entry, now) {
            Due::Later(deadline) => self.put(cell, entry, deadline, timed),
            Due::Gone => self.cells.free(&[cell]),
        }
    }

    #[cfg(any(test, coeval_loom))]
    fn lists(&self) -> impl Iterator<Item = &List> {
        let levels = (0..LEVELS).filter_map(|level| self.levels.get(level));
        levels.flat_map(|level| &level.0).flat_map(|slot| &slot.0)
    }

    /// How many handles are in the wheel, each as often as it is. Counts them; exact when no other thread
    /// is at work.
    #[cfg(any(test, coeval_loom))]
    pub fn len(&self) -> u64 {
        self.lists().map(|list| self.cells.count(list)).sum()
    }

    /// Whether none is.
    #[cfg(any(test, coeval_loom))]
    pub fn is_empty(&self) -> bool {
        self.lists().all(List::is_empty)
    }

    /// Bytes that it takes beside its own.
    pub fn bytes(&self) -> usize {
        let levels = (0..LEVELS).filter(|level| self.levels.get(*level).is_some()).count();
        levels * size_of::<Level>() + self.cells.bytes()
    }

    /// Gives all handles back, for when the cache is dropped.
    #[cfg(any(test, coeval_loom))]
    pub fn drain(&self, mut each: impl FnMut(Handle)) {
        for list in self.lists() {
            while let Some(cell) = self.cells.pop(list) {
                each(self.cells.entry(cell));
                self.cells.free(&[cell]);
            }
        }
    }
}

#[cfg(all(test, not(coeval_loom)))]
mod tests;
