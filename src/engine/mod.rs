//! The engine: composes the store, the features and the settings into a cache.
//!
//! `docs/architecture.md` describes the task of each file.

mod age;
mod brief_view;
mod caller_terms;
mod changes;
mod collect;
mod commit_derived;
mod compute;
mod derivation;
mod domain;
mod ended;
mod ended_state;
mod errors;
mod evict;
mod expect;
mod expire;
mod expiry_policy;
mod explain;
mod fill;
mod fresh;
#[cfg(any(feature = "serde", coeval_loom, coeval_internals))]
mod gone_marks;
mod group;
mod heat;
mod index_walk;
mod inspect;
mod joint;
mod later;
mod lease;
mod lend;
mod load;
mod load_each;
mod load_terms;
mod maintenance;
mod memo;
mod name;
mod observers;
mod parts;
mod plan;
mod post_commit;
mod read;
mod read_each;
mod read_many;
#[cfg(feature = "serde")]
mod restore;
#[cfg(feature = "serde")]
mod restore_group;
mod retain;
#[cfg(feature = "serde")]
mod save;
mod scan;
mod scratch;
mod sweep;
mod tag_marks;
mod tags;
mod tell;
mod terms;
mod transact;
mod views;
mod waited;
mod watch;
mod write;

#[cfg(feature = "async")]
pub use crate::memory::Moving;
pub use crate::memory::{all, all_boxed, array, is_large, one, single};
pub use age::{FailedLoad, GroupAge, Kept};
pub use brief_view::EngineBriefView;
pub use changes::{Changes, WriteTerms};
pub use compute::{Computed, Decision};
pub use derivation::Reading;
pub use domain::{DomainCore, Member, OfEach, OpenedView};
pub use errors::ErrorSettings;
pub use expiry_policy::Expiry;
pub use explain::{ExplainedInput, ExplainedRelated, ExplainedTag, Explanation, Standing};
#[cfg(any(coeval_loom, coeval_internals))]
pub use gone_marks::GoneMarks;
pub use group::{on_heap, try_on_heap};
pub use inspect::Relations;
pub use joint::commit_parts;
#[cfg(feature = "async")]
pub use later::{DetachedLoad, RunningLoad};
pub use lease::KeyLease;
#[cfg(feature = "async")]
pub use load::LoadOutcome;
pub use load::{Claim, Claims, Load, LoadDecision, WaitFailed};
pub use load_terms::LoadedTerms;
#[cfg(any(coeval_loom, coeval_internals))]
pub use maintenance::{DueWork, due};
pub use name::name_of;
pub use parts::{CachePart, Parts};
pub use read::with_version;
#[cfg(feature = "serde")]
pub use restore::ToRestore;
#[cfg(feature = "serde")]
pub use restore_group::{GroupOutcome, SavedGroup};
#[cfg(feature = "serde")]
pub use save::{SavedTerms, ToSave};
pub use terms::Weigher;
pub use transact::Attempt;

use crate::commit::Membership;
use crate::config::{Adjustable, Config, Times};
use crate::listener::Listener;
use crate::loading::{Flights, LoadRules};
use crate::policy::Policy;
use crate::reclaim::Reclaim;
use crate::relation::Relation;
use crate::store::Store;
use crate::sync::time::{NEVER, Timer, deadline};
use crate::version::State;
use ended_state::EndedSweep;
use errors::RememberedErrors;
use expire::Deadlines;
#[cfg(not(any(coeval_loom, coeval_internals)))]
use maintenance::DueWork;
use observers::Observers;
use scratch::Scratches;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::time::Duration;
use sweep::Sweep;
use tag_marks::TagMarks;
use terms::EntryRules;

/// The settings with which a cache is built.
pub struct EngineSettings<K, V> {
    /// The number of entries for which the cache has room from the beginning.
    pub initial_capacity: usize,
    /// The bound of the total weight.
    pub max_capacity: Option<u64>,
    pub weigher: Option<Box<Weigher<K, V>>>,
    pub expiry: Option<Box<dyn Expiry<K, V>>>,
    pub name: Option<fn(&K) -> Box<str>>,
    /// The name of the cache.
    pub label: Option<Box<str>>,
    /// The name of the types of keys and values, in files.
    #[cfg(feature = "serde")]
    pub schema: Box<str>,
    pub time_to_live: Option<Duration>,
    pub time_to_idle: Option<Duration>,
    pub refresh_after: Option<Duration>,
    /// The largest share by which these times are shortened.
    pub jitter: f64,
    pub relation: Option<Arc<Relation<K, V>>>,
    pub max_related: usize,
    pub listener: Option<Arc<Listener<K, V>>>,
    pub timer: Timer,
    /// What it shares with its domain.
    pub membership: Membership,
    pub loads: LoadRules,
    /// How errors of loads are remembered, if they are.
    pub errors: Option<ErrorSettings<K>>,
    /// How long a view may be open before that is told.
    pub view_limit: Option<Duration>,
    /// Whether writers remove values that have ended.
    pub sweeps_ended: bool,
}

