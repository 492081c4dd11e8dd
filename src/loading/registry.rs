//! The registry: finds the flight of a key. It is a fixed array of lock-free linked lists.
//!
//! A new node goes to the head of its list, by a CAS on the head with which the search began. The
//! CAS fails if another node came in since the search. So no list has two nodes of one key, except
//! for nodes whose flight is over. Such a node is first *marked*, in its own link. The link of a
//! marked node does not change any more. A thread that finds a marked node takes it out of the
//! list, by a CAS of the link that led to it. This CAS fails if the node before was marked or taken
//! out meanwhile, and the search begins again. The thread that took a node out retires it.
//!
//! Lists are short: a list holds only the loads under way whose hashes share it.

use super::contain;
use super::flight::Flight;
use crate::reclaim::{Garbage, Reclaim};
use crate::sync::hook::step;
use crate::sync::lazy_array::LazyArray;
use crate::sync::{AtomicPtr, Ordering};
use std::ptr;
use std::sync::{Arc, Weak};

/// The number of lists, a power of two. The first load allocates them.
const LISTS: usize = if cfg!(coeval_loom) { 1 } else { 256 };

/// The entry of a flight in the registry.
pub(super) struct FlightNode<K, T> {
    /// The next node. The lowest bit marks this node.
    next: AtomicPtr<Self>,
    hash: u32,
    key: K,
    /// Weak, so that the outcome is dropped when the last waiter has it, not a grace period later.
    flight: Weak<Flight<T>>,
}

impl<K, T> FlightNode<K, T> {
    pub(super) fn new(hash: u32, key: K, flight: &Arc<Flight<T>>) -> Box<Self> {
        let next = AtomicPtr::new(ptr::null_mut());
        Box::new(Self { next, hash, key, flight: Arc::downgrade(flight) })
    }

    #[cfg(any(test, coeval_loom, coeval_internals))]
    pub(super) fn key(&self) -> &K {
        &self.key
    }

    pub(super) fn flight(&self) -> Option<Arc<Flight<T>>> {
        self.flight.upgrade()
    }

    fn mark(&self) {
        let mark = |next: *mut Self| (!is_marked(next)).then(|| marked(next));
        // AcqRel: the link leads to a node that another thread inserted (Acquire: pairs with
        // `insert`), and passes that node on to `find` (Release). An error means that the node is
        // already marked.
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

type Heads<K, T> = Box<[AtomicPtr<FlightNode<K, T>>]>;

/// See the module documentation.
pub(super) struct Registry<K, T, R: Reclaim> {
    /// A reclamation scheme of its own. So a guard always belongs to the right scheme, and nodes do
    /// not wait for guards that have nothing to do with loads.
    reclaim: R,
    heads: LazyArray<Heads<K, T>, 1>,
}

// SAFETY: the registry owns nodes. It drops their keys on any thread, and compares them on all.
unsafe impl<K: Send + Sync, T: Send + Sync, R: Reclaim> Send for Registry<K, T, R> {}
// SAFETY: as above.
unsafe impl<K: Send + Sync, T: Send + Sync, R: Reclaim> Sync for Registry<K, T, R> {}

/// A guarded section of a registry. Nodes that it finds stay valid while it lives.
pub(super) struct Section<'r, K, T, R: Reclaim> {
    registry: &'r Registry<K, T, R>,
    guard: R::Guard<'r>,
}

/// The result of a search.
pub(super) enum Search<'s, K, T> {
    /// The key has this node. Its flight may be over.
    Found(&'s FlightNode<K, T>),
    /// The key has no node, as long as this is the head of the list.
    Absent(*mut FlightNode<K, T>),
}

impl<K, T, R: Reclaim> Registry<K, T, R> {
    pub(super) fn new() -> Self {
        Self { reclaim: R::new(), heads: LazyArray::new() }
    }

    pub(super) fn pin(&self) -> Section<'_, K, T, R> {
        Section { registry: self, guard: self.reclaim.pin() }
    }

    /// Does a bounded amount of reclamation. The calling thread holds no section.
    pub(super) fn collect(&self) {
        self.reclaim.collect();
    }

    fn head(&self, hash: u32) -> &AtomicPtr<FlightNode<K, T>> {
        let make = || (0..LISTS).map(|_| AtomicPtr::new(ptr::null_mut())).collect();
        &self.heads.get_or_make(0, make)[hash as usize & (LISTS - 1)]
    }
}

