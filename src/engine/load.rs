//! Loads: of the callers that want an absent key, one loads it under a lease, and the others wait
//! for that load. A load is for a *group* of keys, in most cases of one key. One commit sets the
//! group.
//!
//! A load is identified by the record of the first key of its group. Each caller holds that record,
//! so its address stays the same. A fill is refused if a key was written or removed during the
//! load. The loaded value then goes to the caller that loaded it and to no other: it was read
//! during that caller's call, whereas a waiting caller may have come after the removal. One of the
//! waiting callers loads again.
//!
//! The key may also be removed between the commit of the value and the end of the load, and another
//! caller may then find the load still under way. Therefore the number of the commit is passed on
//! with the value. A waiting caller takes the value only if it was committed after this caller
//! came. Otherwise it looks up the key again.

use super::group::on_behalf_of;
use super::tell::TraceSpan;
use super::{Engine, KeyLease};
use crate::chain::{Parcel, RecordRef, clone_to_heap};
use crate::loading::{Joined, Leader};
use crate::memory::{all, all_boxed, boxed, is_large};
use crate::reclaim::Reclaim;
use crate::sync::hook::step;
use crate::sync::{Ordering, fence};
use crate::version::Version;
use smallvec::SmallVec;
use std::any::Any;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

/// The values of a group, and the number of the commit that put them into the cache.
pub struct CachedGroup<V> {
    /// The addresses of the records of the keys.
    pub(super) records: SmallVec<[usize; 2]>,
    pub(super) values: Arc<Box<[V]>>,
    pub(super) number: u64,
}

impl<V> Clone for CachedGroup<V> {
    fn clone(&self) -> Self {
        let Self { records, values, number } = self;
        Self { records: records.clone(), values: Arc::clone(values), number: *number }
    }
}

impl<V: Clone> LoadOutcome<V> {
    /// Returns the values, or clones of them if other callers have them too. Only for an outcome
    /// that is not an error.
    pub(super) fn into_values(self) -> Box<[V]> {
        let Self::Cached(cached) = self else { unreachable!("the outcome was shared as values") };
        Arc::try_unwrap(cached.values).unwrap_or_else(|shared| Box::clone(&shared))
    }
}

/// The outcome of a load, for the callers that wait for it.
pub enum LoadOutcome<V> {
    Cached(CachedGroup<V>),
    /// The load failed, and its caller shares the error.
    Failed(Arc<dyn Any + Send + Sync>),
}

impl<V> Clone for LoadOutcome<V> {
    fn clone(&self) -> Self {
        match self {
            Self::Cached(cached) => Self::Cached(cached.clone()),
            Self::Failed(error) => Self::Failed(error.clone()),
        }
    }
}

/// Why a wait brought no values.
pub enum WaitFailed<C, E> {
    /// The claims, which join a load again.
    Retry(C),
    /// The load that was waited for failed with this error.
    Failed(Arc<E>),
}

/// What a caller does about a group of which a value is absent.
pub enum LoadDecision<'e, K, V, S, R: Reclaim, const N: usize> {
    /// Another caller loaded the group.
    Found(Box<[V]>),
    /// The caller loads the group.
    Load(Load<'e, K, V, S, R, N>),
    /// The load to wait for itself waits for the load that wants this group. The name is that of
    /// the group's first key.
    Cycle(Box<str>),
}

/// A caller's claim on a key: a lease on it, in order to load it.
pub struct Claim<'e, K, V, S, R: Reclaim> {
    pub(super) engine: &'e Engine<K, V, S, R>,
    lease: KeyLease<K, V>,
    pub(super) hash: u32,
}

/// Claims on the keys of a group, of which there is at least one.
pub struct Claims<'e, K, V, S, R: Reclaim, const N: usize> {
    pub(super) each: [Claim<'e, K, V, S, R>; N],
    /// Whether values are loaded anew that are not due yet.
    pub(super) is_early: bool,
}

/// A load that the caller leads, or one for which no caller waits. If it is dropped before its end,
/// a waiting caller takes it over.
pub struct Load<'e, K, V, S, R: Reclaim, const N: usize> {
    // The order matters: the leader is dropped before the claims. A waiting caller that becomes the
    // leader has its own claims.
    pub(super) leader: Option<Leader<'e, usize, LoadOutcome<V>, R>>,
    pub(super) claims: Claims<'e, K, V, S, R, N>,
    /// When it began.
    pub(super) begun: u64,
    span: Option<TraceSpan>,
}

/// Notes a failure of the load when a panic drops it.
struct NoteFailureOnPanic<'l, 'e, K, V, S, R, const N: usize>(&'l Claims<'e, K, V, S, R, N>, u64)
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim;

