//! What the checker found.

use crate::graph::Edge;
use std::fmt;

/// An anomaly, by its usual name.
///
/// The cycles are those of Adya (*Weak Consistency*, 1999). The others are named as Elle does
/// (Kingsbury and Alvaro, VLDB 2020).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Anomaly {
    /// A value was read that nobody ever wrote.
    GarbageRead,
    /// An element is in a list more than once.
    DuplicateElement,
    /// A transaction disagrees with itself: a read does not show what it wrote or read before.
    Internal,
    /// G1a, aborted read: a transaction read what another one wrote that had no effect.
    G1a,
    /// G1b, intermediate read: a transaction read what another one wrote, and then overwrote.
    G1b,
    /// Two reads of a list of which neither is the beginning of the other.
    IncompatibleOrder,
    /// P4, lost update: two transactions read the same version, and both wrote the next one.
    LostUpdate,
    /// G0, write cycle: a cycle of writes that overwrite each other (dirty write).
    G0,
    /// G1c, circular information flow: each saw what the next one wrote, or wrote over it.
    G1c,
    /// G-single, read skew: a cycle with one anti-dependency.
    GSingle,
    /// Long fork (G-nonadjacent): several anti-dependencies, no two of them in succession. Readers
    /// disagree about the order of writes.
    LongFork,
    /// G2-item, write skew and its like: several anti-dependencies, two of them in succession.
    G2Item,
}

impl Anomaly {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::GarbageRead,
        Self::DuplicateElement,
        Self::Internal,
        Self::G1a,
        Self::G1b,
        Self::IncompatibleOrder,
        Self::LostUpdate,
        Self::G0,
        Self::G1c,
        Self::GSingle,
        Self::LongFork,
        Self::G2Item,
    ];

    /// Its usual name.
    pub fn name(self) -> &'static str {
        match self {
            Self::GarbageRead => "garbage-read",
            Self::DuplicateElement => "duplicate-element",
            Self::Internal => "internal",
            Self::G1a => "G1a",
            Self::G1b => "G1b",
            Self::IncompatibleOrder => "incompatible-order",
            Self::LostUpdate => "lost-update",
            Self::G0 => "G0",
            Self::G1c => "G1c",
            Self::GSingle => "G-single",
            Self::LongFork => "long-fork",
            Self::G2Item => "G2-item",
        }
    }

    /// What it means, in a few words.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::GarbageRead => "a value was read that nobody wrote",
            Self::DuplicateElement => "an element is in a list twice",
            Self::Internal => "a transaction disagrees with itself",
            Self::G1a => "aborted read: what was read had no effect",
            Self::G1b => "intermediate read: what was read was overwritten by its own writer",
            Self::IncompatibleOrder => "two reads of a list contradict each other",
            Self::LostUpdate => "two transactions replaced the same version",
            Self::G0 => "write cycle: transactions overwrote each other",
            Self::G1c => "circular information flow: transactions saw each other's writes",
            Self::GSingle => "read skew: a transaction saw a part of what another one wrote",
            Self::LongFork => "readers disagree about the order of writes",
            Self::G2Item => "write skew: each overwrote what another one had read",
        }
    }
}

/// What it takes, beside the values, to see that a cycle is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timing {
    /// Nothing: no serial order explains the values.
    Values,
    /// That each process did one thing after the other. (The name ends in `-process`.)
    Process,
    /// That what had ended came before what began later. (The name ends in `-realtime`.)
    RealTime,
}

/// A transaction that takes part in a finding.
#[derive(Clone, Debug)]
pub struct Portrait {
    /// Its number in the history, in the order of the starts.
    pub number: usize,
    /// Its process.
    pub process: u32,
    /// When it began.
    pub start: u64,
    /// When it ended; `None` if that is unknown.
    pub end: Option<u64>,
    /// What it did to the keys that matter here, in words, a line each.
    pub lines: Vec<String>,
}

