//! Stand-ins for moka, quick_cache, papaya and dashmap over coeval: types with their names, and
//! with the methods that their users call most.
//!
//! `tests` has what the documentation of those crates promises of these methods, written anew. It
//! shows how far a program can move by exchanging an import. What has no equivalent stands in a
//! table of `docs/migrating.md`, with the reason.
//!
//! The methods are documented by the crates whose names they bear.
#![allow(missing_docs)]

pub mod dashmap;
pub mod moka;
pub mod papaya;
pub mod quick_cache;
