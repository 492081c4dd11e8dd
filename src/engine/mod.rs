//! The engine: joins index, chains, commit and reclamation into a cache.
//!
//! | file | what |
//! |---|---|
//! | `look.rs` | look-ups: newest |
//! | `read.rs` | look-ups: as of a view, several at one instant |
//! | `write.rs` | a write of one key |
//! | `settle.rs` | what the owner of a commit owes afterwards |
//! | `plan.rs` | a commit of several writes: from the caller's list to a descriptor |
//! | `expect.rs` | commits on the condition that a key is what is expected |
//! | `transact.rs` | commits on the condition that all that was read is as it was |
//! | `tend.rs` | pruning, and the work that is left for later writers |
//! | `collect.rs` | all upkeep at once |
//! | `sweep.rs` | the walk that sweeps out what was cleared |
//! | `retire.rs` | how versions and records go: condemn, seal, free |
//! | `adjust.rs` | the settings that may change |
//! | `keep.rs` | on which terms a value is kept |
//! | `said.rs` | and what a caller says of that |
//! | `evict.rs` | the capacity bound |
//! | `expire.rs` | deadlines |
//! | `watch.rs` | what is counted and recorded |
//! | `lease.rs` | the right to fill a key with what was read before |
//! | `fill.rs` | and the fills |
//! | `present.rs` | whether what was found is to be had |
//! | `hold.rs` | whether all holds by which it is |
//! | `derive.rs` | values that were made from others, and go with them |
//! | `derivation.rs` | one derivation, and all that is derived within it |
//! | `set.rs` | and how that is set |
//! | `tags.rs` | what has a tag, and the end of all that |
//! | `group.rs` | what loads have in common |
//! | `load.rs` | loads, of which there is one a key |
//! | `failed.rs` | what those do who waited for a load that failed |
//! | `later.rs` | loads that a job begins, or who needs them before |
//! | `name.rs` | what a key is called in a message |
//! | `leave.rs` | who is told of entries that leave |
//! | `commits.rs` | the memory of descriptors |
//! | `scratch.rs` | lists that a thread uses again and again |
//! | `scan.rs` | iteration |
//! | `inspect.rs` | what a monitor asks |

mod adjust;
mod collect;
mod commits;
mod derivation;
mod derive;
mod evict;
mod expect;
mod expire;
mod failed;
mod fill;
mod group;
mod hold;
mod inspect;
mod keep;
mod later;
mod lease;
mod leave;
mod load;
mod look;
mod name;
mod plan;
mod present;
mod read;
mod retire;
mod said;
mod scan;
mod scratch;
mod set;
mod settle;
mod sweep;
mod tags;
mod tend;
mod transact;
mod watch;
mod write;

pub use adjust::{Adjustable, Times};
pub use derivation::{Derivation, Reading};
pub use group::{all, all_boxed, array, boxed, is_large};
pub use inspect::Relations;
pub use keep::Weigher;
#[cfg(feature = "async")]
pub use later::{Begun, Detached};
pub use lease::Hold;
pub use leave::Listener;
#[cfg(feature = "async")]
pub use load::{Brought, Claims, Load};
pub use load::{Claim, InVain, Wanted};
pub use name::name_of;
pub use read::Snapshot;
pub use said::{Changes, Keep};
#[cfg(any(coeval_loom, coeval_internals))]
pub use tend::{Due, due};
pub use transact::Attempt;

use crate::chain::{Conditional, Derived, Linked, Record};
use crate::commit::{Order, Quiet, Stack, Views};
use crate::index::{Index, Indexed};
use crate::loading::{Flights, LoadRules};
use crate::metrics::{Counters, Recorder};
use crate::policy::Policy;
use crate::pool::{Pool, Shape};
use crate::reclaim::{Reclaim, count_leaked};
use crate::relation::{Relation, TagCell};
use crate::sync::grown::Grown;
use crate::sync::time::Timer;
use crate::version::State;
use adjust::InForce;
use commits::Commits;
use expire::Deadlines;
use keep::Rules;
use leave::Leaving;
use scratch::Scratches;
use std::alloc::Layout;
use std::hash::{BuildHasher, Hash};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;
use sweep::Sweep;
#[cfg(not(any(coeval_loom, coeval_internals)))]
use tend::Due;
use tend::Leftover;

/// Records that take no more than this are found in a cache near the processor, wherever they lie.
const LARGEST_CACHED: usize = 128 << 10;

/// How a cache is set up.
pub struct Settings<K, V> {
    /// For so many entries there is room from the beginning.
    pub initial_capacity: usize,
    /// The most that all entries may weigh.
    pub max_capacity: Option<u64>,
    pub weigher: Option<Box<Weigher<K, V>>>,
    pub name: Option<fn(&K) -> Box<str>>,
    pub time_to_live: Option<Duration>,
    pub time_to_idle: Option<Duration>,
    pub refresh_after: Option<Duration>,
    pub relation: Option<Arc<Relation<K, V>>>,
    pub max_related: usize,
    pub listener: Option<Arc<Listener<K, V>>>,
    pub timer: Timer,
    pub loads: LoadRules,
}

