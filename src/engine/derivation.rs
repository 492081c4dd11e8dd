//! One derivation: what it reads, and all that is derived within it.
//!
//! All of it is as of one view, and of what was derived so far, which counts as set already, though nobody else sees it
//! yet. So what is wanted on several ways is derived once; and what had ended since an input of it changed is there
//! again if that has come out equal. Everything is set at the end, by one commit. What is made from something that the
//! same commit sets is tied to it by the commit's own number (see [`Input`]).

use super::derive::Ties;
use super::hold::{Beside, Walk};
use super::keep::Moment;
use super::read::Snapshot;
use super::{Claim, Engine, Hold};
use crate::chain::{Bonds, Input, Inputs, Record};
use crate::commit::{Found, Limit};
use crate::reclaim::Reclaim;
use crate::sync::hook::{mutant, step};
use crate::version::{State, Version};
use equivalent::Equivalent;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hash};
use std::ptr;

/// A value that was derived, and is yet to be set.
pub(super) struct Made<V> {
    /// What is noted of it by those that are made from it. It is present, and its number that since which it has been
    /// equal, or 0: it is new. Its record is held.
    pub(super) as_input: Input,
    pub(super) value: V,
    /// It is set only if its key was not written after this version.
    pub(super) since: u64,
    /// It is in the place of one that had ended.
    pub(super) is_again: bool,
    /// What it was made from. The records are held.
    pub(super) inputs: Inputs,
    pub(super) is_nested: bool,
    pub(super) is_lost: bool,
}

/// Where a derivation is with a key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    UnderWay,
    /// With the place in the list.
    Made(usize),
}

/// What is known in a derivation.
pub(super) struct Memo<V> {
    /// The address of the record that it is of.
    pub(super) outermost: usize,
    /// By the addresses of records, which are held.
    pub(super) places: HashMap<usize, Place>,
    /// What a value is made from comes before it.
    pub(super) made: Vec<Made<V>>,
    /// The bonds of versions that the view keeps, and which hold by what it shows.
    hold: HashSet<usize>,
    /// And those which do not, unless something is made that goes by an old number.
    broken: HashSet<usize>,
}

impl<V> Memo<V> {
    fn find(&self, record: *const ()) -> Option<&Made<V>> {
        if self.made.is_empty() {
            return None; // And nothing is hashed.
        }
        match self.places.get(&record.addr())? {
            Place::Made(at) => Some(&self.made[*at]),
            Place::UnderWay => None,
        }
    }
}

impl<V> Beside for Memo<V> {
    fn made(&self, record: *const ()) -> Option<Input> {
        self.find(record).map(|made| made.as_input)
    }

    fn are_known(&self, bonds: &Bonds) -> bool {
        self.hold.contains(&ptr::from_ref(bonds).addr())
    }

    fn are_broken(&self, bonds: &Bonds) -> bool {
        self.broken.contains(&ptr::from_ref(bonds).addr())
    }
}

/// A derivation. What was made and not kept goes with it.
pub struct Derivation<'e, K, V, S, R: Reclaim> {
    engine: &'e Engine<K, V, S, R>,
    memo: Memo<V>,
}

impl<'e, K, V, S, R: Reclaim> Derivation<'e, K, V, S, R> {
    pub(super) fn new(engine: &'e Engine<K, V, S, R>, of: &Hold<K, V>) -> Self {
        let (places, made) = (HashMap::new(), Vec::new());
        let (hold, broken) = (HashSet::new(), HashSet::new());
        Self { engine, memo: Memo { outermost: of.address(), places, made, hold, broken } }
    }
}

impl<K, V, S, R: Reclaim> Drop for Derivation<'_, K, V, S, R> {
    fn drop(&mut self) {
        if self.memo.made.is_empty() {
            return;
        }
        let guard = self.engine.reclaim.pin();
        for made in &self.memo.made {
            self.engine.let_input_go(&guard, &made.as_input);
            made.inputs.iter().for_each(|input| self.engine.let_input_go(&guard, input));
        }
    }
}

