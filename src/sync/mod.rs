//! The only module that imports atomics, cells, threads and fences.
//!
//! All other modules import them from here. So one `--cfg coeval_loom` switches the whole library
//! to [loom](https://docs.rs/loom), and the models explore exactly the primitives that a file
//! imports.

#[cfg(not(any(coeval_loom, coeval_lines)))]
mod primitives {
    pub(crate) use std::sync::atomic::{
        AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
}

#[cfg(coeval_lines)]
mod primitives {
    pub(crate) use super::recorded::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize};
    pub(crate) use std::sync::atomic::{Ordering, fence};
}

#[cfg(coeval_loom)]
mod primitives {
    pub(crate) use super::one_order::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize};
    pub(crate) use loom::sync::atomic::{Ordering, fence};
}

#[allow(unused_imports)]
pub(crate) use primitives::*;
/// Keeps the compiler from reordering, without an instruction. The models have no use for it.
pub(crate) use std::sync::atomic::compiler_fence;

pub(crate) mod barrier;
pub(crate) mod cell;
pub(crate) mod count;
pub mod hook;
pub(crate) mod lazy_array;
pub mod lines;
#[cfg(coeval_loom)]
mod one_order;
pub(crate) mod park;
pub(crate) mod per_thread;
mod place_table;
pub(crate) mod prefetch;
#[cfg(coeval_lines)]
mod recorded;
pub(crate) mod segmented;
mod thread_number;
pub(crate) mod time;

// SAFETY: atomic zeroes are all zeroes, and have no destructor.
unsafe impl crate::memory::Zeroable for AtomicU64 {
    fn zero() -> Self {
        Self::new(0)
    }
}

// SAFETY: as above.
unsafe impl<const N: usize> crate::memory::Zeroable for [AtomicU64; N] {
    fn zero() -> Self {
        std::array::from_fn(|_| AtomicU64::new(0))
    }
}

/// Orders an earlier atomic read-modify-write of this thread before every later load, as a
/// sequentially consistent fence does.
///
/// That read-modify-write must itself be `SeqCst`. On x86-64, such an instruction is already a full
/// fence, so this emits nothing. On other systems, and under the model checker (which does not
/// model `SeqCst` accesses), it is a real fence.
#[inline(always)]
pub(crate) fn fence_after_rmw() {
    #[cfg(all(target_arch = "x86_64", not(coeval_loom)))]
    compiler_fence(Ordering::SeqCst);
    #[cfg(not(all(target_arch = "x86_64", not(coeval_loom))))]
    fence(Ordering::SeqCst);
}
