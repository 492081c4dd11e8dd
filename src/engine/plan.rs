//! A commit of several writes: from the caller's list to a descriptor.

use super::Engine;
use super::adjust::Whole;
use super::keep::{Asked, Moment};
use super::read::version_of;
use super::said::{Changes, Keep, TermsOf, follow_earlier};

use crate::chain::{Bonds, Record};
use crate::commit::{Demand, Descriptor, Entry, Expected};
use crate::metrics::EventKind;
use crate::reclaim::Reclaim;
use crate::relation::{KeyName, Related, RelationScope, too_deep, too_many};
use crate::removal::RemovalCause;
use crate::version::{State, Version};
use equivalent::Equivalent;
use std::collections::HashSet;
use std::hash::{BuildHasher, Hash};
use std::ptr;

/// One write that a caller asked for.
pub struct Change<K, V> {
    pub key: K,
    pub hash: u32,
    /// `None` removes.
    pub value: Option<V>,
    /// How the value is kept.
    pub keep: Keep,
    /// Whether the key's declared relations apply.
    pub related: bool,
}

/// One write of a commit, its record located: under the guard of the [`Plan`] that it is in.
pub(super) struct Write<K, V> {
    pub record: *const Record<K, V>,
    pub value: Option<V>,
    /// Where the plan has what is asked for the value; [`NOTHING`]: nowhere.
    pub asked: u32,
    related: bool,
    /// Why it takes away what is there. `None`: it is a witness.
    cause: Option<RemovalCause>,
}

/// See [`Write::asked`].
const NOTHING: u32 = u32::MAX;

/// The writes of a commit that is being put together. If a user's closure panics meanwhile, records
/// that were made for it and hold nothing go again.
pub(super) struct Plan<'g, 'r, K, V, S, R: Reclaim> {
    pub engine: &'r Engine<K, V, S, R>,
    guard: &'g R::Guard<'r>,
    pub settings: &'g Whole<'r, K, V>,
    pub writes: Vec<Write<K, V>>,
    /// What is asked for their values. Not with each, as writes are moved about, and mostly nothing is.
    pub asked: Vec<Asked>,
    /// The addresses of their records, in order, and their places; unless writes have been added since.
    order: Vec<(usize, usize)>,
    has_witnesses: bool,
    pub moment: Moment<'r>,
}

impl<'g, 'r, K, V, S, R: Reclaim> Plan<'g, 'r, K, V, S, R> {
    pub(super) fn new(
        engine: &'r Engine<K, V, S, R>,
        guard: &'g R::Guard<'r>,
        settings: &'g Whole<'r, K, V>,
    ) -> Self {
        let scratch = engine.scratch.get();
        let (writes, order) = (scratch.writes.take(), scratch.order.take());
        let moment = Moment::new(&engine.timer);
        let asked = Vec::new();
        Self { engine, guard, settings, writes, asked, order, has_witnesses: false, moment }
    }

    /// Puts the writes in order, by their places: to move them about costs more.
    fn sort(&mut self) {
        self.order.clear();
        let address = |write: &Write<K, V>| write.record.addr();
        let count = self.writes.len();
        if count > RANKED {
            let places = self.writes.iter().enumerate();
            self.order.extend(places.map(|(place, write)| (address(write), place)));
            return self.order.sort_unstable();
        }
        let mut addresses = [0; RANKED];
        for (place, write) in addresses.iter_mut().zip(&self.writes) {
            *place = address(write);
        }
        // Each goes where as many come before it: there is no branch that depends on addresses, which no processor foresees.
        self.order.resize(count, (0, 0));
        let addresses = &addresses[..count];
        for (place, &address) in addresses.iter().enumerate() {
            let (earlier, later) = addresses.split_at(place);
            let before = earlier.iter().filter(|&&other| other <= address).count()
                + later.iter().filter(|&&other| other < address).count();
            self.order[before] = (address, place);
        }
    }

    /// Drops all writes but the last of each record.
    fn keep_last(&mut self) {
        self.sort();
        if self.order.windows(2).any(|two| two[0].0 == two[1].0) {
            self.order.clear();
            keep_last(&mut self.writes, &mut self.asked);
        }
    }

