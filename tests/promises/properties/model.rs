//! The expected behaviour of a cache: a map whose values end, and a list of what has left it.

use super::program::{FOREVER, Settings, UNIT, related};
use super::state::{Held, Slot, Stamp, State};
use coeval::{RemovalCause, Version};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// A write that an operation asks for.
pub struct Asked {
    pub key: u64,
    /// `None` removes.
    pub value: Option<u64>,
    /// Overrides the time to live of the settings.
    pub time_to_live: Option<u64>,
    pub tags: Vec<u64>,
    /// Whether relations are followed.
    pub follow: bool,
}

/// A departure: the key, the value, the cause, and the commit if that is known.
pub type Left = (u64, u64, RemovalCause, Option<Version>);

/// An open lease.
pub struct Leased {
    pub key: u64,
    pub since: Stamp,
    /// The cache has reported that a fill would be refused.
    pub is_outdated: bool,
}

pub struct Model {
    pub settings: Settings,
    /// In nanoseconds.
    pub now: u64,
    pub state: State,
    /// The stamp of the last change.
    pub stamp: Stamp,
    /// The stamp of the last clearing.
    pub cleared: Stamp,
    /// The departures that the listener must have heard of when the operation is over.
    pub leaves: Vec<Left>,
    /// Cleared values that were superseded. The listener may hear of them later, when their memory
    /// is reclaimed.
    late: Vec<(u64, u64)>,
    /// Values that the cache may have held for a moment before it had to make room. The listener
    /// may or may not hear of them.
    pub unsure: Vec<(u64, u64)>,
    /// For these keys, the listener may hear that the commit removed a value which had ended
    /// before.
    either: Vec<(u64, RemovalCause)>,
    /// Whether a view is open.
    pub is_viewed: bool,
    pub leases: Vec<Leased>,
}

impl Asked {
    pub fn set(key: u64, value: u64) -> Self {
        Self { key, value: Some(value), time_to_live: None, tags: Vec::new(), follow: true }
    }

    pub fn unset(key: u64, follow: bool) -> Self {
        Self { key, value: None, time_to_live: None, tags: Vec::new(), follow }
    }

    pub fn kept_for(self, time: u64) -> Self {
        Self { time_to_live: Some(time), ..self }
    }
}

impl Model {
    pub fn new(settings: Settings) -> Self {
        let (state, now, stamp, cleared, is_viewed) = (State::new(), 0, 0, 0, false);
        let (leaves, late, unsure) = (Vec::new(), Vec::new(), Vec::new());
        let (either, leases) = (Vec::new(), Vec::new());
        Self {
            settings,
            now,
            state,
            stamp,
            cleared,
            leaves,
            late,
            unsure,
            either,
            is_viewed,
            leases,
        }
    }

    pub fn get(&self, key: u64) -> Option<&Held> {
        self.state.present(key, self.now)
    }

    /// All present values.
    pub fn present(&self) -> BTreeMap<u64, Held> {
        self.state.all(self.now)
    }

    /// All values in memory, except cleared ones.
    pub fn in_memory(&self) -> impl Iterator<Item = &Held> {
        let held = self.state.slots.iter().filter_map(|slot| slot.held.as_ref());
        held.filter(|held| !held.is_cleared)
    }

    /// A look-up that counts as a use.
    pub fn used(&mut self, key: u64) -> Option<Held> {
        let held = self.get(key)?.clone();
        self.touch(&held);
        Some(held)
    }

    /// Looks up every value that has not expired, whether it is present or not.
    pub fn all_used(&mut self) {
        self.in_memory().filter(|held| !held.is_over(self.now)).for_each(|held| self.touch(held));
    }

    fn touch(&self, held: &Held) {
        if let Some(idle) = self.settings.time_to_idle {
            held.deadline.set(held.deadline.get().max(held.end.min(self.now + idle * UNIT)));
        }
    }

    /// Lets time pass.
    pub fn advance(&mut self, units: u64) {
        self.now += units * UNIT;
    }

    /// Returns the stamp of the next change.
    pub fn next(&mut self) -> Stamp {
        self.stamp += 1;
        self.stamp
    }

