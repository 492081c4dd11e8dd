//! coeval
mod index;
mod pool;
mod reclaim;
mod sync;

#[cfg(any(coeval_loom, coeval_internals))]
#[doc(hidden)]
#[allow(missing_docs)]
pub mod internals {
    pub use crate::pool::Pool;
    pub use crate::pool::os;
    pub use crate::sync::hook;
}
