//! The store: from keys to records, and from records to versions.
//!
//! It finds and makes records, installs versions, decides commits, keeps what views need, and frees
//! what nobody needs. A cache knows more: how long a value is kept, what it depends on, who listens.
//! The store asks for none of that. The little that it has to report goes to its [`Host`].

mod clearing;
mod commit;
mod descriptors;
mod host;
mod lifecycle;
mod locate;
mod prune;
mod read;
mod tags;
mod versions;
mod views;
mod write_set;

pub use clearing::ClearProgress;
pub use commit::{Commit, Decided};
pub use host::Host;
pub use prune::PendingRemovals;
pub use read::Peeked;
pub use tags::cell_of;
pub use versions::{TermsAndBonds, Written};
pub use views::{OpenView, Snapshot, version_of};
pub use write_set::{Write, WriteSet};

use crate::chain::{Conditional, Derived, Linked, Live, Record};
use crate::commit::{Era, Order, Quiet, Views};
use crate::index::{Index, Indexed};
use crate::pool::{Pool, Shape};
use crate::reclaim::{Reclaim, count_leaked};
use crate::relation::TagCell;
use crate::sync::lazy_array::LazyArray;
use crate::sync::time::Timer;
use crate::version::State;
use descriptors::Descriptors;
use prune::Backlog;
use std::alloc::Layout;
use std::hash::{BuildHasher, Hash};
use std::marker::PhantomData;

/// Records that take no more than this are found in a cache near the processor, wherever they lie.
const LARGEST_CACHED: usize = 128 << 10;

/// How many bits of a product are the hash.
const HASH_AT: u32 = 32;

/// The entries of one cache.
pub struct Store<K, V, S, R: Reclaim, H> {
    pub order: Order,
    pub views: Views,
    pub reclaim: R,
    pub host: H,
    pub cleared: ClearProgress,
    /// Which of the newest commits have changed nothing of what stood.
    pub quiet: Quiet,
    index: Index<Record<K, V>, R>,
    /// The cells of the tags that are in use. Made with the first.
    tags: LazyArray<Index<TagCell, R>, 1>,
    /// The store owns what the index points to: it is `Send` and `Sync` if keys and values are.
    entries: PhantomData<Record<K, V>>,
    hasher: S,
    /// How many hits of a new version are to be counted.
    new_version: State,
    records: Pool,
    nodes: Pool,
    conditional: Pool,
    derived: Pool,
    descriptors: Descriptors<K, V>,
    backlog: Backlog,
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

/// A pool for so many records. With fewer than fill a second-level cache there is no miss that
/// homes could spare.
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
    (hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> HASH_AT) as u32
}

impl<K, V, S, R: Reclaim, H> Store<K, V, S, R, H> {
    /// An empty store with room for `entries` entries. A new version is yet to count `hits` hits.
    pub fn new(entries: usize, hits: u32, timer: Timer, hasher: S, host: H) -> Self {
        Self {
            order: Order::timed(timer),
            views: Views::new(),
            reclaim: R::new(),
            host,
            cleared: ClearProgress::new(),
            quiet: Quiet::new(),
            index: Index::with_capacity(entries),
            tags: LazyArray::new(),
            entries: PhantomData,
            hasher,
            new_version: State::INSTALLING.with_hits_left(hits),
            records: records_for(entries, Record::<K, V>::SHAPE),
            nodes: Pool::new(Shape::plain(Layout::new::<Linked<V>>())),
            conditional: Pool::new(Shape::plain(Layout::new::<Conditional<V>>())),
            derived: Pool::new(Shape::plain(Layout::new::<Derived<V>>())),
            descriptors: Descriptors::new(),
            backlog: Backlog::new(),
        }
    }

    /// Keeps what is read through it from being reclaimed.
    #[inline(always)]
    pub fn pin(&self) -> R::Guard<'_> {
        self.reclaim.pin()
    }

    /// The proof that this guard is live.
    #[inline(always)]
    pub fn live<'g>(&self, guard: &'g R::Guard<'_>) -> Live<'g> {
        Live::by::<R>(guard)
    }

    /// The number of the newest commit; 0 before the first.
    pub fn version(&self) -> u64 {
        self.order.clock.now()
    }

    /// Up to which version everything has been cleared.
    pub fn watermark(&self, live: Live<'_>) -> u64 {
        self.order.watermark.newest(&self.order.clock, live)
    }

    /// The time since everything was cleared last, with its counts.
    pub fn era<'g>(&'g self, guard: &'g R::Guard<'_>) -> &'g Era {
        self.order.watermark.era(&self.order.clock, self.live(guard))
    }

    /// The bytes of all pools and queues.
    pub fn bytes(&self) -> usize {
        let pools = [&self.records, &self.nodes, &self.conditional, &self.derived];
        let pools: usize = pools.iter().map(|pool| pool.bytes()).sum();
        pools + self.backlog.bytes() + self.views.bytes() + self.descriptors.bytes()
    }

    /// Asks for what a look-up reads of a record with this hash, where that usually lies.
    #[inline(always)]
    pub fn prefetch_home(&self, hash: u32) {
        if let Some(home) = self.records.home(&Record::<K, V>::SHAPE, hash) {
            Record::<K, V>::prefetch_to_read_at(home.cast());
        }
    }
}

impl<K, V, S: BuildHasher, R: Reclaim, H> Store<K, V, S, R, H> {
    /// The hash bits of a key, or of a tag.
    #[inline(always)]
    pub fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u32 {
        fold(self.hasher.hash_one(key))
    }
}

impl<K, V, S, R: Reclaim, H> Drop for Store<K, V, S, R, H> {
    fn drop(&mut self) {
        // SAFETY: the last handle is gone, and guards and views borrow or hold handles.
        unsafe { self.reclaim.drain() };
        count_leaked(&self.reclaim);
        // SAFETY: as above. What was retired and is left, since a guard was forgotten, is never
        // reclaimed.
        unsafe {
            self.drop_entries();
            self.drop_tags();
        }
    }
}
