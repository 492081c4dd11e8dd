//! The recorder: each thread writes to a log of its own.

use crate::history::{History, Kind, Micro, NEVER, Outcome, Txn};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// Records what threads do to a store.
///
/// Each thread takes a [`Log`], and notes its transactions there. Nothing is shared while it
/// records: an entry costs a push to a vector, and a transaction two readings of the clock. So the
/// recorder does not order the threads that it watches. The clock is [`Instant`], which must agree
/// between the threads, as it does on one machine.
///
/// ```
/// use coeval_check::{Checker, Recorder};
/// use std::collections::HashMap;
/// use std::sync::Mutex;
///
/// let store = Mutex::new(HashMap::new());
/// let recorder = Recorder::new();
/// std::thread::scope(|scope| {
///     for thread in 1..=2 {
///         let (store, mut log) = (&store, recorder.log());
///         scope.spawn(move || {
///             for round in 0..100 {
///                 let mut tx = log.begin();
///                 let mut map = store.lock().unwrap();
///                 tx.read(7, map.get(&7).copied());
///                 let value = thread * 1_000 + round; // No value is written twice.
///                 map.insert(7, value);
///                 tx.write(7, value);
///                 drop(map);
///                 tx.commit();
///             }
///         });
///     }
/// });
/// let report = Checker::new().check(&recorder.history())?;
/// assert!(report.is_clean(), "{report}");
/// # Ok::<(), coeval_check::Malformed>(())
/// ```
#[derive(Debug)]
pub struct Recorder {
    begin: Instant,
    next: AtomicU32,
    finished: Mutex<Vec<History>>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

impl Recorder {
    /// A recorder with no entry.
    pub fn new() -> Self {
        Self { begin: Instant::now(), next: AtomicU32::new(0), finished: Mutex::default() }
    }

    /// A log for one thread: a process of the history.
    pub fn log(&self) -> Log<'_> {
        // Relaxed: only that no two logs get one number matters.
        let process = self.next.fetch_add(1, Ordering::Relaxed);
        Log { recorder: self, process, entries: History::default() }
    }

    /// What the logs hold, which must be dropped by then.
    pub fn history(self) -> History {
        let mut history = History::default();
        let logs = self.finished.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        logs.into_iter().for_each(|log| history.push_log(log));
        history.sort();
        history
    }

    fn now(&self) -> u64 {
        self.begin.elapsed().as_nanos() as u64
    }
}

/// What one thread did.
#[derive(Debug)]
pub struct Log<'r> {
    recorder: &'r Recorder,
    process: u32,
    entries: History,
}

impl<'r> Log<'r> {
    /// Notes that a transaction begins now. Call it before the store is called.
    pub fn begin(&mut self) -> Open<'_, 'r> {
        self.drop_forgotten();
        let first = self.entries.micros.len();
        Open { start: self.recorder.now(), first, elements: self.entries.elements.len(), log: self }
    }
}

impl Log<'_> {
    /// Drops the entries of a transaction that was forgotten (`mem::forget`) and so has no end.
    fn drop_forgotten(&mut self) {
        let ended = self.entries.txns.last().map_or(0, |txn| txn.micros().end);
        self.entries.micros.truncate(ended);
    }
}

impl Drop for Log<'_> {
    fn drop(&mut self) {
        self.drop_forgotten();
        let entries = std::mem::take(&mut self.entries);
        // A thread that panicked while it pushed left a whole vector behind.
        let finished = self.recorder.finished.lock();
        finished.unwrap_or_else(|poisoned| poisoned.into_inner()).push(entries);
    }
}

/// A transaction under way. If it is dropped, its outcome is unknown.
#[derive(Debug)]
pub struct Open<'l, 'r> {
    log: &'l mut Log<'r>,
    start: u64,
    first: usize,
    elements: usize,
}

impl Open<'_, '_> {
    /// A register was read. `None`: the key was absent.
    pub fn read(&mut self, key: u64, found: Option<u64>) {
        self.register(Kind::Read, key, found, false);
    }

    /// A register is written. No two writes of one key may have the same value.
    pub fn write(&mut self, key: u64, value: u64) {
        self.register(Kind::Write, key, Some(value), false);
    }

    /// A register is removed. Absences of a key that is ever removed tell the checker nothing.
    pub fn remove(&mut self, key: u64) {
        self.register(Kind::Write, key, None, false);
    }

    /// A compare-and-set that succeeded: one atomic step, also for [`linear`](crate::linear). Note
    /// one that failed as a read of what it found.
    pub fn compare_and_set(&mut self, key: u64, found: Option<u64>, value: u64) {
        self.register(Kind::Read, key, found, true);
        self.register(Kind::Write, key, Some(value), false);
    }

    /// A list was read.
    pub fn read_list(&mut self, key: u64, list: &[u64]) {
        self.many(Kind::ReadList, key, list);
    }

    /// An element is appended to a list. No element may be appended to one list twice.
    pub fn append(&mut self, key: u64, element: u64) {
        self.register(Kind::Append, key, Some(element), false);
    }

    /// A set was read; in any order.
    pub fn read_set(&mut self, key: u64, set: &[u64]) {
        let from = self.log.entries.elements.len();
        self.many(Kind::ReadSet, key, set);
        self.log.entries.elements[from..].sort_unstable();
    }

    /// An element is added to a set. No element may be added to one set twice.
    pub fn add(&mut self, key: u64, element: u64) {
        self.register(Kind::Add, key, Some(element), false);
    }

    /// Forgets the micro-operations so far: the store runs the transaction again.
    pub fn restart(&mut self) {
        self.log.entries.micros.truncate(self.first);
        self.log.entries.elements.truncate(self.elements);
    }

    /// The store said that the transaction is committed. Call it after the store returned.
    pub fn commit(self) {
        self.end(Outcome::Committed);
    }

    /// The store said that the transaction had no effect. Its reads are not checked.
    pub fn abort(self) {
        self.end(Outcome::Aborted);
    }

    fn end(self, outcome: Outcome) {
        let mut open = std::mem::ManuallyDrop::new(self);
        let end = open.log.recorder.now();
        open.push(end, outcome);
    }

    fn push(&mut self, end: u64, outcome: Outcome) {
        let process = self.log.process;
        let entries = &mut self.log.entries;
        let (first, len) = (self.first as u32, (entries.micros.len() - self.first) as u32);
        entries.txns.push(Txn { start: self.start, end, first, len, process, outcome });
    }

    fn register(&mut self, kind: Kind, key: u64, value: Option<u64>, joined: bool) {
        let len = u32::from(value.is_some());
        let value = value.unwrap_or(0);
        self.log.entries.micros.push(Micro { key, value, len, kind, joined });
    }

    fn many(&mut self, kind: Kind, key: u64, elements: &[u64]) {
        let entries = &mut self.log.entries;
        let (value, len) = (entries.elements.len() as u64, elements.len() as u32);
        entries.elements.extend_from_slice(elements);
        entries.micros.push(Micro { key, value, len, kind, joined: false });
    }
}

impl Drop for Open<'_, '_> {
    fn drop(&mut self) {
        self.push(NEVER, Outcome::Unknown);
    }
}
