//! Terms that a caller says, of a batch's or a transaction's write: how long its value is kept, with which tags, or that all
//! of that is as it was.
//!
//! What it was is found when the version is made, after all users' code has run: of the key, or of an earlier write of the
//! same commit.

use super::Engine;
use super::terms::Asked;
use crate::chain::{Bonds, EntryTerms, RecordRef, Visible};
use crate::commit::{Limit, ReadAt};
use crate::config::Times;
use crate::dependencies::{BondsBuilder, Moment};
use crate::reclaim::Reclaim;
use crate::relation::{self, Tag};
use crate::store::Snapshot;
use crate::sync::time::{NEVER, deadline};
use std::time::Duration;

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

/// How a caller has a value kept.
#[derive(Clone, Copy)]
pub enum Keep {
    AsUsual,
    For(Duration),
    /// On terms, which stand at this place of the [`Changes`].
    On(u32),
}

/// What a caller asked for, that one commit is to write, and what was said of it. Not with each change, as these are moved
/// about, and mostly nothing is.
pub struct Changes<K, V> {
    pub(super) list: Vec<Change<K, V>>,
    pub(super) terms: Option<Box<TermsOf>>,
}

/// The terms of those changes that have some.
#[derive(Default)]
pub(super) struct TermsOf(pub Vec<relation::Terms>);

impl<K, V> Changes<K, V> {
    pub fn push(&mut self, change: Change<K, V>) {
        self.list.push(change);
    }

    /// Has a change to come be kept on these terms.
    pub fn on(&mut self, terms: relation::Terms) -> Keep {
        let TermsOf(list) = &mut **self.terms.get_or_insert_default();
        list.push(terms);
        Keep::On(u32::try_from(list.len() - 1).expect("fewer writes"))
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

/// What a caller has said of the terms of a value. Its tags are with their hashes, so that no user's code runs for them
/// when the version is made.
pub(super) struct Said {
    pub is_as_it_was: bool,
    /// As of which view it was. `None`: as it is.
    pub as_of: Option<AsOf>,
    time_to_live: Option<Duration>,
    time_to_idle: Option<Duration>,
    tags: Option<Vec<(u32, Tag)>>,
}

impl Said {
    pub fn new(terms: relation::Terms, hash: impl Fn(&Tag) -> u32) -> Self {
        let relation::Terms { is_as_it_was, time_to_live, time_to_idle, tags } = terms;
        let hashed = |tag: Tag| (hash(&tag), tag);
        let tags = tags.map(|tags| tags.into_iter().map(hashed).collect());
        Self { is_as_it_was, as_of: None, time_to_live, time_to_idle, tags }
    }
}

impl Asked {
    /// Has a caller's terms hold, at that time.
    pub fn say(&mut self, now: u64, said: Said) {
        self.now = now;
        self.said = Some(Box::new(said));
    }

    /// Whether it is to be as it was.
    pub fn is_as_it_was(&self) -> bool {
        self.said.as_ref().is_some_and(|said| said.is_as_it_was)
    }

    /// It is to be as it was, and what was is a value of the same commit, for which this is asked; `None`: what the settings
    /// say, or the value was removed.
    pub fn is_as(&mut self, before: Option<&Self>) {
        let Some(said) = &mut self.said else { return };
        let Some(before) = before else {
            said.is_as_it_was = false;
            return;
        };
        match &before.said {
            Some(before) => {
                said.is_as_it_was = before.is_as_it_was;
                said.time_to_live = said.time_to_live.or(before.time_to_live);
                said.time_to_idle = said.time_to_idle.or(before.time_to_idle);
                said.tags = said.tags.take().or_else(|| before.tags.clone());
            }
            None => {
                said.is_as_it_was = false;
                let rest = match before.end {
                    NEVER => Duration::MAX,
                    end => Duration::from_nanos(end.saturating_sub(before.now)),
                };
                said.time_to_live = said.time_to_live.or(Some(rest));
            }
        }
    }
}

/// The instant as of which terms are kept as they were.
#[derive(Clone, Copy)]
pub(super) struct AsOf {
    version: u64,
    watermark: u64,
    opened: u64,
}

impl AsOf {
    /// # Safety
    /// The view is registered until the terms are made.
    pub unsafe fn view(view: &Snapshot) -> Self {
        Self { version: view.version(), watermark: view.watermark(), opened: view.opened() }
    }
}

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// The terms of a value for `record`, and what ties it, as a caller has said.
    pub(super) fn as_said<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        record: RecordRef<'g, K, V>,
        asked: &Asked,
        said: Said,
        times: &Times,
    ) -> (EntryTerms, Option<Box<Bonds>>) {
        let now = asked.now;
        let until = |time| deadline(now, time);
        let was = said.is_as_it_was.then(|| self.as_it_was(record, said.as_of)).flatten();
        let (mut end, mut idle, refresh) = match was {
            Some((was, _)) => was.terms().map_or((NEVER, 0, NEVER), EntryTerms::times),
            None => {
                let or_never = |time: Option<Duration>| time.map_or(NEVER, until);
                let live = or_never(times.time_to_live());
                (live, times.time_to_idle(), or_never(times.refresh_after()))
            }
        };
        if let Some(time) = said.time_to_live {
            end = until(time);
        }
        if let Some(time) = said.time_to_idle {
            idle = deadline(0, time).max(1); // 0 would be none
        }
        let mut ties = BondsBuilder::new(&self.store);
        let bonds = was.and_then(|(was, since)| Some((was.bonds()?, since)));
        match (said.tags, bonds) {
            (Some(tags), _) => {
                for (hash, tag) in &tags {
                    ties.add_tag(self.store.find_or_create_tag(guard, *hash, tag), 0);
                }
            }
            // What is invalidated after that look ends what is written.
            (None, Some((bonds, since))) => ties.add_tags_of(bonds, |_| since),
            (None, None) => {}
        }
        let bonds = if ties.tags.is_empty() { None } else { ties.into_bonds(guard) };
        (EntryTerms::new(now, end, idle, refresh, asked.weight), bonds)
    }

    /// What a record holds that is valid, as of a view or now, and a number up to which it was so.
    fn as_it_was<'g>(
        &'g self,
        record: RecordRef<'g, K, V>,
        as_of: Option<AsOf>,
    ) -> Option<(Visible<'g, V>, u64)> {
        let timer = &self.timer;
        let Some(AsOf { version, watermark, opened }) = as_of else {
            let since = self.store.version();
            let present = self.store.present(record, false, &Moment::new(timer));
            return present.map(|found| (found, since));
        };
        // SAFETY: a registered view's version (see `AsOf::view`), under the record's guard.
        let at = unsafe { ReadAt::new(Limit::View(version)) };
        let found = self.store.order.at(record, at, watermark).expect("a view can tell")?;
        let is_valid = self.store.is_valid(found, at, false, &Moment::at(timer, opened));
        is_valid.expect("a view can tell").then_some((found, version))
    }
}
