//! One derivation: what it reads, and all that is derived within it.
//!
//! All of it is as of one view, and of what was derived so far, which counts as set already, though nobody else sees it
//! yet. So what is wanted on several ways is derived once; and what had ended since an input of it changed is there
//! again if that has come out equal. Everything is set at the end, by one commit. What is made from something that the
//! same commit sets is tied to it by the commit's own number (see [`Dependency`]).

use super::observers::Observers;
use super::{Claim, Engine, Hold};
use crate::chain::{Bonds, Dependencies, Dependency, RecordRef, Visible};
use crate::commit::ReadAt;
use crate::config::ConfigSnapshot;
use crate::dependencies::{BondsBuilder, DependencyWalk, Moment, WalkOverlay};
use crate::reclaim::Reclaim;
use crate::store::{Commit, Snapshot};
use crate::sync::hook::{mutant, step};
use crate::version::Version;
use equivalent::Equivalent;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hash};
use std::ptr;

/// What ties a value that is derived in the engine.
pub(super) type EngineTies<'e, K, V, S, R> = BondsBuilder<'e, K, V, S, R, Observers<K, V>>;

/// A value that was derived, and is yet to be set.
pub(super) struct Made<V> {
    /// What is noted of it by those that are made from it. It is present, and its number that since which it has been
    /// equal, or 0: it is new. Its record is held.
    pub(super) as_input: Dependency,
    pub(super) value: V,
    /// It is set only if its key was not written after this version.
    pub(super) since: u64,
    /// It is in the place of one that had ended.
    pub(super) is_again: bool,
    /// What it was made from. The records are held.
    pub(super) inputs: Dependencies,
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

impl<V> WalkOverlay for Memo<V> {
    fn pending(&self, record: *const ()) -> Option<Dependency> {
        self.find(record).map(|made| made.as_input)
    }

    fn is_known_to_hold(&self, bonds: &Bonds) -> bool {
        self.hold.contains(&ptr::from_ref(bonds).addr())
    }

