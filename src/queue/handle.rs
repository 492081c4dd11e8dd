//! The handle of an entry, which a queue carries.

/// Identifies an entry to the engine: an even number below 2^48 that is not zero, such as an
/// address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle(u64);

impl Handle {
    /// The bits that a handle may use.
    pub(super) const MASK: u64 = (1 << 48) - 2;

    /// Creates a handle from its bits.
    ///
    /// # Panics
    /// If `bits` is zero, odd, or too large.
    #[inline]
    pub fn new(bits: u64) -> Self {
        assert!(bits & !Self::MASK == 0 && bits != 0, "not a handle: {bits:#x}");
        Self(bits)
    }

    /// Returns the bits from which the handle was made.
    #[inline]
    pub fn bits(self) -> u64 {
        self.0
    }
}
