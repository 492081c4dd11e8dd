//! Records what concurrent threads saw of a store, and tells whether a serial order explains it.
//!
//! The store may be any: a database, a cache, a map behind a lock. [`Recorder`] notes
//! transactions, which read and write registers, lists and sets. [`Checker`] judges the history,
//! and names each anomaly that it finds as the literature does, with the transactions that show it,
//! [in words](Finding::story) and as [a picture](Finding::svg). For stores without transactions,
//! [`linear`] judges single keys.
//!
//! ```
//! use coeval_check::{Checker, History};
//!
//! // Each line is a transaction: its process, when it ran, and what it did.
//! let history: History = "
//!     0 1..9: w 1 5; w 2 6
//!     1 1..9: r 1 5; r 2 -
//! "
//! .parse()?;
//! let report = Checker::new().check(&history)?;
//! assert_eq!(report.findings[0].name(), "G-single");
//! println!("{report}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How to test a store
//! 1. Write each value once. The checker tells by the value whose write was read.
//! 2. Note what the store answered, not what it should have answered; and call
//!    [`Log::begin`] before the store and [`Open::commit`] after it.
//! 3. Use few keys at a time, so that threads meet, and take new keys as lists and sets grow.
//! 4. Prefer lists, or registers that are read before they are written: these show the order of the
//!    versions. A register that is written blindly shows little.
//! 5. Let threads yield within their transactions. On few processors they meet too seldom without.
//!
//! # What it rests on
//! - A. Adya, *Weak Consistency: A Generalized Theory and Optimistic Implementations for
//!   Distributed Transactions*, 1999: the graph, and the names.
//! - K. Kingsbury and P. Alvaro, *Elle: Inferring Isolation Anomalies from Experimental
//!   Observations*, VLDB 2020: the order of versions from what is read; cycles as evidence.
//! - J. Wing and C. Gong, *Testing and Verifying Concurrent Objects*, 1993; G. Lowe, *Testing for
//!   Linearizability*, 2017; A. Athalye, *porcupine*, 2017: the search of [`linear`].
//! - R. Tarjan, *Depth-First Search and Linear Graph Algorithms*, 1972.
#![forbid(unsafe_code)]

mod check;
mod cycles;
mod finding;
mod graph;
mod history;
mod infer;
pub mod linear;
mod observe;
mod parse;
mod picture;
mod record;
mod scc;
pub mod simulate;
mod story;

/// The examples of the README are tested.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use check::{Checker, Malformed};
pub use finding::{Anomaly, Finding, Portrait, Report, Step, Timing};
pub use graph::Edge;
pub use history::{Action, History, Outcome, Transaction};
pub use parse::ParseError;
pub use record::{Log, Open, Recorder};
