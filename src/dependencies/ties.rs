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

use super::Moment;
use crate::chain::{Bonds, Dependencies, Dependency, NodeRef, RecordRef};
use crate::commit::ReadAt;
use crate::reclaim::Reclaim;
use crate::relation::TagCell;
use crate::store::{Host, Store, cell_of};
use crate::version::State;
use std::collections::HashSet;
use std::ptr;

impl<K, V, S, R: Reclaim, H: Host<K, V>> Store<K, V, S, R, H> {
    /// What ties the newest version of a record that is leased, as of now, for one that is to be
    /// filled in its place: it depends on the same, and has the same tags. `None`: on nothing. An
    /// error: some of that was written, or a tag invalidated, after `since`.
    pub fn ties_since<'g>(
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
        let (mut ties, moment) = (BondsBuilder::new(self), Moment::new(self.order.timer()));
        if found.is_expired(moment.time()) {
            return Ok(None); // It may be taken away at any time, and with it what it was tied to.
        }
        for input in bonds.inputs() {
            let record = self.record_of(record.live(), input);
            // Whatever is written after this look ends what is filled.
            let newest = self.order.version_at(record, at).ok().flatten();
            let is_present = self.present(record, false, &moment).is_some();
            ties.note(record, newest, is_present);
        }
        ties.tags_of(bonds, |_| since);
        ties.into_bonds(guard).map(Some).ok_or(())
    }

    /// Whether something of what ties the newest version of a record that is held was changed after
    /// `since`.
    pub fn has_changed(&self, record: RecordRef<'_, K, V>, since: u64) -> bool {
        let bonds = self.order.newest(record).and_then(|found| found.bonds());
        let at = ReadAt::newest(record.live());
        bonds.is_some_and(|bonds| !self.is_older(bonds, since, at))
    }

    /// Whether nothing that a value was derived from, on whatever way, was written, and none of
    /// their tags invalidated, after `since`.
    fn is_older<'g>(&self, first: &'g Bonds, since: u64, now: ReadAt<'g>) -> bool {
        let (mut todo, mut known) = (vec![first], HashSet::new());
        while let Some(bonds) = todo.pop() {
            if !self.are_untouched(bonds.tags(), since, now) {
                return false;
            }
            for input in bonds.inputs() {
                let newest = self.order.version_at(self.record_of(now.live(), input), now);
                let Ok(Some((node, state))) = newest else { continue };
                if state.version() > since {
                    return false;
                }
                todo.extend(node.bonds().filter(|more| known.insert(ptr::from_ref(*more))));
            }
        }
        true
    }

    /// Whether none of these tags was invalidated after `since`.
    fn are_untouched(&self, tags: &[Dependency], since: u64, now: ReadAt<'_>) -> bool {
        tags.iter().all(|tag| self.tag_invalidated_at(tag, now) <= since)
    }

    /// The tags of the newest version of a record that is leased go with what is filled in its
    /// place, unless it is over. An error: one was invalidated after `since`.
    pub fn inherit_tags(
        &self,
        record: RecordRef<'_, K, V>,
        since: u64,
        moment: &Moment<'_>,
        ties: &mut BondsBuilder<'_, K, V, S, R, H>,
    ) -> Result<(), ()> {
        let Some(found) = self.order.newest(record) else { return Ok(()) };
        let Some(bonds) = found.bonds() else { return Ok(()) };
        if !self.are_untouched(bonds.tags(), since, ReadAt::newest(record.live())) {
            return Err(());
        }
        if !found.is_expired(moment.time()) {
            ties.tags_of(bonds, |_| since);
        }
        Ok(())
    }
}

/// Inputs and tags, of which this holds the records and cells until a version does.
pub struct BondsBuilder<'e, K, V, S, R: Reclaim, H: Host<K, V>> {
    store: &'e Store<K, V, S, R, H>,
    pub inputs: Dependencies,
    pub tags: Dependencies,
    /// Some of them are derived themselves.
    pub is_nested: bool,
    /// What was read cannot be named: the value is not kept.
    pub is_lost: bool,
}

