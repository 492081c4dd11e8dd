//! The model of values that depend on inputs: derived, loaded and refreshed values.

use super::model::{Leased, Model};
use super::state::{Held, Input, Stamp, State};
use coeval::{RemovalCause, Version};
use std::cell::Cell;
use std::rc::Rc;

/// One derivation, with all derivations within it. It reads the state of one moment, and what it
/// has derived so far.
pub struct Session {
    shown: State,
    pub since: Stamp,
    pub made: Vec<Made>,
}

/// The inputs that were read to derive one value.
#[derive(Default)]
pub struct Reading {
    inputs: Vec<Input>,
}

impl Reading {
    /// Removes the last input, which was not read after all.
    pub fn forget_last(&mut self) {
        self.inputs.pop();
    }
}

/// A derived value that is yet to be set.
pub struct Made {
    pub key: u64,
    pub value: u64,
    /// Since when the value is the same. A new value has a stamp that no commit has.
    same_since: Stamp,
    inputs: Vec<Input>,
}

/// What becomes of a derived value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// The derivation sets it.
    Kept,
    /// Another caller has set an equal value.
    Adopted(Stamp),
    Refused,
    /// The model cannot tell.
    Unsure,
}

impl Made {
    /// Whether two reads of one key at different times gave different results.
    fn is_contradictory(&self) -> bool {
        let same = |one: &Input, other: &Input| {
            one.key != other.key
                || (one.same_since.get(), one.was_present)
                    == (other.same_since.get(), other.was_present)
        };
        self.inputs.iter().any(|one| self.inputs.iter().any(|other| !same(one, other)))
    }
}

impl Model {
    /// A load or a lease of a key begins. If the value was cleared, this sweeps it.
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

    /// Whether a key was written or cleared after `since`.
    fn is_written(&self, key: u64, since: Stamp) -> bool {
        self.state.slot(key).written > since || self.cleared > since
    }

    /// The value, absent or not, that a loaded or derived value replaces. Expired and cleared
    /// values are forgotten.
    fn place(&self, key: u64) -> Option<&Held> {
        let held = self.state.held(key)?;
        (!held.is_cleared && !held.is_over(self.now)).then_some(held)
    }

    /// Whether a fill of a key that was read at `since` is refused: the key was written, one of its
    /// tags was invalidated, or one of its inputs was written. `None`: the model cannot tell.
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

    /// Whether any direct or indirect input of a value was changed after `since`.
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

    /// Whether the cache has reported after `since` that it removed the value.
    pub fn is_swept(&self, key: u64, since: Stamp) -> bool {
        self.state.slot(key).swept > since
    }

    /// Whether the value is due for a reload.
    pub fn is_old(&self, key: u64) -> bool {
        self.get(key).is_some_and(|held| held.old_from <= self.now)
    }

    /// Fills a key with a value read at `since`. The value takes over the tags and the inputs of
    /// the one before.
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

    /// Begins a derivation now.
    pub fn session(&self) -> Session {
        Session { shown: self.state.clone(), since: self.stamp, made: Vec::new() }
    }

    /// Reads a key in a derivation, which depends on the key from then on.
    pub fn read(&self, session: &Session, reading: &mut Reading, key: u64) -> Option<u64> {
        reading.inputs.push(session.shown.input(key, self.now));
        session.shown.present(key, self.now).map(|held| held.value)
    }

    /// Like `read`, for a key that is derived if it is absent; an absent key is then not an input.
    pub fn find(&self, session: &Session, reading: &mut Reading, key: u64) -> Option<u64> {
        let before = reading.inputs.len();
        let found = self.read(session, reading, key);
        if found.is_none() {
            reading.inputs.truncate(before);
        }
        found
    }

    /// In a derivation, a value is absent that should be present. Returns whether that is possible:
    /// the cache may have removed, without a report, a value from whose absence this one was
    /// derived, directly or indirectly.
    pub fn is_missed(&mut self, session: &mut Session, reading: &mut Reading, key: u64) -> bool {
        let is_unsure = self.is_unsure(&session.shown, key);
        if is_unsure {
            for state in [&mut session.shown, &mut self.state] {
                state.slot_mut(key).held.iter_mut().for_each(|held| held.is_broken = true);
            }
            let again = reading.inputs.iter_mut().filter(|input| input.key == key);
            again.for_each(|input| input.was_present = false);
        }
        is_unsure
    }

