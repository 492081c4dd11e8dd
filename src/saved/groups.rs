//! Which entries of a file belong together: those with equal versions, which one commit wrote.
//!
//! The file says at its beginning how many entries each group has. So whoever restores the entries
//! one after the other knows when a group is complete.

use std::collections::HashMap;

/// The groups of a file: the versions of which there is more than one entry, with their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups(HashMap<u64, u32, foldhash::fast::RandomState>);

impl Groups {
    /// Finds the groups among the versions of all entries.
    pub fn among(mut versions: Vec<u64>) -> Vec<(u64, u32)> {
        versions.sort_unstable();
        let equal = versions.chunk_by(|one, other| one == other);
        let groups = equal.filter(|group| group.len() > 1);
        groups.map(|group| (group[0], u32::try_from(group.len()).unwrap_or(u32::MAX))).collect()
    }

    /// Returns the number of entries with this version.
    #[inline]
    pub fn size(&self, version: u64) -> u32 {
        if self.0.is_empty() { 1 } else { self.0.get(&version).copied().unwrap_or(1) }
    }

    /// Appends groups to the body of a block. They are sorted.
    pub(super) fn write(groups: &[(u64, u32)], body: &mut Vec<u8>) {
        let mut before = 0;
        for &(version, size) in groups {
            write_number(version - before, body);
            write_number(size.into(), body);
            before = version;
        }
    }

    /// Reads as many groups from the body of a block; `None` if it has others.
    pub(super) fn read(mut body: &[u8], count: u32) -> Option<Self> {
        let (mut groups, mut version) = (HashMap::default(), 0_u64);
        for _ in 0..count {
            version = version.checked_add(read_number(&mut body)?)?;
            groups.insert(version, u32::try_from(read_number(&mut body)?).ok()?);
        }
        body.is_empty().then_some(Self(groups))
    }
}

/// Appends a number, seven bits in each byte, the lowest first. All bytes but the last have their
/// top bit set.
fn write_number(mut number: u64, body: &mut Vec<u8>) {
    while number >= 0x80 {
        body.push(number as u8 | 0x80);
        number >>= 7;
    }
    body.push(number as u8);
}

fn read_number(body: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = body.split_first()?;
        *body = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}
