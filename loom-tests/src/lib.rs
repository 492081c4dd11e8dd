//! The models live in `tests/`, one file for each claim. Run them with `ci/loom.sh`.
//!
//! This crate has what the models of the commit protocol share. The models run the library's code
//! on a few records, which are freed only at the end of an execution, so that the state space stays
//! small. Other models check whether memory is kept long enough.
#![cfg(coeval_loom)]
// The models are small programs that meet the preconditions of the unsafe interface.
#![allow(clippy::undocumented_unsafe_blocks, missing_docs)]

mod exact;

pub use exact::Exact;

use coeval::RemovalCause;
use coeval::internals::chain::{Chain, Linked, Node, Record, RecordRef};
use coeval::internals::commit::{
    Descriptor, Entry, Expected, Joint, Limit, Order, ReadAt, TakenOut,
};
use coeval::internals::hook::{with_mutant, with_turns};
use coeval::internals::version::{Clock, State};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};
use std::time::Duration;

std::thread_local! {
    /// The memory that an execution leaves behind. The next execution frees it, when no thread can
    /// reach it any more.
    static LEFT: RefCell<Vec<Box<dyn Any>>> = const { RefCell::new(Vec::new()) };
    /// Whether the explored model must fail.
    static MUST_FAIL: Cell<bool> = const { Cell::new(false) };
}

/// Puts `value` into memory that lives to the end of the execution.
pub fn leak<T: 'static>(value: T) -> *mut T {
    // The destructor does not run, because loom's atomics belong to the execution that made them.
    let mut boxed = Box::new(MaybeUninit::new(value));
    let leaked = boxed.as_mut_ptr();
    LEFT.with_borrow_mut(|left| left.push(boxed));
    leaked
}

fn leak_all<T: 'static>(values: Vec<T>) -> NonNull<[T]> {
    let count = values.len();
    let first = unsafe { NonNull::new_unchecked((*leak(values)).as_mut_ptr()) };
    NonNull::slice_from_raw_parts(first, count)
}

/// How long a model is explored. `LOOM_SECONDS` sets the limit; without it there is none.
fn limit() -> Option<Duration> {
    let seconds = std::env::var("LOOM_SECONDS").ok()?.parse().expect("a number of seconds");
    Some(Duration::from_secs(seconds))
}

/// Spawns a thread with twice the stack that loom gives to one, for acts that go deep.
pub fn spawn_deep<T: Send + 'static>(
    act: impl FnOnce() -> T + Send + 'static,
) -> loom::thread::JoinHandle<T> {
    const WORDS: usize = 0x2000;
    loom::thread::Builder::new().stack_size(WORDS).spawn(act).expect("loom has room for a thread")
}

/// Explores the interleavings of `model` with at most `preemptions` preemptions.
/// `LOOM_MAX_PREEMPTIONS` overrides that number, except where a model must fail.
///
/// All code that races must run on spawned threads. loom explored only a single execution of a
/// model whose main thread only read.
pub fn explore(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    let asked = builder.preemption_bound.filter(|_| !MUST_FAIL.get());
    builder.preemption_bound = asked.or(Some(preemptions));
    builder.max_branches = 20_000;
    builder.max_duration = limit();
    builder.check(move || {
        LEFT.take();
        model();
    });
}

/// Like `explore`, with every order of the threads' steps (see `with_turns`).
pub fn explore_steps(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    with_turns(|| explore(preemptions, model));
}

/// Requires that the model fails when the library has `defect`, with a message that contains
/// `kind`. So a failure by one of loom's limits, or by an index out of bounds, does not count. A
/// model that must fail without a defect of the library names `NONE`.
pub fn must_fail(defect: &'static str, kind: &str, model: impl FnOnce()) {
    assert!(!kind.is_empty(), "state how the model must fail");
    MUST_FAIL.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(|| with_mutant(defect, model)));
    MUST_FAIL.set(false);
    let failure = outcome.expect_err("the model does not see this defect");
    let message = match failure.downcast_ref::<String>() {
        Some(message) => message.as_str(),
        None => failure.downcast_ref::<&str>().copied().unwrap_or("?"),
    };
    assert!(message.contains(kind), "it failed for another reason: {message}");
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

/// A small cache, on the asymmetric backend.
pub type Small = coeval::Cache<usize, u32, Hash>;

/// A key that only `advance` writes.
const OTHER: usize = 100;

/// A cache in which key 0 holds 1, and the room of its record is free. A tombstone therefore goes
/// into the room, and the record can be condemned as soon as the key is removed.
pub fn small_cache() -> std::sync::Arc<Small> {
    let cache = coeval::Cache::builder().hasher(Hash).build();
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

/// `N` keys, and the state that orders the commits on them. They live to the end of the execution.
pub struct Keys<V: 'static, const N: usize> {
    pub order: Order,
    pub records: [Record<usize, V>; N],
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
        let records = std::array::from_fn(|key| Record::vacant(key, 0));
        unsafe { &*leak(Self { order, records }) }
    }

    /// A version that is not installed.
    pub fn node(&self, state: State, prev: *mut Node<V>, value: Option<V>) -> *mut Node<V> {
        leak(Linked::new(state, prev, value)).cast()
    }

    /// Writes one key as the engine does, but does not dispose of superseded versions.
    pub fn write(&self, key: usize, value: Option<V>) -> (&'static Node<V>, u64) {
        let node = self.node(State::READY, ptr::null_mut(), value);
        let state = unsafe { self.order.write(self.record(key), node, None, &|_, _| ()) };
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
                let record = &self.records[key];
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
        unsafe { RecordRef::new(&self.records[key]) }
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
