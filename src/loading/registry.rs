//! The flights under way, by key: a fixed array of lists, each lock-free.
//!
//! A node goes in at the head of its list, by a CAS on the head that the search began with. So it
//! fails if any node came in since, and no key is in a list twice; but for nodes whose flight is over,
//! which are *marked* first, in their own link. A marked node's link does not change any more, and who comes
//! upon one takes it out of the list, by a CAS of the link that led to it: that one fails if the node
//! before has been marked or taken out meanwhile, and then the search begins again. Whoever took a node out
//! retires it.
//!
//! A list is short: it holds the loads under way whose keys' hashes share it.

use super::contain;
use super::flight::Flight;
use crate::reclaim::{Garbage, Reclaim};
use crate::sync::hook::step;
use crate::sync::lazy_array::LazyArray;
use crate::sync::{AtomicPtr, Ordering};
use std::ptr;
use std::sync::{Arc, Weak};

/// How many lists there are, a power of two. They are made when the first load begins.
const LISTS: usize = if cfg!(coeval_loom) { 1 } else { 256 };

/// A flight's place in the registry.
pub(super) struct Node<K, T> {
    /// The node after it; its lowest bit is the mark.
    next: AtomicPtr<Self>,
    hash: u32,
    key: K,
    /// Not an `Arc`: the outcome goes when those who were told have it, not a grace period later.
    flight: Weak<Flight<T>>,
}

impl<K, T> Node<K, T> {
    pub(super) fn new(hash: u32, key: K, flight: &Arc<Flight<T>>) -> Box<Self> {
        let next = AtomicPtr::new(ptr::null_mut());
        Box::new(Self { next, hash, key, flight: Arc::downgrade(flight) })
    }

    #[cfg(any(test, coeval_loom))]
    pub(super) fn key(&self) -> &K {
        &self.key
    }

    pub(super) fn flight(&self) -> Option<Arc<Flight<T>>> {
        self.flight.upgrade()
    }

    fn mark(&self) {
        let mark = |next: *mut Self| (!is_marked(next)).then(|| marked(next));
        // Acquire and Release: a link leads to nodes that others put in, and it is passed on.
        // An error says that it is marked already.
        let _ = self.next.fetch_update(Ordering::AcqRel, Ordering::Acquire, mark);
    }
}

fn is_marked<N>(link: *mut N) -> bool {
    link.addr() & 1 != 0
}

fn marked<N>(link: *mut N) -> *mut N {
    link.map_addr(|address| address | 1)
}

fn unmarked<N>(link: *mut N) -> *mut N {
    link.map_addr(|address| address & !1)
}

type Heads<K, T> = Box<[AtomicPtr<Node<K, T>>]>;

/// See the module's header.
pub(super) struct Registry<K, T, R: Reclaim> {
    /// Its own, so that a guard is always one of the right scheme, and nodes do not wait for guards that
    /// have nothing to do with loads.
    reclaim: R,
    heads: LazyArray<Heads<K, T>, 1>,
}

// SAFETY: it owns nodes, whose keys it drops on any thread and compares on all of them.
unsafe impl<K: Send + Sync, T: Send + Sync, R: Reclaim> Send for Registry<K, T, R> {}
// SAFETY: as above.
unsafe impl<K: Send + Sync, T: Send + Sync, R: Reclaim> Sync for Registry<K, T, R> {}

/// A guarded section of a registry: nodes found by it stay valid while it lives.
pub(super) struct Section<'r, K, T, R: Reclaim> {
    registry: &'r Registry<K, T, R>,
    guard: R::Guard<'r>,
}

/// What a search came to.
pub(super) enum Search<'s, K, T> {
    /// This node is there; its flight may be over.
    Met(&'s Node<K, T>),
    /// There is none, as long as this is the head of the list.
    Absent(*mut Node<K, T>),
}

impl<K, T, R: Reclaim> Registry<K, T, R> {
    pub(super) fn new() -> Self {
        Self { reclaim: R::new(), heads: LazyArray::new() }
    }

    pub(super) fn pin(&self) -> Section<'_, K, T, R> {
        Section { registry: self, guard: self.reclaim.pin() }
    }

    /// Does a bounded amount of reclamation, while the thread holds no section.
    pub(super) fn collect(&self) {
        self.reclaim.collect();
    }

    fn head(&self, hash: u32) -> &AtomicPtr<Node<K, T>> {
        let make = || (0..LISTS).map(|_| AtomicPtr::new(ptr::null_mut())).collect();
        &self.heads.get_or_make(0, make)[hash as usize & (LISTS - 1)]
    }
}

