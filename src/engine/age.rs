//! How old values are, and loads of newer ones while the old ones are there.

use super::Engine;
use super::group::on_behalf_of;
use super::load::{Claims, Load, LoadDecision, LoadOutcome};
use crate::chain::{EntryTerms, RecordRef};
use crate::loading::{Leader, ServeRules, Waited};
use crate::reclaim::Reclaim;
use crate::sync::time::{NEVER, deadline};
use equivalent::Equivalent;
use std::hash::{BuildHasher, Hash, RandomState};
use std::time::Duration;

/// What the terms of the values of a group say of its age.
#[derive(Clone, Copy)]
pub struct GroupAge {
    /// The time since the oldest of them was written.
    pub age: Duration,
    /// How many loads of newer values have failed, after which there was a pause.
    pub failures: u8,
    /// Whether one of them is due for reloading.
    pub is_due: bool,
    /// Whether one of them is to be loaded although none is due yet.
    pub is_early: bool,
    /// When the oldest of them was written.
    written: u64,
}

/// What the keys of a group hold at the end of a load that failed.
pub struct Kept<V> {
    /// The values, all as of one instant.
    pub values: Box<[V]>,
    /// Whether they are old: due, or due again after a pause.
    pub is_old: bool,
    /// The time since the oldest of them was written, at most.
    pub age: Duration,
}

/// The error of a load, and what the keys hold by its end.
pub type FailedLoad<V, E> = (E, Option<Kept<V>>);

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns whether `key` has a value that is due for reloading.
    #[inline]
    pub fn wants_refresh<Q>(&self, key: &Q) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.observers().config.may_refresh() && {
            let guard = self.pin();
            let record = self.store.find(&guard, self.hash(key), key);
            record.is_some_and(|record| self.is_stale(record))
        }
    }

    /// Returns the age of the values of these keys. A value that is read afterwards is no older
    /// than that. `early` is the factor of [`is_early`](Self::is_early), or 0.
    pub fn age_of<'k, Q>(&self, keys: impl IntoIterator<Item = &'k Q>, early: f64) -> GroupAge
    where
        Q: Hash + Equivalent<K> + ?Sized + 'k,
    {
        let guard = self.pin();
        let find = |key: &'k Q| self.store.find(&guard, self.hash(key), key);
        self.age_of_records(keys.into_iter().filter_map(find), early)
    }

    /// Returns the rules for values that are served although they are old.
    pub fn serve_rules(&self) -> ServeRules {
        self.flights.rules().serving
    }

    fn age_of_records<'g>(
        &self,
        records: impl Iterator<Item = RecordRef<'g, K, V>>,
        early: f64,
    ) -> GroupAge
    where
        K: 'g,
        V: 'g,
    {
        let now = self.timer.now();
        let (mut failures, mut is_due, mut is_early, mut written) = (0, false, false, now);
        for terms in records.filter_map(|record| self.newest_terms(record)) {
            is_due |= terms.is_stale(now);
            // Read afterwards: if the value is not due because a load has just failed, this counts
            // it.
            failures = failures.max(terms.failures());
            written = written.min(terms.written());
            is_early |= early > 0.0 && is_early_at(now, terms, early);
        }
        let age = Duration::from_nanos(now - written);
        GroupAge { age, failures, is_due, is_early: is_early && !is_due, written }
    }

    fn is_stale(&self, record: RecordRef<'_, K, V>) -> bool {
        let terms = self.newest_terms(record);
        terms.is_some_and(|terms| terms.is_stale(self.timer.now()))
    }

    /// Returns the terms of a record's newest value.
    fn newest_terms<'g>(&self, record: RecordRef<'g, K, V>) -> Option<&'g EntryTerms> {
        self.store.order.newest(record)?.terms()
    }
}

/// Returns whether a value is to be loaded although it is not due yet: with a probability that
/// rises as its end comes near, and rises the earlier the longer its load took. This is the optimal
/// algorithm of Vattani, Chierichetti and Lowenstein, *Optimal probabilistic cache stampede
/// prevention* (VLDB 2015): the value is loaded if an exponentially distributed time, whose mean is
/// the time that a load takes multiplied by `early`, reaches from now to the end. After a failure,
/// the pause decides.
fn is_early_at(now: u64, terms: &EntryTerms, early: f64) -> bool {
    let (_, _, refresh) = terms.times();
    let (load_time, end) = (terms.load_time(), refresh.min(terms.deadline()));
    if load_time == 0 || end == NEVER || terms.failures() > 0 {
        return false;
    }
    // Each call draws a new seed. The result is above 0 and at most 1.
    let drawn = RandomState::new().hash_one(now) >> 11;
    let uniform = (drawn + 1) as f64 / (1_u64 << 53) as f64;
    now as f64 - load_time as f64 * early * uniform.ln() >= end as f64
}

