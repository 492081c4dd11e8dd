//! Anomalies on keys of their own, in the midst of a good history.

use super::Random;
use crate::finding::{Anomaly, Timing};
use crate::graph::Edge;
use crate::history::{History, NEVER};
use std::fmt::Write;

/// A history with an anomaly in it.
#[derive(Clone, Debug)]
pub struct Planted {
    /// The whole history.
    pub history: History,
    /// The anomaly.
    pub anomaly: Anomaly,
    /// What it takes to see it.
    pub timing: Timing,
}

/// Adds to a history what a text tells, on keys and processes that it does not use, from some
/// moment on.
///
/// # Panics
/// If the text is not a history.
pub fn plant_text(good: &History, text: &str, random: &mut Random) -> History {
    let mut planted: History = text.parse().expect("the text is a history");
    let keys = good.micros.iter().map(|micro| micro.key + 1).max().unwrap_or(0);
    let processes = good.txns.iter().map(|txn| txn.process + 1).max().unwrap_or(0);
    let last = good.txns.iter().map(|txn| txn.start).max().unwrap_or(0);
    let from = random.below(last + 1);
    for txn in &mut planted.txns {
        txn.process += processes;
        txn.start += from;
        if txn.end != NEVER {
            txn.end += from;
        }
    }
    planted.micros.iter_mut().for_each(|micro| micro.key += keys);
    let mut history = good.clone();
    history.push_log(planted);
    history.sort();
    history
}

/// Adds to a history one cycle with these edges, in this order, on keys, values and processes of
/// its own: of registers, lists or sets as it comes. At most one of the edges is one of time
/// ([`Edge::Process`], [`Edge::RealTime`]), and at least one is not.
///
/// # Panics
/// If there are fewer than two edges.
pub fn plant(good: &History, cycle: &[Edge], random: &mut Random) -> Planted {
    assert!(cycle.len() > 1, "a cycle has two transactions or more");
    let mut text = Text { micros: vec![String::new(); cycle.len()], ..Text::default() };
    for (at, edge) in cycle.iter().enumerate() {
        text.edge(at, (at + 1) % cycle.len(), *edge, random);
    }
    let mut lines = String::new();
    // Before all, and after all: who wrote the first versions, and who sees the last ones.
    let (before, after) = (cycle.len() + 1, cycle.len() + 2);
    let _ = writeln!(lines, "{before} 0..1: {}", text.before);
    let _ = writeln!(lines, "{after} 40..41: {}", text.after);
    for (at, micros) in text.micros.iter().enumerate() {
        let into = cycle[(at + cycle.len() - 1) % cycle.len()];
        // A process may begin at the moment at which it ended: that is no order in real time.
        let (start, process) = match into {
            Edge::Process => (10, (at + cycle.len() - 1) % cycle.len()),
            Edge::RealTime => (11, at),
            _ => (2, at),
        };
        let is_early = matches!(cycle[at], Edge::Process | Edge::RealTime);
        let end = if is_early { 10 } else { 20 + random.below(10) };
        let _ = writeln!(lines, "{process} {start}..{end}: {micros}");
    }
    let (anomaly, timing) = crate::cycles::name_of(cycle);
    Planted { history: plant_text(good, &lines, random), anomaly, timing }
}

#[derive(Default)]
struct Text {
    before: String,
    micros: Vec<String>,
    after: String,
    next: u64,
}

impl Text {
    /// An edge on a key of its own.
    fn edge(&mut self, from: usize, to: usize, edge: Edge, random: &mut Random) {
        let (key, first, second) = (self.next, self.next + 1, self.next + 2);
        self.next += 3;
        let choice = random.below(4);
        let (one, other) = match (edge, choice) {
            (Edge::Process | Edge::RealTime, _) => return,
            (Edge::Ww, _) => {
                let _ = write!(self.after, "l {key} {first} {second};");
                (format!("a {key} {first}"), format!("a {key} {second}"))
            }
            (Edge::Wr, 0) => (format!("a {key} {first}"), format!("l {key} {first}")),
            (Edge::Wr, 1) => (format!("+ {key} {first}"), format!("s {key} {first}")),
            (Edge::Wr, _) => (format!("w {key} {first}"), format!("r {key} {first}")),
            (Edge::Rw, 0) => {
                // Whether anyone ever sees it must not matter.
                if random.one_in(2) {
                    let _ = write!(self.after, "l {key} {first};");
                }
                (format!("l {key}"), format!("a {key} {first}"))
            }
            (Edge::Rw, 1) => (format!("s {key}"), format!("+ {key} {first}")),
            (Edge::Rw, 2) => (format!("r {key} -"), format!("w {key} {first}")),
            (Edge::Rw, _) => {
                let _ = write!(self.before, "w {key} {first};");
                (format!("r {key} {first}"), format!("cas {key} {first} {second}"))
            }
            (Edge::RwInTime, _) => {
                let _ = write!(self.before, "w {key} {first};");
                (format!("r {key} {first}"), format!("w {key} {second}"))
            }
        };
        for (txn, micro) in [(from, one), (to, other)] {
            let _ = write!(self.micros[txn], "{micro};");
        }
    }
}
