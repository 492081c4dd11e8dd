//! What a monitor asks of the engine: the entries that a view shows, and what belongs to them by the declared relations.

use super::Engine;
use crate::config::ConfigSnapshot;
use crate::reclaim::Reclaim;
use crate::relation::{KeyName, Related, too_many};
use crate::store::Snapshot;
use crate::version::Version;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::ops::Range;

/// The relations that are declared at some moment.
pub struct Relations<'e, K, V>(ConfigSnapshot<'e, K, V>);

impl<K, V> Relations<'_, K, V> {
    /// Whether there are any.
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
    /// The relations that are declared now.
    pub fn relations(&self) -> Relations<'_, K, V> {
        Relations(self.observers().config.snapshot())
    }

    /// Appends what a view sees in the first of these parts of the index, of so many in all, and in some after
    /// it. Returns the part to go on with, and how many entries the view does not see only because their deadline had
    /// come.
    pub fn sights<'v>(
        &self,
        snapshot: &'v Snapshot,
        division: usize,
        parts: Range<usize>,
        out: &mut Vec<(&'v K, Version)>,
    ) -> (usize, usize) {
        let guard = self.pin();
        let (records, next) = self.store.records_of(&guard, division, parts);
        let mut overdue = 0;
        for record in records {
            if let Some((_, version)) = self.read_record(record, snapshot) {
                // SAFETY: a record of which a registered view sees a value is not removed while
                // the view is registered, which it is for 'v.
                let key: &'v K = unsafe { &*std::ptr::from_ref(record.key()) };
                out.push((key, version));
                continue;
            }
            let at = snapshot.at(record.live());
            let found =
                self.store.order.at(record, at, snapshot.watermark()).expect("a view can tell");
            overdue += usize::from(found.is_some_and(|found| found.is_expired(snapshot.opened())));
        }
        (next, overdue)
    }

    /// The keys that a write of `key` writes as well, each once: relations are followed to their end, as a
    /// commit does. Runs user's code, which may panic.
    pub fn group(&self, relations: &Relations<'_, K, V>, key: &K) -> Vec<K> {
        let Some(relation) = relations.0.relation() else { return Vec::new() };
        let hash_of_key = self.hash(key);
        let most = self.rules.max_related;
        let mut related = Related::new(Vec::new(), most);
        related.begin(hash_of_key);
        let mut group: Vec<K> = Vec::new();
        let mut places: HashMap<u32, Vec<usize>> = HashMap::new();
        let mut next = 0;
        relation(key, &mut related);
        loop {
            for (member, _) in related.drain() {
                let hash = self.hash(&member);
                let places = places.entry(hash).or_default();
                let is_key = hash == hash_of_key && member == *key;
                if !is_key && places.iter().all(|place| group[*place] != member) {
                    if group.len() == most {
                        too_many(
                            &KeyName::new(key, hash_of_key),
                            &KeyName::new(&member, hash),
                            most,
                        );
                    }
                    places.push(group.len());
                    group.push(member);
                }
            }
            let Some(member) = group.get(next) else { return group };
            relation(member, &mut related);
            next += 1;
        }
    }
}
