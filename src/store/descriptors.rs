//! The memory of descriptors, of their entries and of what they expect: from pools, one for small commits and one
//! for larger ones; a very large one has pages of its own.

use crate::commit::{Descriptor, Entry, Expected};
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

/// A descriptor with room for `N` entries. What it expects lies behind those that it has.
#[repr(C)]
struct DescriptorSlot<K, V, const N: usize> {
    descriptor: MaybeUninit<Descriptor<K, V>>,
    entries: [MaybeUninit<Entry<K, V>>; N],
}

/// See the module's header.
pub(super) struct Descriptors<K, V> {
    few: Pool,
    many: Pool,
    of: PhantomData<fn(K, V)>,
}

/// Room for a commit, not yet written.
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

    /// Bytes of the pools.
    pub fn bytes(&self) -> usize {
        self.few.bytes() + self.many.bytes()
    }

    /// Room for a commit with so many entries, of which so many are expected to be something.
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

    /// In how many entries' places a commit's lists have room.
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
        // SAFETY: the slot has so many places behind the descriptor, however many it was made for.
        unsafe {
            let first = NonNull::new_unchecked((&raw mut (*slot).entries).cast::<Entry<K, V>>());
            DescriptorMemory {
                descriptor: slot.cast(),
                entries: NonNull::slice_from_raw_parts(first, entries),
                expected: NonNull::slice_from_raw_parts(first.add(entries).cast(), expected),
            }
        }
    }

    /// Gives a commit's memory back.
    ///
    /// # Safety
    /// It came from `take` and was written; it was retired, and a grace period has passed.
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
