//! A key and the head of its chain.

use super::{Chain, Linked, Node, Prev};
use crate::memory::prefetch;
use crate::pool::Shape;
use crate::sync::hook::mutant;
use crate::sync::{AtomicPtr, AtomicU32, Ordering};
use crate::version::State;
use std::alloc::Layout;
use std::ptr::{self, NonNull};

/// A key, the head of its chain, and room for one version in the same memory, so that an entry
/// whose version lies here is read in two dependent cache misses: its bucket and this.
///
/// A record whose newest version is a tombstone, aborted, or missing is an absent key.
///
/// Here is what a look-up reads, and no more, so that many fit into a cache; the [`Rest`] lies apart.
#[repr(C)]
pub struct Record<K, V> {
    key: K,
    head: AtomicPtr<Node<V>>,
    inline: Node<V>,
    /// Models make records without a pool, and have no use for a layout.
    #[cfg(coeval_loom)]
    rest: Rest<V>,
}

/// What only those need who write, or read the past.
#[repr(C)]
struct Rest<V> {
    /// The link of the version in the room.
    prev: Prev<V>,
    hash: u32,
    flags: AtomicU32,
}

/// The flags of a record. They coordinate work on its memory; visibility does not depend on them.
pub mod flags {
    /// The room in the record may be used for a new version: no guard can remember what was there.
    pub const INLINE_SLOT_FREE: u32 = 1;
    /// A condemnation awaits its grace period; its callback clears this.
    pub const CONDEMNING: u32 = 4;
    /// Somebody is pruning this chain.
    pub const PRUNING: u32 = 8;
    /// Somebody else came to prune meanwhile: whoever prunes goes over it again.
    pub const PRUNE_AGAIN: u32 = 16;
    /// A thread has brought the value, and has it spared until its next write: it looks after the record then.
    pub const FRESH: u32 = 32;
    /// The record waits among the orphans for somebody to prune it, as one who did had enough, or to sweep it out.
    pub const DUE: u32 = 64;
    /// The eviction policy knows the record.
    pub const ADMITTED: u32 = 128;
    /// One of those who hold the record by a count: the upper bits.
    pub const HOLD: u32 = 256;
    /// With so many of them, only those are let in who cannot do without.
    pub const HOLD_MANY: u32 = 1 << 31;
    /// More than this, and what so many threads at once may add, cannot be counted.
    pub const HOLD_MOST: u32 = 7 << 29;
    /// Somebody holds the record, and looks after it when he lets go: it does not end before.
    pub const HELD: u32 = DUE | ADMITTED | FRESH | !(HOLD - 1);
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
    const MARKS: usize = Self::CONDEMNED | Self::SEALED;

    #[inline(always)]
    pub fn node(self) -> *mut Node<V> {
        self.0.map_addr(|a| a & !Self::MARKS)
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

    fn sealed(self) -> Self {
        Self(self.node().map_addr(|a| a | Self::SEALED))
    }

    fn revived(self) -> Self {
        Self(self.0.map_addr(|a| a & !Self::CONDEMNED))
    }
}

impl<K, V> Chain<V> for Record<K, V> {
    #[inline(always)]
    unsafe fn prev_of(&self, node: *const Node<V>) -> &Prev<V> {
        if ptr::eq(node, self.inline_slot()) {
            return &self.rest().prev;
        }
        // SAFETY: the caller's promise; outside the room a chain has versions of this kind only.
        unsafe { Linked::prev_of(node) }
    }
}

impl<V> Rest<V> {
    fn new(hash: u32, flags: u32) -> Self {
        Self { prev: Prev::new(ptr::null_mut()), hash, flags: AtomicU32::new(flags) }
    }
}

impl<K, V> Record<K, V> {
    /// How records lie in memory.
    pub const SHAPE: Shape = Shape::split(Layout::new::<Self>(), Layout::new::<Rest<V>>());

    /// How many bytes from its beginning a look-up reads, if they may lie in two cache lines; else 0.
    pub const READ: usize = if Self::SHAPE.fits_lines() { 0 } else { size_of::<Self>() };