    /// A value as it is written now, which nothing but time ends yet.
    pub fn fresh(&self, value: u64, time_to_live: Option<u64>) -> Held {
        let of = |units: u64| match units {
            FOREVER => u64::MAX,
            units => self.now + units * UNIT,
        };
        let end = time_to_live.or(self.settings.time_to_live).map_or(u64::MAX, of);
        let idle = self.settings.time_to_idle.map_or(u64::MAX, of);
        Held {
            value,
            version: None,
            deadline: Rc::new(Cell::new(end.min(idle))),
            end,
            old_from: self.settings.refresh_after.map_or(u64::MAX, of),
            same_since: self.stamp,
            inputs: Vec::new(),
            tags: BTreeMap::new(),
            is_cleared: false,
            is_broken: false,
        }
    }

    /// What the listener hears if a key is written now. If the value was absent already, the reason
    /// for that takes precedence over `cause`.
    fn departure(&self, key: u64, cause: RemovalCause, version: Option<Version>) -> Option<Left> {
        let held = self.state.held(key)?;
        Some(match () {
            () if held.is_cleared => (key, held.value, RemovalCause::Explicit, None),
            () if held.is_over(self.now) => (key, held.value, RemovalCause::Expired, version),
            () if self.get(key).is_none() => (key, held.value, RemovalCause::Related, version),
            () => (key, held.value, cause, version),
        })
    }

    pub fn leave(&mut self, key: u64, cause: RemovalCause, version: Option<Version>) {
        match self.state.held(key) {
            Some(held) if held.is_cleared => self.late.push((key, held.value)),
            _ => self.leaves.extend(self.departure(key, cause, version)),
        }
    }

    pub fn put(&mut self, key: u64, held: Option<Held>) {
        *self.state.slot_mut(key) = Slot { written: self.stamp, held, swept: 0 };
    }

    /// A commit of one write, without its relations, with its stamp.
    pub fn write(
        &mut self,
        key: u64,
        held: Option<Held>,
        cause: RemovalCause,
        version: Option<Version>,
    ) {
        self.leave(key, cause, version);
        self.put(key, held);
    }

    /// A commit of several writes. The last write of a key counts, and relations are followed where
    /// a write asks for it.
    pub fn commit(&mut self, asked: Vec<Asked>, version: Version) {
        let mut writes: Vec<(Asked, RemovalCause)> = Vec::new();
        for write in asked {
            writes.retain(|(other, _)| other.key != write.key);
            let is_value = write.value.is_some();
            let cause = if is_value { RemovalCause::Replaced } else { RemovalCause::Explicit };
            writes.push((write, cause));
        }
        let mut at = 0;
        while self.settings.has_relations && at < writes.len() {
            let Asked { key, follow, .. } = writes[at].0;
            for &(other, value) in related(key).iter().filter(|_| follow) {
                if writes.iter().all(|(known, _)| known.key != other) {
                    let write = Asked { value, ..Asked::unset(other, true) };
                    writes.push((write, RemovalCause::Related));
                }
            }
            at += 1;
        }
        let stamp = self.next();
        for (write, cause) in &writes {
            self.leave(write.key, *cause, Some(version));
            // Beside a view, a commit that also writes an input of a value can no longer determine
            // whether that value had ended.
            if self.is_viewed && writes.len() > 1 {
                self.either.push((write.key, *cause));
            }
        }
        for (write, _) in writes {
            let held = write.value.map(|value| Held {
                version: Some(version),
                tags: write.tags.into_iter().map(|tag| (tag, stamp)).collect(),
                ..self.fresh(value, write.time_to_live)
            });
            self.put(write.key, held);
        }
    }

    /// A commit that clears everything.
    pub fn clear(&mut self) {
        self.cleared = self.next();
        let slots = self.state.slots.iter_mut();
        slots.filter_map(|slot| slot.held.as_mut()).for_each(|held| held.is_cleared = true);
    }

    /// Ends all values that have the tag.
    pub fn invalidate_tag(&mut self, tag: u64) {
        let stamp = self.next();
        self.state.ended.insert(tag, stamp);
    }

    /// Adds tags to the value of a key. The value keeps its tags and its deadlines, and values
    /// derived from it stay valid.
    pub fn tag(&mut self, key: u64, tags: &[u64], version: Version) {
        let Some(held) = self.get(key).cloned() else { return };
        let stamp = self.next();
        let mut tagged = Held {
            version: Some(version),
            deadline: Rc::new(Cell::new(held.deadline.get())),
            ..held
        };
        tags.iter().for_each(|tag| _ = tagged.tags.entry(*tag).or_insert(stamp));
        self.write(key, Some(tagged), RemovalCause::Replaced, Some(version));
    }