/// A step of a cycle: one transaction must come before the next.
#[derive(Clone, Debug)]
pub struct Step {
    /// Which of the finding's transactions comes first.
    pub from: usize,
    /// Which one comes later.
    pub to: usize,
    /// Why.
    pub edge: Edge,
    /// The key, if a key is the reason.
    pub key: Option<u64>,
    /// Why, in words.
    pub because: String,
}

/// One anomaly, with the transactions that show it.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Which.
    pub anomaly: Anomaly,
    /// What it takes to see it.
    pub timing: Timing,
    /// Those that take part.
    pub transactions: Vec<Portrait>,
    /// The cycle; empty if the anomaly is none.
    pub cycle: Vec<Step>,
    /// What happened, in words, if the anomaly is no cycle.
    pub note: String,
}

impl Finding {
    /// The usual name, such as `G-single-realtime`.
    pub fn name(&self) -> String {
        let timing = match self.timing {
            Timing::Values => "",
            Timing::Process => "-process",
            Timing::RealTime => "-realtime",
        };
        format!("{}{timing}", self.anomaly.name())
    }
}

/// What [`Checker::check`](crate::Checker::check) found. It prints as a story.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The findings; of each name only the first few.
    pub findings: Vec<Finding>,
    pub(crate) counts: Vec<(String, u64)>,
    pub(crate) transactions: usize,
    pub(crate) micro_operations: usize,
    pub(crate) edges: usize,
    pub(crate) unexamined: usize,
}

impl Report {
    /// Whether nothing was found.
    pub fn is_clean(&self) -> bool {
        self.counts.is_empty() && self.unexamined == 0
    }

    /// Whether an anomaly was found.
    pub fn has(&self, anomaly: Anomaly) -> bool {
        self.findings.iter().any(|finding| finding.anomaly == anomaly)
    }

    /// The names of what was found, and how often, in the order of [`Anomaly`].
    ///
    /// Cycles are counted by the groups of transactions that they tie together, not one by one.
    pub fn counts(&self) -> impl Iterator<Item = (&str, u64)> {
        self.counts.iter().map(|(name, count)| (name.as_str(), *count))
    }

    /// The number of dependencies between transactions that the values tell of.
    pub fn dependencies(&self) -> usize {
        self.edges
    }

    /// The most findings of one name that are told in full.
    const MOST_OF_A_NAME: u64 = 8;

    pub(crate) fn add(&mut self, anomaly: Anomaly, make: impl FnOnce() -> Finding) {
        self.add_named(anomaly.name(), make);
    }

    pub(crate) fn add_named(&mut self, name: &str, make: impl FnOnce() -> Finding) {
        let count = match self.counts.iter_mut().find(|(known, _)| known == name) {
            Some((_, count)) => count,
            None => {
                self.counts.push((name.to_owned(), 0));
                &mut self.counts.last_mut().expect("it was pushed").1
            }
        };
        *count += 1;
        if *count <= Self::MOST_OF_A_NAME {
            self.findings.push(make());
        }
    }

    pub(crate) fn sort(&mut self) {
        self.findings.sort_by_key(|finding| (finding.anomaly, finding.timing));
        let place = |name: &str| {
            self.findings.iter().position(|finding| finding.name() == name).unwrap_or(usize::MAX)
        };
        self.counts.sort_by_key(|(name, _)| place(name));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { transactions, micro_operations, edges, .. } = self;
        writeln!(
            f,
            "{transactions} transactions, {micro_operations} micro-operations, {edges} dependencies"
        )?;
        if self.is_clean() {
            return writeln!(f, "no anomaly");
        }
        for (name, count) in self.counts() {
            writeln!(f, "{count} of {name}")?;
        }
        if self.unexamined > 0 {
            writeln!(f, "{} more groups of cycles were not examined", self.unexamined)?;
        }
        for finding in &self.findings {
            write!(f, "\n{}", finding.story())?;
        }
        Ok(())
    }
}
