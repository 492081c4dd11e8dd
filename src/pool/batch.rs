//! Free slots that any thread may take: a stack of batches.
//!
//! A batch is a list of slots. What the stack needs is not kept in the slots, since a thread that
//! is slow to pop may read it when the slots have a new owner already, but in a [`Header`] of the
//! batch: headers are numbered, all their fields are atomic, and they are never freed before the
//! stack, so a late reader reads an old number, at worst.
//!
//! # Why no pop takes the wrong batch
//! The top of the stack is a header's number and a tag, which every pop counts up. A pop reads the
//! top and the number of the header below, and exchanges the one for the other. Headers are used
//! again at once, so the same number may come back on top meanwhile, over another one; the tag
//! differs then and the exchange fails. The tag has 32 bits, and would be the same again after
//! 2^32 pops. That cannot happen during one pop, because the popper holds a guard: a slot that is
//! taken during the guard is not given back during it (it would have to be retired during it, and
//! its grace period lasts until the guard ends). So a slot is in at most one batch that is popped
//! during the guard, and with fewer than [`MOST_SLOTS`] slots, [`BATCH`] a batch, there are fewer
//! than 2^32 such batches.

use super::chunk::MOST_SLOTS;
use crate::memory;
use crate::sync::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, hook};
use crossbeam_utils::CachePadded;
use std::num::NonZeroU32;
use std::ptr::{self, NonNull};

/// How many slots a batch has.
pub(super) const BATCH: u32 = if cfg!(coeval_loom) { 1 } else { 64 };

/// The tag's width; a model has few batches and a narrow tag, so as to see it wrap around.
const TAG_BITS: u32 = if cfg!(coeval_loom) { 2 } else { 32 };
const _: () = assert!(cfg!(coeval_loom) || MOST_SLOTS / (BATCH as u64) < 1 << TAG_BITS);

/// Headers live in blocks of doubling size; the first holds this many.
const FIRST_BLOCK: u32 = if cfg!(coeval_loom) { 4 } else { 64 };
const BLOCKS: usize = if cfg!(coeval_loom) { 6 } else { 25 };
/// So many headers fill all blocks: 2 billion (in a model, 252).
const MOST_HEADERS: u32 = FIRST_BLOCK * ((1 << BLOCKS) - 1);

/// A free slot, linked to the next one of its list. Only the list's owner touches it.
pub(super) struct Free {
    pub(super) next: Option<NonNull<Free>>,
}

/// The number of a header, counted from one; 0 stands for none where a number is stored.
pub(super) type Number = NonZeroU32;

/// What the stack knows of a batch.
struct Header {
    /// The header below this one in its stack.
    below: AtomicU32,
    /// The first of the batch's slots.
    first: AtomicPtr<Free>,
}

/// The stack of batches, and that of headers without one.
pub(super) struct Batches {
    /// The top batch and the tag, see [`Top`].
    full: CachePadded<AtomicU64>,
    /// The first of the headers that no thread keeps for itself.
    empty: CachePadded<AtomicU32>,
    /// How many headers were made.
    made: AtomicU32,
    /// The memory of the blocks.
    bytes: AtomicUsize,
    blocks: [AtomicPtr<Header>; BLOCKS],
}

/// The top of the stack of batches, as it is packed in one word.
#[derive(Clone, Copy)]
struct Top {
    header: Option<Number>,
    tag: u32,
}

impl Top {
    fn unpack(word: u64) -> Self {
        Self { header: Number::new(word as u32), tag: (word >> 32) as u32 }
    }

    fn pack(self) -> u64 {
        u64::from(self.tag) << 32 | u64::from(stored(self.header))
    }

    /// The top after a pop that leaves `below`.
    fn popped(self, below: Option<Number>) -> Self {
        let step = u32::from(!hook::mutant("pool.tag_stands_still"));
        let tag = self.tag.wrapping_add(step) & (u32::MAX >> (32 - TAG_BITS));
        Self { header: below, tag }
    }
}

fn stored(number: Option<Number>) -> u32 {
    number.map_or(0, Number::get)
}

