//! The entries in the order in which they would leave.

use super::Engine;
use super::evict::EvictionContext;
use crate::dependencies::Moment;
use crate::reclaim::Reclaim;
use std::collections::HashSet;

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// Returns what `make` makes of the keys of at most `most` entries that are present: those that
    /// would leave last if `hottest`, and else those that would leave first. The first one is the
    /// most extreme. Visits all entries, under one guard.
    pub fn by_heat<T>(&self, most: usize, hottest: bool, make: impl Fn(&K) -> T) -> Vec<T> {
        let Some(policy) = &self.policy else { return Vec::new() };
        let guard = self.pin_for_long();
        let context = EvictionContext::new(self, &guard);
        let mut order = policy.coldest_first(&context);
        if hottest {
            order.reverse();
        }
        let (moment, mut seen) = (Moment::new(&self.timer), HashSet::new());
        let mut keys = Vec::new();
        for ranked in order {
            if keys.len() == most {
                break;
            }
            let record = context.record(ranked.handle);
            if self.store.present(record, false, &moment).is_some()
                && seen.insert(ranked.handle.bits())
            {
                keys.push(make(record.key()));
            }
        }
        keys
    }
}
