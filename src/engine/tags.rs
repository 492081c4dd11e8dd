//! Tagged values, and the commits that invalidate a tag.

use super::Engine;
use super::plan::Plan;
use super::terms::RequestedTerms;
use crate::chain::{Parcel, RecordRef};
use crate::commit::Precondition;
use crate::dependencies::BondsBuilder;
use crate::metrics::EventKind;
use crate::reclaim::Reclaim;
use crate::relation::{Tag, TagCell};
use crate::sync::hook::{planted, step};
use crate::version::Version;
use std::hash::{BuildHasher, Hash};

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns the cell of a tag, and makes it if there is none. The cell lives as long as the
    /// guard.
    fn find_or_create_tag<'g>(&'g self, guard: &'g R::Guard<'_>, tag: &Tag) -> &'g TagCell {
        self.store.find_or_create_tag(guard, self.hash(tag), tag)
    }

    /// Sets `key` and its related entries, by one commit. The value of `key` gets these tags.
    pub fn insert_tagged(&self, key: K, value: &mut Parcel<V>, tags: &[Tag]) -> Version {
        let hash = self.hash(&key);
        let unwound = self.collect_on_unwind();
        let version = {
            let config = self.observers().config.snapshot();
            let guard = self.pin();
            let record = self.store.locate(&guard, hash, key, None);
            let mut plan = Plan::new(self, &guard, &config);
            let requested = plan.requested_for(record, value);
            plan.push(record, Some(value), requested, true, None);
            self.relate(&mut plan);
            let mut ties = BondsBuilder::new(&self.store);
            tags.iter().for_each(|tag| ties.add_tag(self.find_or_create_tag(&guard, tag), 0));
            // No user code runs from here on. A panic in it would separate the bonds from their
            // version.
            let bonds = ties.into_bonds(&guard);
            plan.set_first_bonds(bonds.expect("a value without inputs can have bonds"));
            step("tag.before_run");
            self.run_unconditionally(&mut plan).version()
        };
        std::mem::forget(unwound);
        self.tend_after_several();
        Version::from_u64(version)
    }

    /// Adds tags to the value of `key`, which is cloned for that.
    pub fn tag(&self, key: &K, tags: &[Tag]) -> Version
    where
        V: Clone,
    {
        let version = {
            let guard = self.pin();
            let record = self.store.find_alive(&guard, self.hash(key), key);
            let tagged = record.and_then(|record| self.tag_record(&guard, record, tags));
            tagged.unwrap_or_else(|| {
                // There is no value to tag, so this is a commit without writes.
                self.observers().committed();
                self.store.order.clock.tick()
            })
        };
        self.tend();
        Version::from_u64(version)
    }

    /// Does the same for a record. Returns `None` if it has no value. Repeated only if a commit
    /// wrote the key in the meantime.
    fn tag_record<'g, 'r>(
        &'r self,
        guard: &'g R::Guard<'r>,
        record: RecordRef<'g, K, V>,
        tags: &[Tag],
    ) -> Option<u64>
    where
        V: Clone,
    {
        loop {
            let config = self.observers().config.snapshot();
            let mut plan = Plan::new(self, guard, &config);
            let found = self.store.present(record, false, &plan.moment)?;
            let (own, old) = (found.number(), found.bonds());
            let mut value = Parcel::clones(std::slice::from_ref(found.value()));
            let mut ties = BondsBuilder::new(&self.store);
            old.into_iter().for_each(|bonds| ties.add_all_of(guard, bonds, own));
            tags.iter().for_each(|tag| ties.add_tag(self.find_or_create_tag(guard, tag), 0));
            // No user code runs from here on. A panic in it would separate the bonds from their
            // version.
            let mut bonds = ties.into_bonds(guard)?;
            bonds.set_equal_since(old.map_or(own, |old| old.equal_since(own)));
            let mut requested = RequestedTerms::unchanged(found.terms());
            requested.bonds = Some(bonds);
            plan.push(record, value.first_mut(), Some(requested), false, None);
            let decided = self.run(&mut plan, &[(record, Precondition::Holds(own))]);
            if let Some(commit) = decided.commit() {
                return Some(commit.version());
            }
            decided.take_values(|_, unset| drop(unset));
        }
    }

    /// Ends all values that have this tag, by one commit. O(1).
    pub fn invalidate_tag(&self, tag: &Tag) -> Version {
        let hash = self.hash(tag);
        self.tag_marks.note(hash, self.store.version());
        if !planted("gone.tag_unnoted") {
            self.observers().note_gone(hash);
        }
        let version = self.store.invalidate_tag(&self.pin(), hash, tag);
        self.observers().committed();
        self.observers().record(EventKind::Committed, None, Some(version));
        self.expect_ended();
        self.tend();
        Version::from_u64(version)
    }
}
