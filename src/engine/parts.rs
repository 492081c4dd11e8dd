//! The parts of a joint commit: what a caller lists for the caches of a domain.

use super::Engine;
use super::changes::{Changes, ScratchList, WriteTerms};
use super::transact::ViewReads;
use crate::commit::{Joint, JointPool, Membership};
use crate::reclaim::Reclaim;
use crate::relation::Terms;
use crate::store::Snapshot;
use crate::sync::per_thread::PerThread;
use crate::version::{Clock, State};
use std::hash::{BuildHasher, Hash};
use std::ptr;
use std::sync::Arc;

/// What one cache contributes to a joint commit, without its types.
pub trait Part: Send + 'static {
    /// Returns whether nothing is to be written.
    fn is_empty(&self) -> bool;

    /// Plans this part, runs the rest within, and settles this part. `None` if the commit cannot
    /// be made because of what was read.
    fn run(
        &mut self,
        outer: Option<&mut dyn Planned>,
        rest: &mut [ListedPart],
        domain: &JointCommits,
    ) -> Option<State>;

    /// Ends the operation: counts what was read if the transaction succeeded, or notes the
    /// conflict, and does maintenance. No guard is live.
    fn finish(self: Box<Self>, is_committed: bool);
}

/// A part that is planned, within the part of the frame around.
pub trait Planned {
    /// Makes the descriptors of the parts around and of this one, and adds the parts to the commit.
    fn prepare(&mut self, joint: &mut Joint);

    /// Installs the versions of these parts, which are prepared, in the same order.
    fn install(&self, joint: &Joint);
}

/// A part, and the address of its cache.
pub struct ListedPart {
    address: usize,
    pub part: Box<dyn Part>,
}

/// What the joint commits of a domain have in common.
pub struct JointCommits {
    pub clock: Clock,
    pub joints: Arc<JointPool>,
    lists: PerThread<ScratchList<ListedPart>>,
}

impl JointCommits {
    pub fn new() -> Self {
        let joints = Arc::new(JointPool::new());
        Self { clock: Clock::new(), joints, lists: PerThread::new() }
    }

    /// Returns what a new cache of the domain shares with the others.
    pub fn membership(&self) -> Membership {
        Membership { clock: self.clock.clone(), joints: Some(Arc::clone(&self.joints)) }
    }
}

/// The parts of a joint commit, each of another cache.
pub struct Parts {
    list: Vec<ListedPart>,
}

impl Parts {
    /// Makes an empty list, in the memory of the thread's last one.
    #[inline]
    pub fn new(domain: &JointCommits) -> Self {
        Self { list: domain.lists.get().take() }
    }

    /// Returns the part of a cache, which `make` makes if there is none.
    #[inline(always)]
    pub fn of<K, V, S, R>(
        &mut self,
        cache: &Engine<K, V, S, R>,
        make: impl FnOnce() -> Option<Box<CachePart<K, V, S, R>>>,
    ) -> Option<&mut CachePart<K, V, S, R>>
    where
        K: Hash + Eq + Send + Sync + 'static,
        V: Send + Sync + 'static,
        S: BuildHasher + Send + Sync + 'static,
        R: Reclaim,
    {
        let address = ptr::from_ref(cache).addr();
        let listed = self.list.iter_mut().find(|listed| listed.address == address);
        let part: *mut CachePart<K, V, S, R> = match listed {
            Some(listed) => ptr::from_mut(&mut *listed.part).cast(),
            None => self.add(address, make)?,
        };
        // SAFETY: of the list, which is borrowed. A listed part keeps its cache, and a kept cache
        // is at that address. So it is this cache, and the part was made for its types. (They have
        // no subtypes that matter: an engine is invariant in keys and values, and lends its hasher.)
        Some(unsafe { &mut *part })
    }

    /// Adds the part of the cache at this address. Not inlined, because most writes are to a cache
    /// that has a part.
    #[inline(never)]
    fn add<P: Part>(
        &mut self,
        address: usize,
        make: impl FnOnce() -> Option<Box<P>>,
    ) -> Option<*mut P> {
        self.list.push(ListedPart { address, part: make()? });
        Some(ptr::from_mut(&mut *self.list.last_mut()?.part).cast())
    }

    /// Returns the number of parts.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Returns whether no part writes anything.
    pub fn are_empty(&self) -> bool {
        self.list.iter().all(|listed| listed.part.is_empty())
    }

