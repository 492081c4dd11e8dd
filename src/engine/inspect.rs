//! What the monitor asks of the engine: the entries that a view shows, and the keys related to
//! them.

use super::Engine;
use crate::config::ConfigSnapshot;
use crate::dependencies::Moment;
use crate::reclaim::Reclaim;
use crate::relation::{KeyName, Related, too_many};
use crate::removal::RemovalCause;
use crate::store::{KEPT, Snapshot, version_of};
use crate::version::Version;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::ops::Range;

/// The relations declared at one moment.
pub struct Relations<'e, K, V>(ConfigSnapshot<'e, K, V>);

impl<K, V> Relations<'_, K, V> {
    /// Returns whether any relations are declared.
    pub fn are_declared(&self) -> bool {
        self.0.relation().is_some()
    }
}

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns the relations that are declared now.
    pub fn relations(&self) -> Relations<'_, K, V> {
        Relations(self.observers().config.snapshot())
    }

    /// Appends the keys that a view shows in the first of these parts of the index, and in parts
    /// that are visited with it. `division` is the number of parts of the whole index. Returns the
    /// next part to visit, and the number of entries that the view does not show only because they
    /// have expired.
    pub fn visible_keys<'v>(
        &self,
        snapshot: &'v Snapshot,
        division: usize,
        parts: Range<usize>,
        out: &mut Vec<(&'v K, Version)>,
    ) -> (usize, usize) {
        let guard = self.pin();
        let (records, next) = self.store.records_of(&guard, division, parts);
        let (opened, mut overdue) = (snapshot.opened(), 0);
        for record in records {
            let (at, moment) = (snapshot.at(record.live()), Moment::at(&self.timer, opened));
            let held = self.store.valid_at(Some(record), at, false, &moment).expect(KEPT);
            if let Some(found) = held.value() {
                // SAFETY: a record is not removed while a registered view shows a value of it, and
                // the view is registered for 'v.
                let key: &'v K = unsafe { &*std::ptr::from_ref(record.key()) };
                out.push((key, version_of(found.seen())));
            }
            overdue += usize::from(held.ended() == Some(RemovalCause::Expired));
        }
        (next, overdue)
    }

    /// Returns the keys that a write of `key` also writes, each once. Relations are followed
    /// transitively, as by a commit. Runs user code, which may panic.
    pub fn related_keys(&self, relations: &Relations<'_, K, V>, key: &K) -> Vec<K> {
        let Some(relation) = relations.0.relation() else { return Vec::new() };
        let hash_of_key = self.hash(key);
        let most = self.rules.max_related;
        let mut related = Related::new(Vec::new(), most);
        related.begin(hash_of_key);
        let mut group: Vec<K> = Vec::new();
        let mut positions: HashMap<u32, Vec<usize>> = HashMap::new();
        let mut next = 0;
        relation(key, &mut related);
        loop {
            for (member, _) in related.writes() {
                let Some(member) = member.take() else { continue };
                let hash = self.hash(&member);
                let positions = positions.entry(hash).or_default();
                let is_key = hash == hash_of_key && member == *key;
                if !is_key && positions.iter().all(|position| group[*position] != member) {
                    if group.len() == most {
                        too_many(
                            &KeyName::new(key, hash_of_key),
                            &KeyName::new(&member, hash),
                            most,
                        );
                    }
                    positions.push(group.len());
                    group.push(member);
                }
            }
            related.clear();
            let Some(member) = group.get(next) else { return group };
            relation(member, &mut related);
            next += 1;
        }
    }
}
