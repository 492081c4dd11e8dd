//! The engine: joins index, chains, commit and reclamation into a cache.
//!
//! | file | what |
//! |---|---|
//! | `read.rs` | look-ups: newest, as of a view, several at one instant |
//! | `write.rs` | a write of one key, and what its owner owes afterwards |
//! | `plan.rs` | a commit of several writes: from the caller's list to a descriptor |
//! | `tend.rs` | pruning, and the work that is left for later writers |
//! | `retire.rs` | how versions and records go: condemn, seal, free |
//! | `commits.rs` | the memory of descriptors |
//! | `scratch.rs` | lists that a thread uses again and again |
//! | `scan.rs` | iteration |

mod commits;
mod plan;
mod read;
mod retire;
mod scan;
mod scratch;
mod tend;
mod write;

pub use plan::Change;
pub use read::Snapshot;

use crate::chain::{Linked, Record};
use crate::commit::{Order, Stack, Views};
use crate::index::{Index, Indexed};
use crate::pool::{Pool, Shape};
use crate::reclaim::Reclaim;
use crate::relation::Relation;
use commits::Commits;
use scratch::Scratches;
use std::alloc::Layout;
use std::hash::{BuildHasher, Hash};
use std::marker::PhantomData;
use tend::{Leftover, Sweep};

/// All of a cache's state. Handles share it through an `Arc`.
pub struct Engine<K, V, S, R: Reclaim> {
    index: Index<Record<K, V>, R>,
    /// It owns what the index points to: it is `Send` and `Sync` if keys and values are.
    entries: PhantomData<Record<K, V>>,
    order: Order,
    views: Views,
    reclaim: R,
    hasher: S,
    relation: Option<Box<Relation<K, V>>>,
    records: Pool,
    nodes: Pool,
    commits: Commits<K, V>,
    scratch: Scratches<K, V>,
    leftover: Leftover<K, V>,
    sweep: Sweep,
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
    pub fn new(capacity: usize, hasher: S, relation: Option<Box<Relation<K, V>>>) -> Self {
        Self {
            index: Index::with_capacity(capacity),
            entries: PhantomData,
            order: Order::new(),
            views: Views::new(),
            reclaim: R::new(),
            hasher,
            relation,
            records: Pool::new(Record::<K, V>::SHAPE),
            nodes: Pool::new(Shape::plain(Layout::new::<Linked<V>>())),
            commits: Commits::new(),
            scratch: Scratches::new(),
            leftover: Leftover { waiting: Stack::new(), orphans: Stack::new() },
            sweep: Sweep::new(),
        }
    }

    #[inline(always)]
    pub fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u32 {
        fold(self.hasher.hash_one(key))
    }
}

impl<K, V, S, R: Reclaim> Drop for Engine<K, V, S, R> {
    fn drop(&mut self) {
        // SAFETY: the last handle is gone, and guards and views borrow or hold handles.
        unsafe { self.reclaim.drain() };
        // SAFETY: as above.
        unsafe { self.drop_entries() };
    }
}
