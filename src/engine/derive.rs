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
//!
//! What one reads is to have been so at one instant. Of a value with plain inputs that is the instant at which it was
//! found: inputs do not come back once they were superseded, so if they stand later, they stood then. Of
//! nested ones it is an instant that is fixed before: a derived input may come back.

use super::keep::{Moment, Offer};
use super::read::{Opened, Snapshot};
use super::{Claim, Engine, Hold};
use crate::chain::{Bonds, Derived, Input, Inputs, Node, Record, Terms};
use crate::commit::{Found, Limit, TakenOut};
use crate::reclaim::Reclaim;
use crate::removal::RemovalCause;
use crate::sync::hook::{mutant, step};
use crate::version::{State, Version};
use equivalent::Equivalent;
use std::collections::HashSet;
use std::hash::{BuildHasher, Hash};
use std::ptr;

/// How many times "derived from the absence of what is derived" is followed.
const ABSENCES: usize = 32;

/// What comes of a look at one input.
enum Look<'g> {
    Broken,
    Holds,
    /// As long as these do.
    HoldsWith(&'g Bonds),
}

/// As of when it is looked, and how.
#[derive(Clone, Copy)]
struct Glance<'m, 't> {
    as_of: Limit,
    /// Up to which version everything was cleared then.
    floor: u64,
    counts: bool,
    moment: &'m Moment<'t>,
    /// How many absences are yet to be followed.
    absences: usize,
}

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// What a record holds, if that is to be had. A look-up that `counts` is a use of it.
    pub(super) fn present<'g>(
        &self,
        guard: &'g R::Guard<'_>,
        record: &'g Record<K, V>,
        counts: bool,
        moment: &Moment<'_>,
    ) -> Option<(&'g Node<V>, State)> {
        // SAFETY: callers located it, or hold it, under the guard.
        match unsafe { self.order.newest(record) } {
            Found::Value(node, state) => self.serving(guard, record, (node, state), counts, moment),
            _ => None,
        }
    }

    /// What was found newest in a record, if it is to be had.
    #[inline]
    pub(super) fn serving<'g>(
        &self,
        guard: &'g R::Guard<'_>,
        record: &'g Record<K, V>,
        (node, state): (&'g Node<V>, State),
        counts: bool,
        moment: &Moment<'_>,
    ) -> Option<(&'g Node<V>, State)> {
        // SAFETY: kept by the guard.
        if state.has_terms() && unsafe { node.bonds() }.is_some_and(Bonds::is_nested) {
            return self.nested(guard, record, counts, moment);
        }
        let serves = self.serves(node, state, Limit::Newest, counts, moment);
        serves.is_ok_and(|serves| serves).then_some((node, state))
    }

    /// Whether a version is derived from what is plain, has no deadline, and is to be had: most look-ups of derived
    /// values end here. False says nothing.
    ///
    /// # Safety
    /// It was found on top of a record under a guard that is live, when nothing had been cleared.
    #[inline]
    pub(super) unsafe fn stands_plainly(&self, node: &Node<V>, state: State) -> bool {
        // SAFETY: the caller's promise; tied, it has terms. Inputs are held by the version, and that by the guard.
        unsafe {
            let bonds = if state.is_tied() { node.plain_bonds() } else { None };
            bonds.is_some_and(|bonds| {
                bonds.inputs().iter().all(|input| {
                    let top = (*input.record::<Record<K, V>>()).top();
                    top.is_some_and(|top| input.was(top.as_ref().state()))
                })
            })
        }
    }

    /// What a record holds at one instant, if it is to be had then.
    #[inline(never)]
    fn nested<'g>(
        &self,
        _guard: &'g R::Guard<'_>,
        record: &'g Record<K, V>,
        counts: bool,
        moment: &Moment<'_>,
    ) -> Option<(&'g Node<V>, State)> {
        let try_at = |limit: Limit| -> Result<Option<(&'g Node<V>, State)>, TakenOut> {
            // SAFETY: the clock was read, or the view is registered, under the guard.
            let found = unsafe { self.order.at(record, limit, self.order.floor_at(limit)) };
            match found {
                Found::Value(node, state) => {
                    step("derive.found");
                    let serves = self.serves(node, state, limit, counts, moment)?;
                    Ok(serves.then_some((node, state)))
                }
                Found::Absent => Ok(None),
                Found::Unknown => Err(TakenOut),
            }
        };
        if mutant("derive.nested_now") {
            return try_at(Limit::Newest).ok().flatten();
        }
        try_at(Limit::Now(self.order.clock.now())).unwrap_or_else(|TakenOut| {
            let view = Opened::new(self);
            // What is found was visible under the guard, so that keeps it when the view is closed.
            try_at(Limit::View(view.snapshot().version())).expect("a view can tell")
        })
    }

    /// Whether all that a value was derived from is as it was, then. Takes time in proportion to what there is of it.
    pub(super) fn stands(
        &self,
        bonds: &Bonds,
        as_of: Limit,
        counts: bool,
        moment: &Moment<'_>,
    ) -> Result<bool, TakenOut> {
        // SAFETY: callers have a guard, under which the limit is what it says.
        let floor = unsafe { self.order.floor_at(as_of) };
        self.all_stand(bonds, Glance { as_of, floor, counts, moment, absences: ABSENCES })
    }

    fn all_stand(&self, first: &Bonds, glance: Glance<'_, '_>) -> Result<bool, TakenOut> {
        let (mut todo, mut known) = (Vec::new(), HashSet::new());
        let mut bonds = first;
        loop {
            for input in bonds.inputs() {
                match self.look(input, glance)? {
                    Look::Broken => return Ok(false),
                    Look::Holds => {}
                    // Each once, by whatever ways one comes to it.
                    Look::HoldsWith(more) if known.insert(ptr::from_ref(more)) => todo.push(more),
                    Look::HoldsWith(_) => {}
                }
            }
            let Some(next) = todo.pop() else { return Ok(true) };
            bonds = next;
        }
    }

    #[inline]
    fn look<'b>(&'b self, input: &'b Input, glance: Glance<'_, '_>) -> Result<Look<'b>, TakenOut> {
        // SAFETY: it is held by the version that the bonds are of, which the caller's guard or view keeps.
        let record = unsafe { &*input.record::<Record<K, V>>() };
        // SAFETY: as above; and the limit is what it says.
        let Some((node, state)) = (unsafe { self.order.version_at(record, glance.as_of) })? else {
            return Ok(if input.number() == 0 { Look::Holds } else { Look::Broken });
        };
        if state.is_plain() && state.version() > glance.floor {
            return Ok(if input.was(state) { Look::Holds } else { Look::Broken });
        }
        self.look_closer(input, node, state, glance)
    }

    #[inline(never)]
    fn look_closer<'b>(
        &'b self,
        input: &'b Input,
        node: &'b Node<V>,
        state: State,
        glance: Glance<'_, '_>,
    ) -> Result<Look<'b>, TakenOut> {
        // SAFETY: kept by the caller's guard or view.
        let (terms, bonds) = unsafe { (node.terms(), node.bonds()) };
        let number = bonds.map_or(state.version(), |bonds| bonds.since(state.version()));
        if number != input.number() {
            return Ok(Look::Broken);
        }
        let is_in_time = |terms: &Terms| self.is_in_time(terms, glance.counts, glance.moment);
        let is_visible =
            state.is_value() && state.version() > glance.floor && terms.is_none_or(is_in_time);
        if !input.is_present() {
            // As it was if it is still absent: cleared, over, or derived from what has changed.
            let is_back = is_visible && self.is_back(bonds, glance)?;
            return Ok(if is_back { Look::Broken } else { Look::Holds });
        }
        if is_visible && glance.counts && state.hits_left() > 0 {
            node.set_hits_left(state, state.hits_left() - 1);
        }
        Ok(match bonds {
            _ if !is_visible => Look::Broken,
            Some(bonds) => Look::HoldsWith(bonds),
            None => Look::Holds,
        })
    }

    /// Whether what was absent only since its inputs had changed is there again.
    fn is_back(&self, bonds: Option<&Bonds>, glance: Glance<'_, '_>) -> Result<bool, TakenOut> {
        match (bonds, glance.absences.checked_sub(1)) {
            (Some(bonds), Some(absences)) => self.all_stand(bonds, Glance { absences, ..glance }),
            _ => Ok(true), // who asks is then absent himself, which is always allowed
        }
    }

    /// Why a value that the commit `version` took away was absent already; `None`: it was not.
    pub(super) fn absence(
        &self,
        was: &Node<V>,
        version: u64,
        moment: &Moment<'_>,
    ) -> Option<RemovalCause> {
        if !was.state().has_terms() {
            return None;
        }
        // SAFETY: kept by the caller's guard.
        let (terms, bonds) = unsafe { (was.terms()?, was.bonds()) };
        if !self.is_in_time(terms, false, moment) {
            return Some(RemovalCause::Expired);
        }
        let before = Limit::Now(version - 1);
        let stands = self.stands(bonds?, before, false, moment).unwrap_or(true);
        (!stands).then_some(RemovalCause::Related)
    }

    /// Ends a value that was found absent, unless it was superseded.
    pub(super) fn end_absent(
        &self,
        guard: &R::Guard<'_>,
        record: &Record<K, V>,
        current: &Node<V>,
        moment: &Moment<'_>,
    ) -> bool {
        let cause = self.absence(current, self.order.clock.now() + 1, moment);
        let ended = self.end(guard, record, current, cause.unwrap_or(RemovalCause::Expired));
        ended.map(|ended| ended.weigh()).is_some()
    }

    /// Makes a derived version.
    pub(super) fn make_derived(
        &self,
        state: State,
        prev: *mut Node<V>,
        value: V,
        terms: Terms,
        bonds: Bonds,
    ) -> *mut Node<V> {
        // SAFETY: the caller has a guard.
        let slot = unsafe { self.derived.take() }.cast::<Derived<V>>();
        // SAFETY: the slot was taken, for us alone.
        unsafe { slot.write(Derived::new(state, prev, value, terms, bonds)) };
        slot.cast().as_ptr()
    }

    /// Lets go of what a version was derived from.
    ///
    /// # Safety
    /// Nobody else has access to the version, and this is done once.
    pub(super) unsafe fn untie(&self, node: &Node<V>) {
        // SAFETY: the caller's promise.
        let Some(bonds) = (unsafe { node.take_bonds() }) else { return };
        let guard = self.reclaim.pin();
        for input in bonds.inputs() {
            self.let_input_go(&guard, input);
        }
    }

    fn let_input_go(&self, guard: &R::Guard<'_>, input: &Input) {
        // SAFETY: held until now, and kept by our guard from now on.
        let record = unsafe { &*input.record::<Record<K, V>>() };
        record.let_go();
        self.try_condemn(guard, record);
    }
}

