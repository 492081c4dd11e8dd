//! Look-ups of the value of a record that return it only if it is valid.
//!
//! All that such a look-up reads must be true at one instant. For a value with plain inputs that is
//! the instant at which it was found: a superseded input does not come back, so inputs that are
//! unchanged later were unchanged then. For nested inputs the instant is fixed before the look-up,
//! because a derived input may come back.

use super::Moment;
use crate::chain::{Bonds, RecordRef, Visible};
use crate::commit::{Limit, ReadAt, TakenOut};
use crate::reclaim::Reclaim;
use crate::store::{Host, OpenView, Store};
use crate::sync::hook::{mutant, step};
use crate::sync::{Ordering, fence};

impl<K, V, S, R: Reclaim, H: Host<K, V>> Store<K, V, S, R, H> {
    /// The value of a record, if it is valid. A look-up that `counts` is a use of it.
    pub fn present<'g>(
        &'g self,
        record: RecordRef<'g, K, V>,
        counts: bool,
        moment: &Moment<'_>,
    ) -> Option<Visible<'g, V>> {
        let mut found = self.order.newest(record)?;
        let valid = self.valid(record, found, counts, moment);
        if valid.is_some() {
            return valid;
        }
        loop {
            // The value is no longer valid. There was an instant without a valid value only if no
            // newer value had been put in its place before that. So the look-up is repeated for a
            // newer value. A commit that found the deadline not passed yet must also have been
            // decided before that instant. If it is ready, this look-up stamps it.
            // Partner: the fence in `Descriptor::time`. The time was read before this fence.
            fence(Ordering::SeqCst);
            let again = self.order.newest(record)?;
            if again.is(found.node().get()) || mutant("present.ended_is_absent") {
                return None;
            }
            found = again;
            // A newer value is checked by a newer time.
            let valid = self.valid(record, found, counts, &moment.again());
            if valid.is_some() {
                return valid;
            }
        }
    }

    /// Returns `found`, the newest value of a record, if it is valid.
    #[inline]
    pub fn valid<'g>(
        &'g self,
        record: RecordRef<'g, K, V>,
        found: Visible<'g, V>,
        counts: bool,
        moment: &Moment<'_>,
    ) -> Option<Visible<'g, V>> {
        if found.seen().has_terms() && found.bonds().is_some_and(Bonds::is_nested) {
            return self.nested(record, counts, moment);
        }
        step("present.found");
        let is_valid = self.is_valid(found, ReadAt::newest(record.live()), counts, moment);
        is_valid.is_ok_and(|is_valid| is_valid).then_some(found)
    }

    /// The value of a record at one instant, if it was valid then.
    #[inline(never)]
    fn nested<'g>(
        &'g self,
        record: RecordRef<'g, K, V>,
        counts: bool,
        moment: &Moment<'_>,
    ) -> Option<Visible<'g, V>> {
        let try_at = |at, moment: &Moment<'_>| self.valid_at(record, at, counts, moment);
        let live = record.live();
        if mutant("derive.nested_now") {
            return try_at(ReadAt::newest(live), moment).ok().flatten();
        }
        // The time is read after the number. A value whose deadline has not passed at that time was
        // in time at the number.
        let later = moment.again();
        let found = match try_at(self.order.now(live).1, &later) {
            // The value is expired at that time, but may have been present as of the number.
            Ok(None) if later.is_read() => {
                let (at, time) = self.order.instant_under(live);
                try_at(at, &Moment::at(self.order.timer(), time))
            }
            found => found,
        };
        found.unwrap_or_else(|TakenOut| {
            let view = OpenView::new(self, || false);
            moment.note_view();
            let opened = Moment::at(self.order.timer(), view.snapshot().opened());
            // SAFETY: the view is registered during this look-up. It was opened under the guard, so
            // what it sees is superseded, and retired, during the guard at the earliest: the guard
            // keeps it after the view is closed.
            let at = unsafe { ReadAt::new(Limit::View(view.snapshot().version())) };
            try_at(at, &opened).expect("a view keeps all versions that it sees")
        })
    }

    /// The value of a record at a given instant, if it was valid then.
    pub fn valid_at<'g>(
        &'g self,
        record: RecordRef<'g, K, V>,
        at: ReadAt<'g>,
        counts: bool,
        moment: &Moment<'_>,
    ) -> Result<Option<Visible<'g, V>>, TakenOut> {
        let Some(found) = self.order.at(record, at, self.order.watermark_at(at))? else {
            return Ok(None);
        };
        step("derive.found");
        Ok(self.is_valid(found, at, counts, moment)?.then_some(found))
    }
}
