//! What a record holds: the newest value, or what it held as of an instant.
//!
//! [`Order::newest`] is the fast path, [`Order::resolve`] the general one. Whether a value is valid
//! is not known here: its deadline and its dependencies are the business of `dependencies`.

use super::{Limit, Order, ReadAt, TakenOut, VersionStatus};
use crate::chain::{NodeRef, RecordRef, Visible};
use crate::removal::RemovalCause;
use crate::sync::Ordering;
use crate::sync::hook::{mutant, planted, step};
use crate::version::State;

/// What a record holds as of an instant: nothing, a tombstone, a value, or a value that had ended.
pub struct Resolved<'g, V> {
    /// The newest version that was committed: a value or a tombstone.
    version: Option<(NodeRef<'g, V>, State)>,
    /// Why the value of that version is absent, as far as it was asked.
    ended: Option<RemovalCause>,
}

impl<V> Clone for Resolved<'_, V> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<V> Copy for Resolved<'_, V> {}

impl<V> Default for Resolved<'_, V> {
    fn default() -> Self {
        Self { version: None, ended: None }
    }
}

impl<'g, V> Resolved<'g, V> {
    /// The value, unless it had ended.
    #[inline(always)]
    pub fn value(self) -> Option<Visible<'g, V>> {
        let (node, state) = self.version.filter(|_| self.ended.is_none())?;
        node.visible_as(state)
    }

    /// The newest version that was committed: a value, which may have ended, or a tombstone.
    #[inline(always)]
    pub fn version(self) -> Option<(NodeRef<'g, V>, State)> {
        self.version
    }

    /// The number of the commit that wrote the version; 0 if no such commit is known.
    pub fn number(self) -> u64 {
        self.version.map_or(0, |(_, state)| state.version())
    }

    /// Why the value had ended. A value that was cleared had ended explicitly.
    pub fn ended(self) -> Option<RemovalCause> {
        self.ended
    }

    /// The value, if it was cleared.
    pub fn cleared(self) -> Option<NodeRef<'g, V>> {
        let is_cleared = self.ended == Some(RemovalCause::Explicit);
        self.version.filter(|_| is_cleared).map(|(node, _)| node)
    }

    /// The same, with the verdict on a value that was not cleared.
    pub fn judged(self, ended: Option<RemovalCause>) -> Self {
        Self { ended, ..self }
    }
}

impl Order {
    /// Whether nothing was ever cleared and look-ups are not recorded. Then the
    /// [top](RecordRef::top) of a record, if it is plain or tied and its state was read before, is
    /// the newest value. It also was the value at each instant that [sees](ReadAt::sees) it: a
    /// version that was superseded up to the instant has a newer version above it by now.
    #[inline(always)]
    pub fn may_use_top(&self) -> bool {
        self.notable.load(Ordering::Relaxed) == 0
    }

    /// The newest committed version, if it is a value that was not cleared.
    #[inline(always)]
    pub fn newest<'g, K, V>(&self, record: RecordRef<'g, K, V>) -> Option<Visible<'g, V>> {
        let node = record.newest()?;
        let state = node.state();
        if !state.is_committed() {
            return self.newest_below(record);
        }
        // The watermark is read after the state.
        let watermark = self.watermark.newest(&self.clock, record.live());
        let unseen = planted("clear.unseen");
        node.visible_as(state).filter(|visible| visible.number() > watermark || unseen)
    }

    /// The same if the head is not committed, or there is none.
    #[cold]
    #[inline(never)]
    fn newest_below<'g, K, V>(&self, record: RecordRef<'g, K, V>) -> Option<Visible<'g, V>> {
        let at = self.with_watermark(ReadAt::newest(record.live()));
        self.resolve(record, at).ok()?.value()
    }

    /// What a record held as of an instant. A value that was cleared had ended; whether the value
    /// was valid is not looked at.
    #[inline(always)]
    pub fn resolve<'g, K, V>(
        &self,
        record: RecordRef<'g, K, V>,
        at: ReadAt<'g>,
    ) -> Result<Resolved<'g, V>, TakenOut> {
        let mut next = record.newest();
        let mut skipped = false;
        let version = loop {
            let Some(node) = next else { break None };
            match self.status::<K, V>(node) {
                VersionStatus::Committed(state) if at.sees(state.version()) => {
                    break Some((node, state));
                }
                VersionStatus::Committed(_) | VersionStatus::Aborted => {}
                VersionStatus::Installing(_) => step("resolve.undecided"),
            }
            let link = record.prev_of(node).link();
            skipped = link.is_skipped();
            if skipped && at.number().is_none() && !mutant("resolve.newest_goes_on") {
                // The commit was decided meanwhile, because only a committed version has such a
                // link. The version below it, which was the newest before, may be out of the chain.
                continue;
            }
            // SAFETY: no reader goes below its own visible version. The view or the guard keeps all
            // versions down to that one.
            next = unsafe { link.target().as_ref().map(|node| NodeRef::new(node)) };
        };
        // A version may have been taken out between the last link and this version.
        if skipped && !at.is_exact() {
            return Err(TakenOut);
        }
        let is_cleared =
            |state: State| state.is_value() && state.version() <= self.watermark_at(at);
        let is_cleared = version.is_some_and(|(_, state)| is_cleared(state));
        Ok(Resolved { version, ended: is_cleared.then_some(RemovalCause::Explicit) })
    }

    /// The clear watermark at an instant.
    #[inline]
    pub fn watermark_at(&self, at: ReadAt<'_>) -> u64 {
        at.watermark().unwrap_or_else(|| match at.limit() {
            Limit::Newest => self.watermark.newest(&self.clock, at.live()),
            _ => self.watermark.at(&self.clock, at).0,
        })
    }

    /// The same instant with its clear watermark, for an operation that reads several records.
    #[inline]
    pub fn with_watermark<'g>(&self, at: ReadAt<'g>) -> ReadAt<'g> {
        at.above(self.watermark_at(at))
    }
}
