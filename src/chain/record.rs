//! A record: a key and the head of its chain.

use super::{Chain, Linked, Node, Parcel, Prev};
use crate::pool::Shape;
use crate::sync::hook::mutant;
use crate::sync::lines::{self, Access};
use crate::sync::prefetch;
use crate::sync::{AtomicPtr, AtomicU32, Ordering};
use crate::version::State;
use std::alloc::Layout;
use std::ptr::{self, NonNull};

/// A key, the head of its chain, and an inline slot for one version. A version in the inline slot
/// is read in two dependent cache misses: its bucket and its record.
///
/// A key is absent if the newest version of its record is a tombstone or aborted, or if there is no
/// version.
///
/// These fields are what a look-up reads, and no more, so that many records fit into a cache. The
/// [`Rest`] is stored apart.
#[repr(C)]
pub struct Record<K, V> {
    key: K,
    head: AtomicPtr<Node<V>>,
    inline: Node<V>,
    /// Models make records without a pool, so they need no layout.
    #[cfg(coeval_loom)]
    rest: Rest<V>,
}

/// The fields that only writers and readers of the past need.
#[repr(C)]
struct Rest<V> {
    /// The link of the version in the inline slot.
    prev: Prev<V>,
    hash: u32,
    flags: AtomicU32,
}

/// The flags of a record. They coordinate work on its memory. Visibility does not depend on them.
pub mod flags {
    /// The inline slot may take a new version: no guard can reach the version that was in it.
    pub const INLINE_SLOT_FREE: u32 = 1;
    /// A condemnation waits for its grace period. Its callback clears this flag.
    pub const CONDEMNING: u32 = 4;
    /// A thread is pruning this chain.
    pub const PRUNING: u32 = 8;
    /// Another thread came to prune meanwhile. The pruning thread prunes the chain again.
    pub const PRUNE_AGAIN: u32 = 16;
    /// A thread has written the value and keeps it from eviction until its own next write. At that
    /// write it sees to the record.
    pub const FRESH: u32 = 32;
    /// The record is in the backlog: a later write prunes it, because the pruning thread gave up,
    /// or sweeps it out.
    pub const DUE: u32 = 64;
    /// The eviction policy has the record.
    pub const ADMITTED: u32 = 128;
    /// One holder of the record. The upper bits count the holders.
    pub const HOLD: u32 = 256;
    /// From this count on, [`try_hold`](super::Record::try_hold) fails.
    pub const HOLD_MANY: u32 = 1 << 31;
    /// From this count on, [`hold`](super::Record::hold) aborts. The bits above it leave room for
    /// the holds that other threads add at the same time.
    pub const HOLD_MOST: u32 = 7 << 29;
    /// The record has a holder, which checks whether the record should end when it lets go. Until
    /// then the record does not end.
    pub const HELD: u32 = DUE | ADMITTED | FRESH | !(HOLD - 1);
}

/// A record's head: the newest version, and marks that say whether the record is ending.
pub struct Head<V>(*mut Node<V>);

impl<V> Clone for Head<V> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<V> Copy for Head<V> {}

impl<V> Head<V> {
    /// The key is absent and the record may be sealed after a grace period. A writer removes this
    /// mark.
    const CONDEMNED: usize = 1;
    /// The record is dead: no version can be installed.
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
        // SAFETY: the caller's promise. Each version outside the inline slot begins with a
        // `Linked`.
        unsafe { Linked::prev_of(node) }
    }
}

impl<V> Rest<V> {
    fn new(hash: u32, flags: u32) -> Self {
        Self { prev: Prev::new(ptr::null_mut()), hash, flags: AtomicU32::new(flags) }
    }
}

impl<K, V> Record<K, V> {
    /// The memory layout of a record.
    pub const SHAPE: Shape = Shape::split(Layout::new::<Self>(), Layout::new::<Rest<V>>());

    /// The number of bytes from the beginning of a record that a look-up reads, if they may span
    /// two cache lines; otherwise 0.
    pub const READ: usize = if Self::SHAPE.fits_lines() { 0 } else { size_of::<Self>() };

    /// Makes a record in `slot`, with these flags. If there is a value, takes it and makes it the
    /// first version, in state `ready`. Otherwise the inline slot is free.
    ///
    /// # Safety
    /// `slot` was taken from a pool of this [`SHAPE`](Self::SHAPE) for this record.
    pub unsafe fn write(
        slot: *mut Self,
        key: K,
        (hash, flags): (u32, u32),
        ready: State,
        value: Option<&mut Parcel<V>>,
    ) {
        let has_value = value.as_ref().is_some_and(|value| value.is_some());
        let free = if has_value { 0 } else { flags::INLINE_SLOT_FREE };
        let rest = Rest::new(hash, flags | free);
        // SAFETY: the slot and its rest belong to the caller.
        unsafe {
            let inline = &raw mut (*slot).inline;
            let head = AtomicPtr::new(if has_value { inline } else { ptr::null_mut() });
            (&raw mut (*slot).key).write(key);
            (&raw mut (*slot).head).write(head);
            Node::init(inline, ready, value);
            #[cfg(coeval_loom)]
            (&raw mut (*slot).rest).write(rest);
            #[cfg(not(coeval_loom))]
            Self::rest_of(slot).write(rest);
            lines::note(slot, Access::Write);
            #[cfg(not(coeval_loom))]
            lines::note(Self::rest_of(slot), Access::Write);
        }
    }

