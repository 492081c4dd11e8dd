//! The terms of a value: its deadline, its weight and its bonds.

use super::expiry_policy::{Expiry, Lifetime};
use crate::chain::{Bonds, EntryTerms, NodeRef, Weight};
use crate::config::Times;
use crate::dependencies::Moment;
use crate::relation::{self, Tag};
use crate::store::Snapshot;
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
    /// The time until which the user's policy keeps the value.
    pub policy_end: Option<u64>,
    /// The bonds of the value.
    pub bonds: Option<Box<Bonds>>,
    /// The existing terms of the entry, if they are to stay.
    unchanged: Option<Box<EntryTerms>>,
    /// The caller's terms, if they are more than a time to live.
    pub caller_terms: Option<Box<CallerTerms>>,
}

impl RequestedTerms {
    /// Requests the terms that the entry already has.
    pub fn unchanged(terms: Option<&EntryTerms>) -> Self {
        Self { unchanged: terms.map(|terms| Box::new(terms.again())), ..Self::default() }
    }

    /// Makes the terms. The times must be those with which they were requested.
    pub fn terms(&mut self, times: &Times) -> EntryTerms {
        if let Some(unchanged) = self.unchanged.take() {
            return *unchanged;
        }
        let Self { now, end, weight, is_timed, policy_end, .. } = *self;
        let refresh = if is_timed { times.due(now) } else { NEVER };
        // A value without a time does not know when it was written.
        let is_known = is_timed || times.time_to_idle() != 0;
        let written = if is_known { now } else { NEVER };
        let (idle, weight) = (times.time_to_idle(), Weight::weighed(weight));
        let terms = EntryTerms::new(written, end, idle, refresh, weight);
        match policy_end {
            Some(until) => terms.by_policy(until),
            None => terms,
        }
    }
}

/// The settings for all entries of a cache that never change.
pub(super) struct EntryRules<K, V> {
    pub weigher: Option<Box<Weigher<K, V>>>,
    pub expiry: Option<Box<dyn Expiry<K, V>>>,
    /// Whether there is a weigher or an expiry, so that no value is plain.
    pub are_any: bool,
    /// Returns the name of a key.
    pub name: Option<fn(&K) -> Box<str>>,
    /// The most keys that relations may add to a commit.
    pub max_related: usize,
}

impl Default for RequestedTerms {
    /// Returns the terms of a plain value.
    fn default() -> Self {
        let (bonds, unchanged, caller_terms) = (None, None, None);
        let (is_timed, policy_end) = (false, None);
        Self { now: 0, end: NEVER, weight: 1, is_timed, policy_end, bonds, unchanged, caller_terms }
    }
}

impl<K, V> EntryRules<K, V> {
    /// Returns the requested terms of a value, from the caller's time to live and these `times`.
    /// Runs the user's weigher, and the policy that decides when values expire. For the policy,
    /// `replaced` returns how long the present value of the key would still be kept, if there is
    /// one.
    #[inline]
    pub fn requested(
        &self,
        times: &Times,
        key: &K,
        value: &V,
        time_to_live: Option<Duration>,
        moment: &Moment<'_>,
        replaced: impl FnOnce() -> Option<Lifetime>,
    ) -> Option<RequestedTerms> {
        let plain = self.are_plain(times, time_to_live);
        (!plain).then(|| self.request(times, key, value, time_to_live, moment, replaced))
    }

    /// Returns whether all values are plain with these times.
    #[inline]
    pub fn are_plain(&self, times: &Times, time_to_live: Option<Duration>) -> bool {
        times.is_none() && !self.are_any && time_to_live.is_none()
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
        replaced: impl FnOnce() -> Option<Lifetime>,
    ) -> RequestedTerms {
        let weight = self.weigher.as_ref().map_or(1, |weigher| weigher(key, value));
        // A caller's own time takes precedence over the policy.
        let expiry = self.expiry.as_ref().filter(|_| time_to_live.is_none());
        let kept = expiry.map(|expiry| match replaced() {
            None => expiry.expire_after_create(key, value),
            Some(Lifetime(left)) => expiry.expire_after_update(key, value, left),
        });
        let is_timed = time_to_live.is_some() || !times.is_none() || kept.is_some();
        let now = if is_timed { moment.time() } else { 0 };
        let policy_end = kept.map(|kept| kept.map_or(NEVER, |time| deadline(now, time)));
        let end = time_to_live.map_or_else(|| times.end(now), |time| deadline(now, time));
        RequestedTerms { now, end, weight, is_timed, policy_end, ..RequestedTerms::default() }
    }
}

/// The terms that a caller gave for a value. The tags are stored with their hashes, so that making
/// the version runs no user code for them.
pub(super) struct CallerTerms {
    pub is_preserved: bool,
    /// The view in which the preserved terms are read, or `None` for the newest version.
    pub as_of: Option<ViewInstant>,
    pub time_to_live: Option<Duration>,
    pub time_to_idle: Option<Duration>,
    pub refresh_after: Option<Duration>,
    pub weight: Option<u32>,
    pub tags: Option<Vec<(u32, Tag)>>,
    /// A load has made the bonds. Those of the entry are not preserved.
    pub has_bonds: bool,
}

impl CallerTerms {
    pub fn new(terms: relation::Terms, hash: impl Fn(&Tag) -> u32) -> Self {
        let hashed = |tag: Tag| (hash(&tag), tag);
        Self {
            is_preserved: terms.is_as_it_was,
            as_of: None,
            time_to_live: terms.time_to_live,
            time_to_idle: terms.time_to_idle,
            refresh_after: terms.refresh_after,
            weight: terms.weight,
            tags: terms.tags.map(|tags| tags.into_iter().map(hashed).collect()),
            has_bonds: false,
        }
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
                caller_terms.refresh_after = caller_terms.refresh_after.or(before.refresh_after);
                caller_terms.weight = caller_terms.weight.or(before.weight);
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
    pub version: u64,
    pub watermark: u64,
    pub opened: u64,
}

impl ViewInstant {
    /// # Safety
    /// The view is registered until the terms are made.
    pub unsafe fn view(view: &Snapshot) -> Self {
        Self { version: view.version(), watermark: view.watermark(), opened: view.opened() }
    }
}

/// Returns the weight of a version's value.
#[inline(always)]
pub(super) fn weight_of<V>(node: NodeRef<'_, V>, state: State) -> u32 {
    if !state.has_terms() {
        return 1;
    }
    node.terms().map_or(1, EntryTerms::weight)
}