    /// Makes a record in `slot`. A value, which is taken, is its first version, in state `ready`; else its room is free.
    ///
    /// # Safety
    /// `slot` was taken from a pool of this [`SHAPE`](Self::SHAPE), for this.
    pub unsafe fn write(slot: *mut Self, key: K, hash: u32, ready: State, value: &mut Option<V>) {
        let flags = if value.is_none() { flags::INLINE_SLOT_FREE } else { 0 };
        let rest = Rest::new(hash, flags);
        // SAFETY: the slot, and what belongs to it, are the caller's.
        unsafe {
            let inline = &raw mut (*slot).inline;
            let head = AtomicPtr::new(if value.is_none() { ptr::null_mut() } else { inline });
            (&raw mut (*slot).key).write(key);
            (&raw mut (*slot).head).write(head);
            Node::init(inline, ready, value);
            #[cfg(coeval_loom)]
            (&raw mut (*slot).rest).write(rest);
            #[cfg(not(coeval_loom))]
            Self::rest_of(slot).write(rest);
        }
    }

    /// A record of a key with no version; its room is free.
    #[cfg(coeval_loom)]
    pub fn vacant(key: K, hash: u32) -> Self {
        let head = AtomicPtr::new(ptr::null_mut());
        let rest = Rest::new(hash, flags::INLINE_SLOT_FREE);
        Self { key, head, inline: Node::new(State::ABORTED, None), rest }
    }

    #[cfg(not(coeval_loom))]
    #[inline(always)]
    fn rest_of(slot: *const Self) -> *mut Rest<V> {
        // The pool exposes its memory.
        ptr::with_exposed_provenance_mut(Self::SHAPE.rest_of(slot.addr()))
    }

    #[inline(always)]
    fn rest(&self) -> &Rest<V> {
        #[cfg(coeval_loom)]
        return &self.rest;
        // SAFETY: written with the record, in memory that is the record's as long as it lives.
        #[cfg(not(coeval_loom))]
        unsafe {
            &*Self::rest_of(self)
        }
    }

    /// The key.
    #[inline(always)]
    pub fn key(&self) -> &K {
        &self.key
    }

    /// The room for a version.
    #[inline(always)]
    pub fn inline_slot(&self) -> *mut Node<V> {
        (&raw const self.inline).cast_mut()
    }

    /// Puts a version that is not installed into the room, with what is taken out of `value`.
    ///
    /// # Safety
    /// The caller has claimed the room.
    pub unsafe fn fill_inline_slot(&self, state: State, prev: *mut Node<V>, value: &mut Option<V>) {
        self.rest().prev.init(prev);
        // SAFETY: nobody looks into a room that is not in its chain.
        unsafe { Node::init(self.inline_slot(), state, value) };
    }

    /// Claims the room if it is free.
    pub fn claim_inline_slot(&self) -> bool {
        let seen = self.rest().flags.load(Ordering::Relaxed);
        seen & flags::INLINE_SLOT_FREE != 0
            // Acquire: pairs with the Release by which reclamation set the flag: the drop of the old value
            // happens before the new one is written.
            && self.rest().flags.fetch_and(!flags::INLINE_SLOT_FREE, Ordering::Acquire) & flags::INLINE_SLOT_FREE != 0
    }

    /// Makes the room free: no guard can remember what was there.
    pub fn free_inline_slot(&self) {
        // Release: pairs with `claim_inline_slot`. Acquire: whoever found the room in use, and so did not condemn the
        // record, has left that to us; we see what he saw.
        self.rest().flags.fetch_or(flags::INLINE_SLOT_FREE, Ordering::AcqRel);
    }

    /// Asks for what a look-up reads.
    #[inline(always)]
    pub fn prefetch_to_read(&self) {
        Self::prefetch_to_read_at(self);
    }

    /// The same, of what may be a record at this address.
    #[inline(always)]
    pub fn prefetch_to_read_at(address: *const Self) {
        prefetch::line(address);
        if Self::READ != 0 {
            prefetch::end(address, Self::READ);
        }
    }

