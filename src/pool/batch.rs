//! A stack of batches of free slots, from which any thread may take.
//!
//! A batch is a list of slots. The data that the stack needs is not stored in the slots, because a
//! thread that pops slowly may read it when the slots already have a new owner. It is stored in a
//! [`BatchHeader`] of the batch. Headers are numbered, all their fields are atomic, and none is
//! freed before the stack. So a late reader reads an outdated number at worst.
//!
//! # Why no pop takes the wrong batch
//! The top of the stack is the number of a header and a count of pops. A pop reads the top and the
//! number of the header below, and replaces the former by the latter with a CAS. Headers are reused
//! immediately, so the same number may be back on top meanwhile, above another header. Then the
//! count differs, and the CAS fails. The count has 32 bits, so it recurs after 2^32 pops. That
//! cannot happen during one pop, because the popper holds a guard: a slot that is taken during the
//! guard is not given back during it. (It would have to be retired during it, and its grace period
//! lasts until the guard ends.) So a slot is in at most one batch that is popped during the guard.
//! With fewer than [`MAX_SLOTS`] slots, [`BATCH`] per batch, there are fewer than 2^32 such
//! batches.

use super::chunk::MAX_SLOTS;
use crate::memory;
use crate::sync::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, hook};
use crossbeam_utils::CachePadded;
use std::num::NonZeroU32;
use std::ptr::{self, NonNull};

/// The number of slots in a batch.
pub(super) const BATCH: u32 = if cfg!(coeval_loom) { 1 } else { 64 };

/// The width of the count of pops. A model has few batches, so its count is narrow and wraps
/// around.
const POP_COUNT_BITS: u32 = if cfg!(coeval_loom) { 2 } else { 32 };
const _: () = assert!(cfg!(coeval_loom) || MAX_SLOTS / (BATCH as u64) < 1 << POP_COUNT_BITS);

/// Headers live in blocks of doubling size. The first block holds this many.
const FIRST_BLOCK: u32 = if cfg!(coeval_loom) { 4 } else { 64 };
const BLOCKS: usize = if cfg!(coeval_loom) { 6 } else { 25 };
/// The number of headers that fill all blocks: 2 billion (in a model, 252).
const MAX_HEADERS: u32 = FIRST_BLOCK * ((1 << BLOCKS) - 1);

/// A free slot, linked to the next one of its list. Only the list's owner accesses it.
pub(super) struct FreeSlot {
    pub(super) next: Option<NonNull<FreeSlot>>,
}

/// The number of a header, from one. A stored 0 means that there is none.
pub(super) type HeaderNumber = NonZeroU32;

/// The data of a batch.
struct BatchHeader {
    /// The header below this one in its stack.
    below: AtomicU32,
    /// The first of the batch's slots.
    first: AtomicPtr<FreeSlot>,
}

/// The stack of batches, and the stack of released headers without a batch.
pub(super) struct Batches {
    /// The top batch and the count of pops, packed as a [`Top`].
    full: CachePadded<AtomicU64>,
    /// The first of the headers that no thread keeps for itself.
    empty: CachePadded<AtomicU32>,
    /// The number of headers that were made.
    made: AtomicU32,
    /// The size of the blocks.
    bytes: AtomicUsize,
    blocks: [AtomicPtr<BatchHeader>; BLOCKS],
}

/// The top of the stack of batches, packed in one word.
#[derive(Clone, Copy)]
struct Top {
    header: Option<HeaderNumber>,
    pop_count: u32,
}

impl Top {
    fn unpack(word: u64) -> Self {
        Self { header: HeaderNumber::new(word as u32), pop_count: (word >> 32) as u32 }
    }

    fn pack(self) -> u64 {
        u64::from(self.pop_count) << 32 | u64::from(stored(self.header))
    }

    /// Returns the top after a pop that leaves `below`.
    fn popped(self, below: Option<HeaderNumber>) -> Self {
        let step = u32::from(!hook::mutant("pool.tag_stands_still"));
        let pop_count = self.pop_count.wrapping_add(step) & (u32::MAX >> (32 - POP_COUNT_BITS));
        Self { header: below, pop_count }
    }
}

fn stored(number: Option<HeaderNumber>) -> u32 {
    number.map_or(0, HeaderNumber::get)
}

impl Batches {
    /// Creates a stack without batches and headers.
    pub(super) fn new() -> Self {
        Self {
            full: CachePadded::new(AtomicU64::new(0)),
            empty: CachePadded::new(AtomicU32::new(0)),
            made: AtomicU32::new(0),
            bytes: AtomicUsize::new(0),
            blocks: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
        }
    }

