//! A commit of several writes: from the caller's list to its outcome.

use super::Engine;
use super::changes::{Changes, TermsList, WriteTerms, take_each};
use super::terms::{CallerTerms, RequestedTerms, ViewInstant};
use crate::chain::{Bonds, Parcel, RecordRef};
use crate::commit::Precondition;
use crate::config::ConfigSnapshot;
use crate::dependencies::Moment;
use crate::metrics::EventKind;
use crate::reclaim::Reclaim;
use crate::relation::{KeyName, Related, Relation, RelationScope, Tag, Terms, too_deep, too_many};
use crate::removal::RemovalCause;
use crate::store::{Commit, Decided, OwnVersion, Snapshot, Store, Write, WriteSet};
use crate::version::Version;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hash};
use std::mem::{forget, take};

/// The writes of a commit in preparation, with the requested terms of their values. If a user's
/// closure panics, the records that were made for the commit and have no value are condemned.
pub(super) struct Plan<'g, 'r, K: 'g, V: 'g, S, R: Reclaim> {
    pub engine: &'r Engine<K, V, S, R>,
    pub guard: &'g R::Guard<'r>,
    pub config: &'g ConfigSnapshot<'r, K, V>,
    pub set: WriteSet<'g, K, V>,
    /// Not stored with each write, because writes are moved about and most of them request nothing.
    pub(super) requested: Vec<RequestedTerms>,
    pub moment: Moment<'r>,
}

impl<'g, 'r, K, V, S, R: Reclaim> Plan<'g, 'r, K, V, S, R> {
    #[inline(always)]
    pub fn new(
        engine: &'r Engine<K, V, S, R>,
        guard: &'g R::Guard<'r>,
        config: &'g ConfigSnapshot<'r, K, V>,
    ) -> Self {
        let scratch = engine.scratch.get();
        let set = WriteSet::new(&scratch.writes);
        let moment = Moment::new(&engine.timer);
        Self { engine, guard, config, set, requested: Vec::new(), moment }
    }

    /// Plans a write of `record` with the value in `value`, which is taken, or a removal if there
    /// is none there. `cause` replaces the usual removal cause of such a write.
    pub fn push(
        &mut self,
        record: RecordRef<'g, K, V>,
        value: Option<&mut Parcel<V>>,
        requested: Option<RequestedTerms>,
        related: bool,
        cause: Option<RemovalCause>,
    ) {
        let is_value = value.as_ref().is_some_and(|value| value.is_some());
        let usual = if is_value { RemovalCause::Replaced } else { RemovalCause::Explicit };
        let terms =
            requested.map_or(Write::<K, V>::PLAIN, |requested| self.store_requested(requested));
        self.set.push(record, value, terms, related, cause.unwrap_or(usual));
    }

    /// Plans a write that the caller listed, of this record.
    #[inline(always)]
    fn push_change(
        &mut self,
        record: RecordRef<'g, K, V>,
        value: &mut Parcel<V>,
        terms: WriteTerms,
        related: bool,
        list: &mut Option<Box<TermsList>>,
    ) where
        S: BuildHasher,
    {
        let Some(new) = value.get() else { return self.push(record, None, None, related, None) };
        let terms = match terms {
            WriteTerms::Default if self.engine.rules.are_plain(self.config.times(), None) => {
                Write::<K, V>::PLAIN
            }
            terms => self.request(record, new, terms, list),
        };
        self.set.push(record, Some(value), terms, related, RemovalCause::Replaced);
    }

    /// Stores the requested terms of a value. Returns their index.
    #[inline(never)]
    fn request(
        &mut self,
        record: RecordRef<'g, K, V>,
        value: &V,
        terms: WriteTerms,
        list: &mut Option<Box<TermsList>>,
    ) -> u32
    where
        S: BuildHasher,
    {
        let (engine, times, moment) = (self.engine, self.config.times(), &self.moment);
        let replaced = || engine.lifetime_of(record);
        let request =
            |time| engine.rules.request(times, record.key(), value, time, moment, replaced);
        let unplanned = self.condemn_on_unwind(record);
        let requested = match terms {
            WriteTerms::Default => request(None),
            WriteTerms::TimeToLive(time) => request(Some(time)),
            WriteTerms::Given(index) => {
                let TermsList(terms) = &mut **list.as_mut().expect("the list has these terms");
                self.request_given(record, value, take(&mut terms[index as usize]))
            }
        };
        forget(unplanned);
        self.store_requested(requested)
    }

