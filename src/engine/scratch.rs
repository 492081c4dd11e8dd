//! Lists that a thread uses again and again, so that a write asks the system's allocator for nothing
//! once its thread has come into the swing: a thread that is stopped inside the allocator stops others.

use super::keep::Asked;
use super::leave::Leavings;
use super::plan::{Change, Write};
use crate::sync::per_thread::PerThread;
use std::cell::Cell;

/// Room for this many is made at once.
const USUAL: usize = 8;
/// A list with more room than this is not kept.
const KEPT: usize = 64;

/// What is kept for one thread.
pub(super) struct Scratch<K, V> {
    pub changes: List<Change<K, V>>,
    pub writes: List<Write<K, V>>,
    pub asked: List<Asked>,
    pub related: List<(K, Option<V>)>,
    /// The addresses of records, and the places of their writes.
    pub order: List<(usize, usize)>,
    /// What the listener has yet to hear; empty between operations.
    pub leavings: Leavings<K, V>,
}

/// The scratch lists of all threads.
pub(super) type Scratches<K, V> = PerThread<Scratch<K, V>>;

/// A list that is empty while it is here.
pub(super) struct List<T>(Cell<Vec<T>>);

// SAFETY: the lists are empty, so a thread inherits nothing but memory.
unsafe impl<K, V> Send for Scratch<K, V> {}

impl<K, V> Default for Scratch<K, V> {
    fn default() -> Self {
        Self {
            changes: List::new(),
            writes: List::new(),
            asked: List::new(),
            related: List::new(),
            order: List::new(),
            leavings: Leavings::default(),
        }
    }
}

impl<T> List<T> {
    fn new() -> Self {
        Self(Cell::new(Vec::new()))
    }

    /// The list, or a new one if somebody has it.
    pub fn take(&self) -> Vec<T> {
        let mut list = self.0.take();
        if list.capacity() == 0 {
            list.reserve(USUAL);
        }
        list
    }

    /// Keeps a list for the next who needs one. What is in it is dropped.
    pub fn keep(&self, mut list: Vec<T>) {
        list.clear();
        if list.capacity() <= KEPT {
            self.0.set(list);
        }
    }
}
