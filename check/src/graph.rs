//! The graph: which transaction must come before which.
//!
//! Three kinds of nodes share one range of numbers: the transactions, in the order of their starts;
//! the *gates* of time; and the places of *fans*. Gates and fans stand for many edges each:
//!
//! - A gate is a run of ends between which no transaction starts. Each of these transactions leads
//!   to its gate, the gate leads to those that start before the next run, and to the next gate. So
//!   real time takes as many edges as there are transactions, instead of their square.
//! - A fan is a list of transactions. A place of it leads to its own transaction and to the next
//!   place. So "before all of these, from the third on" is one edge.
//!
//! None of these edges is stored: they follow from the numbers.

use crate::history::History;
use std::collections::HashMap;

/// Why one transaction must come before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Edge {
    /// It wrote a version of a key, and the other wrote a later one.
    Ww,
    /// It wrote a version of a key, and the other read it.
    Wr,
    /// It read a version of a key, and the other wrote the next one: an anti-dependency.
    Rw,
    /// The same; that the version is later, real time shows.
    RwInTime,
    /// One process did both, one after the other.
    Process,
    /// It had ended when the other began.
    RealTime,
}

/// The kind of an edge, and where it comes from: a micro-operation of the transaction that it
/// leaves. An edge that leaves a gate or a fan is a `VIA`: its kind is that of the edge before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label(u32);

const KIND_BITS: u32 = 29;
/// The most micro-operations of a history, less one.
pub(crate) const MOST_MICROS: usize = (1 << KIND_BITS) - 1;

impl Label {
    pub const VIA: Self = Self(u32::MAX);

    pub fn new(edge: Edge, micro: u32) -> Self {
        Self((edge as u32) << KIND_BITS | micro)
    }

    /// `None` for a `VIA`.
    pub fn edge(self) -> Option<Edge> {
        Some(match self.0 >> KIND_BITS {
            0 => Edge::Ww,
            1 => Edge::Wr,
            2 => Edge::Rw,
            3 => Edge::RwInTime,
            4 => Edge::Process,
            5 => Edge::RealTime,
            _ => return None,
        })
    }

    pub fn micro(self) -> u32 {
        self.0 & MOST_MICROS as u32
    }
}

/// The edges and fans that the values tell of, while they are collected.
pub(crate) struct Draft {
    edges: Vec<(u32, u32, Label)>,
    /// By place: its transaction; `LAST` marks the last place of a fan.
    fans: Vec<u32>,
    first_fan: u32,
}

/// The most transactions of a history.
pub(crate) const MOST_TXNS: usize = 1 << 30;
const LAST: u32 = 1 << 31;
const NONE: u32 = u32::MAX;

pub(crate) struct Graph {
    txns: u32,
    /// By transaction: where its edges begin.
    from: Vec<u32>,
    edges: Vec<(u32, Label)>,
    next_in_process: Vec<u32>,
    /// By transaction: its gate.
    gate: Vec<u32>,
    /// By gate: the first transaction that starts after it. One more for the end.
    after_gate: Vec<u32>,
    fans: Vec<u32>,
    first_fan: u32,
}

impl Draft {
    pub fn edge(&mut self, from: u32, to: u32, edge: Edge, micro: u32) {
        debug_assert_ne!(from, to);
        self.edges.push((from, to, Label::new(edge, micro)));
    }

    /// A new fan of these transactions: the node of its first place. The others follow.
    pub fn fan(&mut self, txns: impl Iterator<Item = u32>) -> u32 {
        let first = self.fans.len();
        self.fans.extend(txns);
        if self.fans.len() > first {
            *self.fans.last_mut().expect("a place was added") |= LAST;
        }
        self.first_fan + first as u32
    }
}

/// The times of a history: gates, and what starts after each.
pub(crate) struct Times {
    gate: Vec<u32>,
    after_gate: Vec<u32>,
    next_in_process: Vec<u32>,
}

impl Times {
    /// Without gates if real time does not count, and without successors if processes do not.
    pub fn new(history: &History, counts: &[bool], real_time: bool, process: bool) -> Self {
        let mut this = Self {
            gate: vec![NONE; history.txns.len()],
            after_gate: Vec::new(),
            next_in_process: vec![NONE; if process { history.txns.len() } else { 0 }],
        };
        if real_time {
            this.make_gates(history, counts);
        }
        if process {
            this.follow_processes(history, counts);
        }
        this
    }

