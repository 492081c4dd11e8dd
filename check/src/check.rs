//! The checker of transactions.

use crate::cycles::Cycles;
use crate::finding::Report;
use crate::graph::{Graph, MOST_MICROS, MOST_TXNS, Times};
use crate::history::{History, Outcome};
use crate::infer::Inference;
use crate::observe::Observed;
use crate::scc;
use std::collections::HashMap;
use std::fmt;

/// A history that the checker cannot judge.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Malformed {
    /// A value was written to a key twice, so that a read does not tell whose it saw.
    NotUnique {
        /// The key.
        key: u64,
        /// The value.
        value: u64,
    },
    /// A key was used as more than one of register, list and set.
    TwoTypes {
        /// The key.
        key: u64,
    },
    /// A transaction ends before it begins, or begins before its process has ended the one before.
    Overlap {
        /// The process.
        process: u32,
    },
    /// More transactions or micro-operations than the numbers of the checker can tell apart.
    TooLong,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUnique { key, value } => write!(f, "{value} is written to key {key} twice"),
            Self::TwoTypes { key } => write!(f, "key {key} is used as more than one type"),
            Self::Overlap { process } => {
                write!(f, "the transactions of process {process} are not one after the other")
            }
            Self::TooLong => f.write_str("the history is too long"),
        }
    }
}

impl std::error::Error for Malformed {}

/// Judges whether a history is strictly serializable, and names what it finds.
///
/// It infers for each key in which order the versions were written, as far as that follows from
/// what was read. From that it draws which transaction must come before which; and a cycle among
/// these is an anomaly.
///
/// - What it reports is there: a history that has a serial order which agrees with real time is
///   never accused.
/// - What is there it may miss, if the values do not show it. Lists show the most: a read tells the
///   order of all versions. Of registers, write those that were read before in the same
///   transaction where you can.
///
/// It takes time in proportion to the history (n log n, for sorting), and some 200 bytes a
/// transaction.
#[derive(Clone, Debug)]
pub struct Checker {
    pub(crate) real_time: bool,
    pub(crate) process: bool,
    pub(crate) absences_tell: bool,
}

impl Default for Checker {
    fn default() -> Self {
        Self::new()
    }
}

impl Checker {
    /// A checker for strict serializability.
    pub fn new() -> Self {
        Self { real_time: true, process: true, absences_tell: true }
    }

    /// Does not ask that the order agrees with real time: only with that of each process.
    pub fn without_real_time(mut self) -> Self {
        self.real_time = false;
        self
    }

    /// Does not ask that the order agrees with time at all: serializability, as Adya defines it.
    pub fn without_order(mut self) -> Self {
        (self.real_time, self.process) = (false, false);
        self
    }

    /// For stores that may drop an entry at any time: an absent register then tells nothing.
    pub fn absences_tell_nothing(mut self) -> Self {
        self.absences_tell = false;
        self
    }

    /// Judges a history.
    ///
    /// # Errors
    /// If the history is not one from which anything follows: see [`Malformed`].
    pub fn check(&self, history: &History) -> Result<Report, Malformed> {
        if history.txns.len() > MOST_TXNS || history.micros.len() > MOST_MICROS {
            return Err(Malformed::TooLong);
        }
        assert_processes_are_sequential(history)?;
        let observed = Observed::new(history);
        let times = Times::new(history, &observed.counts, self.real_time, self.process);
        let mut inference = Inference {
            history,
            observed: &observed,
            checker: self,
            draft: times.draft(),
            report: Report::default(),
        };
        inference.all_keys()?;
        let (draft, mut report) = (inference.draft, inference.report);
        drop(observed);
        let graph = Graph::new(times, draft);
        report.transactions = history.len();
        report.micro_operations = history.micro_operations();
        report.edges = graph.value_edges();
        let components = scc::components(&graph);
        let mut cycles = Cycles::new(&graph, history);
        for component in &components {
            if cycles.is_spent() {
                report.unexamined += 1;
                continue;
            }
            for finding in cycles.of(component) {
                report.add_named(&finding.name(), || finding);
            }
        }
        report.sort();
        Ok(report)
    }
}

fn assert_processes_are_sequential(history: &History) -> Result<(), Malformed> {
    let mut free_from: HashMap<u32, u64> = HashMap::new();
    for txn in &history.txns {
        let free_from = free_from.entry(txn.process).or_default();
        if txn.end < txn.start || txn.start < *free_from {
            return Err(Malformed::Overlap { process: txn.process });
        }
        // What became of one that is unknown, its process does not know either.
        if txn.outcome != Outcome::Unknown {
            *free_from = txn.end;
        }
    }
    Ok(())
}
