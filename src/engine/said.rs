//! The terms that a caller gives for one write of a batch or a transaction: how long the value is
//! kept, its tags, or that the terms of the entry are preserved.
//!
//! The preserved terms are those of the key, or of an earlier write by the same commit. They are
//! read when the version is made, after all user code has run.

use super::Engine;
use super::terms::RequestedTerms;
use crate::chain::{Bonds, RecordRef, Terms, Visible};
use crate::commit::{Limit, ReadAt};
use crate::config::Times;
use crate::dependencies::{Moment, Ties};
use crate::reclaim::Reclaim;
use crate::relation::{self, Tag};
use crate::store::Snapshot;
use crate::sync::time::{NEVER, deadline};
use std::time::Duration;

/// One write that a caller listed.
pub struct Change<K, V> {
    pub key: K,
    pub hash: u32,
    /// `None` for a removal.
    pub value: Option<V>,
    /// The terms of the value.
    pub terms: WriteTerms,
    /// Whether the declared relations of the key apply.
    pub related: bool,
}

/// The terms of one write.
#[derive(Clone, Copy)]
pub enum WriteTerms {
    Default,
    TimeToLive(Duration),
    /// The terms with this index in the list of the [`Changes`].
    Given(u32),
}

/// The writes that a caller listed for one commit, and the terms given for them. The terms are not
/// stored with each change, because changes are moved about and most of them have none.
pub struct Changes<K, V> {
    pub(super) list: Vec<Change<K, V>>,
    pub(super) terms: Option<Box<TermsList>>,
}

/// The terms of the changes that have some.
#[derive(Default)]
pub(super) struct TermsList(pub Vec<relation::Terms>);

impl<K, V> Changes<K, V> {
    pub fn push(&mut self, change: Change<K, V>) {
        self.list.push(change);
    }

