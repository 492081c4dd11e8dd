//! Expiry: a timing wheel of deadlines. Writers turn it in bounded steps; it takes no lock and
//! needs no thread of its own.
//!
//! # The wheel
//! The wheel is a hierarchical timing wheel (Varghese & Lauck, SOSP'87, scheme 7). Time is counted
//! in ticks of 2^20 ns. A level has 64 slots; a slot of level `n` covers 64^n ticks. An entry goes
//! to the lowest level on which the tick of its deadline differs from the present tick, into the
//! slot that covers its tick there. When the wheel reaches that slot, its entries come out. An
//! entry whose deadline has not passed goes in again, on a lower level. An entry is therefore
//! touched at most once per level. The wheel stores no deadlines but asks the engine, so the engine
//! can postpone a deadline at no cost.
//!
//! # The contract with the engine
//! - A [`Handle`] identifies an entry. The engine answers questions about it through [`Timed`]; the
//!   wheel never looks behind the handle.
//! - `schedule` inserts a handle. The wheel may hold a handle any number of times, and the engine
//!   counts these holds: one more at each `Timed::hold`, one less whenever `come_due` returns
//!   [`DueOutcome::Release`], and one less at each `Timed::let_go`. A postponed deadline needs no
//!   call. A deadline that is brought forward needs another `schedule`.
//! - `come_due` decides by the deadline that the entry has at that moment. The deadline may still
//!   lie ahead: it was postponed, or the entry came out of a higher level, or the wheel held it
//!   twice. If the deadline has passed, `come_due` expires the entry. `come_due` does not panic.
//! - `sift` takes out some of the entries that the wheel need not hold any more, as told by
//!   `Timed::deadline_of`. The engine calls it when a deadline is dropped or brought forward.
//! - The engine makes all calls under a guard of its reclamation. The wheel may use a handle until
//!   that guard ends, even if another thread releases the handle meanwhile.
//! - Many threads may make these calls at the same time. Their times may differ, because a thread
//!   may be stopped between reading the clock and calling.
//!
//! # What is promised
//! When an entry comes out of the lowest level, the deadline for which it was inserted has passed.
//! It comes out within one tick of that deadline, after the work that is due before it, provided
//! that threads call [`Wheel::advance`] and that no stopped thread has the entry in hand. A call
//! takes out at most as many entries as its caller allows. In addition it passes over the slots
//! between the two times: at most [`SLOTS`] per level and turn, in at most two turns per level,
//! however long ago the last call was. If there is no slot to pass over, a call costs one load.
//!
//! # How it turns
//! `front` is the tick that the wheel has reached. `swept` is the tick up to which all slots are
//! empty. To turn the wheel is to move `front` ahead (only from `swept`), to empty the slots in
//! between, and then to move `swept` up to `front`. Any thread may take each step, so a stopped
//! thread delays no other.
//!
//! A thread may be about to insert an entry into a slot that another thread empties. Therefore it
//! reads `front` again after the insertion. If `front` has reached the slot, it inserts the entry
//! once more, further ahead. If it cannot undo the first insertion, the slot keeps a copy until the
//! wheel reaches it again. A thread that empties a slot has first seen that `front` has reached it.
//! Each side has a full fence between its two accesses (Dekker), so at least one of the two sees
//! the other.
//!
//! `front` moves in one turn as far as possible without passing a slot that takes new entries at
//! the same time: see `ticks::next_front`. This needs no counts of entries, which all threads would
//! write to. Looking at an empty slot is one load.

mod cells;
mod sift;
mod ticks;

use crate::queue::Handle;
use crate::sync::{AtomicU64, Ordering, fence, hook, lazy_array::LazyArray, time::NEVER};
use cells::{CellStack, Cells};
use crossbeam_utils::CachePadded;
pub use sift::SIFT_BATCH;
use sift::SiftCursor;
use ticks::{LEVELS, SlotAddress};
pub use ticks::{SLOTS, TICK_BITS};

/// What the wheel does with an entry that came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DueOutcome {
    /// The wheel inserts the entry again, for this deadline.
    Reschedule(u64),
    /// The wheel holds the entry once less.
    Release,
}

/// The cache as the wheel sees it when it inserts entries and sorts them out. The module
/// documentation states the contract.
pub trait Scheduled {
    /// Counts one more hold of the wheel on the handle.
    fn hold(&self, entry: Handle);
    /// Returns the entry's deadline, if it has one.
    fn deadline_of(&self, entry: Handle) -> Option<u64>;
    /// Counts one hold of the wheel on the handle less.
    fn let_go(&self, entry: Handle);
    /// Announces one of the other questions about the entry.
    fn prefetch(&self, _entry: Handle) {}
}

