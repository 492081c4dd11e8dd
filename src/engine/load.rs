//! Loads: of those who want a key that is absent, one loads it, through a lease, and the others wait for that. What is
//! loaded is a *group* of keys, mostly of one, which is set by one commit.
//!
//! A load is known by the record of its group's first key, which each of them holds, so it stays where it is. A value
//! that is refused, since its key was written or removed meanwhile, is for the one who loaded it and nobody else: it was
//! read during that call. Those who wait may have come after the removal; one of them loads again.
//!
//! Between the commit of a value and the end of its load the key may be removed, too, and one may come after that
//! and find the load under way. So the number of that commit goes with the value: who waits takes it only
//! if it was committed after he came, else he looks again.

use super::group::{all, all_boxed, boxed, is_large, within};
use super::read::Opened;
use super::{Derivation, Engine, Hold, Reading};
use crate::chain::{EntryTerms, RecordRef};
use crate::loading::{Joined, Leader, Waited};
use crate::reclaim::Reclaim;
use crate::sync::hook::{mutant, step};
use crate::sync::time::deadline;
use crate::sync::{Ordering, fence};
use crate::version::Version;
use smallvec::SmallVec;
use std::any::Any;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

/// What a load has brought, and the number of the commit by which it is in the cache.
pub struct Cached<V> {
    /// The addresses of the records that have the values.
    records: SmallVec<[usize; 2]>,
    values: Arc<Box<[V]>>,
    number: u64,
}

impl<V> Clone for Cached<V> {
    fn clone(&self) -> Self {
        let Self { records, values, number } = self;
        Self { records: records.clone(), values: Arc::clone(values), number: *number }
    }
}

impl<V: Clone> Brought<V> {
    /// The values, or clones of them if others want them, too; of what was shared as such.
    fn into_values(self) -> Box<[V]> {
        let Self::Cached(cached) = self else { unreachable!("no error") };
        Arc::try_unwrap(cached.values).unwrap_or_else(|shared| Box::clone(&shared))
    }
}

/// What those are told who wait for a load.
pub enum Brought<V> {
    Cached(Cached<V>),
    /// It has failed, and its caller shares the error.
    Failed(Arc<dyn Any + Send + Sync>),
}

impl<V> Clone for Brought<V> {
    fn clone(&self) -> Self {
        match self {
            Self::Cached(cached) => Self::Cached(cached.clone()),
            Self::Failed(error) => Self::Failed(error.clone()),
        }
    }
}

/// What comes of a wait that was for nothing.
pub enum InVain<C, E> {
    /// These claims join again.
    Again(C),
    /// The error of the load that was waited for.
    Failed(Arc<E>),
}

/// What comes of wanting a group of which something is absent.
pub enum Wanted<'e, K, V, S, R: Reclaim, const N: usize> {
    /// Somebody else loaded it.
    Found(Box<[V]>),
    /// The caller is to load it.
    Load(Load<'e, K, V, S, R, N>),
    /// The load that it would have to wait for waits for the load that wants this: of the key of this name.
    Cycle(Box<str>),
}

/// A caller's claim on a key's record.
pub struct Claim<'e, K, V, S, R: Reclaim> {
    pub(super) engine: &'e Engine<K, V, S, R>,
    hold: Hold<K, V>,
    hash: u32,
}

/// Claims on keys that are loaded together: at least one.
pub struct Claims<'e, K, V, S, R: Reclaim, const N: usize> {
    pub(super) each: [Claim<'e, K, V, S, R>; N],
}

/// A load that the caller leads, or one that nobody waits for. Dropped before it is done, it is passed on to one who waits.
pub struct Load<'e, K, V, S, R: Reclaim, const N: usize> {
    // In this order: whoever is told to lead has claims of his own.
    pub(super) leader: Option<Leader<'e, usize, Brought<V>, R>>,
    pub(super) claims: Claims<'e, K, V, S, R, N>,
}

