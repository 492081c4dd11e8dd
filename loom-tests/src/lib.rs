//! The models live in `tests/`, one file for each claim. Run them with `ci/loom.sh`. Each is also a
//! test that runs on real threads (`ci/threads.sh`).
//!
//! This crate has what the models of the commit protocol share. The models run the library's code
//! on a few records, which are freed only at the end of an execution, so that the state space stays
//! small. Other models check whether memory is kept long enough.
#![cfg(any(coeval_loom, coeval_internals))]
// The models are small programs that meet the preconditions of the unsafe interface.
#![allow(clippy::undocumented_unsafe_blocks, missing_docs)]

mod exact;
#[cfg(all(coeval_loom, not(coeval_shuttle)))]
mod explored;
mod models;
#[cfg(coeval_shuttle)]
#[doc(hidden)]
pub mod shuttled;
#[cfg(not(coeval_loom))]
#[doc(hidden)]
pub mod threads;

#[cfg(coeval_loom)]
pub use coeval::internals::hook::{with_one_order, with_turns};
#[cfg(coeval_loom)]
pub use coeval::internals::per_thread::with_ends;
pub use exact::Exact;
#[cfg(all(coeval_loom, not(coeval_shuttle)))]
pub use explored::{explore, explore_steps, must_fail, run_to_its_end, spawn_deep};
#[cfg(all(coeval_loom, not(coeval_shuttle)))]
pub use loom;
#[cfg(coeval_shuttle)]
pub use shuttled as loom;
#[cfg(coeval_shuttle)]
pub use shuttled::{explore, explore_steps, must_fail, run_to_its_end, spawn_deep};
#[cfg(not(coeval_loom))]
pub use threads as loom;
#[cfg(not(coeval_loom))]
pub use threads::{
    explore, explore_steps, must_fail, run_to_its_end, spawn_deep, with_ends, with_one_order,
    with_turns,
};

use coeval::RemovalCause;
use coeval::internals::chain::{Chain, Linked, Node, Record, RecordRef};
use coeval::internals::commit::{
    Descriptor, Entry, Expected, Joint, Limit, Order, Over, ReadAt, TakenOut,
};
use coeval::internals::version::{Clock, State};
use std::any::Any;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::sync::{Mutex, PoisonError};

/// The memory that an execution leaves behind.
struct Left(#[allow(dead_code)] Box<dyn Any>);

// SAFETY: it is only dropped, once no thread of the execution is left.
unsafe impl Send for Left {}

/// What the last execution left behind. The next one frees it, when no thread can reach it any
/// more.
static LEFT: Mutex<Vec<Left>> = Mutex::new(Vec::new());

/// Keeps `value` to the end of the execution.
fn keep(value: Box<dyn Any>) {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner).push(Left(value));
}

/// Frees what the last execution left behind.
fn free_left() {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

/// Puts `value` into memory that lives to the end of the execution.
pub fn leak<T: 'static>(value: T) -> *mut T {
    // The destructor does not run, because loom's atomics belong to the execution that made them.
    let mut boxed = Box::new(MaybeUninit::new(value));
    let leaked = boxed.as_mut_ptr();
    keep(boxed);
    leaked
}

fn leak_all<T: 'static>(values: Vec<T>) -> NonNull<[T]> {
    let count = values.len();
    let first = unsafe { NonNull::new_unchecked((*leak(values)).as_mut_ptr()) };
    NonNull::slice_from_raw_parts(first, count)
}

/// No defect of the library.
pub const NONE: &str = "";

/// A hasher that gives the same hashes in every execution.
#[derive(Clone, Copy, Default)]
pub struct Hash;

impl std::hash::BuildHasher for Hash {
    type Hasher = std::hash::DefaultHasher;

    fn build_hasher(&self) -> Self::Hasher {
        std::hash::DefaultHasher::new()
    }
}

/// How small caches reclaim. The batches of the asymmetric backend are small under loom only.
#[cfg(coeval_loom)]
pub type Scheme = coeval::reclaim::Asymmetric;
#[cfg(not(coeval_loom))]
pub type Scheme = Exact;

/// A small cache.
pub type Small = coeval::Cache<usize, u32, Hash, Scheme>;

/// A key that only `advance` writes.
const OTHER: usize = 100;

