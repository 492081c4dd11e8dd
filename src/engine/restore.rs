//! Entries of a saved cache, put into a new cache that no other thread knows yet. (In a cache that
//! others use already, `restore_group.rs` does that.)
//!
//! The members of a group keep the number of their commit, and with it their oneness. Nobody sees
//! in which order they come. So each entry is written by itself, with the number that it had, and
//! the clock is set once. The entries come coldest first, each at the end of its queue of the
//! policy, which thereby gets the order in which it was saved.

use super::Engine;
use super::evict::handle;
use super::post_commit::Settled;
use super::save::SavedTerms;
use super::terms::{RequestedTerms, weight_of};
use crate::chain::{Bonds, EntryTerms, NodeRef, Parcel, RecordRef, Weight, flags};
use crate::config::Times;
use crate::dependencies::{BondsBuilder, Moment};
use crate::policy::{HITS, Rank};
use crate::reclaim::Reclaim;
use crate::removal::RemovalCause;
use crate::store::Numbered;
use crate::sync::time::{NEVER, Timer};
use crate::version::Version;
use std::hash::{BuildHasher, Hash};

/// The number of entries whose places in the index are prefetched together.
const AHEAD: usize = 16;

/// An entry to restore.
pub struct ToRestore<K, V> {
    pub key: K,
    pub value: V,
    pub version: Version,
    pub rank: Rank,
    pub weight: Weight,
    /// All terms of the entry, if there are others than these.
    pub terms: Option<Box<SavedTerms>>,
}

impl<K, V> ToRestore<K, V> {
    /// Returns the deadline, if the times count from `since`.
    pub fn deadline(&self, since: u64) -> u64 {
        until(self.terms.as_ref().and_then(|terms| terms.left), since)
    }
}

/// Returns the end of a time that is left.
fn until(left: Option<u64>, since: u64) -> u64 {
    left.map_or(NEVER, |left| since.saturating_add(left))
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

    /// Returns the time that deadlines follow.
    pub fn time(&self) -> u64 {
        self.timer.now()
    }

    /// Returns what an entry with this saved weight weighs in this cache.
    pub fn weight_if_restored(&self, saved: Weight) -> Weight {
        if self.rules.weigher.is_some() { saved } else { Weight::weighed(1) }
    }

    /// Makes room in the index for as many entries. There are none yet.
    pub fn make_room(&mut self, entries: usize) {
        self.store.make_room(entries);
    }

    /// Sets all these entries, the hottest first, of which none has expired and for all of which
    /// there is room. Their times count from `since`. No other thread knows the cache yet.
    /// `version` is the number of the newest commit of the saved cache.
    pub fn restore(&self, mut entries: Vec<ToRestore<K, V>>, version: u64, since: u64) {
        self.store.order.clock.advance_to(version);
        if let Some(policy) = &self.policy {
            policy.expect(entries.len() as u64);
        }
        let config = self.observers().config.snapshot();
        let guard = self.pin();
        let mut sum = Settled { era: self.store.era(&guard), entries: 0, weight: 0 };
        while !entries.is_empty() {
            let (first, mut hashes) = (entries.len().saturating_sub(AHEAD), [0; AHEAD]);
            for (hash, entry) in hashes.iter_mut().zip(&entries[first..]) {
                *hash = self.hash(&entry.key);
                self.store.prefetch_bucket(&guard, *hash);
            }
            for (hash, entry) in hashes.into_iter().zip(entries.drain(first..)).rev() {
                if let Some(settled) =
                    self.restore_entry(&guard, config.times(), hash, entry, since)
                {
                    sum.entries += settled.entries;
                    sum.weight += settled.weight;
                }
            }
        }
        sum.account();
        drop(guard);
        self.tend();
    }

    /// Sets one entry, unless the file had a newer one of the same key. Returns what is not
    /// accounted for.
    #[inline]
    fn restore_entry<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        times: &Times,
        hash: u32,
        entry: ToRestore<K, V>,
        since: u64,
    ) -> Option<Settled<'g>> {
        let ToRestore { key, value, version, rank, weight, terms } = entry;
        let (mut place, number) = (Parcel::empty(), version.get());
        place.put(value);
        let is_plain = terms.is_none() && !self.rules.are_any;
        let retention = |record| {
            let mut requested =
                self.terms_to_restore(terms.as_deref(), weight, since).unwrap_or_default();
            requested.bonds = self.bonds_to_restore(guard, terms.as_deref());
            self.retention(guard, record, &mut requested, times)
        };
        let retention = (!is_plain).then_some(retention);
        // Whether a key comes twice depends on the file alone, which may be forged.
        let written =
            self.store.write_numbered(guard, (hash, key), &mut place, number, retention)?;
        let (record, node, settled) = match written {
            Numbered::First(written) => {
                (written.own.record(), written.own.node(), self.settle_first(written))
            }
            Numbered::Other(written) => {
                let (record, node) = (written.own.record(), written.own.node());
                let (cause, moment) = (RemovalCause::Replaced, Moment::new(&self.timer));
                (record, node, self.settle_one(guard, written, cause, &moment))
            }
        };
        self.queue_restored(record, node, rank);
        Some(settled)
    }

    /// Makes the policy hold the record of an entry, in its former place.
    #[inline]
    fn queue_restored<'g>(&self, record: RecordRef<'g, K, V>, node: NodeRef<'g, V>, rank: Rank) {
        let Some(policy) = &self.policy else { return };
        let has_weight = weight_of(node, node.state()) > 0;
        if has_weight && record.set_flags(flags::ADMITTED) & flags::ADMITTED == 0 {
            let hits = policy.put(handle(record), rank);
            node.set_hits_left(node.state(), HITS - hits);
        }
    }

    /// Returns the terms of an entry whose times count from `since`, without its tags; `None` if it
    /// is plain.
    pub(super) fn terms_to_restore(
        &self,
        terms: Option<&SavedTerms>,
        weight: Weight,
        since: u64,
    ) -> Option<RequestedTerms> {
        let Some(terms) = terms else {
            let plain = || EntryTerms::restored(since, NEVER, (NEVER, 0, NEVER), weight);
            return self.rules.are_any.then(|| RequestedTerms::unchanged(Some(&plain())));
        };
        let SavedTerms { left, end, idle, refresh, .. } = *terms;
        if refresh.is_some() {
            self.observers().config.expect_refresh();
        }
        let times = (until(end, since), idle, until(refresh, since));
        let restored = EntryTerms::restored(since, until(left, since), times, weight);
        Some(RequestedTerms::unchanged(Some(&restored)))
    }

    /// Returns the bonds of a value that has the tags of these terms.
    fn bonds_to_restore(
        &self,
        guard: &R::Guard<'_>,
        terms: Option<&SavedTerms>,
    ) -> Option<Box<Bonds>> {
        let tags = &terms.filter(|terms| !terms.tags.is_empty())?.tags;
        let mut bonds = BondsBuilder::new(&self.store);
        for tag in tags {
            bonds.add_tag(self.store.find_or_create_tag(guard, self.hash(tag), tag), 0);
        }
        bonds.into_bonds(guard)
    }
}
