//! From values to dependencies: for each key, in which order its versions were written, and who
//! read which.
//!
//! Every edge is a consequence of the claim that the history is serializable (with
//! [`Edge::RwInTime`]: strictly serializable). So a cycle refutes the claim. Where the order of two
//! versions does not follow, there is no edge: no history that has a serial order is ever accused.

mod lists;
mod registers;
mod sets;

use crate::check::{Checker, Malformed};
use crate::finding::{Anomaly, Finding, Report, Timing};
use crate::graph::{Draft, Edge};
use crate::history::{History, Kind, Micro};
use crate::observe::{Observed, mark};
use crate::story;

/// What is inferred, while it is collected.
pub(crate) struct Inference<'a> {
    pub history: &'a History,
    pub observed: &'a Observed,
    pub checker: &'a Checker,
    pub draft: Draft,
    pub report: Report,
}

/// The most transactions to which one reader that writes itself gets edges of its own.
const MOST_DIRECT: usize = 64;

impl Inference<'_> {
    pub fn all_keys(&mut self) -> Result<(), Malformed> {
        let micros = self.history.micros.iter().enumerate();
        let mut by_key: Vec<(u64, u32)> =
            micros.map(|(at, micro)| (micro.key, at as u32)).collect();
        by_key.sort_unstable();
        let mut group = Vec::new();
        for run in by_key.chunk_by(|left, right| left.0 == right.0) {
            group.clear();
            group.extend(run.iter().map(|(_, micro)| *micro));
            self.one_key(run[0].0, &group)?;
        }
        for inside in &self.observed.inside {
            let (history, key) = (self.history, self.history.micros[inside.micro as usize].key);
            self.report.add(Anomaly::Internal, || {
                let lines = [inside.earlier, inside.micro].map(|at| story::micro(history, at));
                let note = format!("Within one transaction: {}; then {}.", lines[0], lines[1]);
                finding(history, Anomaly::Internal, &[inside.txn], key, note)
            });
        }
        Ok(())
    }

    fn one_key(&mut self, key: u64, group: &[u32]) -> Result<(), Malformed> {
        let kind_of = |at: u32| match self.history.micros[at as usize].kind {
            Kind::Read | Kind::Write => Kind::Read,
            Kind::ReadList | Kind::Append => Kind::ReadList,
            Kind::ReadSet | Kind::Add => Kind::ReadSet,
        };
        let kind = kind_of(group[0]);
        if group.iter().any(|at| kind_of(*at) != kind) {
            return Err(Malformed::TwoTypes { key });
        }
        let writes = self.writes(key, group)?;
        match kind {
            Kind::Read => self.register(group, &writes),
            Kind::ReadList => self.list(key, group, &writes),
            _ => self.set(group, &writes),
        }
        Ok(())
    }

    /// The writes by their values, removals left out.
    fn writes(&self, key: u64, group: &[u32]) -> Result<Vec<(u64, u32)>, Malformed> {
        let writes = group.iter().map(|at| (self.micro(*at), *at));
        let writes = writes.filter(|(micro, _)| micro.is_write() && micro.len > 0);
        let mut writes: Vec<(u64, u32)> = writes.map(|(micro, at)| (micro.value, at)).collect();
        writes.sort_unstable();
        match writes.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(pair) => Err(Malformed::NotUnique { key, value: pair[0].0 }),
            None => Ok(writes),
        }
    }

    fn micro(&self, at: u32) -> Micro {
        self.history.micros[at as usize]
    }

    fn owner(&self, at: u32) -> u32 {
        self.observed.owner[at as usize]
    }

    fn has(&self, at: u32, mark: u8) -> bool {
        self.observed.marks[at as usize] & mark != 0
    }

    fn counts(&self, at: u32) -> bool {
        !self.observed.is_aborted(at)
    }

    /// The reads of a key that tell of others, of transactions that took effect.
    fn external<'g>(&'g self, group: &'g [u32]) -> impl Iterator<Item = u32> + 'g {
        group.iter().copied().filter(|at| self.has(*at, mark::EXTERNAL) && self.counts(*at))
    }

    fn edge(&mut self, from: u32, to: u32, edge: Edge, micro: u32) {
        if from != to {
            self.draft.edge(from, to, edge, micro);
        }
    }

    /// Edges from a transaction to all of a fan from a place on, except to itself.
    fn edges_to_fan(&mut self, fan: &Fan, from_place: usize, from: u32, edge: Edge, micro: u32) {
        let mut rest = from_place;
        if let Some(own) = fan.place_of(from).filter(|own| *own >= from_place) {
            rest = own + 1;
            for &txn in fan.txns[from_place..own].iter().take(MOST_DIRECT) {
                self.edge(from, txn, edge, micro);
            }
        }
        if rest < fan.txns.len() {
            self.draft.edge(from, fan.node + rest as u32, edge, micro);
        }
    }

    /// A fan of these transactions, which are in order.
    fn fan(&mut self, txns: Vec<u32>) -> Fan {
        let node = self.draft.fan(txns.iter().copied());
        Fan { node, txns }
    }

    /// Reports a read of what was never written, or had no effect, or was not final. Returns
    /// whether the read tells of a version.
    fn judge_read(&mut self, read: u32, value: u64, write: Option<u32>) -> bool {
        let (history, micro) = (self.history, self.micro(read));
        let reader = self.owner(read);
        let Some(write) = write else {
            self.report.add(Anomaly::GarbageRead, || {
                let note = format!("Nobody ever wrote {value} to key {}.", micro.key);
                finding(history, Anomaly::GarbageRead, &[reader], micro.key, note)
            });
            return false;
        };
        let writer = self.owner(write);
        if writer == reader {
            self.report.add(Anomaly::Internal, || {
                let note = format!("It read {value} of key {} before it wrote it.", micro.key);
                finding(history, Anomaly::Internal, &[reader], micro.key, note)
            });
            return false;
        }
        if !self.counts(write) {
            self.report.add(Anomaly::G1a, || {
                let who = story::name(writer);
                let note = format!("{who}, which wrote {value} to key {}, was aborted.", micro.key);
                finding(history, Anomaly::G1a, &[writer, reader], micro.key, note)
            });
            return false;
        }
        true
    }

    /// Reports a read of a version that its writer replaced.
    fn judge_intermediate(&mut self, read: u32, value: u64, write: u32) {
        let (reader, writer) = (self.owner(read), self.owner(write));
        if writer == reader || self.has(write, mark::FINAL) {
            return;
        }
        let (history, key) = (self.history, self.micro(read).key);
        self.report.add(Anomaly::G1b, || {
            let who = story::name(writer);
            let note = format!("{value} was not what {who} left in key {key} when it committed.");
            finding(history, Anomaly::G1b, &[writer, reader], key, note)
        });
    }
}

impl Inference<'_> {
    /// Reports two reads of one version, whose transactions both wrote the next one.
    fn lost_update(&mut self, first: u32, second: u32) {
        let (history, key) = (self.history, self.micro(first).key);
        let txns = [first, second].map(|read| self.owner(read));
        self.report.add(Anomaly::LostUpdate, || {
            let note = format!("Both read the same version of key {key}, and both replaced it.");
            finding(history, Anomaly::LostUpdate, &txns, key, note)
        });
    }
}

/// Transactions in a row, for edges to all of them from a place on.
struct Fan {
    node: u32,
    txns: Vec<u32>,
}

impl Fan {
    fn place_of(&self, txn: u32) -> Option<usize> {
        self.txns.binary_search(&txn).ok()
    }
}

/// An anomaly that is no cycle.
fn finding(history: &History, anomaly: Anomaly, txns: &[u32], key: u64, note: String) -> Finding {
    let transactions = txns.iter().map(|txn| story::portrait(history, *txn, &[key])).collect();
    Finding { anomaly, timing: Timing::Values, transactions, cycle: Vec::new(), note }
}