    /// Plans a write of `record`, of what is taken out of `value`, if there is any, with what is asked for it; a `cause`
    /// that is not the usual one for what it does is given.
    pub(super) fn push(
        &mut self,
        record: &'g Record<K, V>,
        value: &mut Option<V>,
        asked: Option<Asked>,
        related: bool,
        cause: Option<RemovalCause>,
    ) {
        let is_value = value.is_some();
        let usual = if is_value { RemovalCause::Replaced } else { RemovalCause::Explicit };
        let cause = Some(cause.unwrap_or(usual));
        let asked = asked.map_or(NOTHING, |asked| self.keep_asked(asked));
        self.writes.push(Write { record, value: None, asked, related, cause });
        if is_value && let Some(write) = self.writes.last_mut() {
            std::mem::swap(&mut write.value, value); // A large value takes no room on the stack.
        }
    }

    /// Plans what a caller asked for, whose record this is.
    #[inline(always)]
    fn push_change(
        &mut self,
        record: &'g Record<K, V>,
        value: Option<V>,
        keep: Keep,
        related: bool,
        terms: &mut Option<Box<TermsOf>>,
    ) where
        S: BuildHasher,
    {
        let Some(value) = value else { return self.push(record, &mut None, None, related, None) };
        let (rules, times) = (&self.engine.rules, self.settings.times());
        let asked = match keep {
            Keep::AsUsual if rules.are_plain(times, None) => NOTHING,
            keep => self.ask(record.key(), &value, keep, terms),
        };
        let (value, cause) = (Some(value), Some(RemovalCause::Replaced));
        self.writes.push(Write { record, value, asked, related, cause });
    }

    /// Plans witnesses for those records, which the caller holds, that are not written: after all writes were planned.
    pub(super) fn witness(&mut self, records: impl Iterator<Item = &'g Record<K, V>>) {
        let mut set = HashSet::new();
        for record in records {
            if !holds(&mut set, &self.writes, record) {
                let (value, asked) = (None, NOTHING);
                self.writes.push(Write { record, value, asked, related: false, cause: None });
                self.has_witnesses = true;
            }
        }
    }

    /// What is asked for a value for `record`, if there is one.
    pub(super) fn asked_for(&self, record: &Record<K, V>, value: &Option<V>) -> Option<Asked> {
        let times = self.settings.times();
        self.engine.rules.asked(times, record.key(), value.as_ref()?, None, &self.moment)
    }

    /// Ties the value that was planned first.
    pub(super) fn tie_first(&mut self, bonds: Box<Bonds>) {
        if self.writes[0].asked == NOTHING {
            self.writes[0].asked = self.keep_asked(Asked::default());
        }
        self.asked[self.writes[0].asked as usize].bonds = Some(bonds);
    }

    /// Where it is kept.
    #[inline(never)]
    pub(super) fn keep_asked(&mut self, asked: Asked) -> u32 {
        if self.asked.capacity() == 0 {
            self.asked = self.engine.scratch.get().asked.take();
        }
        let place = self.asked.len();
        self.asked.push(asked);
        u32::try_from(place).ok().filter(|place| *place != NOTHING).expect("fewer writes")
    }

    pub(super) fn record(&self, at: usize) -> &'g Record<K, V> {
        // SAFETY: located under the guard, which lives for 'g.
        unsafe { &*self.writes[at].record }
    }
}

impl<K, V, S, R: Reclaim> Drop for Plan<'_, '_, K, V, S, R> {
    fn drop(&mut self) {
        for at in 0..self.writes.len() {
            self.engine.try_condemn(self.guard, self.record(at));
        }
        let scratch = self.engine.scratch.get();
        scratch.writes.keep(std::mem::take(&mut self.writes));
        scratch.order.keep(std::mem::take(&mut self.order));
        if self.asked.capacity() != 0 {
            scratch.asked.keep(std::mem::take(&mut self.asked));
        }
    }
}

