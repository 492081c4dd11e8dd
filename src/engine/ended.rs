//! The walk over the index that removes values which a tag or an input has ended.
//!
//! The commit that ends such values does not touch them; each reader finds for itself that they are
//! absent. Until they are removed, they keep their memory. The walk removes them, one part of the
//! index at a time.
//!
//! A value that is loaded in place of an ended one has its tags. Once the ended value is removed, a
//! load has only the tags that its loader gives. So [`collect`](Engine::collect) and
//! [`maintain`](Engine::maintain) walk when the user calls them, and writers do only if the user
//! has asked for that.
//!
//! Writers walk when it pays. A writer walks one part in [`PACE`] writes, as long as there may be
//! ended values. Each value that it finds pays for [`PAID`] more parts, which the next writers walk
//! without a pause. So the walk costs little while there is little to find.
//!
//! A value that an input has ended is valid again if that input is derived again and comes out
//! equal; and a value derived anew is compared with the one that ended. Therefore writers remove
//! such a value only if its input changed before the walk before this one began, and some thousands
//! of commits ago. The walks of `collect` and `maintain` do not wait for that.

use super::Engine;
use super::maintenance::due;
use crate::chain::{Bonds, RecordRef};
use crate::commit::{ReadAt, Resolved};
use crate::dependencies::Moment;
use crate::reclaim::Reclaim;
use crate::sync::Ordering;
use crate::sync::hook::step;

/// One in so many writes walks a part, if nothing has paid for it.
const PACE: u32 = 16;

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    fn begin_walk(&self, is_full: bool) {
        let ended = &self.ended;
        ended.again.store(0, Ordering::Relaxed);
        ended.is_full.store(usize::from(is_full), Ordering::Relaxed);
        let before = ended.began.swap(self.store.version(), Ordering::Relaxed);
        ended.began_before.store(before, Ordering::Relaxed);
        ended.walk.begin(self.store.parts(&self.pin()));
    }

    /// Returns whether a full walk is under way.
    pub(super) fn is_walking_fully(&self) -> bool {
        !self.ended.walk.is_ended() && self.ended.is_full.load(Ordering::Relaxed) != 0
    }

    /// Begins a full walk over all parts, unless one is under way. If `anew`, begins it again if
    /// something may have ended meanwhile. Returns false if nothing can have ended since the last
    /// one.
    pub(super) fn begin_full_walk(&self, anew: bool) -> bool {
        let ended = &self.ended;
        let is_needed = ended.is_needed_again();
        if self.is_walking_fully() && !(anew && is_needed) {
            return true;
        }
        let is_idle = || ended.full_until.load(Ordering::Relaxed) == self.store.version();
        if ended.walk.is_ended() && (!is_needed || is_idle()) {
            return false;
        }
        self.begin_walk(true);
        true
    }

    /// Walks a part if it pays: as part of a write.
    #[cold]
    pub(super) fn sweep_ended_if_it_pays(&self) {
        if !self.ended.pay() {
            // Random, with commit numbers as the source, so that no pattern of writes evades it.
            let chance = self.store.version().wrapping_mul(0x9e37_79b9_7f4a_7c15);
            if !((chance >> 32) as u32).is_multiple_of(PACE) {
                return;
            }
        }
        if !self.sweep_ended() {
            self.begin_walk(false);
        }
    }

    /// Walks the next part of the index and removes values that have ended. Returns whether it
    /// walked a part.
    pub(super) fn sweep_ended(&self) -> bool {
        let (guard, store) = (self.pin(), &self.store);
        let run = |division, row| store.run_of_parts(&guard, division, row);
        let Some((position, parts)) = self.ended.walk.take(run) else { return false };
        step("ended.taken");
        let is_last = position.advance(parts.end).is_end();
        let moment = Moment::new(&self.timer);
        let is_full = self.ended.is_full.load(Ordering::Relaxed) != 0;
        let mut ended = 0;
        store.visit_parts(&guard, position.parts(), parts, |record| {
            ended += usize::from(self.end_broken_value(&guard, record, is_full, &moment));
        });
        if ended > 0 {
            self.ended.earn(ended);
        }
        if is_last {
            if is_full {
                // What this walk has removed may have been the input of a value before it.
                let began = self.ended.began.load(Ordering::Relaxed);
                self.ended.full_until.store(began, Ordering::Relaxed);
            }
            self.due.clear(due::ENDED);
            // Set meanwhile, or by this walk.
            if self.ended.by_writers && self.ended.is_needed_again() {
                self.due.set(due::ENDED);
            }
        }
        true
    }

    /// Removes the value of a record if a tag or an input has ended it. Returns whether it did.
    fn end_broken_value<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        record: RecordRef<'g, K, V>,
        is_full: bool,
        moment: &Moment<'_>,
    ) -> bool {
        let Some(found) = self.store.order.newest(record) else { return false };
        let Some(bonds) = found.bonds() else { return false };
        if !bonds.inputs().is_empty() {
            self.ended.need_again(); // a later change of an input tells nobody
        }
        let long_ago = if is_full { u64::MAX } else { self.ended.long_ago(self.store.version()) };
        let now = ReadAt::newest(record.live());
        // Only the inputs on the first level are looked at: a walk through all levels, for each
        // value of a deep chain, would take too long. The value below is removed first.
        let may_end = !self.store.are_tags_valid(bonds.tags(), found.number(), now)
            || self.has_input_changed(record, bonds, found.number(), long_ago);
        // If a commit writes the record meanwhile, its value stays.
        may_end
            && self.store.present(record, false, moment).is_none()
            && self.end_absent(guard, record, found, moment)
    }

    /// Returns whether an input of the value `own` was written, before the number `long_ago`.
    fn has_input_changed(
        &self,
        record: RecordRef<'_, K, V>,
        bonds: &Bonds,
        own: u64,
        long_ago: u64,
    ) -> bool {
        bonds.inputs().iter().any(|input| {
            let at = ReadAt::newest(record.live());
            let input_record = self.store.record_of(record.live(), input);
            let newest = self.store.order.resolve(input_record, at).ok();
            let Some((node, state)) = newest.and_then(Resolved::version) else { return false };
            let number = state.version();
            let since = node.bonds().map_or(number, |bonds| bonds.equal_since(number));
            since != input.number_for(own) && number < long_ago
        })
    }
}