/// Dropped by a panic in a load, it notes that.
struct Panicked<'l, 'e, K, V, S, R, const N: usize>(&'l Claims<'e, K, V, S, R, N>)
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim;

impl<K, V, S, R, const N: usize> Drop for Panicked<'_, '_, K, V, S, R, N>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    fn drop(&mut self) {
        self.0.note_failure();
    }
}

impl<K, V, S, R: Reclaim> Drop for Claim<'_, K, V, S, R> {
    fn drop(&mut self) {
        self.engine.let_go(&self.hold);
    }
}

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Whether `key` has a value that is to be loaded anew.
    #[inline]
    pub fn wants_refresh(&self, key: &K) -> bool {
        self.observers().config.may_refresh() && {
            let guard = self.pin();
            let record = self.store.find(&guard, self.hash(key), key);
            record.is_some_and(|record| self.is_stale(record))
        }
    }

    fn is_stale(&self, record: RecordRef<'_, K, V>) -> bool {
        let terms = self.newest_terms(record);
        terms.is_some_and(|terms| terms.is_stale(self.timer.now()))
    }

    /// The terms of a record's newest value.
    fn newest_terms<'g>(&self, record: RecordRef<'g, K, V>) -> Option<&'g EntryTerms> {
        self.store.order.newest(record)?.terms()
    }

    /// A claim on `key`, to load it.
    pub fn claim(&self, key: K) -> Claim<'_, K, V, S, R> {
        let hash = self.hash(&key);
        let hold = {
            let guard = self.pin();
            let record = self.store.locate(&guard, hash, key, &mut None);
            self.hold(&guard, record)
        };
        self.collect_some();
        self.tell();
        Claim { engine: self, hold, hash }
    }

    /// The same for what is to be filled as of before: what was cleared is left as it is, for to end it would be a change
    /// since then.
    pub(super) fn claim_as_it_is(&self, key: K) -> Claim<'_, K, V, S, R> {
        let hash = self.hash(&key);
        let guard = self.pin();
        let record = self.store.locate(&guard, hash, key, &mut None);
        record.hold(); // As in `hold`.
        Claim { engine: self, hold: self.held_from_now(record), hash }
    }

    /// Sets `key`, unless it was written, removed or cleared after `since`. True if it was set.
    pub fn fill_since(&self, key: K, since: Version, value: V) -> bool {
        let mut claim = self.claim_as_it_is(key);
        claim.hold.since = since.get();
        self.fill(&claim.hold, &mut Some(value)).is_some()
    }

    /// Claims on the keys of a group.
    pub fn claim_all<const N: usize>(&self, keys: [K; N]) -> Claims<'_, K, V, S, R, N> {
        const { assert!(N > 0, "a group has a key") };
        Claims { each: keys.map(|key| self.claim(key)) }
    }
}

