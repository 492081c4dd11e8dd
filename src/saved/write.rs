//! Writes the file of a saved cache.

use super::{BlockHead, BlockKind, Groups, Header};
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Write};

/// A block is written once it has this many bytes.
const BLOCK_BYTES: usize = if cfg!(test) { 64 } else { 64 << 10 };

/// Returns a number for a new file. It differs from those of other files with high probability.
pub fn random_id() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Writes a file, entry by entry.
pub struct Writer<W: Write> {
    out: W,
    id: u64,
    block: Vec<u8>,
    entries_in_block: u32,
    blocks: u32,
    entries: u64,
    bytes: u64,
}

impl<W: Write> Writer<W> {
    /// Writes the header.
    pub fn new(mut out: W, header: &Header) -> io::Result<Self> {
        let bytes = header.to_bytes();
        out.write_all(&bytes)?;
        Ok(Self {
            out,
            id: header.id,
            block: Vec::new(),
            entries_in_block: 0,
            blocks: 0,
            entries: 0,
            bytes: bytes.len() as u64,
        })
    }

    /// Writes the groups that the entries form, before all entries.
    pub fn groups(&mut self, groups: &[(u64, u32)]) -> io::Result<()> {
        let too_many = |_| io::Error::new(io::ErrorKind::InvalidData, "too many groups");
        Groups::write(groups, &mut self.block);
        u32::try_from(self.block.len()).map_err(too_many)?;
        self.entries_in_block = u32::try_from(groups.len()).map_err(too_many)?;
        self.end_block(BlockKind::Groups)
    }

    /// Adds an entry: the bytes that `encode` appends to those that it is given.
    pub fn entry(
        &mut self,
        encode: impl FnOnce(Vec<u8>) -> Result<Vec<u8>, io::Error>,
    ) -> io::Result<()> {
        let start = self.block.len();
        let mut block = std::mem::take(&mut self.block);
        block.extend([0; 4]);
        self.block = encode(block)?;
        let length = self.block.len() - start - 4;
        let too_long = |_| io::Error::new(io::ErrorKind::InvalidData, "an entry is too long");
        let bytes = u32::try_from(length + 8).map_err(too_long)? - 8;
        self.block[start..start + 4].copy_from_slice(&bytes.to_le_bytes());
        if start > 0 && u32::try_from(self.block.len()).is_err() {
            // Both the entries before this one and this one fit into a block of their own.
            let last = self.block.split_off(start);
            self.end_block(BlockKind::Entries)?;
            self.block = last;
        }
        self.entries_in_block += 1;
        self.entries += 1;
        if self.block.len() >= BLOCK_BYTES { self.end_block(BlockKind::Entries) } else { Ok(()) }
    }

    fn end_block(&mut self, kind: BlockKind) -> io::Result<()> {
        let head = BlockHead {
            kind,
            number: self.blocks,
            entries: self.entries_in_block,
            bytes: self.block.len() as u32,
            checksum: crc32fast::hash(&self.block),
        };
        self.out.write_all(&head.to_bytes(self.id))?;
        self.out.write_all(&self.block)?;
        self.bytes += (super::HEAD + self.block.len()) as u64;
        let too_many = || io::Error::new(io::ErrorKind::FileTooLarge, "too many blocks");
        self.blocks = self.blocks.checked_add(1).ok_or_else(too_many)?;
        self.entries_in_block = 0;
        self.block.clear();
        Ok(())
    }

    /// Writes the rest and the end. Returns the output, the number of entries, and that of bytes.
    pub fn finish(mut self) -> io::Result<(W, u64, u64)> {
        if !self.block.is_empty() {
            self.end_block(BlockKind::Entries)?;
        }
        self.block.extend(self.entries.to_le_bytes());
        self.end_block(BlockKind::End)?;
        self.out.flush()?;
        Ok((self.out, self.entries, self.bytes))
    }
}
