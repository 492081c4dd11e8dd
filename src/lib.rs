//! coeval
mod index;
mod pool;
pub mod reclaim;
mod sync;

#[cfg(any(coeval_loom, coeval_internals))]
#[doc(hidden)]
#[allow(missing_docs)]
pub mod internals {
    pub use crate::pool::{Pool, os};
    pub use crate::sync::hook;
    pub mod reclaim {
        pub use crate::reclaim::*;
    }
}