    /// Makes a record without a version. Its inline slot is free.
    #[cfg(coeval_loom)]
    pub fn vacant(key: K, hash: u32) -> Self {
        let head = AtomicPtr::new(ptr::null_mut());
        let rest = Rest::new(hash, flags::INLINE_SLOT_FREE);
        Self { key, head, inline: Node::new(State::ABORTED, None), rest }
    }

    #[cfg(not(coeval_loom))]
    #[inline(always)]
    fn rest_of(slot: *const Self) -> *mut Rest<V> {
        // The pool exposes the provenance of its memory.
        ptr::with_exposed_provenance_mut(Self::SHAPE.rest_of(slot.addr()))
    }

    #[inline(always)]
    fn rest(&self) -> &Rest<V> {
        #[cfg(coeval_loom)]
        return &self.rest;
        // SAFETY: written together with the record, in memory that belongs to the record as long as
        // it lives.
        #[cfg(not(coeval_loom))]
        unsafe {
            &*Self::rest_of(self)
        }
    }

    /// The key.
    #[inline(always)]
    pub fn key(&self) -> &K {
        lines::note(&self.key, Access::Read);
        &self.key
    }

    /// The inline slot.
    #[inline(always)]
    pub fn inline_slot(&self) -> *mut Node<V> {
        (&raw const self.inline).cast_mut()
    }

    /// Makes a version in the inline slot, which is not installed yet. Takes the value out of
    /// `value`.
    ///
    /// # Safety
    /// The caller has claimed the inline slot.
    pub unsafe fn fill_inline_slot(
        &self,
        state: State,
        prev: *mut Node<V>,
        value: Option<&mut Parcel<V>>,
    ) {
        self.rest().prev.init(prev);
        // SAFETY: no other thread accesses an inline slot that is not part of the chain.
        unsafe { Node::init(self.inline_slot(), state, value) };
    }

    /// Claims the inline slot if it is free.
    pub fn claim_inline_slot(&self) -> bool {
        let (all, free) = (&self.rest().flags, flags::INLINE_SLOT_FREE);
        // Acquire: pairs with the Release in `free_inline_slot`. The drop of the old value happens
        // before the new one is written.
        all.load(Ordering::Relaxed) & free != 0
            && all.fetch_and(!free, Ordering::Acquire) & free != 0
    }

    /// Frees the inline slot: no guard can reach the version that was in it.
    pub fn free_inline_slot(&self) {
        // Release: pairs with `claim_inline_slot`. Acquire: pairs with the read-modify-write of a
        // thread that found the slot in use and therefore left it to this thread to condemn the
        // record. This thread sees what that one saw.
        self.rest().flags.fetch_or(flags::INLINE_SLOT_FREE, Ordering::AcqRel);
    }

    /// Leaves a word in the inline slot, where there is no version any more. The record is sealed.
    pub fn leave_note(&self, word: u64) {
        // Relaxed: only who frees the record reads it, a grace period later.
        self.inline.state_word().store(word, Ordering::Relaxed);
    }

    /// The word that was left.
    #[inline(always)]
    pub fn note(&self) -> u64 {
        self.inline.state_word().load(Ordering::Relaxed) // as in `leave_note`
    }

    /// Prefetches what a look-up reads.
    #[inline(always)]
    pub fn prefetch_to_read(&self) {
        Self::prefetch_to_read_at(self);
    }

    /// Prefetches what a look-up reads of a record that may be at this address.
    #[inline(always)]
    pub fn prefetch_to_read_at(address: *const Self) {
        prefetch::line(address);
        if Self::READ != 0 {
            prefetch::end(address, Self::READ);
        }
    }

    /// Prefetches all memory of the record. The caller is about to write to it.
    #[inline(always)]
    pub fn prefetch_to_write(&self) {
        lines::ask_to_write(self);
        if Self::READ != 0 {
            prefetch::end(self, Self::READ);
        }
        lines::ask_to_write(self.rest());
    }

    /// Prefetches all memory of a record that may be, or may have been, at this address.
    pub fn prefetch_at(address: usize) {
        let slot = ptr::with_exposed_provenance::<Self>(address);
        prefetch::line(slot);
        #[cfg(not(coeval_loom))]
        prefetch::line(Self::rest_of(slot));
    }