    fn is_unsure(&self, shown: &State, key: u64) -> bool {
        let inputs = shown.held(key).map_or(&[][..], |held| &held.inputs);
        inputs.iter().any(|input| self.may_vanish(input.key) || self.is_unsure(shown, input.key))
    }

    /// Adds a derived value, which counts as set within the derivation.
    pub fn make(&self, session: &mut Session, reading: Reading, key: u64, value: u64) {
        let new = Stamp::MAX - session.made.len() as u64;
        let old =
            session.shown.held(key).filter(|held| !held.is_cleared && !held.is_over(self.now));
        let same_since = old.filter(|held| held.value == value).map_or(new, |held| held.same_since);
        let held =
            Held { deadline: Rc::new(Cell::new(u64::MAX)), same_since, ..self.fresh(value, None) };
        session.shown.slot_mut(key).held = Some(held);
        session.made.push(Made { key, value, same_since, inputs: reading.inputs });
    }

    /// The fate of each derived value, in order.
    pub fn fates(&self, session: &Session) -> Vec<Fate> {
        let mut fates = Vec::new();
        for (at, made) in session.made.iter().enumerate() {
            let is_outermost = at + 1 == session.made.len();
            fates.push(self.fate(session, made, is_outermost, &fates));
        }
        fates
    }

    fn fate(&self, session: &Session, made: &Made, is_outermost: bool, fates: &[Fate]) -> Fate {
        let (key, since) = (made.key, session.since);
        if self.may_vanish(key) || (self.is_swept(key, since) && self.cleared <= since) {
            return Fate::Unsure;
        }
        if self.is_written(key, since) {
            let there = self.get(key).filter(|held| !is_outermost && held.value == made.value);
            return there.map_or(Fate::Refused, |held| Fate::Adopted(held.same_since));
        }
        let mut is_unsure = false;
        for input in &made.inputs {
            let Some(of) = session.made.iter().position(|made| made.key == input.key) else {
                continue;
            };
            if input.same_since.get() != session.made[of].same_since || !input.was_present {
                return Fate::Refused;
            }
            match fates.get(of) {
                Some(Fate::Kept | Fate::Adopted(_)) => {}
                Some(Fate::Unsure) => is_unsure = true,
                Some(Fate::Refused) | None => return Fate::Refused,
            }
        }
        let held = self.state.held(key).filter(|held| !held.is_cleared);
        let mut tags = held.iter().flat_map(|held| held.tags.keys());
        let is_ended = tags.any(|tag| self.state.is_ended(*tag, since));
        match () {
            () if is_ended || made.is_contradictory() => Fate::Refused,
            () if is_unsure => Fate::Unsure,
            () => Fate::Kept,
        }
    }

    /// Sets the kept values in one commit. Each has the tags of the value that it replaces.
    pub fn keep(&mut self, session: Session, fates: &[Fate]) {
        let stamp = self.next();
        let number = |made: &Made, fate: &Fate| match fate {
            Fate::Adopted(number) => *number,
            _ if made.same_since <= session.since => made.same_since,
            _ => stamp,
        };
        let all = || session.made.iter().zip(fates);
        for (made, _) in all().filter(|(_, fate)| **fate == Fate::Kept) {
            // The value before had ended, or ends by this commit, because the commit sets one of
            // its inputs.
            let is_alone = session.made.len() == 1;
            let cause = if is_alone { RemovalCause::Replaced } else { RemovalCause::Related };
            self.leave(made.key, cause, None);
        }
        for (made, fate) in all().filter(|(_, fate)| **fate == Fate::Kept) {
            for input in &made.inputs {
                if let Some((of, fate)) = all().find(|(of, _)| of.key == input.key) {
                    input.same_since.set(number(of, fate));
                }
            }
            let (inputs, same_since) = (made.inputs.clone(), number(made, fate));
            let mut derived = Held { inputs, same_since, ..self.fresh(made.value, None) };
            if let Some(held) = self.place(made.key) {
                derived.tags = held.tags.keys().map(|tag| (*tag, session.since)).collect();
            }
            self.put(made.key, Some(derived));
        }
    }
}
