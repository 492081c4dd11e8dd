//! What a cache holds at some moment, and what of that is present.

use super::program::KEYS;
use coeval::Version;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// A moment in the order of all that was done to the cache.
pub type Stamp = u64;

/// What a key was when something was derived from it.
#[derive(Clone, Debug)]
pub struct Input {
    pub key: u64,
    /// Shared with views, as the cache may forget what has been there since.
    pub same_since: Rc<Cell<Stamp>>,
    pub was_present: bool,
}

/// A value that was written and not superseded.
#[derive(Clone, Debug)]
pub struct Held {
    pub value: u64,
    /// `None` as long as only the cache knows it.
    pub version: Option<Version>,
    /// From then on it is absent. Shared with views, as uses move it on.
    pub deadline: Rc<Cell<u64>>,
    /// Beyond this, uses do not move the deadline.
    pub end: u64,
    /// From then on who loads it loads it anew.
    pub old_from: u64,
    /// Since when the key has had this value: a value that was derived anew, and came out equal, is the same.
    pub same_since: Stamp,
    /// What it was derived from. It is absent unless each of them is what it was.
    pub inputs: Vec<Input>,
    /// Its tags, and since when it has them. It is absent if one was invalidated since.
    pub tags: BTreeMap<u64, Stamp>,
    /// All was cleared since. It is in nobody's way but may be told of yet.
    pub is_cleared: bool,
    /// The cache has taken away, without a word, what it was derived from the absence of.
    pub is_broken: bool,
}

/// What is known of a key.
#[derive(Clone, Debug, Default)]
pub struct Slot {
    /// When it was written, removed or swept out last.
    pub written: Stamp,
    pub held: Option<Held>,
    /// When it was heard last that the cache has taken away what was there. If nobody is interested in a key, the cache
    /// forgets it then.
    pub swept: Stamp,
}

/// All keys and tags.
#[derive(Clone, Debug)]
pub struct State {
    pub slots: Vec<Slot>,
    /// When each tag was invalidated last.
    pub ended: BTreeMap<u64, Stamp>,
}

impl Held {
    pub fn is_over(&self, now: u64) -> bool {
        self.deadline.get() <= now
    }
}

impl State {
    pub fn new() -> Self {
        Self { slots: vec![Slot::default(); KEYS as usize], ended: BTreeMap::new() }
    }

    pub fn slot(&self, key: u64) -> &Slot {
        &self.slots[key as usize]
    }

    pub fn slot_mut(&mut self, key: u64) -> &mut Slot {
        &mut self.slots[key as usize]
    }

    pub fn held(&self, key: u64) -> Option<&Held> {
        self.slot(key).held.as_ref()
    }

    /// What a key holds that is neither over nor cleared, nor has ended.
    pub fn present(&self, key: u64, now: u64) -> Option<&Held> {
        let held = self.held(key)?;
        let is_kept = !held.is_over(now) && !held.is_cleared && !held.is_broken;
        let are_inputs_same = || held.inputs.iter().all(|input| self.is_same(input, now));
        (is_kept && self.have_stayed(held) && are_inputs_same()).then_some(held)
    }

    /// Whether none of its tags was invalidated.
    fn have_stayed(&self, held: &Held) -> bool {
        held.tags.iter().all(|(tag, since)| !self.is_ended(*tag, *since))
    }

    /// Whether the tag was invalidated after that.
    pub fn is_ended(&self, tag: u64, since: Stamp) -> bool {
        self.ended.get(&tag).is_some_and(|ended| *ended > since)
    }

    fn is_same(&self, input: &Input, now: u64) -> bool {
        let is_present = self.present(input.key, now).is_some();
        (self.same_since(input.key), is_present) == (input.same_since.get(), input.was_present)
    }

    /// What a value was derived from the absence of may have been there for a moment since, and the cache have forgotten
    /// that: then it is what it was.
    pub fn forget(&self, held: &Held) {
        for input in held.inputs.iter().filter(|input| !input.was_present) {
            let slot = self.slot(input.key);
            if slot.held.is_none() && slot.swept == slot.written {
                input.same_since.set(input.same_since.get().max(slot.swept));
            }
        }
    }

    /// Since when the key has been what it is.
    fn same_since(&self, key: u64) -> Stamp {
        let slot = self.slot(key);
        slot.held.as_ref().map_or(slot.written, |held| held.same_since)
    }

    /// What the key is.
    pub fn input(&self, key: u64, now: u64) -> Input {
        let was_present = self.present(key, now).is_some();
        Input { key, same_since: Rc::new(Cell::new(self.same_since(key))), was_present }
    }

    /// All that is present.
    pub fn all(&self, now: u64) -> BTreeMap<u64, Held> {
        let present = (0..KEYS).filter_map(|key| Some((key, self.present(key, now)?.clone())));
        present.collect()
    }
}
