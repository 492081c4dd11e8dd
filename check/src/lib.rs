//! Records what concurrent threads saw of a store, and tells whether any serial order explains it.
#![forbid(unsafe_code)]

mod check;
mod cycles;
mod finding;
mod graph;
mod history;
mod infer;
mod observe;
mod parse;
mod record;
mod scc;
pub mod simulate;
mod story;

pub use check::{Checker, Malformed};
pub use finding::{Anomaly, Finding, Portrait, Report, Step, Timing};
pub use graph::Edge;
pub use history::{Action, History, Outcome, Transaction};
pub use parse::ParseError;
pub use record::{Log, Open, Recorder};
