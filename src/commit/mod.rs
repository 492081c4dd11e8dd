//! Commit: how versions are installed, decided by one atomic step, and disposed of.
//!
//! It receives records; it looks no key up. The rules are those of `docs/protocol.md`.

mod descriptor;
mod dispose;
mod floor;
mod milestones;
mod quiet;
mod stack;
mod views;

pub use descriptor::{Descriptor, Entry, Expected, Precondition};
use dispose::discard;
pub use dispose::{PruneOutcome, prune, take_out, take_suffix, withdraw};
pub use floor::{ClearWatermark, Era};
pub use milestones::{Milestone, Milestones, close_link};
pub use quiet::Quiet;
pub use stack::{ClosableList, Drained, Stack};
pub use views::{Registered, ViewCursor, ViewPlace, Views};

use crate::chain::{Chain, Head, Live, Node, NodeRef, Record, RecordRef, Visible};
use crate::sync::hook::{mutant, step};
use crate::sync::time::Timer;
use crate::sync::{AtomicU32, Ordering, fence};
use crate::version::{Clock, State};
use std::marker::PhantomData;
use std::ptr;

/// What orders the commits of one cache: the clock, and the commits that clear everything.
pub struct Order {
    pub clock: Clock,
    pub watermark: ClearWatermark,
    /// The time, for deadlines.
    timer: Timer,
    /// Why a look-up must do more than to find a plain version; 0: it need not.
    notable: AtomicU32,
}

/// Something was cleared, so a version may be below the watermark.
const CLEARED: u32 = 1;
/// Look-ups are watched.
const WATCHED: u32 = 2;

/// What is left for later: a record of which the version of this number is to go when no view needs it any more.
#[derive(Clone, Copy)]
pub struct DeferredPrune {
    pub record: *const (),
    pub version: u64,
}

// SAFETY: who leaves a record holds it for whoever takes it up; it is shared between threads anyway.
unsafe impl Send for DeferredPrune {}

/// What has become of a version.
pub enum VersionStatus<K, V> {
    /// Committed: the final state.
    Committed(State),
    /// It will never be visible.
    Aborted,
    /// Its commit is still being installed. To supersede it, help it first; to read, look below.
    Installing(*const Descriptor<K, V>),
}

/// The version may have been taken out of its chain, since no registered view needed it.
#[derive(Debug)]
pub struct TakenOut;

/// Up to which version a read sees.
#[derive(Clone, Copy)]
pub enum Limit {
    /// The newest committed.
    Newest,
    /// As of a registered view.
    View(u64),
    /// As of what the clock showed under the reader's guard, without a registration. The guard keeps
    /// all versions that the read needs, but one may have been taken out of its chain: [`TakenOut`].
    Now(u64),
}

/// The instant as of which a read looks, and the proof that all that it may reach is kept for `'g`.
#[derive(Clone, Copy)]
pub struct ReadAt<'g> {
    limit: Limit,
    live: PhantomData<&'g ()>,
}

impl<'g> ReadAt<'g> {
    /// The newest committed.
    #[inline(always)]
    pub fn newest(_: Live<'g>) -> Self {
        Self { limit: Limit::Newest, live: PhantomData }
    }

    /// # Safety
    /// A guard is live for `'g`, and `limit` is what it says: the version of a view that is
    /// registered for `'g`; or a number that was read from the clock, or taken, under that guard.
    #[inline(always)]
    pub unsafe fn new(limit: Limit) -> Self {
        Self { limit, live: PhantomData }
    }

    /// Up to which version the read sees.
    #[inline(always)]
    pub fn limit(self) -> Limit {
        self.limit
    }

    /// The number as of which it looks; `None`: the newest.
    pub fn number(self) -> Option<u64> {
        match self.limit {
            Limit::View(number) | Limit::Now(number) => Some(number),
            Limit::Newest => None,
        }
    }

    /// The guard that keeps what it may reach is live.
    #[inline(always)]
    pub fn live(self) -> Live<'g> {
        // SAFETY: whoever made this has said so.
        unsafe { Live::assumed() }
    }

    /// The largest number that it sees, and whether a version that was taken out is not needed.
    #[inline(always)]
    fn bound(self) -> (u64, bool) {
        match self.limit {
            Limit::Newest => (u64::MAX, true),
            Limit::View(version) => (version, true),
            Limit::Now(version) => (version, false),
        }
    }
}

impl Order {
    /// Nothing committed yet. A clock of its own has the time.
    #[cfg(coeval_loom)]
    pub fn new() -> Self {
        Self::timed(Timer::new())
    }

    /// Nothing committed yet.
    pub fn timed(timer: Timer) -> Self {
        let notable = AtomicU32::new(0);
        Self { clock: Clock::new(), watermark: ClearWatermark::new(), timer, notable }
    }

