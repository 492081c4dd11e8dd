//! A key, its related entries, and the check that detects a mixed group without doubt.
//!
//! Every value is a generation. The value of the key is the generation that was written; the value
//! of a related entry is the generation from which it was derived. An absent related entry was
//! invalidated, which is correct if the relation invalidates.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::random::{Random, scrambled_zipf_stream};

/// The most related entries of a key.
pub const MOST_RELATED: usize = 16;
const MEMBERS: usize = MOST_RELATED + 1;

/// A cache key: member 0 of a group is the key itself, the others are its related entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct Key {
    pub group: u64,
    pub member: u32,
}

/// A key and its related entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Group {
    pub id: u64,
    pub related: usize,
}

impl Group {
    /// The key itself.
    pub fn key(self) -> Key {
        self.member(0)
    }

    /// The entries that a write of the key must change with it.
    pub fn related(self) -> impl Iterator<Item = Key> {
        (1..=self.related).map(move |i| self.member(i))
    }

    /// All keys of the group, the key first. The rest of the array repeats the key.
    pub fn padded<const N: usize>(self) -> [Key; N] {
        std::array::from_fn(|i| self.member(if i <= self.related { i } else { 0 }))
    }

    fn member(self, i: usize) -> Key {
        Key { group: self.id, member: i as u32 }
    }
}

/// How to read a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Plain gets, one after the other, the key first.
    Gets,
    /// One call for the whole group.
    GetMany,
    /// Through a view opened for this read.
    View,
}

impl Way {
    /// All ways.
    pub const ALL: [Self; 3] = [Self::Gets, Self::GetMany, Self::View];
}

/// The generations of a group's members as one reader saw them.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    group: Group,
    seen: [Option<u64>; MEMBERS],
    /// Whether the members were seen at one moment. Then none may be older or newer than the key.
    at_once: bool,
    /// Whether related entries are rewritten and never invalidated. Then none may be absent.
    all_present: bool,
}

/// The reason why a reading is a mixed group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Mixed {
    Older { member: usize, generation: u64, key: u64 },
    Newer { member: usize, generation: u64, key: u64 },
    Lost { member: usize },
}

impl Reading {
    /// An empty reading, for single steps.
    pub fn of(group: Group) -> Self {
        Self { group, seen: [None; MEMBERS], at_once: false, all_present: false }
    }

    /// Reads the members one by one, the key first.
    #[inline]
    pub fn by(mut self, mut get: impl FnMut(Key) -> Option<u64>) -> Self {
        for (seen, i) in self.seen.iter_mut().zip(0..=self.group.related) {
            *seen = get(self.group.member(i));
        }
        self
    }

    /// Takes the members from the result for the whole (padded) group.
    #[inline]
    pub fn from_all<const N: usize>(mut self, all: [Option<u64>; N]) -> Self {
        let count = self.group.related + 1;
        self.seen[..count].copy_from_slice(&all[..count]);
        self
    }

    /// Declares that the members were seen as of one moment.
    #[inline]
    pub fn at_once(mut self) -> Self {
        self.at_once = true;
        self
    }

    /// Declares whether every member must be present.
    #[inline]
    pub fn all_present(mut self, yes: bool) -> Self {
        self.all_present = yes;
        self
    }

    /// The first member that does not match the value of the key. With plain gets, a related entry
    /// may be newer than a key that was read before it, because an update came in between.
    #[inline]
    pub fn mixed(&self) -> Option<Mixed> {
        let Some(key) = self.seen[0] else { return Some(Mixed::Lost { member: 0 }) };
        (1..=self.group.related).find_map(|member| match self.seen[member] {
            Some(generation) if generation < key => Some(Mixed::Older { member, generation, key }),
            Some(generation) if self.at_once && generation > key => {
                Some(Mixed::Newer { member, generation, key })
            }
            None if self.all_present => Some(Mixed::Lost { member }),
            _ => None,
        })
    }

    /// The generations of the members, the key's first; `None` for absent members.
    pub fn seen(&self) -> &[Option<u64>] {
        &self.seen[..=self.group.related]
    }

    /// The group that was read.
    pub fn group(&self) -> Group {
        self.group
    }
}

