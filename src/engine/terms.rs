//! On which terms a value is kept: until when, and what it weighs.

use super::Engine;
use super::said::Said;
use crate::chain::{Bonds, EntryTerms, NodeRef, RecordRef};
use crate::config::Times;
use crate::dependencies::Moment;
use crate::reclaim::Reclaim;
use crate::store::TermsAndBonds;
use crate::sync::time::{NEVER, deadline};
use crate::version::State;
use std::time::Duration;

/// Says what an entry counts for against the capacity.
pub type Weigher<K, V> = dyn Fn(&K, &V) -> u32 + Send + Sync;

/// What [`EntryTerms`] are made of, together with the cache's times. If nothing is asked for a value it is kept for ever, and
/// counts for one.
pub(super) struct Asked {
    pub now: u64,
    pub end: u64,
    pub weight: u32,
    is_timed: bool,
    /// What it is tied to.
    pub bonds: Option<Box<Bonds>>,
    /// The terms that it has already.
    same: Option<Box<EntryTerms>>,
    /// What the caller has said, if that is more than a time to live.
    pub said: Option<Box<Said>>,
}

impl Asked {
    /// Nothing but the terms of what is there.
    pub fn again(terms: Option<&EntryTerms>) -> Self {
        Self { same: terms.map(|terms| Box::new(terms.again())), ..Self::default() }
    }

    /// The terms that were asked for, by the same times as when they were.
    pub fn terms(&mut self, times: &Times) -> EntryTerms {
        if let Some(same) = self.same.take() {
            return *same;
        }
        let Self { now, end, weight, is_timed, .. } = *self;
        let refresh = times.refresh_after().filter(|_| is_timed);
        let refresh = refresh.map_or(NEVER, |time| deadline(now, time));
        EntryTerms::new(now, end, times.time_to_idle(), refresh, weight)
    }
}

/// The rules for all entries of a cache that never change.
pub(super) struct Rules<K, V> {
    pub weigher: Option<Box<Weigher<K, V>>>,
    /// How a key is shown.
    pub name: Option<fn(&K) -> Box<str>>,
    /// To how many keys the relations of a commit may lead.
    pub max_related: usize,
}

impl Default for Asked {
    /// Nothing.
    fn default() -> Self {
        let (bonds, same, said) = (None, None, None);
        Self { now: 0, end: NEVER, weight: 1, is_timed: false, bonds, same, said }
    }
}

impl<K, V> Rules<K, V> {
    /// What is asked for a value, by the caller and by these `times`. Runs the user's weigher.
    #[inline]
    pub fn asked(
        &self,
        times: &Times,
        key: &K,
        value: &V,
        time_to_live: Option<Duration>,
        moment: &Moment<'_>,
    ) -> Option<Asked> {
        let plain = self.are_plain(times, time_to_live);
        (!plain).then(|| self.ask(times, key, value, time_to_live, moment))
    }

    /// Whether nothing is asked for any value.
    #[inline]
    pub fn are_plain(&self, times: &Times, time_to_live: Option<Duration>) -> bool {
        times.is_none() && self.weigher.is_none() && time_to_live.is_none()
    }

    /// What is asked for a value, whatever it is.
    #[inline(never)]
    pub fn ask(
        &self,
        times: &Times,
        key: &K,
        value: &V,
        time_to_live: Option<Duration>,
        moment: &Moment<'_>,
    ) -> Asked {
        let weight = self.weigher.as_ref().map_or(1, |weigher| weigher(key, value));
        let is_timed = time_to_live.is_some() || !times.is_none();
        let now = if is_timed { moment.time() } else { 0 };
        let time_to_live = time_to_live.or(times.time_to_live());
        let end = time_to_live.map_or(NEVER, |time| deadline(now, time));
        Asked { now, end, weight, is_timed, ..Asked::default() }
    }
}

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// The terms and bonds of a value for `record`, as they were asked for, by these times. No
    /// user's code runs from here to the commit.
    pub(super) fn retention<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        record: RecordRef<'g, K, V>,
        asked: &mut Asked,
        times: &Times,
    ) -> TermsAndBonds {
        let (terms, bonds) = match asked.said.take() {
            Some(said) => self.as_said(guard, record, asked, *said, times),
            None => (asked.terms(times), asked.bonds.take()),
        };
        if terms.deadline() != NEVER {
            self.deadlines.expect();
        }
        TermsAndBonds { terms, bonds }
    }
}

/// What a version's value counts for.
#[inline(always)]
pub(super) fn weight_of<V>(node: NodeRef<'_, V>, state: State) -> u32 {
    if !state.has_terms() {
        return 1;
    }
    node.terms().map_or(1, EntryTerms::weight)
}
