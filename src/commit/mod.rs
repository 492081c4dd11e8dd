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

pub use descriptor::{Demand, Descriptor, Entry, Expected};
use dispose::discard;
pub use dispose::{Out, prune, take_out, take_suffix, withdraw};
pub use floor::{Era, Floor};
pub use milestones::{Mark, Milestones, close_link};
pub use quiet::Quiet;
pub use stack::{Shelf, Stack, Taken};
pub use views::{Older, Place, Registered, Views};

use crate::chain::{Chain, Head, Node, Record};
use crate::sync::hook::{mutant, step};
use crate::sync::time::Timer;
use crate::sync::{AtomicU32, Ordering, fence};
use crate::version::{Clock, State};
use std::ptr;

/// What orders the commits of one cache: the clock, and the commits that clear everything.
pub struct Order {
    pub clock: Clock,
    pub floor: Floor,
    /// The time, for deadlines.
    timer: Timer,
    /// Why a look-up must do more than to find a plain version; 0: it need not.
    notable: AtomicU32,
}

/// Something was cleared, so a version may be below the floor.
const CLEARED: u32 = 1;
/// Look-ups are watched.
const WATCHED: u32 = 2;

/// What is left for later: a record of which the version of this number is to go when no view needs it any more.
#[derive(Clone, Copy)]
pub struct Left {
    pub record: *const (),
    pub version: u64,
}

// SAFETY: who leaves a record holds it for whoever takes it up; it is shared between threads anyway.
unsafe impl Send for Left {}

/// What has become of a version.
pub enum Judged<K, V> {
    /// Committed: the final state.
    Committed(State),
    /// It will never be visible.
    Aborted,
    /// Its commit is still being installed. To supersede it, help it first; to read, look below.
    Installing(*const Descriptor<K, V>),
}

