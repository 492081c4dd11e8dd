//! What a cache holds at some moment, and which of that is present.

use super::program::KEYS;
use coeval::Version;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// A moment in the order of all changes of the cache.
pub type Stamp = u64;

/// The state of a key when a value was derived from it.
#[derive(Clone, Debug)]
pub struct Input {
    pub key: u64,
    /// Shared with views, because the cache may forget a value that was present since.
    pub same_since: Rc<Cell<Stamp>>,
    pub was_present: bool,
}

/// A value that was written and not superseded.
#[derive(Clone, Debug)]
pub struct Held {
    pub value: u64,
    /// `None` while only the cache knows it.
    pub version: Option<Version>,
    /// From this time on, the value is absent. Shared with views, because uses extend it.
    pub deadline: Rc<Cell<u64>>,
    /// Uses do not extend the deadline beyond this time.
    pub end: u64,
    /// From this time on, a load of the key reloads it.
    pub old_from: u64,
    /// When the key got this value. A value that was derived again and came out equal counts as the
    /// same.
    pub same_since: Stamp,
    /// The inputs of a derivation. The value is absent unless each input is unchanged.
    pub inputs: Vec<Input>,
    /// The tags, and when the value got each of them. The value is absent if one was invalidated
    /// since.
    pub tags: BTreeMap<u64, Stamp>,
    /// Everything was cleared since. The value is absent, but may still be reported.
    pub is_cleared: bool,
    /// The cache has removed, without a report, a value from whose absence this value was derived.
    pub is_broken: bool,
}

/// What is known of a key.
#[derive(Clone, Debug, Default)]
pub struct Slot {
    /// When the key was last written, removed or swept.
    pub written: Stamp,
    pub held: Option<Held>,
    /// When the cache last reported that it removed the value. If nothing depends on a key, the
    /// cache then forgets it.
    pub swept: Stamp,
}

/// All keys and tags.
#[derive(Clone, Debug)]
pub struct State {
    pub slots: Vec<Slot>,
    /// When each tag was last invalidated.
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

    /// The value of a key if it is not expired or cleared, and has not ended.
    pub fn present(&self, key: u64, now: u64) -> Option<&Held> {
        let held = self.held(key)?;
        let is_kept = !held.is_over(now) && !held.is_cleared && !held.is_broken;
        let are_inputs_same = || held.inputs.iter().all(|input| self.is_same(input, now));
        (is_kept && self.have_stayed(held) && are_inputs_same()).then_some(held)
    }

    /// Whether none of the value's tags was invalidated.
    fn have_stayed(&self, held: &Held) -> bool {
        held.tags.iter().all(|(tag, since)| !self.is_ended(*tag, *since))
    }

    /// Whether the tag was invalidated after `since`.
    pub fn is_ended(&self, tag: u64, since: Stamp) -> bool {
        self.ended.get(&tag).is_some_and(|ended| *ended > since)
    }

    fn is_same(&self, input: &Input, now: u64) -> bool {
        let is_present = self.present(input.key, now).is_some();
        (self.same_since(input.key), is_present) == (input.same_since.get(), input.was_present)
    }

    /// A key from whose absence a value was derived may have been present for a moment since, and
    /// the cache may have forgotten that. The input then counts as unchanged.
    pub fn forget(&self, held: &Held) {
        for input in held.inputs.iter().filter(|input| !input.was_present) {
            let slot = self.slot(input.key);
            if slot.held.is_none() && slot.swept == slot.written {
                input.same_since.set(input.same_since.get().max(slot.swept));
            }
        }
    }

    /// Since when the key has its state.
    fn same_since(&self, key: u64) -> Stamp {
        let slot = self.slot(key);
        slot.held.as_ref().map_or(slot.written, |held| held.same_since)
    }

    /// The state of the key, as an input.
    pub fn input(&self, key: u64, now: u64) -> Input {
        let was_present = self.present(key, now).is_some();
        Input { key, same_since: Rc::new(Cell::new(self.same_since(key))), was_present }
    }

    /// All present values.
    pub fn all(&self, now: u64) -> BTreeMap<u64, Held> {
        let present = (0..KEYS).filter_map(|key| Some((key, self.present(key, now)?.clone())));
        present.collect()
    }
}
