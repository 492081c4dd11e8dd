//! What the property tests have from `tests/common`.

pub mod random;