    /// Asks for all of its memory.
    #[inline(always)]
    pub fn prefetch_to_write(&self) {
        self.prefetch_to_read();
        prefetch::line(self.rest());
    }

    /// The same as [`prefetch_to_write`](Self::prefetch_to_write), of what may be a record at this address, or was one.
    pub fn prefetch_at(address: usize) {
        let slot = ptr::with_exposed_provenance::<Self>(address);
        prefetch::line(slot);
        #[cfg(not(coeval_loom))]
        prefetch::line(Self::rest_of(slot));
    }

    /// The head.
    #[inline(always)]
    pub fn head(&self) -> Head<V> {
        // Acquire: pairs with `install`: who sees a version sees its contents.
        Head(self.head.load(Ordering::Acquire))
    }

    /// What the head points to, unless it is marked or null.
    #[inline(always)]
    pub fn top(&self) -> Option<NonNull<Node<V>>> {
        let head = self.head().0;
        // The usual case, told by one comparison.
        if ptr::eq(head, self.inline_slot()) {
            return NonNull::new(self.inline_slot());
        }
        if head.addr() & Head::<V>::MARKS == 0 { NonNull::new(head) } else { None }
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

    /// Ends the record for good, if it is still condemned with `seen` on top: what that is, goes with it.
    pub fn seal(&self, seen: Head<V>) -> bool {
        debug_assert!(seen.is_condemned());
        self.replace(seen, seen.sealed())
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

    /// Whether the record is condemned, to be looked at again when it is sealed or cannot be; or is
    /// sealed.
    pub fn is_ending(&self) -> bool {
        let head = self.head();
        head.is_condemned() || head.is_sealed()
    }

    /// The hash bits that the index filed the record under.
    #[inline(always)]
    pub fn hash(&self) -> u32 {
        self.rest().hash
    }

    /// The flags, to decide upon with [`change_flags`](Self::change_flags).
    pub fn flags(&self) -> u32 {
        self.rest().flags.load(Ordering::Acquire)
    }

    /// Applies `change` to the flags until it sticks, or gives up when it says `None`.
    ///
    /// AcqRel throughout: whoever gets a right by a flag sees what its last holder did.
    pub fn change_flags(&self, change: impl Fn(u32) -> Option<u32>) -> Result<u32, u32> {
        self.rest().flags.fetch_update(Ordering::AcqRel, Ordering::Acquire, change)
    }

    /// Sets flags, and says what was set before. AcqRel, as in [`change_flags`](Self::change_flags).
    pub fn set_flags(&self, flags: u32) -> u32 {
        self.rest().flags.fetch_or(flags, Ordering::AcqRel)
    }

    /// Clears flags. AcqRel, likewise.
    pub fn clear_flags(&self, flags: u32) {
        self.rest().flags.fetch_and(!flags, Ordering::AcqRel);
    }

    /// Holds the record: it does not end before as many have let go.
    pub fn hold(&self) {
        let before = self.rest().flags.fetch_add(flags::HOLD, Ordering::AcqRel);
        if before >= flags::HOLD_MOST {
            // Someone forgets leases, by millions. As `Arc` does: an overflow would free what is in use.
            std::process::abort();
        }
    }

    /// Holds the record, unless so many do already that they might not be counted. For those who may be many.
    pub fn try_hold(&self) -> bool {
        self.change_flags(|now| (now < flags::HOLD_MANY).then_some(now + flags::HOLD)).is_ok()
    }

    /// Whether somebody holds the record by a count.
    pub fn is_held(&self) -> bool {
        self.holds() != 0
    }

    /// How many times it is held.
    pub fn holds(&self) -> u32 {
        self.flags() / flags::HOLD
    }

    /// Lets go of a record that the caller holds, and then looks whether it is to end.
    pub fn let_go(&self) {
        self.rest().flags.fetch_sub(flags::HOLD, Ordering::AcqRel);
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
