//! The terms of a value: its deadline, its weight and its bonds.

use super::Engine;
use super::said::CallerTerms;
use crate::chain::{Bonds, NodeRef, RecordRef, Terms};
use crate::config::Times;
use crate::dependencies::Moment;
use crate::reclaim::Reclaim;
use crate::store::Retention;
use crate::sync::time::{NEVER, deadline};
use crate::version::State;
use std::time::Duration;

/// Returns the weight of an entry.
pub type Weigher<K, V> = dyn Fn(&K, &V) -> u32 + Send + Sync;

/// The input from which [`Terms`] are made, together with the cache's times. By default a value is
/// kept for ever and has the weight 1.
pub(super) struct RequestedTerms {
    pub now: u64,
    pub end: u64,
    pub weight: u32,
    is_timed: bool,
    /// The bonds of the value.
    pub bonds: Option<Box<Bonds>>,
    /// The existing terms of the entry, if they are to stay.
    unchanged: Option<Box<Terms>>,
    /// The caller's terms, if they are more than a time to live.
    pub caller_terms: Option<Box<CallerTerms>>,
}

impl RequestedTerms {
    /// Requests the terms that the entry already has.
    pub fn unchanged(terms: Option<&Terms>) -> Self {
        Self { unchanged: terms.map(|terms| Box::new(terms.again())), ..Self::default() }
    }

    /// Makes the terms. The times must be those with which they were requested.
    pub fn terms(&mut self, times: &Times) -> Terms {
        if let Some(unchanged) = self.unchanged.take() {
            return *unchanged;
        }
        let Self { now, end, weight, is_timed, .. } = *self;
        let refresh = times.refresh_after().filter(|_| is_timed);
        let refresh = refresh.map_or(NEVER, |time| deadline(now, time));
        Terms::new(now, end, times.time_to_idle(), refresh, weight)
    }
}

/// The settings for all entries of a cache that never change.
pub(super) struct EntryRules<K, V> {
    pub weigher: Option<Box<Weigher<K, V>>>,
    /// Returns the name of a key.
    pub name: Option<fn(&K) -> Box<str>>,
    /// The most keys that relations may add to a commit.
    pub max_related: usize,
}

impl Default for RequestedTerms {
    /// Returns the terms of a plain value.
    fn default() -> Self {
        let (bonds, unchanged, caller_terms) = (None, None, None);
        Self { now: 0, end: NEVER, weight: 1, is_timed: false, bonds, unchanged, caller_terms }
    }
}

impl<K, V> EntryRules<K, V> {
    /// Returns the requested terms of a value, from the caller's time to live and these `times`.
    /// Runs the user's weigher.
    #[inline]
    pub fn requested(
        &self,
        times: &Times,
        key: &K,
        value: &V,
        time_to_live: Option<Duration>,
        moment: &Moment<'_>,
    ) -> Option<RequestedTerms> {
        let plain = self.are_plain(times, time_to_live);
        (!plain).then(|| self.request(times, key, value, time_to_live, moment))
    }

    /// Returns whether all values are plain with these times.
    #[inline]
    pub fn are_plain(&self, times: &Times, time_to_live: Option<Duration>) -> bool {
        times.is_none() && self.weigher.is_none() && time_to_live.is_none()
    }

    /// Returns the requested terms of a value, plain or not.
    #[inline(never)]
    pub fn request(
        &self,
        times: &Times,
        key: &K,
        value: &V,
        time_to_live: Option<Duration>,
        moment: &Moment<'_>,
    ) -> RequestedTerms {
        let weight = self.weigher.as_ref().map_or(1, |weigher| weigher(key, value));
        let is_timed = time_to_live.is_some() || !times.is_none();
        let now = if is_timed { moment.time() } else { 0 };
        let time_to_live = time_to_live.or(times.time_to_live());
        let end = time_to_live.map_or(NEVER, |time| deadline(now, time));
        RequestedTerms { now, end, weight, is_timed, ..RequestedTerms::default() }
    }
}

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// Returns the terms and bonds of a value for `record`, as requested. The times must be those
    /// with which they were requested. No user code runs from here to the commit.
    pub(super) fn retention<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        record: RecordRef<'g, K, V>,
        requested: &mut RequestedTerms,
        times: &Times,
    ) -> Retention {
        let (terms, bonds) = match requested.caller_terms.take() {
            Some(caller_terms) => {
                self.terms_from_caller(guard, record, requested, *caller_terms, times)
            }
            None => (requested.terms(times), requested.bonds.take()),
        };
        if terms.deadline() != NEVER {
            self.deadlines.expect();
        }
        Retention { terms, bonds }
    }
}

/// Returns the weight of a version's value.
#[inline(always)]
pub(super) fn weight_of<V>(node: NodeRef<'_, V>, state: State) -> u32 {
    if !state.has_terms() {
        return 1;
    }
    node.terms().map_or(1, Terms::weight)
}
