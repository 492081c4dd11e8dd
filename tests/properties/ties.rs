//! What the model says of values that are tied to what they were made from: derived, loaded, refreshed.

use super::model::{Leased, Model};
use super::state::{Held, Input, Stamp, State};
use coeval::{RemovalCause, Version};
use std::cell::Cell;
use std::rc::Rc;

/// What one derivation has read, all as of one moment.
pub struct Reading {
    shown: Rc<State>,
    pub since: Stamp,
    inputs: Vec<Input>,
    /// What was derived on the way, though that moment does not show it.
    made: Vec<(u64, u64)>,
    /// Something was derived on the way, and not kept.
    is_lost: bool,
    /// It is on behalf of another: nobody held the key when that began.
    is_inner: bool,
}

impl Reading {
    /// Another derivation, on behalf of this, of the same moment.
    pub fn inner(&self) -> Self {
        Self { is_inner: true, ..Self::of(Rc::clone(&self.shown), self.since) }
    }

    fn of(shown: Rc<State>, since: Stamp) -> Self {
        let (inputs, made) = (Vec::new(), Vec::new());
        Self { shown, since, inputs, made, is_lost: false, is_inner: false }
    }

    /// Notes what was derived on the way: since when it is the same, if it is kept.
    pub fn made(&mut self, key: u64, value: u64, same_since: Option<Stamp>) {
        match same_since {
            Some(same_since) => {
                let same_since = Rc::new(Cell::new(same_since));
                self.inputs.push(Input { key, same_since, was_present: true });
            }
            None => self.is_lost = true,
        }
        self.made.push((key, value));
    }
}

impl Model {
    /// Somebody is to load a key, or takes a lease on it: if it was cleared, that is seen to.
    pub fn claim(&mut self, key: u64) {
        if self.state.held(key).is_some_and(|held| held.is_cleared) {
            self.next();
            self.write(key, None, RemovalCause::Explicit, None);
        }
    }

    pub fn lease(&mut self, key: u64) {
        self.claim(key);
        self.leases.push(Leased { key, since: self.stamp, is_outdated: false });
    }

    /// Whether a key was written or cleared since.
    fn is_written(&self, key: u64, since: Stamp) -> bool {
        self.state.slot(key).written > since || self.cleared > since
    }

    /// What is in place of which a value is loaded or derived, absent or not; what is over or cleared is forgotten.
    fn place(&self, key: u64) -> Option<&Held> {
        let held = self.state.held(key)?;
        (!held.is_cleared && !held.is_over(self.now)).then_some(held)
    }

    /// Whether a fill of a key is refused that was read since: the key was written, a tag of it invalidated, or
    /// something written on which it depends. `None`: nobody can tell.
    pub fn is_outdated(&self, key: u64, since: Stamp) -> Option<bool> {
        if self.is_written(key, since) {
            return Some(true);
        }
        if self.may_vanish(key) {
            return None;
        }
        let held = self.state.held(key).filter(|held| !held.is_cleared);
        held.map_or(Some(false), |held| self.has_changed(held, since))
    }

    /// Whether something of what a value is tied to was changed since, on whatever way.
    fn has_changed(&self, held: &Held, since: Stamp) -> Option<bool> {
        if held.tags.keys().any(|tag| self.state.is_ended(*tag, since)) {
            return Some(true);
        }
        let mut worst = Some(false);
        for input in &held.inputs {
            let slot = self.state.slot(input.key);
            let has_changed = match &slot.held {
                _ if slot.written > since => Some(true),
                Some(_) if self.may_vanish(input.key) => None,
                Some(held) => self.has_changed(held, since),
                None => Some(false),
            };
            match has_changed {
                Some(true) => return Some(true),
                None => worst = None,
                Some(false) => {}
            }
        }
        worst
    }

    /// Whether the cache has told since that it has taken away what was there.
    pub fn is_swept(&self, key: u64, since: Stamp) -> bool {
        self.state.slot(key).swept > since
    }

    /// Whether it is time to load a value anew.
    pub fn is_old(&self, key: u64) -> bool {
        self.get(key).is_some_and(|held| held.old_from <= self.now)
    }

    /// A key is filled with what was read since: the value has the tags of the one before, and depends on the same.
    pub fn fill(&mut self, key: u64, value: u64, since: Stamp, version: Option<Version>) {
        self.next();
        let mut filled = Held { version, ..self.fresh(value, None) };
        if let Some(held) = self.place(key) {
            filled.tags = held.tags.keys().map(|tag| (*tag, since)).collect();
            let inputs = held.inputs.iter().map(|input| self.state.input(input.key, self.now));
            filled.inputs = inputs.collect();
        }
        self.write(key, Some(filled), RemovalCause::Replaced, version);
    }

    /// A derivation that begins now.
    pub fn reading(&self) -> Reading {
        Reading::of(Rc::new(self.state.clone()), self.stamp)
    }

    /// What a derivation reads. It depends on that from then on.
    pub fn read(&self, reading: &mut Reading, key: u64) -> Option<u64> {
        if let Some((_, value)) = reading.made.iter().find(|(made, _)| *made == key) {
            return Some(*value);
        }
        reading.inputs.push(reading.shown.input(key, self.now));
        reading.shown.present(key, self.now).map(|held| held.value)
    }

    /// The same, of a key that is to be derived if it is absent: then nothing was read.
    pub fn find(&self, reading: &mut Reading, key: u64) -> Option<u64> {
        let before = reading.inputs.len();
        let found = self.read(reading, key);
        if found.is_none() {
            reading.inputs.truncate(before);
        }
        found
    }

    /// Whether what was derived is refused: the key was written meanwhile, a tag of it invalidated, or what was derived
    /// on the way is not kept. `None`: nobody can tell.
    pub fn refuses(&self, key: u64, reading: &Reading, since: Stamp) -> Option<bool> {
        let held = self.state.held(key).filter(|held| !held.is_cleared);
        let mut tags = held.iter().flat_map(|held| held.tags.keys());
        let is_ended = tags.any(|tag| self.state.is_ended(*tag, since));
        let is_written = self.is_written(key, since);
        let is_swept = self.is_swept(key, since) && reading.is_inner && self.cleared <= since;
        if reading.is_lost || (is_written && !is_swept) {
            return Some(true);
        }
        if is_swept || self.may_vanish(key) { None } else { Some(is_ended) }
    }

    /// A key is set to what was derived: it has the tags of the value before, and is taken for the same if it is
    /// equal. Returns since when it is the same.
    pub fn keep(&mut self, key: u64, value: u64, reading: Reading, since: Stamp) -> Stamp {
        self.next();
        let mut derived = Held { inputs: reading.inputs, ..self.fresh(value, None) };
        if let Some(held) = self.place(key) {
            derived.tags = held.tags.keys().map(|tag| (*tag, since)).collect();
            if held.value == value {
                derived.same_since = held.same_since;
            }
        }
        let same_since = derived.same_since;
        self.write(key, Some(derived), RemovalCause::Replaced, None);
        same_since
    }
}
