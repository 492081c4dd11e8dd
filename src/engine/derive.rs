//! Values that were made from others, and go with them.
//!
//! A derived version keeps the numbers of the versions that it was made from, its *inputs*, and holds their records.
//! Nobody tells it when one of them is superseded: whoever reads it compares. So a commit to an input ends all that
//! was derived from it in that same step, however much that is, and pays nothing for it; and a derived value that
//! was made from inputs which have changed meanwhile is committed, but never seen.
//!
//! An input that is derived itself goes by the number since which its value has been equal. If it is made anew and
//! comes out equal, it keeps that number, and what was derived from it is to be had again as it is (early cutoff, as
//! in incremental build systems: Mokhov, Mitchell, Peyton Jones, "Build systems à la carte", 2018).

use super::Engine;
use super::keep::Moment;
use crate::chain::{Bonds, Derived, Input, Inputs, Node, Record, Terms};
use crate::commit::{Found, Limit};
use crate::reclaim::Reclaim;
use crate::version::State;
use std::collections::HashSet;
use std::ptr;

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// Makes a derived version, with the value that is taken out of `value`.
    pub(super) fn make_derived(
        &self,
        state: State,
        prev: *mut Node<V>,
        value: &mut Option<V>,
        terms: Terms,
        bonds: Bonds,
    ) -> *mut Node<V> {
        // SAFETY: the caller has a guard.
        let slot = unsafe { self.derived.take() }.cast::<Derived<V>>();
        // SAFETY: the slot was taken, for us alone.
        unsafe { Derived::init(slot.as_ptr(), state, prev, value, terms, bonds) };
        slot.cast().as_ptr()
    }

    /// What ties the newest version of a record that is leased, as of now, for one that is to be filled in its place:
    /// it depends on the same, and has the same tags. `None`: on nothing. An error: some of that was written, or a tag
    /// invalidated, after `since`.
    pub(super) fn ties_since(
        &self,
        guard: &R::Guard<'_>,
        record: &Record<K, V>,
        since: u64,
    ) -> Result<Option<Box<Bonds>>, ()> {
        // SAFETY: held, under the guard.
        let Found::Value(node, _) = (unsafe { self.order.newest(record) }) else { return Ok(None) };
        // SAFETY: kept by the guard.
        let Some(bonds) = (unsafe { node.bonds() }) else { return Ok(None) };
        if !self.is_older(bonds, since) {
            return Err(());
        }
        let (mut ties, moment) = (Ties::new(self), Moment::new(&self.timer));
        // SAFETY: kept by the guard.
        if unsafe { node.is_over(moment.time()) } {
            return Ok(None); // It may be taken away at any time, and with it what it was tied to.
        }
        for input in bonds.inputs() {
            // SAFETY: held by the version, which the guard keeps.
            let record = unsafe { &*input.record::<Record<K, V>>() };
            // SAFETY: as above. Whatever is written after this look ends what is filled.
            let newest = unsafe { self.order.version_at(record, Limit::Newest) }.ok().flatten();
            let is_present = self.present(guard, record, false, &moment).is_some();
            ties.note(guard, record, newest, is_present);
        }
        ties.tags_of(bonds, |_| since);
        ties.into_bonds(guard).map(Some).ok_or(())
    }

    /// Whether something of what ties the newest version of a record that is held was changed after `since`.
    pub(super) fn has_changed(
        &self,
        _guard: &R::Guard<'_>,
        record: &Record<K, V>,
        since: u64,
    ) -> bool {
        // SAFETY: held, under the guard.
        let Found::Value(node, _) = (unsafe { self.order.newest(record) }) else { return false };
        // SAFETY: kept by the guard.
        unsafe { node.bonds() }.is_some_and(|bonds| !self.is_older(bonds, since))
    }

    /// Whether nothing that a value was derived from, on whatever way, was written, and none of their tags invalidated, after
    /// `since`.
    fn is_older(&self, first: &Bonds, since: u64) -> bool {
        let (mut todo, mut known) = (vec![first], HashSet::new());
        while let Some(bonds) = todo.pop() {
            if !self.are_untouched(bonds.tags(), since) {
                return false;
            }
            for input in bonds.inputs() {
                // SAFETY: held by the version that the bonds are of, which the caller's guard keeps.
                let record = unsafe { &*input.record::<Record<K, V>>() };
                // SAFETY: as above.
                let newest = unsafe { self.order.version_at(record, Limit::Newest) };
                let Ok(Some((node, state))) = newest else { continue };
                if state.version() > since {
                    return false;
                }
                // SAFETY: kept by the guard.
                let more = unsafe { node.bonds() };
                todo.extend(more.filter(|more| known.insert(ptr::from_ref(*more))));
            }
        }
        true
    }

    /// Lets go of what a version is tied to.
    ///
    /// # Safety
    /// Nobody else has access to the version, and this is done once.
    pub(super) unsafe fn untie(&self, node: &Node<V>) {
        // SAFETY: the caller's promise.
        if let Some(bonds) = unsafe { node.take_bonds() } {
            self.let_bonds_go(&self.reclaim.pin(), &bonds);
        }
    }

    /// Lets go of what these have held. Called once.
    pub(super) fn let_bonds_go(&self, guard: &R::Guard<'_>, bonds: &Bonds) {
        for input in bonds.inputs() {
            self.let_input_go(guard, input);
        }
        self.let_tags_go(guard, bonds.tags());
    }

    pub(super) fn let_input_go(&self, guard: &R::Guard<'_>, input: &Input) {
        // SAFETY: held until now, and kept by our guard from now on.
        let record = unsafe { &*input.record::<Record<K, V>>() };
        record.let_go();
        self.condemn_or_leave(guard, record);
    }
}

