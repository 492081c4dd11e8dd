//! Look-ups as of one instant: of a view, or several keys at once. None of them writes to shared memory, but to help a commit
//! that it meets half done.

use super::Engine;
use super::keep::Moment;
use crate::chain::{Node, Record};
use crate::commit::{Found, Limit, Registered, TakenOut};
use crate::index::Peek;
use crate::metrics::EventKind;
use crate::reclaim::Reclaim;
use crate::sync::hook::mutant;
use crate::version::{State, Version};
use equivalent::Equivalent;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

/// The version of a committed state, as callers know it.
pub(super) fn version_of(state: State) -> Version {
    Version::from_u64(state.version())
}

/// What a registered view sees.
pub struct Snapshot {
    /// Its registration.
    pub registered: Registered,
    /// Everything up to this version had been cleared.
    pub(super) floor: u64,
}

impl Snapshot {
    /// The version that it sees; 0 before the first commit.
    pub fn version(&self) -> u64 {
        self.registered.version()
    }

    /// When it was opened: values whose deadline had come by then are absent in it, others are not.
    pub fn opened(&self) -> u64 {
        self.registered.opened()
    }
}

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Keeps what is read through it from being reclaimed.
    #[inline(always)]
    pub fn pin(&self) -> R::Guard<'_> {
        self.reclaim.pin()
    }

    /// The same, by a guard that the program may keep.
    #[inline(always)]
    pub fn pin_for_long(&self) -> R::Guard<'_> {
        self.reclaim.pin_for_long()
    }

    #[inline(always)]
    pub fn find<'g, Q>(
        &self,
        guard: &'g R::Guard<'_>,
        hash: u32,
        key: &Q,
    ) -> Option<&'g Record<K, V>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.index.find(guard, hash, |record| key.equivalent(record.key()))
    }

    /// The number of the newest commit; 0 before the first.
    pub fn version(&self) -> u64 {
        self.order.clock.now()
    }

    /// How many keys hold a value.
    pub fn len(&self) -> usize {
        let _guard = self.pin();
        // SAFETY: a guard is live.
        unsafe { self.order.floor.era(&self.order.clock) }.present()
    }

    /// What they weigh.
    pub fn weight(&self) -> u64 {
        if !self.is_weighed() {
            return self.len() as u64;
        }
        let _guard = self.pin();
        // SAFETY: a guard is live.
        unsafe { self.order.floor.era(&self.order.clock) }.weight()
    }

    /// What each of `keys` holds, all as of one instant. `COUNTS`: it is a use of the entries.
    ///
    /// The clock is read once, under the guard; whatever was visible then is superseded later, if at
    /// all, so the guard keeps it, and nothing need be registered. Only if a registered view has had
    /// versions taken out between others can one be missing: then a registered view is opened.
    pub fn get_many<Q, T, const N: usize, const COUNTS: bool>(
        &self,
        keys: [&Q; N],
        clone: impl Fn(&V) -> T,
    ) -> [Option<T>; N]
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hashes = keys.map(|key| self.hash(key));
        let early = mutant("get_many.clock_first").then(|| self.order.clock.now());
        let guard = self.pin();
        for hash in hashes {
            self.index.prefetch(&guard, hash);
        }
        let candidates = hashes.map(|hash| {
            let candidate = self.index.candidate(&guard, hash);
            candidate.inspect(|record| record.prefetch_to_read())
        });
        let now = early.unwrap_or_else(|| self.order.clock.now());
        // SAFETY: the clock was read under the guard.
        let (floor, _) = unsafe { self.order.floor.at(&self.order.clock, Limit::Now(now)) };
        let moment = Moment::new(&self.timer);
        let mut found = [None; N];
        for (at, place) in found.iter_mut().enumerate() {
            let (key, limit) = (keys[at], Limit::Now(now));
            if let Some(record) = candidates[at]
                && key.equivalent(record.key())
                // SAFETY: found under the guard.
                && let Some((node, _)) = unsafe { self.order.settled_by(record, limit) }
            {
                // SAFETY: committed to a value; visible at an instant of the guard, which keeps it.
                *place = Some(unsafe { node.value() });
                continue;
            }
            // SAFETY: the clock was read under the guard.
            *place = match unsafe { self.visible(&guard, hashes[at], key, limit, floor) } {
                Found::Value(node, state) => {
                    match self.serves_now::<COUNTS>(node, state, limit, &moment) {
                        // SAFETY: committed to a value; visible at an instant of the guard, which keeps it.
                        Ok(serves) => serves.then(|| unsafe { node.value() }),
                        Err(TakenOut) => {
                            return self.get_many_again::<_, _, N, COUNTS>(keys, hashes, clone);
                        }
                    }
                }
                Found::Absent => None,
                Found::Unknown => {
                    return self.get_many_again::<_, _, N, COUNTS>(keys, hashes, clone);
                }
            };
        }
        if COUNTS {
            self.looked_for_many(&guard, &found);
        }
        found.map(|value| value.map(&clone))
    }

    /// What was visible of `key` at `limit`, when everything up to `floor` had been cleared.
    ///
    /// # Safety
    /// `limit` is what it says, under this guard.
    #[inline(always)]
    unsafe fn visible<'g, Q>(
        &self,
        guard: &'g R::Guard<'_>,
        hash: u32,
        key: &Q,
        limit: Limit,
        floor: u64,
    ) -> Found<'g, V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        match self.index.peek(guard, hash, |record| key.equivalent(record.key())) {
            Peek::Absent => return Found::Absent,
            Peek::Elsewhere => {}
            Peek::Found(record) => {
                // SAFETY: found under the guard, which lives for 'g.
                if let Some((node, state)) = unsafe { self.order.settled_by(record, limit) } {
                    return Found::Value(node, state);
                }
            }
        }
        // SAFETY: the caller's promise.
        unsafe { self.visible_anywhere(guard, hash, key, limit, floor) }
    }

    /// The same, whatever is in the way.
    #[inline(never)]
    unsafe fn visible_anywhere<'g, Q>(
        &self,
        guard: &'g R::Guard<'_>,
        hash: u32,
        key: &Q,
        limit: Limit,
        floor: u64,
    ) -> Found<'g, V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let Some(record) = self.find(guard, hash, key) else { return Found::Absent };
        // SAFETY: found under the guard; the caller's promise.
        unsafe { self.order.at(record, limit, floor) }
    }

    /// Whether a value that was visible is to be had. An error: that cannot be told as of that limit, or it is over by a
    /// time that was read after the number, as of which it may have been there.
    #[inline(never)]
    fn serves_now<const COUNTS: bool>(
        &self,
        node: &Node<V>,
        state: State,
        limit: Limit,
        moment: &Moment<'_>,
    ) -> Result<bool, TakenOut> {
        match self.serves(node, state, limit, COUNTS, moment) {
            Ok(false) if moment.is_read() && !mutant("get_many.clock_later") => Err(TakenOut),
            serves => serves,
        }
    }

    /// The same as [`get_many`](Self::get_many), as of a number and a time that belong together.
    #[cold]
    fn get_many_again<Q, T, const N: usize, const COUNTS: bool>(
        &self,
        keys: [&Q; N],
        hashes: [u32; N],
        clone: impl Fn(&V) -> T,
    ) -> [Option<T>; N]
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let guard = &self.pin();
        let (now, time) = self.order.instant();
        // SAFETY: the clock was read under the guard.
        let (floor, _) = unsafe { self.order.floor.at(&self.order.clock, Limit::Now(now)) };
        let (limit, moment) = (Limit::Now(now), Moment::at(&self.timer, time));
        let mut found = [None; N];
        for (at, place) in found.iter_mut().enumerate() {
            // SAFETY: as above.
            let visible =
                unsafe { self.visible_anywhere(guard, hashes[at], keys[at], limit, floor) };
            let serves = match visible {
                Found::Value(node, state) => self
                    .serves(node, state, limit, COUNTS, &moment)
                    // SAFETY: committed to a value; visible at an instant of the guard, which keeps it.
                    .map(|serves| serves.then(|| unsafe { node.value() })),
                Found::Absent => Ok(None),
                Found::Unknown => Err(TakenOut),
            };
            let Ok(value) = serves else {
                return self.get_many_registered::<_, _, N, COUNTS>(keys, hashes, clone);
            };
            *place = value;
        }
        if COUNTS {
            self.looked_for_many(guard, &found);
        }
        found.map(|value| value.map(&clone))
    }

    #[cold]
    fn get_many_registered<Q, T, const N: usize, const COUNTS: bool>(
        &self,
        keys: [&Q; N],
        hashes: [u32; N],
        clone: impl Fn(&V) -> T,
    ) -> [Option<T>; N]
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let view = Opened::new(self);
        let snapshot = view.snapshot();
        let guard = self.pin();
        let mut at = 0;
        let found = keys.map(|key| {
            let record = self.find(&guard, hashes[at], key);
            at += 1;
            Some(self.read_record(record?, snapshot)?.0)
        });
        if COUNTS {
            self.looked_for_many(&guard, &found);
        }
        found.map(|value| value.map(&clone))
    }

    /// What a view sees of `key`. The value lives as long as the view is registered.
    pub fn read<'v, Q>(&self, snapshot: &'v Snapshot, key: &Q) -> Option<(&'v V, Version)>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        self.ask_at_home(hash);
        let guard = self.pin();
        let limit = Limit::View(snapshot.version());
        // SAFETY: a registered view's version.
        self.shown(unsafe { self.visible(&guard, hash, key, limit, snapshot.floor) }, snapshot)
    }

    /// What a view shows of what is visible at its version.
    /// The caller's guard is live.
    fn shown<'v>(&self, found: Found<'_, V>, snapshot: &'v Snapshot) -> Option<(&'v V, Version)> {
        let Found::Value(node, state) = found else { return None };
        let moment = Moment::at(&self.timer, snapshot.opened());
        let limit = Limit::View(snapshot.version());
        let serves = self.serves(node, state, limit, false, &moment).expect("a view can tell");
        // SAFETY: committed to a value, and kept by the registration, which lives for 'v.
        serves.then(|| (unsafe { node.value() }, version_of(state)))
    }

    /// What a view sees of a record, which the caller found under a live guard.
    pub(super) fn read_record<'v>(
        &self,
        record: &Record<K, V>,
        snapshot: &'v Snapshot,
    ) -> Option<(&'v V, Version)> {
        let limit = Limit::View(snapshot.registered.version());
        // SAFETY: the caller's guard, and a registered view's version.
        self.shown(unsafe { self.order.at(record, limit, snapshot.floor) }, snapshot)
    }
}

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// Opens a view.
    pub fn open(&self) -> Snapshot {
        let guard = self.reclaim.pin();
        let registered = self.register(&guard);
        self.snapshot(&guard, registered)
    }

    /// Registers a view. Lock-free: again only if another was opened meanwhile, and a number taken.
    fn register(&self, guard: &R::Guard<'_>) -> Registered {
        loop {
            let place = self.views.place(guard);
            let retire = |place| self.retire_place(guard, place);
            let (clock, instant) = (&self.order.clock, || self.instant());
            // SAFETY: the guard is live, and the place is made for this.
            let registered = unsafe { self.views.open(clock, instant, place, retire) };
            if registered.is_timed() {
                return registered;
            }
            self.close_within(guard, registered);
        }
    }

    /// A number and a time that belong together; see [`Order::instant`].
    pub(super) fn instant(&self) -> (u64, u64) {
        let number = self.order.clock.now();
        // Nothing up to this number has a deadline, if that is so after it was read.
        let is_timeless = !self.deadlines.may_be();
        if is_timeless { (number, self.timer.now()) } else { self.order.instant() }
    }

    /// A view of exactly `version`, if an open one keeps it, or it is the newest.
    pub fn open_at(&self, version: u64) -> Option<Snapshot> {
        let guard = self.reclaim.pin();
        // SAFETY: the guard is live.
        let joined = unsafe { self.views.join(version, |place| self.retire_place(&guard, place)) };
        if let Some(registered) = joined {
            return Some(self.snapshot(&guard, registered));
        }
        if self.order.clock.now() != version {
            return None;
        }
        let registered = self.register(&guard);
        if registered.version() == version {
            return Some(self.snapshot(&guard, registered));
        }
        drop(guard);
        self.close(registered);
        None
    }

    /// Another holder of the same view.
    pub fn share(&self, snapshot: &Snapshot) -> Snapshot {
        Snapshot { registered: self.views.share(&snapshot.registered), ..*snapshot }
    }

    /// How long ago a view was opened.
    pub fn age(&self, snapshot: &Snapshot) -> Duration {
        Duration::from_nanos(self.timer.now().saturating_sub(snapshot.opened()))
    }

    fn snapshot(&self, _guard: &R::Guard<'_>, registered: Registered) -> Snapshot {
        let limit = Limit::View(registered.version());
        // SAFETY: a registered view's version. Any clearing commit that may be at or before it was
        // ready before its clock was read, so the answer is final.
        let (floor, _) = unsafe { self.order.floor.at(&self.order.clock, limit) };
        self.record(EventKind::ViewOpened, None, Some(registered.version()));
        Snapshot { registered, floor }
    }
}

/// A view that is closed also when a user's closure panics.
pub struct Opened<'e, K, V, S, R: Reclaim> {
    engine: &'e Engine<K, V, S, R>,
    snapshot: Option<Snapshot>,
}

impl<'e, K, V, S, R: Reclaim> Opened<'e, K, V, S, R> {
    pub fn new(engine: &'e Engine<K, V, S, R>) -> Self {
        Self { engine, snapshot: Some(engine.open()) }
    }

    pub fn snapshot(&self) -> &Snapshot {
        self.snapshot.as_ref().expect("taken only at its end")
    }

    /// Closes it in the middle of an operation.
    pub(super) fn close_within(mut self, guard: &R::Guard<'_>) {
        let snapshot = self.snapshot.take().expect("taken only at its end");
        self.engine.close_within(guard, snapshot.registered);
    }
}

impl<K, V, S, R: Reclaim> Drop for Opened<'_, K, V, S, R> {
    fn drop(&mut self) {
        if let Some(snapshot) = self.snapshot.take() {
            self.engine.close(snapshot.registered);
        }
    }
}