    /// Stores terms for a change that is pushed afterwards.
    pub fn add_terms(&mut self, terms: relation::Terms) -> WriteTerms {
        let TermsList(list) = &mut **self.terms.get_or_insert_default();
        list.push(terms);
        WriteTerms::Given(u32::try_from(list.len() - 1).expect("a commit has fewer writes"))
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

/// The terms that a caller gave for a value. The tags are stored with their hashes, so that making
/// the version runs no user code for them.
pub(super) struct CallerTerms {
    pub is_preserved: bool,
    /// The view in which the preserved terms are read, or `None` for the newest version.
    pub as_of: Option<ViewInstant>,
    time_to_live: Option<Duration>,
    time_to_idle: Option<Duration>,
    tags: Option<Vec<(u32, Tag)>>,
}

impl CallerTerms {
    pub fn new(terms: relation::Terms, hash: impl Fn(&Tag) -> u32) -> Self {
        let relation::Terms { is_as_it_was: is_preserved, time_to_live, time_to_idle, tags } =
            terms;
        let hashed = |tag: Tag| (hash(&tag), tag);
        let tags = tags.map(|tags| tags.into_iter().map(hashed).collect());
        Self { is_preserved, as_of: None, time_to_live, time_to_idle, tags }
    }
}

impl RequestedTerms {
    /// Sets the terms that a caller gave at the time `now`.
    pub fn set_caller_terms(&mut self, now: u64, caller_terms: CallerTerms) {
        self.now = now;
        self.caller_terms = Some(Box::new(caller_terms));
    }

    /// Returns whether the write preserves the terms of its entry.
    pub fn is_preserved(&self) -> bool {
        self.caller_terms.as_ref().is_some_and(|caller_terms| caller_terms.is_preserved)
    }

    /// Preserves the terms of `before`, an earlier write of the same entry by the same commit. If
    /// it is `None`, the earlier write was a removal or had the terms of the settings, which then
    /// apply here as well.
    pub fn inherit_from(&mut self, before: Option<&Self>) {
        let Some(caller_terms) = &mut self.caller_terms else { return };
        let Some(before) = before else {
            caller_terms.is_preserved = false;
            return;
        };
        match &before.caller_terms {
            Some(before) => {
                caller_terms.is_preserved = before.is_preserved;
                caller_terms.time_to_live = caller_terms.time_to_live.or(before.time_to_live);
                caller_terms.time_to_idle = caller_terms.time_to_idle.or(before.time_to_idle);
                caller_terms.tags = caller_terms.tags.take().or_else(|| before.tags.clone());
            }
            None => {
                caller_terms.is_preserved = false;
                let rest = match before.end {
                    NEVER => Duration::MAX,
                    end => Duration::from_nanos(end.saturating_sub(before.now)),
                };
                caller_terms.time_to_live = caller_terms.time_to_live.or(Some(rest));
            }
        }
    }
}

/// The instant at which preserved terms are read.
#[derive(Clone, Copy)]
pub(super) struct ViewInstant {
    version: u64,
    floor: u64,
    opened: u64,
}

impl ViewInstant {
    /// # Safety
    /// The view is registered until the terms are made.
    pub unsafe fn view(view: &Snapshot) -> Self {
        Self { version: view.version(), floor: view.floor(), opened: view.opened() }
    }
}

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// Returns the terms and bonds of a value for `record`, as the caller gave them.
    pub(super) fn terms_from_caller<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        record: RecordRef<'g, K, V>,
        requested: &RequestedTerms,
        caller_terms: CallerTerms,
        times: &Times,
    ) -> (Terms, Option<Box<Bonds>>) {
        let now = requested.now;
        let until = |time| deadline(now, time);
        let was = caller_terms
            .is_preserved
            .then(|| self.terms_to_preserve(record, caller_terms.as_of))
            .flatten();
        let (mut end, mut idle, refresh) = match was {
            Some((was, _)) => was.terms().map_or((NEVER, 0, NEVER), Terms::times),
            None => {
                let or_never = |time: Option<Duration>| time.map_or(NEVER, until);
                let live = or_never(times.time_to_live());
                (live, times.time_to_idle(), or_never(times.refresh_after()))
            }
        };
        if let Some(time) = caller_terms.time_to_live {
            end = until(time);
        }
        if let Some(time) = caller_terms.time_to_idle {
            idle = deadline(0, time).max(1); // 0 would mean none
        }
        let mut ties = Ties::new(&self.store);
        let bonds = was.and_then(|(was, since)| Some((was.bonds()?, since)));
        match (caller_terms.tags, bonds) {
            (Some(tags), _) => {
                for (hash, tag) in &tags {
                    ties.tag(self.store.know_tag(guard, *hash, tag), 0);
                }
            }
            // A tag invalidated after that look-up ends the new value.
            (None, Some((bonds, since))) => ties.tags_of(bonds, |_| since),
            (None, None) => {}
        }
        let bonds = if ties.tags.is_empty() { None } else { ties.into_bonds(guard) };
        (Terms::new(now, end, idle, refresh, requested.weight), bonds)
    }

    /// Returns the valid value of a record, as of a view or now, and a number up to which it was
    /// valid.
    fn terms_to_preserve<'g>(
        &'g self,
        record: RecordRef<'g, K, V>,
        as_of: Option<ViewInstant>,
    ) -> Option<(Visible<'g, V>, u64)> {
        let timer = &self.timer;
        let Some(ViewInstant { version, floor, opened }) = as_of else {
            let since = self.store.version();
            let present = self.store.present(record, false, &Moment::new(timer));
            return present.map(|found| (found, since));
        };
        // SAFETY: the version is that of a registered view (see `ViewInstant::view`), under the
        // guard of the record.
        let at = unsafe { ReadAt::new(Limit::View(version)) };
        let found = self
            .store
            .order
            .at(record, at, floor)
            .expect("the view keeps the versions that it shows")?;
        let is_valid = self.store.is_valid(found, at, false, &Moment::at(timer, opened));
        is_valid.expect("the view keeps the versions that it shows").then_some((found, version))
    }
}
