//! Values that were made from others, and go with them.
//!
//! A derived version keeps the numbers of the versions that it was made from, its *inputs*, and holds their records.
//! Nobody tells it when one of them is superseded: whoever reads it compares. So a commit to an input ends all that
//! was derived from it in that same step, however much that is, and pays nothing for it; and a derived value that
//! was made from inputs which have changed meanwhile is committed, but never seen.
//!
//! An input that is derived itself goes by the number since which its value has been equal. If it is made anew and
//! comes out equal, it keeps that number, and what was derived from it is to be had again as it is (early cutoff, as
//! in incremental build systems: Mokhov, Mitchell, Peyton Jones, "Build systems à la carte", 2018).

use super::keep::Moment;
use super::read::Snapshot;
use super::{Claim, Engine, Hold};
use crate::chain::{Bonds, Derived, Input, Inputs, Node, Record, Terms};
use crate::commit::{Found, Limit};
use crate::reclaim::Reclaim;
use crate::sync::hook::{mutant, step};
use crate::version::{State, Version};
use equivalent::Equivalent;
use std::collections::HashSet;
use std::hash::{BuildHasher, Hash};
use std::ptr;

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// Makes a derived version, with the value that is taken out of `value`.
    pub(super) fn make_derived(
        &self,
        state: State,
        prev: *mut Node<V>,
        value: &mut Option<V>,
        terms: Terms,
        bonds: Bonds,
    ) -> *mut Node<V> {
        // SAFETY: the caller has a guard.
        let slot = unsafe { self.derived.take() }.cast::<Derived<V>>();
        // SAFETY: the slot was taken, for us alone.
        unsafe { Derived::init(slot.as_ptr(), state, prev, value, terms, bonds) };
        slot.cast().as_ptr()
    }

    /// What ties the newest version of a record that is leased, as of now, for one that is to be filled in its place:
    /// it depends on the same, and has the same tags. `None`: on nothing. An error: some of that was written, or a tag
    /// invalidated, after `since`.
    pub(super) fn ties_since(
        &self,
        guard: &R::Guard<'_>,
        record: &Record<K, V>,
        since: u64,
    ) -> Result<Option<Box<Bonds>>, ()> {
        // SAFETY: held, under the guard.
        let Found::Value(node, _) = (unsafe { self.order.newest(record) }) else { return Ok(None) };
        // SAFETY: kept by the guard.
        let Some(bonds) = (unsafe { node.bonds() }) else { return Ok(None) };
        if !self.is_older(bonds, since) {
            return Err(());
        }
        let (mut ties, moment) = (Ties::new(self), Moment::new(&self.timer));
        // SAFETY: kept by the guard.
        if unsafe { node.is_over(moment.time()) } {
            return Ok(None); // It may be taken away at any time, and with it what it was tied to.
        }
        for input in bonds.inputs() {
            // SAFETY: held by the version, which the guard keeps.
            let record = unsafe { &*input.record::<Record<K, V>>() };
            // SAFETY: as above. Whatever is written after this look ends what is filled.
            let newest = unsafe { self.order.version_at(record, Limit::Newest) }.ok().flatten();
            let is_present = self.present(guard, record, false, &moment).is_some();
            ties.note(guard, record, newest, is_present);
        }
        ties.tags_of(bonds, |_| since);
        ties.into_bonds(guard).map(Some).ok_or(())
    }

    /// Whether something of what ties the newest version of a record that is held was changed after `since`.
    pub(super) fn has_changed(
        &self,
        _guard: &R::Guard<'_>,
        record: &Record<K, V>,
        since: u64,
    ) -> bool {
        // SAFETY: held, under the guard.
        let Found::Value(node, _) = (unsafe { self.order.newest(record) }) else { return false };
        // SAFETY: kept by the guard.
        unsafe { node.bonds() }.is_some_and(|bonds| !self.is_older(bonds, since))
    }

    /// Whether nothing that a value was derived from, on whatever way, was written, and none of their tags invalidated, after
    /// `since`.
    fn is_older(&self, first: &Bonds, since: u64) -> bool {
        let (mut todo, mut known) = (vec![first], HashSet::new());
        while let Some(bonds) = todo.pop() {
            if !self.are_untouched(bonds.tags(), since) {
                return false;
            }
            for input in bonds.inputs() {
                // SAFETY: held by the version that the bonds are of, which the caller's guard keeps.
                let record = unsafe { &*input.record::<Record<K, V>>() };
                // SAFETY: as above.
                let newest = unsafe { self.order.version_at(record, Limit::Newest) };
                let Ok(Some((node, state))) = newest else { continue };
                if state.version() > since {
                    return false;
                }
                // SAFETY: kept by the guard.
                let more = unsafe { node.bonds() };
                todo.extend(more.filter(|more| known.insert(ptr::from_ref(*more))));
            }
        }
        true
    }

    /// Lets go of what a version is tied to.
    ///
    /// # Safety
    /// Nobody else has access to the version, and this is done once.
    pub(super) unsafe fn untie(&self, node: &Node<V>) {
        // SAFETY: the caller's promise.
        if let Some(bonds) = unsafe { node.take_bonds() } {
            self.let_bonds_go(&self.reclaim.pin(), &bonds);
        }
    }

    /// Lets go of what these have held. Called once.
    pub(super) fn let_bonds_go(&self, guard: &R::Guard<'_>, bonds: &Bonds) {
        for input in bonds.inputs() {
            self.let_input_go(guard, input);
        }
        self.let_tags_go(guard, bonds.tags());
    }

    fn let_input_go(&self, guard: &R::Guard<'_>, input: &Input) {
        // SAFETY: held until now, and kept by our guard from now on.
        let record = unsafe { &*input.record::<Record<K, V>>() };
        record.let_go();
        self.condemn_or_leave(guard, record);
    }
}

