//! What a value is tied to: what it was made from, and its tags.

use super::node::DependencyCounts;
use super::{Conditional, EntryTerms, Node};
use crate::sync::time::NEVER;
use crate::sync::{AtomicU64, Ordering};
use crate::version::State;
use smallvec::SmallVec;
use std::hint;
use std::mem::ManuallyDrop;
use std::ptr;

/// What one record held for a value that was derived from it; or a tag that a value has. The record, or the tag's cell, is
/// held for as long as this is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Dependency {
    /// A `Record`, whose type only the engine knows.
    record: *const (),
    /// The state of the version that it held, with nothing of its kind but whether it was to be had: an absent one is
    /// a tombstone here. The number is 0 if there was none. A derived version goes by the number since which its value has
    /// been equal. A value with the number 0 is of the same commit as the version that the bonds are of.
    seen: State,
}

/// So many lie in the version itself, which saves a look-up a cache miss.
pub const FEW: usize = 4;

pub type Dependencies = SmallVec<[Dependency; FEW]>;

/// What ties a value to what it was derived from, and to its tags. It is true as long as each input holds what it
/// held, and no tag was invalidated since the value has it. Nobody needs to be told when that ends: whoever reads the value looks.
pub struct Bonds {
    /// The inputs, then the tags.
    dependencies: Dependencies,
    /// Since which version the value has been equal to this one; 0: since its own.
    equal_since: u64,
    /// As of this number they all held, by what was present and has no deadline, through all levels; 0: nobody has looked.
    verified_at: AtomicU64,
    /// How many of the ties are inputs.
    inputs: u32,
    /// Some of the inputs are derived themselves.
    is_nested: bool,
}

/// A version that is tied to others, in memory of its own.
#[repr(C)]
pub struct Derived<V> {
    conditional: Conditional<V>,
    bonds: ManuallyDrop<Bonds>,
}

// SAFETY: records are shared between threads anyway; the engine, which alone follows the pointer, sees to the types.
unsafe impl Send for Dependency {}
// SAFETY: as above.
unsafe impl Sync for Dependency {}

impl Dependency {
    /// `record` held the version `number`, of a value if `is_present`; 0 if it held none.
    pub fn new<R>(record: *const R, number: u64, is_present: bool) -> Self {
        let seen = State::committed(number).tombstone(!is_present);
        Self { record: record.cast(), seen }
    }

    /// A value has a tag, whose cell this is, since the commit `since`; 0: since its own.
    pub fn tag<C>(cell: *const C, since: u64) -> Self {
        Self { record: cell.cast(), seen: State::committed(since) }
    }

    /// The cell of a tag.
    #[inline(always)]
    pub fn cell<C>(&self) -> *const C {
        self.record.cast()
    }

    /// Since which commit a value of the version `own` has the tag.
    #[inline(always)]
    pub fn tagged_since(&self, own: u64) -> u64 {
        if self.number() == 0 { own } else { self.number() }
    }

    /// The record.
    #[inline(always)]
    pub fn record<R>(&self) -> *const R {
        self.record.cast()
    }

    /// The number of the version that it held; 0: none.
    #[inline]
    pub fn number(&self) -> u64 {
        self.seen.version()
    }

    /// Whether it held nothing, and never had.
    #[inline(always)]
    pub fn was_never_written(&self) -> bool {
        self.seen == State::committed(0).tombstone(true)
    }

    /// The number by which it goes in the bonds of a version `own`.
    #[inline(always)]
    pub fn number_for(&self, own: u64) -> u64 {
        if self.seen == State::committed(0) { own } else { self.number() }
    }

    /// Whether that was a value, and to be had.
    pub fn is_present(&self) -> bool {
        self.seen.is_value()
    }

    /// Whether it held a value that was in just this state: without terms, and all its hits counted.
    #[inline(always)]
    pub fn matches(&self, state: State) -> bool {
        self.seen == state
    }
}

