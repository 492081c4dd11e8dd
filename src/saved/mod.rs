//! The file of a saved cache: a header, blocks with checksums, and an end. It knows no keys and no
//! values: entries are bytes here.
//!
//! `docs/saved-format.md` specifies the format. All numbers are little-endian.

mod early;
mod groups;
mod read;
mod write;

pub use early::EarlyFile;
pub use groups::Groups;
#[cfg(test)]
use read::Damage;
pub use read::{Reader, Trouble};
pub use write::{Writer, random_id};

/// The first bytes of a file. The first of them is no text, and the last one shows whether line ends
/// were converted.
const MAGIC: [u8; 8] = *b"\x89COEVAL\n";
/// The format that is written.
const FORMAT: u32 = 3;
/// The first format. All since then are read. Files of this one have no block of groups; in those
/// of the second, no weight is marked as given.
const FIRST_FORMAT: u32 = 1;
/// The bytes of a header before the schema's name.
const HEADER: usize = 40;
/// The most bytes of a schema's name.
pub const LONGEST_SCHEMA: usize = 4096;
/// The bytes of the head of a block.
const HEAD: usize = 32;
/// The first bytes of a block of entries, of the block of groups, and of the end.
const BLOCK: [u8; 4] = *b"cvlB";
const GROUPS: [u8; 4] = *b"cvlG";
const END: [u8; 4] = *b"cvlE";
/// Numbers of commits have 58 bits. Half of them are left to the restored cache.
const MAX_VERSION: u64 = (1 << 57) - 1;

/// What a file says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// A number that all blocks of the file repeat.
    pub id: u64,
    /// The version that was saved.
    pub version: u64,
    /// The time at which it was saved, in nanoseconds since 1970.
    pub saved_at: u64,
    /// The name that the user gave to the types of keys and values.
    pub schema: String,
}

/// What a block has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BlockKind {
    Entries,
    Groups,
    End,
}

impl BlockKind {
    const ALL: [(Self, [u8; 4]); 3] =
        [(Self::Entries, BLOCK), (Self::Groups, GROUPS), (Self::End, END)];

    /// Returns the first bytes of such a block.
    fn magic(self) -> [u8; 4] {
        Self::ALL[self as usize].1
    }

    /// Returns the kind of the block that begins so.
    fn of(magic: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find_map(|(kind, bytes)| (bytes == *magic).then_some(kind))
    }
}

/// The head of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct BlockHead {
    kind: BlockKind,
    number: u32,
    /// The number of entries, or of groups.
    entries: u32,
    bytes: u32,
    checksum: u32,
}

impl Header {
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::from(MAGIC);
        bytes.extend(FORMAT.to_le_bytes());
        bytes.extend((self.schema.len() as u32).to_le_bytes());
        for number in [self.id, self.version, self.saved_at] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(self.schema.as_bytes());
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }
}

impl BlockHead {
    fn to_bytes(self, id: u64) -> [u8; HEAD] {
        let mut bytes = [0; HEAD];
        bytes[..4].copy_from_slice(&self.kind.magic());
        bytes[4..12].copy_from_slice(&id.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.entries.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.bytes.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.checksum.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..28]);
        bytes[28..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Returns the head in these bytes, unless they are no head of this file.
    fn from_bytes(bytes: &[u8], id: u64) -> Option<Self> {
        let kind = BlockKind::of(bytes.get(..4)?)?;
        let is_whole =
            u64_at(bytes, 4)? == id && u32_at(bytes, 28)? == crc32fast::hash(&bytes[..28]);
        is_whole.then_some(Self {
            kind,
            number: u32_at(bytes, 12)?,
            entries: u32_at(bytes, 16)?,
            bytes: u32_at(bytes, 20)?,
            checksum: u32_at(bytes, 24)?,
        })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests;
