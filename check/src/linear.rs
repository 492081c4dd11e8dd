//! Linearizability of operations on single objects, for stores without transactions.
//!
//! The search is that of Wing and Gong (1993): take, of the operations that may be next, one that
//! the object's state allows, and go on; if none is left, take the last one back. With the memory
//! of Lowe (2017): what was linearized and the state it led to are remembered, so that no such pair
//! is entered twice. As in porcupine, the keys are searched one by one, because a history is
//! linearizable if it is so for each key.

use crate::history::{Action, History, Outcome};
use std::collections::HashSet;
use std::hash::Hash;

/// An object that is used one operation after the other.
pub trait Model {
    /// What an operation asks, and what it was answered.
    type Operation;
    /// What the object holds.
    type State: Clone + Eq + Hash;

    /// What the object holds at the beginning.
    fn initial(&self) -> Self::State;

    /// The state after the operation; `None` if it would not have been answered so.
    fn step(&self, state: &Self::State, operation: &Self::Operation) -> Option<Self::State>;
}

/// One operation on an object.
#[derive(Clone, Debug)]
pub struct Call<O> {
    /// When it was called.
    pub start: u64,
    /// When it returned; `None` if that is unknown: then it may have had its effect at any time
    /// since, or none.
    pub end: Option<u64>,
    /// What it was.
    pub operation: O,
}

/// Whether operations are linearizable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They are. The order, as places in the slice that was checked; what is unknown and need not
    /// have happened is left out.
    Linearizable(Vec<usize>),
    /// They are not. `order` is the longest beginning of an order that was found, and none of
    /// `stuck`, the operations that had returned by the time they are next, can follow it.
    Not {
        /// As places in the slice that was checked.
        order: Vec<usize>,
        /// As places in the slice that was checked.
        stuck: Vec<usize>,
    },
    /// The search took more steps than it may.
    TooHard,
}

/// The most steps of one search.
const MOST_STEPS: usize = 50_000_000;

/// Judges operations on one object.
///
/// It takes time in proportion to their number if few of them overlap at a time, and exponential
/// time at worst.
pub fn linearizable<M: Model>(model: &M, calls: &[Call<M::Operation>]) -> Verdict {
    let mut search = Search::new(model, calls);
    while search.steps < MOST_STEPS {
        match search.forward() {
            Moved::Taken => {}
            Moved::Done => return Verdict::Linearizable(search.order()),
            Moved::Stuck => {
                if !search.back() {
                    return search.refusal();
                }
            }
        }
    }
    Verdict::TooHard
}

enum Moved {
    Taken,
    Stuck,
    Done,
}

/// Where an operation begins or returns.
#[derive(Clone, Copy)]
struct Event {
    call: u32,
    is_end: bool,
}

const NONE: u32 = u32::MAX;

struct Search<'m, M: Model> {
    model: &'m M,
    calls: &'m [Call<M::Operation>],
    events: Vec<Event>,
    /// The events that are left, as a list in both directions; the last place is its end.
    next: Vec<u32>,
    previous: Vec<u32>,
    /// By call: its two events. `NONE` for an end that is unknown.
    at: Vec<(u32, u32)>,
    state: M::State,
    taken: Vec<(u32, M::State)>,
    done: Done,
    entered: HashSet<(usize, Vec<u64>, M::State)>,
    /// Where to go on looking.
    cursor: u32,
    /// The calls left that have an end.
    due: usize,
    longest: Vec<usize>,
    stuck: Vec<usize>,
    steps: usize,
}

