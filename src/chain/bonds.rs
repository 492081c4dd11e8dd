//! What a value depends on: the entries that it was derived from, and its tags.

use super::terms::DependencyCounts;
use super::{Conditional, EntryTerms, Node, Parcel};
use crate::sync::time::NEVER;
use crate::sync::{AtomicU64, Ordering};
use crate::version::State;
use smallvec::SmallVec;
use std::hint;
use std::mem::ManuallyDrop;
use std::ptr;

/// One dependency of a value: an input, that is, the record of an entry that the value was derived
/// from, with the version that the record held then; or a tag. The record, or the tag's cell, is
/// held as long as the dependency exists.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Dependency {
    /// A `Record` or the cell of a tag. Only the store knows the type.
    record: *const (),
    /// Of an input: the state of the version that the record held, reduced to its number and to
    /// whether it was present. An absent version is a tombstone here. The number is 0 if the record
    /// held no version. The number of a derived version is the number since which its value has
    /// been equal. A present value with the number 0 was written by the same commit as the version
    /// with these bonds.
    ///
    /// Of a tag: the number of the commit since which the value has the tag; 0 stands for its own
    /// commit.
    seen: State,
}

/// The number of dependencies that are stored in the version itself, which saves a look-up a cache
/// miss.
pub const FEW: usize = 4;

pub type Dependencies = SmallVec<[Dependency; FEW]>;

/// The dependencies of a value. They hold as long as each input holds the version that it held, and
/// no tag was invalidated since the value has it. A change of a dependency notifies nobody: each
/// reader of the value checks its dependencies.
pub struct Bonds {
    /// The inputs, followed by the tags.
    dependencies: Dependencies,
    /// The version since which the value has been equal; 0 stands for its own version.
    equal_since: u64,
    /// The newest number as of which all dependencies, through all levels, were seen to hold by
    /// values that were present and had no deadline; 0 if they were never seen so.
    verified_at: AtomicU64,
    /// The number of inputs.
    inputs: u32,
    is_nested: bool,
}

/// A version with dependencies, in memory of its own.
#[repr(C)]
pub struct Derived<V> {
    conditional: Conditional<V>,
    bonds: ManuallyDrop<Bonds>,
}

// SAFETY: records and cells are shared between threads. Only the store follows the pointer, and it
// uses the right type.
unsafe impl Send for Dependency {}
// SAFETY: as above.
unsafe impl Sync for Dependency {}

impl Dependency {
    /// An input: `record` held the version `number`, which was a value if `is_present`. A record
    /// without a version has the number 0.
    pub fn new<R>(record: *const R, number: u64, is_present: bool) -> Self {
        let seen = State::committed(number).tombstone(!is_present);
        Self { record: record.cast(), seen }
    }

    /// A tag: the value has had the tag with this cell since the commit `since`; 0 stands for its
    /// own commit.
    pub fn tag<C>(cell: *const C, since: u64) -> Self {
        Self { record: cell.cast(), seen: State::committed(since) }
    }

    /// The cell of a tag.
    #[inline(always)]
    pub fn cell<C>(&self) -> *const C {
        self.record.cast()
    }

    /// Returns the commit since which a value with the version `own` has the tag.
    #[inline(always)]
    pub fn tagged_since(&self, own: u64) -> u64 {
        if self.number() == 0 { own } else { self.number() }
    }

    /// The record.
    #[inline(always)]
    pub fn record<R>(&self) -> *const R {
        self.record.cast()
    }

    /// The number of the version that the record held; 0 if it held none.
    #[inline]
    pub fn number(&self) -> u64 {
        self.seen.version()
    }

    /// Whether the record held no version and was never written.
    #[inline(always)]
    pub fn was_never_written(&self) -> bool {
        self.seen == State::committed(0).tombstone(true)
    }

    /// Returns the number of the input in the bonds of the version `own`.
    #[inline(always)]
    pub fn number_for(&self, own: u64) -> u64 {
        if self.seen == State::committed(0) { own } else { self.number() }
    }

    /// Whether the record held a value that was present.
    pub fn is_present(&self) -> bool {
        self.seen.is_value()
    }

    /// Whether the record held a plain value with exactly this state.
    #[inline(always)]
    pub fn matches(&self, state: State) -> bool {
        self.seen == state
    }
}

impl Bonds {
    /// Makes bonds. No two inputs are of the same record.
    pub fn new(inputs: Dependencies, tags: Dependencies, is_nested: bool) -> Self {
        let mut ties = inputs;
        // Each input holds a record, and there are not that many records.
        let inputs = u32::try_from(ties.len()).expect("a record for each input");
        ties.extend(tags);
        ties.shrink_to_fit();
        Self {
            dependencies: ties,
            equal_since: 0,
            verified_at: AtomicU64::new(0),
            inputs,
            is_nested,
        }
    }

    /// Notes that the value is equal to the one derived at `number`, and to all values since.
    pub fn set_equal_since(&mut self, number: u64) {
        self.equal_since = number;
    }

    /// The entries that the value was derived from.
    #[inline(always)]
    pub fn inputs(&self) -> &[Dependency] {
        &self.dependencies[..self.inputs as usize]
    }

