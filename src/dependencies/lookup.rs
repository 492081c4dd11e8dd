//! Look-ups of the value of a record that return it only if it is valid.
//!
//! All that such a look-up reads must be true at one instant. For a value with plain inputs that is
//! the instant at which it was found: a superseded input does not come back, so inputs that are
//! unchanged later were unchanged then. For nested inputs the instant is fixed before the look-up,
//! because a derived input may come back.

use super::Moment;
use crate::chain::{Bonds, Live, RecordRef, Visible};
use crate::commit::{Limit, ReadAt, Resolved, TakenOut};
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
        let mut newer = None;
        loop {
            // A newer value is checked by a newer time.
            let moment = newer.as_ref().unwrap_or(moment);
            let is_nested = found.seen().has_terms() && found.bonds().is_some_and(Bonds::is_nested);
            let valid = if is_nested {
                let try_at =
                    |at, moment: &Moment<'_>| self.valid_at(Some(record), at, counts, moment);
                self.at_one_instant(record.live(), moment, try_at).value()
            } else {
                step("present.found");
                let ended = self.judge(found, ReadAt::newest(record.live()), counts, moment);
                matches!(ended, Ok(None)).then_some(found)
            };
            if valid.is_some() {
                return valid;
            }
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
            newer = Some(moment.again());
        }
    }

    /// Tries a look-up as of now. If that does not tell what was there at one instant, tries it as
    /// of an instant and its time, and then in a view.
    #[inline(never)]
    fn at_one_instant<'g>(
        &'g self,
        live: Live<'g>,
        moment: &Moment<'_>,
        try_at: impl Fn(ReadAt<'g>, &Moment<'_>) -> Result<Resolved<'g, V>, TakenOut>,
    ) -> Resolved<'g, V> {
        if mutant("derive.nested_now") {
            return try_at(ReadAt::newest(live), moment).unwrap_or_default();
        }
        // The time is read after the number. A value whose deadline has not passed at that time was
        // in time at the number.
        let later = moment.again();
        let found = match try_at(self.order.now(live).1, &later) {
            // The value is expired at that time, but may have been present as of the number.
            Ok(found) if found.value().is_none() && later.is_read() => {
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
            let at = at.above(view.snapshot().watermark());
            try_at(at, &opened).expect("a view keeps all versions that it sees")
        })
    }

    /// What a record held at a given instant: nothing, if there is none. A value that was not valid
    /// then had ended.
    #[inline(always)]
    pub fn valid_at<'g>(
        &'g self,
        record: Option<RecordRef<'g, K, V>>,
        at: ReadAt<'g>,
        counts: bool,
        moment: &Moment<'_>,
    ) -> Result<Resolved<'g, V>, TakenOut> {
        let Some(record) = record else { return Ok(Resolved::default()) };
        let at = self.order.with_watermark(at);
        let held = self.order.resolve(record, at)?;
        let Some(found) = held.value() else { return Ok(held) };
        step("derive.found");
        Ok(held.judged(self.judge(found, at, counts, moment)?))
    }
}
