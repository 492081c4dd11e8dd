//! Loads: of those who want a key that is absent, one loads it, through a lease, and the others wait for that.
//!
//! A load is known by its key's record, which each of them holds, so it stays where it is. A value that is refused,
//! since its key was written or removed meanwhile, is for the one who loaded it and nobody else: it was read
//! during that call. Those who wait may have come after the removal; one of them loads again.
//!
//! Between the commit of a value and the end of its load the key may be removed, too, and one may come after that
//! and find the load under way. So the number of that commit goes with the value: who waits takes it only
//! if it was committed after he came, else he looks again.

use super::read::Opened;
use super::{Engine, Hold, Reading};
use crate::chain::Record;
use crate::commit::Found;
use crate::engine::keep::Moment;
use crate::loading::{Joined, Leader, Waited};
use crate::metrics::Counters;
use crate::reclaim::Reclaim;
use crate::sync::hook::{mutant, step};
use crate::sync::{Ordering, fence};
use crate::version::Version;
use std::hash::{BuildHasher, Hash};

/// A value, and the number of the commit by which it is in the cache.
pub type Cached<V> = (V, u64);

/// What comes of wanting a key that is absent.
pub enum Wanted<'e, K, V, S, R: Reclaim> {
    /// Somebody else loaded it.
    Found(V),
    /// The caller is to load it.
    Load(Load<'e, K, V, S, R>),
    /// The load that it would have to wait for waits for the load that wants this.
    Cycle,
}

/// A caller's claim on a key's record.
pub struct Claim<'e, K, V, S, R: Reclaim> {
    engine: &'e Engine<K, V, S, R>,
    hold: Hold<K, V>,
    hash: u32,
}

/// A load that the caller leads. Dropped before it is done, it is passed on to one who waits.
pub struct Load<'e, K, V, S, R: Reclaim> {
    // In this order: whoever is told to lead has a claim of his own.
    leader: Leader<'e, usize, Cached<V>, R>,
    claim: Claim<'e, K, V, S, R>,
}

/// Dropped by a panic in a load, it counts that.
struct Panicked<'e>(&'e Counters);

impl Drop for Panicked<'_> {
    fn drop(&mut self) {
        self.0.mine().loads_failed.add(1);
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
        self.in_force.may_refresh() && {
            let guard = self.pin();
            let record = self.find(&guard, self.hash(key), key);
            record.is_some_and(|record| self.is_stale(&guard, record))
        }
    }

    fn is_stale(&self, _guard: &R::Guard<'_>, record: &Record<K, V>) -> bool {
        // SAFETY: found, or held, under the guard, which keeps what it leads to.
        let terms = match unsafe { self.order.newest(record) } {
            // SAFETY: as above.
            Found::Value(node, _) => unsafe { node.terms() },
            _ => None,
        };
        terms.is_some_and(|terms| terms.is_stale(self.timer.now()))
    }

    /// A claim on `key`, to load it.
    pub fn claim(&self, key: K) -> Claim<'_, K, V, S, R> {
        let hash = self.hash(&key);
        let guard = self.pin();
        let (record, _) = self.locate(&guard, hash, key, None);
        Claim { engine: self, hold: self.hold(&guard, record), hash }
    }
}