/// A cache in which key 0 holds 1, and the room of its record is free. A tombstone therefore goes
/// into the room, and the record can be condemned as soon as the key is removed.
pub fn small_cache() -> std::sync::Arc<Small> {
    let cache = coeval::Cache::builder().hasher(Hash).reclaimer::<Scheme>().build();
    cache.insert(0, 0);
    cache.insert(0, 1);
    advance(&cache, 4);
    std::sync::Arc::new(cache)
}

/// Gives reclamation `turns` opportunities to advance and to reclaim what is due.
pub fn advance(cache: &Small, turns: usize) {
    for _ in 0..turns {
        cache.insert(OTHER, 0);
    }
}

/// A pointer that a model hands to its threads.
pub struct Shared<T>(pub *mut T);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Shared<T> {}
unsafe impl<T> Send for Shared<T> {}
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub fn get(self) -> *mut T {
        self.0
    }
}

/// Records without a version, which live to the end of the execution.
#[cfg(coeval_loom)]
fn vacant_records<V: 'static, const N: usize>() -> [&'static Record<usize, V>; N] {
    std::array::from_fn(|key| unsafe { &*leak(Record::vacant(key, 0)) })
}

/// The same; here, a part of a record is apart from it, in the memory of a pool.
#[cfg(not(coeval_loom))]
fn vacant_records<V: 'static, const N: usize>() -> [&'static Record<usize, V>; N] {
    let pool = Box::new(coeval::internals::Pool::new(Record::<usize, V>::SHAPE));
    let records = std::array::from_fn(|key| unsafe {
        let slot = pool.take().cast::<Record<usize, V>>();
        Record::write(slot.as_ptr(), key, (0, 0), State::READY, None);
        slot.as_ref()
    });
    keep(pool);
    records
}

/// `N` keys, and the state that orders the commits on them. They live to the end of the execution.
pub struct Keys<V: 'static, const N: usize> {
    pub order: Order,
    pub records: [&'static Record<usize, V>; N],
}

