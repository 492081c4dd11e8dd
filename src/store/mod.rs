//! The store: from keys to records, and from records to versions.
//!
//! It finds and makes records, installs versions, decides commits, keeps what views need, and frees
//! what no reader needs. It does not know how long the cache keeps a value, what a value depends
//! on, or what the listener receives. Its few reports go to its [`Host`].

mod backlog;
mod clearing;
mod commit;
mod evict;
mod host;
mod joint;
mod lifecycle;
mod locate;
mod prune;
mod read;
#[cfg(feature = "serde")]
mod restore;
mod retire;
mod tags;
mod unknown;
mod versions;
mod views;
mod write_set;

pub use backlog::PendingRemovals;
pub use clearing::ClearProgress;
pub use commit::{Decided, Prepared};
pub use evict::{Evicted, RecordEnd};
pub use host::Host;
pub use locate::Offered;
pub use read::Peeked;
#[cfg(feature = "serde")]
pub use restore::Numbered;
pub use tags::{cell_of, cells_of};
pub use versions::{Commit, OwnVersion, TermsAndBonds, Written};
pub use views::{KEPT, OpenView, Snapshot, version_of};
pub use write_set::{KeptLists, Write, WriteSet};

use crate::chain::{Conditional, Derived, Linked, Live, Record};
use crate::commit::{Era, Membership, Order, Quiet, Views};
use crate::index::Index;
use crate::pool::{Pool, PoolOf, Shape};
use crate::reclaim::{Reclaim, count_leaked};
use crate::relation::TagCell;
use crate::sync::lazy_array::LazyArray;
use crate::sync::time::Timer;
use crate::version::State;
use backlog::Backlog;
use commit::Descriptors;
use std::alloc::Layout;
use std::marker::PhantomData;

/// Records that take no more bytes than this fit into a cache near the processor, wherever they
/// are.
const LARGEST_CACHED: usize = 128 << 10;

/// The entries of one cache.
pub struct Store<K, V, S, R: Reclaim, H> {
    pub order: Order,
    pub views: Views,
    pub reclaim: R,
    pub host: H,
    pub cleared: ClearProgress,
    /// Which of the newest commits are quiet.
    pub quiet: Quiet,
    index: Index<Record<K, V>, R>,
    /// The cells of the tags in use. Made with the first tag.
    tags: LazyArray<Index<TagCell, R>, 1>,
    /// The store owns the records in the index: it is `Send` and `Sync` if keys and values are.
    entries: PhantomData<Record<K, V>>,
    hasher: S,
    /// The state of a new version, with the number of its hits that are to be counted; and the same
    /// of one that is ready.
    new_version: State,
    new_ready: State,
    nodes: Pool,
    conditional: Pool,
    derived: Pool,
    descriptors: Descriptors<K, V>,
    backlog: Backlog,
}

/// A pool for this number of records. Records that fit into a second-level cache need no homes,
/// because there is no miss to avoid.
fn records_for<K, V>(entries: usize) -> PoolOf<Record<K, V>> {
    let is_near = entries < Record::<K, V>::SHAPE.slots_in(LARGEST_CACHED);
    PoolOf::with_homes(if is_near { 0 } else { entries })
}

impl<K, V, S, R: Reclaim, H> Store<K, V, S, R, H> {
    /// Makes an empty store with memory for `entries` entries. `hits` hits of a new version are
    /// counted.
    pub fn new(
        entries: usize,
        hits: u32,
        membership: Membership,
        timer: Timer,
        hasher: S,
        host: H,
    ) -> Self {
        let new_version = State::INSTALLING.with_hits_left(hits);
        Self {
            order: Order::timed(membership.clock, timer),
            views: Views::new(),
            reclaim: R::new(),
            host,
            cleared: ClearProgress::new(),
            quiet: Quiet::new(),
            index: Index::with_capacity(entries, records_for(entries)),
            tags: LazyArray::new(),
            entries: PhantomData,
            hasher,
            new_version,
            new_ready: new_version.with_outcome(State::READY),
            nodes: Pool::new(Shape::plain(Layout::new::<Linked<V>>())),
            conditional: Pool::new(Shape::plain(Layout::new::<Conditional<V>>())),
            derived: Pool::new(Shape::plain(Layout::new::<Derived<V>>())),
            descriptors: Descriptors::new(membership.joints),
            backlog: Backlog::new(),
        }
    }

    /// The memory of the records.
    #[inline(always)]
    fn records(&self) -> &PoolOf<Record<K, V>> {
        self.index.memory()
    }

    /// The number of the newest commit; 0 before the first.
    pub fn version(&self) -> u64 {
        self.order.clock.now()
    }

    /// The clear watermark: every value up to this version has been cleared.
    pub fn watermark(&self, live: Live<'_>) -> u64 {
        self.order.watermark.newest(&self.order.clock, live)
    }

    /// The current era, with its counts.
    pub fn era<'g>(&'g self, guard: &'g R::Guard<'_>) -> &'g Era {
        self.order.watermark.era(&self.order.clock, self.live(guard))
    }

    /// The bytes of all pools and queues, with the cells of tags.
    pub fn bytes(&self) -> usize {
        let pools = [&**self.records(), &self.nodes, &self.conditional, &self.derived];
        let pools: usize = pools.iter().map(|pool| pool.bytes()).sum();
        let tags = self.tags.get(0).map_or(0, |tags| tags.memory().bytes());
        pools + tags + self.backlog.bytes() + self.views.bytes() + self.descriptors.bytes()
    }

    /// The bytes of the index, and of the index of the tags.
    pub fn index_bytes(&self, guard: &R::Guard<'_>) -> usize {
        self.index.bytes(guard) + self.tags.get(0).map_or(0, |tags| tags.bytes(guard))
    }
}

impl<K, V, S, R: Reclaim, H> Drop for Store<K, V, S, R, H> {
    fn drop(&mut self) {
        // SAFETY: the last handle is gone. Guards and views borrow or hold handles, so none is
        // left.
        unsafe { self.reclaim.drain() };
        count_leaked(&self.reclaim);
        // SAFETY: as above. Retired objects that are left, because a guard was leaked, are never
        // reclaimed.
        unsafe {
            self.drop_entries();
            self.drop_tags();
        }
    }
}