impl<K, T, R: Reclaim> Section<'_, K, T, R> {
    /// Finds the node of a key. Takes out the marked nodes on the way.
    pub(super) fn find(&self, hash: u32, mut eq: impl FnMut(&K) -> bool) -> Search<'_, K, T> {
        'begin: loop {
            let mut link = self.registry.head(hash);
            // Acquire, here and below: pairs with the Releases that put a node behind a link.
            let mut first = link.load(Ordering::Acquire);
            let mut at = first;
            // SAFETY: the node was reached from the head under the guard, by a link that was not
            // marked. So it was not retired before the guard began.
            while let Some(node) = unsafe { at.as_ref() } {
                let next = node.next.load(Ordering::Acquire);
                if is_marked(next) {
                    if !self.take_out(link, at, unmarked(next)) {
                        continue 'begin;
                    }
                    first = if first == at { unmarked(next) } else { first };
                } else if node.hash == hash && eq(&node.key) {
                    return Search::Found(node);
                } else {
                    link = &node.next;
                }
                at = unmarked(next);
            }
            return Search::Absent(first);
        }
    }

    /// Shows the hash and the flight of each node whose flight is not over.
    pub(super) fn each(&self, mut show: impl FnMut(u32, &Flight<T>)) {
        for head in self.registry.heads.get(0).into_iter().flatten() {
            // Acquire, here and below: as in `find`.
            let mut at = head.load(Ordering::Acquire);
            // SAFETY: each node from here on was in the list during the guard: it was reached from
            // the head, and the link of a node that was taken out meanwhile still leads to what was
            // behind it then. So none was retired before the guard began.
            while let Some(node) = unsafe { at.as_ref() } {
                let next = node.next.load(Ordering::Acquire);
                if !is_marked(next)
                    && let Some(flight) = node.flight()
                    && !flight.is_over()
                {
                    show(node.hash, &flight);
                }
                at = unmarked(next);
            }
        }
    }

    /// Takes a marked node out of the list. Returns false if `link` no longer leads to it.
    fn take_out(
        &self,
        link: &AtomicPtr<FlightNode<K, T>>,
        node: *mut FlightNode<K, T>,
        next: *mut FlightNode<K, T>,
    ) -> bool {
        step("flights.take_out");
        // Release: pairs with the loads in `find`. Passes on the node `next`, which the caller has
        // acquired.
        if link.compare_exchange(node, next, Ordering::Release, Ordering::Relaxed).is_err() {
            return false;
        }
        let garbage =
            Garbage { object: node.cast(), context: ptr::null(), reclaim: free_node::<K, T> };
        // SAFETY: only the CAS above takes the node out, and it succeeds once: the node's own link
        // is marked, so no node before it can be linked to it again. Any thread may drop a node's
        // key, and the registry drains the scheme before it is dropped.
        unsafe { self.registry.reclaim.retire(&self.guard, garbage) };
        true
    }

    /// Inserts a node, if its list has had no insertion since the search that ended with `first`.
    pub(super) fn insert(
        &self,
        first: *mut FlightNode<K, T>,
        node: Box<FlightNode<K, T>>,
        flight: &Flight<T>,
    ) -> Result<(), Box<FlightNode<K, T>>> {
        node.next.store(first, Ordering::Relaxed); // The CAS publishes it.
        let head = self.registry.head(node.hash);
        let node = Box::into_raw(node);
        flight.set_node(node.cast());
        step("flights.insert");
        // Release: pairs with the loads in `find`. There is no ABA problem: a node is inserted
        // once, and is not freed while the guard lives. (Null may come back, but then the list is
        // empty.)
        match head.compare_exchange(first, node, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => Ok(()),
            // SAFETY: the pointer comes from the box above, and was not published.
            Err(_) => Err(unsafe { Box::from_raw(node) }),
        }
    }

    /// Takes out the node of a flight. Returns true if the caller is the first thread to do so by
    /// the flight's link, rather than upon finding the node in its list.
    ///
    /// # Safety
    /// The flight is of this registry, and was not over at some time since the section began.
    pub(super) unsafe fn remove_flight(&self, flight: &Flight<T>) -> bool {
        let node = flight.take_node().cast::<FlightNode<K, T>>();
        // SAFETY: a thread that takes the node out has first taken this link, or found the flight
        // over. Neither had happened when the section began. So the node is retired after that, and
        // is not freed yet.
        let node = unsafe { node.as_ref() };
        node.inspect(|node| self.remove(node)).is_some()
    }

    /// Takes out the node of a flight that is over or ousted.
    pub(super) fn remove(&self, node: &FlightNode<K, T>) {
        node.mark();
        step("flights.marked");
        let Search::Found(_) = self.find(node.hash, |_| false) else { return };
        unreachable!("this search matches no key");
    }
}

/// Frees a node that was taken out.
///
/// # Safety
/// The scheme calls this a grace period after the node was retired.
unsafe fn free_node<K, T>(node: *mut (), _: *const ()) {
    // SAFETY: the pointer comes from a box, and no thread uses the node any more.
    let node = unsafe { Box::from_raw(node.cast::<FlightNode<K, T>>()) };
    contain(|| drop(node)); // The key's destructor is user code.
}

impl<K, T, R: Reclaim> Drop for Registry<K, T, R> {
    fn drop(&mut self) {
        // SAFETY: a guard borrows the registry, so there is none.
        unsafe { self.reclaim.drain() };
        let Some(heads) = self.heads.get(0) else { return };
        for head in heads {
            // These are flights whose leader was forgotten. Relaxed: `&mut self` is exclusive.
            let mut next = head.load(Ordering::Relaxed);
            while !next.is_null() {
                // SAFETY: the pointer comes from a box. The node is in a list, so it is not
                // retired, and no other thread is left.
                let node = unsafe { Box::from_raw(next) };
                next = unmarked(node.next.load(Ordering::Relaxed));
                contain(|| drop(node));
            }
        }
    }
}