impl Bonds {
    /// To these inputs, each of a record of its own, and tags.
    pub fn new(inputs: Dependencies, tags: Dependencies, is_nested: bool) -> Self {
        let mut ties = inputs;
        // Each holds a record, of which there are not that many.
        let inputs = u32::try_from(ties.len()).expect("fewer inputs");
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

    /// Of a value equal to that which was derived at `number`, and to all since.
    pub fn set_equal_since(&mut self, number: u64) {
        self.equal_since = number;
    }

    /// What the value was derived from.
    #[inline(always)]
    pub fn inputs(&self) -> &[Dependency] {
        &self.dependencies[..self.inputs as usize]
    }

    /// The tags of the value.
    #[inline(always)]
    pub fn tags(&self) -> &[Dependency] {
        &self.dependencies[self.inputs as usize..]
    }

    /// As of which number it was seen that they hold, by nothing that was absent or has a deadline; 0: of none.
    pub fn verified_at(&self) -> u64 {
        self.verified_at.load(Ordering::Relaxed) // Relaxed, here and below: what was so then remains true of then.
    }

    /// That is so as of this number.
    pub fn mark_verified(&self, number: u64) {
        if self.verified_at() < number {
            self.verified_at.fetch_max(number, Ordering::Relaxed);
        }
    }

    /// Whether some of the inputs are derived themselves.
    #[inline(always)]
    pub fn is_nested(&self) -> bool {
        self.is_nested
    }

    /// How many inputs and tags there are, if they lie here, and no input is derived.
    fn inline_counts(&self) -> Option<DependencyCounts> {
        let lie_here = !self.dependencies.spilled() && !self.is_nested;
        let count = |ties: &[Dependency]| u8::try_from(ties.len()).expect("few lie here");
        let is_any = !self.dependencies.is_empty();
        (lie_here && is_any)
            .then(|| DependencyCounts::inline(count(self.inputs()), count(self.tags())))
    }

    /// Since which version the value, which is of the version `own`, has been equal.
    pub fn equal_since(&self, own: u64) -> u64 {
        if self.equal_since == 0 { own } else { self.equal_since }
    }
}

impl<V> Derived<V> {
    /// Makes a version in its place, upon `prev`, with the value that is taken out of `value`.
    ///
    /// # Safety
    /// The place is the caller's to write.
    pub unsafe fn init(
        place: *mut Self,
        state: State,
        prev: *mut Node<V>,
        value: &mut Option<V>,
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
    /// How many inputs and tags there are, if they lie in the version, none of the inputs is derived, and the value has
    /// no deadline. `None` says nothing.
    ///
    /// # Safety
    /// The version has terms, and lives.
    #[inline(always)]
    pub unsafe fn inline_counts(&self) -> Option<(usize, usize)> {
        // SAFETY: the caller's promise.
        unsafe { self.dependency_counts() }.counts()
    }

    /// How many inputs there are, if that is so, and there are no tags: at most [`FEW`].
    ///
    /// # Safety
    /// As for [`inline_counts`](Self::inline_counts).
    #[inline(always)]
    pub unsafe fn few_inputs(&self) -> Option<usize> {
        // SAFETY: the caller's promise.
        unsafe { self.dependency_counts() }.inputs_only()
    }

    /// Whether that is so, and there are no inputs, and one tag.
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
        // SAFETY: the caller's promise: what has terms is such a version.
        unsafe { (*ptr::from_ref(self).cast::<Conditional<V>>()).terms.counts }
    }

    /// An input, or beyond those a tag.
    ///
    /// # Safety
    /// It is one of those that [`inline_counts`](Self::inline_counts) tells of, and the version lives for `'g`.
    #[inline(always)]
    pub unsafe fn dependency_at<'g>(&self, at: usize) -> &'g Dependency {
        // SAFETY: the caller's promise: only versions of this kind have such ties, and they lie in it.
        unsafe {
            let derived = &*ptr::from_ref(self).cast::<Derived<V>>();
            let ties = &derived.bonds.dependencies;
            hint::assert_unchecked(!ties.spilled());
            &*ties.as_ptr().add(at)
        }
    }

    /// What ties the value to others.
    ///
    /// # Safety
    /// The version lives for `'g`.
    #[inline(always)]
    pub unsafe fn bonds<'g>(&self) -> Option<&'g Bonds> {
        // SAFETY: the caller's promise. Only versions of this kind have terms that say so.
        unsafe {
            let is_derived = self.terms()?.counts != DependencyCounts::NONE;
            is_derived.then(|| &*(*ptr::from_ref(self).cast::<Derived<V>>()).bonds)
        }
    }

    /// Moves the bonds out.
    ///
    /// # Safety
    /// Nobody else has access to the version, and they are moved out once.
    pub unsafe fn take_bonds(&self) -> Option<Bonds> {
        // SAFETY: the caller's promise; the bonds are not used again.
        unsafe { self.bonds().map(|bonds| ptr::read(bonds)) }
    }
}
