//! Members of groups of which the rest is yet to be read.

use crate::engine::{SavedGroup, ToRestore};
use crate::version::Version;
use foldhash::fast::RandomState;
use smallvec::SmallVec;
use std::collections::HashMap;

/// The members of incomplete groups.
pub(super) struct HeldGroups<K, V> {
    by_version: HashMap<Version, HeldGroup<K, V>, RandomState>,
    /// The members that were noted.
    noted: u64,
}

struct HeldGroup<K, V> {
    group: SavedGroup<K, V>,
    /// The members that are yet to be read; `None` if nobody knows.
    missing: Option<u32>,
    /// The place of the first member in the file.
    place: u64,
}

impl<K, V> HeldGroups<K, V> {
    pub fn new() -> Self {
        Self { by_version: HashMap::default(), noted: 0 }
    }

    /// Notes a member of the group with this version, which has `size` members in the file, if that
    /// is known. `entry` is the member, or its key if the cache does not take it. Returns the group
    /// if that was the last one, unless the cache takes none of them.
    pub fn note(
        &mut self,
        version: Version,
        size: Option<u32>,
        entry: Result<ToRestore<K, V>, K>,
    ) -> Option<SavedGroup<K, V>> {
        if size == Some(1) {
            let members = SmallVec::from([entry.ok()?]);
            return Some(SavedGroup { members, absent: Vec::new() });
        }
        self.noted += 1;
        let group = SavedGroup { members: SmallVec::new(), absent: Vec::new() };
        let new = HeldGroup { group, missing: size, place: self.noted };
        let held = self.by_version.entry(version).or_insert(new);
        match entry {
            Ok(member) => held.group.members.push(member),
            Err(key) => held.group.absent.push(key),
        }
        held.missing = held.missing.map(|missing| missing.saturating_sub(1));
        if held.missing != Some(0) {
            return None;
        }
        self.by_version.remove(&version).map(|held| held.group)
    }

    /// Takes the groups that are left, those with the hottest members in front. The file has no
    /// more of them.
    pub fn take(&mut self) -> impl Iterator<Item = SavedGroup<K, V>> + use<K, V> {
        let mut rest: Vec<_> = std::mem::take(&mut self.by_version).into_values().collect();
        rest.sort_unstable_by_key(|held| held.place);
        rest.into_iter().map(|held| held.group)
    }
}
