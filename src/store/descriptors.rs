//! The memory of descriptors with their entries and preconditions. One pool serves small commits,
//! another one larger commits. A very large commit has pages of its own.

use crate::commit::{Descriptor, Entry, Expected};
use crate::memory;
use crate::pool::{Pool, Shape};
use std::alloc::Layout;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

/// The places of a small commit: for its entries and its preconditions.
const FEW: usize = 8;
/// The places of a larger commit.
const MANY: usize = 64;

/// A descriptor with places for `N` entries. The preconditions follow the entries that are used.
#[repr(C)]
struct DescriptorSlot<K, V, const N: usize> {
    descriptor: MaybeUninit<Descriptor<K, V>>,
    entries: [MaybeUninit<Entry<K, V>>; N],
}

/// The pools of descriptors.
pub(super) struct Descriptors<K, V> {
    few: Pool,
    many: Pool,
    of: PhantomData<fn(K, V)>,
}

/// The memory of a commit, not written yet.
pub(super) struct DescriptorMemory<K, V> {
    pub descriptor: *mut Descriptor<K, V>,
    pub entries: NonNull<[Entry<K, V>]>,
    pub expected: NonNull<[Expected]>,
}

impl<K, V> Descriptors<K, V> {
    pub fn new() -> Self {
        let pool = |slot| Pool::new(Shape::plain(slot));
        let few = pool(Layout::new::<DescriptorSlot<K, V, FEW>>());
        let many = pool(Layout::new::<DescriptorSlot<K, V, MANY>>());
        Self { few, many, of: PhantomData }
    }

    /// The bytes of the pools.
    pub fn bytes(&self) -> usize {
        self.few.bytes() + self.many.bytes()
    }

    /// Takes memory for a commit with these numbers of entries and preconditions.
    pub fn take<G>(&self, _guard: &G, entries: usize, expected: usize) -> DescriptorMemory<K, V> {
        let places = Self::places(entries, expected);
        let slot = if places <= FEW {
            // SAFETY: a guard is live.
            unsafe { self.few.take() }
        } else if places <= MANY {
            // SAFETY: as above.
            unsafe { self.many.take() }
        } else {
            memory::map_zeroed(Self::size(places))
        };
        Self::room(slot, entries, expected)
    }

    /// The number of entry-sized places that the two lists of a commit take.
    fn places(entries: usize, expected: usize) -> usize {
        const { assert!(align_of::<Expected>() <= align_of::<Entry<K, V>>()) };
        entries + (expected * size_of::<Expected>()).div_ceil(size_of::<Entry<K, V>>())
    }

    /// The size of a slot with more than [`MANY`] places.
    fn size(places: usize) -> usize {
        size_of::<DescriptorSlot<K, V, 0>>() + places * size_of::<Entry<K, V>>()
    }

    fn room(slot: NonNull<u8>, entries: usize, expected: usize) -> DescriptorMemory<K, V> {
        let slot = slot.cast::<DescriptorSlot<K, V, 0>>().as_ptr();
        // SAFETY: the slot has that many places behind the descriptor, whatever size it was made
        // for.
        unsafe {
            let first = NonNull::new_unchecked((&raw mut (*slot).entries).cast::<Entry<K, V>>());
            DescriptorMemory {
                descriptor: slot.cast(),
                entries: NonNull::slice_from_raw_parts(first, entries),
                expected: NonNull::slice_from_raw_parts(first.add(entries).cast(), expected),
            }
        }
    }

    /// Gives the memory of a commit back.
    ///
    /// # Safety
    /// The memory came from `take` and was written. The commit was retired, and a grace period has
    /// passed.
    #[inline(never)]
    pub unsafe fn give(&self, descriptor: *mut Descriptor<K, V>) {
        // SAFETY: the caller's promise. Neither descriptors nor entries have a destructor.
        unsafe {
            let (entries, expected) = ((*descriptor).entries(), (*descriptor).expected());
            let places = Self::places(entries.len(), expected.len());
            let slot = NonNull::new_unchecked(descriptor).cast();
            if places <= FEW {
                self.few.give(slot);
            } else if places <= MANY {
                self.many.give(slot);
            } else {
                memory::unmap(slot, Self::size(places));
            }
        }
    }
}