impl<K, V> Default for EngineSettings<K, V> {
    fn default() -> Self {
        Self {
            initial_capacity: 0,
            max_capacity: None,
            weigher: None,
            expiry: None,
            name: None,
            label: None,
            #[cfg(feature = "serde")]
            schema: Box::default(),
            time_to_live: None,
            time_to_idle: None,
            refresh_after: None,
            jitter: 0.0,
            relation: None,
            max_related: 65_536,
            listener: None,
            timer: Timer::new(),
            membership: Membership::none(),
            view_limit: None,
            sweeps_ended: false,
            errors: None,
            loads: LoadRules { tells_failures: true, ..LoadRules::default() },
        }
    }
}

/// The state of a cache. Handles share it through an `Arc`.
pub struct Engine<K, V, S, R: Reclaim> {
    store: Store<K, V, S, R, Observers<K, V>>,
    rules: EntryRules<K, V>,
    policy: Option<Policy>,
    deadlines: Deadlines,
    due: DueWork,
    timer: Timer,
    /// The loads under way, by the addresses of the records of their first keys.
    flights: Flights<usize, load::LoadOutcome<V>, R>,
    scratch: Scratches<K, V>,
    sweep: Sweep,
    ended: EndedSweep,
    tag_marks: TagMarks,
    errors: Option<Box<RememberedErrors<K, R>>>,
    /// In nanoseconds, or `NEVER`.
    view_limit: u64,
    label: Option<Box<str>>,
    #[cfg(feature = "serde")]
    schema: Box<str>,
}

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Makes an empty cache.
    pub fn new(settings: EngineSettings<K, V>, hasher: S) -> Self {
        let is_weighed = settings.weigher.is_some();
        let policy = settings.max_capacity.map(|capacity| match is_weighed {
            true => Policy::weighing(capacity),
            false => Policy::counting(capacity),
        });
        let hits = if policy.is_some() { State::HITS_COUNTED } else { 0 };
        let times =
            Times::new(settings.time_to_live, settings.time_to_idle, settings.refresh_after)
                .jitter(settings.jitter);
        let (relation, listener) = (settings.relation, settings.listener);
        let config = Config::new(Adjustable { times, relation, listener });
        let timer = settings.timer;
        let observers = Observers::new(config, timer.clone());
        let errors = settings.errors.as_ref();
        let errors = errors.map(|errors| Box::new(RememberedErrors::new(errors, &timer)));
        let are_any = is_weighed || settings.expiry.is_some();
        Self {
            store: Store::new(
                settings.initial_capacity,
                hits,
                settings.membership,
                timer.clone(),
                hasher,
                observers,
            ),
            rules: EntryRules {
                weigher: settings.weigher,
                expiry: settings.expiry,
                are_any,
                name: settings.name,
                max_related: settings.max_related,
            },
            policy,
            deadlines: Deadlines::new(),
            due: DueWork::new(),
            timer,
            flights: Flights::with(settings.loads),
            scratch: Scratches::new(),
            sweep: Sweep::new(),
            ended: EndedSweep::new(settings.sweeps_ended),
            tag_marks: TagMarks::new(),
            errors,
            view_limit: settings.view_limit.map_or(NEVER, |limit| deadline(0, limit)),
            label: settings.label,
            #[cfg(feature = "serde")]
            schema: settings.schema,
        }
    }

    #[inline(always)]
    pub fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u32 {
        self.store.hash(key)
    }
}

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// Takes a guard. Nothing read through it is reclaimed while it lives.
    #[inline(always)]
    pub fn pin(&self) -> R::Guard<'_> {
        self.store.pin()
    }

    /// Takes a guard that the program may keep for long.
    #[inline(always)]
    pub fn pin_for_long(&self) -> R::Guard<'_> {
        self.store.reclaim.pin_for_long()
    }

    /// Returns the number of the newest commit, or 0 before the first.
    pub fn version(&self) -> u64 {
        self.store.version()
    }

    /// Returns the name that the user gave to the cache.
    pub fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }

    /// Returns the name of the types of keys and values, in files.
    #[cfg(feature = "serde")]
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// Returns the bound of the total weight.
    pub fn max_capacity(&self) -> Option<u64> {
        self.policy.as_ref().map(Policy::capacity)
    }

    /// Returns how long entries that are written now are kept.
    pub fn times(&self) -> Times {
        *self.observers().config.snapshot().times()
    }

    /// Returns whether the cache accounts for weights.
    pub(super) fn is_weighed(&self) -> bool {
        self.policy.is_some() || self.rules.weigher.is_some()
    }

    /// Changes settings. All changes by `change` take effect at once. `change` may be called
    /// several times, because other threads may change settings at the same time.
    pub fn reconfigure(&self, change: impl Fn(&mut Adjustable<K, V>)) {
        self.observers().config.change(change);
    }
}

/// Access for models and for tests of the algorithms.
#[cfg(any(coeval_loom, coeval_internals))]
impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns the record of `key`, if there is one.
    pub fn find<'g>(
        &self,
        guard: &'g R::Guard<'_>,
        hash: u32,
        key: &K,
    ) -> Option<crate::chain::RecordRef<'g, K, V>> {
        self.store.find(guard, hash, key)
    }

    /// Prunes a record.
    pub fn prune(&self, guard: &R::Guard<'_>, record: crate::chain::RecordRef<'_, K, V>) {
        self.store.prune(guard, record);
    }
}