    fn is_known_broken(&self, bonds: &Bonds) -> bool {
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
        let guard = self.engine.pin();
        for made in &self.memo.made {
            self.engine.store.release_input(&guard, &made.as_input);
            made.inputs.iter().for_each(|input| self.engine.store.release_input(&guard, input));
        }
    }
}

/// What is read to derive one value.
pub struct Reading<'s, K, V, S, R: Reclaim> {
    engine: &'s Engine<K, V, S, R>,
    snapshot: &'s Snapshot,
    /// The address of the record that it is read for.
    of: usize,
    ties: EngineTies<'s, K, V, S, R>,
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
        Self { engine, snapshot, of: memo.outermost, ties: BondsBuilder::new(&engine.store), memo }
    }

    /// What is read for another key on behalf of this.
    pub fn inner(&mut self, of: &Hold<K, V>) -> Reading<'_, K, V, S, R> {
        let Self { engine, snapshot, ref mut memo, .. } = *self;
        memo.places.insert(of.address(), Place::UnderWay);
        Reading { engine, snapshot, of: of.address(), ties: BondsBuilder::new(&engine.store), memo }
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
        self.read(engine.store.find_or_create(&guard, key, own))
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
        let found = self.read(engine.held(&guard, hold));
        if found.is_none() {
            self.ties.truncate_inputs(before);
        }
        found
    }

    fn read(&mut self, record: RecordRef<'_, K, V>) -> Option<V> {
        if let Some(made) = self.memo.find(ptr::from_ref(record.get()).cast()) {
            let value = made.value.clone();
            self.ties.add_input(record, made.as_input.number(), true);
            self.ties.is_nested = true;
            self.ties.has_unheld_input |= made.is_lost;
            return Some(value);
        }
        let (store, at) = (&self.engine.store, self.snapshot.at(record.live()));
        let held = store.order.version_at(record, at).expect("a view can tell");
        let found = held.and_then(|(node, state)| node.visible_as(state));
        let moment = Moment::at(&self.engine.timer, self.snapshot.opened());
        let present = found.filter(|found| {
            found.number() > self.snapshot.watermark()
                && found.terms().is_none_or(|terms| store.is_in_time(terms, false, &moment))
                && found.bonds().is_none_or(|bonds| self.hold((bonds, found.number()), at))
        });
        if let Some(found) = present {
            store.note_use(found);
        }
        self.ties.add_version(record, held, present.is_some());
        present.map(|found| found.value().clone())
    }

    /// Whether the bonds of a version that the view keeps hold.
    fn hold<'g>(&mut self, bonds: (&'g Bonds, u64), at: ReadAt<'g>) -> bool
    where
        's: 'g,
    {
        let (store, is_nested) = (&self.engine.store, bonds.0.is_nested());
        if self.memo.is_known_to_hold(bonds.0)
            || is_nested && store.are_verified_at(bonds.0, self.snapshot.version())
        {
            return true;
        }
        if self.memo.is_known_broken(bonds.0) {
            return false;
        }
        let moment = Moment::at(&self.engine.timer, self.snapshot.opened());
        let (mut walk, watermark) = (DependencyWalk::default(), self.snapshot.watermark());
        let holds = store.walk(bonds, (at, watermark), (false, &moment), &*self.memo, &mut walk);
        let holds = holds.expect("a view can tell");
        // What holds as something is absent may be broken by what is made yet.
        let address = |bonds: &Bonds| ptr::from_ref(bonds).addr();
        if holds && is_nested && !walk.has_absent_input {
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
        let record = self.engine.held(&guard, hold);
        let ended = self.ended(record);
        let equal = ended.filter(|(old, _)| *old == &value).map(|(_, number)| number);
        if equal.is_some() {
            self.memo.broken.clear(); // What holds by that is there again.
        }
        record.hold(); // As the claim, which ends.
        let ties = &mut self.ties;
        self.memo.made.push(Made {
            as_input: Dependency::new(record.get(), equal.unwrap_or(0), true),
            value,
            since,
            is_again: ended.is_some(),
            inputs: std::mem::take(&mut ties.inputs),
            is_nested: ties.is_nested,
            is_lost: ties.has_unheld_input,
        });
        self.memo.places.insert(hold.address(), Place::Made(self.memo.made.len() - 1));
    }

    /// The derived value that the view keeps of a record, which has ended, and since when it was
    /// equal. What is over is as good as taken away.
    fn ended(&self, record: RecordRef<'_, K, V>) -> Option<(&'s V, u64)> {
        let (order, at) = (&self.engine.store.order, self.snapshot.at(record.live()));
        let found = order.at(record, at, self.snapshot.watermark()).expect("a view can tell")?;
        let since = found.bonds()?.equal_since(found.number());
        let is_expired = found.is_expired(Moment::new(&self.engine.timer).time());
        // SAFETY: visible in the view, which is registered for 's.
        (!is_expired).then(|| (unsafe { found.kept_by_view() }.value(), since))
    }

    /// Whether a key that is claimed, and was not read, holds nothing that is valid.
    fn is_free(&mut self, hold: &Hold<K, V>) -> bool {
        let engine = self.engine;
        let guard = engine.pin();
        let record = engine.held(&guard, hold);
        let (order, at) = (&engine.store.order, self.snapshot.at(record.live()));
        let found = order.at(record, at, self.snapshot.watermark()).expect("a view can tell");
        found.is_none_or(|found| {
            found.bonds().is_some_and(|bonds| !self.hold((bonds, found.number()), at))
        })
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
        let ties = std::mem::replace(&mut self.ties, BondsBuilder::new(&engine.store));
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
        record: RecordRef<'g, K, V>,
        since: u64,
        value: &mut Option<V>,
        mut ties: EngineTies<'_, K, V, S, R>,
    ) -> Option<Version>
    where
        V: PartialEq,
    {
        let moment = Moment::new(&self.timer);
        let before = self.store.order.newest(record);
        let ended = self.ended(record, since, &moment);
        let new = value.as_ref()?;
        let equal = ended.filter(|(old, _)| *old == new).map(|(_, number)| number);
        let config: ConfigSnapshot<'r, K, V> = self.observers().config.snapshot();
        let mut asked = self.rules.asked(config.times(), record.key(), new, None, &moment);
        self.store.inherit_tags(record, since, &moment, &mut ties).ok()?;
        // From here on no user's code runs that could keep the bonds from their version.
        let mut bonds = ties.into_bonds(guard)?;
        if let Some(equal) = equal {
            bonds.set_equal_since(equal);
        }
        asked.get_or_insert_default().bonds = Some(bonds);
        step("derive.before_fill");
        let is_again = ended.is_some();
        let value = std::slice::from_mut(value);
        let commit = self.fill_asked(guard, &config, [record], since, value, [asked])?;
        self.observers().counters.mine().recomputed.add(u64::from(is_again));
        if self.was_free(before, commit, &moment) {
            self.store.quiet.note(commit.version());
        }
        self.seen(record, commit, &moment)
    }

    /// Whether what a commit of the caller's has superseded was not valid just before it: nothing, or
    /// what had ended.
    fn was_free<'g>(
        &'g self,
        before: Option<Visible<'g, V>>,
        commit: Commit<'g>,
        moment: &Moment<'_>,
    ) -> bool {
        let Some(before) = before else { return true };
        let Some(bonds) = before.bonds() else { return false };
        let stands = self.store.stands((bonds, before.number()), commit.before(), false, moment);
        stands.is_ok_and(|stands| !stands)
    }

    /// The version of a commit by which a record was set, if that is visible. As in `fill_records`.
    pub(super) fn seen<'g>(
        &'g self,
        record: RecordRef<'g, K, V>,
        commit: Commit<'g>,
        moment: &Moment<'_>,
    ) -> Option<Version> {
        step("derive.filled");
        let is_seen = self.is_newest(record, commit, moment);
        (is_seen || mutant("derive.unchecked")).then(|| Version::from_u64(commit.version()))
    }

    /// The derived value that is newest, if that is no newer than `since`: it has ended. And since
    /// when it was equal. What is over is as good as taken away.
    fn ended<'g>(
        &self,
        record: RecordRef<'g, K, V>,
        since: u64,
        moment: &Moment<'_>,
    ) -> Option<(&'g V, u64)> {
        let found = self.store.order.newest(record)?;
        let bonds = found.bonds()?;
        let has_ended = found.number() <= since && !found.is_expired(moment.time());
        has_ended.then(|| (found.value(), bonds.equal_since(found.number())))
    }
}