impl<K, V> Default for Settings<K, V> {
    fn default() -> Self {
        Self {
            initial_capacity: 0,
            max_capacity: None,
            weigher: None,
            name: None,
            time_to_live: None,
            time_to_idle: None,
            refresh_after: None,
            relation: None,
            max_related: 65_536,
            listener: None,
            timer: Timer::new(),
            loads: LoadRules { tells_failures: true, ..LoadRules::default() },
        }
    }
}

/// All of a cache's state. Handles share it through an `Arc`.
pub struct Engine<K, V, S, R: Reclaim> {
    index: Index<Record<K, V>, R>,
    /// The cells of the tags that are in use; made with the first.
    tags: Grown<Index<TagCell, R>, 1>,
    /// It owns what the index points to: it is `Send` and `Sync` if keys and values are.
    entries: PhantomData<Record<K, V>>,
    order: Order,
    views: Views,
    reclaim: R,
    hasher: S,
    in_force: InForce<K, V>,
    rules: Rules<K, V>,
    policy: Option<Policy>,
    deadlines: Deadlines,
    due: Due,
    timer: Timer,
    /// The loads under way, by the addresses of their keys' records.
    flights: Flights<usize, load::Brought<V>, R>,
    counters: Counters,
    recorder: Recorder,
    /// What a new version's creator says of it: how many hits are to be counted.
    fresh: State,
    records: Pool,
    nodes: Pool,
    conditional: Pool,
    derived: Pool,
    commits: Commits<K, V>,
    scratch: Scratches<K, V>,
    /// What the listener has yet to hear of what left in nobody's operation.
    untold: Stack<Leaving<K, V>>,
    leftover: Leftover,
    sweep: Sweep,
    /// Derivations that have changed nothing of what stood.
    quiet: Quiet,
}

impl<K, V> Indexed for Record<K, V> {
    const READ: usize = Record::<K, V>::READ;

    #[inline(always)]
    fn hash(&self) -> u32 {
        Record::hash(self)
    }

    fn revive(&self) -> bool {
        Record::revive(self)
    }

    fn is_sealed(&self) -> bool {
        self.head().is_sealed()
    }
}

/// A pool of so many records. With fewer than fill a second-level cache there is no miss that homes could spare.
fn records_for(entries: usize, shape: Shape) -> Pool {
    if entries < shape.slots_in(LARGEST_CACHED) {
        Pool::new(shape)
    } else {
        Pool::with_homes(shape, entries)
    }
}

/// The hash bits by which the index files a key: the upper half of a product in which every bit of
/// the hash has a part, so that a hasher with good bits only in one place still serves.
#[inline(always)]
fn fold(hash: u64) -> u32 {
    (hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
}

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// An empty cache.
    pub fn new(settings: Settings<K, V>, hasher: S) -> Self {
        let is_weighed = settings.weigher.is_some();
        let policy = settings.max_capacity.map(|capacity| match is_weighed {
            true => Policy::weighing(capacity),
            false => Policy::counting(capacity),
        });
        let hits = if policy.is_some() { State::HITS_COUNTED } else { 0 };
        Self {
            index: Index::with_capacity(settings.initial_capacity),
            tags: Grown::new(),
            entries: PhantomData,
            order: Order::timed(settings.timer.clone()),
            views: Views::new(),
            reclaim: R::new(),
            hasher,
            in_force: InForce::new(Adjustable {
                times: Times::new(
                    settings.time_to_live,
                    settings.time_to_idle,
                    settings.refresh_after,
                ),
                relation: settings.relation,
                listener: settings.listener,
            }),
            rules: Rules {
                weigher: settings.weigher,
                name: settings.name,
                max_related: settings.max_related,
            },
            policy,
            deadlines: Deadlines::new(),
            due: Due::new(),
            timer: settings.timer,
            flights: Flights::with(settings.loads),
            counters: Counters::new(),
            recorder: Recorder::new(),
            fresh: State::INSTALLING.with_hits_left(hits),
            records: records_for(settings.initial_capacity, Record::<K, V>::SHAPE),
            nodes: Pool::new(Shape::plain(Layout::new::<Linked<V>>())),
            conditional: Pool::new(Shape::plain(Layout::new::<Conditional<V>>())),
            derived: Pool::new(Shape::plain(Layout::new::<Derived<V>>())),
            commits: Commits::new(),
            scratch: Scratches::new(),
            untold: Stack::new(),
            leftover: Leftover::new(),
            sweep: Sweep::new(),
            quiet: Quiet::new(),
        }
    }

    #[inline(always)]
    pub fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u32 {
        fold(self.hasher.hash_one(key))
    }

    /// Asks for what a look-up reads of a record with this hash, where that usually lies.
    #[inline(always)]
    fn ask_at_home(&self, hash: u32) {
        if let Some(home) = self.records.home(&Record::<K, V>::SHAPE, hash) {
            Record::<K, V>::prefetch_to_read_at(home.cast());
        }
    }
}

impl<K, V, S, R: Reclaim> Drop for Engine<K, V, S, R> {
    fn drop(&mut self) {
        // SAFETY: the last handle is gone, and guards and views borrow or hold handles.
        unsafe { self.reclaim.drain() };
        count_leaked(&self.reclaim);
        // SAFETY: as above. What was retired and is left, as a guard was forgotten, is never reclaimed.
        unsafe { self.drop_entries() };
        // SAFETY: as above.
        unsafe { self.drop_tags() };
    }
}
