//! What a record holds, if that is valid.
//!
//! What one reads is to have been so at one instant. Of a value with plain inputs that is the
//! instant at which it was found: inputs do not come back once they were superseded, so if they
//! stand later, they stood then. Of nested ones it is an instant that is fixed before: a derived
//! input may come back.

use super::Moment;
use crate::chain::{Bonds, RecordRef, Visible};
use crate::commit::{Limit, ReadAt, TakenOut};
use crate::reclaim::Reclaim;
use crate::store::{Host, OpenView, Store};
use crate::sync::hook::{mutant, step};
use crate::sync::{Ordering, fence};

impl<K, V, S, R: Reclaim, H: Host<K, V>> Store<K, V, S, R, H> {
    /// What a record holds, if that is valid. A look-up that `counts` is a use of it.
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
            // It has ended. That was an instant at which there was nothing only if nobody has put
            // anything in its place before it did: tried again, if so, upon what that is. Nor has a
            // commit been decided then that found the deadline not to have come, but before: one
            // that is ready is stamped by this look.
            fence(Ordering::SeqCst); // partner: the fence in `Descriptor::time`; the clock was read before
            let again = self.order.newest(record)?;
            if again.is(found.node().get()) || mutant("present.ended_is_absent") {
                return None;
            }
            found = again;
            // What was put there since is judged by a time since.
            let valid = self.valid(record, found, counts, &moment.again());
            if valid.is_some() {
                return valid;
            }
        }
    }

    /// What was found newest in a record, if it is valid.
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

    /// What a record holds at one instant, if it is valid then.
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
        // A time that is read after the number: what is in time by it was then.
        let later = moment.again();
        let found = match try_at(self.order.now(live).1, &later) {
            // Over by that time: it may have been there as of the number.
            Ok(None) if later.is_read() => {
                let (at, time) = self.order.instant_under(live);
                try_at(at, &Moment::at(self.order.timer(), time))
            }
            found => found,
        };
        found.unwrap_or_else(|TakenOut| {
            let view = OpenView::new(self, || false);
            let opened = Moment::at(self.order.timer(), view.snapshot().opened());
            // SAFETY: the view is registered while this looks. What is found was visible under the
            // guard, so that keeps it when the view is closed.
            let at = unsafe { ReadAt::new(Limit::View(view.snapshot().version())) };
            try_at(at, &opened).expect("a view can tell")
        })
    }

    /// What a record held at one instant, if it was valid then.
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
