//! Claim: the wheel of deadlines loses no entry. When the deadline of an entry has passed and all
//! threads are at rest, one turn of the wheel yields the entry. This holds if another thread
//! schedules the entry while the wheel turns, puts it back late, or has taken it out to check
//! whether it is still needed. The wheel yields an entry as often as it was put in.
//!
//! A level has four slots. After the threads, the main thread turns the wheel one tick further than
//! they did. An entry in a slot that the wheel has passed would come out only a round later.
#![cfg(any(coeval_loom, coeval_internals))]

use coeval::internals::expiry::{DueOutcome, Scheduled, TICK_BITS, Timed, Wheel};
use coeval::internals::queue::Handle;
use loom_tests::loom::thread;
use loom_tests::{explore, explore_steps, must_fail};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::SeqCst};

const ENTRIES: usize = 5;

/// What the engine knows about the entries. This is not part of the model.
#[derive(Default)]
struct Entries {
    /// In ticks; 0 if the entry has no value.
    deadlines: [AtomicU64; ENTRIES],
    held: [AtomicI32; ENTRIES],
}

fn number(entry: Handle) -> usize {
    entry.bits() as usize / 2 - 1
}

impl Scheduled for Entries {
    fn hold(&self, entry: Handle) {
        self.held[number(entry)].fetch_add(1, SeqCst);
    }

    fn deadline_of(&self, entry: Handle) -> Option<u64> {
        let deadline = self.deadlines[number(entry)].load(SeqCst);
        (deadline != 0).then_some(deadline << TICK_BITS)
    }

    fn let_go(&self, entry: Handle) {
        let held = self.held[number(entry)].fetch_sub(1, SeqCst);
        assert!(held > 0, "an entry came out once too often");
    }
}

impl Timed for Entries {
    fn come_due(&self, entry: Handle, now: u64) -> DueOutcome {
        let deadline = self.deadlines[number(entry)].load(SeqCst) << TICK_BITS;
        if deadline > now {
            return DueOutcome::Reschedule(deadline);
        }
        self.deadlines[number(entry)].store(0, SeqCst);
        self.let_go(entry);
        DueOutcome::Release
    }
}

#[derive(Default)]
struct Cache {
    wheel: Wheel,
    entries: Entries,
}

/// What a thread does.
#[derive(Clone, Copy)]
enum Step {
    /// Schedules an entry for the tick of its deadline.
    Schedule(usize, u64),
    /// Advances to a time, in ticks, and takes out at most this many entries.
    Advance(u64, usize),
    /// Marks an entry as no longer needed.
    Drop(usize),
    /// Sifts once, at most two entries.
    Sift,
}
use Step::{Advance, Drop, Schedule, Sift};

const ALL: usize = usize::MAX;

impl Cache {
    fn run(&self, steps: &[Step]) {
        for step in steps {
            match *step {
                Schedule(number, tick) => {
                    self.entries.deadlines[number].store(tick, SeqCst);
                    let entry = Handle::new((number as u64 + 1) * 2);
                    self.wheel.schedule(entry, tick << TICK_BITS, &self.entries);
                }
                Advance(tick, steps) => {
                    self.wheel.advance(tick << TICK_BITS, &self.entries, steps);
                }
                Drop(number) => self.entries.deadlines[number].store(0, SeqCst),
                Sift => self.wheel.sift(&self.entries),
            }
        }
    }

    /// Checks the claim at rest, when all deadlines up to `end` have passed.
    fn settle(&self, end: u64) {
        self.run(&[Advance(end, ALL)]);
        for deadline in &self.entries.deadlines {
            let deadline = deadline.load(SeqCst);
            assert!(deadline == 0 || deadline > end, "an entry is lost");
        }
        let held: i32 = self.entries.held.iter().map(|held| held.load(SeqCst)).sum();
        assert_eq!(
            self.wheel.len(),
            held as u64,
            "the wheel does not hold the number that was counted"
        );
        self.wheel.drain(|entry| {
            self.entries.held[number(entry)].fetch_sub(1, SeqCst);
        });
        let is_settled = self.entries.held.iter().all(|held| held.load(SeqCst) == 0);
        assert!(is_settled, "an entry is lost or came out twice");
    }
}

