//! Members of groups of which the rest is yet to be read.

use crate::engine::{SavedGroup, ToRestore};
use crate::version::Version;
use std::collections::HashMap;

/// The members of incomplete groups.
pub(super) struct HeldGroups<K, V> {
    by_version: HashMap<Version, HeldGroup<K, V>>,
    /// The members that were noted.
    noted: u64,
}

struct HeldGroup<K, V> {
    members: SavedGroup<K, V>,
    /// The members that are yet to be read; `None` if nobody knows.
    missing: Option<u32>,
    /// The place of the first member in the file.
    place: u64,
}

impl<K, V> HeldGroups<K, V> {
    pub fn new() -> Self {
        Self { by_version: HashMap::new(), noted: 0 }
    }

    /// Notes a member of the group with this version, which has `size` members in the file, if that
    /// is known. `entry` is the member, if the cache takes it. Returns the group if that was the
    /// last one.
    pub fn note(
        &mut self,
        version: Version,
        size: Option<u32>,
        entry: Option<ToRestore<K, V>>,
    ) -> Option<SavedGroup<K, V>> {
        if size == Some(1) {
            return entry.map(|entry| SavedGroup::from_iter([entry]));
        }
        self.noted += 1;
        let (members, place) = (SavedGroup::new(), self.noted);
        let new = HeldGroup { members, missing: size, place };
        let group = self.by_version.entry(version).or_insert(new);
        group.members.extend(entry);
        group.missing = group.missing.map(|missing| missing.saturating_sub(1));
        if group.missing != Some(0) {
            return None;
        }
        self.by_version.remove(&version).map(|group| group.members)
    }

    /// Takes the groups that are left, those with the hottest members in front. The file has no
    /// more of them.
    pub fn take(&mut self) -> impl Iterator<Item = SavedGroup<K, V>> + use<K, V> {
        let mut rest: Vec<_> = std::mem::take(&mut self.by_version).into_values().collect();
        rest.sort_unstable_by_key(|group| group.place);
        rest.into_iter().map(|group| group.members)
    }
}
