//! A history: what transactions did, and between which two moments.

use std::fmt;
use std::ops::Range;

/// The end of a transaction of which nobody knows whether it has ended.
pub(crate) const NEVER: u64 = u64::MAX;

/// How a transaction ended, as far as its caller knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The store said that it is committed.
    Committed,
    /// The store said that it had no effect.
    Aborted,
    /// Nobody knows: the call did not return, or returned an error that says neither.
    Unknown,
}

/// What kind of micro-operation it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    Write,
    ReadList,
    Append,
    ReadSet,
    Add,
}

/// One micro-operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Micro {
    pub key: u64,
    /// The value; of a list or a set that was read, where its elements begin.
    pub value: u64,
    /// The number of elements of a list or a set that was read; of a register, 0 if it is absent.
    pub len: u32,
    pub kind: Kind,
    /// Whether this and the next micro-operation are one atomic step of the store.
    pub joined: bool,
}

impl Micro {
    pub fn is_write(self) -> bool {
        matches!(self.kind, Kind::Write | Kind::Append | Kind::Add)
    }

    /// The value of a register.
    pub fn register(self) -> Option<u64> {
        (self.len > 0).then_some(self.value)
    }
}

/// One transaction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Txn {
    pub start: u64,
    pub end: u64,
    pub first: u32,
    pub len: u32,
    pub process: u32,
    pub outcome: Outcome,
}

impl Txn {
    pub fn micros(&self) -> Range<usize> {
        self.first as usize..(self.first + self.len) as usize
    }

    /// Whether it is known to have taken effect by its end.
    pub fn has_ended(&self) -> bool {
        self.outcome == Outcome::Committed && self.end != NEVER
    }
}

/// One micro-operation of a transaction, as a history shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action<'h> {
    /// A register was read; `None` if it was absent.
    Read(Option<u64>),
    /// A register was written; `None` removed it.
    Write(Option<u64>),
    /// A list was read.
    ReadList(&'h [u64]),
    /// An element was appended to a list.
    Append(u64),
    /// A set was read. Its elements are in ascending order.
    ReadSet(&'h [u64]),
    /// An element was added to a set.
    Add(u64),
}

/// What a number of processes did, each one transaction at a time.
///
/// A [`Recorder`](crate::Recorder) makes one. A history may also be read from text, which is the
/// form in which it prints: a line for each transaction, with the process, the moments of its start
/// and its end, its outcome if it is not committed (`aborted`, or `unknown`), and the
/// micro-operations.
///
/// | text | micro-operation |
/// |---|---|
/// | `r 1 5`, `r 1 -` | the register 1 was read: it held 5; it was absent |
/// | `w 1 5`, `w 1 -` | 5 was written to the register 1; it was removed |
/// | `cas 1 5 6` | the register 1 held 5, and was set to 6, in one atomic step |
/// | `l 1 5 6` | the list 1 was read: it was 5, 6 |
/// | `a 1 7` | 7 was appended to the list 1 |
/// | `s 1 5 6` | the set 1 was read: it had 5 and 6 |
/// | `+ 1 7` | 7 was added to the set 1 |
///
/// ```
/// use coeval_check::{Anomaly, Checker, History};
///
/// // Two increments that both begin with 0.
/// let history: History = "
///     0 1..2: w 1 100
///     1 3..6: r 1 100; w 1 101
///     2 4..7: r 1 100; w 1 102
/// "
/// .parse()?;
/// let report = Checker::new().check(&history)?;
/// assert!(report.has(Anomaly::LostUpdate));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct History {
    /// In the order of their starts.
    pub(crate) txns: Vec<Txn>,
    pub(crate) micros: Vec<Micro>,
    pub(crate) elements: Vec<u64>,
}

/// A transaction of a history.
#[derive(Clone, Copy, Debug)]
pub struct Transaction<'h> {
    history: &'h History,
    txn: Txn,
}

impl<'h> Transaction<'h> {
    /// The number of the process (mostly: of the thread).
    pub fn process(&self) -> u32 {
        self.txn.process
    }

    /// The moment at which the call began.
    pub fn start(&self) -> u64 {
        self.txn.start
    }

    /// The moment at which the call returned; `None` if that is unknown.
    pub fn end(&self) -> Option<u64> {
        (self.txn.end != NEVER).then_some(self.txn.end)
    }

