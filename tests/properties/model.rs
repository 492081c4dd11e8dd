//! What a cache is to be: a map, and what is known of what has left it.

use super::program::{FOREVER, Settings, UNIT, related};
use coeval::{RemovalCause, Version};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// A value in the cache. What is shared is that of the value in views, too.
#[derive(Clone, Debug)]
pub struct Held {
    pub value: u64,
    /// `None` if it was loaded, and gone before anybody could ask.
    pub version: Option<Version>,
    deadline: Rc<Cell<u64>>,
    /// Beyond this, uses do not move the deadline.
    end: u64,
}

/// A write of a commit: the value, and its own time to live.
pub type Wanted = Option<(u64, Option<u64>)>;

/// A departure: the key, the value, why, and by which commit if that is known.
pub type Left = (u64, u64, RemovalCause, Option<Version>);

/// A lease that is open.
pub struct Leased {
    pub key: u64,
    /// Whether a fill would be refused; `None` if the cache may have let go of what was there meanwhile.
    pub is_outdated: Option<bool>,
}

pub struct Model {
    settings: Settings,
    /// In nanoseconds.
    now: u64,
    /// What was written and not superseded; its deadline may have come.
    pub held: BTreeMap<u64, Held>,
    /// What must have been heard of when the operation is over.
    pub leaves: Vec<Left>,
    /// What will be heard of by and by.
    pub cleared: Vec<Left>,
    pub leases: Vec<Leased>,
}

impl Model {
    pub fn new(settings: Settings) -> Self {
        let (held, leaves, cleared) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self { settings, now: 0, held, leaves, cleared, leases: Vec::new() }
    }

    /// Whether its deadline has come.
    pub fn is_over(&self, held: &Held) -> bool {
        held.deadline.get() <= self.now
    }

    pub fn get(&self, key: u64) -> Option<&Held> {
        self.held.get(&key).filter(|held| !self.is_over(held))
    }

    /// All that is present.
    pub fn present(&self) -> BTreeMap<u64, Held> {
        self.still_there(&self.held)
    }

    /// What of a view would be in one that is opened now.
    pub fn still_there(&self, shown: &BTreeMap<u64, Held>) -> BTreeMap<u64, Held> {
        let there = shown.iter().filter(|(_, held)| !self.is_over(held));
        there.map(|(key, held)| (*key, held.clone())).collect()
    }

    /// A look-up that counts as a use.
    pub fn used(&mut self, key: u64) -> Option<Held> {
        let held = self.get(key)?.clone();
        if let Some(idle) = self.settings.time_to_idle {
            held.deadline.set(held.deadline.get().max(held.end.min(self.now + idle * UNIT)));
        }
        Some(held)
    }

    /// Time passes.
    pub fn advance(&mut self, units: u64) {
        self.now += units * UNIT;
        self.doubt_leases();
    }

    /// From here on the cache may end what is over, and with it a lease on its key.
    fn doubt_leases(&mut self) {
        let (held, now) = (&self.held, self.now);
        for lease in &mut self.leases {
            let is_over = held.get(&lease.key).is_some_and(|held| held.deadline.get() <= now);
            if is_over && lease.is_outdated == Some(false) {
                lease.is_outdated = None;
            }
        }
    }

    pub fn lease(&mut self, key: u64) {
        self.leases.push(Leased { key, is_outdated: Some(false) });
        self.doubt_leases();
    }

    /// A commit has written the key.
    fn outdate(&mut self, key: u64) {
        for lease in self.leases.iter_mut().filter(|lease| lease.key == key) {
            lease.is_outdated = Some(true);
        }
    }

    /// A commit of one write, relations aside. Its version may not be known.
    pub fn write(
        &mut self,
        key: u64,
        wanted: Wanted,
        cause: RemovalCause,
        version: Option<Version>,
    ) {
        if let Some(was) = self.held.remove(&key) {
            let cause = if self.is_over(&was) { RemovalCause::Expired } else { cause };
            self.leaves.push((key, was.value, cause, version));
        }
        self.outdate(key);
        if let Some((value, time_to_live)) = wanted {
            let of = |units: u64| match units {
                FOREVER => u64::MAX,
                units => self.now + units * UNIT,
            };
            let end = time_to_live.or(self.settings.time_to_live).map_or(u64::MAX, of);
            let idle = self.settings.time_to_idle.map_or(u64::MAX, of);
            let deadline = Rc::new(Cell::new(end.min(idle)));
            self.held.insert(key, Held { value, version, deadline, end });
            self.doubt_leases();
        }
    }

    /// A commit of several writes, the last of a key, and of what relations make of those that have them followed.
    pub fn commit(&mut self, asked: &[(u64, Wanted, bool)], version: Version) {
        let mut writes: Vec<(u64, Wanted, bool, RemovalCause)> = Vec::new();
        for &(key, wanted, follow) in asked {
            writes.retain(|(other, ..)| *other != key);
            let cause = match wanted {
                Some(_) => RemovalCause::Replaced,
                None => RemovalCause::Explicit,
            };
            writes.push((key, wanted, follow, cause));
        }
        let mut at = 0;
        while self.settings.has_relations && at < writes.len() {
            let (key, _, follow, _) = writes[at];
            for &(other, value) in related(key).iter().filter(|_| follow) {
                if writes.iter().all(|(known, ..)| *known != other) {
                    let wanted = value.map(|value| (value, None));
                    writes.push((other, wanted, true, RemovalCause::Related));
                }
            }
            at += 1;
        }
        for (key, wanted, _, cause) in writes {
            self.write(key, wanted, cause, Some(version));
        }
    }

    /// A commit that clears everything.
    pub fn clear(&mut self) {
        let held = std::mem::take(&mut self.held);
        let left = |(key, held): (u64, Held)| (key, held.value, RemovalCause::Explicit, None);
        self.cleared.extend(held.into_iter().map(left));
        for lease in &mut self.leases {
            lease.is_outdated = Some(true);
        }
    }

    /// What was removed of a key, if anything. A key that was absent is removed for those who have leases on it.
    pub fn remove(&mut self, key: u64) -> Option<u64> {
        let removed = self.get(key).map(|held| held.value);
        self.write(key, None, RemovalCause::Explicit, None);
        removed
    }

    /// The cache has let go of what a key held.
    pub fn lost(&mut self, key: u64) {
        self.held.remove(&key);
        self.outdate(key);
    }

    /// The cache says that this has left. False if it should not have.
    pub fn left(&mut self, key: u64, value: u64, cause: RemovalCause, version: Version) -> bool {
        let is_it = |left: &Left| {
            (left.0, left.1, left.2) == (key, value, cause) && left.3.is_none_or(|by| by == version)
        };
        if let Some(at) = self.leaves.iter().position(is_it) {
            self.leaves.swap_remove(at);
            return true;
        }
        // Before what is held: values that a relation sets are the same each time.
        if let Some(at) = self.cleared.iter().position(is_it) {
            self.cleared.swap_remove(at);
            return true;
        }
        if let Some(held) = self.held.get(&key)
            && held.value == value
        {
            let may = match cause {
                RemovalCause::Expired => self.is_over(held),
                RemovalCause::Size => self.settings.capacity.is_some() && !self.is_over(held),
                _ => false,
            };
            let is_later = held.version < Some(version);
            self.lost(key);
            return may && is_later;
        }
        false
    }
}