/// The cache as the wheel sees it when entries come out.
pub trait Timed: Scheduled {
    /// Handles an entry that came out at the time `now`. If its deadline has passed, expires it.
    fn come_due(&self, entry: Handle, now: u64) -> DueOutcome;
}

/// The slots of one level.
struct Level([WheelSlot; SLOTS]);

/// The entries of a slot, unordered, in two stacks; see `sift`.
struct WheelSlot([CellStack; 2]);

impl WheelSlot {
    fn new() -> Self {
        Self(std::array::from_fn(|_| CellStack::new()))
    }
}

/// The timing wheel of one cache.
pub struct Wheel {
    progress: CachePadded<WheelProgress>,
    levels: LazyArray<Level, LEVELS>,
    cells: Cells,
    cursor: CachePadded<SiftCursor>,
}

/// The module documentation explains both fields. `swept <= front`, and both only grow.
struct WheelProgress {
    front: AtomicU64,
    swept: AtomicU64,
}

impl Default for Wheel {
    fn default() -> Self {
        Self::new()
    }
}

impl Wheel {
    /// Creates an empty wheel at time zero. Its memory is allocated by the first entries.
    pub fn new() -> Self {
        let progress = WheelProgress { front: AtomicU64::new(0), swept: AtomicU64::new(0) };
        Self {
            progress: CachePadded::new(progress),
            levels: LazyArray::new(),
            cells: Cells::new(),
            cursor: CachePadded::new(SiftCursor::new()),
        }
    }

    /// Inserts a handle for a deadline, which is not `NEVER`. Calls `Timed::hold` before each
    /// insertion of the handle.
    pub fn schedule(&self, entry: Handle, deadline: u64, timed: &impl Scheduled) {
        timed.hold(entry);
        self.insert(self.cells.allocate(entry), entry, deadline, timed);
    }

    /// Inserts a cell that contains the handle `entry`.
    fn insert(&self, mut cell: u32, entry: Handle, deadline: u64, timed: &impl Scheduled) {
        debug_assert!(deadline != NEVER, "an entry without a deadline is not scheduled");
        let tick = ticks::of_deadline(deadline);
        loop {
            // Relaxed: an outdated value is noticed by the second load below.
            let front = self.progress.front.load(Ordering::Relaxed);
            let address = SlotAddress::new(front, tick);
            let stack = self.stack_at(address);
            let pushed = self.cells.push(stack, &[cell]);
            hook::step("expiry.put");
            if !hook::mutant("expiry.no_fence") {
                fence(Ordering::SeqCst); // partner: the fence in `sweep`
            }
            let is_ahead = self.progress.front.load(Ordering::Relaxed) < address.begins;
            if is_ahead || hook::mutant("expiry.no_recheck") {
                return;
            }
            if !self.cells.undo_push(stack, pushed, &[cell]) {
                if !hook::mutant("expiry.copy_uncounted") {
                    timed.hold(entry);
                }
                cell = self.cells.allocate(entry);
            }
        }
    }

    fn stack_at(&self, address: SlotAddress) -> &CellStack {
        let make = || Level(std::array::from_fn(|_| WheelSlot::new()));
        let level = self.levels.get_or_make(address.level, make);
        &level.0[address.slot].0[self.cursor.target_side()]
    }

    /// Turns the wheel to the time `now`, or until `steps` entries have come out. Returns the
    /// number of entries that came out.
    #[inline]
    pub fn advance(&self, now: u64, timed: &impl Timed, steps: usize) -> usize {
        if self.is_idle(now) { 0 } else { self.turn(now, timed, steps) }
    }

    /// Returns whether the wheel has reached this deadline.
    pub fn has_reached(&self, deadline: u64) -> bool {
        // Relaxed: the value guards no data.
        ticks::of_deadline(deadline) <= self.progress.front.load(Ordering::Relaxed)
    }

    /// Returns whether the wheel has reached the time `now` and has nothing left to do.
    #[inline]
    pub fn is_idle(&self, now: u64) -> bool {
        // Relaxed: the value guards no data.
        self.progress.swept.load(Ordering::Relaxed) >= ticks::of_time(now)
    }