impl<K, V, S, R, const N: usize> Drop for NoteFailureOnPanic<'_, '_, K, V, S, R, N>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    fn drop(&mut self) {
        self.0.note_failure(self.1);
    }
}

impl<K, V, S, R: Reclaim> Drop for Claim<'_, K, V, S, R> {
    fn drop(&mut self) {
        self.engine.let_go(&self.lease);
    }
}

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Claims `key`, in order to load it.
    pub fn claim(&self, key: K) -> Claim<'_, K, V, S, R> {
        let claim = self.claim_quietly(key);
        self.collect_some();
        self.notify_listener();
        claim
    }

    /// Does the same without maintenance, which may run user code.
    pub(super) fn claim_quietly(&self, key: K) -> Claim<'_, K, V, S, R> {
        let hash = self.hash(&key);
        let guard = self.pin();
        let record = self.store.locate(&guard, hash, key, None);
        let lease = self.lease_record(&guard, record);
        Claim { engine: self, lease, hash }
    }

    /// Claims `key` for a fill as of an earlier version. Unlike `claim`, does not end a cleared
    /// value, because that would be a change since that version.
    pub(super) fn claim_keeping_cleared(&self, key: K) -> Claim<'_, K, V, S, R> {
        let hash = self.hash(&key);
        let guard = self.pin();
        let record = self.store.locate(&guard, hash, key, None);
        record.hold(); // as in `lease_record`
        Claim { engine: self, lease: self.lease_held_record(record), hash }
    }

    /// Sets `key`, unless it was written, removed or cleared after `since`. Returns whether it was
    /// set.
    pub fn fill_since(&self, key: K, since: Version, value: &mut Parcel<V>) -> bool {
        let mut claim = self.claim_keeping_cleared(key);
        claim.lease.since = since.get();
        self.fill(&claim.lease, value).is_some()
    }

    /// Returns small values of these keys, all as of one instant.
    fn small_values<const N: usize>(&self, keys: [&K; N]) -> Option<Box<[V]>> {
        all(self.get_many::<_, _, N, false>(keys, V::clone)).map(boxed)
    }

    /// Claims the keys of a group.
    pub fn claim_all<const N: usize>(&self, keys: [K; N]) -> Claims<'_, K, V, S, R, N> {
        const { assert!(N > 0, "a group that is loaded as a whole has at least one key") };
        Claims { each: keys.map(|key| self.claim(key)), is_early: false }
    }
}

impl<K, V, S, R> Claim<'_, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns the lease of this claim.
    pub fn lease(&self) -> &KeyLease<K, V> {
        &self.lease
    }

    pub(super) fn record<'g>(&self, guard: &'g R::Guard<'_>) -> RecordRef<'g, K, V> {
        self.engine.leased_record(guard, &self.lease)
    }

    /// Returns the key as it is shown in messages.
    #[cold]
    pub fn name(&self) -> Box<str> {
        let guard = self.engine.pin();
        self.engine.rules.name(self.record(&guard).key(), self.hash)
    }
}

impl<'e, K, V, S, R, const N: usize> Claims<'e, K, V, S, R, N>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Joins the load that is under way, or begins one.
    pub fn join(&self) -> Joined<'e, usize, LoadOutcome<V>, R> {
        let Claim { engine, lease, hash } = &self.each[0];
        engine.flights.join(*hash, &lease.address(), || lease.address())
    }

    pub(super) fn try_lead(&self, takes: bool) -> Option<Leader<'e, usize, LoadOutcome<V>, R>> {
        let Claim { engine, lease, hash } = &self.each[0];
        engine.flights.try_lead(*hash, &lease.address(), || lease.address(), takes)
    }

    /// Decides what the leader does: it loads, unless another caller has loaded the keys since the
    /// look-up.
    pub fn lead(
        self,
        mut leader: Leader<'e, usize, LoadOutcome<V>, R>,
    ) -> LoadDecision<'e, K, V, S, R, N> {
        // Values found after this read of the clock were valid after every caller with a smaller
        // number had come.
        let number = self.each[0].engine.store.version();
        // Runs user code. If that waits for this load, it gets an error.
        match leader.during(|| self.values()) {
            Some(values) => {
                let shared = leader.share(LoadOutcome::Cached(self.cached(values, number)));
                LoadDecision::Found(shared.into_values())
            }
            None => LoadDecision::Load(self.begin(Some(leader))),
        }
    }

    fn cached(&self, values: Box<[V]>, number: u64) -> CachedGroup<V> {
        let records = self.each.iter().map(|claim| claim.lease.address()).collect();
        CachedGroup { records, values: Arc::new(values), number }
    }

    pub(super) fn begin(
        mut self,
        leader: Option<Leader<'e, usize, LoadOutcome<V>, R>>,
    ) -> Load<'e, K, V, S, R, N> {
        // as in `lease_held_record`: first the hold, then the clock; same partners
        fence(Ordering::SeqCst);
        let engine = self.each[0].engine;
        let since = engine.store.version();
        self.each.iter_mut().for_each(|claim| claim.lease.since = since);
        Load::new(leader, self)
    }

    /// Returns the values of the keys, all as of one instant.
    #[inline(never)]
    pub(super) fn values(&self) -> Option<Box<[V]>> {
        let engine = self.each[0].engine;
        let guard = engine.pin();
        let keys = self.each.each_ref().map(|claim| claim.record(&guard).get().key());
        if const { is_large::<V, N>() } {
            return all_boxed(engine.get_many::<_, _, N, false>(keys, clone_to_heap));
        }
        engine.small_values(keys)
    }
}