/// Up to how many writes are sorted by comparing each with each.
const RANKED: usize = 12;
/// Above how many writes a set, instead of a scan, tells which records a commit writes.
const SCAN: usize = 16;

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// A change of `key`.
    pub fn change(&self, key: K, value: Option<V>, keep: Keep, related: bool) -> Change<K, V> {
        let hash = self.hash(&key);
        Change { key, hash, value, keep, related }
    }

    /// An empty list of changes.
    pub fn changes(&self) -> Changes<K, V> {
        Changes { list: self.scratch.get().changes.take(), terms: None }
    }

    /// Applies `changes`, the last of a key, by one commit.
    pub fn commit(&self, changes: Changes<K, V>) -> Version {
        self.commit_by(&self.in_force.whole(), changes)
    }

    /// The same, by these settings.
    pub(super) fn commit_by<'r>(
        &'r self,
        settings: &Whole<'r, K, V>,
        changes: Changes<K, V>,
    ) -> Version {
        let unwound = self.unless_it_panics();
        let version = {
            let guard = self.pin();
            let plan = self.plan(&guard, settings, changes);
            if plan.writes.is_empty() {
                self.committed();
                self.order.clock.tick()
            } else {
                self.run(&guard, plan, &[]).0.version()
            }
        };
        std::mem::forget(unwound);
        self.tend();
        Version::from_u64(version)
    }

    /// Removes `key` and its related entries, by one commit; `own` makes a key to keep, and to ask the relations with, if the
    /// cache does not know it.
    pub fn invalidate<Q>(&self, key: &Q, own: impl FnOnce() -> K) -> Version
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let settings = self.in_force.whole();
        if settings.relation().is_none() {
            return self.invalidate_alone(key);
        }
        let unwound = self.unless_it_panics();
        let version = {
            let guard = self.pin();
            let record = self.know(&guard, key, own);
            let mut plan = Plan::new(self, &guard, &settings);
            plan.push(record, &mut None, None, true, None);
            self.relate(&mut plan);
            version_of(self.run(&guard, plan, &[]).0)
        };
        std::mem::forget(unwound);
        self.tend();
        version
    }

    /// Locates the record of every change, drops all but the last of each key, and adds what the
    /// declared relations make of them.
    pub(super) fn plan<'g, 'r>(
        &'r self,
        guard: &'g R::Guard<'r>,
        settings: &'g Whole<'r, K, V>,
        changes: Changes<K, V>,
    ) -> Plan<'g, 'r, K, V, S, R> {
        let Changes { list: mut changes, mut terms } = changes;
        for change in &changes {
            self.index.prefetch(guard, change.hash);
        }
        for change in &changes {
            if let Some(record) = self.index.candidate(guard, change.hash) {
                record.prefetch_to_write();
            }
        }
        let mut plan = Plan::new(self, guard, settings);
        for Change { key, hash, value, keep, related } in changes.drain(..) {
            let record = self.locate(guard, hash, key, &mut None);
            plan.push_change(record, value, keep, related, &mut terms);
        }
        self.scratch.get().changes.keep(changes);
        plan.keep_last();
        self.relate(&mut plan);
        plan
    }

    /// Adds what the declared relations make of the planned writes, and of what they add: each record
    /// once, what the caller wrote before what a relation says, nearer relations before farther ones.
    pub(super) fn relate(&self, plan: &mut Plan<'_, '_, K, V, S, R>) {
        let Some(relation) = plan.settings.relation() else { return };
        let Some(first) = plan.writes.first().map(|_| plan.record(0)) else { return };
        let name = |record: &Record<K, V>| KeyName::new(record.key(), record.hash());
        let Some(_nested) = RelationScope::begin(&self.scratch.get().relating) else {
            too_deep(&name(first))
        };
        let mut set = HashSet::new();
        let most = self.rules.max_related;
        let mut related = Related::new(self.scratch.get().related.take(), most);
        let (mut at, limit) = (0, plan.writes.len().saturating_add(most));
        while at < plan.writes.len() {
            if plan.writes[at].related {
                related.begin(plan.record(at).hash());
                relation(plan.record(at).key(), &mut related);
                for (key, mut value) in related.drain() {
                    let hash = plan.engine.hash(&key);
                    let record = plan.engine.locate(plan.guard, hash, key, &mut None);
                    if !holds(&mut set, &plan.writes, record) {
                        if plan.writes.len() == limit {
                            self.try_condemn(plan.guard, record);
                            too_many(&name(first), &name(plan.record(at)), most);
                        }
                        let asked = plan.asked_for(record, &value);
                        plan.push(record, &mut value, asked, true, Some(RemovalCause::Related));
                    }
                }
            }
            at += 1;
        }
        self.scratch.get().related.keep(related.into_list());
    }

    /// Makes the versions and the descriptor. No user's code runs from here to the outcome.
    fn describe(
        &self,
        plan: &mut Plan<'_, '_, K, V, S, R>,
        demands: &[(&Record<K, V>, Demand)],
    ) -> *mut Descriptor<K, V> {
        // By address: the order in which all commits install.
        if plan.order.len() != plan.writes.len() {
            plan.sort();
        }
        let room = self.commits.take(plan.guard, plan.writes.len(), demands.len());
        let state = State::undecided(room.descriptor.expose_provenance());
        let times = plan.settings.times();
        for (at, &(_, place)) in plan.order.iter().enumerate() {
            let write = &mut plan.writes[place];
            // SAFETY: located under the plan's guard.
            let record = unsafe { &*write.record };
            // A guess that is right unless somebody writes the key meanwhile; installing checks it.
            let below = record.head().node();
            let asked = plan.asked.get_mut(write.asked as usize).map(|asked| (asked, times));
            let value = &mut write.value;
            let node = match write.cause {
                Some(_) => self.make_node(plan.guard, record, state, below, value, asked),
                None => self.make_witness(plan.guard, record, state, below),
            };
            let entry = Entry { record, node, cause: write.cause };
            // SAFETY: the room has so many places, and is ours.
            unsafe { room.entries.cast::<Entry<K, V>>().add(at).write(entry) };
        }
        plan.writes.clear();
        for (at, &(record, demand)) in demands.iter().enumerate() {
            let address = ptr::from_ref(record).addr();
            let entry = plan.order.binary_search_by_key(&address, |(address, _)| *address);
            let entry = entry.expect("the key is among the writes");
            // SAFETY: as above.
            unsafe { room.expected.cast::<Expected>().add(at).write(Expected { entry, demand }) };
        }
        // SAFETY: the lists were written above, and live as long as the descriptor.
        unsafe { room.descriptor.write(Descriptor::new(room.entries, room.expected)) };
        room.descriptor
    }

    /// Installs, decides and settles a commit, which is made only if all demands are met: each upon a record that it
    /// writes. Returns its outcome, and its descriptor, which the guard keeps.
    pub(super) fn run(
        &self,
        guard: &R::Guard<'_>,
        plan: Plan<'_, '_, K, V, S, R>,
        demands: &[(&Record<K, V>, Demand)],
    ) -> (State, *mut Descriptor<K, V>) {
        self.run_and(guard, plan, demands, || ())
    }

    /// The same, and does something as soon as it is decided.
    #[inline(always)]
    pub(super) fn run_and(
        &self,
        guard: &R::Guard<'_>,
        mut plan: Plan<'_, '_, K, V, S, R>,
        demands: &[(&Record<K, V>, Demand)],
        decided: impl FnOnce(),
    ) -> (State, *mut Descriptor<K, V>) {
        let descriptor = self.describe(&mut plan, demands);
        self.record(EventKind::CommitBegun, None, None);
        let retire = |record: &Record<K, V>, node| self.retire_node(guard, record, node);
        // SAFETY: our commit, under the guard that located its records.
        let outcome = unsafe { self.order.help(descriptor, &retire) };
        // SAFETY: retired below, and kept by our guard anyway.
        let entries = unsafe { &*descriptor }.entries();
        for entry in entries {
            // SAFETY: kept by our guard.
            unsafe { &*entry.node }.set_outcome(outcome);
        }
        decided();
        if outcome.is_committed() {
            self.settle_all(guard, entries, outcome, &plan.moment);
        } else {
            for entry in entries {
                // SAFETY: as above.
                self.try_condemn(guard, unsafe { &*entry.record });
            }
        }
        // No version names it any more.
        self.retire_commit(guard, descriptor, plan.has_witnesses);
        (outcome, descriptor)
    }

    /// Settles a commit of several writes.
    fn settle_all(
        &self,
        guard: &R::Guard<'_>,
        entries: &[Entry<K, V>],
        outcome: State,
        moment: &Moment<'_>,
    ) {
        let settling = self.settling(guard, outcome.version(), moment);
        settling.mine.commits.add(1);
        for Entry { record, node, cause } in entries {
            let Some(cause) = *cause else { continue };
            // SAFETY: of a commit of ours, kept by our guard.
            let (record, node) = unsafe { (&**record, &**node) };
            let state = node.state();
            self.settle(guard, &settling, record, node, state, cause).weigh();
        }
        self.keep_bound_of(guard, entries);
    }
}

/// Drops all writes but the last of each record. They stay in order.
#[cold]
fn keep_last<K, V>(writes: &mut Vec<Write<K, V>>, asked: &mut [Asked]) {
    if asked.iter().any(Asked::is_as_it_was) {
        follow_earlier(writes, asked);
    }
    let mut seen = HashSet::new();
    writes.reverse();
    writes.retain(|write| seen.insert(write.record));
    writes.reverse();
}

/// Whether the commit writes `record` already.
fn holds<K, V>(
    set: &mut HashSet<*const Record<K, V>>,
    writes: &[Write<K, V>],
    record: &Record<K, V>,
) -> bool {
    if writes.len() <= SCAN {
        return writes.iter().any(|write| ptr::eq(write.record, record));
    }
    // Catches up with what was planned since; what is in it stays planned.
    set.extend(writes[set.len()..].iter().map(|write| write.record));
    set.contains(&ptr::from_ref(record))
}
