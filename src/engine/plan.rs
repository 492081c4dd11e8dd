//! A commit of several writes: from the caller's list to its outcome.

use super::Engine;
use super::said::{AsOf, Change, Changes, Keep, Said, TermsOf};
use super::terms::Asked;
use crate::chain::{Bonds, RecordRef};
use crate::commit::Precondition;
use crate::config::ConfigSnapshot;
use crate::dependencies::Moment;
use crate::metrics::EventKind;
use crate::reclaim::Reclaim;
use crate::relation::{KeyName, Related, RelationScope, Tag, too_deep, too_many};
use crate::removal::RemovalCause;
use crate::store::{Commit, Decided, Snapshot, Store, Write, WriteSet};
use crate::version::Version;
use equivalent::Equivalent;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hash};

/// The writes of a commit that is being put together, with what is asked for their values. If a
/// user's closure panics meanwhile, records that were made for it and hold nothing go again.
pub(super) struct Plan<'g, 'r, K: 'g, V: 'g, S, R: Reclaim> {
    pub engine: &'r Engine<K, V, S, R>,
    guard: &'g R::Guard<'r>,
    pub config: &'g ConfigSnapshot<'r, K, V>,
    pub set: WriteSet<'g, K, V>,
    /// Not with each write, as writes are moved about, and mostly nothing is asked for.
    asked: Vec<Asked>,
    pub moment: Moment<'r>,
}

impl<'g, 'r, K, V, S, R: Reclaim> Plan<'g, 'r, K, V, S, R> {
    pub fn new(
        engine: &'r Engine<K, V, S, R>,
        guard: &'g R::Guard<'r>,
        config: &'g ConfigSnapshot<'r, K, V>,
    ) -> Self {
        let scratch = engine.scratch.get();
        let set = WriteSet::new(scratch.writes.take(), scratch.order.take());
        let moment = Moment::new(&engine.timer);
        Self { engine, guard, config, set, asked: Vec::new(), moment }
    }

    /// Plans a write of `record`, of what is taken out of `value`, if there is any, with what is
    /// asked for it; a `cause` that is not the usual one for what it does is given.
    pub fn push(
        &mut self,
        record: RecordRef<'g, K, V>,
        value: &mut Option<V>,
        asked: Option<Asked>,
        related: bool,
        cause: Option<RemovalCause>,
    ) {
        let is_value = value.is_some();
        let usual = if is_value { RemovalCause::Replaced } else { RemovalCause::Explicit };
        let terms = asked.map_or(Write::<K, V>::PLAIN, |asked| self.keep_asked(asked));
        self.set.push(record, value, terms, related, cause.unwrap_or(usual));
    }

    /// Plans what a caller asked for, whose record this is.
    #[inline(always)]
    fn push_change(
        &mut self,
        record: RecordRef<'g, K, V>,
        value: Option<V>,
        keep: Keep,
        related: bool,
        terms: &mut Option<Box<TermsOf>>,
    ) where
        S: BuildHasher,
    {
        let Some(new) = &value else { return self.push(record, &mut None, None, related, None) };
        let terms = match keep {
            Keep::AsUsual if self.engine.rules.are_plain(self.config.times(), None) => {
                Write::<K, V>::PLAIN
            }
            keep => self.ask(record.key(), new, keep, terms),
        };
        self.set.push_value(record, value, terms, related, RemovalCause::Replaced);
    }

    /// What is asked for a value; where it is kept.
    #[inline(never)]
    fn ask(&mut self, key: &K, value: &V, keep: Keep, terms: &mut Option<Box<TermsOf>>) -> u32
    where
        S: BuildHasher,
    {
        let (engine, times, moment) = (self.engine, self.config.times(), &self.moment);
        let ask = |time| engine.rules.ask(times, key, value, time, moment);
        let asked = match keep {
            Keep::AsUsual => ask(None),
            Keep::For(time) => ask(Some(time)),
            Keep::On(place) => {
                let mut asked = ask(None);
                let TermsOf(terms) = &mut **terms.as_mut().expect("they were put there");
                let terms = std::mem::take(&mut terms[place as usize]);
                let hash = |tag: &Tag| engine.store.hash(tag);
                asked.say(moment.time(), Said::new(terms, hash));
                asked
            }
        };
        self.keep_asked(asked)
    }

    /// What is asked for a value for `record`, if there is one.
    pub fn asked_for(&self, record: RecordRef<'g, K, V>, value: &Option<V>) -> Option<Asked> {
        let times = self.config.times();
        self.engine.rules.asked(times, record.key(), value.as_ref()?, None, &self.moment)
    }

