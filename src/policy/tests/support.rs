//! A cache for the policy to manage, and key streams of the kinds that caches meet.

use crate::policy::{CHANCES, EVICTIONS, EvictionOutcome, HITS, Policy, Residents, SpareDecision};
use crate::queue::Handle;
use std::cell::Cell;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};

/// The finalizer of SplitMix64.
pub fn mix(n: u64) -> u64 {
    let z = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 += 1;
        mix(self.0)
    }

    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Returns a key by a power law: few keys are popular.
fn skewed(random: &mut Random, keys: u64) -> u64 {
    ((keys as f64 + 1.0).powf(random.unit()) - 1.0) as u64
}

/// Returns streams of keys below 2^16: popularity, a loop, recency, popularity among scans, and all
/// of these in turn.
pub fn streams(length: u64) -> Vec<(&'static str, Vec<u64>)> {
    let mut random = Random(7);
    let mut popular: Box<dyn FnMut(u64) -> u64> = Box::new(move |_| skewed(&mut random, 5000));
    let mut random = Random(8);
    let mut recent: Box<dyn FnMut(u64) -> u64> = Box::new(move |at| {
        let back = skewed(&mut random, 400);
        (10_000 + (at / 3).saturating_sub(back)) & 0xFFFF
    });
    let mut random = Random(9);
    let mut scanned: Box<dyn FnMut(u64) -> u64> = Box::new(move |at| match random.below(3) {
        0 => 20_000 + at % 30_000,
        _ => skewed(&mut random, 3000),
    });
    let mut looped: Box<dyn FnMut(u64) -> u64> = Box::new(|at| 60_000 + at % 700);
    let mut in_turn: Vec<u64> = Vec::new();
    let mut part = |part: &mut dyn FnMut(u64) -> u64| in_turn.extend((0..length / 5).map(part));
    part(&mut popular);
    part(&mut looped);
    part(&mut recent);
    part(&mut scanned);
    part(&mut looped);
    vec![
        ("popular", (0..length).map(popular).collect()),
        ("loop", (0..length).map(looped).collect()),
        ("recent", (0..length).map(recent).collect()),
        ("scans", (0..length).map(scanned).collect()),
        ("in turn", in_turn),
    ]
}

std::thread_local! {
    /// The entry for which the thread makes room, and how many more times it is spared.
    static OWN: Cell<(Option<Handle>, usize)> = const { Cell::new((None, 0)) };
}

/// A policy, and an entry for each key.
pub struct PolicyCache {
    pub policy: Policy,
    weight: AtomicI64,
    count: AtomicI64,
    entries: Vec<PolicyEntry>,
}

struct PolicyEntry {
    weight: u32,
    hits: AtomicU32,
    live: AtomicBool,
    held: AtomicBool,
    evictions: AtomicU32,
}

fn handle(key: u64) -> Handle {
    Handle::new((key + 1) * 2)
}

fn key(entry: Handle) -> u64 {
    entry.bits() / 2 - 1
}

pub fn hash(key: u64) -> u32 {
    (mix(key) >> 32) as u32
}

impl PolicyCache {
    pub fn counting(capacity: u64, keys: u64) -> Self {
        Self::new(Policy::counting(capacity), keys, |_| 1)
    }

    pub fn new(policy: Policy, keys: u64, weight: impl Fn(u64) -> u32) -> Self {
        let entry = |key| PolicyEntry {
            weight: weight(key),
            hits: AtomicU32::new(0),
            live: AtomicBool::new(false),
            held: AtomicBool::new(false),
            evictions: AtomicU32::new(0),
        };
        let entries = (0..keys).map(entry).collect();
        Self { policy, weight: AtomicI64::new(0), count: AtomicI64::new(0), entries }
    }

    fn entry(&self, key: u64) -> &PolicyEntry {
        &self.entries[key as usize]
    }

    pub fn is_present(&self, key: u64) -> bool {
        self.entry(key).live.load(Ordering::SeqCst)
    }

