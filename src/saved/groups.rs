//! Which entries of a file belong together: those with equal versions, which one commit wrote.
//!
//! The file says at its beginning how many entries each group has. So whoever restores the entries
//! one after the other knows when a group is complete.

/// The groups of a file: the versions of which there is more than one entry, in ascending order,
/// with their numbers. The first entry is restored only after all of them were read, so this is a
/// list, which is made at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups(Vec<(u64, u32)>);

impl Groups {
    /// Finds the groups among the versions of all entries.
    pub fn among(mut versions: Vec<u64>) -> Vec<(u64, u32)> {
        versions.sort_unstable();
        let equal = versions.chunk_by(|one, other| one == other);
        let groups = equal.filter(|group| group.len() > 1);
        groups.map(|group| (group[0], u32::try_from(group.len()).unwrap_or(u32::MAX))).collect()
    }

    /// Returns the number of entries with this version. `near` is the place of the version that was
    /// looked up before: entries that follow each other are often of one group, or of adjacent ones.
    #[inline]
    pub fn size(&self, version: u64, near: &mut usize) -> u32 {
        let groups = &self.0[..];
        let is_place = |at: &usize| {
            let is_above = at.checked_sub(1).is_none_or(|below| groups[below].0 < version);
            is_above && groups.get(*at).is_none_or(|group| group.0 >= version)
        };
        let last = groups.len();
        let nearest = [*near, near.saturating_sub(1), *near + 1].map(|at| at.min(last));
        let place = nearest.into_iter().find(is_place);
        *near = place.unwrap_or_else(|| groups.partition_point(|group| group.0 < version));
        groups.get(*near).filter(|group| group.0 == version).map_or(1, |group| group.1)
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
        // A group has two bytes at least, whatever number of them a forged file claims.
        let mut groups = Vec::with_capacity((count as usize).min(body.len() / 2));
        let mut version = 0_u64;
        for _ in 0..count {
            let more = read_number(&mut body)?;
            version = version.checked_add(more).filter(|_| more > 0)?;
            groups.push((version, u32::try_from(read_number(&mut body)?).ok()?));
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
