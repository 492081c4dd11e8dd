//! The only door to atomics, cells, threads and fences.
//!
//! Everything above takes these from here, so that one `--cfg coeval_loom` puts the whole library
//! on [loom](https://docs.rs/loom), and a reader of any other file knows that what it imports is
//! what the models explore.

#[cfg(not(coeval_loom))]
mod primitives {
    pub(crate) use std::sync::atomic::{
        AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
}

#[cfg(coeval_loom)]
mod primitives {
    pub(crate) use super::one_order::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize};
    pub(crate) use loom::sync::atomic::{Ordering, fence};
}

#[allow(unused_imports)]
pub(crate) use primitives::*;
/// Keeps the compiler, and nothing else, from reordering. The models have no use for it.
pub(crate) use std::sync::atomic::compiler_fence;

pub(crate) mod cell;
pub(crate) mod grown;
pub mod hook;
pub(crate) mod numbered;
#[cfg(coeval_loom)]
mod one_order;
pub(crate) mod park;
pub(crate) mod per_thread;
mod place_table;
mod thread_number;
pub(crate) mod time;

/// Orders an atomic read-modify-write that came before it against every later load, as a
/// sequentially consistent fence does.
///
/// The caller's read-modify-write must itself be `SeqCst`. On x86-64 such an instruction is a full
/// fence already, so nothing is emitted; elsewhere, and under the model checker (which does not
/// model `SeqCst` accesses), it is a real fence.
#[inline(always)]
pub(crate) fn fence_after_rmw() {
    #[cfg(all(target_arch = "x86_64", not(coeval_loom)))]
    compiler_fence(Ordering::SeqCst);
    #[cfg(not(all(target_arch = "x86_64", not(coeval_loom))))]
    fence(Ordering::SeqCst);
}