impl<K, V, S, R> Claim<'_, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// The lease.
    pub fn hold(&self) -> &Hold<K, V> {
        &self.hold
    }

    fn record<'g>(&self, guard: &'g R::Guard<'_>) -> RecordRef<'g, K, V> {
        self.engine.held(guard, &self.hold)
    }

    /// The key, to be shown to people.
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
    pub fn join(&self) -> Joined<'e, usize, Brought<V>, R> {
        let Claim { engine, hold, hash } = &self.each[0];
        engine.flights.join(*hash, &hold.address(), || hold.address())
    }

    /// What is to be done after a wait. The claims come back if that was for nothing: then they join again.
    pub fn waited(
        self,
        waited: Waited<'e, usize, Brought<V>, R>,
    ) -> Result<Wanted<'e, K, V, S, R, N>, Self> {
        match waited {
            Waited::Done(Brought::Cached(cached)) => self.brought(cached).map(Wanted::Found),
            Waited::Done(Brought::Failed(_)) | Waited::Failed => self.after_failure(),
            Waited::Lead(leader) => Ok(self.lead(leader)),
            Waited::Moved => Err(self),
            Waited::Cycle => Ok(Wanted::Cycle(self.each[0].name())),
        }
    }

    pub(super) fn try_lead(&self, takes: bool) -> Option<Leader<'e, usize, Brought<V>, R>> {
        let Claim { engine, hold, hash } = &self.each[0];
        engine.flights.try_lead(*hash, &hold.address(), || hold.address(), takes)
    }

    /// What another's load has brought, if the group is among it and current; else what there is.
    fn brought(self, cached: Cached<V>) -> Result<Box<[V]>, Self> {
        // All claims were there before we joined, so a larger number was taken after we came.
        let is_current = cached.number > self.each[0].hold.since;
        if is_current || mutant("load.take_blindly") {
            let value_of = |claim: &Claim<'_, K, V, S, R>| {
                let at = cached.records.iter().position(|record| *record == claim.hold.address());
                Some(&cached.values[at?])
            };
            if let Some(values) = all(self.each.each_ref().map(value_of)) {
                return Ok(values.into_iter().cloned().collect());
            }
        }
        self.values().ok_or(self)
    }

    /// The caller leads; unless somebody has loaded the keys since it looked.
    pub fn lead(self, mut leader: Leader<'e, usize, Brought<V>, R>) -> Wanted<'e, K, V, S, R, N> {
        // What is there after the clock was read was so after whoever has an older number came.
        let number = self.each[0].engine.store.version();
        // Users' code, which is told if it waits for this very load.
        match leader.during(|| self.values()) {
            Some(values) => {
                let shared = leader.share(Brought::Cached(self.cached(values, number)));
                Wanted::Found(shared.into_values())
            }
            None => Wanted::Load(self.begin(Some(leader))),
        }
    }

    fn cached(&self, values: Box<[V]>, number: u64) -> Cached<V> {
        let records = self.each.iter().map(|claim| claim.hold.address()).collect();
        Cached { records, values: Arc::new(values), number }
    }

    /// The load of values anew that are present, if one is old, and nobody else is about it.
    pub fn refresh(self) -> Option<Load<'e, K, V, S, R, N>> {
        let mut leader = self.try_lead(false)?;
        let engine = self.each[0].engine;
        // A guard's end may run users' code, as in `lead`.
        let is_stale = leader.during(|| {
            let guard = engine.pin();
            let mut records = self.each.iter().map(|claim| claim.record(&guard));
            records.any(|record| engine.is_stale(record))
        });
        is_stale.then(|| self.begin(Some(leader)))
    }

    pub(super) fn begin(
        mut self,
        leader: Option<Leader<'e, usize, Brought<V>, R>>,
    ) -> Load<'e, K, V, S, R, N> {
        fence(Ordering::SeqCst); // As in `lease`: held, and now the clock.
        let since = self.each[0].engine.store.version();
        self.each.iter_mut().for_each(|claim| claim.hold.since = since);
        Load { leader, claims: self }
    }

    /// Counts a load that has failed. What it was to load anew is left as it is for a while, if there is a pause.
    #[cold]
    fn note_failure(&self) {
        let engine = self.each[0].engine;
        engine.observers().counters.mine().loads_failed.add(1);
        let pause = engine.flights.rules().pause;
        if pause.is_zero() {
            return;
        }
        let guard = engine.pin();
        let now = engine.timer.now();
        for claim in &self.each {
            let terms = engine.newest_terms(claim.record(&guard));
            terms.filter(|terms| terms.is_stale(now)).inspect(|terms| {
                terms.postpone_refresh(deadline(now, pause));
            });
        }
    }

    /// What the keys hold, as of one instant.
    #[inline(never)]
    pub(super) fn values(&self) -> Option<Box<[V]>> {
        let engine = self.each[0].engine;
        let guard = engine.pin();
        let keys = self.each.each_ref().map(|claim| claim.record(&guard).get().key());
        if const { is_large::<V, N>() } {
            return all_boxed(
                engine.get_many::<_, _, N, false>(keys, |value| Box::new(value.clone())),
            );
        }
        all(engine.get_many::<_, _, N, false>(keys, V::clone)).map(boxed)
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

    /// Runs the load, or a part of it.
    pub fn during<O>(&mut self, load: impl FnOnce() -> O) -> O {
        let panicked = Panicked(&self.claims);
        let outcome = match &mut self.leader {
            Some(leader) => leader.during(load),
            None => load(),
        };
        std::mem::forget(panicked);
        outcome
    }

    /// Ends it. The values are cached, by one commit, and shared, unless one of the keys was written meanwhile.
    ///
    /// Users' code runs when the load is over, as the listener does, or on its behalf: then it is told if it waits for it.
    pub fn finish<E>(mut self, loaded: Result<Box<[V]>, E>) -> Result<Box<[V]>, E> {
        let engine = self.engine();
        // Until it is shared: a panic in users' code is a failure as well.
        self.set_failing(true);
        let values = loaded.inspect_err(|_| self.claims.note_failure())?;
        let Self { leader, claims } = &mut self;
        let filled = within(leader, || {
            let holds = claims.each.each_ref().map(|claim| &claim.hold);
            let mut offered: Box<[_]> = values.iter().map(|value| Some(value.clone())).collect();
            engine.fill_many(holds, &mut offered)
        });
        let values = match filled {
            Some(filled) if filled.is_had => {
                step("load.filled");
                self.share(values, filled.version)
            }
            _ => {
                self.set_failing(false);
                drop(self);
                values // Read before a change, in any case.
            }
        };
        engine.tend();
        Ok(values)
    }

    /// The same, but an error is shared with those who waited and take it.
    pub fn finish_sharing<E: Send + Sync + 'static>(
        self,
        loaded: Result<Box<[V]>, E>,
    ) -> Result<Box<[V]>, Arc<E>> {
        let error = match loaded {
            Ok(values) => return self.finish(Ok(values)),
            Err(error) => Arc::new(error),
        };
        self.claims.note_failure();
        if let Some(leader) = self.leader {
            leader.share(Brought::Failed(error.clone()));
        }
        Err(error)
    }

    fn set_failing(&self, is_failing: bool) {
        if let Some(leader) = &self.leader {
            leader.set_failing(is_failing);
        }
    }

    fn share(self, values: Box<[V]>, version: Version) -> Box<[V]> {
        let Some(leader) = self.leader else { return values };
        let cached = self.claims.cached(values, version.get());
        leader.share(Brought::Cached(cached)).into_values()
    }
}

impl<'e, K, V, S, R> Load<'e, K, V, S, R, 1>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// A view to derive the value in.
    pub fn view(&self) -> Opened<'e, K, V, S, R> {
        self.engine().open_view()
    }

    /// A derivation of it.
    pub fn derivation(&self) -> Derivation<'e, K, V, S, R> {
        Derivation::new(self.engine(), &self.claims.each[0].hold)
    }

    /// Ends it. The value is cached and shared, unless the key, or what was read for it, was written meanwhile.
    /// For users' code see [`finish`](Self::finish).
    pub fn finish_derived(mut self, value: Box<[V]>, reading: Reading<'_, K, V, S, R>) -> Box<[V]>
    where
        V: PartialEq,
    {
        self.set_failing(true); // As in `finish`.
        let engine = self.engine();
        let Self { leader, claims } = &mut self;
        let keep = || reading.keep(&claims.each[0].hold, &mut Some(value[0].clone()));
        let value = match within(leader, keep) {
            Some(version) => {
                step("load.filled");
                self.share(value, version)
            }
            None => {
                self.set_failing(false);
                drop(self);
                value
            }
        };
        engine.tend();
        value
    }
}