    fn make_gates(&mut self, history: &History, counts: &[bool]) {
        let txns = history.txns.iter().zip(counts).enumerate();
        let mut ends: Vec<(u64, u32)> = txns
            .filter(|(_, (txn, counts))| **counts && txn.has_ended())
            .map(|(number, (txn, _))| (txn.end, number as u32))
            .collect();
        ends.sort();
        let (mut started, mut is_open) = (0, false);
        for (end, txn) in ends {
            // What starts at this moment or before does not start after it.
            while started < history.txns.len() && history.txns[started].start <= end {
                started += 1;
                is_open = false;
            }
            if !is_open {
                self.after_gate.push(started as u32);
                is_open = true;
            }
            self.gate[txn as usize] = self.after_gate.len() as u32 - 1;
        }
        self.after_gate.push(history.txns.len() as u32);
    }

    fn follow_processes(&mut self, history: &History, counts: &[bool]) {
        let mut last: HashMap<u32, u32> = HashMap::new();
        for (number, txn) in history.txns.iter().enumerate() {
            if !counts[number] || !txn.has_ended() {
                continue;
            }
            if let Some(before) = last.insert(txn.process, number as u32) {
                self.next_in_process[before as usize] = number as u32;
            }
        }
    }

    pub fn draft(&self) -> Draft {
        let first_fan = self.gate.len() as u32 + self.gates();
        Draft { edges: Vec::new(), fans: Vec::new(), first_fan }
    }

    fn gates(&self) -> u32 {
        self.after_gate.len().saturating_sub(1) as u32
    }
}

impl Graph {
    pub fn new(times: Times, draft: Draft) -> Self {
        let txns = times.gate.len();
        let mut from = vec![0_u32; txns + 1];
        draft.edges.iter().for_each(|(source, ..)| from[*source as usize + 1] += 1);
        for at in 0..txns {
            from[at + 1] += from[at];
        }
        let mut next = from.clone();
        let mut edges = vec![(0, Label::VIA); draft.edges.len()];
        for (source, to, label) in draft.edges {
            let place = &mut next[source as usize];
            edges[*place as usize] = (to, label);
            *place += 1;
        }
        Self {
            txns: txns as u32,
            from,
            edges,
            next_in_process: times.next_in_process,
            gate: times.gate,
            after_gate: times.after_gate,
            fans: draft.fans,
            first_fan: draft.first_fan,
        }
    }

    pub fn nodes(&self) -> usize {
        self.first_fan as usize + self.fans.len()
    }

    pub fn is_txn(&self, node: u32) -> bool {
        node < self.txns
    }

    /// The number of edges that the values tell of.
    pub fn value_edges(&self) -> usize {
        self.edges.len()
    }

    /// The `at`th edge that leaves a node: `None` after the last.
    pub fn edge(&self, node: u32, at: u32) -> Option<(u32, Label)> {
        if node < self.txns {
            self.edge_of_txn(node, at)
        } else if node < self.first_fan {
            self.edge_of_gate(node - self.txns, at)
        } else {
            let place = self.fans[(node - self.first_fan) as usize];
            match at {
                0 => Some((place & !LAST, Label::VIA)),
                1 if place & LAST == 0 => Some((node + 1, Label::VIA)),
                _ => None,
            }
        }
    }

    fn edge_of_txn(&self, txn: u32, at: u32) -> Option<(u32, Label)> {
        let (from, to) = (self.from[txn as usize], self.from[txn as usize + 1]);
        if from + at < to {
            return Some(self.edges[(from + at) as usize]);
        }
        let mut rest = at - (to - from);
        let next = self.next_in_process.get(txn as usize).copied().unwrap_or(NONE);
        if next != NONE {
            if rest == 0 {
                return Some((next, Label::new(Edge::Process, 0)));
            }
            rest -= 1;
        }
        let gate = self.gate[txn as usize];
        (gate != NONE && rest == 0).then(|| (self.txns + gate, Label::new(Edge::RealTime, 0)))
    }

    fn edge_of_gate(&self, gate: u32, at: u32) -> Option<(u32, Label)> {
        let (from, to) = (self.after_gate[gate as usize], self.after_gate[gate as usize + 1]);
        if from + at < to {
            return Some((from + at, Label::VIA));
        }
        let next = self.txns + gate + 1;
        (from + at == to && next < self.first_fan).then_some((next, Label::VIA))
    }

    /// The edges that leave a node.
    pub fn edges(&self, node: u32) -> impl Iterator<Item = (u32, Label)> + '_ {
        (0..).map_while(move |at| self.edge(node, at))
    }
}