    /// The head.
    #[inline(always)]
    pub fn head(&self) -> Head<V> {
        // Acquire: pairs with `replace`. A thread that sees a version sees its contents.
        Head(self.head.load(Ordering::Acquire))
    }

    /// The newest version, unless the head is marked or null.
    #[inline(always)]
    pub fn top(&self) -> Option<NonNull<Node<V>>> {
        let head = self.head().0;
        // The usual case takes one comparison.
        if ptr::eq(head, self.inline_slot()) {
            return NonNull::new(self.inline_slot());
        }
        if head.addr() & Head::<V>::MARKS == 0 { NonNull::new(head) } else { None }
    }

    /// Replaces the head `seen` by `node`. A mark on `seen` goes with it. Returns false if the head
    /// is not `seen`.
    #[inline(always)]
    pub fn install(&self, seen: Head<V>, node: *mut Node<V>) -> bool {
        self.replace(seen, Head(node))
    }

    /// The same, and condemns the record by the same step.
    #[inline(always)]
    pub fn install_last(&self, seen: Head<V>, node: *mut Node<V>) -> bool {
        self.replace(seen, Head(node).condemned())
    }

    /// Marks the record as condemned if its head is still `seen`.
    pub fn condemn(&self, seen: Head<V>) -> bool {
        self.replace(seen, seen.condemned())
    }

    /// Seals the record if its head is still `seen`, which is condemned. The version in the head
    /// ends with the record.
    pub fn seal(&self, seen: Head<V>) -> bool {
        debug_assert!(seen.is_condemned());
        self.replace(seen, seen.sealed())
    }

    fn replace(&self, seen: Head<V>, head: Head<V>) -> bool {
        // AcqRel: Release pairs with `head`. Acquire pairs with the Release of the previous
        // replacement, so that the new head publishes the versions below it, too.
        self.head.compare_exchange(seen.0, head.0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Removes the mark *condemned*. Returns false if the record is sealed.
    ///
    /// A record for which this returns true is not sealed while the caller's guard lives, because
    /// sealing comes a grace period after condemning.
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

    /// Whether the record is condemned or sealed. A condemned record is checked again when its
    /// grace period is over.
    pub fn is_ending(&self) -> bool {
        let head = self.head();
        head.is_condemned() || head.is_sealed()
    }

    /// The hash bits under which the index keeps the record.
    #[inline(always)]
    pub fn hash(&self) -> u32 {
        lines::note(&self.rest().hash, Access::Read);
        self.rest().hash
    }

    /// The flags. [`change_flags`](Self::change_flags) changes them.
    pub fn flags(&self) -> u32 {
        self.rest().flags.load(Ordering::Acquire)
    }

    /// Applies `change` to the flags until the compare-and-swap succeeds, or until `change` returns
    /// `None`.
    ///
    /// AcqRel: pairs with the other changes of the flags. A thread that gets a right by a flag sees
    /// what the previous holder of the right did.
    pub fn change_flags(&self, change: impl Fn(u32) -> Option<u32>) -> Result<u32, u32> {
        self.rest().flags.fetch_update(Ordering::AcqRel, Ordering::Acquire, change)
    }

    /// Sets flags and returns the flags from before. AcqRel, as in
    /// [`change_flags`](Self::change_flags).
    pub fn set_flags(&self, flags: u32) -> u32 {
        self.rest().flags.fetch_or(flags, Ordering::AcqRel)
    }

    /// Clears flags. AcqRel, as in [`change_flags`](Self::change_flags).
    pub fn clear_flags(&self, flags: u32) {
        self.rest().flags.fetch_and(!flags, Ordering::AcqRel);
    }

    /// Holds the record, which does not end before the caller [lets go](Self::let_go).
    pub fn hold(&self) {
        let before = self.rest().flags.fetch_add(flags::HOLD, Ordering::AcqRel);
        if before >= flags::HOLD_MOST {
            // The caller leaks holds by the millions. As in `Arc`, an overflow would free memory
            // that is in use.
            std::process::abort();
        }
    }

    /// Holds the record unless its holders are so many that the count might overflow. For kinds of
    /// holders of which there may be many.
    pub fn try_hold(&self) -> bool {
        self.change_flags(|now| (now < flags::HOLD_MANY).then_some(now + flags::HOLD)).is_ok()
    }

    /// Whether the count of holders is not 0.
    pub fn is_held(&self) -> bool {
        self.holds() != 0
    }

    /// The count of holders.
    pub fn holds(&self) -> u32 {
        self.flags() / flags::HOLD
    }

    /// Ends one hold of the caller. The caller then checks whether the record should end.
    pub fn let_go(&self) {
        self.rest().flags.fetch_sub(flags::HOLD, Ordering::AcqRel);
    }

    /// Moves the key out.
    ///
    /// # Safety
    /// No other thread can reach the record, and the key is not used or dropped again.
    pub unsafe fn take_key(&self) -> K {
        // SAFETY: the caller's promise.
        unsafe { ptr::read(&self.key) }
    }
}