    /// How it ended.
    pub fn outcome(&self) -> Outcome {
        self.txn.outcome
    }

    /// What it did, in this order, and to which keys.
    pub fn actions(&self) -> impl Iterator<Item = (u64, Action<'h>)> + use<'h> {
        let history = self.history;
        self.txn.micros().map(|micro| (history.micros[micro].key, history.action(micro)))
    }
}

impl History {
    /// The number of transactions.
    pub fn len(&self) -> usize {
        self.txns.len()
    }

    /// Whether there is no transaction.
    pub fn is_empty(&self) -> bool {
        self.txns.is_empty()
    }

    /// The number of micro-operations.
    pub fn micro_operations(&self) -> usize {
        self.micros.len()
    }

    /// The transactions, in the order of their starts.
    pub fn transactions(&self) -> impl Iterator<Item = Transaction<'_>> {
        self.txns.iter().map(|txn| Transaction { history: self, txn: *txn })
    }

    /// Adds what one process did, in its order. The order of all is restored by [`Self::sort`].
    pub(crate) fn push_log(&mut self, mut log: History) {
        let (micros, elements) = (self.micros.len() as u32, self.elements.len() as u64);
        log.txns.iter_mut().for_each(|txn| txn.first += micros);
        for micro in &mut log.micros {
            if matches!(micro.kind, Kind::ReadList | Kind::ReadSet) {
                micro.value += elements;
            }
        }
        self.txns.append(&mut log.txns);
        self.micros.append(&mut log.micros);
        self.elements.append(&mut log.elements);
    }

    /// Brings the transactions into the order of their starts. Those of one process keep theirs.
    pub(crate) fn sort(&mut self) {
        self.txns.sort_by_key(|txn| txn.start);
    }

    pub(crate) fn action(&self, micro: usize) -> Action<'_> {
        let micro = self.micros[micro];
        match micro.kind {
            Kind::Read => Action::Read(micro.register()),
            Kind::Write => Action::Write(micro.register()),
            Kind::ReadList => Action::ReadList(self.read(micro)),
            Kind::Append => Action::Append(micro.value),
            Kind::ReadSet => Action::ReadSet(self.read(micro)),
            Kind::Add => Action::Add(micro.value),
        }
    }

    /// The elements of a list or a set that was read; none, if it was neither.
    pub(crate) fn read(&self, micro: Micro) -> &[u64] {
        if !matches!(micro.kind, Kind::ReadList | Kind::ReadSet) {
            return &[];
        }
        let from = micro.value as usize;
        &self.elements[from..from + micro.len as usize]
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for txn in &self.txns {
            write!(f, "{} {}..", txn.process, txn.start)?;
            if txn.end != NEVER {
                write!(f, "{}", txn.end)?;
            }
            f.write_str(match txn.outcome {
                Outcome::Committed => ":",
                Outcome::Aborted => " aborted:",
                Outcome::Unknown => " unknown:",
            })?;
            let mut micros = txn.micros();
            let mut separator = " ";
            while let Some(micro) = micros.next() {
                let key = self.micros[micro].key;
                match self.action(micro) {
                    Action::Read(found) if self.micros[micro].joined => {
                        let set = micros.next().and_then(|next| self.micros[next].register());
                        write!(f, "{separator}cas {key} {} {}", Shown(found), Shown(set))?;
                    }
                    Action::Read(found) => write!(f, "{separator}r {key} {}", Shown(found))?,
                    Action::Write(value) => write!(f, "{separator}w {key} {}", Shown(value))?,
                    Action::ReadList(list) => write_many(f, separator, 'l', key, list)?,
                    Action::Append(value) => write!(f, "{separator}a {key} {value}")?,
                    Action::ReadSet(set) => write_many(f, separator, 's', key, set)?,
                    Action::Add(value) => write!(f, "{separator}+ {key} {value}")?,
                }
                separator = "; ";
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

fn write_many(
    f: &mut fmt::Formatter<'_>,
    separator: &str,
    what: char,
    key: u64,
    elements: &[u64],
) -> fmt::Result {
    write!(f, "{separator}{what} {key}")?;
    elements.iter().try_for_each(|element| write!(f, " {element}"))
}

/// A value of a register, in text.
pub(crate) struct Shown(pub Option<u64>);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) => write!(f, "{value}"),
            None => f.write_str("-"),
        }
    }
}
