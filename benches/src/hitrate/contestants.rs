//! The caches with a bound. All hash with the same hasher and seed.

use std::collections::HashMap;
use std::hash::BuildHasher;

use ::quick_cache::{
    UnitWeighter,
    sync::{Cache as Quick, DefaultLifecycle},
};
use coeval::policy::{Handle, Heat, Policy, Residents};
use std::cell::{Cell, RefCell};

use crate::stores::Hasher;

/// moka counts and evicts in a housekeeping that runs after so many operations or so much time; between
/// two runs it holds some entries more than its bound. `exact` has it done after each insertion,
/// so that the bound is kept.
pub fn moka(keys: &[u64], capacity: usize, exact: bool) -> u64 {
    let builder = ::moka::sync::Cache::builder().max_capacity(capacity as u64);
    let cache = builder.build_with_hasher(Hasher::default());
    let mut hits = 0;
    for key in keys {
        if cache.get(key).is_some() {
            hits += 1;
        } else {
            cache.insert(*key, ());
            if exact {
                cache.run_pending_tasks();
            }
        }
    }
    hits
}

/// quick_cache, with as many shards as it makes for the processors that it finds.
pub fn quick_cache(keys: &[u64], capacity: usize) -> u64 {
    let (hasher, lifecycle) = (Hasher::default(), DefaultLifecycle::default());
    let cache: Quick<u64, (), UnitWeighter, Hasher, DefaultLifecycle<u64, ()>> =
        Quick::with(capacity, capacity as u64, UnitWeighter, hasher, lifecycle);
    let mut hits = 0;
    for key in keys {
        if cache.get(key).is_some() {
            hits += 1;
        } else {
            cache.insert(*key, ());
        }
    }
    hits
}

/// coeval's policy, with a table for the rest of the cache.
pub fn coeval(keys: &[u64], capacity: usize) -> u64 {
    let cache = Simulated::new(capacity as u64);
    keys.iter().filter(|key| cache.request(**key)).count() as u64
}

/// A cache for one thread.
struct Simulated {
    policy: Policy,
    hasher: Hasher,
    places: RefCell<HashMap<u64, u32, Hasher>>,
    entries: Vec<Entry>,
    free: RefCell<Vec<u32>>,
}

#[derive(Default)]
struct Entry {
    key: Cell<u64>,
    heat: Heat,
}

impl Simulated {
    fn new(capacity: u64) -> Self {
        // One more: an entry is admitted before another one goes.
        let entries = capacity as u32 + 1;
        Self {
            policy: Policy::counting(capacity),
            hasher: Hasher::default(),
            places: RefCell::default(),
            entries: (0..entries).map(|_| Entry::default()).collect(),
            free: RefCell::new((0..entries).rev().collect()),
        }
    }

    fn entry(&self, handle: Handle) -> &Entry {
        &self.entries[(handle.bits() / 2 - 1) as usize]
    }

    fn request(&self, key: u64) -> bool {
        if let Some(place) = self.places.borrow().get(&key) {
            self.entries[*place as usize].heat.touch();
            return true;
        }
        let place = self.free.borrow_mut().pop().expect("the policy keeps its bound");
        let entry = &self.entries[place as usize];
        entry.key.set(key);
        entry.heat.set(0);
        self.places.borrow_mut().insert(key, place);
        self.policy.charge(1);
        self.policy.admit(self, Handle::new((u64::from(place) + 1) * 2));
        false
    }
}

impl Residents for Simulated {
    fn hash(&self, entry: Handle) -> u32 {
        (self.hasher.hash_one(self.entry(entry).key.get()) >> 32) as u32
    }

    fn is_live(&self, _: Handle) -> bool {
        true // Nothing is removed but by the policy.
    }

    fn heat(&self, entry: Handle) -> &Heat {
        &self.entry(entry).heat
    }

    fn evict(&self, entry: Handle) -> bool {
        self.policy.discharge(1);
        self.places.borrow_mut().remove(&self.entry(entry).key.get()).is_some()
    }

    fn release(&self, entry: Handle) {
        self.free.borrow_mut().push((entry.bits() / 2 - 1) as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_kept_and_hits_are_counted() {
        let keys: Vec<u64> = (0..10_000).map(|at| at % 120).collect();
        for hits in [coeval(&keys, 120), quick_cache(&keys, 1000), moka(&keys, 1000, true)] {
            assert_eq!(hits, 10_000 - 120);
        }
        assert_eq!(coeval(&keys, 0), 0);
        assert!(coeval(&keys, 60) < 5_000);
    }
}