    /// A number, and a time that belongs to it: no other was taken while the time was read. So who judges deadlines by
    /// an earlier time has a number that is not larger, and who does by a later time one that is not smaller.
    ///
    /// Lock-free: tried again only if somebody took a number.
    pub fn instant(&self) -> (u64, u64) {
        let mut number = self.clock.now();
        loop {
            step("instant.numbered");
            let time = self.timer.now();
            step("instant.timed");
            fence(Ordering::SeqCst); // partner: the fence in `Descriptor::stamp`
            let now = self.clock.now();
            if now == number || mutant("instant.unchecked") {
                return (number, time);
            }
            number = now;
        }
    }

    /// The same, or any time now if nothing up to the number has a deadline, which is asked after the
    /// number was read.
    pub fn instant_if(&self, is_timeless: impl Fn() -> bool) -> (u64, u64) {
        let number = self.clock.now();
        if is_timeless() { (number, self.timer.now()) } else { self.instant() }
    }

    /// The time.
    pub fn timer(&self) -> &Timer {
        &self.timer
    }

    /// Clears everything: one commit. Returns its version.
    ///
    /// # Safety
    /// As for [`ClearWatermark::clear`].
    pub unsafe fn clear(
        &self,
        views: &Views,
        retire: impl Fn(*mut Node<Milestone<Era>>),
        retire_place: impl Fn(*mut ViewPlace),
    ) -> u64 {
        // Before it is to be found. Relaxed: who sees that it was cleared, or a commit that came after, sees
        // the number that was taken for that, and so this.
        self.notable.fetch_or(CLEARED, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { self.watermark.clear(&self.clock, views, retire, retire_place) }
    }

    /// Has no look-up be [`settled`](Self::settled), until told otherwise.
    pub fn watch(&self, on: bool) {
        // Relaxed: threads may notice a little later.
        if on {
            self.notable.fetch_or(WATCHED, Ordering::Relaxed);
        } else {
            self.notable.fetch_and(!WATCHED, Ordering::Relaxed);
        }
    }

    /// Whether look-ups are watched.
    #[inline(always)]
    pub fn is_watched(&self) -> bool {
        // Models watch nothing: to ask would only multiply the schedules.
        !cfg!(coeval_loom) && self.notable.load(Ordering::Relaxed) & WATCHED != 0
    }

    /// An instant of this guard: the newest number now.
    #[inline(always)]
    pub fn now<'g>(&self, _: Live<'g>) -> (u64, ReadAt<'g>) {
        let number = self.clock.now();
        // SAFETY: a guard is live for 'g, and the clock was read under it.
        (number, unsafe { ReadAt::new(Limit::Now(number)) })
    }