    /// BondsBuilder the value that was planned first.
    pub fn tie_first(&mut self, bonds: Box<Bonds>) {
        if self.set.writes()[0].terms == Write::<K, V>::PLAIN {
            self.set.write_mut(0).terms = self.keep_asked(Asked::default());
        }
        self.asked[self.set.writes()[0].terms as usize].bonds = Some(bonds);
    }

    /// Where it is kept.
    #[inline(never)]
    fn keep_asked(&mut self, asked: Asked) -> u32 {
        if self.asked.capacity() == 0 {
            self.asked = self.engine.scratch.get().asked.take();
        }
        let place = self.asked.len();
        self.asked.push(asked);
        let is_place = |place: &u32| *place != Write::<K, V>::PLAIN;
        u32::try_from(place).ok().filter(is_place).expect("fewer writes")
    }

    /// Drops all writes but the last of each record.
    fn keep_last(&mut self) {
        if self.set.has_duplicates() {
            self.follow_earlier();
            self.set.keep_last();
        }
    }

    /// What is to be kept as it was, and was written before by the same commit, is kept as that.
    #[cold]
    fn follow_earlier(&mut self) {
        if !self.asked.iter().any(Asked::is_as_it_was) {
            return;
        }
        let mut last = HashMap::new();
        for (at, write) in self.set.writes().iter().enumerate() {
            let place = write.terms as usize;
            if let Some(earlier) = last.insert(write.record(), at)
                && self.asked.get(place).is_some_and(Asked::is_as_it_was)
            {
                // Each has a place of its own, and an earlier one has an earlier place.
                let (before, after) = self.asked.split_at_mut(place);
                let earlier = &self.set.writes()[earlier];
                let before = before.get(earlier.terms as usize);
                after[0].is_as(before.filter(|_| earlier.value.is_some()));
            }
        }
    }

    /// The records whose values are to be kept as they were, of which each is read in this view for
    /// that.
    ///
    /// # Safety
    /// The view is registered until the commit is decided.
    pub unsafe fn as_it_was(&mut self, view: &Snapshot) -> Vec<RecordRef<'g, K, V>> {
        let mut read = Vec::new();
        if self.asked.iter().any(Asked::is_as_it_was) {
            for at in 0..self.set.len() {
                let asked = self.asked.get_mut(self.set.writes()[at].terms as usize);
                let said = asked.and_then(|asked| asked.said.as_deref_mut());
                if let Some(said) = said.filter(|said| said.is_as_it_was) {
                    // SAFETY: the caller's promise.
                    said.as_of = Some(unsafe { AsOf::view(view) });
                    read.push(self.set.record(at));
                }
            }
        }
        read
    }
}

