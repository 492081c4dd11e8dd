//! Writes that a caller computes from what the key holds: a look-up, the caller's decision, and a
//! commit on the condition that the key still has the version of the look-up. If another commit
//! came in between, all of this is repeated. Some thread's commit has succeeded each time.

use super::Engine;
use super::read::with_version;
use crate::chain::Parcel;
use crate::reclaim::Reclaim;
use crate::relation::Terms;
use crate::version::Version;
use equivalent::Equivalent;
use std::hash::{BuildHasher, Hash};
use std::mem;

/// What a caller decides about a key.
pub enum Decision<V> {
    /// Set it, and apply its relations.
    Put(V),
    /// Remove it alone.
    Remove,
    /// Leave it as it is.
    Keep,
}

/// What became of a decision.
pub struct Computed {
    /// The version that the key had, if it was present.
    pub before: Option<Version>,
    /// The version of the commit that set or removed the key, if there was one.
    pub written: Option<Version>,
}

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Lets `decide` decide about `key`, and carries the decision out if the key is unchanged.
    /// Otherwise asks again, and gives `decide` back the value that was not set. `make_key` makes
    /// the key to keep if the cache does not know it. Without `terms`, the settings determine those
    /// of a new value.
    ///
    /// `decide` runs under a guard, which keeps the value that it gets.
    pub fn compute<Q, E>(
        &self,
        key: &Q,
        make_key: impl Fn() -> K,
        terms: Option<&Terms>,
        mut decide: impl FnMut(Option<(&V, Version)>, Option<V>) -> Result<Decision<V>, E>,
    ) -> Result<Computed, E>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let unwound = self.collect_on_unwind();
        let mut refused = None;
        let computed = loop {
            let guard = self.pin();
            let found = self.newest::<Q, true>(&guard, key).map(with_version);
            let before = found.map(|(_, version)| version);
            let mut value = Parcel::empty();
            match decide(found, refused.take())? {
                Decision::Put(new) => value.put(new),
                Decision::Remove if before.is_some() => {}
                Decision::Remove | Decision::Keep => break Computed { before, written: None },
            }
            let record = self.store.find_or_create(&guard, key, &make_key);
            match self.set_if(&guard, record, before, &mut value, terms) {
                Ok(version) => break Computed { before, written: Some(version) },
                Err(_related) => {
                    self.observers().conflicted(record.hash());
                    self.store.try_condemn(&guard, record);
                    refused = value.is_some().then(|| value.take());
                }
            }
        };
        mem::forget(unwound);
        self.tend_after_several();
        Ok(computed)
    }
}