impl Batches {
    /// No batches, no headers.
    pub(super) fn new() -> Self {
        Self {
            full: CachePadded::new(AtomicU64::new(0)),
            empty: CachePadded::new(AtomicU32::new(0)),
            made: AtomicU32::new(0),
            bytes: AtomicUsize::new(0),
            blocks: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
        }
    }

    /// The memory in headers.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed) // Relaxed: a figure to look at.
    }

    /// Pushes a batch that begins with `first`, under a header that is the caller's.
    pub(super) fn push(&self, number: Number, first: NonNull<Free>) {
        let header = self.header(number);
        // Relaxed, here and below: published by the exchange.
        header.first.store(first.as_ptr(), Ordering::Relaxed);
        // Release: pairs with the loads in `pop`, which hand the header and the slots over.
        let publish =
            if hook::mutant("pool.push_relaxed") { Ordering::Relaxed } else { Ordering::Release };
        let mut word = self.full.load(Ordering::Relaxed);
        loop {
            let top = Top::unpack(word);
            header.below.store(stored(top.header), Ordering::Relaxed);
            // A push leaves the tag: if a top was popped and came back, it may well be pushed upon.
            let new = Top { header: Some(number), ..top }.pack();
            match self.full.compare_exchange_weak(word, new, publish, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
    }

    /// Pops a batch: its first slot, and its header, which is the caller's from now on.
    ///
    /// # Safety
    /// The caller holds a guard through whose grace periods all slots come back, see above.
    pub(super) unsafe fn pop(&self) -> Option<(Number, NonNull<Free>)> {
        // Acquire, here and on failure: pairs with the exchange in `push`. Later exchanges by others
        // are read-modify-writes, so they carry its release on.
        let mut word = self.full.load(Ordering::Acquire);
        loop {
            let top = Top::unpack(word);
            let number = top.header?;
            let header = self.header(number);
            // Relaxed: if the header is popped and used again meanwhile, the exchange fails.
            let below = Number::new(header.below.load(Ordering::Relaxed));
            hook::step("pool.batch_popping");
            let new = top.popped(below).pack();
            // Acquire: as above. Release: pairs with the exchange of whoever pops after us, so that
            // what it writes to headers cannot have been read above.
            match self.full.compare_exchange_weak(word, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    hook::step("pool.batch_popped");
                    // Relaxed: the header is ours.
                    let first = NonNull::new(header.first.load(Ordering::Relaxed));
                    return Some((number, first.expect("a batch has slots")));
                }
                Err(now) => word = now,
            }
        }
    }

    /// Leaves a header of the caller's to whoever needs one.
    pub(super) fn leave_header(&self, number: Number) {
        let mut top = self.empty.load(Ordering::Relaxed); // Relaxed: only compared and stored.
        loop {
            self.set_below(number, Number::new(top));
            // Release: pairs with the swap in `left_headers`. Headers leave this stack only all at
            // once, so it does not matter whether `top` was away meanwhile: it is what lies below.
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

    /// All headers that were left, linked by [`below`](Self::below); the caller's from now on.
    pub(super) fn left_headers(&self) -> Option<Number> {
        // Acquire: pairs with the exchange in `leave_header`.
        Number::new(self.empty.swap(0, Ordering::Acquire))
    }

    /// The header below one that is the caller's.
    pub(super) fn below(&self, number: Number) -> Option<Number> {
        Number::new(self.header(number).below.load(Ordering::Relaxed)) // Relaxed: the caller's.
    }

    /// Links a header that is the caller's.
    pub(super) fn set_below(&self, number: Number, below: Option<Number>) {
        // Relaxed: the caller's, until an exchange publishes it.
        self.header(number).below.store(stored(below), Ordering::Relaxed);
    }

    /// A new header, the caller's. `None` when there are too many, which no computer can reach
    /// today.
    #[cold]
    pub(super) fn make_header(&self) -> Option<Number> {
        // Relaxed, both: the addition makes the numbers distinct. Threads that pass the check
        // together exceed the bound by their number at most, far from wrapping around.
        if self.made.load(Ordering::Relaxed) >= MOST_HEADERS / 2 {
            return None;
        }
        let number = Number::new(self.made.fetch_add(1, Ordering::Relaxed) + 1)?;
        let (block, _) = place(number);
        // Acquire: pairs with the exchange in `add_block`.
        if self.blocks[block].load(Ordering::Acquire).is_null() {
            self.add_block(block);
        }
        Some(number)
    }

    /// The header of a number that `make_header` gave out.
    fn header(&self, number: Number) -> &Header {
        let (block, place) = place(number);
        // Acquire: pairs with the exchange in `add_block`.
        let start = self.blocks[block].load(Ordering::Acquire);
        debug_assert!(!start.is_null());
        // SAFETY: `make_header` saw to the block before it gave the number out, and what carried
        // the number here carried that along. Blocks live as long as `self`; all fields are atomic.
        unsafe { &*start.add(place) }
    }

    fn add_block(&self, block: usize) {
        let (memory, bytes) = map_block(block);
        // Release: the headers are initialised for those who load the block (Acquire). On failure
        // nothing is read: the winner's block is loaded where it is used.
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
                // SAFETY: `add_block` published it, and nobody uses it any more.
                unsafe { unmap_block(start, block) };
            }
        }
    }
}

