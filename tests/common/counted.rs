//! Keys and values that count how often they are dropped.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Counts the instances of one test. All counters are independent. They are exact at rest.
#[derive(Default)]
pub struct Ledger {
    made: AtomicU64,
    live: AtomicI64,
    most: AtomicI64,
    twice: AtomicU64,
}

impl Ledger {
    /// An empty ledger.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Instances not yet dropped.
    pub fn live(&self) -> i64 {
        self.live.load(Ordering::SeqCst)
    }

    /// Instances ever made.
    pub fn made(&self) -> u64 {
        self.made.load(Ordering::SeqCst)
    }

    /// The most instances that lived at once.
    pub fn most(&self) -> i64 {
        self.most.load(Ordering::SeqCst)
    }

    /// Resets the maximum to the current count.
    pub fn reset_most(&self) {
        self.most.store(self.live(), Ordering::SeqCst);
    }

    /// Panics unless every instance was dropped exactly once.
    #[track_caller]
    pub fn assert_settled(&self) {
        assert_eq!(self.twice.load(Ordering::SeqCst), 0, "an instance was dropped twice");
        assert_eq!(self.live(), 0, "of {} instances, some were not dropped", self.made());
    }

    fn enter(&self) {
        self.made.fetch_add(1, Ordering::SeqCst);
        let live = self.live.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(live, Ordering::SeqCst);
    }
}

/// The ledgers of a cache's keys and values.
pub struct Ledgers {
    pub keys: Arc<Ledger>,
    pub values: Arc<Ledger>,
}

impl Ledgers {
    /// Empty ledgers.
    pub fn new() -> Self {
        Self { keys: Ledger::new(), values: Ledger::new() }
    }

    /// A new key with this number.
    pub fn key(&self, id: u64) -> Counted {
        Counted::new(id, &self.keys)
    }

    /// A new value with this number.
    pub fn value(&self, id: u64) -> Counted {
        Counted::new(id, &self.values)
    }

    /// Panics unless all keys and values were dropped exactly once.
    #[track_caller]
    pub fn assert_settled(&self) {
        self.keys.assert_settled();
        self.values.assert_settled();
    }
}

const ALIVE: u64 = 0x0A11_7E11_0A11_7E11;
const DEAD: u64 = 0xDEAD_DEAD_DEAD_DEAD;

/// An instance with a number, which decides equality and hash. Its ledger counts it while it lives.
pub struct Counted {
    pub id: u64,
    ledger: Arc<Ledger>,
    mark: AtomicU64,
}

impl Counted {
    /// A new instance with this number.
    pub fn new(id: u64, ledger: &Arc<Ledger>) -> Self {
        ledger.enter();
        Self { id, ledger: Arc::clone(ledger), mark: AtomicU64::new(ALIVE) }
    }

    /// Returns the number, after a check that the instance is alive.
    #[track_caller]
    pub fn read(&self) -> u64 {
        assert_eq!(self.mark.load(Ordering::Relaxed), ALIVE, "read a dropped instance");
        self.id
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        Self::new(self.read(), &self.ledger)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        // Best effort: freed memory may hold anything. The sum in `live` does not depend on this
        // check.
        if self.mark.swap(DEAD, Ordering::SeqCst) != ALIVE {
            self.ledger.twice.fetch_add(1, Ordering::SeqCst);
        }
        self.ledger.live.fetch_sub(1, Ordering::SeqCst);
    }
}

impl PartialEq for Counted {
    fn eq(&self, other: &Self) -> bool {
        self.read() == other.read()
    }
}

impl Eq for Counted {}

impl Hash for Counted {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.read().hash(state);
    }
}

impl std::fmt::Debug for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "#{}", self.id)
    }
}

/// Looks up a [`Counted`] key by its number, without a new instance.
pub struct ById(pub u64);

impl Hash for ById {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl equivalent::Equivalent<Counted> for ById {
    fn equivalent(&self, key: &Counted) -> bool {
        self.0 == key.read()
    }
}

/// No relation is declared, so the cache never asks for a key.
impl coeval::ToKey<Counted> for ById {
    fn to_key(&self) -> Counted {
        panic!("a relation asks for the key {}", self.0)
    }
}
