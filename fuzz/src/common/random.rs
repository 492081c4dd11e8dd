//! Numbers from bytes, with the functions of the generator that the property tests use.

/// Takes its numbers from bytes; zeros, when they are spent.
pub struct Random<'b>(&'b [u8]);

impl<'b> Random<'b> {
    /// Takes the numbers from `bytes`.
    pub fn new(bytes: &'b [u8]) -> Self {
        Self(bytes)
    }

    /// Whether all bytes were used.
    pub fn is_spent(&self) -> bool {
        self.0.is_empty()
    }

    fn byte(&mut self) -> u64 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        u64::from(*first)
    }

    /// A number below `bound`, from one byte if that is enough.
    pub fn below(&mut self, bound: u64) -> u64 {
        let number = match bound {
            0..=256 => self.byte(),
            _ => (0..4).fold(0, |number, _| number << 8 | self.byte()),
        };
        number % bound.max(1)
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of `items`.
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len() as u64) as usize]
    }
}
