//! Reads the file of a saved cache. It passes on only bytes whose checksum is right.

use super::{
    BLOCK, BlockHead, BlockKind, FIRST_FORMAT, FORMAT, Groups, HEAD, HEADER, Header,
    LONGEST_SCHEMA, MAGIC, MAX_VERSION, u32_at, u64_at,
};
use std::io::{self, BufRead, Read};
use std::ops::Range;

/// The number of bytes that are read at a time.
const CHUNK: usize = 256 << 10;
/// How many bytes may be checked in vain before the last block that is, whatever the file. A file
/// that was forged may have a head every 32 bytes, each of which claims all that follows.
const IN_VAIN: u64 = 64 << 20;
/// How often each byte may be checked in vain beyond that. The heads of a file that was not forged
/// do not overlap, unless bytes are missing.
const OFTEN: u64 = 8;

/// Why a file cannot be read at all.
#[derive(Debug)]
pub enum Trouble {
    Io(io::Error),
    /// It does not begin as a saved cache does.
    NotSaved,
    /// It has another format, with this number.
    Format(u32),
    /// The header is broken.
    Header,
}

/// What a reader had to skip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// Blocks that are broken or missing, as far as the blocks around them show.
    pub blocks: u64,
    /// The end is missing: any number of blocks may be missing before it.
    pub is_cut_off: bool,
}

/// Reads a file, block by block.
pub struct Reader<R: Read> {
    input: R,
    buffer: Vec<u8>,
    /// Where the rest begins in the buffer.
    at: usize,
    is_at_end: bool,
    /// The bytes that were in the buffer before.
    drained: u64,
    /// The bytes that were checked in vain.
    pub(super) in_vain: u64,
    header: Header,
    next_block: u32,
    damage: Damage,
    /// Whether the caller wants to know the groups.
    wants_groups: bool,
    /// The groups of the file, once they were read.
    groups: Option<Groups>,
    /// The number of all entries, as the end says.
    entries: Option<u64>,
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    pub fn new(input: R) -> Result<Self, Trouble> {
        let header = Header { id: 0, version: 0, saved_at: 0, schema: String::new() };
        let mut reader = Self {
            input,
            buffer: Vec::new(),
            at: 0,
            is_at_end: false,
            drained: 0,
            in_vain: 0,
            header,
            next_block: 0,
            damage: Damage { blocks: 0, is_cut_off: true },
            wants_groups: true,
            groups: None,
            entries: None,
        };
        reader.header = reader.read_header()?;
        Ok(reader)
    }

    /// Passes over the groups, which would take memory.
    pub fn without_groups(self) -> Self {
        Self { wants_groups: false, ..self }
    }

    fn read_header(&mut self) -> Result<Header, Trouble> {
        self.fill(HEADER)?;
        let rest = self.rest();
        if !rest.starts_with(&MAGIC) {
            return Err(Trouble::NotSaved);
        }
        match u32_at(rest, 8) {
            Some(FIRST_FORMAT..=FORMAT) => {}
            Some(other) => return Err(Trouble::Format(other)),
            None => return Err(Trouble::Header),
        }
        let schema = u32_at(rest, 12).ok_or(Trouble::Header)? as usize;
        if schema > LONGEST_SCHEMA {
            return Err(Trouble::Header);
        }
        self.fill(HEADER + schema + 4)?;
        let rest = self.rest();
        let header = || {
            let body = rest.get(..HEADER + schema)?;
            let is_whole = u32_at(rest, HEADER + schema)? == crc32fast::hash(body);
            let version = u64_at(rest, 24)?;
            let schema = std::str::from_utf8(&body[HEADER..]).ok()?.to_owned();
            let (id, saved_at) = (u64_at(rest, 16)?, u64_at(rest, 32)?);
            let header = Header { id, version, saved_at, schema };
            (is_whole && version <= MAX_VERSION).then_some(header)
        };
        let header = header().ok_or(Trouble::Header)?;
        self.at += HEADER + schema + 4;
        Ok(header)
    }

    /// Returns what the file says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Returns what was skipped. Complete after [`next_block`](Self::next_block) returned `None`.
    pub fn damage(&self) -> Damage {
        self.damage
    }

    /// Returns the number of all entries of the file, if its end was read.
    pub fn entries(&self) -> Option<u64> {
        self.entries
    }

    /// The bytes that are in the buffer.
    fn rest(&self) -> &[u8] {
        &self.buffer[self.at..]
    }