/// For whom something is read, and on whose behalf that is made.
struct Reader<'s> {
    /// The address of its record.
    record: usize,
    outer: Option<&'s Reader<'s>>,
}

/// Inputs and tags, of which this holds the records and cells until a version does.
pub(super) struct Ties<'e, K, V, S, R: Reclaim> {
    engine: &'e Engine<K, V, S, R>,
    inputs: Inputs,
    pub(super) tags: Inputs,
    /// Some of them are derived themselves.
    is_nested: bool,
    /// What was read cannot be named: the value is not kept.
    is_lost: bool,
}

impl<K, V, S, R: Reclaim> Drop for Ties<'_, K, V, S, R> {
    fn drop(&mut self) {
        self.forget_from(0);
        self.engine.let_tags_go(&self.engine.reclaim.pin(), &self.tags);
        self.engine.collect_some();
    }
}

impl<'e, K, V, S, R: Reclaim> Ties<'e, K, V, S, R> {
    pub(super) fn new(engine: &'e Engine<K, V, S, R>) -> Self {
        let (inputs, tags) = (Inputs::new(), Inputs::new());
        Self { engine, inputs, tags, is_nested: false, is_lost: false }
    }

    /// The same as another version is tied to, whose guard is the caller's; `own` is its number.
    pub(super) fn same_as(&mut self, bonds: &Bonds, own: u64) {
        for input in bonds.inputs() {
            // SAFETY: held by the version, which the guard keeps.
            let record = unsafe { &*input.record::<Record<K, V>>() };
            self.push(record, input.number(), input.is_present());
        }
        self.is_nested |= bonds.is_nested();
        self.tags_of(bonds, |tag| tag.tagged_since(own));
    }

    /// Notes what a record held that was located, or is held, under the guard.
    fn note(
        &mut self,
        _guard: &R::Guard<'_>,
        record: &Record<K, V>,
        held: Option<(&Node<V>, State)>,
        is_present: bool,
    ) {
        // SAFETY: callers keep what they say it held.
        let bonds = held.and_then(|(node, _)| unsafe { node.bonds() });
        self.is_nested |= bonds.is_some();
        let own = held.map_or(0, |(_, state)| state.version());
        self.push(record, bonds.map_or(own, |bonds| bonds.since(own)), is_present);
    }

    /// The same, by the number that it goes by. Whether it is held, of which there is a bound.
    fn push(&mut self, record: &Record<K, V>, number: u64, is_present: bool) -> bool {
        let is_held = record.try_hold();
        if is_held {
            self.inputs.push(Input::new(record, number, is_present));
        }
        self.is_lost |= !is_held;
        is_held
    }

    /// Forgets all but the first so many.
    fn forget_from(&mut self, first: usize) {
        let guard = self.engine.reclaim.pin();
        for input in self.inputs.drain(first..) {
            self.engine.let_input_go(&guard, &input);
        }
    }

    /// For the version that is made from them. It holds the records from now on.
    pub(super) fn into_bonds(mut self, guard: &R::Guard<'_>) -> Option<Box<Bonds>> {
        if self.is_lost {
            return None;
        }
        let mut inputs = std::mem::take(&mut self.inputs);
        inputs.sort_unstable_by_key(|input| input.record::<()>());
        inputs.dedup_by(|again, input| {
            let same = again == input; // all are as of one view
            if same {
                self.engine.let_input_go(guard, again);
            }
            same
        });
        let tags = std::mem::take(&mut self.tags);
        Some(Box::new(Bonds::new(inputs, tags, self.is_nested)))
    }
}

/// What is read to derive a value, as of one view.
pub struct Reading<'s, K, V, S, R: Reclaim> {
    engine: &'s Engine<K, V, S, R>,
    snapshot: &'s Snapshot,
    reader: Reader<'s>,
    ties: Ties<'s, K, V, S, R>,
    /// What was derived on the way: it is newer than the view, but made from what that shows. With the addresses of the
    /// records, which the ties hold.
    made: Vec<(usize, V)>,
}