impl<'m, M: Model> Search<'m, M> {
    fn new(model: &'m M, calls: &'m [Call<M::Operation>]) -> Self {
        let mut sorted: Vec<(u64, bool, u32)> = Vec::new();
        for (number, call) in (0..).zip(calls) {
            sorted.push((call.start, false, number));
            sorted.extend(call.end.map(|end| (end, true, number)));
        }
        // At one moment the starts come first: then the calls overlap.
        sorted.sort_unstable();
        let mut at = vec![(NONE, NONE); calls.len()];
        let mut events = Vec::new();
        for (place, (_, is_end, call)) in (0..).zip(sorted) {
            let of = &mut at[call as usize];
            *(if is_end { &mut of.1 } else { &mut of.0 }) = place;
            events.push(Event { call, is_end });
        }
        let len = events.len() as u32;
        Self {
            model,
            calls,
            next: (1..=len).chain([0]).collect(),
            previous: [len].into_iter().chain(0..len).collect(),
            events,
            at,
            state: model.initial(),
            taken: Vec::new(),
            done: Done::new(calls.len()),
            entered: HashSet::new(),
            cursor: 0,
            due: calls.iter().filter(|call| call.end.is_some()).count(),
            longest: Vec::new(),
            stuck: Vec::new(),
            steps: 0,
        }
    }

    fn end(&self) -> u32 {
        self.events.len() as u32
    }

    fn first(&self) -> u32 {
        self.next[self.end() as usize]
    }

    /// Takes the next operation that the state allows, from the cursor on.
    fn forward(&mut self) -> Moved {
        if self.due == 0 {
            return Moved::Done;
        }
        while self.cursor != self.end() {
            self.steps += 1;
            let Event { call, is_end } = self.events[self.cursor as usize];
            // Nothing that begins after this return may come before it.
            if is_end {
                break;
            }
            let operation = &self.calls[call as usize].operation;
            if let Some(state) = self.model.step(&self.state, operation) {
                self.done.set(call);
                let (prefix, rest) = self.done.key();
                if self.entered.insert((prefix, rest, state.clone())) {
                    self.take(call, state);
                    return Moved::Taken;
                }
                self.done.clear(call);
            }
            self.cursor = self.next[self.cursor as usize];
        }
        if self.taken.len() >= self.longest.len() {
            self.longest = self.order();
            self.stuck = self.pending();
        }
        Moved::Stuck
    }

    fn take(&mut self, call: u32, state: M::State) {
        let before = std::mem::replace(&mut self.state, state);
        self.taken.push((call, before));
        let (start, end) = self.at[call as usize];
        self.unlink(start);
        if end != NONE {
            self.unlink(end);
            self.due -= 1;
        }
        self.cursor = self.first();
    }

    /// Takes the last operation back. Returns whether there was one.
    fn back(&mut self) -> bool {
        let Some((call, state)) = self.taken.pop() else { return false };
        self.state = state;
        self.done.clear(call);
        let (start, end) = self.at[call as usize];
        if end != NONE {
            self.relink(end);
            self.due += 1;
        }
        self.relink(start);
        self.cursor = self.next[start as usize];
        true
    }

    fn unlink(&mut self, event: u32) {
        let (before, after) = (self.previous[event as usize], self.next[event as usize]);
        self.next[before as usize] = after;
        self.previous[after as usize] = before;
    }

    fn relink(&mut self, event: u32) {
        let (before, after) = (self.previous[event as usize], self.next[event as usize]);
        self.next[before as usize] = event;
        self.previous[after as usize] = event;
    }

    fn order(&self) -> Vec<usize> {
        self.taken.iter().map(|(call, _)| *call as usize).collect()
    }

    /// The calls left that may be next.
    fn pending(&self) -> Vec<usize> {
        let mut pending = Vec::new();
        let mut at = self.first();
        while at != self.end() && !self.events[at as usize].is_end {
            pending.push(self.events[at as usize].call as usize);
            at = self.next[at as usize];
        }
        pending
    }

    fn refusal(self) -> Verdict {
        Verdict::Not { order: self.longest, stuck: self.stuck }
    }
}

/// Which calls are linearized: nearly always all up to some, and few beyond.
struct Done {
    words: Vec<u64>,
    /// The words before this one are full.
    full: usize,
    /// The words from this one on are empty.
    until: usize,
}

impl Done {
    fn new(calls: usize) -> Self {
        Self { words: vec![0; calls / 64 + 1], full: 0, until: 0 }
    }

    fn set(&mut self, call: u32) {
        let word = call as usize / 64;
        self.words[word] |= 1 << (call % 64);
        self.until = self.until.max(word + 1);
        while self.words.get(self.full) == Some(&u64::MAX) {
            self.full += 1;
        }
    }

