//! coeval
mod index;
mod pool;
mod reclaim;
mod sync;
