//! The first pass, transaction by transaction: which of its reads tell of other transactions,
//! which of its writes others may see, and whether it agrees with itself.

use crate::history::{History, Kind, Micro, Outcome};

/// What the first pass says of one micro-operation: a set of bits.
pub(crate) mod mark {
    /// A read whose answer other transactions gave: the first one of its key.
    pub const EXTERNAL: u8 = 1;
    /// The last write of its key in its transaction.
    pub const FINAL: u8 = 2;
    /// An external read of a key that its transaction writes later.
    pub const THEN_WRITES: u8 = 4;
}

/// A transaction that disagrees with itself.
pub(crate) struct Inside {
    pub txn: u32,
    pub micro: u32,
    pub earlier: u32,
}

pub(crate) struct Observed {
    /// By micro-operation.
    pub marks: Vec<u8>,
    /// By micro-operation: its transaction.
    pub owner: Vec<u32>,
    /// By transaction: whether it has taken effect, as far as anything shows.
    pub counts: Vec<bool>,
    pub inside: Vec<Inside>,
}

impl Observed {
    pub fn new(history: &History) -> Self {
        let mut this = Self {
            marks: vec![0; history.micros.len()],
            owner: vec![0; history.micros.len()],
            counts: history.txns.iter().map(|txn| txn.outcome == Outcome::Committed).collect(),
            inside: Vec::new(),
        };
        let mut by_key: Vec<(u64, u32)> = Vec::new();
        for (number, txn) in history.txns.iter().enumerate() {
            by_key.clear();
            by_key.extend(txn.micros().map(|micro| (history.micros[micro].key, micro as u32)));
            by_key.sort_unstable();
            for run in by_key.chunk_by(|left, right| left.0 == right.0) {
                this.of_one_key(history, number as u32, run);
            }
        }
        this.count_unknown(history);
        this
    }

    /// The micro-operations of one transaction on one key, in their order.
    fn of_one_key(&mut self, history: &History, txn: u32, run: &[(u64, u32)]) {
        let is_write = |at: u32| history.micros[at as usize].is_write();
        let last_write = run.iter().rev().find(|(_, at)| is_write(*at)).map(|(_, at)| *at);
        for (position, &(_, at)) in run.iter().enumerate() {
            self.owner[at as usize] = txn;
            if Some(at) == last_write {
                self.marks[at as usize] |= mark::FINAL;
            }
            if is_write(at) {
                continue;
            }
            let earlier = &run[..position];
            let is_first = match history.micros[at as usize].kind {
                Kind::Read => earlier.is_empty(),
                _ => earlier.iter().all(|(_, at)| is_write(*at)),
            };
            if is_first {
                self.marks[at as usize] |= mark::EXTERNAL;
            }
            if is_first && last_write.is_some_and(|write| write > at) {
                self.marks[at as usize] |= mark::THEN_WRITES;
            }
            if !self.counts[txn as usize] {
                continue;
            }
            if let Some(other) = disagrees(history, at, earlier) {
                self.marks[at as usize] = 0;
                self.inside.push(Inside { txn, micro: at, earlier: other });
            }
        }
    }

    /// Whoever saw a write of a transaction whose outcome is unknown shows that it is committed.
    fn count_unknown(&mut self, history: &History) {
        let mut writes: Vec<(u64, u64, u32)> = Vec::new();
        for (number, txn) in history.txns.iter().enumerate() {
            if txn.outcome == Outcome::Unknown {
                let micros = history.micros[txn.micros()].iter().filter(|micro| micro.is_write());
                writes.extend(micros.map(|micro| (micro.key, micro.value, number as u32)));
            }
        }
        if writes.is_empty() {
            return;
        }
        writes.sort_unstable();
        // What is found to have taken effect has itself seen others. Each is asked once.
        let mut to_ask: Vec<u32> =
            (0..).zip(&self.counts).filter_map(|(txn, counts)| counts.then_some(txn)).collect();
        while let Some(reader) = to_ask.pop() {
            let micros = &history.micros[history.txns[reader as usize].micros()];
            for micro in micros.iter().filter(|micro| !micro.is_write()) {
                for &value in seen(history, micro) {
                    let from =
                        writes.partition_point(|write| (write.0, write.1) < (micro.key, value));
                    let of_it = |write: &&(u64, u64, u32)| (write.0, write.1) == (micro.key, value);
                    for &(.., writer) in writes[from..].iter().take_while(of_it) {
                        if !self.counts[writer as usize] {
                            self.counts[writer as usize] = true;
                            to_ask.push(writer);
                        }
                    }
                }
            }
        }
    }

    /// What a read is called whose value a transaction wrote that has no effect.
    pub fn is_aborted(&self, micro: u32) -> bool {
        !self.counts[self.owner[micro as usize] as usize]
    }
}

/// The values that a read shows.
fn seen<'h>(history: &'h History, micro: &'h Micro) -> &'h [u64] {
    match micro.kind {
        Kind::Read if micro.len > 0 => std::slice::from_ref(&micro.value),
        Kind::ReadList | Kind::ReadSet => history.read(*micro),
        _ => &[],
    }
}

/// The earlier micro-operation of its transaction that a read contradicts, if there is one.
fn disagrees(history: &History, at: u32, earlier: &[(u64, u32)]) -> Option<u32> {
    let read = history.micros[at as usize];
    let micros = || earlier.iter().map(|(_, at)| (*at, history.micros[*at as usize]));
    let last_read = micros().rev().find(|(_, micro)| !micro.is_write());
    let since = last_read.map_or(0, |(at, _)| at);
    let own: Vec<(u32, u64)> = micros()
        .filter(|(at, micro)| micro.is_write() && *at >= since)
        .map(|(at, micro)| (at, micro.value))
        .collect();
    match read.kind {
        Kind::Read => {
            let (at, last) = micros().next_back()?;
            (last.register() != read.register()).then_some(at)
        }
        Kind::ReadList => {
            let list = history.read(read);
            let base = list.len().checked_sub(own.len());
            let Some(base) = base else { return Some(own[0].0) };
            for (value, (at, appended)) in list[base..].iter().zip(&own) {
                if value != appended {
                    return Some(*at);
                }
            }
            let (at, last) = last_read?;
            (history.read(last) != &list[..base]).then_some(at)
        }
        _ => {
            let set = history.read(read);
            let missing = own.iter().find(|(_, value)| set.binary_search(value).is_err());
            if let Some((at, _)) = missing {
                return Some(*at);
            }
            let (at, last) = last_read?;
            let mut expected = history.read(last).to_vec();
            expected.extend(own.iter().map(|(_, value)| value));
            expected.sort_unstable();
            (expected != set).then_some(at)
        }
    }
}
