//! Brief views: look-ups as of one instant that a guard keeps, without a registered view.

use super::Engine;
use super::read::with_version;
use super::views::EngineView;
use crate::commit::{GuardedInstant, ReadAt, TakenOut};
use crate::dependencies::Moment;
use crate::reclaim::Reclaim;
use crate::store::Peeked;
use crate::sync::hook::planted;
use crate::version::Version;
use equivalent::Equivalent;
use std::hash::{BuildHasher, Hash};

/// What keeps the versions that a brief view sees.
enum KeptBy<'e, K, V, S, R: Reclaim> {
    /// A guard: a version that was visible at an instant under the guard can only be superseded
    /// later. It may be missing if it was pruned between two versions that a registered view
    /// needed.
    Guard(GuardedInstant<'e, R>),
    View(EngineView<'e, K, V, S, R>),
}

/// A view for the duration of a closure.
pub struct EngineBriefView<'e, K, V, S, R: Reclaim> {
    engine: &'e Engine<K, V, S, R>,
    kept: KeptBy<'e, K, V, S, R>,
}

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Passes a brief view to `read`. If `read` meets a version that is missing, and so returns
    /// `None`, calls it once more with a registered view, which misses none.
    #[inline(never)] // In `get_many`, it would cost those who need no second look stack space.
    pub fn view_briefly<T>(
        &self,
        mut read: impl FnMut(EngineBriefView<'_, K, V, S, R>) -> Option<T>,
    ) -> T {
        let is_timeless = || !self.deadlines.may_be();
        let instant = self.store.order.guarded::<R>(|| self.pin(), is_timeless);
        if let Some(done) = read(EngineBriefView { engine: self, kept: KeptBy::Guard(instant) }) {
            return done;
        }
        let view = EngineBriefView { engine: self, kept: KeptBy::View(self.open_view()) };
        read(view).expect("a registered view misses nothing")
    }
}

impl<K, V, S, R> EngineBriefView<'_, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns the value of `key`, and the version that wrote it. If `COUNTS`, the look-up is a use
    /// of the entry.
    #[inline]
    pub fn read<Q, const COUNTS: bool>(&self, key: &Q) -> Result<Option<(&V, Version)>, TakenOut>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let instant = match &self.kept {
            KeptBy::Guard(instant) => instant,
            KeptBy::View(view) => return Ok(self.engine.read(view.snapshot(), key)),
        };
        let hash = self.engine.hash(key);
        self.engine.store.prefetch_home(hash);
        let at = match planted("brief_view.one_by_one") {
            false => instant.at(),
            true => ReadAt::newest(self.engine.store.live(instant.guard())),
        };
        match self.engine.store.peek::<Q, false>(instant.guard(), hash, key, at) {
            Peeked::Plain(found) => Ok(Some(with_version(found))),
            Peeked::Absent => Ok(None),
            _ => {
                let record = self.engine.store.find(instant.guard(), hash, key);
                let moment = Moment::at(&self.engine.timer, instant.time());
                let held = self.engine.store.valid_at(record, at, COUNTS, &moment)?;
                self.engine.note_found::<COUNTS>(record, held.value());
                Ok(held.value().map(with_version))
            }
        }
    }
}

impl<K, V, S, R: Reclaim> EngineBriefView<'_, K, V, S, R> {
    /// Returns the number of the newest commit that the view sees.
    pub fn number(&self) -> u64 {
        match &self.kept {
            KeptBy::Guard(instant) => instant.number(),
            KeptBy::View(view) => view.snapshot().version(),
        }
    }
}
