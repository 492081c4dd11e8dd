//! evmap, on left-right: two copies of a map, with the readers on one and the writer on the other;
//! a publish swaps them.
//!
//! Atomic batch: yes, by one publish. Consistent group read: yes, under one read guard. Bounded:
//! no. Blocks: writers on one mutex (of this adapter), and a publish waits until every reader has
//! left the old copy; readers never block. Every write is published, so that it is visible when it
//! returns. Loader: none.

use std::sync::{Mutex, MutexGuard};

use evmap::{
    Options,
    handles::{ReadHandle, WriteHandle},
};

use super::{Family, Hasher, Key, NoHeld, Promises, Reader, Store, Value};

/// The store that the module describes.
pub struct Evmap;

impl Family for Evmap {
    const PROMISES: Promises = Promises {
        atomic_batch: true,
        consistent_group_read: true,
        bounded: false,
        blocks: "writers on one lock and on readers",
        loader: None,
    };
    type Map<K: Key, V: Value> = Map<K, V>;
}

/// See [`Evmap`].
pub struct Map<K: Key, V: Value> {
    writer: Mutex<WriteHandle<K, V, (), Hasher>>,
    first_reader: Mutex<ReadHandle<K, V, (), Hasher>>,
}

impl<K: Key, V: Value> Map<K, V> {
    fn writer(&self) -> MutexGuard<'_, WriteHandle<K, V, (), Hasher>> {
        self.writer.lock().expect("no writer panicked")
    }
}

impl<K: Key, V: Value> Store<K, V> for Map<K, V> {
    type Reader<'a> = ReadHandle<K, V, (), Hasher>;
    type Held<'a> = NoHeld;

    fn with_capacity(entries: usize) -> Self {
        // SAFETY: the hasher has a fixed seed, so equal input gives equal hashes.
        let options = unsafe { Options::default().with_hasher(Hasher::default()) };
        // SAFETY: all keys and values in this program derive `Hash` and `Eq` from integers and
        // strings.
        let (mut writer, reader) = unsafe { options.with_capacity(entries).assert_stable() };
        writer.publish();
        Self { writer: Mutex::new(writer), first_reader: Mutex::new(reader) }
    }

    fn reader(&self) -> Self::Reader<'_> {
        self.first_reader.lock().expect("no reader panicked").clone()
    }

    fn held(&self) -> Option<NoHeld> {
        None
    }

    #[inline(never)]
    fn insert(&self, key: K, value: V) {
        self.writer().update(key, value).publish();
    }

    #[inline(never)]
    fn remove(&self, key: &K) {
        self.writer().remove_entry(key.clone()).publish();
    }

    #[inline(never)]
    fn insert_group<const N: usize>(&self, keys: &[K; N], value: &V) {
        let mut writer = self.writer();
        for key in keys {
            writer.update(key.clone(), value.clone());
        }
        writer.publish();
    }

    fn fill(&self, entries: impl Iterator<Item = (K, V)>) {
        let mut writer = self.writer();
        for (key, value) in entries {
            writer.update(key, value);
        }
        // The second publish brings the other copy up to date.
        writer.publish().publish();
    }
}

impl<K: Key, V: Value> Reader<K, V> for ReadHandle<K, V, (), Hasher> {
    #[inline]
    fn get(&mut self, key: &K) -> Option<V> {
        self.get_one(key).map(|value| V::clone(&value))
    }

    #[inline]
    fn get_group<const N: usize>(&mut self, keys: &[K; N]) -> [Option<V>; N] {
        match self.enter() {
            Some(map) => keys.each_ref().map(|key| map.get_one(key).cloned()),
            None => std::array::from_fn(|_| None),
        }
    }
}
