//! evmap: two copies of a map, readers on one, the writer on the other; a publish swaps them.
//!
//! Atomic batch: yes, by publishing once. Consistent group read: yes, under one read guard. Bounded:
//! no. Blocks: writers on one mutex here, and a publish waits until every reader has left the old
//! copy; readers never. A single write is published at once, to be visible when it returns.

use std::sync::{Mutex, MutexGuard};

use evmap::{
    Options,
    handles::{ReadHandle, WriteHandle},
};

use super::{GROUP, Hasher, NoHeld, Promises, Reader, Store};

/// See above.
pub struct Evmap {
    writer: Mutex<WriteHandle<u64, u64, (), Hasher>>,
    first_reader: Mutex<ReadHandle<u64, u64, (), Hasher>>,
}

impl Evmap {
    fn writer(&self) -> MutexGuard<'_, WriteHandle<u64, u64, (), Hasher>> {
        self.writer.lock().expect("no writer panicked")
    }
}

impl Store for Evmap {
    const PROMISES: Promises = Promises {
        atomic_batch: true,
        consistent_group_read: true,
        bounded: false,
        blocks: "writers on one lock and on readers",
    };
    type Reader<'a> = ReadHandle<u64, u64, (), Hasher>;
    type Held<'a> = NoHeld;

    fn with_capacity(entries: usize) -> Self {
        // SAFETY: the hasher has a fixed seed, so equal input gives equal hashes.
        let options = unsafe { Options::default().with_hasher(Hasher::default()) };
        let (mut writer, reader) = options.with_capacity(entries).construct();
        writer.publish();
        Self { writer: Mutex::new(writer), first_reader: Mutex::new(reader) }
    }

    fn reader(&self) -> Self::Reader<'_> {
        self.first_reader.lock().expect("no reader panicked").clone()
    }

    fn held(&self) -> Option<NoHeld> {
        None
    }

    fn insert(&self, key: u64, value: u64) {
        self.writer().update(key, value).publish();
    }

    fn remove(&self, key: u64) {
        self.writer().remove_entry(key).publish();
    }

    fn insert_group(&self, keys: &[u64; GROUP], value: u64) {
        let mut writer = self.writer();
        for key in keys {
            writer.update(*key, value);
        }
        writer.publish();
    }

    fn fill(&self, keys: impl Iterator<Item = u64>) {
        let mut writer = self.writer();
        for key in keys {
            writer.update(key, key);
        }
        // The second publish brings the other copy up to date.
        writer.publish().publish();
    }
}

impl Reader for ReadHandle<u64, u64, (), Hasher> {
    #[inline]
    fn get(&mut self, key: u64) -> Option<u64> {
        self.get_one(&key).map(|value| *value)
    }

    #[inline]
    fn get_group(&mut self, keys: &[u64; GROUP]) -> [Option<u64>; GROUP] {
        match self.enter() {
            Some(map) => keys.map(|key| map.get_one(&key).copied()),
            None => [None; GROUP],
        }
    }
}