/// The block of a header and its place there. Block `b` holds `FIRST_BLOCK << b` headers.
fn place(number: Number) -> (usize, usize) {
    let index = number.get() - 1;
    let block = (index / FIRST_BLOCK + 1).ilog2();
    (block as usize, (index - FIRST_BLOCK * ((1 << block) - 1)) as usize)
}

fn headers_in(block: usize) -> usize {
    (FIRST_BLOCK as usize) << block
}

fn map_block(block: usize) -> (*mut Header, usize) {
    let bytes = headers_in(block) * size_of::<Header>();
    // All zeros is a header: number 0, null. But for the model checker's atomics.
    let memory = memory::map_zeroed(bytes).cast::<Header>().as_ptr();
    #[cfg(coeval_loom)]
    for place in 0..headers_in(block) {
        let (below, first) = (AtomicU32::new(0), AtomicPtr::new(ptr::null_mut()));
        // SAFETY: the memory is ours and holds this many headers.
        unsafe { memory.add(place).write(Header { below, first }) };
    }
    (memory, bytes)
}

/// # Safety
/// `start` came from `map_block(block)`, and nobody uses it any more.
unsafe fn unmap_block(start: *mut Header, block: usize) {
    let headers = headers_in(block);
    // SAFETY: the caller's promise. The headers are initialised, as zeros at least.
    unsafe {
        ptr::drop_in_place(ptr::slice_from_raw_parts_mut(start, headers));
        memory::unmap(NonNull::new_unchecked(start.cast()), headers * size_of::<Header>());
    }
}

#[cfg(all(test, not(coeval_loom)))]
mod tests {
    use super::*;

    #[test]
    fn places_of_headers_are_dense() {
        let mut expected = (0..BLOCKS).flat_map(|b| (0..headers_in(b)).map(move |p| (b, p)));
        for number in 1..10_000 {
            assert_eq!(Some(place(Number::new(number).unwrap())), expected.next());
        }
        let last = Number::new(MOST_HEADERS).unwrap();
        assert_eq!(place(last), (BLOCKS - 1, headers_in(BLOCKS - 1) - 1));
    }

    #[test]
    fn tags_wrap_around() {
        let top = Top { header: Number::new(7), tag: u32::MAX };
        let popped = Top::unpack(top.popped(Number::new(5)).pack());
        assert_eq!((popped.header, popped.tag), (Number::new(5), 0));
    }

    #[test]
    fn headers_are_handed_on() {
        let batches = Batches::new();
        let numbers: Vec<_> = (0..1000).map(|_| batches.make_header().unwrap()).collect();
        assert!(batches.left_headers().is_none());
        numbers.iter().for_each(|&number| batches.leave_header(number));
        let mut left = batches.left_headers();
        for &number in numbers.iter().rev() {
            assert_eq!(left, Some(number));
            left = batches.below(number);
        }
        assert_eq!((left, batches.left_headers()), (None, None));
    }
}
