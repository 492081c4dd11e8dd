//! A lock-free MVCC cache engine: a key and its related entries are always of the same age.
#![cfg_attr(docsrs, feature(doc_cfg))]
// What only models and tests reach is held to less.
#![cfg_attr(
    any(coeval_loom, coeval_internals),
    allow(missing_docs, clippy::missing_safety_doc, clippy::new_without_default)
)]

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
#[allow(missing_docs)]
pub mod internals {
    pub use crate::sync::hook::{self, *};
    pub mod reclaim {
        pub use crate::reclaim::*;
    }
    pub mod chain {
        pub use crate::chain::*;
    }
    pub mod commit {
        pub use crate::commit::*;
    }
    pub mod index {
        pub use crate::index::*;
    }
    pub mod version {
        pub use crate::version::*;
    }
    pub use crate::index::{Index, Indexed};
    pub use crate::pool::{Pool, os};
}
