//! Terms that a caller says, of a batch's or a transaction's write: how long its value is kept, with which tags, or that all
//! of that is as it was.
//!
//! What it was is found when the version is made, after all users' code has run: of the key, or of an earlier write of the
//! same commit.

use super::adjust::Times;
use super::derive::Ties;
use super::keep::{Asked, Moment};
use super::plan::{Change, Plan, Write};
use super::read::Snapshot;
use super::{Engine, fold};
use crate::chain::{Bonds, Node, Record, Terms};
use crate::commit::{Found, Limit};
use crate::reclaim::Reclaim;
use crate::relation::{self, Tag};
use crate::sync::time::{NEVER, deadline};
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::time::Duration;

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
pub(super) struct TermsOf(Vec<relation::Terms>);

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
    /// As of which view it was: its version, up to which version everything had been cleared, and its time. Else, as it is.
    pub as_of: Option<(u64, u64, u64)>,
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

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// The terms of a value for `record`, and what ties it, as a caller has said.
    pub(super) fn as_said(
        &self,
        guard: &R::Guard<'_>,
        record: &Record<K, V>,
        asked: &Asked,
        said: Said,
        times: &Times,
    ) -> (Terms, Option<Box<Bonds>>) {
        let now = asked.now;
        let until = |time| deadline(now, time);
        let was = said.is_as_it_was.then(|| self.as_it_was(guard, record, said.as_of)).flatten();
        // SAFETY: kept by the guard, as all that it was.
        let (terms, bonds) = unsafe {
            was.map_or((None, None), |(node, since)| {
                (Some(node.terms()), node.bonds().map(|bonds| (bonds, since)))
            })
        };
        let (mut end, mut idle, refresh) = match terms {
            Some(terms) => terms.map_or((NEVER, 0, NEVER), Terms::times),
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
        let mut ties = Ties::new(self);
        match (said.tags, bonds) {
            (Some(tags), _) => {
                for (hash, tag) in &tags {
                    ties.tag(self.know_tag_of(guard, *hash, tag), 0);
                }
            }
            // What is invalidated after that look ends what is written.
            (None, Some((bonds, since))) => ties.tags_of(bonds, |_| since),
            (None, None) => {}
        }
        let bonds = if ties.tags.is_empty() { None } else { ties.into_bonds(guard) };
        (Terms::new(now, end, idle, refresh, asked.weight), bonds)
    }

    /// What a record holds that is to be had, as of a view or now, and a number up to which it was so.
    fn as_it_was<'g>(
        &self,
        guard: &'g R::Guard<'_>,
        record: &'g Record<K, V>,
        as_of: Option<(u64, u64, u64)>,
    ) -> Option<(&'g Node<V>, u64)> {
        let Some((version, floor, opened)) = as_of else {
            let since = self.order.clock.now();
            let present = self.present(guard, record, false, &Moment::new(&self.timer));
            return present.map(|(node, _)| (node, since));
        };
        let limit = Limit::View(version);
        // SAFETY: a registered view's version.
        let found = unsafe { self.order.at(record, limit, floor) };
        let Found::Value(node, state) = found else { return None };
        let serves = self.serves(node, state, limit, false, &Moment::at(&self.timer, opened));
        serves.expect("a view can tell").then_some((node, version))
    }
}

impl<'g, K, V, S, R: Reclaim> Plan<'g, '_, K, V, S, R> {
    /// What is asked for a value; where it is kept.
    #[inline(never)]
    pub(super) fn ask(
        &mut self,
        key: &K,
        value: &V,
        keep: Keep,
        terms: &mut Option<Box<TermsOf>>,
    ) -> u32
    where
        S: BuildHasher,
    {
        let (engine, times, moment) = (self.engine, self.settings.times(), &self.moment);
        let ask = |time| engine.rules.ask(times, key, value, time, moment);
        let asked = match keep {
            Keep::AsUsual => ask(None),
            Keep::For(time) => ask(Some(time)),
            Keep::On(place) => {
                let mut asked = ask(None);
                let TermsOf(terms) = &mut **terms.as_mut().expect("they were put there");
                let terms = std::mem::take(&mut terms[place as usize]);
                let hash = |tag: &Tag| fold(engine.hasher.hash_one(tag));
                asked.say(moment.time(), Said::new(terms, hash));
                asked
            }
        };
        self.keep_asked(asked)
    }

    /// The records whose values are to be kept as they were, of which each is read in this view for that.
    pub(super) fn as_it_was(&mut self, view: &Snapshot) -> Vec<&'g Record<K, V>> {
        let mut read = Vec::new();
        if self.asked.iter().any(Asked::is_as_it_was) {
            for at in 0..self.writes.len() {
                let asked = self.asked.get_mut(self.writes[at].asked as usize);
                let said = asked.and_then(|asked| asked.said.as_deref_mut());
                if let Some(said) = said.filter(|said| said.is_as_it_was) {
                    said.as_of = Some((view.version(), view.floor, view.opened()));
                    read.push(self.record(at));
                }
            }
        }
        read
    }
}

/// What is to be kept as it was, and was written before by the same commit, is kept as that.
pub(super) fn follow_earlier<K, V>(writes: &[Write<K, V>], asked: &mut [Asked]) {
    let mut last = HashMap::new();
    for (at, write) in writes.iter().enumerate() {
        let place = write.asked as usize;
        if let Some(earlier) = last.insert(write.record, at)
            && asked.get(place).is_some_and(Asked::is_as_it_was)
        {
            // Each has a place of its own, and an earlier one has an earlier place.
            let (before, after) = asked.split_at_mut(place);
            let earlier: &Write<K, V> = &writes[earlier];
            let before = before.get(earlier.asked as usize).filter(|_| earlier.value.is_some());
            after[0].is_as(before);
        }
    }
}
