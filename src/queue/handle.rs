//! What a queue carries: the name of an entry, to be passed back.

/// Names an entry to the engine: an even number below 2^48 that is not zero, such as a pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle(u64);

impl Handle {
    /// The bits that a handle may have.
    pub(super) const MASK: u64 = (1 << 48) - 2;

    /// A handle of these bits.
    ///
    /// # Panics
    /// If they are not such a number.
    #[inline]
    pub fn new(bits: u64) -> Self {
        assert!(bits & !Self::MASK == 0 && bits != 0, "not a handle: {bits:#x}");
        Self(bits)
    }

    /// The number that the handle was made of.
    #[inline]
    pub fn bits(self) -> u64 {
        self.0
    }
}