    /// Returns the size of the memory for headers.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed) // Relaxed: a statistic.
    }

    /// Pushes a batch that begins with `first`, under a header that the caller owns.
    pub(super) fn push(&self, number: HeaderNumber, first: NonNull<FreeSlot>) {
        let header = self.header(number);
        // Relaxed, here and below: the CAS publishes both.
        header.first.store(first.as_ptr(), Ordering::Relaxed);
        // Release: pairs with the loads in `pop`, which take over the header and the slots.
        let publish =
            if hook::mutant("pool.push_relaxed") { Ordering::Relaxed } else { Ordering::Release };
        let mut word = self.full.load(Ordering::Relaxed);
        loop {
            let top = Top::unpack(word);
            header.below.store(stored(top.header), Ordering::Relaxed);
            // A push does not change the count: it may push onto a top that was popped and came
            // back.
            let new = Top { header: Some(number), ..top }.pack();
            match self.full.compare_exchange_weak(word, new, publish, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
    }

    /// Pops a batch. Returns its header, which the caller then owns, and its first slot.
    ///
    /// # Safety
    /// The caller holds a guard as described in the module's documentation.
    pub(super) unsafe fn pop(&self) -> Option<(HeaderNumber, NonNull<FreeSlot>)> {
        // Acquire, here and on failure: pairs with the CAS in `push`. Later CASes by other threads
        // are read-modify-writes, so they continue its release sequence.
        let mut word = self.full.load(Ordering::Acquire);
        loop {
            let top = Top::unpack(word);
            let number = top.header?;
            let header = self.header(number);
            // Relaxed: if the header is popped and reused meanwhile, the CAS fails.
            let below = HeaderNumber::new(header.below.load(Ordering::Relaxed));
            hook::step("pool.batch_popping");
            let new = top.popped(below).pack();
            // Acquire: as above. Release: pairs with the CAS of a later pop, so that the load
            // above cannot read what the next owner of the header writes.
            match self.full.compare_exchange_weak(word, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    hook::step("pool.batch_popped");
                    // Relaxed: this thread owns the header.
                    let first = NonNull::new(header.first.load(Ordering::Relaxed));
                    return Some((number, first.expect("a batch has slots")));
                }
                Err(now) => word = now,
            }
        }
    }

    /// Releases a header that the caller owns, so that any thread may take it.
    pub(super) fn release_header(&self, number: HeaderNumber) {
        let mut top = self.empty.load(Ordering::Relaxed); // Relaxed: only compared and stored.
        loop {
            self.set_below(number, HeaderNumber::new(top));
            // Release: pairs with the swap in `take_released_headers`. That takes all headers at
            // once. So even if `top` was taken and released again meanwhile, it is the header
            // below.
            match self.empty.compare_exchange_weak(
                top,
                number.get(),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => top = now,
            }
        }
    }

    /// Takes all released headers, linked by [`below`](Self::below). The caller then owns them.
    pub(super) fn take_released_headers(&self) -> Option<HeaderNumber> {
        // Acquire: pairs with the CAS in `release_header`.
        HeaderNumber::new(self.empty.swap(0, Ordering::Acquire))
    }

    /// Returns the header below one that the caller owns.
    pub(super) fn below(&self, number: HeaderNumber) -> Option<HeaderNumber> {
        // Relaxed: the caller owns the header.
        HeaderNumber::new(self.header(number).below.load(Ordering::Relaxed))
    }

    /// Links a header that the caller owns to the one below.
    pub(super) fn set_below(&self, number: HeaderNumber, below: Option<HeaderNumber>) {
        // Relaxed: the caller owns the header until a CAS publishes it.
        self.header(number).below.store(stored(below), Ordering::Relaxed);
    }

    /// Makes a header, which the caller owns. Returns `None` if there are too many, which no
    /// computer can reach today.
    #[cold]
    pub(super) fn make_header(&self) -> Option<HeaderNumber> {
        // Relaxed, both: the addition makes the numbers distinct. Threads that pass the check at
        // the same time exceed the bound at most by their number, far from a wrap-around.
        if self.made.load(Ordering::Relaxed) >= MAX_HEADERS / 2 {
            return None;
        }
        let number = HeaderNumber::new(self.made.fetch_add(1, Ordering::Relaxed) + 1)?;
        let (block, _) = position(number);
        // Acquire: pairs with the CAS in `add_block`.
        if self.blocks[block].load(Ordering::Acquire).is_null() {
            self.add_block(block);
        }
        Some(number)
    }

    /// Returns the header of a number that `make_header` returned.
    fn header(&self, number: HeaderNumber) -> &BatchHeader {
        let (block, offset) = position(number);
        // Acquire: pairs with the CAS in `add_block`.
        let start = self.blocks[block].load(Ordering::Acquire);
        debug_assert!(!start.is_null());
        // SAFETY: `make_header` ensured that the block exists before it returned the number, and
        // the number was passed here with that. Blocks live as long as `self`. All fields are
        // atomic.
        unsafe { &*start.add(offset) }
    }

    fn add_block(&self, block: usize) {
        let (memory, bytes) = map_block(block);
        // Release: publishes the initialised headers to threads that load the block (Acquire). On
        // failure, nothing is read: the winner's block is loaded where it is used.
        let publish = self.blocks[block].compare_exchange(
            ptr::null_mut(),
            memory,
            Ordering::Release,
            Ordering::Relaxed,
        );
        match publish {
            Ok(_) => _ = self.bytes.fetch_add(bytes, Ordering::Relaxed), // Relaxed: see `bytes`.
            // SAFETY: mapped above and never published.
            Err(_) => unsafe { unmap_block(memory, block) },
        }
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        for (block, start) in self.blocks.iter().enumerate() {
            let start = start.load(Ordering::Relaxed); // Relaxed: `&mut self` is exclusive.
            if !start.is_null() {
                // SAFETY: `add_block` published it, and no thread uses it any more.
                unsafe { unmap_block(start, block) };
            }
        }
    }
}