    /// Removes a key. Returns its value, if any. Removing an absent key affects leases on it and
    /// values derived from its absence.
    pub fn remove(&mut self, key: u64) -> Option<u64> {
        let removed = self.get(key).map(|held| held.value);
        let stamp = self.next();
        let slot = self.state.slot_mut(key);
        match &mut slot.held {
            // If nothing depends on the key, the removal does not affect a value that is yet to be
            // swept.
            Some(held) if held.is_cleared => (held.same_since, slot.written) = (stamp, stamp),
            _ => self.write(key, None, RemovalCause::Explicit, None),
        }
        removed
    }

    /// Makes a key absent. The listener may or may not hear that its value left.
    pub fn forget(&mut self, key: u64) {
        self.next();
        let swept = self.state.slot(key).swept;
        match self.state.held(key) {
            Some(held) if held.is_cleared => self.late.push((key, held.value)),
            Some(held) => self.unsure.push((key, held.value)),
            None => {}
        }
        self.put(key, None);
        self.state.slot_mut(key).swept = swept;
    }

    /// The cache has removed the value of a key.
    pub fn lost(&mut self, key: u64) {
        self.next();
        self.put(key, None);
        self.state.slot_mut(key).swept = self.stamp;
    }

    /// The cache has no value for the key, without a report. Returns false if it should have one.
    pub fn is_missing(&mut self, key: u64) -> bool {
        let Some(held) = self.state.held(key) else { return false };
        // An expired value may be swept at any time, and values derived from its absence end then.
        let is_unsure = held.inputs.iter().any(|input| self.may_vanish(input.key));
        if is_unsure && let Some(held) = &mut self.state.slot_mut(key).held {
            held.is_broken = true;
            return true;
        }
        let is_evicted = !self.settings.is_heard && self.settings.capacity.is_some();
        if is_evicted {
            self.lost(key);
        }
        is_evicted
    }

    /// The cache has a value for the key although the model has none. Returns whether that is
    /// possible.
    pub fn is_back(&self, key: u64) -> bool {
        if let Some(held) = self.state.held(key) {
            self.state.forget(held);
        }
        self.get(key).is_some()
    }

    /// Whether the value of a key may have been removed in the meantime, without a report.
    pub fn may_vanish(&self, key: u64) -> bool {
        let held = self.state.held(key);
        !self.settings.is_heard
            && held.is_some_and(|held| held.is_cleared || held.is_over(self.now))
    }

    /// Whether every expected departure was reported.
    pub fn is_reported(&mut self) -> bool {
        self.either.clear();
        self.unsure.clear();
        self.leaves.is_empty()
    }

    /// The cache reports that this value has left. Returns false if it should not have left.
    pub fn left(&mut self, key: u64, value: u64, cause: RemovalCause, version: Version) -> bool {
        let is_it = |left: &Left| {
            let is_either = |(of, or): &(u64, RemovalCause)| {
                let both = [*or, RemovalCause::Related];
                *of == key && both.contains(&cause) && both.contains(&left.2)
            };
            let is_why = left.2 == cause || self.either.iter().any(is_either);
            (left.0, left.1) == (key, value) && is_why && left.3.is_none_or(|by| by == version)
        };
        if let Some(at) = self.leaves.iter().position(is_it) {
            self.leaves.swap_remove(at);
            return true;
        }
        let is_cleared =
            |left: &(u64, u64)| *left == (key, value) && cause == RemovalCause::Explicit;
        if let Some(at) = self.late.iter().position(is_cleared) {
            self.late.swap_remove(at);
            return true;
        }
        let is_unsure = |held: &(u64, u64)| *held == (key, value);
        if let Some(at) = self.unsure.iter().position(is_unsure) {
            self.unsure.swap_remove(at);
            return true;
        }
        let Some(held) = self.state.held(key).filter(|held| held.value == value) else {
            return false;
        };
        // The cache has removed the value itself, to make room, or because it was absent anyway.
        let is_bounded = self.settings.capacity.is_some();
        let is_due = held.is_cleared || held.is_over(self.now);
        let may = is_due || is_bounded;
        let expected = || self.departure(key, RemovalCause::Size, Some(version));
        let is_why = || expected().is_some_and(|expected| expected.2 == cause);
        let is_later = held.is_cleared || held.version < Some(version);
        let is_right = is_why() || {
            self.state.forget(held);
            is_why()
        };
        self.lost(key);
        may && is_right && is_later
    }
}
