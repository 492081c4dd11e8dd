//! Findings in words.

use crate::cycles::Link;
use crate::finding::{Anomaly, Finding, Portrait, Step, Timing};
use crate::graph::Edge;
use crate::history::{Action, History, Kind, NEVER, Shown};
use std::fmt::Write;

/// The most elements of a list or a set that are shown.
const MOST_ELEMENTS: usize = 8;
/// The most lines of one transaction.
const MOST_LINES: usize = 8;

/// What a transaction is called.
pub(crate) fn name(txn: u32) -> String {
    format!("T{txn}")
}

/// One micro-operation, in words.
pub(crate) fn micro(history: &History, at: u32) -> String {
    let key = history.micros[at as usize].key;
    match history.action(at as usize) {
        Action::Read(found) => format!("read {key} = {}", Shown(found)),
        Action::Write(Some(value)) => format!("write {key} := {value}"),
        Action::Write(None) => format!("remove {key}"),
        Action::ReadList(list) => format!("read {key} = [{}]", elements(list)),
        Action::Append(value) => format!("append {value} to {key}"),
        Action::ReadSet(set) => format!("read {key} = {{{}}}", elements(set)),
        Action::Add(value) => format!("add {value} to {key}"),
    }
}

/// The last elements, because these tell the most.
fn elements(all: &[u64]) -> String {
    let hidden = all.len().saturating_sub(MOST_ELEMENTS);
    let shown: Vec<String> = all[hidden..].iter().map(u64::to_string).collect();
    let shown = shown.join(" ");
    if hidden > 0 { format!("({hidden} more) {shown}") } else { shown }
}

/// A transaction with what it did to some keys.
pub(crate) fn portrait(history: &History, txn: u32, keys: &[u64]) -> Portrait {
    let of = history.txns[txn as usize];
    let all = of.micros().filter(|at| keys.contains(&history.micros[*at].key));
    let mut lines: Vec<String> = all.map(|at| micro(history, at as u32)).collect();
    let left_out = of.micros().len() - lines.len();
    if lines.len() > MOST_LINES {
        let more = lines.len() - MOST_LINES + 1;
        lines.truncate(MOST_LINES - 1);
        lines.push(format!("{more} more"));
    }
    if left_out > 0 {
        lines.push(format!("and {left_out} of other keys"));
    }
    let end = (of.end != NEVER).then_some(of.end);
    Portrait { number: txn as usize, process: of.process, start: of.start, end, lines }
}

pub(crate) fn of_cycle(
    history: &History,
    anomaly: Anomaly,
    timing: Timing,
    links: &[Link],
) -> Finding {
    let key_of = |link: &Link| {
        let edge = link.1.edge()?;
        let is_of_key = !matches!(edge, Edge::Process | Edge::RealTime);
        is_of_key.then(|| history.micros[link.1.micro() as usize].key)
    };
    let keys: Vec<u64> = links.iter().filter_map(key_of).collect();
    let transactions = links.iter().map(|link| portrait(history, link.0, &keys)).collect();
    let steps = links.iter().enumerate().map(|(at, link)| Step {
        from: at,
        to: (at + 1) % links.len(),
        edge: link.1.edge().expect("a link is no via"),
        key: key_of(link),
        because: because(history, link),
    });
    let cycle = steps.collect();
    Finding { anomaly, timing, transactions, cycle, note: String::new() }
}

/// Why one transaction must come before another.
fn because(history: &History, &(from, label, to): &Link) -> String {
    let (one, other) = (name(from), name(to));
    let edge = label.edge().expect("a link is no via");
    if edge == Edge::Process {
        return format!("{one} and then {other} were done by one process");
    }
    if edge == Edge::RealTime {
        let (end, start) = (history.txns[from as usize].end, history.txns[to as usize].start);
        return format!("{one} had ended, at {end}, when {other} began, at {start}");
    }
    let at = label.micro() as usize;
    let (found, key) = (history.micros[at], history.micros[at].key);
    let what = match history.action(at) {
        Action::Write(value) => format!("wrote {} to key {key}", Shown(value)),
        Action::Append(value) => format!("appended {value} to key {key}"),
        Action::Add(value) => format!("added {value} to key {key}"),
        Action::Read(None) => format!("found key {key} absent"),
        Action::Read(Some(value)) => format!("read {value} of key {key}"),
        Action::ReadList(list) => format!("read key {key} = [{}]", elements(list)),
        Action::ReadSet(set) => format!("read key {key} = {{{}}}", elements(set)),
    };
    let then = match edge {
        Edge::Wr => "which".to_owned() + " " + &other + " saw",
        _ => match (found.kind, written(history, to, key)) {
            (Kind::ReadSet, Some(value)) => format!("without {value}, which {other} added"),
            (_, Some(value)) => format!("and {other} wrote after that: {value}"),
            (_, None) => format!("and {other} wrote after that"),
        },
    };
    let since = if edge == Edge::RwInTime { ", as real time shows" } else { "" };
    format!("{one} {what}, {then}{since}")
}

/// What a transaction left in a key.
fn written(history: &History, txn: u32, key: u64) -> Option<u64> {
    let micros = history.micros[history.txns[txn as usize].micros()].iter();
    let last = micros.rev().find(|micro| micro.key == key && micro.is_write());
    last.map(|micro| micro.value)
}

impl Edge {
    /// Its usual sign.
    pub fn sign(self) -> &'static str {
        match self {
            Self::Ww => "ww",
            Self::Wr => "wr",
            Self::Rw => "rw",
            Self::RwInTime => "rw (real time)",
            Self::Process => "process",
            Self::RealTime => "real time",
        }
    }
}

impl Finding {
    /// What happened, in words.
    pub fn story(&self) -> String {
        let mut text = format!("{}: {}\n", self.name(), self.anomaly.meaning());
        for Portrait { number, process, start, end, lines } in &self.transactions {
            let end = end.map_or("?".to_owned(), |end| end.to_string());
            let lines = lines.join("; ");
            // Writing to a string does not fail.
            let _ = writeln!(text, "  T{number} (process {process}, {start}..{end}): {lines}");
        }
        if !self.note.is_empty() {
            let _ = writeln!(text, "  {}", self.note);
        }
        for (at, step) in self.cycle.iter().enumerate() {
            let sign = step.edge.sign();
            let _ = writeln!(text, "  {}. {sign}: {}.", at + 1, step.because);
        }
        if let Some(first) = self.cycle.first() {
            let name = name(self.transactions[first.from].number as u32);
            let _ = writeln!(text, "  Each comes before the next, so {name} before itself.");
        }
        text
    }
}
