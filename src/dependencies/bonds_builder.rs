//! Derived values: their dependencies are collected, compared and inherited.
//!
//! A derived version keeps the numbers of the versions that it was made from, its *inputs*, and
//! holds their records. No commit to an input notifies it: each reader of the derived value
//! compares the numbers. So a commit to an input ends all values that were derived from it in the
//! same step, however many they are, and pays nothing for it. A derived value whose inputs changed
//! before its own commit is committed, but never seen.
//!
//! An input that is itself derived is compared by the number since which its value has been equal.
//! If it is derived anew with an equal value, it keeps that number, and the values that were
//! derived from it are valid again (early cutoff, as in incremental build systems: Mokhov,
//! Mitchell, Peyton Jones, "Build systems à la carte", 2018).

use super::Moment;
use crate::chain::{Bonds, Dependencies, Dependency, RecordRef};
use crate::commit::{ReadAt, Resolved};
use crate::reclaim::Reclaim;
use crate::relation::TagCell;
use crate::store::{Host, Store, cells_of};
use std::collections::HashSet;
use std::ptr;

impl<K, V, S, R: Reclaim, H: Host<K, V>> Store<K, V, S, R, H> {
    /// The dependencies of a value that fills the place of the newest version of a leased record:
    /// the same inputs, as of now, and the same tags. `None` if there are none. An error if an
    /// input was written or a tag invalidated after `since`.
    pub fn inherited_bonds<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        record: RecordRef<'g, K, V>,
        since: u64,
    ) -> Result<Option<Box<Bonds>>, ()> {
        let Some(found) = self.order.newest(record) else { return Ok(None) };
        let Some(bonds) = found.bonds() else { return Ok(None) };
        let at = ReadAt::newest(record.live());
        if !self.is_older(bonds, since, at) {
            return Err(());
        }
        let (mut builder, moment) = (BondsBuilder::new(self), Moment::new(self.order.timer()));
        if found.is_expired(moment.time()) {
            return Ok(None); // It may be removed at any time, and its dependencies with it.
        }
        for input in bonds.inputs() {
            let record = self.record_of(record.live(), input);
            // A later write of the input ends the new value.
            let newest = self.order.resolve(record, at).unwrap_or_default();
            let is_present = self.present(record, false, &moment).is_some();
            builder.add_version(record, newest, is_present);
        }
        builder.add_tags_of(bonds, |_| since);
        builder.into_bonds(guard).map(Some).ok_or(())
    }

    /// Whether a dependency of the newest version of a held record changed after `since`.
    pub fn has_changed(&self, record: RecordRef<'_, K, V>, since: u64) -> bool {
        let bonds = self.order.newest(record).and_then(|found| found.bonds());
        let at = ReadAt::newest(record.live());
        bonds.is_some_and(|bonds| !self.is_older(bonds, since, at))
    }

    /// Whether, on all levels, no input was written and no tag invalidated after `since`.
    fn is_older<'g>(&self, first: &'g Bonds, since: u64, now: ReadAt<'g>) -> bool {
        let (mut todo, mut known) = (vec![first], HashSet::new());
        while let Some(bonds) = todo.pop() {
            if !self.are_untouched(bonds.tags(), since, now) {
                return false;
            }
            for input in bonds.inputs() {
                let newest = self.order.resolve(self.record_of(now.live(), input), now);
                let newest = newest.unwrap_or_default();
                if newest.number() > since {
                    return false;
                }
                let Some((node, _)) = newest.version() else { continue };
                todo.extend(node.bonds().filter(|more| known.insert(ptr::from_ref(*more))));
            }
        }
        true
    }

    /// Whether none of these tags was invalidated after `since`.
    fn are_untouched(&self, tags: &[Dependency], since: u64, now: ReadAt<'_>) -> bool {
        tags.iter().all(|tag| self.tag_invalidated_at(tag, now) <= since)
    }

    /// Adds the tags of the newest version of a leased record to those of the value that fills its
    /// place, unless that version is expired. An error if one of them was invalidated after
    /// `since`.
    pub fn inherit_tags(
        &self,
        record: RecordRef<'_, K, V>,
        since: u64,
        moment: &Moment<'_>,
        builder: &mut BondsBuilder<'_, K, V, S, R, H>,
    ) -> Result<(), ()> {
        let Some(found) = self.order.newest(record) else { return Ok(()) };
        let Some(bonds) = found.bonds() else { return Ok(()) };
        if !self.are_untouched(bonds.tags(), since, ReadAt::newest(record.live())) {
            return Err(());
        }
        if !found.is_expired(moment.time()) {
            builder.add_tags_of(bonds, |_| since);
        }
        Ok(())
    }
}

/// Collects the dependencies of a value. It holds their records and cells until a version does.
pub struct BondsBuilder<'e, K, V, S, R: Reclaim, H: Host<K, V>> {
    store: &'e Store<K, V, S, R, H>,
    pub inputs: Dependencies,
    pub tags: Dependencies,
    /// Whether an input is derived itself.
    pub is_nested: bool,
    /// Whether an input could not be held, so that the value cannot be kept.
    pub has_unheld_input: bool,
}