impl<K, V, S, R: Reclaim> Drop for Plan<'_, '_, K, V, S, R> {
    fn drop(&mut self) {
        for at in 0..self.set.len() {
            self.engine.store.try_condemn(self.guard, self.set.record(at));
        }
        let (writes, order) = self.set.take_lists();
        let scratch = self.engine.scratch.get();
        scratch.writes.keep(writes);
        scratch.order.keep(order);
        if self.asked.capacity() != 0 {
            scratch.asked.keep(std::mem::take(&mut self.asked));
        }
    }
}

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
        self.commit_by(&self.observers().config.snapshot(), changes)
    }

    /// The same, by these settings.
    pub(super) fn commit_by<'r>(
        &'r self,
        config: &ConfigSnapshot<'r, K, V>,
        changes: Changes<K, V>,
    ) -> Version {
        let unwound = self.unless_it_panics();
        let version = {
            let guard = self.pin();
            let plan = self.plan(&guard, config, changes);
            if plan.set.is_empty() {
                self.observers().committed();
                self.store.order.clock.tick()
            } else {
                self.run_freely(plan).version()
            }
        };
        std::mem::forget(unwound);
        self.tend();
        Version::from_u64(version)
    }

    /// Removes `key` and its related entries, by one commit; `own` makes a key to keep, and to ask
    /// the relations with, if the cache does not know it.
    pub fn invalidate<Q>(&self, key: &Q, own: impl FnOnce() -> K) -> Version
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let config = self.observers().config.snapshot();
        if config.relation().is_none() {
            return self.invalidate_alone(key);
        }
        let unwound = self.unless_it_panics();
        let version = {
            let guard = self.pin();
            let record = self.store.find_or_create(&guard, key, own);
            let mut plan = Plan::new(self, &guard, &config);
            plan.push(record, &mut None, None, true, None);
            self.relate(&mut plan);
            self.run_freely(plan).version()
        };
        std::mem::forget(unwound);
        self.tend();
        Version::from_u64(version)
    }

    /// Locates the record of every change, drops all but the last of each key, and adds what the
    /// declared relations make of them.
    pub(super) fn plan<'g, 'r>(
        &'r self,
        guard: &'g R::Guard<'r>,
        config: &'g ConfigSnapshot<'r, K, V>,
        changes: Changes<K, V>,
    ) -> Plan<'g, 'r, K, V, S, R> {
        let Changes { list: mut changes, mut terms } = changes;
        for change in &changes {
            self.store.prefetch_bucket(guard, change.hash);
        }
        for change in &changes {
            if let Some(record) = self.store.candidate(guard, change.hash) {
                record.prefetch_to_write();
            }
        }
        let mut plan = Plan::new(self, guard, config);
        for Change { key, hash, value, keep, related } in changes.drain(..) {
            let record = self.store.locate(guard, hash, key, &mut None);
            plan.push_change(record, value, keep, related, &mut terms);
        }
        self.scratch.get().changes.keep(changes);
        plan.keep_last();
        self.relate(&mut plan);
        plan
    }

    /// Adds what the declared relations make of the planned writes, and of what they add: each record
    /// once, what the caller wrote before what a relation says, nearer relations before farther ones.
    pub(super) fn relate<'g, 'r>(&'r self, plan: &mut Plan<'g, 'r, K, V, S, R>) {
        let Some(relation) = plan.config.relation() else { return };
        if plan.set.is_empty() {
            return;
        }
        let first = plan.set.record(0);
        let name = |record: RecordRef<'g, K, V>| KeyName::new(record.get().key(), record.hash());
        let Some(_nested) = RelationScope::begin(&self.scratch.get().relating) else {
            too_deep(&name(first))
        };
        let mut set = HashSet::new();
        let most = self.rules.max_related;
        let mut related = Related::new(self.scratch.get().related.take(), most);
        let (mut at, limit) = (0, plan.set.len().saturating_add(most));
        while at < plan.set.len() {
            if plan.set.writes()[at].related {
                let from = plan.set.record(at);
                related.begin(from.hash());
                relation(from.key(), &mut related);
                for (key, mut value) in related.drain() {
                    let hash = self.hash(&key);
                    let record = self.store.locate(plan.guard, hash, key, &mut None);
                    if !plan.set.has(&mut set, record) {
                        if plan.set.len() == limit {
                            self.store.try_condemn(plan.guard, record);
                            too_many(&name(first), &name(from), most);
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

    /// Makes a commit that demands nothing.
    pub(super) fn run_freely<'g>(&self, plan: Plan<'g, '_, K, V, S, R>) -> Commit<'g> {
        self.run(plan, &[]).commit().expect("nothing is demanded")
    }

    /// Installs, decides and settles a commit, which is made only if all preconditions are met: each upon a
    /// record that it writes. The guard keeps what it returns.
    pub(super) fn run<'g>(
        &self,
        plan: Plan<'g, '_, K, V, S, R>,
        preconditions: &[(RecordRef<'g, K, V>, Precondition)],
    ) -> Decided<'g, K, V> {
        self.run_and(plan, preconditions, || ())
    }

    /// The same, and does something as soon as it is decided.
    #[inline(always)]
    pub(super) fn run_and<'g, 'r>(
        &self,
        mut plan: Plan<'g, 'r, K, V, S, R>,
        preconditions: &[(RecordRef<'g, K, V>, Precondition)],
        decided: impl FnOnce(),
    ) -> Decided<'g, K, V> {
        let Plan { engine, guard, config, ref mut set, ref mut asked, .. } = plan;
        let store: &'r Store<K, V, S, R, _> = &engine.store;
        engine.observers().record(EventKind::CommitBegun, None, None);
        let times = config.times();
        let outcome = store.commit(guard, set, preconditions, |record, place| {
            engine.retention(guard, record, &mut asked[place as usize], times)
        });
        decided();
        match outcome.commit() {
            Some(commit) => engine.settle_all(guard, &outcome, commit, &plan.moment),
            None => {
                for (record, _) in outcome.entries().iter().map(Decided::entry) {
                    store.try_condemn(guard, record);
                }
            }
        }
        store.forget(guard, &outcome);
        outcome
    }

    /// Settles a commit of several writes.
    fn settle_all<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        decided: &Decided<'g, K, V>,
        commit: Commit<'g>,
        moment: &Moment<'_>,
    ) {
        let settling = self.settling(commit, moment);
        settling.mine.commits.add(1);
        for entry in decided.entries() {
            let Some(cause) = entry.cause else { continue };
            let (record, node) = Decided::entry(entry);
            self.settle(guard, &settling, record, (node, node.state()), cause).weigh();
        }
        self.keep_bound_of(guard, decided.entries());
    }
}