impl<'s, K, V, S, R> Reading<'s, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    pub(super) fn new(
        engine: &'s Engine<K, V, S, R>,
        snapshot: &'s Snapshot,
        of: &Hold<K, V>,
    ) -> Self {
        let reader = Reader { record: of.address(), outer: None };
        Self { engine, snapshot, reader, ties: Ties::new(engine), made: Vec::new() }
    }

    /// The same view, read on behalf of this.
    pub fn inner(&self, of: &Hold<K, V>) -> Reading<'_, K, V, S, R> {
        let mut inner = Reading::new(self.engine, self.snapshot, of);
        inner.reader.outer = Some(&self.reader);
        inner
    }

    /// Whether the key is being derived already, by this or on its behalf.
    pub fn is_circle(&self, hold: &Hold<K, V>) -> bool {
        let mut reader = Some(&self.reader);
        while let Some(one) = reader {
            if one.record == hold.address() {
                return true;
            }
            reader = one.outer;
        }
        false
    }

    /// What `key` holds as of the view.
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

    /// What a key that is claimed holds as of the view. Only if it holds something, that was read.
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
        if let Some((_, value)) =
            self.made.iter().find(|(made, _)| *made == ptr::from_ref(record).addr())
        {
            return Some(value.clone());
        }
        let engine = self.engine;
        let limit = Limit::View(self.snapshot.version());
        // SAFETY: located under the guard; a registered view's version.
        let found = unsafe { engine.order.version_at(record, limit) }.expect("a view can tell");
        let Some((node, state)) = found else {
            self.ties.note(guard, record, None, false);
            return None;
        };
        let moment = Moment::at(&engine.timer, self.snapshot.opened);
        let serves = || engine.serves(node, state, limit, false, &moment).expect("as above");
        let is_present = state.is_value() && state.version() > self.snapshot.floor && serves();
        self.ties.note(guard, record, found, is_present);
        // SAFETY: committed to a value, and kept by the view.
        is_present.then(|| unsafe { node.value() }.clone())
    }

    /// Notes what was derived on the way: since `number`, if it is kept. Its record is held in any case: else another key's
    /// could take its place.
    pub fn made(&mut self, hold: &Hold<K, V>, (value, number): (V, Option<u64>)) -> V {
        let guard = self.engine.pin();
        let record = Engine::<K, V, S, R>::held(&guard, hold);
        let is_held = self.ties.push(record, number.unwrap_or(0), true);
        self.ties.is_lost |= number.is_none();
        self.ties.is_nested = true;
        if is_held {
            self.made.push((hold.address(), value.clone()));
        }
        value
    }

    /// The same as [`keep`](Self::keep), for what was made on behalf of another reading: since which version the value
    /// has been equal, if it is kept.
    pub fn keep_inner(self, hold: &Hold<K, V>, value: V) -> (V, Option<u64>)
    where
        V: PartialEq,
    {
        let since = self.snapshot.version();
        let kept = self.keep(hold, since, &mut Some(value.clone()));
        (value, kept.map(|derived| derived.since))
    }

    /// Sets the key that a lease is on to what was derived from this, if nobody wrote the key or what was read since.
    /// Else, or if somebody does later, it is not to be seen.
    pub(super) fn keep(
        self,
        hold: &Hold<K, V>,
        since: u64,
        value: &mut Option<V>,
    ) -> Option<Derivation>
    where
        V: PartialEq,
    {
        let engine = self.engine;
        engine.fill_by([hold], |guard, [record]| {
            engine.keep_derived(guard, record, since, value, self)
        })
    }
}

/// A derived value that was committed, and to be had then.
pub(super) struct Derivation {
    pub version: Version,
    /// Since which version the value has been equal.
    since: u64,
}

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    fn keep_derived<'g, 'r>(
        &'r self,
        guard: &'g R::Guard<'r>,
        record: &'g Record<K, V>,
        since: u64,
        value: &mut Option<V>,
        reading: Reading<'_, K, V, S, R>,
    ) -> Option<Derivation>
    where
        V: PartialEq,
    {
        let moment = Moment::new(&self.timer);
        let ended = self.ended(guard, record, since, &moment);
        let new = value.as_ref()?;
        let equal = ended.filter(|(old, _)| *old == new).map(|(_, number)| number);
        let settings = self.in_force.whole();
        let mut asked = self.rules.asked(settings.times(), record.key(), new, None, &moment);
        let mut ties = reading.ties;
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
        step("derive.filled");
        // As in `fill_records`.
        let is_seen = self.is_newest(guard, record, outcome, &moment);
        (is_seen || mutant("derive.unchecked")).then(|| Derivation {
            version: Version::from_u64(outcome.version()),
            since: equal.unwrap_or(outcome.version()),
        })
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
