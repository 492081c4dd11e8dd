//! Lists of handles, and the cells that they are made of.
//!
//! A list is a stack (Treiber's): who puts handles in takes one step, and who takes some off the top, too. Which of
//! a slot's entries goes first is all the same. Cells are named by numbers, and used again: so all lists
//! together take no more than the most entries that there were at one time, wherever they were.
//!
//! A list's word is the number of its top cell, and a tag that counts how often one was taken off. One who
//! looked at the top and below it, and slept while that cell went and came back, finds another tag. (Unless
//! 2^32 were taken off that one list meanwhile, or a multiple, with the same cell on top again.)

use crate::queue::Handle;
use crate::sync::{AtomicU32, AtomicU64, Ordering, hook, lazy_array::LazyArray};
use crossbeam_utils::CachePadded;

/// Cells of the first part; each part is twice as large as the one before.
const FIRST: u32 = if cfg!(coeval_loom) { 4 } else { 64 };
/// Parts: 2^32 cells less a few.
const PARTS: usize = 26;
/// The most cells that there are numbers for; 0 is none.
const MOST: u64 = FIRST as u64 * ((1 << PARTS) - 1);

/// Takes off the top: the tag goes up by one.
const TAKEN: u64 = 1 << 32;

/// A list of cells.
pub struct List(AtomicU64);

impl List {
    /// An empty list.
    pub fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Whether there is no cell in it.
    pub fn is_empty(&self) -> bool {
        top(self.0.load(Ordering::Relaxed)) == 0 // Relaxed: who takes one out looks again.
    }
}

fn top(word: u64) -> u32 {
    word as u32
}

/// The word of a list with another top.
fn with_top(word: u64, top: u32) -> u64 {
    word >> 32 << 32 | u64::from(top)
}

/// A list as it was just after a cell was put on it.
#[derive(Clone, Copy)]
pub struct Put(u64);

/// A handle in a list, and the cell below.
#[derive(Default)]
struct Cell {
    entry: AtomicU64,
    below: AtomicU32,
}

/// All cells of a wheel.
pub struct Cells {
    parts: LazyArray<Box<[Cell]>, PARTS>,
    /// Cells that have been numbered.
    made: CachePadded<AtomicU64>,
    free: CachePadded<List>,
}

// All orderings: a cell's fields are written before the CAS that puts it on a list, which releases, and
// read after the list's word was read, which acquires. (All changes of that word are read-modify-writes, so
// what an earlier one released comes with a later one.) They may be read when the cell is another's
// already: then the CAS that follows fails, by the tag. So the fields are Relaxed.
impl Cells {
    /// None yet.
    pub fn new() -> Self {
        let (made, free) = (AtomicU64::new(0), List::new());
        Self { parts: LazyArray::new(), made: CachePadded::new(made), free: CachePadded::new(free) }
    }

    fn cell(&self, number: u32) -> &Cell {
        self.known(number).expect("made before its number was given away")
    }

    fn known(&self, number: u32) -> Option<&Cell> {
        let (part, at) = place(number);
        self.parts.get(part).map(|part| &part[at])
    }

    /// A cell for a handle, in no list.
    ///
    /// # Panics
    /// If there are as many cells as there are numbers.
    pub fn make(&self, entry: Handle) -> u32 {
        let number = self.pop(&self.free).unwrap_or_else(|| self.fresh());
        self.cell(number).entry.store(entry.bits(), Ordering::Relaxed);
        number
    }

    fn fresh(&self) -> u32 {
        let number = self.made.fetch_add(1, Ordering::Relaxed) + 1; // Relaxed: it hands out numbers.
        assert!(number <= MOST, "more than {MOST} deadlines at one time");
        let number = number as u32;
        let (part, _) = place(number);
        self.parts.get_or_make(part, || (0..FIRST << part).map(|_| Cell::default()).collect());
        number
    }

    /// The handle in a cell that is this thread's.
    pub fn entry(&self, number: u32) -> Handle {
        Handle::new(self.cell(number).entry.load(Ordering::Relaxed))
    }

    /// Gives cells back.
    pub fn free(&self, numbers: &[u32]) {
        self.push(&self.free, numbers);
    }

    /// Puts cells on a list, one at least, the first on top.
    pub fn push(&self, list: &List, numbers: &[u32]) -> Put {
        for pair in numbers.windows(2) {
            self.cell(pair[0]).below.store(pair[1], Ordering::Relaxed);
        }
        let last = self.cell(numbers[numbers.len() - 1]);
        let mut word = list.0.load(Ordering::Relaxed);
        loop {
            last.below.store(top(word), Ordering::Relaxed);
            hook::step("expiry.to_push");
            let put = with_top(word, numbers[0]);
            match list.0.compare_exchange(word, put, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Put(put),
                Err(now) => word = now,
            }
        }
    }

    /// Takes the top cell off a list.
    pub fn pop(&self, list: &List) -> Option<u32> {
        let mut number = [0];
        (self.pop_some(list, &mut number) == 1).then_some(number[0])
    }

    /// Takes cells off the top of a list, as many as there is room for. Returns how many there were.
    pub fn pop_some(&self, list: &List, numbers: &mut [u32]) -> usize {
        let mut word = list.0.load(Ordering::Acquire);
        while top(word) != 0 {
            let (mut count, mut next) = (0, top(word));
            while next != 0 && count < numbers.len() {
                // If the list is no longer so, this may be a cell of another, and one that we have not seen made.
                let Some(cell) = self.known(next) else { break };
                numbers[count] = next;
                next = cell.below.load(Ordering::Relaxed);
                count += 1;
            }
            match self.take(list, word, next) {
                Ok(()) => return count,
                Err(now) => word = now,
            }
        }
        0
    }

    /// Takes the cells off again that were put on, if nothing has happened to the list since.
    pub fn take_back(&self, list: &List, put: Put, numbers: &[u32]) -> bool {
        let below = self.cell(numbers[numbers.len() - 1]).below.load(Ordering::Relaxed);
        self.take(list, put.0, below).is_ok()
    }

    /// Takes what is above `below` off a list that is still so; else, says how it is.
    fn take(&self, list: &List, word: u64, below: u32) -> Result<(), u64> {
        hook::step("expiry.to_take");
        let tag = if hook::mutant("expiry.tag_stands_still") { 0 } else { TAKEN };
        let without = with_top(word, below).wrapping_add(tag);
        let taken = list.0.compare_exchange(word, without, Ordering::AcqRel, Ordering::Acquire);
        taken.map(|_| ())
    }

    /// How many cells are on a list, if no other thread is at work.
    #[cfg(any(test, coeval_loom))]
    pub fn count(&self, list: &List) -> u64 {
        let made = self.made.load(Ordering::Relaxed);
        let some = |number: u32| (number != 0).then_some(number);
        let first = some(top(list.0.load(Ordering::Acquire)));
        let below = |number: &u32| some(self.cell(*number).below.load(Ordering::Relaxed));
        let cells = std::iter::successors(first, below);
        // Beside others' work, the way down may lead from list to list.
        cells.take(made as usize).count() as u64
    }

    /// Bytes of all cells.
    pub fn bytes(&self) -> usize {
        let parts = (0..PARTS).filter_map(|part| self.parts.get(part));
        parts.map(|part| size_of_val::<[Cell]>(part)).sum()
    }
}

/// The part of a cell, and its place there. Part `p` has `FIRST << p` cells.
fn place(number: u32) -> (usize, usize) {
    let number = number - 1;
    let part = (number / FIRST + 1).ilog2();
    (part as usize, (number - FIRST * ((1 << part) - 1)) as usize)
}