impl<K, T, R: Reclaim> Section<'_, K, T, R> {
    /// Looks for the node of a key. It takes out what is marked on the way.
    pub(super) fn find(&self, hash: u32, mut eq: impl FnMut(&K) -> bool) -> Search<'_, K, T> {
        'begin: loop {
            let mut link = self.registry.head(hash);
            // Acquire, here and below: pairs with the Releases that put a node behind a link.
            let mut first = link.load(Ordering::Acquire);
            let mut at = first;
            // SAFETY: reached from the head under the guard: not retired before the guard began, as
            // the link that led here was not marked.
            while let Some(node) = unsafe { at.as_ref() } {
                let next = node.next.load(Ordering::Acquire);
                if is_marked(next) {
                    if !self.take_out(link, at, unmarked(next)) {
                        continue 'begin;
                    }
                    first = if first == at { unmarked(next) } else { first };
                } else if node.hash == hash && eq(&node.key) {
                    return Search::Met(node);
                } else {
                    link = &node.next;
                }
                at = unmarked(next);
            }
            return Search::Absent(first);
        }
    }

    /// Takes a marked node out of the list, unless `link` leads there no more.
    fn take_out(
        &self,
        link: &AtomicPtr<Node<K, T>>,
        node: *mut Node<K, T>,
        next: *mut Node<K, T>,
    ) -> bool {
        step("flights.take_out");
        // Release: passes on the node behind `next`, which the caller has acquired.
        if link.compare_exchange(node, next, Ordering::Release, Ordering::Relaxed).is_err() {
            return false;
        }
        let garbage =
            Garbage { object: node.cast(), context: ptr::null(), reclaim: free_node::<K, T> };
        // SAFETY: only the CAS above takes it out, which succeeds once: its own link is marked, so no
        // node before it can be made to lead to it again. A node's key may be dropped by any
        // thread, and the scheme is drained before the registry goes.
        unsafe { self.registry.reclaim.retire(&self.guard, garbage) };
        true
    }

    /// Puts a node in if its list has not got any since the search that ended with `first`.
    pub(super) fn insert(
        &self,
        first: *mut Node<K, T>,
        node: Box<Node<K, T>>,
        flight: &Flight<T>,
    ) -> Result<(), Box<Node<K, T>>> {
        node.next.store(first, Ordering::Relaxed); // Published by the CAS.
        let head = self.registry.head(node.hash);
        let node = Box::into_raw(node);
        flight.set_node(node.cast());
        step("flights.insert");
        // Release: pairs with the loads in `find`. A head does not come back while the guard lives:
        // a node is put in once, and not freed under us. (Null may: then the list is empty.)
        match head.compare_exchange(first, node, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => Ok(()),
            // SAFETY: made above, and not published.
            Err(_) => Err(unsafe { Box::from_raw(node) }),
        }
    }

    /// Takes out the node of a flight. True if the caller is the first who does so by the flight itself, and not
    /// upon meeting its node.
    ///
    /// # Safety
    /// The flight is of this registry, and was not over at some time since the section began.
    pub(super) unsafe fn remove_flight(&self, flight: &Flight<T>) -> bool {
        let node = flight.take_node().cast::<Node<K, T>>();
        // SAFETY: who takes a node out has taken this link away before, or found the flight over. Neither was so when
        // our section had begun, so the node is retired after that, and not freed yet.
        let node = unsafe { node.as_ref() };
        node.inspect(|node| self.remove(node)).is_some()
    }

    /// Takes out the node of a flight that is over, or was ousted.
    pub(super) fn remove(&self, node: &Node<K, T>) {
        node.mark();
        step("flights.marked");
        let Search::Met(_) = self.find(node.hash, |_| false) else { return };
        unreachable!("nothing is looked for");
    }
}

/// Frees a node that was taken out.
///
/// # Safety
/// Called by the scheme, a grace period after the node was retired.
unsafe fn free_node<K, T>(node: *mut (), _: *const ()) {
    // SAFETY: made from a box, and nobody uses it any more.
    let node = unsafe { Box::from_raw(node.cast::<Node<K, T>>()) };
    contain(|| drop(node)); // A user's destructor.
}

impl<K, T, R: Reclaim> Drop for Registry<K, T, R> {
    fn drop(&mut self) {
        // SAFETY: a guard borrows the registry, so there is none.
        unsafe { self.reclaim.drain() };
        let Some(heads) = self.heads.get(0) else { return };
        for head in heads {
            // Flights whose leader was forgotten. Relaxed: `&mut self` is exclusive.
            let mut next = head.load(Ordering::Relaxed);
            while !next.is_null() {
                // SAFETY: made from a box, in a list, so not retired; and nobody else is left.
                let node = unsafe { Box::from_raw(next) };
                next = unmarked(node.next.load(Ordering::Relaxed));
                contain(|| drop(node));
            }
        }
    }
}