    fn turn(&self, now: u64, timed: &impl Timed, steps: usize) -> usize {
        let tick = ticks::of_time(now);
        let mut left = steps;
        loop {
            // Acquire: pairs with the CAS below. `front` is at least this value.
            let swept = self.progress.swept.load(Ordering::Acquire);
            if swept >= tick {
                return steps - left;
            }
            // `None`: another thread is further ahead.
            let Some(front) = self.front(swept, tick) else { continue };
            hook::step("expiry.to_sweep");
            if !self.sweep(swept, front, now, timed, &mut left) {
                return steps - left;
            }
            hook::step("expiry.swept");
            if hook::mutant("expiry.empty_first") {
                self.move_front(swept, front);
            }
            // Release: pairs with the Acquire load above. A thread that reads this value also reads
            // `front` at this value or a later one. Of several threads, one moves it.
            let _ = self.progress.swept.compare_exchange(
                swept,
                front,
                Ordering::Release,
                Ordering::Relaxed,
            );
        }
    }

    /// Returns the `front` of the turn that began at `swept`. Begins that turn if no other thread
    /// has.
    fn front(&self, swept: u64, tick: u64) -> Option<u64> {
        // Acquire: pairs with the CAS in `move_front`. The thread that made it had seen `swept` at
        // the value from which it moved the front.
        let mut front = self.progress.front.load(Ordering::Acquire);
        if front == swept {
            let next = ticks::next_front(front, tick);
            if hook::mutant("expiry.empty_first") {
                return Some(next);
            }
            front = self.move_front(front, next);
        }
        self.is_swept_to(swept).then_some(front)
    }

    /// Moves the front ahead, unless another thread has. Returns the front's position.
    fn move_front(&self, from: u64, to: u64) -> u64 {
        // AcqRel: pairs with the load in `front`.
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        let moved = self.progress.front.compare_exchange(from, to, success, failure);
        moved.map_or_else(|other| other, |_| to)
    }

    /// Returns whether the turn that began at `swept` is still under way.
    fn is_swept_to(&self, swept: u64) -> bool {
        self.progress.swept.load(Ordering::Relaxed) == swept
    }

    /// Empties the slots after `swept` up to `front`. Returns false if `left` ran out first.
    fn sweep(
        &self,
        swept: u64,
        front: u64,
        now: u64,
        timed: &impl Timed,
        left: &mut usize,
    ) -> bool {
        if !hook::mutant("expiry.no_fence") {
            fence(Ordering::SeqCst); // partner: the fence in `insert`
        }
        // The thread that moved the front may have read a later time than this thread.
        let now = now.max(front << TICK_BITS);
        for number in 0..LEVELS {
            let Some(level) = self.levels.get(number) else { continue };
            for slot in ticks::slots_passed(number, swept, front) {
                for stack in &level.0[slot].0 {
                    // Once another thread has ended this turn, the slot holds entries for later.
                    while self.is_swept_to(swept) && !stack.is_empty() {
                        if *left == 0 {
                            return hook::mutant("expiry.done_too_early");
                        }
                        let Some(cell) = self.cells.pop(stack) else { break };
                        *left -= 1;
                        hook::step("expiry.out");
                        self.come_out(cell, now, timed);
                    }
                }
            }
        }
        true
    }

    fn come_out(&self, cell: u32, now: u64, timed: &impl Timed) {
        let entry = self.cells.entry(cell);
        match timed.come_due(entry, now) {
            DueOutcome::Reschedule(deadline) => self.insert(cell, entry, deadline, timed),
            DueOutcome::Release => self.cells.free(&[cell]),
        }
    }

    #[cfg(any(test, coeval_loom, coeval_internals))]
    fn stacks(&self) -> impl Iterator<Item = &CellStack> {
        let levels = (0..LEVELS).filter_map(|level| self.levels.get(level));
        levels.flat_map(|level| &level.0).flat_map(|slot| &slot.0)
    }

    /// Counts the handles in the wheel; a handle counts once for each time that the wheel holds it.
    /// Exact when no other thread uses the wheel.
    #[cfg(any(test, coeval_loom, coeval_internals))]
    pub fn len(&self) -> u64 {
        self.stacks().map(|stack| self.cells.count(stack)).sum()
    }

    /// Returns whether the wheel holds no handle.
    #[cfg(any(test, coeval_loom, coeval_internals))]
    pub fn is_empty(&self) -> bool {
        self.stacks().all(CellStack::is_empty)
    }

    /// Returns the bytes that the wheel allocated, without its own size.
    pub fn bytes(&self) -> usize {
        let levels = (0..LEVELS).filter(|level| self.levels.get(*level).is_some()).count();
        levels * size_of::<Level>() + self.cells.bytes()
    }

    /// Gives all handles back.
    #[cfg(any(test, coeval_loom, coeval_internals))]
    pub fn drain(&self, mut each: impl FnMut(Handle)) {
        for stack in self.stacks() {
            while let Some(cell) = self.cells.pop(stack) {
                each(self.cells.entry(cell));
                self.cells.free(&[cell]);
            }
        }
    }
}

#[cfg(all(test, not(coeval_loom)))]
mod tests;