    /// The tags of the value.
    #[inline(always)]
    pub fn tags(&self) -> &[Dependency] {
        &self.dependencies[self.inputs as usize..]
    }

    /// The newest number as of which the bonds were seen to hold, by nothing that was absent or had
    /// a deadline; 0 if there is none.
    pub fn verified_at(&self) -> u64 {
        // Relaxed, as below: what was seen as of a number stays true.
        self.verified_at.load(Ordering::Relaxed)
    }

    /// Notes that the bonds hold as of `number`.
    pub fn mark_verified(&self, number: u64) {
        if self.verified_at() < number {
            self.verified_at.fetch_max(number, Ordering::Relaxed);
        }
    }

    /// Whether an input is derived itself.
    #[inline(always)]
    pub fn is_nested(&self) -> bool {
        self.is_nested
    }

    /// The number of inputs and tags, if they are stored in the version and no input is derived.
    fn inline_counts(&self) -> Option<DependencyCounts> {
        let are_inline = !self.dependencies.spilled() && !self.is_nested;
        let count =
            |ties: &[Dependency]| u8::try_from(ties.len()).expect("at most FEW are stored inline");
        let is_any = !self.dependencies.is_empty();
        (are_inline && is_any)
            .then(|| DependencyCounts::inline(count(self.inputs()), count(self.tags())))
    }

    /// Returns the version since which the value of the version `own` has been equal.
    pub fn equal_since(&self, own: u64) -> u64 {
        if self.equal_since == 0 { own } else { self.equal_since }
    }
}

impl<V> Derived<V> {
    /// Makes a version above `prev` in `place`. Takes the value out of `value`.
    ///
    /// # Safety
    /// The caller may write to `place`.
    pub unsafe fn init(
        place: *mut Self,
        state: State,
        prev: *mut Node<V>,
        value: &mut Parcel<V>,
        terms: EntryTerms,
        bonds: Bonds,
    ) {
        let counts = if terms.deadline() == NEVER { bonds.inline_counts() } else { None };
        let terms = terms.with_counts(counts.unwrap_or(DependencyCounts::UNKNOWN));
        // SAFETY: the caller's promise.
        unsafe {
            Conditional::init(&raw mut (*place).conditional, state, prev, value, terms);
            (&raw mut (*place).bonds).write(ManuallyDrop::new(bonds));
        }
    }
}

impl<V> Node<V> {
    /// The number of inputs and tags, if they are stored in the version, no input is derived, and
    /// the value has no deadline. `None` says nothing about the dependencies.
    ///
    /// # Safety
    /// The version has terms and is alive.
    #[inline(always)]
    pub unsafe fn inline_counts(&self) -> Option<(usize, usize)> {
        // SAFETY: the caller's promise.
        unsafe { self.dependency_counts() }.counts()
    }

    /// The number of inputs, at most [`FEW`], under the same conditions and if there are no tags.
    ///
    /// # Safety
    /// As for [`inline_counts`](Self::inline_counts).
    #[inline(always)]
    pub unsafe fn few_inputs(&self) -> Option<usize> {
        // SAFETY: the caller's promise.
        unsafe { self.dependency_counts() }.inputs_only()
    }

    /// Whether the version has one tag and no input, under the same conditions.
    ///
    /// # Safety
    /// As for [`inline_counts`](Self::inline_counts).
    #[inline(always)]
    pub unsafe fn has_one_tag(&self) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.dependency_counts() == DependencyCounts::ONE_TAG }
    }

    #[inline(always)]
    unsafe fn dependency_counts(&self) -> DependencyCounts {
        // SAFETY: the caller's promise. Each version with terms begins with a `Conditional`.
        unsafe { (*ptr::from_ref(self).cast::<Conditional<V>>()).terms.counts }
    }

    /// The dependency at an index: an input, or after the inputs a tag.
    ///
    /// # Safety
    /// The index is less than the sum that [`inline_counts`](Self::inline_counts) returns, and the
    /// version lives for `'g`.
    #[inline(always)]
    pub unsafe fn dependency_at<'g>(&self, at: usize) -> &'g Dependency {
        // SAFETY: the caller's promise. Only a `Derived` version returns such counts, and its
        // dependencies are stored in it.
        unsafe {
            let derived = &*ptr::from_ref(self).cast::<Derived<V>>();
            let ties = &derived.bonds.dependencies;
            hint::assert_unchecked(!ties.spilled());
            &*ties.as_ptr().add(at)
        }
    }

    /// The dependencies of the value.
    ///
    /// # Safety
    /// The version lives for `'g`.
    #[inline(always)]
    pub unsafe fn bonds<'g>(&self) -> Option<&'g Bonds> {
        // SAFETY: the caller's promise. Only the terms of a `Derived` version say so.
        unsafe {
            let is_derived = self.terms()?.counts != DependencyCounts::NONE;
            is_derived.then(|| &*(*ptr::from_ref(self).cast::<Derived<V>>()).bonds)
        }
    }

    /// Moves the bonds out of the version.
    ///
    /// # Safety
    /// Nobody else has access to the version, and the bonds are moved out once.
    pub unsafe fn take_bonds(&self) -> Option<Bonds> {
        // SAFETY: the caller's promise; the bonds are not used again.
        unsafe { self.bonds().map(|bonds| ptr::read(bonds)) }
    }
}