/// For whom something is read, and on whose behalf that is made.
struct Reader<'s, K, V> {
    record: *const Record<K, V>,
    outer: Option<&'s Reader<'s, K, V>>,
}

/// What is read to derive a value, as of one view; the records are held.
pub struct Reading<'s, K, V, S, R: Reclaim> {
    engine: &'s Engine<K, V, S, R>,
    snapshot: &'s Snapshot,
    reader: Reader<'s, K, V>,
    inputs: Inputs,
    /// What was derived on the way: it is newer than the view, but made from what that shows.
    made: Vec<(*const Record<K, V>, V)>,
    is_nested: bool,
    /// What was read cannot be named: the value is not kept.
    is_lost: bool,
}

impl<K, V, S, R: Reclaim> Drop for Reading<'_, K, V, S, R> {
    fn drop(&mut self) {
        let guard = self.engine.reclaim.pin();
        for input in &self.inputs {
            self.engine.let_input_go(&guard, input);
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
    pub(super) fn new(
        engine: &'s Engine<K, V, S, R>,
        snapshot: &'s Snapshot,
        record: *const Record<K, V>,
    ) -> Self {
        let reader = Reader { record, outer: None };
        let (inputs, made) = (Inputs::new(), Vec::new());
        Self { engine, snapshot, reader, inputs, made, is_nested: false, is_lost: false }
    }

    /// The same view, read on behalf of this.
    pub fn inner(&self, of: &Hold<K, V>) -> Reading<'_, K, V, S, R> {
        let mut inner = Reading::new(self.engine, self.snapshot, of.record());
        inner.reader.outer = Some(&self.reader);
        inner
    }

    /// Whether the key is being derived already, by this or on its behalf.
    pub fn is_circle(&self, hold: &Hold<K, V>) -> bool {
        let mut reader = Some(&self.reader);
        while let Some(one) = reader {
            if ptr::eq(one.record, hold.record()) {
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
        let hash = engine.hash(key);
        let known = engine.find(&guard, hash, key).filter(|record| record.revive());
        let record = known.unwrap_or_else(|| engine.locate(&guard, hash, own(), None).0);
        self.read(&guard, record)
    }

    /// A claim on a key that is to be derived on behalf of this.
    pub fn claim(&self, key: K) -> Claim<'s, K, V, S, R> {
        self.engine.claim(key)
    }

    /// What a key that is claimed holds as of the view. Only if it holds something, that was read.
    pub fn find(&mut self, hold: &Hold<K, V>) -> Option<V> {
        let engine = self.engine;
        let guard = engine.pin();
        let before = self.inputs.len();
        let found = self.read(&guard, Engine::<K, V, S, R>::held(&guard, hold));
        if found.is_none() {
            for input in self.inputs.drain(before..) {
                engine.let_input_go(&guard, &input);
            }
        }
        found
    }

    fn read(&mut self, guard: &R::Guard<'_>, record: &Record<K, V>) -> Option<V> {
        if let Some((_, value)) = self.made.iter().find(|(made, _)| ptr::eq(*made, record)) {
            return Some(value.clone());
        }
        let engine = self.engine;
        let limit = Limit::View(self.snapshot.version());
        // SAFETY: located under the guard; a registered view's version.
        let found = unsafe { engine.order.version_at(record, limit) }.expect("a view can tell");
        let Some((node, state)) = found else {
            self.note(guard, record, 0, false);
            return None;
        };
        let moment = Moment::at(&engine.timer, self.snapshot.opened);
        let serves = || engine.serves(node, state, limit, false, &moment).expect("as above");
        let is_present = state.is_value() && state.version() > self.snapshot.floor && serves();
        // SAFETY: kept by the view.
        let bonds = unsafe { node.bonds() };
        self.is_nested |= bonds.is_some();
        let number = bonds.map_or(state.version(), |bonds| bonds.since(state.version()));
        self.note(guard, record, number, is_present);
        // SAFETY: committed to a value, and kept by the view.
        is_present.then(|| unsafe { node.value() }.clone())
    }

    fn note(
        &mut self,
        _guard: &R::Guard<'_>,
        record: &Record<K, V>,
        number: u64,
        is_present: bool,
    ) {
        if record.try_hold() {
            self.inputs.push(Input::new(record, number, is_present));
        } else {
            self.is_lost = true;
        }
    }

    /// Notes what was derived on the way: since `number`, if it is kept.
    pub fn made(&mut self, hold: &Hold<K, V>, number: Option<u64>, value: V) {
        let guard = self.engine.pin();
        let record = Engine::<K, V, S, R>::held(&guard, hold);
        match number {
            Some(number) => self.note(&guard, record, number, true),
            None => self.is_lost = true,
        }
        self.is_nested = true;
        self.made.push((record, value));
    }

    /// The same as [`keep`](Self::keep), for what was made on behalf of another reading: since which version the value
    /// has been equal, if it is kept.
    pub fn keep_inner(self, hold: &Hold<K, V>, value: V) -> Option<u64>
    where
        V: PartialEq,
    {
        let since = self.snapshot.version();
        self.keep(hold, since, value).map(|derived| derived.since)
    }

    /// Sets the key that a lease is on to what was derived from this, if nobody wrote the key or what was read since.
    /// Else, or if somebody does later, it is not to be seen.
    pub(super) fn keep(self, hold: &Hold<K, V>, since: u64, value: V) -> Option<Derivation>
    where
        V: PartialEq,
    {
        let engine = self.engine;
        let kept = {
            let guard = engine.pin();
            let record = Engine::<K, V, S, R>::held(&guard, hold);
            let revived = record.revive();
            debug_assert!(revived, "a record that is held is not sealed");
            let kept = engine.keep_derived(&guard, record, since, value, self);
            match kept {
                Some(_) => engine.counters.mine().loads.add(1),
                None => engine.refused(record.hash()),
            }
            kept
        };
        engine.tend();
        kept
    }

    /// What was read, for the version that is made from it. It holds the records from now on.
    fn into_bonds(mut self, guard: &R::Guard<'_>) -> Option<Bonds> {
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
        inputs.shrink_to_fit();
        Some(Bonds::new(inputs, self.is_nested))
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
        value: V,
        reading: Reading<'_, K, V, S, R>,
    ) -> Option<Derivation>
    where
        V: PartialEq,
    {
        let moment = Moment::new(&self.timer);
        let ended = self.ended(guard, record, since);
        let equal = ended.filter(|(old, _)| *old == &value).map(|(_, number)| number);
        let mut offer: Offer<V> = self.rules.derived(record.key(), value, &moment);
        // From here on no user's code runs that could keep the bonds from their version.
        let bonds = reading.into_bonds(guard)?;
        let bonds = if let Some(equal) = equal { bonds.carrying(equal) } else { bonds };
        offer.asked.as_mut().expect("a derived value has terms").bonds = Some(Box::new(bonds));
        step("derive.before_fill");
        let is_again = ended.is_some();
        let outcome = self.fill_offer(guard, record, since, offer).ok()?;
        self.counters.mine().recomputed.add(u64::from(is_again));
        step("derive.filled");
        // If it is to be had now, then since its commit: whoever came before that may have it.
        let present = self.present(guard, record, false, &moment);
        let is_seen = present.is_some_and(|(_, state)| state.version() == outcome.version());
        (is_seen || mutant("derive.unchecked")).then(|| Derivation {
            version: Version::from_u64(outcome.version()),
            since: equal.unwrap_or(outcome.version()),
        })
    }

    /// The derived value that is newest, if that is no newer than `since`: it has ended. And since when it was equal.
    fn ended<'g>(
        &self,
        _guard: &'g R::Guard<'_>,
        record: &'g Record<K, V>,
        since: u64,
    ) -> Option<(&'g V, u64)> {
        // SAFETY: held, under the guard.
        let Found::Value(node, state) = (unsafe { self.order.newest(record) }) else { return None };
        // SAFETY: committed to a value, and kept by the guard.
        let (bonds, value) = unsafe { (node.bonds()?, node.value()) };
        (state.version() <= since).then(|| (value, bonds.since(state.version())))
    }
}