    /// A number that is taken under this guard, and the instant of that.
    pub fn tick_under<'g>(&self, _: Live<'g>) -> (u64, ReadAt<'g>) {
        let number = self.clock.tick();
        // SAFETY: as in `now`.
        (number, unsafe { ReadAt::new(Limit::Now(number)) })
    }

    /// An instant of this guard, and a time that belongs to it; see [`instant`](Self::instant).
    pub fn instant_under<'g>(&self, _: Live<'g>) -> (ReadAt<'g>, u64) {
        let (number, time) = self.instant();
        // SAFETY: as in `now`.
        (unsafe { ReadAt::new(Limit::Now(number)) }, time)
    }

    /// Judges a version. **Whoever meets a ready commit stamps it before judging it**, so that no
    /// two threads judge it differently, and so that a version is taken only after *ready* was seen.
    #[inline(always)]
    pub fn judge<K, V>(&self, node: NodeRef<'_, V>) -> VersionStatus<K, V> {
        let state = node.state();
        if state.is_committed() {
            return VersionStatus::Committed(state);
        }
        self.judge_undecided(node, state)
    }

    #[cold]
    fn judge_undecided<K, V>(&self, node: NodeRef<'_, V>, state: State) -> VersionStatus<K, V> {
        if state.is_aborted() {
            return VersionStatus::Aborted;
        }
        if state.is_ready() {
            if mutant("commit.pass_by_ready") {
                return VersionStatus::Aborted;
            }
            return VersionStatus::Committed(self.stamp_single(&node, state));
        }
        let descriptor = ptr::with_exposed_provenance::<Descriptor<K, V>>(state.descriptor());
        // SAFETY: a version's state names its descriptor until the outcome is copied, and the
        // descriptor is retired only after it was copied to all of them. We read the name under
        // the guard that keeps the version, and it keeps the descriptor.
        let outcome = unsafe { &*descriptor }.outcome(self, node.live());
        match outcome {
            None => VersionStatus::Installing(descriptor),
            Some(outcome) => {
                step("commit.outcome_seen");
                node.set_outcome(outcome);
                let state = state.with_outcome(outcome);
                if state.is_committed() {
                    VersionStatus::Committed(state)
                } else {
                    VersionStatus::Aborted
                }
            }
        }
    }

    /// Gives a ready single write its version, and returns its final state.
    pub fn stamp_single<V>(&self, node: &Node<V>, ready: State) -> State {
        // Only now, after ready was seen: the version is larger than any view opened before.
        let version = self.clock.tick();
        step("commit.ticked");
        node.stamp(ready, State::committed(version))
    }

    /// What [`newest`](Self::newest) finds if that is plain: the head is committed to a value of
    /// which a hit needs to know nothing else, nothing was ever cleared, and nobody watches. `None`
    /// says nothing.
    #[inline(always)]
    pub fn plain<'g, K, V>(&self, record: RecordRef<'g, K, V>) -> Option<Visible<'g, V>> {
        let (node, state) = self.top(record)?;
        node.plain_as(state)
    }

    /// The head and its state, whatever it is, if nothing was ever cleared, and nobody watches.
    #[inline(always)]
    pub fn top<'g, K, V>(&self, record: RecordRef<'g, K, V>) -> Option<(NodeRef<'g, V>, State)> {
        let node = record.top()?;
        let state = node.state();
        (self.notable.load(Ordering::Relaxed) == 0).then_some((node, state))
    }

    /// The same as [`plain`](Self::plain), of what was committed after everything had been cleared.
    #[inline(always)]
    pub fn plain_since_clear<'g, K, V>(
        &self,
        record: RecordRef<'g, K, V>,
    ) -> Option<Visible<'g, V>> {
        if self.notable.load(Ordering::Relaxed) != CLEARED {
            return None;
        }
        let node = record.top()?;
        let state = node.state();
        // Read after the state, as in `newest`.
        let watermark = self.watermark.newest_stamped(record.live())?;
        node.plain_as(state).filter(|visible| visible.number() > watermark)
    }

    /// What `newest` finds if it is the head, committed to a value, and nothing was ever cleared.
    pub fn head_value<'g, K, V>(&self, record: RecordRef<'g, K, V>) -> Option<Visible<'g, V>> {
        record.top()?.visible().filter(|_| !self.watermark.is_raised())
    }

    /// What [`at`](Self::at) finds if that is plain, likewise: whatever was superseded up to the
    /// limit has a newer version above it by now, so the newest, if it is within the limit, was
    /// visible there.
    #[inline(always)]
    pub fn plain_at<'g, K, V>(
        &self,
        record: RecordRef<'g, K, V>,
        at: ReadAt<'g>,
    ) -> Option<Visible<'g, V>> {
        self.plain(record).filter(|visible| visible.number() <= at.bound().0)
    }

    /// The value of the newest committed version, if it was not cleared.
    #[inline(always)]
    pub fn newest<'g, K, V>(&self, record: RecordRef<'g, K, V>) -> Option<Visible<'g, V>> {
        let node = record.newest()?;
        let state = node.state();
        if state.is_committed() {
            return self.visible(node, state, self.watermark.newest(&self.clock, record.live()));
        }
        self.newest_below(record)
    }

    #[cold]
    fn newest_below<'g, K, V>(&self, record: RecordRef<'g, K, V>) -> Option<Visible<'g, V>> {
        let at = ReadAt::newest(record.live());
        self.at(record, at, self.watermark.newest(&self.clock, record.live())).ok()?
    }

    #[inline(always)]
    fn visible<'g, V>(
        &self,
        node: NodeRef<'g, V>,
        state: State,
        watermark: u64,
    ) -> Option<Visible<'g, V>> {
        node.visible_as(state).filter(|visible| visible.number() > watermark)
    }

    /// The value that was visible at an instant, when everything up to `watermark` had been cleared.
    pub fn at<'g, K, V>(
        &self,
        record: RecordRef<'g, K, V>,
        at: ReadAt<'g>,
        watermark: u64,
    ) -> Result<Option<Visible<'g, V>>, TakenOut> {
        let found = self.version_at(record, at)?;
        Ok(found.and_then(|(node, state)| self.visible(node, state, watermark)))
    }

    /// The newest version that was committed at an instant, be it a value or a tombstone, cleared
    /// or not.
    pub fn version_at<'g, K, V>(
        &self,
        record: RecordRef<'g, K, V>,
        at: ReadAt<'g>,
    ) -> Result<Option<(NodeRef<'g, V>, State)>, TakenOut> {
        let (limit, exact) = at.bound();
        let mut next = record.newest();
        let mut skipped = false;
        while let Some(node) = next {
            match self.judge::<K, V>(node) {
                // Between the last link and this version one may have been taken out.
                VersionStatus::Committed(state) if state.version() <= limit => {
                    return if skipped && !exact { Err(TakenOut) } else { Ok(Some((node, state))) };
                }
                _ => {}
            }
            let link = record.prev_of(node).link();
            skipped = link.is_skipped();
            // SAFETY: no reader goes below its own visible version, and everything down to it is
            // kept: by the view, or by the guard.
            next = unsafe { link.target().as_ref().map(|node| NodeRef::new(node)) };
        }
        if skipped && !exact { Err(TakenOut) } else { Ok(None) }
    }

    /// The number of the newest commit that wrote `record`, be it a value or a tombstone; 0 if none
    /// is known.
    pub fn newest_number<K, V>(&self, record: RecordRef<'_, K, V>) -> u64 {
        match self.version_at(record, ReadAt::newest(record.live())) {
            Ok(Some((_, state))) => state.version(),
            _ => 0,
        }
    }

    /// Up to which version everything had been cleared at an instant.
    pub fn watermark_at(&self, at: ReadAt<'_>) -> u64 {
        match at.limit {
            Limit::Newest => self.watermark.newest(&self.clock, at.live()),
            _ => self.watermark.at(&self.clock, at).0,
        }
    }

    /// Helps `descriptor` to its end, and whatever stands in its way. Lock-free: each round installs
    /// a version or finds that somebody has.
    ///
    /// # Safety
    /// `descriptor` was met undecided, under a guard that is still live; `retire` retires a version
    /// that was superseded in `record` (it is called once for each).
    pub unsafe fn help<K, V>(
        &self,
        descriptor: *const Descriptor<K, V>,
        retire: &impl Fn(&Record<K, V>, *mut Node<V>),
    ) -> State {
        let mut current = descriptor;
        loop {
            // SAFETY: `descriptor`: the caller's promise. What blocks it: `judge` found it under
            // the same guard.
            match unsafe { (*current).complete(self, retire) } {
                // What blocks a commit has installed all its versions in smaller records and this
                // one, so it can only be blocked further up: the chase ends.
                Err(blocking) => current = blocking,
                Ok(outcome) if ptr::eq(current, descriptor) => return outcome,
                Ok(_) => current = descriptor,
            }
        }
    }

    /// Installs a single write, already *ready*, on top of `record`'s chain and stamps it. Returns
    /// its final state. With `over`, only if that is the version which it supersedes; else `None`.
    ///
    /// # Safety
    /// `record` was revived, and `node` made for it (its state `READY`, seen by nobody), under a
    /// guard that is still live. `retire` as for [`help`](Self::help).
    pub unsafe fn write<'g, K, V>(
        &self,
        record: RecordRef<'g, K, V>,
        node: *mut Node<V>,
        over: Option<NodeRef<'g, V>>,
        retire: &impl Fn(&Record<K, V>, *mut Node<V>),
    ) -> Option<State> {
        // SAFETY: ours alone so far.
        let new = unsafe { &*node };
        loop {
            let head = record.head();
            debug_assert!(!head.is_sealed());
            // SAFETY: read from the record's head.
            let below = match unsafe { self.below(record, head) } {
                Ok(below) => below,
                Err(blocking) => {
                    // SAFETY: met just now, under the caller's guard.
                    unsafe { self.help(blocking, retire) };
                    continue;
                }
            };
            if over.is_some_and(|over| !over.is(below)) {
                return None;
            }
            // SAFETY: made for this record; nobody else has seen it.
            unsafe { record.get().prev_of(node) }.init(below);
            if mutant("commit.stamped_first") {
                new.set_outcome(State::committed(self.clock.tick()));
            }
            step("write.before_install");
            if record.install(head, node) {
                step("write.installed");
                // SAFETY: read from a head under the caller's guard; we alone superseded it.
                unsafe { discard(record.get(), head, below, retire) };
                let state = new.state(); // others may have stamped it
                let ready = state.is_ready();
                return Some(if ready { self.stamp_single(new, state) } else { state });
            }
        }
    }

    /// The version that one installed on top of `head`, of `record`, supersedes: the newest that is
    /// not aborted. An error names the commit to help first.
    ///
    /// # Safety
    /// `head` was read from the record under the guard that keeps it.
    unsafe fn below<K, V>(
        &self,
        record: RecordRef<'_, K, V>,
        head: Head<V>,
    ) -> Result<*mut Node<V>, *const Descriptor<K, V>> {
        let top = head.node();
        // SAFETY: the caller's promise.
        let Some(node) = (unsafe { top.as_ref().map(|top| NodeRef::new(top)) }) else {
            return Ok(top);
        };
        match self.judge::<K, V>(node) {
            VersionStatus::Committed(_) => Ok(top),
            // Nothing is superseded by an aborted version, and it is skipped when superseded itself,
            // so what lies below is not aborted.
            VersionStatus::Aborted => Ok(record.prev_of(node).link().target()),
            VersionStatus::Installing(descriptor) => Err(descriptor),
        }
    }
}