/// Returns the block of a header, and the offset in it. Block `b` holds `FIRST_BLOCK << b` headers.
fn position(number: HeaderNumber) -> (usize, usize) {
    let index = number.get() - 1;
    let block = (index / FIRST_BLOCK + 1).ilog2();
    (block as usize, (index - FIRST_BLOCK * ((1 << block) - 1)) as usize)
}

fn headers_in(block: usize) -> usize {
    (FIRST_BLOCK as usize) << block
}

fn map_block(block: usize) -> (*mut BatchHeader, usize) {
    let bytes = headers_in(block) * size_of::<BatchHeader>();
    // Zeroed memory is a valid header (number 0 and null), except with the model checker's atomics.
    let memory = memory::map_zeroed(bytes).cast::<BatchHeader>().as_ptr();
    #[cfg(coeval_loom)]
    for offset in 0..headers_in(block) {
        let (below, first) = (AtomicU32::new(0), AtomicPtr::new(ptr::null_mut()));
        // SAFETY: the memory is exclusively owned and holds this many headers.
        unsafe { memory.add(offset).write(BatchHeader { below, first }) };
    }
    (memory, bytes)
}

/// # Safety
/// `start` came from `map_block(block)`, and no thread uses it any more.
unsafe fn unmap_block(start: *mut BatchHeader, block: usize) {
    let headers = headers_in(block);
    // SAFETY: the caller's promise. The headers are initialised, at least as zeroes.
    unsafe {
        ptr::drop_in_place(ptr::slice_from_raw_parts_mut(start, headers));
        memory::unmap(NonNull::new_unchecked(start.cast()), headers * size_of::<BatchHeader>());
    }
}

#[cfg(all(test, not(coeval_loom)))]
mod tests {
    use super::*;

    #[test]
    fn positions_of_headers_are_dense() {
        let mut expected = (0..BLOCKS).flat_map(|b| (0..headers_in(b)).map(move |p| (b, p)));
        for number in 1..10_000 {
            assert_eq!(Some(position(HeaderNumber::new(number).unwrap())), expected.next());
        }
        let last = HeaderNumber::new(MAX_HEADERS).unwrap();
        assert_eq!(position(last), (BLOCKS - 1, headers_in(BLOCKS - 1) - 1));
    }

    #[test]
    fn the_count_of_pops_wraps_around() {
        let top = Top { header: HeaderNumber::new(7), pop_count: u32::MAX };
        let popped = Top::unpack(top.popped(HeaderNumber::new(5)).pack());
        assert_eq!((popped.header, popped.pop_count), (HeaderNumber::new(5), 0));
    }

    #[test]
    fn released_headers_are_taken_again() {
        let batches = Batches::new();
        let numbers: Vec<_> = (0..1000).map(|_| batches.make_header().unwrap()).collect();
        assert!(batches.take_released_headers().is_none());
        numbers.iter().for_each(|&number| batches.release_header(number));
        let mut left = batches.take_released_headers();
        for &number in numbers.iter().rev() {
            assert_eq!(left, Some(number));
            left = batches.below(number);
        }
        assert_eq!((left, batches.take_released_headers()), (None, None));
    }
}