impl<'e, K, V, S, R, const N: usize> Load<'e, K, V, S, R, N>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    pub(super) fn engine(&self) -> &'e Engine<K, V, S, R> {
        self.claims.each[0].engine
    }

    pub(super) fn new(
        leader: Option<Leader<'e, usize, LoadOutcome<V>, R>>,
        claims: Claims<'e, K, V, S, R, N>,
    ) -> Self {
        let begun = claims.each[0].engine.timer.now();
        Load { leader, claims, begun, span: None }
    }

    /// Runs the loader, or a part of it.
    pub fn during<O>(&mut self, load: impl FnOnce() -> O) -> O {
        let panicked = NoteFailureOnPanic(&self.claims, self.begun);
        let Claim { engine, hash, .. } = &self.claims.each[0];
        // Made on behalf of the load, because it may run a subscriber.
        let span = &mut self.span;
        let load = || span.get_or_insert_with(|| engine.load_span(*hash, N)).within(load);
        let outcome = match &mut self.leader {
            Some(leader) => leader.during(load),
            None => load(),
        };
        std::mem::forget(panicked);
        outcome
    }

    /// Ends the load. One commit caches the values, and waiting callers share them, unless one of
    /// the keys was written in the meantime.
    ///
    /// User code may run after the end of the load, as the listener does, or on its behalf. In the
    /// latter case, if the user code waits for this load, it gets an error.
    pub fn finish<E>(mut self, loaded: Result<Box<[V]>, E>) -> Result<Box<[V]>, E> {
        let engine = self.engine();
        // Set until the values are shared: a panic in user code is a failure of the load, too.
        self.set_failing(true);
        let values = loaded.inspect_err(|_| self.claims.note_failure(self.begun))?;
        let Self { leader, claims, begun, .. } = &mut self;
        let filled = on_behalf_of(leader, || {
            let leases = claims.each.each_ref().map(|claim| &claim.lease);
            let filled = engine.fill_many(leases, &mut Parcel::clones(&values));
            claims.note_load_time(*begun);
            filled
        });
        let values = match filled {
            Some(filled) if filled.is_valid => {
                step("load.filled");
                self.share(values, filled.version)
            }
            _ => {
                self.set_failing(false);
                drop(self);
                values // its loader read them before the change
            }
        };
        engine.tend_after_several();
        Ok(values)
    }

    /// Does the same as [`finish`](Self::finish), and shares an error with the waiting callers that
    /// take it.
    pub fn finish_sharing<E: Send + Sync + 'static>(
        self,
        loaded: Result<Box<[V]>, E>,
    ) -> Result<Box<[V]>, Arc<E>> {
        let error = match loaded {
            Ok(values) => return self.finish(Ok(values)),
            Err(error) => Arc::new(error),
        };
        self.claims.note_failure(self.begun);
        if let Some(leader) = self.leader {
            leader.share(LoadOutcome::Failed(error.clone()));
        }
        Err(error)
    }

    pub(super) fn set_failing(&self, is_failing: bool) {
        if let Some(leader) = &self.leader {
            leader.set_failing(is_failing);
        }
    }

    pub(super) fn share(self, values: Box<[V]>, version: Version) -> Box<[V]> {
        self.share_outcome(values, version).map_or_else(|values| values, LoadOutcome::into_values)
    }

    /// Shares the values and returns the outcome; or returns the values, if no caller waits.
    pub(super) fn share_outcome(
        self,
        values: Box<[V]>,
        version: Version,
    ) -> Result<LoadOutcome<V>, Box<[V]>> {
        let Some(leader) = self.leader else { return Err(values) };
        let cached = self.claims.cached(values, version.get());
        Ok(leader.share(LoadOutcome::Cached(cached)))
    }
}
