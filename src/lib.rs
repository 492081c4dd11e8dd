//! A lock-free MVCC cache engine: a key and its related entries are always of the same age.
//!
//! A cache that is updated by `set(key)` and then `invalidate(related)` shows, between the two
//! calls, a new value beside stale related entries. In this cache a write is a *commit*. A commit
//! changes a key and all that belongs to it in one atomic step. Readers see all of it or nothing.
//! No thread takes a lock or waits for another.
//!
//! ```
//! use coeval::Cache;
//!
//! let cache = Cache::builder()
//!     // A write of a user changes the user's profile page in the same commit.
//!     .related(|key: &String, related| {
//!         if let Some(id) = key.strip_prefix("user:") {
//!             related.invalidate(format!("profile:{id}"));
//!         }
//!     })
//!     .build();
//!
//! cache.insert("profile:7".to_string(), "Ada (draft)".to_string());
//! let version = cache.insert("user:7".to_string(), "Ada".to_string());
//!
//! // Both as of one instant: never the new user beside the old profile.
//! let [user, profile] = cache.get_many(["user:7", "profile:7"]);
//! assert_eq!((user.as_deref(), profile), (Some("Ada"), None));
//!
//! // A view shows one version of the whole cache for as long as it is held.
//! let view = cache.view();
//! cache.batch().insert("a".to_string(), "1".to_string()).remove("user:7".to_string()).commit();
//! assert_eq!(view.version(), version);
//! assert!(view.contains_key("user:7") && !cache.contains_key("user:7"));
//! ```
//!
//! # What is promised
//! - Commits are strictly serializable. Each commit has a unique [`Version`], the order of versions
//!   agrees with real time, and every entry that a commit wrote carries its version. Transactions,
//!   which also read, are strictly serializable too ([`Cache::transact`]).
//! - [`Cache::get`] does not retry. It writes no shared memory, except that a hit may mark its
//!   entry, for the eviction policy or a time to idle. [`Cache::get_many`] and [`View`] show one
//!   instant.
//! - If the cache has a bound, the writers keep it. An eviction is a commit. A value is never
//!   returned after its deadline. A value read from its source before an invalidation is never
//!   cached after it.
//! - A thread that is stopped anywhere in this library delays no other thread. While it is stopped,
//!   memory retired in the meantime is kept.
//! - A panic in a user's `Hash`, `Eq`, `Clone`, `Drop` or closure leaves the cache intact.
//!
//! `docs/guarantees.md` lists the promises for each operation; `docs/protocol.md` describes the
//! algorithm.
//!
//! # Features
//! - `async`: loads with futures, on any runtime.
//! - `macros`: the attributes `cached` and `derived`, for memoized functions.
//! - `metrics`: a cache exports its figures (`Cache::export_metrics`); `tracing`: it tells of what an
//!   operator must know. `docs/metrics.md` lists both.
//! - `serde`: a cache is saved to a file (`Cache::save`), and restored (`Builder::restore`), also
//!   while it is in use (`Builder::restore_later`).
//! - `rayon`: `View::par_iter` and `Cache::par_prewarm`.
//! - `crossbeam-epoch`, `seize`: reclamation backends beside the default one; see [`reclaim`].
//!
//! # Versions
//! - **Rust:** 1.88 or later, on 64-bit targets. A release that needs a newer Rust raises the second
//!   number of the version (after 1.0: also the second), and the changelog says so. A release that
//!   raises the third number never does.
//! - **Interface:** semantic versioning. Before 1.0, a release after which a program may have to be
//!   changed raises the second number. The promises of `docs/guarantees.md` belong to the interface;
//!   messages, the texts of `Debug` and `contents`, and what only `--cfg coeval_internals` shows do
//!   not.
//! - **Dependencies:** types of `equivalent` are part of the interface, and with the features
//!   `crossbeam-epoch`, `rayon` and `seize` what these need. `coeval-macros` has the version of
//!   coeval, and is used through it.
//!
#![doc = include_str!("../docs/comparison.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
// What only models and tests reach is held to less.
#![cfg_attr(
    any(coeval_loom, coeval_internals),
    allow(
        missing_docs,
        clippy::len_without_is_empty,
        clippy::missing_safety_doc,
        clippy::new_without_default
    )
)]

