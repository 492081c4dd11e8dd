//! Values with numbers from zero on, made in blocks of growing size when one of a block is first needed.
//!
//! Nothing is moved, or freed before the whole is; see [`super::grown`].

use super::grown::Grown;

/// How many values the first block holds; each further one holds four times as many.
const FIRST: usize = if cfg!(coeval_loom) { 2 } else { 8 };
/// More blocks than any memory has room for.
const BLOCKS: usize = 16;

/// The block of a number, and the place in it.
fn place(number: usize) -> (usize, usize) {
    // Block `b` begins at `FIRST * (4^b - 1) / 3`.
    let block = (3 * (number / FIRST) + 1).ilog2() as usize / 2;
    (block, number - FIRST * (((1 << (2 * block)) - 1) / 3))
}

/// A growing row of values that are found by number.
pub(crate) struct Numbered<T> {
    blocks: Grown<Box<[T]>, BLOCKS>,
}

impl<T: Default> Numbered<T> {
    /// No values yet.
    #[cfg(not(coeval_loom))]
    pub(crate) const fn new() -> Self {
        Self { blocks: Grown::new() }
    }

    /// No values yet.
    #[cfg(coeval_loom)]
    pub(crate) fn new() -> Self {
        Self { blocks: Grown::new() }
    }

    /// The value, if its block has been made.
    pub(crate) fn get(&self, number: usize) -> Option<&T> {
        let (block, place) = place(number);
        self.blocks.get(block).map(|block| &block[place])
    }

    /// The value; it and its neighbours are made if need be.
    pub(crate) fn get_or_make(&self, number: usize) -> &T {
        let (block, place) = place(number);
        let make = || (0..FIRST << (2 * block)).map(|_| T::default()).collect();
        &self.blocks.get_or_make(block, make)[place]
    }
}

#[cfg(all(test, not(coeval_loom)))]
mod tests {
    use super::*;

    #[test]
    fn places_are_dense_and_distinct() {
        let mut expected = (0..BLOCKS).flat_map(|b| (0..FIRST << (2 * b)).map(move |p| (b, p)));
        for number in 0..100_000 {
            assert_eq!(Some(place(number)), expected.next());
        }
    }
}