    /// Returns the requested terms of a value, as the caller gave them.
    fn request_given(&self, record: RecordRef<'g, K, V>, value: &V, terms: Terms) -> RequestedTerms
    where
        S: BuildHasher,
    {
        let (engine, times, moment) = (self.engine, self.config.times(), &self.moment);
        let replaced = || engine.lifetime_of(record);
        let mut requested =
            engine.rules.request(times, record.key(), value, None, moment, replaced);
        let hash = |tag: &Tag| engine.store.hash(tag);
        requested.set_caller_terms(moment.time(), CallerTerms::new(terms, hash));
        requested
    }

    /// Returns the requested terms of a value for `record`, as the caller gave them, if there is a
    /// value.
    pub fn requested_by_caller(
        &self,
        record: RecordRef<'g, K, V>,
        value: &Parcel<V>,
        terms: Terms,
    ) -> Option<RequestedTerms>
    where
        S: BuildHasher,
    {
        let unplanned = self.condemn_on_unwind(record);
        let requested = value.get().map(|value| self.request_given(record, value, terms));
        forget(unplanned);
        requested
    }

    /// Returns the requested terms of a value for `record`, if there is a value and it has any.
    pub fn requested_for(
        &self,
        record: RecordRef<'g, K, V>,
        value: &Parcel<V>,
    ) -> Option<RequestedTerms> {
        let times = self.config.times();
        let (key, replaced) = (record.key(), || self.engine.lifetime_of(record));
        let unplanned = self.condemn_on_unwind(record);
        let rules = &self.engine.rules;
        let requested = value
            .get()
            .and_then(|value| rules.requested(times, key, value, None, &self.moment, replaced));
        forget(unplanned);
        requested
    }

    /// The record of a write that is not planned yet, while the user's closures decide about its
    /// value. The caller forgets the result.
    fn condemn_on_unwind(&self, record: RecordRef<'g, K, V>) -> Unplanned<'g, 'r, K, V, S, R> {
        Unplanned { engine: self.engine, guard: self.guard, record }
    }

    /// Gives bonds to the value that was planned first.
    pub fn set_first_bonds(&mut self, bonds: Box<Bonds>) {
        if self.set.writes()[0].terms == Write::<K, V>::PLAIN {
            let terms = self.store_requested(RequestedTerms::default());
            self.set.set_terms(0, terms);
        }
        self.requested[self.set.writes()[0].terms as usize].bonds = Some(bonds);
    }

    /// Stores requested terms. Returns their index.
    #[inline(never)]
    fn store_requested(&mut self, requested: RequestedTerms) -> u32 {
        if self.requested.capacity() == 0 {
            self.requested = self.engine.scratch.get().requested.take();
        }
        let index = self.requested.len();
        self.requested.push(requested);
        let is_index = |index: &u32| *index != Write::<K, V>::PLAIN;
        u32::try_from(index).ok().filter(is_index).expect("a commit has fewer writes")
    }

    /// Drops all writes of each record but the last.
    pub(super) fn keep_last(&mut self) {
        if self.set.has_duplicates() {
            self.inherit_earlier_terms();
            self.set.keep_last();
        }
    }

    /// If a write preserves its entry's terms, and the same commit wrote the entry before, then the
    /// terms of the earlier write are preserved.
    #[cold]
    fn inherit_earlier_terms(&mut self) {
        if !self.requested.iter().any(RequestedTerms::is_preserved) {
            return;
        }
        let mut last = HashMap::new();
        for (at, write) in self.set.writes().iter().enumerate() {
            let index = write.terms as usize;
            if let Some(earlier) = last.insert(write.record(), at)
                && self.requested.get(index).is_some_and(RequestedTerms::is_preserved)
            {
                // Each write has its own terms, and those of an earlier write have a smaller index.
                let (before, after) = self.requested.split_at_mut(index);
                let earlier = &self.set.writes()[earlier];
                let before = before.get(earlier.terms as usize);
                after[0].inherit_from(before.filter(|_| earlier.value.is_some()));
            }
        }
    }

    /// Notes the view for all writes that preserve the terms of their entries. Returns their
    /// records, which count as read in this view.
    ///
    /// # Safety
    /// The view is registered until the commit is decided.
    pub unsafe fn read_preserved(&mut self, view: &Snapshot) -> Vec<RecordRef<'g, K, V>> {
        let mut read = Vec::new();
        if self.requested.iter().any(RequestedTerms::is_preserved) {
            for at in 0..self.set.len() {
                let requested = self.requested.get_mut(self.set.writes()[at].terms as usize);
                let caller_terms =
                    requested.and_then(|requested| requested.caller_terms.as_deref_mut());
                if let Some(caller_terms) =
                    caller_terms.filter(|caller_terms| caller_terms.is_preserved)
                {
                    // SAFETY: promised by the caller.
                    caller_terms.as_of = Some(unsafe { ViewInstant::view(view) });
                    read.push(self.set.record(at));
                }
            }
        }
        read
    }
}

