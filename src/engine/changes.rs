//! The writes that a caller lists for one commit, and lists that a thread reuses.

use crate::chain::Parcel;
use crate::relation;
use std::cell::Cell;
use std::mem::{forget, needs_drop};
use std::ptr;
use std::time::Duration;

/// The capacity of a new list.
const INITIAL_CAPACITY: usize = 8;
/// A list with a larger capacity is not kept.
pub(super) const MAX_KEPT_CAPACITY: usize = 64;

/// One write that a caller listed.
pub struct Change<K, V> {
    pub key: K,
    pub hash: u32,
    /// Empty for a removal.
    pub value: Parcel<V>,
    /// The terms of the value.
    pub terms: WriteTerms,
    /// Whether the declared relations of the key apply.
    pub related: bool,
}

/// The terms of one write.
#[derive(Clone, Copy)]
pub enum WriteTerms {
    Default,
    TimeToLive(Duration),
    /// The terms with this index in the list of the [`Changes`].
    Given(u32),
}

/// The writes that a caller listed for one commit, and the terms given for them. The terms are not
/// stored with each change, because changes are moved about and most of them have none.
pub struct Changes<K, V> {
    pub(super) list: Vec<Change<K, V>>,
    pub(super) terms: Option<Box<TermsList>>,
}

/// The terms of the changes that have some.
#[derive(Default)]
pub(super) struct TermsList(pub Vec<relation::Terms>);

/// The changes of a list that was emptied by [`take_each`], from `next` on.
struct RestOfList<K, V> {
    next: *mut Change<K, V>,
    count: usize,
}

impl<K, V> Drop for RestOfList<K, V> {
    fn drop(&mut self) {
        // SAFETY: the list's memory still has these changes, which nobody else drops.
        unsafe { ptr::slice_from_raw_parts_mut(self.next, self.count).drop_in_place() };
    }
}

/// Empties the list, and passes each change to `take` in order. A value that is not taken is
/// dropped. The values are not moved, as an iterator would do.
#[inline(always)]
pub(super) fn take_each<K, V>(
    list: &mut Vec<Change<K, V>>,
    mut take: impl FnMut((u32, K), &mut Parcel<V>, WriteTerms, bool),
) {
    // SAFETY: the changes are initialised, and from now on belong to `rest`, which loses each here:
    // the key is moved out, and the value is dropped by `Taking`.
    unsafe {
        let mut rest = RestOfList { next: list.as_mut_ptr(), count: list.len() };
        list.set_len(0);
        while rest.count > 0 {
            let change = &mut *rest.next;
            (rest.next, rest.count) = (rest.next.add(1), rest.count - 1);
            let (hash, terms, related) = (change.hash, change.terms, change.related);
            let (key, taking) = (ptr::read(&change.key), Taking(&mut change.value));
            take((hash, key), &mut *taking.0, terms, related);
        }
    }
}

/// Drops a value that was not taken.
struct Taking<'l, V>(&'l mut Parcel<V>);

impl<V> Drop for Taking<'_, V> {
    #[inline(always)]
    fn drop(&mut self) {
        if const { needs_drop::<V>() } {
            self.0.clear();
        }
    }
}

impl<K, V> Changes<K, V> {
    /// Lists a write of a key that has this hash, and applies its declared relations.
    #[inline(always)]
    pub fn set(&mut self, hash: u32, key: K, value: V, terms: WriteTerms) {
        self.add(hash, key, terms, true).put(value);
    }

    /// Lists a removal of a key that has this hash.
    #[inline(always)]
    pub fn remove(&mut self, hash: u32, key: K, related: bool) {
        self.add(hash, key, WriteTerms::Default, related);
    }

    /// Adds a change. Returns the place of its value, which is empty.
    #[inline(always)]
    pub(super) fn add(
        &mut self,
        hash: u32,
        key: K,
        terms: WriteTerms,
        related: bool,
    ) -> &mut Parcel<V> {
        self.list.reserve(1);
        let at = self.list.len();
        // SAFETY: there is room for one more. All of its fields are written.
        unsafe {
            let change = self.list.as_mut_ptr().add(at);
            (&raw mut (*change).key).write(key);
            (&raw mut (*change).hash).write(hash);
            Parcel::init(&raw mut (*change).value);
            (&raw mut (*change).terms).write(terms);
            (&raw mut (*change).related).write(related);
            self.list.set_len(at + 1);
            &mut (*change).value
        }
    }

    /// Stores terms for a change that is pushed afterwards.
    pub fn add_terms(&mut self, terms: relation::Terms) -> WriteTerms {
        let TermsList(list) = &mut **self.terms.get_or_insert_default();
        list.push(terms);
        WriteTerms::Given(u32::try_from(list.len() - 1).expect("a commit has fewer writes"))
    }

    /// Takes all changes out.
    pub fn take(&mut self) -> Self {
        Self { list: std::mem::take(&mut self.list), terms: self.terms.take() }
    }

    /// Makes the list as a new one, which uses the same memory. Returns whether that is worth it.
    #[inline]
    pub(super) fn renew(&mut self) -> bool {
        self.list.clear();
        self.terms = None;
        (1..=MAX_KEPT_CAPACITY).contains(&self.list.capacity())
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

/// A list that is empty while it is stored here.
pub(super) struct ScratchList<T>(Cell<Vec<T>>);

impl<T> Default for ScratchList<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> ScratchList<T> {
    pub fn new() -> Self {
        Self(Cell::new(Vec::new()))
    }

    /// Takes the list, or a new one if the list is in use.
    #[inline]
    pub fn take(&self) -> Vec<T> {
        let mut list = self.0.take();
        if list.capacity() == 0 {
            list.reserve(INITIAL_CAPACITY);
        }
        list
    }

    /// Stores a list for reuse. Drops its elements.
    #[inline]
    pub fn keep(&self, mut list: Vec<T>) {
        if !list.is_empty() {
            list.clear();
        }
        if list.capacity() <= MAX_KEPT_CAPACITY {
            let before = self.0.replace(list);
            if before.capacity() == 0 {
                forget(before); // without a call of a destructor
            }
        }
    }
}