impl<'e, K, V, S, R, const N: usize> Claims<'e, K, V, S, R, N>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Begins a reload of a group of present values, unless another caller reloads it: if one of
    /// them is due; or, with what a caller has `seen` who loads early, if none was written since.
    pub fn refresh(mut self, seen: Option<&GroupAge>) -> Option<Load<'e, K, V, S, R, N>> {
        self.is_early = seen.is_some();
        let mut leader = self.try_lead(false)?;
        // Dropping a guard may run user code, as in `lead`.
        let age = leader.during(|| self.age());
        let is_wanted = age.is_due || seen.is_some_and(|seen| seen.written == age.written);
        is_wanted.then(|| self.begin(Some(leader)))
    }

    /// Returns the age of the values that the keys hold.
    fn age(&self) -> GroupAge {
        let engine = self.each[0].engine;
        let guard = engine.pin();
        engine.age_of_records(self.each.iter().map(|claim| claim.record(&guard)), 0.0)
    }

    /// Decides what the leader does: it loads, unless the cache has values that are no older than
    /// `oldest`.
    pub fn lead_anew(
        self,
        mut leader: Leader<'e, usize, LoadOutcome<V>, R>,
        oldest: Duration,
    ) -> LoadDecision<'e, K, V, S, R, N> {
        // Dropping a guard may run user code, as in `lead`.
        match leader.during(|| self.age().age > oldest) {
            true => LoadDecision::Load(self.begin(Some(leader))),
            false => self.lead(leader),
        }
    }

    /// Does what [`after_wait`](Self::after_wait) does, for a caller that takes no values that are
    /// older than `oldest`.
    pub fn after_wait_anew(
        self,
        waited: Waited<'e, usize, LoadOutcome<V>, R>,
        oldest: Duration,
    ) -> Result<LoadDecision<'e, K, V, S, R, N>, Self> {
        match waited {
            Waited::Lead(leader) => Ok(self.lead_anew(leader, oldest)),
            Waited::Done(LoadOutcome::Failed(_)) | Waited::Failed => {
                Ok(LoadDecision::Load(self.begin(None)))
            }
            // The values that this load has set may be those of before this call.
            Waited::Done(_) if self.age().age > oldest => Err(self),
            waited => self.after_wait(waited),
        }
    }

    /// Counts a failed load. If the cache has a refresh pause, postpones the next reload of the
    /// values that were due.
    #[cold]
    pub(super) fn note_failure(&self, begun: u64) {
        let engine = self.each[0].engine;
        engine.observers().load_times.note(engine.timer.now().saturating_sub(begun), true);
        engine.observers().counters.mine().loads_failed.add(1);
        let rules = engine.flights.rules();
        if rules.pause.is_zero() {
            return;
        }
        let guard = engine.pin();
        let now = engine.timer.now();
        for claim in &self.each {
            let terms = engine.newest_terms(claim.record(&guard));
            let is_meant = |terms: &&EntryTerms| terms.is_stale(now) || self.is_early;
            terms.filter(is_meant).inspect(|terms| {
                let pause = rules.pause_after(terms.failures(), claim.hash);
                terms.note_failure(deadline(now, pause));
            });
        }
    }

    /// Returns whether one of the values is due for reloading, or would be without a pause.
    fn are_old(&self) -> bool {
        let engine = self.each[0].engine;
        let (guard, now) = (engine.pin(), engine.timer.now());
        let mut terms =
            self.each.iter().filter_map(|claim| engine.newest_terms(claim.record(&guard)));
        terms.any(|terms| terms.failures() > 0 || terms.is_stale(now))
    }

    /// Notes how long the load took that began at `begun`, so that its values can be loaded early.
    pub(super) fn note_load_time(&self, begun: u64) {
        let engine = self.each[0].engine;
        let (guard, took) = (engine.pin(), engine.timer.now().saturating_sub(begun));
        engine.observers().load_times.note(took, false);
        let records = self.each.iter().map(|claim| claim.record(&guard));
        let terms = records.filter_map(|record| engine.newest_terms(record));
        let is_meant = |terms: &&EntryTerms| terms.written() >= begun; // not if it was refused
        terms.filter(is_meant).for_each(|terms| terms.note_load_time(took));
    }
}

impl<K, V, S, R, const N: usize> Load<'_, K, V, S, R, N>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Does the same as [`finish`](Self::finish). With an error come the values that the keys hold
    /// by now.
    pub fn finish_or_present<E>(
        mut self,
        loaded: Result<Box<[V]>, E>,
    ) -> Result<Box<[V]>, FailedLoad<V, E>> {
        let error = match loaded {
            Ok(values) => return self.finish(Ok(values)).map_err(|error| (error, None)),
            Err(error) => error,
        };
        self.set_failing(true);
        self.claims.note_failure(self.begun);
        let Self { leader, claims, .. } = &mut self;
        // Runs user code, as in `lead`.
        let kept = on_behalf_of(leader, || {
            let age = claims.age().age; // The values that are read afterwards are no older.
            let values = claims.values()?;
            Some(Kept { values, is_old: claims.are_old(), age })
        });
        Err((error, kept))
    }

    /// Does the same for a caller that takes what the keys hold. The error is its own only if they
    /// hold no values.
    pub fn finish_or_keep<E>(self, loaded: Result<Box<[V]>, E>) -> Result<Box<[V]>, E> {
        self.finish_or_present(loaded)
            .or_else(|(error, kept)| kept.map_or(Err(error), |kept| Ok(kept.values)))
    }
}
