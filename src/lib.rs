//! A lock-free MVCC cache engine: a key and its related entries are always of the same age.
#![cfg_attr(docsrs, feature(doc_cfg))]

// The floors, lowest first; each imports only floors below it (`tests/layering.rs` checks that).
mod error;
mod sync;
mod version;

mod pool;
pub mod reclaim;

mod chain;
mod index;

mod commit;

mod relation;

mod engine;

mod batch;
mod builder;
mod cache;
mod hasher;
mod pinned;
mod view;

pub use batch::Batch;
pub use builder::Builder;
pub use cache::Cache;
pub use equivalent::Equivalent;
pub use error::{BuildError, Conflict, Returned};
pub use hasher::RandomState;
pub use pinned::Pinned;
pub use relation::Related;
pub use version::Version;
pub use view::{Iter, View};

/// What models and tests of the algorithms reach. Not part of the public interface.
#[cfg(any(coeval_loom, coeval_internals))]
#[doc(hidden)]
pub mod internals {
    pub use crate::pool::Pool;
    pub use crate::sync::hook::{self, *};

    /// Keys, and the chains of their versions.
    pub mod chain {
        pub use crate::chain::*;
    }
    /// Commits.
    pub mod commit {
        pub use crate::commit::*;
    }
    /// Reclamation.
    pub mod reclaim {
        pub use crate::reclaim::*;
    }
    /// The clock and states.
    pub mod version {
        pub use crate::version::*;
    }
}