/// A record of which no write is planned yet. If it is dropped, a user's closure has panicked: the
/// record is condemned if it has no value.
struct Unplanned<'g, 'r, K, V, S, R: Reclaim> {
    engine: &'r Engine<K, V, S, R>,
    guard: &'g R::Guard<'r>,
    record: RecordRef<'g, K, V>,
}

impl<K, V, S, R: Reclaim> Drop for Unplanned<'_, '_, K, V, S, R> {
    #[cold]
    fn drop(&mut self) {
        self.engine.store.try_condemn(self.guard, self.record);
    }
}

impl<K, V, S, R: Reclaim> Drop for Plan<'_, '_, K, V, S, R> {
    #[inline(always)] // so that the lists are known to be empty when they are dropped
    fn drop(&mut self) {
        for at in 0..self.set.len() {
            self.engine.store.try_condemn(self.guard, self.set.record(at));
        }
        if self.requested.capacity() != 0 {
            self.engine.scratch.get().requested.keep(take(&mut self.requested));
        }
    }
}

impl<'g, 'r, K, V, S, R> Plan<'g, 'r, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Plans a caller's changes: locates the record of each, drops all changes of a key but the
    /// last, and adds the writes that the declared relations require. The list is empty afterwards.
    pub(super) fn add_changes(&mut self, changes: &mut Changes<K, V>) {
        let Changes { list: changes, terms: list } = changes;
        let (engine, guard) = (self.engine, self.guard);
        for change in &*changes {
            engine.store.prefetch_bucket(guard, change.hash);
        }
        for change in &*changes {
            if let Some(record) = engine.store.candidate(guard, change.hash) {
                record.prefetch_to_write();
            }
        }
        take_each(changes, |(hash, key), value, terms, related| {
            let record = engine.store.locate(guard, hash, key, None);
            self.push_change(record, value, terms, related, list);
        });
        self.keep_last();
        engine.relate(self);
    }
}

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns an empty list of changes.
    pub fn changes(&self) -> Changes<K, V> {
        Changes { list: self.scratch.get().changes.take(), terms: None }
    }

    /// Keeps the list of changes, which were planned.
    #[inline(always)]
    pub(super) fn keep_changes(&self, changes: Changes<K, V>) {
        self.scratch.get().changes.keep(changes.list);
    }

    /// Applies `changes` by one commit. For each key, the last change counts.
    pub fn commit(&self, changes: Changes<K, V>) -> Version {
        self.commit_by(&self.observers().config.snapshot(), changes)
    }

    /// Does the same, with these settings.
    pub(super) fn commit_by<'r>(
        &'r self,
        config: &ConfigSnapshot<'r, K, V>,
        mut changes: Changes<K, V>,
    ) -> Version {
        let unwound = self.collect_on_unwind();
        let version = {
            let guard = self.pin();
            let mut plan = Plan::new(self, &guard, config);
            plan.add_changes(&mut changes);
            self.keep_changes(changes);
            if plan.set.is_empty() {
                self.observers().committed();
                self.store.order.clock.tick()
            } else {
                self.run_unconditionally(&mut plan).version()
            }
        };
        forget(unwound);
        self.tend_after_several();
        Version::from_u64(version)
    }

    /// Adds the writes that the declared relations require for the planned writes, and in turn for
    /// the added ones. Each record is written once. A write by the caller takes precedence over one
    /// by a relation, and a nearer relation over a farther one.
    #[inline(always)]
    pub(super) fn relate<'g, 'r>(&'r self, plan: &mut Plan<'g, 'r, K, V, S, R>) {
        if let Some(relation) = plan.config.relation()
            && !plan.set.is_empty()
        {
            self.relate_by(relation, plan);
        }
    }

    #[inline(never)]
    fn relate_by<'g, 'r>(&'r self, relation: &Relation<K, V>, plan: &mut Plan<'g, 'r, K, V, S, R>) {
        let first = plan.set.record(0);
        let name = |record: RecordRef<'g, K, V>| KeyName::new(record.get().key(), record.hash());
        let Some(_nested) = RelationScope::begin(&self.scratch.get().relation_depth) else {
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
                for (key, value) in related.writes() {
                    let Some(key) = key.take() else { continue };
                    let hash = self.hash(&key);
                    let record = self.store.locate(plan.guard, hash, key, None);
                    if !plan.set.has(&mut set, record) {
                        if plan.set.len() == limit {
                            self.store.try_condemn(plan.guard, record);
                            too_many(&name(first), &name(from), most);
                        }
                        let requested = plan.requested_for(record, value);
                        plan.push(
                            record,
                            Some(value),
                            requested,
                            true,
                            Some(RemovalCause::Related),
                        );
                    }
                }
                related.clear();
            }
            at += 1;
        }
        self.scratch.get().related.keep(related.into_list());
    }

    /// Makes a commit that has no preconditions.
    pub(super) fn run_unconditionally<'g>(
        &self,
        plan: &mut Plan<'g, '_, K, V, S, R>,
    ) -> Commit<'g> {
        self.run(plan, &[]).commit().expect("there is no precondition")
    }

    /// Installs, decides and settles a commit, which takes effect only if all preconditions are
    /// met. Each precondition is on a record of the write set. The guard keeps the result.
    pub(super) fn run<'g>(
        &self,
        plan: &mut Plan<'g, '_, K, V, S, R>,
        preconditions: &[(RecordRef<'g, K, V>, Precondition)],
    ) -> Decided<'g, K, V> {
        self.run_then(plan, preconditions, || ())
    }

    /// Does the same, and calls `decided` as soon as the commit is decided.
    #[inline(always)]
    pub(super) fn run_then<'g, 'r>(
        &self,
        plan: &mut Plan<'g, 'r, K, V, S, R>,
        preconditions: &[(RecordRef<'g, K, V>, Precondition)],
        decided: impl FnOnce(),
    ) -> Decided<'g, K, V> {
        let Plan { engine, guard, config, ref mut set, ref mut requested, .. } = *plan;
        let store: &'r Store<K, V, S, R, _> = &engine.store;
        engine.observers().record(EventKind::CommitBegun, None, None);
        let times = config.times();
        let outcome = store.commit(guard, set, preconditions, |record, index| {
            engine.retention(guard, record, &mut requested[index as usize], times)
        });
        decided();
        // SAFETY: the commit was made just now, under this guard.
        unsafe { engine.conclude(guard, &outcome, &plan.moment) };
        outcome
    }

    /// Settles a commit of several writes if it was made, and retires its descriptor.
    ///
    /// # Safety
    /// The caller made the commit under this guard, and calls this once for it.
    #[inline(always)]
    pub(super) unsafe fn conclude<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        outcome: &Decided<'g, K, V>,
        moment: &Moment<'_>,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            match outcome.commit() {
                Some(commit) => self.settle_all(guard, outcome, commit, moment),
                None => outcome.writes().for_each(|(record, ..)| {
                    self.store.try_condemn(guard, record);
                }),
            }
            self.store.forget(guard, outcome);
        }
    }

    /// Settles a commit of several writes.
    ///
    /// # Safety
    /// As for [`conclude`](Self::conclude).
    #[inline(always)]
    unsafe fn settle_all<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        decided: &Decided<'g, K, V>,
        commit: Commit<'g>,
        moment: &Moment<'_>,
    ) {
        let settling = self.settling(commit);
        settling.mine.commits.add(1);
        let mut count = 0;
        for (record, node, cause) in decided.writes() {
            count += 1;
            let Some(cause) = cause else { continue };
            // SAFETY: the caller's promise.
            let own = unsafe { OwnVersion::new(record, node) };
            let state = node.state();
            if let Some(settled) = self.settle(guard, &settling, (own, state), cause, moment) {
                settled.account();
            }
        }
        if self.store.has_views() {
            self.scratch.get().settled.set(count);
        }
        if let Some(policy) = &self.policy {
            self.keep_bound_of(policy, guard, decided);
        }
    }
}
