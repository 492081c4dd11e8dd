//! An array of values that grows by segments, each made when one of its values is first needed.
//!
//! No value is moved, and none is freed before the array is dropped; see [`super::lazy_array`].

use super::lazy_array::LazyArray;

/// The index of values in the first segment. Each further segment is four times as large.
const FIRST: usize = if cfg!(coeval_loom) { 2 } else { 8 };
/// More segments than any memory can hold.
const SEGMENTS: usize = 16;

/// Returns the segment of an index, and the offset in it.
fn position(index: usize) -> (usize, usize) {
    // Segment `b` begins at `FIRST * (4^b - 1) / 3`.
    let segment = (3 * (index / FIRST) + 1).ilog2() as usize / 2;
    (segment, index - FIRST * (((1 << (2 * segment)) - 1) / 3))
}

/// A growing array of values.
pub(crate) struct SegmentedArray<T> {
    segments: LazyArray<Box<[T]>, SEGMENTS>,
}

impl<T: Default> SegmentedArray<T> {
    /// Creates an array without values.
    #[cfg(not(coeval_loom))]
    pub(crate) const fn new() -> Self {
        Self { segments: LazyArray::new() }
    }

    /// Creates an array without values.
    #[cfg(coeval_loom)]
    pub(crate) fn new() -> Self {
        Self { segments: LazyArray::new() }
    }

    /// Returns the value, if its segment has been made.
    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        let (segment, offset) = position(index);
        self.segments.get(segment).map(|segment| &segment[offset])
    }

    /// Returns the value, and makes its segment if necessary.
    pub(crate) fn get_or_make(&self, index: usize) -> &T {
        let (segment, offset) = position(index);
        let make = || (0..FIRST << (2 * segment)).map(|_| T::default()).collect();
        &self.segments.get_or_make(segment, make)[offset]
    }
}

#[cfg(all(test, not(coeval_loom)))]
mod tests {
    use super::*;

    #[test]
    fn positions_are_dense_and_distinct() {
        let mut expected = (0..SEGMENTS).flat_map(|b| (0..FIRST << (2 * b)).map(move |p| (b, p)));
        for index in 0..100_000 {
            assert_eq!(Some(position(index)), expected.next());
        }
    }
}
