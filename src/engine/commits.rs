//! The memory of descriptors and of their entries: from pools, one for small commits and one for
//! larger ones; a very large one has pages of its own.

use crate::commit::{Descriptor, Entry};
use crate::memory;
use crate::pool::{Pool, Shape};
use std::alloc::Layout;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

/// How many entries a small commit has at most.
const FEW: usize = 8;
/// How many a larger one has at most.
const MANY: usize = 64;

/// A descriptor with room for `N` entries.
#[repr(C)]
struct Slot<K, V, const N: usize> {
    descriptor: MaybeUninit<Descriptor<K, V>>,
    entries: [MaybeUninit<Entry<K, V>>; N],
}

/// See the module's header.
pub(super) struct Commits<K, V> {
    few: Pool,
    many: Pool,
    of: PhantomData<fn(K, V)>,
}

/// Room for a commit, not yet written.
pub(super) struct Room<K, V> {
    pub descriptor: *mut Descriptor<K, V>,
    pub entries: NonNull<[Entry<K, V>]>,
}

impl<K, V> Commits<K, V> {
    pub fn new() -> Self {
        let pool = |slot| Pool::new(Shape::plain(slot));
        let few = pool(Layout::new::<Slot<K, V, FEW>>());
        let many = pool(Layout::new::<Slot<K, V, MANY>>());
        Self { few, many, of: PhantomData }
    }

    /// Bytes of the pools.
    pub fn bytes(&self) -> usize {
        self.few.bytes() + self.many.bytes()
    }

    /// Room for a commit with so many entries.
    pub fn take<G>(&self, _guard: &G, entries: usize) -> Room<K, V> {
        if entries <= FEW {
            // SAFETY: a guard is live.
            return Self::room::<FEW>(unsafe { self.few.take() }, entries);
        }
        if entries <= MANY {
            // SAFETY: as above.
            return Self::room::<MANY>(unsafe { self.many.take() }, entries);
        }
        let slot = memory::map_zeroed(Self::size(entries));
        Self::room::<MANY>(slot, entries)
    }

    /// The size of a slot for more than [`MANY`] entries.
    fn size(entries: usize) -> usize {
        size_of::<Slot<K, V, 0>>() + entries * size_of::<Entry<K, V>>()
    }

    fn room<const N: usize>(slot: NonNull<u8>, entries: usize) -> Room<K, V> {
        let slot = slot.cast::<Slot<K, V, N>>().as_ptr();
        // SAFETY: the slot is as large as that.
        let (descriptor, first) =
            unsafe { (&raw mut (*slot).descriptor, &raw mut (*slot).entries) };
        // SAFETY: within a slot, so not null.
        let first = unsafe { NonNull::new_unchecked(first.cast()) };
        Room {
            descriptor: descriptor.cast(),
            entries: NonNull::slice_from_raw_parts(first, entries),
        }
    }

    /// Gives a commit's memory back.
    ///
    /// # Safety
    /// It came from `take` and was written; it was retired, and a grace period has passed.
    pub unsafe fn give(&self, descriptor: *mut Descriptor<K, V>) {
        // SAFETY: the caller's promise. Neither descriptors nor entries have a destructor.
        unsafe {
            let entries = (*descriptor).memory();
            let slot = NonNull::new_unchecked(descriptor).cast();
            if entries.len() <= FEW {
                self.few.give(slot);
            } else if entries.len() <= MANY {
                self.many.give(slot);
            } else {
                memory::unmap(slot, Self::size(entries.len()));
            }
        }
    }
}