/// Runs the steps in `before`, then the threads, then the steps in `after`, and turns the wheel to
/// the end.
fn model<const N: usize>(
    before: &'static [Step],
    threads: [&'static [Step]; N],
    after: &'static [Step],
    end: u64,
) {
    let cache = Arc::new(Cache::default());
    cache.run(before);
    let threads = threads.map(|steps| {
        let cache = cache.clone();
        thread::spawn(move || cache.run(steps))
    });
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    cache.run(after);
    cache.settle(end);
}

/// An entry is put into the slot that the wheel is about to reach.
fn late_to_put_in() {
    explore(3, || model(&[], [&[Schedule(0, 1)], &[Advance(1, ALL)]], &[], 2));
    explore_steps(3, || model(&[], [&[Schedule(0, 1)], &[Advance(1, ALL)]], &[], 2));
}

#[test]
fn nothing_is_lost_in_a_slot_that_was_passed() {
    late_to_put_in();
}

#[test]
fn defect_no_second_look_at_the_front() {
    must_fail("expiry.no_recheck", "an entry is lost", late_to_put_in);
}

#[test]
fn defect_emptying_before_the_front_moves() {
    must_fail("expiry.empty_first", "an entry is lost", late_to_put_in);
}

#[test]
fn defect_no_fence_between_putting_in_and_the_second_look() {
    must_fail("expiry.no_fence", "an entry is lost", late_to_put_in);
}

/// As above, on the level above, and over a long distance.
#[test]
fn nothing_is_lost_in_a_higher_slot_that_was_passed() {
    explore_steps(3, || model(&[], [&[Schedule(0, 6)], &[Advance(4, ALL)]], &[], 6));
    explore_steps(3, || model(&[], [&[Schedule(0, 6)], &[Advance(40, ALL)]], &[], 41));
}

/// Two entries go into the slot that the wheel is about to reach. The thread of the first cannot
/// take its entry back, because the second lies above it.
fn a_copy_stays_behind() {
    explore_steps(2, || {
        let threads: [&[Step]; 3] = [&[Schedule(0, 1)], &[Schedule(1, 1)], &[Advance(1, ALL)]];
        model(&[], threads, &[], 2);
    });
}

#[test]
fn a_copy_that_stays_behind_is_counted() {
    a_copy_stays_behind();
}

#[test]
fn defect_a_copy_is_not_counted() {
    must_fail("expiry.copy_uncounted", "an entry came out once too often", a_copy_stays_behind);
}

/// Two threads turn the wheel, to different times, past an entry that moves to a lower level and
/// one that comes out.
#[test]
fn nothing_is_lost_between_levels() {
    explore_steps(2, || {
        let before = &[Schedule(0, 6), Schedule(1, 4)];
        model(before, [&[Advance(5, ALL)], &[Advance(6, ALL)]], &[], 7);
    });
}

/// One thread stops half-way, because it may take out only so many entries, and others go on.
fn stopping_half_way() {
    explore_steps(2, || {
        let before = &[Schedule(0, 1), Schedule(1, 2), Schedule(2, 1)];
        model(before, [&[Advance(2, 1), Schedule(3, 3)], &[Advance(2, 1)]], &[], 4);
    });
}

#[test]
fn a_thread_goes_on_where_another_stopped() {
    stopping_half_way();
}

#[test]
fn defect_stopping_half_way_is_taken_for_the_end() {
    must_fail("expiry.done_too_early", "an entry is lost", stopping_half_way);
}

/// One thread is about to empty a slot, and sleeps until the slot serves the next round.
#[test]
fn a_thread_that_sleeps_for_a_round_loses_nothing() {
    explore_steps(2, || {
        let other = &[Advance(4, ALL), Schedule(0, 5), Advance(5, ALL)];
        model(&[Schedule(1, 1)], [&[Advance(1, ALL)], other], &[], 6);
    });
}

/// One thread takes a cell from the free list while another takes that cell and the next one, and
/// gives the first one back.
fn cells_come_back() {
    explore_steps(2, || {
        let before = &[Schedule(0, 1), Schedule(1, 1), Advance(1, ALL)];
        let other = &[Schedule(1, 3), Schedule(2, 6), Advance(3, ALL)];
        model(before, [&[Schedule(0, 6)], other], &[Schedule(3, 6)], 6);
    });
}

#[test]
fn no_cell_is_used_twice() {
    cells_come_back();
}

#[test]
fn defect_the_tag_of_a_list_stands_still() {
    must_fail("expiry.tag_stands_still", "an entry came out once too often", cells_come_back);
}

/// One thread takes entries out of a slot to check them, and puts back those that are still needed,
/// while the wheel reaches the slot. (Before that, the wheel has passed slots without entries.)
fn sifting_a_slot_that_is_passed() {
    explore_steps(2, || {
        let before = &[Schedule(0, 1), Schedule(1, 1), Drop(0), Sift];
        model(before, [&[Sift], &[Advance(1, ALL)]], &[], 2);
    });
}

/// As above, with a slot of the level above, whose entries move to a lower level.
fn sifting_a_higher_slot_that_is_passed() {
    explore_steps(2, || {
        model(&[Schedule(0, 6), Sift, Sift], [&[Sift], &[Advance(5, ALL)]], &[], 6);
    });
}

#[test]
fn sifted_entries_are_not_lost() {
    sifting_a_slot_that_is_passed();
    sifting_a_higher_slot_that_is_passed();
}

#[test]
fn defect_no_look_at_the_front_after_putting_back() {
    must_fail("expiry.sift_unchecked", "an entry is lost", sifting_a_slot_that_is_passed);
}

#[test]
fn defect_sifting_a_slot_that_is_being_emptied() {
    must_fail(
        "expiry.sift_while_turning",
        "an entry is lost",
        sifting_a_higher_slot_that_is_passed,
    );
}

/// Two threads sift while a third puts an entry in.
#[test]
fn entries_sifted_by_two_threads_are_held_as_often_as_counted() {
    explore_steps(2, || {
        let before = &[Schedule(0, 1), Schedule(1, 1), Drop(0), Sift];
        let threads: [&[Step]; 3] = [&[Sift], &[Sift], &[Schedule(2, 1)]];
        model(before, threads, &[], 2);
    });
}