/// Inputs and tags, of which this holds the records and cells until a version does.
pub(super) struct Ties<'e, K, V, S, R: Reclaim> {
    engine: &'e Engine<K, V, S, R>,
    pub(super) inputs: Inputs,
    pub(super) tags: Inputs,
    /// Some of them are derived themselves.
    pub(super) is_nested: bool,
    /// What was read cannot be named: the value is not kept.
    pub(super) is_lost: bool,
}

impl<K, V, S, R: Reclaim> Drop for Ties<'_, K, V, S, R> {
    fn drop(&mut self) {
        self.forget_from(0);
        self.engine.let_tags_go(&self.engine.reclaim.pin(), &self.tags);
        self.engine.collect_some();
    }
}

impl<'e, K, V, S, R: Reclaim> Ties<'e, K, V, S, R> {
    pub(super) fn new(engine: &'e Engine<K, V, S, R>) -> Self {
        let (inputs, tags) = (Inputs::new(), Inputs::new());
        Self { engine, inputs, tags, is_nested: false, is_lost: false }
    }

    /// The same as another version is tied to, whose guard is the caller's; `own` is its number.
    pub(super) fn same_as(&mut self, bonds: &Bonds, own: u64) {
        for input in bonds.inputs() {
            // SAFETY: held by the version, which the guard keeps.
            let record = unsafe { &*input.record::<Record<K, V>>() };
            self.push(record, input.number_beside(own), input.is_present());
        }
        self.is_nested |= bonds.is_nested();
        self.tags_of(bonds, |tag| tag.tagged_since(own));
    }

    /// Notes what a record held that was located, or is held, under the guard.
    pub(super) fn note(
        &mut self,
        _guard: &R::Guard<'_>,
        record: &Record<K, V>,
        held: Option<(&Node<V>, State)>,
        is_present: bool,
    ) {
        // SAFETY: callers keep what they say it held.
        let bonds = held.and_then(|(node, _)| unsafe { node.bonds() });
        self.is_nested |= bonds.is_some();
        let own = held.map_or(0, |(_, state)| state.version());
        self.push(record, bonds.map_or(own, |bonds| bonds.since(own)), is_present);
    }

    /// The same, by the number that it goes by. Whether it is held, of which there is a bound.
    pub(super) fn push(&mut self, record: &Record<K, V>, number: u64, is_present: bool) -> bool {
        let is_held = record.try_hold();
        if is_held {
            self.inputs.push(Input::new(record, number, is_present));
        }
        self.is_lost |= !is_held;
        is_held
    }

    /// Forgets all but the first so many.
    pub(super) fn forget_from(&mut self, first: usize) {
        let guard = self.engine.reclaim.pin();
        for input in self.inputs.drain(first..) {
            self.engine.let_input_go(&guard, &input);
        }
    }

    /// Whether a value cannot be kept that is made from these. They are in order from then on.
    pub(super) fn are_lost(&mut self) -> bool {
        self.inputs.sort_unstable_by_key(Input::record::<()>);
        // Something was absent when it was read first, and derived after that, or there again by that.
        let contradict =
            |two: &[Input]| two[0].record::<()>() == two[1].record() && two[0] != two[1];
        self.is_lost || self.inputs.windows(2).any(contradict)
    }

    /// For the version that is made from them. It holds the records from now on.
    pub(super) fn into_bonds(mut self, guard: &R::Guard<'_>) -> Option<Box<Bonds>> {
        if self.are_lost() {
            return None;
        }
        let (mut inputs, mut tags) =
            (std::mem::take(&mut self.inputs), std::mem::take(&mut self.tags));
        inputs.dedup_by(|again, input| {
            let same = again == input;
            if same {
                self.engine.let_input_go(guard, again);
            }
            same
        });
        tags.sort_by_key(Input::cell::<()>);
        tags.dedup_by(|again, tag| {
            // The one that was said first counts.
            let same = again.cell::<()>() == tag.cell();
            if same {
                self.engine.let_tags_go(guard, std::slice::from_ref(again));
            }
            same
        });
        Some(Box::new(Bonds::new(inputs, tags, self.is_nested)))
    }
}