    fn clear(&mut self, call: u32) {
        let word = call as usize / 64;
        self.words[word] &= !(1 << (call % 64));
        self.full = self.full.min(word);
        while self.until > 0 && self.words[self.until - 1] == 0 {
            self.until -= 1;
        }
    }

    /// The same for the same set, and for no other.
    fn key(&self) -> (usize, Vec<u64>) {
        (self.full, self.words[self.full.min(self.until)..self.until].to_vec())
    }
}

/// A register that may be absent, as the micro-operations of a [`History`] use it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Register;

/// An operation on a [`Register`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterOp {
    /// It was read, and held this.
    Read(Option<u64>),
    /// It was set to this; `None` removed it.
    Write(Option<u64>),
    /// It held the first, and was set to the second, in one step.
    Swap(Option<u64>, Option<u64>),
}

impl Model for Register {
    type Operation = RegisterOp;
    type State = Option<u64>;

    fn initial(&self) -> Option<u64> {
        None
    }

    fn step(&self, state: &Option<u64>, operation: &RegisterOp) -> Option<Option<u64>> {
        match *operation {
            RegisterOp::Read(found) => (found == *state).then_some(found),
            RegisterOp::Write(value) => Some(value),
            RegisterOp::Swap(found, value) => (found == *state).then_some(value),
        }
    }
}

/// A key whose operations have no order.
#[derive(Clone, Debug)]
pub struct NotLinearizable {
    /// The key.
    pub key: u64,
    /// What came first, and what then could not be: the last few operations, in words.
    pub story: String,
}

/// Judges the registers of a history key by key: each micro-operation is an operation by itself
/// (a compare-and-set is one), which took place between the start and the end of its transaction.
///
/// Record each call of the store as a transaction of its own, so that these are its own. Lists and
/// sets, and transactions that were aborted, are left out. Keys whose search takes too many steps
/// are in the second list.
pub fn linearizable_keys(history: &History) -> (Vec<NotLinearizable>, Vec<u64>) {
    let mut calls: Vec<(u64, Call<RegisterOp>)> = Vec::new();
    for txn in history.txns.iter().filter(|txn| txn.outcome != Outcome::Aborted) {
        let end = txn.has_ended().then_some(txn.end);
        let mut micros = txn.micros();
        while let Some(micro) = micros.next() {
            let operation = match history.action(micro) {
                Action::Read(found) if history.micros[micro].joined => {
                    let set = micros.next().and_then(|next| history.micros[next].register());
                    RegisterOp::Swap(found, set)
                }
                // Whether a read of unknown outcome was answered so, nobody knows.
                Action::Read(found) if end.is_some() => RegisterOp::Read(found),
                Action::Write(value) => RegisterOp::Write(value),
                _ => continue,
            };
            let call = Call { start: txn.start, end, operation };
            calls.push((history.micros[micro].key, call));
        }
    }
    calls.sort_by_key(|(key, call)| (*key, call.start));
    let (mut refused, mut too_hard) = (Vec::new(), Vec::new());
    for of_key in calls.chunk_by(|left, right| left.0 == right.0) {
        let key = of_key[0].0;
        let calls: Vec<Call<RegisterOp>> = of_key.iter().map(|(_, call)| call.clone()).collect();
        match linearizable(&Register, &calls) {
            Verdict::Linearizable(_) => {}
            Verdict::Not { order, stuck } => {
                refused.push(NotLinearizable { key, story: story(key, &calls, &order, &stuck) });
            }
            Verdict::TooHard => too_hard.push(key),
        }
    }
    (refused, too_hard)
}

fn story(key: u64, calls: &[Call<RegisterOp>], order: &[usize], stuck: &[usize]) -> String {
    let line = |place: &usize| {
        let Call { start, end, operation } = &calls[*place];
        let end = end.map_or("?".to_owned(), |end| end.to_string());
        format!("  {start}..{end}: {operation:?}\n")
    };
    let last: String = order.iter().skip(order.len().saturating_sub(5)).map(line).collect();
    let stuck: String = stuck.iter().map(line).collect();
    let count = order.len();
    format!("key {key}: after {count} operations, the last of them\n{last}none of these:\n{stuck}")
}
