//! What is known within one derivation.

use super::observers::Observers;
use crate::chain::{Bonds, Dependencies, Dependency};
use crate::dependencies::{BondsBuilder, WalkOverlay};
use std::collections::{HashMap, HashSet};
use std::ptr;

/// The bonds, under construction, of a value that the engine derives.
pub(super) type EngineBonds<'e, K, V, S, R> = BondsBuilder<'e, K, V, S, R, Observers<K, V>>;

/// A value that was derived and is not set yet.
pub(super) struct DerivedValue<V> {
    /// How this value appears as an input of others. It is present. Its number is the one since
    /// which the value has been equal, or 0 if the value is new. Its record is held.
    pub(super) as_input: Dependency,
    pub(super) value: Box<V>,
    /// The value is set only if no commit after this version wrote its key.
    pub(super) since: u64,
    /// The value replaces one that had ended.
    pub(super) is_recomputed: bool,
    /// The inputs of the value. Their records are held.
    pub(super) inputs: Dependencies,
    pub(super) is_nested: bool,
    pub(super) is_lost: bool,
}

/// The progress of a derivation with one key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum DerivationProgress {
    InProgress,
    /// The index of the value in the list of derived values.
    Derived(usize),
}

/// The values and checks that a derivation remembers.
pub(super) struct DerivationMemo<V> {
    /// The address of the record for which the derivation runs.
    pub(super) outermost: usize,
    /// The progress for each record, by the record's address. The records are held.
    pub(super) progress: HashMap<usize, DerivationProgress>,
    /// In order of dependency: the inputs of a value come before the value.
    pub(super) derived: Vec<DerivedValue<V>>,
    /// The addresses of bonds that are valid in the view. The view keeps their versions.
    pub(super) valid: HashSet<usize>,
    /// The addresses of bonds that are not valid in the view. A value derived later with an old
    /// number may make them valid again.
    pub(super) broken: HashSet<usize>,
}

impl<V> DerivationMemo<V> {
    /// Returns the index of the value that was derived for a record.
    pub(super) fn find(&self, record: *const ()) -> Option<usize> {
        if self.derived.is_empty() {
            return None; // no hash is computed
        }
        match self.progress.get(&record.addr())? {
            DerivationProgress::Derived(at) => Some(*at),
            DerivationProgress::InProgress => None,
        }
    }
}

impl<V> WalkOverlay for DerivationMemo<V> {
    fn pending(&self, record: *const ()) -> Option<Dependency> {
        self.find(record).map(|at| self.derived[at].as_input)
    }

    fn is_known_to_hold(&self, bonds: &Bonds) -> bool {
        self.valid.contains(&ptr::from_ref(bonds).addr())
    }

    fn is_known_broken(&self, bonds: &Bonds) -> bool {
        self.broken.contains(&ptr::from_ref(bonds).addr())
    }
}
