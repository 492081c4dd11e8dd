//! The cache with which the story begins: it sets the key, and then invalidates the related
//! entries.
//!
//! A sharded map behind reader-writer locks (dashmap). Each step is safe by itself, but the two
//! together are not. Between them, a reader finds the new value beside the old related entries.

use std::time::Duration;

use dashmap::DashMap;
use foldhash::fast::FixedState;

use super::{
    contestant::{Contestant, dawdle},
    group::{Group, Key, Reading, Way},
    timeline::{Log, Step},
};

/// Updates in two steps, so groups are not atomic.
#[derive(Debug, Default)]
pub struct TwoStep {
    map: DashMap<Key, u64, FixedState>,
    widen: Duration,
}

impl TwoStep {
    /// An empty cache that waits `widen` between the steps.
    pub fn new(widen: Duration) -> Self {
        Self { widen, ..Self::default() }
    }

    fn invalidate_related(&self, group: Group) {
        for key in group.related() {
            self.map.remove(&key);
        }
    }
}

impl Contestant for TwoStep {
    fn load(&self, group: Group, generation: u64) {
        self.map.insert(group.key(), generation);
        self.refill(group, generation);
    }

    fn update(&self, group: Group, generation: u64, log: &mut impl Log) {
        log.note(Step::UpdateStart);
        self.map.insert(group.key(), generation);
        log.note(Step::SetComplete);
        dawdle(self.widen);
        self.invalidate_related(group);
        log.note(Step::InvalidateComplete);
    }

    fn refill(&self, group: Group, generation: u64) {
        for key in group.related() {
            self.map.insert(key, generation);
        }
    }

    fn read(&self, group: Group, _: Way) -> Reading {
        Reading::of(group).by(|key| self.map.get(&key).map(|entry| *entry))
    }
}
