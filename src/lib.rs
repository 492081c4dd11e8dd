//! coeval
mod index;
mod pool;
mod reclaim;
mod sync;

/// What tests and models outside the crate reach into. Not part of the interface.
#[cfg(any(coeval_loom, coeval_internals))]
#[allow(missing_docs)]
pub mod internals {
    pub mod reclaim {
        pub use crate::reclaim::*;
    }
    pub mod hook {
        pub use crate::sync::hook::*;
    }
}