    /// Returns the parts in the order of the addresses of their caches, in which they are
    /// installed.
    #[inline]
    pub fn in_order(&mut self) -> &mut [ListedPart] {
        if !self.list.is_sorted_by_key(|listed| listed.address) {
            self.list.sort_unstable_by_key(|listed| listed.address);
        }
        &mut self.list
    }

    /// Ends the operation of all parts. `is_committed` also says that parts that were only read
    /// were read in one view.
    #[inline]
    pub fn finish(mut self, domain: &JointCommits, is_committed: bool) {
        while let Some(ListedPart { part, .. }) = self.list.pop() {
            part.finish(is_committed);
        }
        domain.lists.get().keep(self.list);
    }
}

/// The part of one cache: the writes to it, and what a transaction has read in it. A thread keeps
/// the memory of one.
pub struct CachePart<K, V, S, R: Reclaim>
where
    K: 'static,
    V: 'static,
    S: 'static,
{
    /// Dropped before `engine`, which it borrows. In a box, because most parts have none.
    pub(super) reads: Option<Box<ViewReads<'static, K, V, S, R>>>,
    /// Whether a commit of the part was tried.
    pub(super) is_tried: bool,
    pub(super) changes: Changes<K, V>,
    /// `None` if the part is kept for its memory.
    pub(super) engine: Option<Arc<Engine<K, V, S, R>>>,
}

impl<K, V, S, R: Reclaim> CachePart<K, V, S, R> {
    /// Returns the number of listed writes.
    pub fn len(&self) -> usize {
        self.changes.len()
    }
}

impl<K, V, S, R> CachePart<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
    R: Reclaim,
{
    /// Makes a part that only writes.
    #[inline(always)]
    pub fn writing(engine: Arc<Engine<K, V, S, R>>) -> Box<Self> {
        let kept = engine.scratch.get().part.take().map(|part| {
            let part = Box::into_raw(part).cast::<Self>();
            // SAFETY: `keep` has put it there. The engine has its own types alone.
            unsafe { Box::from_raw(part) }
        });
        let new = || Self { reads: None, is_tried: false, changes: engine.changes(), engine: None };
        let mut part = kept.unwrap_or_else(|| Box::new(new()));
        part.engine = Some(engine);
        part
    }

    /// Makes a part that also reads, as of this view of the cache.
    pub fn reading(engine: Arc<Engine<K, V, S, R>>, view: &Snapshot) -> Box<Self> {
        // SAFETY: the engine stays where it is and lives as long as the `Arc` beside it, which is
        // dropped after the reads. Nobody gets the reads out of this type.
        let borrowed: &'static Engine<K, V, S, R> = unsafe { &*Arc::as_ptr(&engine) };
        let reads = Box::new(ViewReads::new(borrowed, borrowed.share_view(view)));
        let mut part = Self::writing(engine);
        part.reads = Some(reads);
        part
    }

    /// Keeps the memory of a part that is over, for the thread's next one.
    #[inline]
    pub(super) fn keep(mut self: Box<Self>, engine: &Engine<K, V, S, R>) {
        if self.changes.renew() {
            self.is_tried = false;
            engine.scratch.get().part.set(Some(self));
        }
    }

    #[inline(always)]
    fn engine(&self) -> &Engine<K, V, S, R> {
        self.engine.as_ref().expect("it is not kept for its memory")
    }

    /// Lists a write of `key`, which applies its declared relations.
    #[inline(always)]
    pub fn set(&mut self, key: K, value: V, terms: WriteTerms) {
        self.set_hashed(self.engine().hash(&key), key, value, terms);
    }

    /// Does the same with the key's hash.
    #[inline(always)]
    pub fn set_hashed(&mut self, hash: u32, key: K, value: V, terms: WriteTerms) {
        self.changes.set(hash, key, value, terms);
    }

    /// Does the same with terms that the caller gives.
    pub fn set_with(&mut self, key: K, value: V, terms: Terms) {
        let terms = self.changes.add_terms(terms);
        self.set(key, value, terms);
    }

    /// Lists a removal of `key`; `related`: which applies its declared relations.
    pub fn remove(&mut self, key: K, related: bool) {
        let hash = self.engine().hash(&key);
        self.changes.remove(hash, key, related);
    }

    /// Passes the value that this part writes to `key`, otherwise the one in the view, to `give`.
    pub fn read<Q, T>(&mut self, key: &Q, give: impl FnOnce(&V) -> T) -> Option<T>
    where
        Q: Hash + equivalent::Equivalent<K> + ?Sized,
    {
        let reads = self.reads.as_mut().expect("the part of a transaction has a view");
        reads.read(&self.changes, key, give)
    }
}
