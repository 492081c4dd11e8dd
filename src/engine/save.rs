//! What is saved of a cache: the entries that a view shows, hottest first, with their terms.

use super::Engine;
use super::evict::EvictionContext;
use super::expiry_policy::nanos_left;
use crate::chain::{EntryTerms, Record, Visible, Weight};
use crate::policy::Rank;
use crate::reclaim::Reclaim;
use crate::relation::Tag;
use crate::store::{Snapshot, cells_of, version_of};
use crate::sync::time::NEVER;
use crate::version::Version;
use std::cmp::Reverse;
use std::collections::HashSet;
use std::hash::{BuildHasher, Hash};

/// How many keys ahead of the one that is saved memory is asked for.
const AHEAD: usize = 12;

/// The terms of a saved entry. Times are relative to the instant of the view; `None` stands for
/// never.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedTerms {
    pub version: Version,
    pub rank: Rank,
    pub weight: Weight,
    /// The time left until the deadline, if the value is not used.
    pub left: Option<u64>,
    /// The time left until the latest deadline.
    pub end: Option<u64>,
    /// As [`EntryTerms::times`] returns it.
    pub idle: u64,
    /// The time left until the value is due for reloading.
    pub refresh: Option<u64>,
    pub tags: Vec<Tag>,
}

/// What a view holds for a key.
pub enum ToSave<'v, V> {
    Absent,
    /// A derived value is not saved: it is derived again.
    Derived,
    Value(&'v V, SavedTerms),
}

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns the keys that a view shows, each once, with their ranks and versions: first those
    /// that the policy does not hold, newest first, and then the hottest. Visits all entries, those
    /// of the policy under one guard.
    pub fn keys_by_heat<'v>(&self, snapshot: &'v Snapshot) -> Vec<(&'v K, Rank, Version)> {
        let (mut keys, mut known) = (Vec::new(), HashSet::new());
        if let Some(policy) = &self.policy {
            let guard = self.pin_for_long();
            let context = EvictionContext::new(self, &guard);
            for ranked in policy.coldest_first(&context).into_iter().rev() {
                let record = context.record(ranked.handle);
                let Some(found) = self.read_record(record, snapshot) else { continue };
                // SAFETY: a record is not removed while a registered view shows a value of it, and
                // the view is registered for 'v.
                let key: &'v K = unsafe { &*std::ptr::from_ref(record.key()) };
                if known.insert(std::ptr::from_ref(key)) {
                    keys.push((key, ranked.rank, version_of(found.seen())));
                }
            }
        }
        let (division, mut next, mut part) = (self.parts(), 0, Vec::new());
        let mut unknown = Vec::new();
        while next < division {
            next = self.scan(snapshot, division, next..division, &mut part);
            let keys = part.drain(..).map(|(key, _, version)| (key, Rank::UNKNOWN, version));
            unknown.extend(keys.filter(|(key, ..)| !known.contains(&std::ptr::from_ref(*key))));
        }
        // So the members of a group are together.
        unknown.sort_unstable_by_key(|(.., version)| Reverse(*version));
        unknown.append(&mut keys);
        unknown
    }

    /// Returns what a view holds for the key at this place of the list, and its terms.
    pub fn to_save<'v>(
        &self,
        snapshot: &'v Snapshot,
        keys: &[(&'v K, Rank, Version)],
        at: usize,
    ) -> ToSave<'v, V> {
        let (guard, (key, rank, _)) = (self.pin(), keys[at]);
        // What comes later is on its way to the processor meanwhile: first the keys, and when they
        // are there, what their hashes lead to.
        if let Some((key, ..)) = keys.get(at + 2 * AHEAD) {
            Record::<K, V>::prefetch_at(std::ptr::from_ref(*key).addr());
        }
        if let Some((key, ..)) = keys.get(at + AHEAD) {
            let hash = self.hash(*key);
            self.store.prefetch_bucket(&guard, hash);
            self.store.prefetch_home(hash);
        }
        let Some(record) = self.store.find(&guard, self.hash(key), key) else {
            return ToSave::Absent;
        };
        let Some(found) = self.read_record(record, snapshot) else { return ToSave::Absent };
        if found.bonds().is_some_and(|bonds| !bonds.inputs().is_empty()) {
            return ToSave::Derived;
        }
        ToSave::Value(found.value(), saved_terms(found, rank, snapshot.opened()))
    }
}

fn saved_terms<V>(found: Visible<'_, V>, rank: Rank, now: u64) -> SavedTerms {
    let left = |until| nanos_left(until, now);
    let (end, idle, refresh) = found.terms().map_or((NEVER, 0, NEVER), EntryTerms::times);
    let tags = found.bonds().into_iter().flat_map(cells_of);
    SavedTerms {
        version: version_of(found.seen()),
        rank,
        weight: found.terms().map_or(Weight::weighed(1), EntryTerms::whole_weight),
        left: left(found.terms().map_or(NEVER, EntryTerms::deadline)),
        end: left(end),
        idle,
        refresh: left(refresh),
        tags: tags.map(|(cell, _)| cell.tag().clone()).collect(),
    }
}