impl<V: 'static, const N: usize> Keys<V, N> {
    /// Absent keys.
    pub fn new() -> &'static Self {
        Self::ordered_by(Order::new())
    }

    /// Absent keys of a cache of a domain with this clock.
    pub fn in_domain(clock: &Clock) -> &'static Self {
        Self::ordered_by(Order::in_domain(clock))
    }

    fn ordered_by(order: Order) -> &'static Self {
        unsafe { &*leak(Self { order, records: vacant_records() }) }
    }

    /// A version that is not installed.
    pub fn node(&self, state: State, prev: *mut Node<V>, value: Option<V>) -> *mut Node<V> {
        leak(Linked::new(state, prev, value)).cast()
    }

    /// Writes one key as the engine does, but does not dispose of superseded versions.
    pub fn write(&self, key: usize, value: Option<V>) -> (&'static Node<V>, u64) {
        let node = self.node(State::READY, ptr::null_mut(), value);
        let state = unsafe { self.order.write(self.record(key), node, Over::Any, &|_, _| ()) };
        let state = state.expect("it may supersede anything");
        (unsafe { &*node }, state.version())
    }

    /// Describes a commit of several writes, with ascending keys, that has not begun. As a guess,
    /// each version is to be installed on the current head.
    pub fn describe(
        &self,
        writes: impl IntoIterator<Item = (usize, Option<V>)>,
        expected: Vec<Expected>,
    ) -> Shared<Descriptor<usize, V>> {
        let writes = writes.into_iter().map(|(key, value)| (key, Some(value)));
        self.describe_all(writes, expected)
    }

    /// Like `describe`, with witnesses, which write nothing.
    pub fn describe_all(
        &self,
        entries: impl IntoIterator<Item = (usize, Option<Option<V>>)>,
        expected: Vec<Expected>,
    ) -> Shared<Descriptor<usize, V>> {
        // SAFETY: there is no joint commit.
        unsafe { self.describe_part(ptr::null(), entries, expected) }
    }

    /// The same for the part of a joint commit, unless that is null.
    ///
    /// # Safety
    /// The joint commit lives as long as the descriptor.
    pub unsafe fn describe_part(
        &self,
        joint: *const Joint,
        entries: impl IntoIterator<Item = (usize, Option<Option<V>>)>,
        expected: Vec<Expected>,
    ) -> Shared<Descriptor<usize, V>> {
        let descriptor = leak(MaybeUninit::<Descriptor<usize, V>>::uninit());
        let state = State::undecided(descriptor.expose_provenance());
        let entries = entries
            .into_iter()
            .map(|(key, write)| {
                let record = self.records[key];
                let (state, cause) = match write {
                    Some(_) => (state, Some(RemovalCause::Replaced)),
                    None => (state.witness(), None),
                };
                let node = self.node(state, record.head().node(), write.flatten());
                Entry { record: ptr::from_ref(record), node, cause }
            })
            .collect::<Vec<_>>();
        let (entries, expected) = (leak_all(entries), leak_all(expected));
        unsafe { (*descriptor).write(Descriptor::new(joint, entries, expected)) };
        Shared(descriptor.cast())
    }

    /// Helps a commit to its end.
    pub fn help(&self, descriptor: Shared<Descriptor<usize, V>>) -> State {
        self.help_and(descriptor, |_| ())
    }

    /// Like `help`, and calls back with each superseded version that is to be disposed of.
    pub fn help_and(
        &self,
        descriptor: Shared<Descriptor<usize, V>>,
        retire: impl Fn(*mut Node<V>),
    ) -> State {
        unsafe { self.order.help(descriptor.get(), &|_, node| retire(node)) }
    }

    /// Helps a commit to its end and copies its outcome, as its owner does.
    pub fn run(&self, descriptor: Shared<Descriptor<usize, V>>) -> State {
        self.run_and(descriptor, |_| ())
    }

    /// Like `run`, and calls back with each superseded version that is to be disposed of.
    pub fn run_and(
        &self,
        descriptor: Shared<Descriptor<usize, V>>,
        retire: impl Fn(*mut Node<V>),
    ) -> State {
        let outcome = self.help_and(descriptor, retire);
        for entry in unsafe { &*descriptor.get() }.entries() {
            unsafe { &*entry.node }.set_outcome(outcome);
        }
        outcome
    }

    /// A key's record. Nothing is reclaimed before the execution ends.
    pub fn record(&self, key: usize) -> RecordRef<'_, usize, V> {
        unsafe { RecordRef::new(self.records[key]) }
    }

    /// What `get` finds: the newest version, if it holds a value.
    pub fn newest(&self, key: usize) -> Option<(&V, u64)> {
        let record = self.record(key);
        // As the engine does: first the plain case, then the full look-up.
        let top = record.top().filter(|_| self.order.may_use_top());
        let plain = top.and_then(|(node, state)| node.plain_as(state));
        let found = plain.or_else(|| self.order.newest(record));
        found.map(|found| (found.value(), found.number()))
    }

    /// What was visible at `limit`.
    pub fn at(&self, key: usize, limit: Limit, floor: u64) -> Option<(&V, u64)> {
        self.try_at(key, limit, floor).expect("nothing was taken out")
    }

    /// Like `at`, beside pruners.
    pub fn try_at(
        &self,
        key: usize,
        limit: Limit,
        floor: u64,
    ) -> Result<Option<(&V, u64)>, TakenOut> {
        let at = unsafe { ReadAt::new(limit) }.above(floor);
        let held = self.order.resolve(self.record(key), at)?;
        Ok(held.value().map(|found| (found.value(), found.number())))
    }

    /// The states down a key's chain, newest first.
    pub fn chain(&self, key: usize) -> Vec<(Shared<Node<V>>, State)> {
        let mut chain = Vec::new();
        let mut next = self.records[key].head().node();
        while !next.is_null() {
            let node = unsafe { &*next };
            chain.push((Shared(next), node.state()));
            next = unsafe { self.records[key].prev_of(next) }.link().target();
        }
        chain
    }

    /// Checks that the chains are in order: every version is decided, and committed versions
    /// strictly descend.
    pub fn assert_ordered(&self) {
        for key in 0..N {
            let chain = self.chain(key);
            assert!(chain.iter().all(|(_, s)| s.is_committed() || s.is_aborted()), "undecided");
            let versions: Vec<_> =
                chain.iter().filter(|(_, s)| s.is_committed()).map(|(_, s)| s.version()).collect();
            assert!(versions.is_sorted_by(|a, b| a > b), "not descending: {versions:?}");
        }
    }
}