/// What a read finds.
pub enum Found<'g, V> {
    /// The visible version.
    Value(&'g Node<V>, State),
    /// The key is absent.
    Absent,
    /// The version may have been taken out, since no registered view needed it.
    Unknown,
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
    /// all versions that it needs, but one may have been taken out of its chain: `Unknown`.
    Now(u64),
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
        Self { clock: Clock::new(), floor: Floor::new(), timer, notable }
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

    /// Clears everything: one commit. Returns its version.
    ///
    /// # Safety
    /// As for [`Floor::clear`].
    pub unsafe fn clear(
        &self,
        views: &Views,
        retire: impl Fn(*mut Node<Mark<Era>>),
        retire_place: impl Fn(*mut Place),
    ) -> u64 {
        // Before it is to be found. Relaxed: who sees that it was cleared, or a commit that came after, sees
        // the number that was taken for that, and so this.
        self.notable.fetch_or(CLEARED, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { self.floor.clear(&self.clock, views, retire, retire_place) }
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

    /// Judges a version. **Whoever meets a ready commit stamps it before judging it**, so that no
    /// two threads judge it differently, and so that a version is taken only after *ready* was seen.
    ///
    /// # Safety
    /// `node` was reached from its record's head under a guard that is still live.
    #[inline(always)]
    pub unsafe fn judge<K, V>(&self, node: &Node<V>) -> Judged<K, V> {
        let state = node.state();
        if state.is_committed() {
            return Judged::Committed(state);
        }
        // SAFETY: the caller's promise.
        unsafe { self.judge_undecided(node, state) }
    }

    #[cold]
    unsafe fn judge_undecided<K, V>(&self, node: &Node<V>, state: State) -> Judged<K, V> {
        if state.is_aborted() {
            return Judged::Aborted;
        }
        if state.is_ready() {
            if mutant("commit.pass_by_ready") {
                return Judged::Aborted;
            }
            return Judged::Committed(self.stamp_single(node, state));
        }
        let descriptor = ptr::with_exposed_provenance::<Descriptor<K, V>>(state.descriptor());
        // SAFETY: a version's state names its descriptor until the outcome is copied, and the
        // descriptor is retired only after it was copied to all of them. We read the name under
        // our guard, which keeps the descriptor.
        let outcome = unsafe { &*descriptor }.outcome(self);
        match outcome {
            None => Judged::Installing(descriptor),
            Some(outcome) => {
                step("commit.outcome_seen");
                node.set_outcome(outcome);
                let state = state.with_outcome(outcome);
                if state.is_committed() { Judged::Committed(state) } else { Judged::Aborted }
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

    /// What [`newest`](Self::newest) finds if that is plain: the head is committed to a value of which a hit
    /// needs to know nothing else, nothing was ever cleared, and nobody watches. `None` says nothing.
    ///
    /// # Safety
    /// `record` was found under a guard that is live for `'g`.
    #[inline(always)]
    pub unsafe fn settled<'g, K, V>(
        &self,
        record: &'g Record<K, V>,
    ) -> Option<(&'g Node<V>, State)> {
        // SAFETY: the caller's promise.
        unsafe { self.top(record) }.filter(|(_, state)| state.is_plain())
    }

    /// The head and its state, whatever it is, if nothing was ever cleared, and nobody watches.
    ///
    /// # Safety
    /// As for [`settled`](Self::settled).
    #[inline(always)]
    pub unsafe fn top<'g, K, V>(&self, record: &'g Record<K, V>) -> Option<(&'g Node<V>, State)> {
        // SAFETY: reached from the head under the guard.
        let node: &'g Node<V> = unsafe { record.top()?.as_ref() };
        let state = node.state();
        (self.notable.load(Ordering::Relaxed) == 0).then_some((node, state))
    }

    /// The same as [`settled`](Self::settled), of what was committed after everything had been cleared.
    ///
    /// # Safety
    /// As for [`settled`](Self::settled).
    #[inline(always)]
    pub unsafe fn settled_since_clear<'g, K, V>(
        &self,
        record: &'g Record<K, V>,
    ) -> Option<(&'g Node<V>, State)> {
        if self.notable.load(Ordering::Relaxed) != CLEARED {
            return None;
        }
        // SAFETY: reached from the head under the guard.
        let node: &'g Node<V> = unsafe { record.top()?.as_ref() };
        let state = node.state();
        // SAFETY: a guard is live. Read after the state, as in `newest`.
        let floor = unsafe { self.floor.newest_settled() }?;
        (state.is_plain() && state.version() > floor).then_some((node, state))
    }

    /// What `newest` finds if it is the head, committed to a value, and nothing was ever cleared.
    ///
    /// # Safety
    /// As for [`settled`](Self::settled).
    pub unsafe fn valued<'g, K, V>(
        &self,
        record: &'g Record<K, V>,
    ) -> Option<(&'g Node<V>, State)> {
        // SAFETY: reached from the head under the guard.
        let node: &'g Node<V> = unsafe { record.top()?.as_ref() };
        let state = node.state();
        (state.is_value() && !self.floor.is_raised()).then_some((node, state))
    }

    /// What [`at`](Self::at) finds if that is plain, likewise: whatever was superseded up to the limit has a
    /// newer version above it by now, so the newest, if it is within the limit, was visible there.
    ///
    /// # Safety
    /// As for `at`.
    #[inline(always)]
    pub unsafe fn settled_by<'g, K, V>(
        &self,
        record: &'g Record<K, V>,
        limit: Limit,
    ) -> Option<(&'g Node<V>, State)> {
        // SAFETY: the caller's promise.
        let (node, state) = unsafe { self.settled(record) }?;
        let within = match limit {
            Limit::Newest => true,
            Limit::View(limit) | Limit::Now(limit) => state.version() <= limit,
        };
        within.then_some((node, state))
    }

    /// The newest committed version below or at the head of `record` that is not aborted.
    ///
    /// # Safety
    /// `record` was found under a guard that is live for `'g`.
    #[inline(always)]
    pub unsafe fn newest<'g, K, V>(&self, record: &'g Record<K, V>) -> Found<'g, V> {
        let head = record.head().node();
        if head.is_null() {
            return Found::Absent;
        }
        // SAFETY: reached from the head under the guard.
        let node: &'g Node<V> = unsafe { &*head };
        let state = node.state();
        if state.is_committed() {
            return self.visible(node, state, self.floor.newest(&self.clock));
        }
        // SAFETY: the caller's promise.
        unsafe { self.newest_below(record) }
    }

    #[cold]
    unsafe fn newest_below<'g, K, V>(&self, record: &'g Record<K, V>) -> Found<'g, V> {
        // SAFETY: the caller's promise.
        unsafe { self.at(record, Limit::Newest, self.floor.newest(&self.clock)) }
    }

    #[inline(always)]
    fn visible<'g, V>(&self, node: &'g Node<V>, state: State, floor: u64) -> Found<'g, V> {
        if state.is_value() && state.version() > floor {
            Found::Value(node, state)
        } else {
            Found::Absent
        }
    }

    /// What was visible at version `limit`, when everything up to `floor` had been cleared.
    ///
    /// # Safety
    /// As for [`version_at`](Self::version_at).
    pub unsafe fn at<'g, K, V>(
        &self,
        record: &'g Record<K, V>,
        limit: Limit,
        floor: u64,
    ) -> Found<'g, V> {
        // SAFETY: the caller's promise.
        match unsafe { self.version_at(record, limit) } {
            Ok(Some((node, state))) => self.visible(node, state, floor),
            Ok(None) => Found::Absent,
            Err(TakenOut) => Found::Unknown,
        }
    }

    /// The newest version that was committed at `limit`, be it a value or a tombstone, cleared or not.
    ///
    /// # Safety
    /// `record` was found, or is held, under a guard that is live for `'g`, and `limit` is what it says.
    pub unsafe fn version_at<'g, K, V>(
        &self,
        record: &'g Record<K, V>,
        limit: Limit,
    ) -> Result<Option<(&'g Node<V>, State)>, TakenOut> {
        let (limit, exact) = match limit {
            Limit::Newest => (u64::MAX, true),
            Limit::View(version) => (version, true),
            Limit::Now(version) => (version, false),
        };
        let mut next = record.head().node();
        let mut skipped = false;
        while !next.is_null() {
            // SAFETY: reached from the head under the guard; no reader goes below its own visible
            // version, and everything down to it is kept: by the view, or by the guard.
            let node: &'g Node<V> = unsafe { &*next };
            // SAFETY: as above.
            match unsafe { self.judge::<K, V>(node) } {
                // Between the last link and this version one may have been taken out.
                Judged::Committed(state) if state.version() <= limit => {
                    return if skipped && !exact { Err(TakenOut) } else { Ok(Some((node, state))) };
                }
                _ => {}
            }
            // SAFETY: as above.
            let link = unsafe { record.prev_of(node) }.link();
            skipped = link.is_skipped();
            next = link.target();
        }
        if skipped && !exact { Err(TakenOut) } else { Ok(None) }
    }

    /// The number of the newest commit that wrote `record`, be it a value or a tombstone; 0 if none is known.
    ///
    /// # Safety
    /// `record` is kept, and a guard is live.
    pub unsafe fn newest_number<K, V>(&self, record: &Record<K, V>) -> u64 {
        // SAFETY: the caller's promise.
        match unsafe { self.version_at(record, Limit::Newest) } {
            Ok(Some((_, state))) => state.version(),
            _ => 0,
        }
    }

    /// Up to which version everything had been cleared at `limit`.
    ///
    /// # Safety
    /// A guard is live, and `limit` is what it says.
    pub unsafe fn floor_at(&self, limit: Limit) -> u64 {
        match limit {
            Limit::Newest => self.floor.newest(&self.clock),
            // SAFETY: the caller's promise.
            _ => unsafe { self.floor.at(&self.clock, limit) }.0,
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
    pub unsafe fn write<K, V>(
        &self,
        record: &Record<K, V>,
        node: *mut Node<V>,
        over: Option<*const Node<V>>,
        retire: &impl Fn(&Record<K, V>, *mut Node<V>),
    ) -> Option<State> {
        // SAFETY: ours alone so far.
        let new = unsafe { &*node };
        loop {
            let head = record.head();
            debug_assert!(!head.is_sealed());
            // SAFETY: the caller's promise.
            let below = match unsafe { self.below(record, head) } {
                Ok(below) => below,
                Err(blocking) => {
                    // SAFETY: met just now, under the caller's guard.
                    unsafe { self.help(blocking, retire) };
                    continue;
                }
            };
            if over.is_some_and(|over| !ptr::eq(over, below)) {
                return None;
            }
            // SAFETY: made for this record; nobody else has seen it.
            unsafe { record.prev_of(node) }.init(below);
            if mutant("commit.stamped_first") {
                new.set_outcome(State::committed(self.clock.tick()));
            }
            step("write.before_install");
            if record.install(head, node) {
                step("write.installed");
                // SAFETY: read from a head under the caller's guard; we alone superseded it.
                unsafe { discard(record, head, below, retire) };
                let state = new.state(); // others may have stamped it
                let ready = state.is_ready();
                return Some(if ready { self.stamp_single(new, state) } else { state });
            }
        }
    }

    /// The version that one installed on top of `head`, of `record`, supersedes: the newest that is not aborted. An
    /// error names the commit to help first.
    unsafe fn below<K, V>(
        &self,
        record: &Record<K, V>,
        head: Head<V>,
    ) -> Result<*mut Node<V>, *const Descriptor<K, V>> {
        let top = head.node();
        if top.is_null() {
            return Ok(top);
        }
        // SAFETY: read from a head under the caller's guard.
        match unsafe { self.judge::<K, V>(&*top) } {
            Judged::Committed(_) => Ok(top),
            // SAFETY: as above. Nothing is superseded by an aborted version, and it is skipped
            // when superseded itself, so what lies below is not aborted.
            Judged::Aborted => Ok(unsafe { record.prev_of(top) }.link().target()),
            Judged::Installing(descriptor) => Err(descriptor),
        }
    }
}
