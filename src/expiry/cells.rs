//! Stacks of handles, and the cells that they are made of.
//!
//! A slot of the wheel keeps its handles in stacks (Treiber's), because their order does not
//! matter. Pushing any number of cells takes one step, and so does popping several. Cells have
//! numbers and are reused. So all stacks together take no more memory than the largest number of
//! entries that there were at one time, whichever slots they were in.
//!
//! The word of a stack holds the number of its top cell, and a tag that counts the pops. Suppose
//! that a thread reads the top and the cell below it, and that this top cell is popped and pushed
//! back before the thread's CAS: the thread then finds another tag, and the CAS fails. (The scheme
//! misses a multiple of 2^32 pops of that one stack in the meantime, with the same cell on top.)

use crate::queue::Handle;
use crate::sync::{AtomicU32, AtomicU64, Ordering, hook, lazy_array::LazyArray};
use crossbeam_utils::CachePadded;

/// The number of cells of the first part. Each part is twice as large as the one before.
const FIRST: u32 = if cfg!(coeval_loom) { 4 } else { 64 };
/// The number of parts. Together they have slightly less than 2^32 cells.
const PARTS: usize = 26;
/// The largest number of cells. Cells are numbered from 1; 0 means none.
const MOST: u64 = FIRST as u64 * ((1 << PARTS) - 1);

/// One pop, in the tag of a stack's word.
const POP: u64 = 1 << 32;

/// A lock-free stack of cells.
pub struct CellStack(AtomicU64);

impl CellStack {
    /// Creates an empty stack.
    pub fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Returns whether the stack is empty.
    pub fn is_empty(&self) -> bool {
        top(self.0.load(Ordering::Relaxed)) == 0 // Relaxed: a pop looks again.
    }
}

fn top(word: u64) -> u32 {
    word as u32
}

/// Replaces the top in the word of a stack.
fn with_top(word: u64, top: u32) -> u64 {
    word >> 32 << 32 | u64::from(top)
}

/// The word of a stack just after a push, by which the push can be undone.
#[derive(Clone, Copy)]
pub struct Pushed(u64);

/// A handle in a stack, and the number of the cell below it.
#[derive(Default)]
struct HandleCell {
    entry: AtomicU64,
    below: AtomicU32,
}

/// All cells of one wheel.
pub struct Cells {
    parts: LazyArray<Box<[HandleCell]>, PARTS>,
    /// The number of cells ever created.
    created: CachePadded<AtomicU64>,
    free: CachePadded<CellStack>,
}

// The orderings: a thread writes the fields of a cell before the CAS that pushes the cell, which
// releases, and reads them after it has read the stack's word, which acquires. (All changes of that
// word are read-modify-writes, so a later change carries on what an earlier one released.) A thread
// may read the fields when the cell already belongs to another thread. The CAS that follows then
// fails because of the tag. So the fields are Relaxed.
impl Cells {
    /// Creates no cells yet.
    pub fn new() -> Self {
        let (created, free) = (AtomicU64::new(0), CellStack::new());
        Self {
            parts: LazyArray::new(),
            created: CachePadded::new(created),
            free: CachePadded::new(free),
        }
    }

    fn cell(&self, number: u32) -> &HandleCell {
        self.find(number).expect("a cell is made before its number is used")
    }

    fn find(&self, number: u32) -> Option<&HandleCell> {
        let (part, index) = locate(number);
        self.parts.get(part).map(|part| &part[index])
    }

    /// Allocates a cell that contains a handle and is in no stack.
    ///
    /// # Panics
    /// If all cell numbers are in use.
    pub fn allocate(&self, entry: Handle) -> u32 {
        let number = self.pop(&self.free).unwrap_or_else(|| self.create());
        self.cell(number).entry.store(entry.bits(), Ordering::Relaxed);
        number
    }

    fn create(&self) -> u32 {
        // Relaxed: only the numbers must differ.
        let number = self.created.fetch_add(1, Ordering::Relaxed) + 1;
        assert!(number <= MOST, "more than {MOST} deadlines at one time");
        let number = number as u32;
        let (part, _) = locate(number);
        let make = || (0..FIRST << part).map(|_| HandleCell::default()).collect();
        self.parts.get_or_make(part, make);
        number
    }