impl std::fmt::Display for Mixed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Older { member, generation, key } => {
                write!(f, "key: generation {key}, related {member}: generation {generation} [OLD]")
            }
            Self::Newer { member, generation, key } => {
                write!(f, "key: generation {key} [OLD], related {member}: generation {generation}")
            }
            Self::Lost { member: 0 } => write!(f, "key: absent [LOST]"),
            Self::Lost { member } => write!(f, "related {member}: absent [LOST]"),
        }
    }
}

/// The groups of a race, in the order of the requests, and the source behind the cache. Each group
/// belongs to one writer, which orders the updates of a key like the row lock of a database.
/// Readers read any group.
#[derive(Debug)]
pub struct Groups {
    ids: Vec<u64>,
    stream: Vec<u32>,
    /// The newest generation of each group. Only its owner advances it, hence `Relaxed`.
    source: Vec<AtomicU64>,
    related: usize,
}

impl Groups {
    /// `count` groups, requested by Zipf 0.99.
    pub fn zipf(count: u64, length: usize, related: usize, seed: u64) -> Self {
        let keys = scrambled_zipf_stream(count, count, length, &mut Random::new(seed, 0));
        Self::from_keys(&keys.into_iter().map(u64::from).collect::<Vec<_>>(), related)
    }

    /// The groups of a trace: one for each distinct key.
    pub fn from_keys(keys: &[u64], related: usize) -> Self {
        let mut ids = Vec::new();
        let mut index = std::collections::HashMap::new();
        let mut place = |key: &u64| {
            *index.entry(*key).or_insert_with(|| {
                ids.push(*key);
                ids.len() as u32 - 1
            })
        };
        let stream = keys.iter().map(&mut place).collect();
        let source = ids.iter().map(|_| AtomicU64::new(0)).collect();
        Self { ids, stream, source, related }
    }

    /// The number of distinct groups.
    pub fn count(&self) -> usize {
        self.ids.len()
    }

    /// The position of each request's group in the source, in order.
    pub fn stream(&self) -> &[u32] {
        &self.stream
    }

    /// The requests for groups of writer `writer` of `writers`.
    pub fn stream_of(&self, writer: usize, writers: usize) -> Vec<u32> {
        self.stream.iter().copied().filter(|place| *place as usize % writers == writer).collect()
    }

    /// The group at `place`.
    #[inline]
    pub fn group(&self, place: u32) -> Group {
        Group { id: self.ids[place as usize], related: self.related }
    }

    /// The newest generation of the group at `place`.
    pub fn generation(&self, place: u32) -> u64 {
        self.source[place as usize].load(Ordering::Relaxed)
    }

    /// Changes the group's row in the source. Only the owner may call this.
    #[inline]
    pub fn advance(&self, place: u32) -> u64 {
        self.source[place as usize].fetch_add(1, Ordering::Relaxed) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: Group = Group { id: 7, related: 2 };

    fn seen(members: [Option<u64>; 3]) -> Reading {
        Reading::of(GROUP).by(|key| members[key.member as usize])
    }

    #[test]
    fn an_older_related_entry_is_mixed_however_it_was_read() {
        let old = Mixed::Older { member: 2, generation: 4, key: 5 };
        assert_eq!(seen([Some(5), Some(5), Some(4)]).mixed(), Some(old));
        assert_eq!(seen([Some(5), Some(5), Some(4)]).at_once().mixed(), Some(old));
    }

    #[test]
    fn a_newer_one_only_when_read_at_once() {
        let reading = seen([Some(5), None, Some(6)]);
        assert_eq!(reading.mixed(), None);
        let newer = Mixed::Newer { member: 2, generation: 6, key: 5 };
        assert_eq!(reading.at_once().mixed(), Some(newer));
    }

    #[test]
    fn absent_is_fine_where_the_relation_invalidates() {
        assert_eq!(seen([Some(5), None, None]).at_once().mixed(), None);
        let lost = seen([Some(5), None, None]).all_present(true);
        assert_eq!(lost.mixed(), Some(Mixed::Lost { member: 1 }));
        assert_eq!(seen([None, None, None]).mixed(), Some(Mixed::Lost { member: 0 }));
    }

    #[test]
    fn writers_share_no_group() {
        let groups = Groups::from_keys(&[9, 5, 9, 8, 7], 1);
        assert_eq!(groups.count(), 4);
        assert_eq!(groups.stream_of(0, 2), [0, 0, 2]);
        assert_eq!(groups.stream_of(1, 2), [1, 3]);
        assert_eq!(groups.group(2).id, 8);
    }
}