impl<'e, K, V, S, R> Claim<'e, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Joins the load that is under way, or begins one.
    pub fn join(&self) -> Joined<'e, usize, Cached<V>, R> {
        let record = self.hold.address();
        self.engine.flights.join(self.hash, &record, || record)
    }

    /// What is to be done after a wait. The claim comes back if that was for nothing: then it joins again.
    pub fn waited(
        self,
        waited: Waited<'e, usize, Cached<V>, R>,
    ) -> Result<Wanted<'e, K, V, S, R>, Self> {
        match waited {
            Waited::Done((value, number))
                if number > self.hold.since || mutant("load.take_blindly") =>
            {
                Ok(Wanted::Found(value))
            }
            Waited::Done(_) => self.value().map(|(value, _)| Wanted::Found(value)).ok_or(self),
            Waited::Lead(leader) => Ok(self.lead(leader)),
            Waited::Cycle => Ok(Wanted::Cycle),
        }
    }

    /// The caller leads; unless somebody has loaded the key since it looked.
    pub fn lead(self, leader: Leader<'e, usize, Cached<V>, R>) -> Wanted<'e, K, V, S, R> {
        if let Some(cached) = self.value() {
            return Wanted::Found(leader.share(cached).0);
        }
        Wanted::Load(self.begin(leader))
    }

    /// The load of a value anew that is present, if it is old, and nobody else is about it.
    pub fn refresh(self) -> Option<Load<'e, K, V, S, R>> {
        let Joined::Leader(leader) = self.join() else { return None };
        let guard = self.engine.pin();
        let record = Engine::<K, V, S, R>::held(&guard, &self.hold);
        let is_stale = self.engine.is_stale(&guard, record);
        drop(guard);
        is_stale.then(|| self.begin(leader))
    }

    fn begin(mut self, leader: Leader<'e, usize, Cached<V>, R>) -> Load<'e, K, V, S, R> {
        fence(Ordering::SeqCst); // As in `lease`: held, and now the clock.
        self.hold.since = self.engine.order.clock.now();
        Load { leader, claim: self }
    }

    /// Sets the key, unless it was written, removed or cleared after `since`. True if it was set.
    pub fn fill_since(mut self, since: Version, value: V) -> bool {
        self.hold.since = since.get();
        self.engine.fill(&self.hold, value).is_ok()
    }

    fn value(&self) -> Option<Cached<V>> {
        let guard = self.engine.pin();
        let record = Engine::<K, V, S, R>::held(&guard, &self.hold);
        let moment = Moment::new(&self.engine.timer);
        let (node, state) = self.engine.present(&guard, record, true, &moment)?;
        // SAFETY: committed to a value, and kept by the guard.
        Some((unsafe { node.value() }.clone(), state.version()))
    }

    /// The lease.
    pub fn hold(&self) -> &Hold<K, V> {
        &self.hold
    }
}

impl<'e, K, V, S, R> Load<'e, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Runs the load, or a part of it.
    pub fn during<O>(&mut self, load: impl FnOnce() -> O) -> O {
        let panicked = Panicked(&self.claim.engine.counters);
        let outcome = self.leader.during(load);
        std::mem::forget(panicked);
        outcome
    }

    /// Ends it. The value is cached and shared, unless the key was written meanwhile.
    pub fn finish<E>(self, loaded: Result<V, E>) -> Result<V, E> {
        let engine = self.claim.engine;
        let value = match loaded {
            Ok(value) => value,
            Err(error) => {
                engine.counters.mine().loads_failed.add(1);
                return Err(error);
            }
        };
        match engine.fill(&self.claim.hold, value.clone()) {
            Ok(filled) if filled.is_had => {
                step("load.filled");
                Ok(self.leader.share((value, filled.version.get())).0)
            }
            // Read before a change, in any case.
            _ => Ok(value),
        }
    }

    /// A view to derive the value in.
    pub fn view(&self) -> Opened<'e, K, V, S, R> {
        Opened::new(self.claim.engine)
    }

    /// A reading of that view.
    pub fn reading<'s>(&self, view: &'s Opened<'e, K, V, S, R>) -> Reading<'s, K, V, S, R> {
        Reading::new(self.claim.engine, view.snapshot(), self.claim.hold.record())
    }

    /// Ends it. The value is cached and shared, unless the key, or what was read for it, was written meanwhile.
    pub fn finish_derived(self, value: V, reading: Reading<'_, K, V, S, R>) -> V
    where
        V: PartialEq,
    {
        let hold = &self.claim.hold;
        match reading.keep(hold, hold.since, value.clone()) {
            Some(derived) => {
                step("load.filled");
                self.leader.share((value, derived.version.get())).0
            }
            None => value,
        }
    }
}