/// What is read to derive one value.
pub struct Reading<'s, K, V, S, R: Reclaim> {
    engine: &'s Engine<K, V, S, R>,
    snapshot: &'s Snapshot,
    /// The address of the record that it is read for.
    of: usize,
    ties: Ties<'s, K, V, S, R>,
    memo: &'s mut Memo<V>,
}

impl<K, V, S, R: Reclaim> Drop for Reading<'_, K, V, S, R> {
    fn drop(&mut self) {
        if self.memo.places.get(&self.of) == Some(&Place::UnderWay) {
            self.memo.places.remove(&self.of);
        }
    }
}

impl<'s, K, V, S, R> Reading<'s, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    pub fn new(snapshot: &'s Snapshot, derivation: &'s mut Derivation<'_, K, V, S, R>) -> Self {
        let (engine, memo) = (derivation.engine, &mut derivation.memo);
        Self { engine, snapshot, of: memo.outermost, ties: Ties::new(engine), memo }
    }

    /// What is read for another key on behalf of this.
    pub fn inner(&mut self, of: &Hold<K, V>) -> Reading<'_, K, V, S, R> {
        let Self { engine, snapshot, ref mut memo, .. } = *self;
        memo.places.insert(of.address(), Place::UnderWay);
        Reading { engine, snapshot, of: of.address(), ties: Ties::new(engine), memo }
    }

    /// Whether the key is being derived already, by this or what this is on behalf of.
    pub fn is_circle(&self, hold: &Hold<K, V>) -> bool {
        hold.address() == self.memo.outermost
            || self.memo.places.get(&hold.address()) == Some(&Place::UnderWay)
    }

    /// What `key` holds.
    pub fn get<Q>(&mut self, key: &Q, own: impl FnOnce() -> K) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let engine = self.engine;
        let guard = engine.pin();
        self.read(&guard, engine.know(&guard, key, own))
    }

    /// A claim on a key that is to be derived on behalf of this.
    pub fn claim(&self, key: K) -> Claim<'s, K, V, S, R> {
        self.engine.claim_as_it_is(key)
    }

    /// What a key that is claimed holds. Only if it holds something, that was read.
    pub fn find(&mut self, hold: &Hold<K, V>) -> Option<V> {
        let engine = self.engine;
        let guard = engine.pin();
        let before = self.ties.inputs.len();
        let found = self.read(&guard, Engine::<K, V, S, R>::held(&guard, hold));
        if found.is_none() {
            self.ties.forget_from(before);
        }
        found
    }

    fn read(&mut self, guard: &R::Guard<'_>, record: &Record<K, V>) -> Option<V> {
        if let Some(made) = self.memo.find(ptr::from_ref(record).cast()) {
            let value = made.value.clone();
            self.ties.push(record, made.as_input.number(), true);
            self.ties.is_nested = true;
            self.ties.is_lost |= made.is_lost;
            return Some(value);
        }
        let limit = Limit::View(self.snapshot.version());
        // SAFETY: located, or held, under the guard; a registered view's version.
        let found = unsafe { self.engine.order.version_at(record, limit) };
        let Some((node, state)) = found.expect("a view can tell") else {
            self.ties.note(guard, record, None, false);
            return None;
        };
        let is_there = state.is_value() && state.version() > self.snapshot.floor;
        let is_present = is_there && {
            let moment = Moment::at(&self.engine.timer, self.snapshot.opened());
            // SAFETY: kept by the view.
            let (terms, bonds) = unsafe { (node.terms(), node.bonds()) };
            terms.is_none_or(|terms| self.engine.is_in_time(terms, false, &moment))
                && bonds.is_none_or(|bonds| self.hold((bonds, state.version()), &moment))
        };
        if is_present {
            self.engine.is_used(node, state);
        }
        self.ties.note(guard, record, Some((node, state)), is_present);
        // SAFETY: committed to a value, and kept by the view.
        is_present.then(|| unsafe { node.value() }.clone())
    }

    /// Whether the bonds of a version that the view keeps hold.
    fn hold(&mut self, bonds: (&Bonds, u64), moment: &Moment<'_>) -> bool {
        let is_nested = bonds.0.is_nested();
        if self.memo.are_known(bonds.0)
            || is_nested && self.engine.still_stand(bonds.0, self.snapshot.version())
        {
            return true;
        }
        if self.memo.are_broken(bonds.0) {
            return false;
        }
        let mut walk = Walk::default();
        let holds = self.engine.stands_beside(bonds, self.snapshot, moment, &*self.memo, &mut walk);
        // What holds as something is absent may be broken by what is made yet.
        let address = |bonds: &Bonds| ptr::from_ref(bonds).addr();
        if holds && is_nested && !walk.is_any_absent {
            self.memo.hold.extend(walk.all().chain([bonds.0]).map(address));
        }
        if !holds {
            self.memo.broken.extend(walk.broken.into_iter().map(address));
        }
        holds
    }

    /// Ends what was read on behalf of another reading: the value counts as set from now on.
    pub fn made(mut self, hold: &Hold<K, V>, value: V)
    where
        V: PartialEq,
    {
        self.make(hold, self.snapshot.version(), value);
    }

    fn make(&mut self, hold: &Hold<K, V>, since: u64, value: V)
    where
        V: PartialEq,
    {
        let guard = self.engine.pin();
        let record = Engine::<K, V, S, R>::held(&guard, hold);
        let ended = self.ended(&guard, record);
        let equal = ended.filter(|(old, _)| *old == &value).map(|(_, number)| number);
        if equal.is_some() {
            self.memo.broken.clear(); // What holds by that is there again.
        }
        record.hold(); // As the claim, which ends.
        let ties = &mut self.ties;
        self.memo.made.push(Made {
            as_input: Input::new(record, equal.unwrap_or(0), true),
            value,
            since,
            is_again: ended.is_some(),
            inputs: std::mem::take(&mut ties.inputs),
            is_nested: ties.is_nested,
            is_lost: ties.is_lost,
        });
        self.memo.places.insert(hold.address(), Place::Made(self.memo.made.len() - 1));
    }

    /// The derived value that the view keeps of a record, which has ended, and since when it was equal. What is over is as
    /// good as taken away.
    fn ended(&self, _guard: &R::Guard<'_>, record: &Record<K, V>) -> Option<(&'s V, u64)> {
        let limit = Limit::View(self.snapshot.version());
        // SAFETY: held, under the guard; a registered view's version.
        let found = unsafe { self.engine.order.version_at(record, limit) };
        let (node, state) = found.expect("a view can tell")?;
        if !state.is_value() || state.version() <= self.snapshot.floor {
            return None;
        }
        // SAFETY: committed to a value, and kept by the view.
        let (bonds, value) = unsafe { (node.bonds()?, &*ptr::from_ref(node.value())) };
        let time = Moment::new(&self.engine.timer).time();
        // SAFETY: as above.
        let is_over = unsafe { node.is_over(time) };
        (!is_over).then(|| (value, bonds.since(state.version())))
    }

    /// Whether a key that is claimed, and was not read, holds nothing that is to be had.
    fn is_free(&mut self, hold: &Hold<K, V>) -> bool {
        let engine = self.engine;
        let guard = engine.pin();
        let record = Engine::<K, V, S, R>::held(&guard, hold);
        let limit = Limit::View(self.snapshot.version());
        // SAFETY: held, under the guard; a registered view's version.
        let found = unsafe { engine.order.version_at(record, limit) };
        let Some((node, state)) = found.expect("a view can tell") else { return true };
        let moment = Moment::at(&engine.timer, self.snapshot.opened());
        // SAFETY: kept by the view.
        let bonds = unsafe { node.bonds() };
        !state.is_value()
            || state.version() <= self.snapshot.floor
            || bonds.is_some_and(|bonds| !self.hold((bonds, state.version()), &moment))
    }

    /// Sets the key that a lease is on to what was derived from this, and what was derived on the way: each if nobody wrote
    /// its key, or what was read for it, since. Else, or if somebody does later, it is not to be seen. The version if that
    /// of the former is.
    pub(super) fn keep(mut self, hold: &Hold<K, V>, value: &mut Option<V>) -> Option<Version>
    where
        V: PartialEq,
    {
        let engine = self.engine;
        if !self.memo.made.is_empty() {
            let was_free = self.is_free(hold);
            self.make(hold, hold.since, value.take()?);
            return engine.keep_made(self.memo, was_free.then(|| self.snapshot.version()));
        }
        let ties = std::mem::replace(&mut self.ties, Ties::new(engine));
        engine.fill_by([hold], |guard, [record]| {
            engine.keep_derived(guard, record, hold.since, value, ties)
        })
    }
}

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// The usual case: nothing else was derived on the way.
    fn keep_derived<'g, 'r>(
        &'r self,
        guard: &'g R::Guard<'r>,
        record: &'g Record<K, V>,
        since: u64,
        value: &mut Option<V>,
        mut ties: Ties<'_, K, V, S, R>,
    ) -> Option<Version>
    where
        V: PartialEq,
    {
        let moment = Moment::new(&self.timer);
        // SAFETY: held, under the guard.
        let before = unsafe { self.order.newest(record) };
        let ended = self.ended(guard, record, since, &moment);
        let new = value.as_ref()?;
        let equal = ended.filter(|(old, _)| *old == new).map(|(_, number)| number);
        let settings = self.in_force.whole();
        let mut asked = self.rules.asked(settings.times(), record.key(), new, None, &moment);
        self.inherit_tags(guard, record, since, &moment, &mut ties).ok()?;
        // From here on no user's code runs that could keep the bonds from their version.
        let mut bonds = ties.into_bonds(guard)?;
        if let Some(equal) = equal {
            bonds.carry(equal);
        }
        asked.get_or_insert_default().bonds = Some(bonds);
        step("derive.before_fill");
        let is_again = ended.is_some();
        let value = std::slice::from_mut(value);
        let outcome = self.fill_asked(guard, &settings, [record], since, value, [asked])?;
        self.counters.mine().recomputed.add(u64::from(is_again));
        if self.was_free(guard, &before, outcome.version(), &moment) {
            self.quiet.note(outcome.version());
        }
        self.seen(guard, record, outcome, &moment)
    }

    /// Whether what a commit of ours has superseded was not to be had just before it: nothing, or what had ended.
    fn was_free(
        &self,
        _guard: &R::Guard<'_>,
        before: &Found<'_, V>,
        version: u64,
        moment: &Moment<'_>,
    ) -> bool {
        let Found::Value(node, state) = before else { return matches!(before, Found::Absent) };
        // SAFETY: kept by the guard.
        let Some(bonds) = (unsafe { node.bonds() }) else { return false };
        let before = Limit::Now(version - 1);
        let stands = self.stands((bonds, state.version()), before, false, moment);
        stands.is_ok_and(|stands| !stands)
    }

    /// The version of a commit by which a record was set, if that is to be seen. As in `fill_records`.
    pub(super) fn seen(
        &self,
        guard: &R::Guard<'_>,
        record: &Record<K, V>,
        outcome: State,
        moment: &Moment<'_>,
    ) -> Option<Version> {
        step("derive.filled");
        let is_seen = self.is_newest(guard, record, outcome, moment);
        (is_seen || mutant("derive.unchecked")).then(|| Version::from_u64(outcome.version()))
    }

    /// The derived value that is newest, if that is no newer than `since`: it has ended. And since when it was equal. What
    /// is over is as good as taken away.
    fn ended<'g>(
        &self,
        _guard: &'g R::Guard<'_>,
        record: &'g Record<K, V>,
        since: u64,
        moment: &Moment<'_>,
    ) -> Option<(&'g V, u64)> {
        // SAFETY: held, under the guard.
        let Found::Value(node, state) = (unsafe { self.order.newest(record) }) else { return None };
        // SAFETY: committed to a value, and kept by the guard.
        let (bonds, value) = unsafe { (node.bonds()?, node.value()) };
        // SAFETY: as above.
        let is_over = || unsafe { node.is_over(moment.time()) };
        let has_ended = state.version() <= since && !is_over();
        has_ended.then(|| (value, bonds.since(state.version())))
    }
}