impl<K, V, S, R: Reclaim, H: Host<K, V>> Drop for BondsBuilder<'_, K, V, S, R, H> {
    fn drop(&mut self) {
        self.truncate_inputs(0);
        // SAFETY: the builder holds the cells, and is dropped now.
        unsafe { self.store.release_tags(&self.store.pin(), &self.tags) };
        self.store.reclaim.collect();
    }
}

impl<'e, K, V, S, R: Reclaim, H: Host<K, V>> BondsBuilder<'e, K, V, S, R, H> {
    /// Makes a builder without dependencies.
    pub fn new(store: &'e Store<K, V, S, R, H>) -> Self {
        let (inputs, tags) = (Dependencies::new(), Dependencies::new());
        Self { store, inputs, tags, is_nested: false, has_unheld_input: false }
    }

    /// Adds the dependencies of another version, whose number is `own`.
    pub fn add_all_of(&mut self, guard: &R::Guard<'_>, bonds: &Bonds, own: u64) {
        for input in bonds.inputs() {
            let record = self.store.record_of(self.store.live(guard), input);
            self.add_input(record, input.number_for(own), input.is_present());
        }
        self.is_nested |= bonds.is_nested();
        self.add_tags_of(bonds, |tag| tag.tagged_since(own));
    }

    /// Adds the tags of another version, which is kept. `since` returns the number since which the
    /// value has a tag.
    pub fn add_tags_of(&mut self, bonds: &Bonds, since: impl Fn(&Dependency) -> u64) {
        for (cell, tag) in cells_of(bonds) {
            self.add_tag(cell, since(tag));
        }
    }

    /// Adds the tag with this cell, which was revived or is held under the guard. The value has had
    /// the tag since the number `since`; 0 stands for its own number. If a cell is added twice, the
    /// first number counts.
    pub fn add_tag(&mut self, cell: &TagCell, since: u64) {
        cell.hold();
        self.tags.push(Dependency::tag(cell, since));
    }

    /// Adds an input: the version that a record held.
    pub fn add_version<'g>(
        &mut self,
        record: RecordRef<'g, K, V>,
        held: Resolved<'g, V>,
        is_present: bool,
    ) {
        let bonds = held.version().and_then(|(node, _)| node.bonds());
        self.is_nested |= bonds.is_some();
        let own = held.number();
        self.add_input(record, bonds.map_or(own, |bonds| bonds.equal_since(own)), is_present);
    }

    /// Adds an input by its number in the bonds. Returns false if the record has too many holders.
    pub fn add_input(
        &mut self,
        record: RecordRef<'_, K, V>,
        number: u64,
        is_present: bool,
    ) -> bool {
        let is_held = record.try_hold();
        if is_held {
            self.inputs.push(Dependency::new(record.get(), number, is_present));
        }
        self.has_unheld_input |= !is_held;
        is_held
    }

    /// Removes all inputs after the first `first`.
    pub fn truncate_inputs(&mut self, first: usize) {
        let guard = self.store.pin();
        for input in self.inputs.drain(first..) {
            // SAFETY: the builder held the record, and has removed the input.
            unsafe { self.store.release_input(&guard, &input) };
        }
    }

    /// Whether the value cannot be kept. Sorts the inputs.
    pub fn is_unkeepable(&mut self) -> bool {
        self.inputs.sort_unstable_by_key(Dependency::record::<()>);
        // Two reads of one record contradict each other: it was absent at first, and was derived
        // later, or became present again by such a derivation.
        let contradict =
            |two: &[Dependency]| two[0].record::<()>() == two[1].record() && two[0] != two[1];
        self.has_unheld_input || self.inputs.windows(2).any(contradict)
    }

    /// Makes the bonds of a version, which holds the records from now on. Returns `None` if the
    /// value cannot be kept.
    pub fn into_bonds(mut self, guard: &R::Guard<'_>) -> Option<Box<Bonds>> {
        if self.is_unkeepable() {
            return None;
        }
        let (mut inputs, mut tags) =
            (std::mem::take(&mut self.inputs), std::mem::take(&mut self.tags));
        inputs.dedup_by(|again, input| {
            let same = again == input;
            if same {
                // SAFETY: held for `again` too, which is removed.
                unsafe { self.store.release_input(guard, again) };
            }
            same
        });
        tags.sort_by_key(Dependency::cell::<()>);
        tags.dedup_by(|again, tag| {
            // The first of equal cells counts.
            let same = again.cell::<()>() == tag.cell();
            if same {
                // SAFETY: held for `again` too, which is removed.
                unsafe { self.store.release_tags(guard, std::slice::from_ref(again)) };
            }
            same
        });
        Some(Box::new(Bonds::new(inputs, tags, self.is_nested)))
    }
}
