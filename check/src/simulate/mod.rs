//! Histories of a store that is not there, to test a checker with: good ones, and good ones with an
//! anomaly planted in them.

mod planted;
mod random;

pub use planted::{Planted, plant, plant_text};
pub use random::Random;

use crate::history::{History, Kind, Micro, NEVER, Outcome, Txn};

/// What a good history is like.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The number of processes.
    pub processes: u32,
    /// The number of transactions.
    pub transactions: usize,
    /// The number of keys in use at a time: registers, lists and sets, a third each.
    pub keys: u64,
    /// The most micro-operations of a transaction.
    pub most_micros: u64,
    /// The most elements of a list or a set. Then another one takes its place.
    pub most_elements: usize,
    /// One transaction of so many is aborted, and one of so many has no known outcome; 0 for none.
    pub one_in: u64,
    /// Whether registers are removed, too.
    pub removals: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            processes: 5,
            transactions: 100,
            keys: 9,
            most_micros: 4,
            most_elements: 12,
            one_in: 10,
            removals: false,
        }
    }
}

impl Plan {
    /// A plan at random, small.
    pub fn random(random: &mut Random) -> Self {
        Self {
            processes: 1 + random.below(10) as u32,
            transactions: 5 + random.below(80) as usize,
            keys: 1 + random.below(9),
            most_micros: 1 + random.below(6),
            most_elements: 1 + random.below(20) as usize,
            one_in: [0, 3, 10][random.below(3) as usize],
            removals: random.one_in(4),
        }
    }

    /// A history of a store that runs each transaction at one instant between its start and its
    /// end. The same seed gives the same history.
    pub fn history(&self, seed: u64) -> History {
        let store = Store { slots: Vec::new(), next_key: 0, next_value: 0 };
        let mut world = World { plan: self, random: Random::new(seed), store, now: 0 };
        let mut processes: Vec<Process> = (0..self.processes).map(|_| Process::default()).collect();
        (0..self.keys).for_each(|slot| world.store.renew(slot as usize));
        let mut ended = 0;
        while ended < self.transactions {
            let number = world.random.below(self.processes.into()) as usize;
            ended += usize::from(world.step(number as u32, &mut processes[number]));
        }
        // What has run may have been seen: it ends, too.
        for (number, process) in processes.iter_mut().enumerate() {
            if process.open.as_ref().is_some_and(|open| open.outcome.is_some()) {
                world.step(number as u32, process);
            }
        }
        let mut history = History::default();
        processes.into_iter().for_each(|process| history.push_log(process.log));
        history.sort();
        history
    }
}

/// What a key holds: one value for a register, the elements in their order for others.
struct Slot {
    key: u64,
    kind: Kind,
    values: Vec<u64>,
}

struct Store {
    slots: Vec<Slot>,
    next_key: u64,
    next_value: u64,
}

impl Store {
    /// Puts a new key into a slot.
    fn renew(&mut self, slot: usize) {
        let kind = [Kind::Read, Kind::ReadList, Kind::ReadSet][slot % 3];
        let new = Slot { key: self.next_key, kind, values: Vec::new() };
        self.next_key += 1;
        match self.slots.get_mut(slot) {
            Some(old) => *old = new,
            None => self.slots.push(new),
        }
    }

    fn value(&mut self) -> u64 {
        self.next_value += 1;
        self.next_value
    }
}

#[derive(Default)]
struct Process {
    log: History,
    open: Option<Running>,
}

struct Running {
    start: u64,
    outcome: Option<Outcome>,
    first: u32,
}

struct World<'p> {
    plan: &'p Plan,
    random: Random,
    store: Store,
    now: u64,
}

impl World<'_> {
    /// A process begins a transaction, or runs it, or ends it. Returns whether it ended one.
    fn step(&mut self, number: u32, process: &mut Process) -> bool {
        // Two things may happen at one moment.
        self.now += self.random.below(3);
        let Some(open) = &mut process.open else {
            let first = process.log.micros.len() as u32;
            process.open = Some(Running { start: self.now, outcome: None, first });
            return false;
        };
        let Some(outcome) = open.outcome else {
            open.outcome = Some(self.run(&mut process.log));
            return false;
        };
        let end = if outcome == Outcome::Unknown { NEVER } else { self.now };
        let len = process.log.micros.len() as u32 - open.first;
        let (start, first) = (open.start, open.first);
        process.log.txns.push(Txn { start, end, first, len, process: number, outcome });
        process.open = None;
        true
    }

    /// Runs one transaction at one instant.
    fn run(&mut self, log: &mut History) -> Outcome {
        let one_in = self.plan.one_in;
        let outcome = match () {
            () if one_in > 0 && self.random.one_in(one_in) => Outcome::Aborted,
            () if one_in > 0 && self.random.one_in(one_in) => Outcome::Unknown,
            () => Outcome::Committed,
        };
        let is_undone = match outcome {
            Outcome::Committed => false,
            Outcome::Aborted => true,
            Outcome::Unknown => self.random.one_in(2),
        };
        let mut undo: Vec<(usize, Vec<u64>)> = Vec::new();
        for _ in 0..1 + self.random.below(self.plan.most_micros) {
            let slot = self.random.below(self.plan.keys) as usize;
            if is_undone {
                undo.push((slot, self.store.slots[slot].values.clone()));
            }
            self.micro(slot, log);
        }
        for (slot, values) in undo.into_iter().rev() {
            self.store.slots[slot].values = values;
        }
        for slot in 0..self.plan.keys as usize {
            let of = &self.store.slots[slot];
            let is_full = of.kind != Kind::Read && of.values.len() >= self.plan.most_elements;
            if is_full && self.random.one_in(3) {
                self.store.renew(slot);
            }
        }
        outcome
    }

    fn micro(&mut self, slot: usize, log: &mut History) {
        let value = self.store.value();
        let Slot { key, kind, values } = &mut self.store.slots[slot];
        let (key, kind) = (*key, *kind);
        let mut push = |kind, value: u64, len: usize, joined| {
            log.micros.push(Micro { key, value, len: len as u32, kind, joined });
        };
        if kind == Kind::Read {
            let found = values.last().copied();
            let choice = self.random.below(10);
            if choice < 7 {
                let joined = (4..6).contains(&choice);
                push(Kind::Read, found.unwrap_or(0), found.map_or(0, |_| 1), joined);
            }
            match choice {
                4..=8 => {
                    *values = vec![value];
                    push(Kind::Write, value, 1, false);
                }
                9 if self.plan.removals => {
                    values.clear();
                    push(Kind::Write, 0, 0, false);
                }
                _ => {}
            }
        } else if self.random.one_in(2) {
            values.push(value);
            push(if kind == Kind::ReadList { Kind::Append } else { Kind::Add }, value, 1, false);
        } else {
            let from = log.elements.len();
            log.elements.extend_from_slice(values);
            log.elements[from..].sort_unstable(); // The values of a list ascend, too.
            push(kind, from as u64, values.len(), false);
        }
    }
}
