//! Entries of a saved cache, put into a new cache that no other thread knows yet.
//!
//! The clock of such a cache may be set. So each group of entries that one commit wrote is written
//! by one commit again, which takes the number of the former one. The groups come in the order of
//! these numbers, so the clock never goes back. Afterwards the policy's queues are put into the
//! order in which they were saved.

use super::Engine;
use super::evict::{EvictionContext, handle};
use super::plan::Plan;
use super::save::SavedTerms;
use super::terms::RequestedTerms;
use crate::chain::{EntryTerms, Parcel};
use crate::dependencies::BondsBuilder;
use crate::policy::Ranked;
use crate::reclaim::Reclaim;
use crate::sync::time::{NEVER, Timer};
use std::hash::{BuildHasher, Hash};

/// An entry to restore.
pub struct ToRestore<K, V> {
    pub key: K,
    pub value: V,
    pub terms: SavedTerms,
    /// The place in the order of the file, the hottest first.
    pub place: usize,
}

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns whether deadlines follow the system's clock.
    pub fn has_system_clock(&self) -> bool {
        matches!(self.timer, Timer::Monotonic(_))
    }

    /// Returns what an entry with this saved weight weighs in this cache.
    pub fn weight_if_restored(&self, saved: u32) -> u32 {
        if self.rules.weigher.is_some() { saved } else { 1 }
    }

    /// Sets all these entries, of which none has expired and for all of which there is room. No
    /// other thread knows the cache yet. `version` is the number of the newest commit of the saved
    /// cache.
    pub fn restore(&self, mut entries: Vec<ToRestore<K, V>>, version: u64) {
        entries.sort_by_key(|entry| entry.terms.version);
        let (now, mut order) = (self.timer.now(), Vec::with_capacity(entries.len()));
        let mut entries = entries.into_iter().peekable();
        while let Some(first) = entries.next() {
            let group = first.terms.version;
            self.store.order.clock.advance_to(group.get() - 1);
            let mut members = vec![first];
            while let Some(next) = entries.next_if(|next| next.terms.version == group) {
                members.push(next);
            }
            self.restore_group(members, now, &mut order);
        }
        self.store.order.clock.advance_to(version);
        self.rearrange(order);
    }

    /// Sets entries by one commit. Appends their places and ranks in the policy.
    fn restore_group(
        &self,
        members: Vec<ToRestore<K, V>>,
        now: u64,
        order: &mut Vec<(usize, Ranked)>,
    ) {
        let config = self.observers().config.snapshot();
        let guard = self.pin();
        let mut plan = Plan::new(self, &guard, &config);
        for ToRestore { key, value, terms, place } in members {
            let record = self.store.locate(&guard, self.hash(&key), key, None);
            let mut parcel = Parcel::empty();
            parcel.put(value);
            order.push((place, Ranked { handle: handle(record), rank: terms.rank }));
            let requested = self.terms_to_restore(&guard, &terms, now);
            plan.push(record, Some(&mut parcel), requested, false, None);
        }
        plan.keep_last();
        self.run_unconditionally(plan);
        drop(guard);
        self.tend();
    }

    /// Returns the terms of an entry; `None` if it is plain.
    fn terms_to_restore<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        terms: &SavedTerms,
        now: u64,
    ) -> Option<RequestedTerms> {
        let until = |left: Option<u64>| left.map_or(NEVER, |left| now.saturating_add(left));
        let SavedTerms { left, end, idle, refresh, .. } = *terms;
        let weight = self.weight_if_restored(terms.weight);
        let is_plain = (left, end, idle, refresh) == (None, None, 0, None);
        if is_plain && terms.tags.is_empty() && !self.rules.are_any {
            return None;
        }
        if refresh.is_some() {
            self.observers().config.expect_refresh();
        }
        let restored =
            EntryTerms::restored(now, until(left), (until(end), idle, until(refresh)), weight);
        let mut requested = RequestedTerms::unchanged(Some(&restored));
        if !terms.tags.is_empty() {
            let mut bonds = BondsBuilder::new(&self.store);
            for tag in &terms.tags {
                bonds.add_tag(self.store.find_or_create_tag(guard, self.hash(tag), tag), 0);
            }
            requested.bonds = bonds.into_bonds(guard);
        }
        Some(requested)
    }

    /// Puts the policy's queues into this order.
    fn rearrange(&self, mut order: Vec<(usize, Ranked)>) {
        let Some(policy) = &self.policy else { return };
        order.sort_by_key(|(place, _)| std::cmp::Reverse(*place));
        let guard = self.pin();
        let context = EvictionContext::new(self, &guard);
        policy.rearrange(&context, order.into_iter().map(|(_, ranked)| ranked));
    }
}