impl<K, V, S, R: Reclaim, H: Host<K, V>> Drop for BondsBuilder<'_, K, V, S, R, H> {
    fn drop(&mut self) {
        self.forget_from(0);
        self.store.release_tags(&self.store.pin(), &self.tags);
        self.store.reclaim.collect();
    }
}

impl<'e, K, V, S, R: Reclaim, H: Host<K, V>> BondsBuilder<'e, K, V, S, R, H> {
    /// BondsBuilder to nothing.
    pub fn new(store: &'e Store<K, V, S, R, H>) -> Self {
        let (inputs, tags) = (Dependencies::new(), Dependencies::new());
        Self { store, inputs, tags, is_nested: false, is_lost: false }
    }

    /// The same as another version is tied to; `own` is its number.
    pub fn same_as(&mut self, guard: &R::Guard<'_>, bonds: &Bonds, own: u64) {
        for input in bonds.inputs() {
            let record = self.store.record_of(self.store.live(guard), input);
            self.push(record, input.number_for(own), input.is_present());
        }
        self.is_nested |= bonds.is_nested();
        self.tags_of(bonds, |tag| tag.tagged_since(own));
    }

    /// The tags of another version, which is kept, since the numbers that are said.
    pub fn tags_of(&mut self, bonds: &Bonds, since: impl Fn(&Dependency) -> u64) {
        for tag in bonds.tags() {
            self.tag(cell_of(tag), since(tag));
        }
    }

    /// Has the version be tagged by this cell, revived or held under the guard, since a number; 0:
    /// its own. Of what is said of one cell the first counts.
    pub fn tag(&mut self, cell: &TagCell, since: u64) {
        cell.hold();
        self.tags.push(Dependency::tag(cell, since));
    }

    /// Notes what a record held.
    pub fn note<'g>(
        &mut self,
        record: RecordRef<'g, K, V>,
        held: Option<(NodeRef<'g, V>, State)>,
        is_present: bool,
    ) {
        let bonds = held.and_then(|(node, _)| node.bonds());
        self.is_nested |= bonds.is_some();
        let own = held.map_or(0, |(_, state)| state.version());
        self.push(record, bonds.map_or(own, |bonds| bonds.equal_since(own)), is_present);
    }

    /// The same, by the number that it goes by. Whether it is held, of which there is a bound.
    pub fn push(&mut self, record: RecordRef<'_, K, V>, number: u64, is_present: bool) -> bool {
        let is_held = record.try_hold();
        if is_held {
            self.inputs.push(Dependency::new(record.get(), number, is_present));
        }
        self.is_lost |= !is_held;
        is_held
    }

    /// Forgets all but the first so many.
    pub fn forget_from(&mut self, first: usize) {
        let guard = self.store.pin();
        for input in self.inputs.drain(first..) {
            self.store.release_input(&guard, &input);
        }
    }

    /// Whether a value cannot be kept that is made from these. They are in order from then on.
    pub fn are_lost(&mut self) -> bool {
        self.inputs.sort_unstable_by_key(Dependency::record::<()>);
        // Something was absent when it was read first, and derived after that, or there again by that.
        let contradict =
            |two: &[Dependency]| two[0].record::<()>() == two[1].record() && two[0] != two[1];
        self.is_lost || self.inputs.windows(2).any(contradict)
    }

    /// For the version that is made from them. It holds the records from now on.
    pub fn into_bonds(mut self, guard: &R::Guard<'_>) -> Option<Box<Bonds>> {
        if self.are_lost() {
            return None;
        }
        let (mut inputs, mut tags) =
            (std::mem::take(&mut self.inputs), std::mem::take(&mut self.tags));
        inputs.dedup_by(|again, input| {
            let same = again == input;
            if same {
                self.store.release_input(guard, again);
            }
            same
        });
        tags.sort_by_key(Dependency::cell::<()>);
        tags.dedup_by(|again, tag| {
            // The one that was said first counts.
            let same = again.cell::<()>() == tag.cell();
            if same {
                self.store.release_tags(guard, std::slice::from_ref(again));
            }
            same
        });
        Some(Box::new(Bonds::new(inputs, tags, self.is_nested)))
    }
}