    /// Returns the handle in a cell that the calling thread owns.
    pub fn entry(&self, number: u32) -> Handle {
        Handle::new(self.cell(number).entry.load(Ordering::Relaxed))
    }

    /// Frees cells for reuse.
    pub fn free(&self, numbers: &[u32]) {
        self.push(&self.free, numbers);
    }

    /// Pushes one or more cells, so that the first of them is the top.
    pub fn push(&self, stack: &CellStack, numbers: &[u32]) -> Pushed {
        for pair in numbers.windows(2) {
            self.cell(pair[0]).below.store(pair[1], Ordering::Relaxed);
        }
        let last = self.cell(numbers[numbers.len() - 1]);
        let mut word = stack.0.load(Ordering::Relaxed);
        loop {
            last.below.store(top(word), Ordering::Relaxed);
            hook::step("expiry.to_push");
            let new = with_top(word, numbers[0]);
            match stack.0.compare_exchange(word, new, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Pushed(new),
                Err(now) => word = now,
            }
        }
    }

    /// Pops the top cell.
    pub fn pop(&self, stack: &CellStack) -> Option<u32> {
        let mut number = [0];
        (self.pop_many(stack, &mut number) == 1).then_some(number[0])
    }

    /// Pops cells in one step, as many as fit into `numbers`. Returns how many it popped.
    pub fn pop_many(&self, stack: &CellStack, numbers: &mut [u32]) -> usize {
        let mut word = stack.0.load(Ordering::Acquire);
        while top(word) != 0 {
            let (mut count, mut next) = (0, top(word));
            while next != 0 && count < numbers.len() {
                // If the stack has changed, `next` may be a cell of another stack, in a part that
                // this thread does not see yet.
                let Some(cell) = self.find(next) else { break };
                numbers[count] = next;
                next = cell.below.load(Ordering::Relaxed);
                count += 1;
            }
            match self.cut(stack, word, next) {
                Ok(()) => return count,
                Err(now) => word = now,
            }
        }
        0
    }

    /// Pops the cells of a push again. Returns false if the stack has changed since the push.
    pub fn undo_push(&self, stack: &CellStack, pushed: Pushed, numbers: &[u32]) -> bool {
        let below = self.cell(numbers[numbers.len() - 1]).below.load(Ordering::Relaxed);
        self.cut(stack, pushed.0, below).is_ok()
    }

    /// Pops all cells above `below`, if the stack's word is still `word`. Otherwise returns the
    /// present word.
    fn cut(&self, stack: &CellStack, word: u64, below: u32) -> Result<(), u64> {
        hook::step("expiry.to_take");
        let pop = if hook::mutant("expiry.tag_stands_still") { 0 } else { POP };
        let without = with_top(word, below).wrapping_add(pop);
        let cut = stack.0.compare_exchange(word, without, Ordering::AcqRel, Ordering::Acquire);
        cut.map(|_| ())
    }

    /// Counts the cells of a stack. Exact when no other thread uses the stack.
    #[cfg(any(test, coeval_loom, coeval_internals))]
    pub fn count(&self, stack: &CellStack) -> u64 {
        let created = self.created.load(Ordering::Relaxed);
        let non_zero = |number: u32| (number != 0).then_some(number);
        let first = non_zero(top(stack.0.load(Ordering::Acquire)));
        let below = |number: &u32| non_zero(self.cell(*number).below.load(Ordering::Relaxed));
        let cells = std::iter::successors(first, below);
        // While other threads work, the links may lead from stack to stack, so the walk is bounded.
        cells.take(created as usize).count() as u64
    }

    /// Returns the bytes of all cells.
    pub fn bytes(&self) -> usize {
        let parts = (0..PARTS).filter_map(|part| self.parts.get(part));
        parts.map(|part| size_of_val::<[HandleCell]>(part)).sum()
    }
}

/// Returns the part of a cell, and its index there. Part `p` has `FIRST << p` cells.
fn locate(number: u32) -> (usize, usize) {
    let number = number - 1;
    let part = (number / FIRST + 1).ilog2();
    (part as usize, (number - FIRST * ((1 << part) - 1)) as usize)
}