// The floors, lowest first. A room uses only rooms on floors below its own; see
// `docs/architecture.md`, and `tests/layering.rs`, which checks that.
mod error;
mod memory;
mod removal;
#[cfg(feature = "serde")]
mod saved;
mod sync;
mod version;

mod pool;
mod queue;
pub mod reclaim;

mod chain;
mod index;

mod commit;
mod expiry;
mod metrics;
mod policy;

mod listener;
mod loading;
mod relation;

mod config;
mod store;

mod dependencies;

mod engine;

mod api;

#[cfg(feature = "metrics")]
#[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
pub use api::Exporter;
#[cfg(feature = "async")]
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
pub use api::Task;
pub use api::{
    Batch, BatchMut, BatchPart, BriefView, Builder, Cache, Committed, CompResult, Deriver, Domain,
    DomainBatch, DomainBuilder, DomainTransaction, DomainView, Entry, Finding, InParts, Iter, Job,
    KeyEntry, KeyList, Keys, Kind, Lease, Lent, Loaded, Monitor, Op, OwnedIter, OwnedKeys,
    OwnedValues, Pinned, PolicyInfo, RandomState, RemovalProgress, Repair, Report, Scope, Served,
    Serving, Settings, ToKey, Transaction, TransactionPart, Typed, Values, View, WeakCache,
};
#[cfg(feature = "serde")]
#[cfg_attr(docsrs, doc(cfg(feature = "serde")))]
pub use api::{RestoreError, RestoreReport, Restoring, SaveReport};
#[cfg(feature = "macros")]
#[cfg_attr(docsrs, doc(cfg(feature = "macros")))]
pub use coeval_macros::{cached, derived};
pub use engine::{Expiry, ExplainedInput, ExplainedRelated, ExplainedTag, Explanation, Standing};
pub use equivalent::Equivalent;
pub use error::{
    BuildError, Conflict, ForeignCache, LoadError, Outdated, Overtaken, Returned, TransactError,
};
#[cfg(feature = "metrics")]
#[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
pub use metrics::LoadDurations;
pub use metrics::{Event, EventKind, LoadInfo, Removals, Stats, Timeline, ViewInfo};
pub use relation::{Related, Tag, Terms};
pub use removal::RemovalCause;
pub use sync::time::ManualClock;
pub use version::Version;

/// In place of loom, as it has nearly the same interface.
#[cfg(coeval_shuttle)]
extern crate shuttle as loom;

/// What models and tests of the algorithms use. Not part of the public interface.
#[cfg(any(coeval_loom, coeval_internals))]
#[allow(missing_docs)]
pub mod internals {
    pub use crate::sync::hook::{self, *};
    pub use crate::sync::lines;
    pub mod reclaim {
        pub use crate::reclaim::*;
    }
    pub mod chain {
        pub use crate::chain::*;
    }
    pub mod commit {
        pub use crate::commit::*;
    }
    pub mod engine {
        pub use crate::engine::*;
    }
    pub mod expiry {
        pub use crate::expiry::*;
    }
    pub mod index {
        pub use crate::index::*;
    }
    pub mod metrics {
        pub use crate::metrics::*;
    }
    pub mod loading {
        pub use crate::loading::*;
    }
    pub mod policy {
        pub use crate::policy::*;
    }
    pub mod queue {
        pub use crate::queue::*;
    }
    pub mod per_thread {
        pub use crate::sync::per_thread::PerThread;
        #[cfg(coeval_loom)]
        pub use crate::sync::per_thread::{end_thread, with_ends};
    }
    pub mod version {
        pub use crate::version::*;
    }
    pub use crate::index::{Index, Indexed};
    pub use crate::pool::{Pool, PoolOf, Pooled, Shape};
}

/// Compiles and runs the README's examples with those of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;

/// The same for the guide to moving from other caches.
#[cfg(doctest)]
#[doc = include_str!("../docs/migrating.md")]
pub struct Migrating;

/// The same for the recipes.
#[cfg(doctest)]
#[doc = include_str!("../docs/recipes.md")]
pub struct Recipes;