    /// Reads until there are `bytes` more bytes, or no more. Returns whether there are so many.
    fn fill(&mut self, bytes: usize) -> io::Result<bool> {
        while !self.is_at_end && self.rest().len() < bytes {
            // No byte is moved more often than others are passed.
            if self.at > self.buffer.len() / 2 {
                self.buffer.drain(..self.at);
                self.drained += self.at as u64;
                self.at = 0;
            }
            let missing = (bytes - self.rest().len()).max(CHUNK) as u64;
            // It grows with what the input has, whatever number of bytes was asked for.
            let read = self.input.by_ref().take(missing).read_to_end(&mut self.buffer)?;
            self.is_at_end = (read as u64) < missing;
        }
        Ok(self.rest().len() >= bytes)
    }

    /// Returns the next block that is whole; `None` at the end.
    pub fn next_block(&mut self) -> io::Result<Option<Block<'_>>> {
        let body = self.find_block()?;
        let groups = self.groups.as_ref();
        Ok(body.map(|body| Block { body: &self.buffer[body], groups }))
    }

    /// Returns where the body of the next block of entries that is whole lies in the buffer.
    fn find_block(&mut self) -> io::Result<Option<Range<usize>>> {
        while self.find_head()? {
            let head = BlockHead::from_bytes(self.rest(), self.header.id).expect("it was found");
            let all = HEAD + head.bytes as usize;
            let may_be = head.number >= self.next_block && self.may_check();
            let is_there = may_be && self.fill(all)?;
            let body = &self.rest()[HEAD..all.min(self.rest().len())];
            if !is_there || crc32fast::hash(body) != head.checksum {
                self.in_vain += if is_there { body.len() as u64 } else { 0 };
                // The length may be that of a block that has lost some bytes.
                self.at += HEAD;
                continue;
            }
            let (kind, number) = (head.kind, head.number);
            let is_wanted = kind == BlockKind::Groups && self.wants_groups;
            let groups = is_wanted.then(|| Groups::read(body, head.entries));
            let has_entries = kind == BlockKind::Entries && has_entries(body, head.entries);
            let (total, body) = (u64_at(body, 0), self.at + HEAD..self.at + all);
            self.at += all;
            self.damage.blocks += u64::from(number - self.next_block);
            self.next_block = number.saturating_add(1);
            match (kind, groups) {
                (BlockKind::End, _) => {
                    self.damage.is_cut_off = false;
                    self.entries = total;
                    return Ok(None);
                }
                (BlockKind::Groups, Some(Some(groups))) => self.groups = Some(groups),
                (BlockKind::Groups, None) => {}
                (BlockKind::Entries, _) if has_entries => return Ok(Some(body)),
                _ => self.damage.blocks += 1,
            }
        }
        Ok(None)
    }

    /// Returns whether another block may be checked, perhaps in vain. So the time is linear in the
    /// length of the file. The length of that block does not count: a file that is whole may begin
    /// with a large one.
    fn may_check(&self) -> bool {
        let passed = self.drained + self.at as u64;
        self.in_vain <= IN_VAIN + OFTEN * passed
    }

    /// Skips bytes until a head begins. Returns whether there is one.
    fn find_head(&mut self) -> io::Result<bool> {
        while self.fill(HEAD)? {
            if BlockHead::from_bytes(self.rest(), self.header.id).is_some() {
                return Ok(true);
            }
            // All kinds of heads begin with the same byte. This search is fast in any build.
            let mut rest = &self.rest()[1..];
            let skipped = rest.skip_until(BLOCK[0])?;
            let is_found = self.rest()[skipped] == BLOCK[0] && skipped > 0;
            self.at += skipped + usize::from(!is_found);
        }
        Ok(false)
    }
}

/// The entries of a block.
pub struct Block<'b> {
    body: &'b [u8],
    groups: Option<&'b Groups>,
}

impl<'b> Block<'b> {
    /// Returns the groups of the file; `None` if they are unknown.
    pub fn groups(&self) -> Option<&'b Groups> {
        self.groups
    }
}

impl<'b> Iterator for Block<'b> {
    type Item = &'b [u8];

    #[inline]
    fn next(&mut self) -> Option<&'b [u8]> {
        let (entry, rest) = first_entry(self.body)?;
        self.body = rest;
        Some(entry)
    }
}

/// Splits the first entry off the body of a block.
#[inline]
fn first_entry(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = body.split_first_chunk()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

/// Returns whether the body of a block consists of so many entries.
fn has_entries(mut body: &[u8], count: u32) -> bool {
    for _ in 0..count {
        let Some((_, rest)) = first_entry(body) else { return false };
        body = rest;
    }
    body.is_empty()
}
