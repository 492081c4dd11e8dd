//! A key and the head of its chain.

use super::Node;
use crate::sync::hook::mutant;
use crate::sync::{AtomicPtr, AtomicU32, Ordering};
use std::ptr;

/// A key, the head of its chain, and room for one version in the same memory, so that an entry
/// whose version lies here is read in two dependent cache misses: its bucket and this.
///
/// A record whose newest version is a tombstone, aborted, or missing is an absent key.
#[repr(C)]
pub struct Record<K, V> {
    key: K,
    head: AtomicPtr<Node<V>>,
    room: Node<V>,
    hash: u32,
    flags: AtomicU32,
}

/// The flags of a record. They coordinate work on its memory; visibility does not depend on them.
pub mod flags {
    /// The room in the record may be used for a new version: no guard can remember what was there.
    pub const ROOM_FREE: u32 = 1;
    /// The record waits in the queue of records that hold versions for a view.
    pub const QUEUED: u32 = 2;
    /// A condemnation awaits its grace period; its callback clears this.
    pub const CONDEMNING: u32 = 4;
    /// Somebody is pruning this chain.
    pub const PRUNING: u32 = 8;
    /// Somebody else came to prune meanwhile: whoever prunes goes over it again.
    pub const PRUNE_AGAIN: u32 = 16;
    /// The record was sealed while its room held the newest version.
    pub const ROOM_LIVE: u32 = 32;
}

/// What a record's head holds: the newest version, and whether the record is on its way out.
pub struct Head<V>(*mut Node<V>);

impl<V> Clone for Head<V> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<V> Copy for Head<V> {}

impl<V> Head<V> {
    /// The key is absent and the record may be sealed after a grace period. A writer takes this off.
    const CONDEMNED: usize = 1;
    /// The record is dead: it takes no versions any more.
    const SEALED: usize = 2;

    #[inline(always)]
    pub fn node(self) -> *mut Node<V> {
        self.0.map_addr(|a| a & !(Self::CONDEMNED | Self::SEALED))
    }

    pub fn is_condemned(self) -> bool {
        self.0.addr() & Self::CONDEMNED != 0
    }

    pub fn is_sealed(self) -> bool {
        self.0.addr() & Self::SEALED != 0
    }

    fn condemned(self) -> Self {
        Self(self.0.map_addr(|a| a | Self::CONDEMNED))
    }

    fn revived(self) -> Self {
        Self(self.0.map_addr(|a| a & !Self::CONDEMNED))
    }
}

impl<K, V> Record<K, V> {
    /// A record of a key with no version; its room is free.
    pub fn vacant(key: K, hash: u32) -> Self {
        Self {
            key,
            head: AtomicPtr::new(ptr::null_mut()),
            room: Node::vacant(),
            hash,
            flags: AtomicU32::new(flags::ROOM_FREE),
        }
    }

    /// Puts a first version into the room of a record that nobody else has seen yet.
    pub fn occupy(&mut self, node: Node<V>) {
        self.room = node;
        self.head = AtomicPtr::new(self.room());
        self.flags = AtomicU32::new(0);
    }

    /// The key.
    #[inline(always)]
    pub fn key(&self) -> &K {
        &self.key
    }

    /// The room for a version.
    #[inline(always)]
    pub fn room(&self) -> *mut Node<V> {
        (&raw const self.room).cast_mut()
    }

    /// Claims the room if it is free.
    pub fn claim_room(&self) -> bool {
        let seen = self.flags.load(Ordering::Relaxed);
        seen & flags::ROOM_FREE != 0
            // Acquire: pairs with the Release by which reclamation set the flag: the drop of the old value
            // happens before the new one is written.
            && self.flags.fetch_and(!flags::ROOM_FREE, Ordering::Acquire) & flags::ROOM_FREE != 0
    }

    /// Makes the room free: no guard can remember what was there.
    pub fn free_room(&self) {
        // Release: pairs with `claim_room`.
        self.flags.fetch_or(flags::ROOM_FREE, Ordering::Release);
    }

    /// The head.
    #[inline(always)]
    pub fn head(&self) -> Head<V> {
        // Acquire: pairs with `install`: who sees a version sees its contents.
        Head(self.head.load(Ordering::Acquire))
    }

    /// Puts `node` on top of `seen`; a mark of condemnation goes with what it was on.
    #[inline(always)]
    pub fn install(&self, seen: Head<V>, node: *mut Node<V>) -> bool {
        self.replace(seen, Head(node))
    }

    /// Marks the record as one that may be sealed, if its head is still `seen`.
    pub fn condemn(&self, seen: Head<V>) -> bool {
        self.replace(seen, seen.condemned())
    }

    /// Ends the record for good, if it is still condemned with `seen` on top.
    pub fn seal(&self, seen: Head<V>) -> bool {
        debug_assert!(seen.is_condemned());
        self.replace(seen, Head(ptr::null_mut::<Node<V>>().map_addr(|_| Head::<V>::SEALED)))
    }

    fn replace(&self, seen: Head<V>, head: Head<V>) -> bool {
        // AcqRel: Release pairs with `head`; Acquire, so that what was seen below stays below.
        self.head.compare_exchange(seen.0, head.0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Takes a mark of condemnation off. False if the record is sealed.
    ///
    /// A record for which this returned true is not sealed while the caller's guard lives: sealing waits a grace
    /// period after condemning.
    pub fn revive(&self) -> bool {
        loop {
            let head = self.head();
            if head.is_sealed() {
                return false;
            }
            let ignored = mutant("record.no_revive");
            if ignored || !head.is_condemned() || self.replace(head, head.revived()) {
                return true;
            }
        }
    }

    /// The hash bits that the index filed the record under.
    #[inline(always)]
    pub fn hash(&self) -> u32 {
        self.hash
    }

    /// The flags, to decide upon with [`change_flags`](Self::change_flags).
    pub fn flags(&self) -> u32 {
        self.flags.load(Ordering::Acquire)
    }

    /// Applies `change` to the flags until it sticks, or gives up when it says `None`.
    ///
    /// AcqRel throughout: whoever gets a right by a flag sees what its last holder did.
    pub fn change_flags(&self, change: impl Fn(u32) -> Option<u32>) -> Result<u32, u32> {
        self.flags.fetch_update(Ordering::AcqRel, Ordering::Acquire, change)
    }

    /// Moves the key out.
    ///
    /// # Safety
    /// Nobody else can reach the record, and the key is not used or dropped again.
    pub unsafe fn take_key(&self) -> K {
        // SAFETY: the caller's promise.
        unsafe { ptr::read(&self.key) }
    }
}