    /// Looks the key up, and inserts it if it is absent. Returns true for a hit.
    pub fn request(&self, key: u64) -> bool {
        let entry = self.entry(key);
        if self.is_present(key) {
            let touch = |hits: u32| Some((hits + 1).min(HITS));
            let _ = entry.hits.fetch_update(Ordering::SeqCst, Ordering::SeqCst, touch);
            return true;
        }
        if self.policy.fits(entry.weight) && !entry.live.swap(true, Ordering::SeqCst) {
            self.charge(entry.weight.into(), 1);
            OWN.set((Some(handle(key)), CHANCES * 2));
            let mut is_done = if entry.weight == 0 {
                true
            } else if entry.held.swap(true, Ordering::SeqCst) {
                self.policy.make_room(self, EVICTIONS)
            } else {
                entry.hits.store(0, Ordering::SeqCst);
                self.policy.admit(self, handle(key))
            };
            while !is_done {
                is_done = self.policy.make_room(self, EVICTIONS);
            }
        }
        false
    }

    fn charge(&self, weight: i64, count: i64) {
        self.weight.fetch_add(weight, Ordering::SeqCst);
        self.count.fetch_add(count, Ordering::SeqCst);
    }

    /// Removes the key, for the user or for the policy.
    pub fn remove(&self, key: u64) -> bool {
        let was_present = self.entry(key).live.swap(false, Ordering::SeqCst);
        if was_present {
            self.charge(-i64::from(self.entry(key).weight), -1);
        }
        was_present
    }

    pub fn evictions(&self) -> u32 {
        self.entries.iter().map(|entry| entry.evictions.load(Ordering::SeqCst)).sum()
    }

    pub fn present(&self) -> usize {
        self.entries.iter().filter(|entry| entry.live.load(Ordering::SeqCst)).count()
    }

    pub fn held(&self) -> usize {
        self.entries.iter().filter(|entry| entry.held.load(Ordering::SeqCst)).count()
    }

    /// Checks that the accounts agree with the entries, and that each held handle is in one queue,
    /// once.
    pub fn check(&self) {
        let present = self.entries.iter().filter(|entry| entry.live.load(Ordering::SeqCst));
        let weight: u64 = present.map(|entry| u64::from(entry.weight)).sum();
        assert_eq!(self.weight(), weight);
        let mut found = HashSet::new();
        self.policy.drain(|entry| assert!(found.insert(key(entry)), "a handle is held twice"));
        let is_held = |key: &u64| self.entry(*key).held.load(Ordering::SeqCst);
        assert!(found.len() == self.held() && found.iter().all(is_held));
    }
}

impl Residents for PolicyCache {
    fn weight(&self) -> u64 {
        self.weight.load(Ordering::SeqCst).max(0) as u64
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst).max(0) as u64
    }

    fn hash(&self, entry: Handle) -> u32 {
        hash(key(entry))
    }

    fn hits(&self, entry: Handle) -> Option<u32> {
        let hits = self.entry(key(entry)).hits.load(Ordering::SeqCst);
        (self.is_present(key(entry)) && self.entry(key(entry)).weight > 0).then_some(hits)
    }

    fn spare(&self, entry: Handle) -> SpareDecision {
        match OWN.get() {
            (Some(own), 0) if own == entry => {
                OWN.set((Some(own), CHANCES * 2));
                SpareDecision::EndSearch
            }
            (Some(own), left) if own == entry => {
                OWN.set((Some(own), left - 1));
                SpareDecision::SpareOwn
            }
            _ => SpareDecision::Evict,
        }
    }

    fn set_hits(&self, entry: Handle, hits: u32) {
        self.entry(key(entry)).hits.store(hits, Ordering::SeqCst);
    }

    fn evict(&self, entry: Handle) -> EvictionOutcome {
        // Every other entry is taken back by its eviction, and given back if that fails.
        let held = &self.entry(key(entry)).held;
        let takes_back = key(entry).is_multiple_of(2);
        if takes_back {
            assert!(held.swap(false, Ordering::SeqCst), "evicted without a handle");
        }
        let is_gone = self.remove(key(entry));
        self.entry(key(entry)).evictions.fetch_add(is_gone.into(), Ordering::SeqCst);
        let is_held_again = || held.swap(true, Ordering::SeqCst);
        EvictionOutcome { is_gone, is_released: takes_back && (is_gone || is_held_again()) }
    }

    fn release(&self, entry: Handle) -> bool {
        let entry = self.entry(key(entry));
        let was_held = entry.held.swap(false, Ordering::SeqCst);
        assert!(was_held, "released twice");
        // The policy keeps the handle of a value that became present meanwhile, unless its writer
        // has found the handle free.
        let is_present = entry.live.load(Ordering::SeqCst) && entry.weight > 0;
        !is_present || entry.held.swap(true, Ordering::SeqCst)
    }
}
