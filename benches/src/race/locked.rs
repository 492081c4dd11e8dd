//! The same two steps behind one lock, which readers also take. This is correct, but all threads
//! wait for each other.

use std::{collections::HashMap, time::Duration};

use foldhash::fast::FixedState;
use parking_lot::RwLock;

use super::{
    contestant::{Contestant, dawdle},
    group::{Group, Key, Reading, Way},
    timeline::{Log, Step},
};

/// A map behind one reader-writer lock.
#[derive(Debug, Default)]
pub struct Locked {
    map: RwLock<HashMap<Key, u64, FixedState>>,
    widen: Duration,
}

impl Locked {
    /// An empty cache that waits `widen` between the steps, with the lock held.
    pub fn new(widen: Duration) -> Self {
        Self { widen, ..Self::default() }
    }
}

impl Contestant for Locked {
    fn load(&self, group: Group, generation: u64) {
        self.map.write().insert(group.key(), generation);
        self.refill(group, generation);
    }

    fn update(&self, group: Group, generation: u64, log: &mut impl Log) {
        log.note(Step::UpdateStart);
        let mut map = self.map.write();
        map.insert(group.key(), generation);
        log.note(Step::SetComplete);
        dawdle(self.widen);
        for key in group.related() {
            map.remove(&key);
        }
        drop(map);
        log.note(Step::InvalidateComplete);
    }

    fn refill(&self, group: Group, generation: u64) {
        let mut map = self.map.write();
        for key in group.related() {
            map.insert(key, generation);
        }
    }

    fn read(&self, group: Group, _: Way) -> Reading {
        let map = self.map.read();
        Reading::of(group).by(|key| map.get(&key).copied()).at_once()
    }

    fn ways(&self) -> &'static [Way] {
        &[Way::GetMany]
    }
}
