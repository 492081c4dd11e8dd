//! A cache and its model, through the same steps.

use super::model::{Held, Model, Wanted};
use super::program::{Expected, KEYS, Loader, Settings, Step, Write, related, units, weight};
use coeval::reclaim::Reclaim;
use coeval::{Cache, ManualClock, RemovalCause, Version};
use std::collections::BTreeMap;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex};

/// Every run of a program evicts the same.
type Hasher = BuildHasherDefault<DefaultHasher>;
type Store<R> = Cache<u64, u64, Hasher, R>;
type View<R> = coeval::View<u64, u64, Hasher, R>;
type Lease<R> = coeval::Lease<u64, u64, Hasher, R>;
type Event = (u64, u64, RemovalCause, Version);

/// What a view is to show.
type Shown = BTreeMap<u64, Held>;

/// How many views, and leases, are open at most.
const OPEN: usize = 4;

/// Ends the program, without the panic hook's telling of it: a program is tried many times while it is shrunk.
fn fail(what: String) -> ! {
    resume_unwind(Box::new(what))
}

macro_rules! agree {
    ($cache:expr, $model:expr, $($what:tt)+) => {
        let (cache, model) = ($cache, $model);
        if cache != model {
            fail(format!("{}: {cache:?} instead of {model:?}", format!($($what)+)));
        }
    };
}

pub struct Pair<R: Reclaim> {
    settings: Settings,
    cache: Store<R>,
    model: Model,
    clock: ManualClock,
    heard: Arc<Mutex<Vec<Event>>>,
    views: Vec<(View<R>, Shown)>,
    /// As those of the model.
    leases: Vec<Lease<R>>,
    newest: Option<Version>,
    /// The value that is written next: each is another.
    next: u64,
}

impl<R: Reclaim> Pair<R> {
    pub fn new(settings: Settings) -> Self {
        let (clock, heard) = (ManualClock::new(), Arc::<Mutex<Vec<Event>>>::default());
        let mut builder = Cache::builder().manual_clock(&clock);
        if let Some(capacity) = settings.capacity {
            builder = builder.max_capacity(capacity);
        }
        if settings.is_weighed {
            builder = builder.weigher(|_, value| weight(*value));
        }
        if let Some(time) = settings.time_to_live {
            builder = builder.time_to_live(units(time));
        }
        if let Some(time) = settings.time_to_idle {
            builder = builder.time_to_idle(units(time));
        }
        if settings.has_relations {
            builder = builder.related(|key, others| {
                for &(other, value) in related(*key) {
                    match value {
                        Some(value) => others.insert(other, value),
                        None => others.invalidate(other),
                    };
                }
            });
        }
        if settings.is_heard {
            let heard = Arc::clone(&heard);
            builder = builder.eviction_listener(move |key, value, cause, version| {
                heard.lock().unwrap().push((*key, value, cause, version));
            });
        }
        let cache = builder.hasher(Hasher::default()).reclaimer::<R>().build();
        let (model, views, leases) = (Model::new(settings), Vec::new(), Vec::new());
        Self { settings, cache, model, clock, heard, views, leases, newest: None, next: 0 }
    }

    fn value(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// The commit of an operation that has just returned.
    fn commit(&mut self, asked: &[(u64, Wanted, bool)], version: Version) {
        self.is_newer(version);
        self.model.commit(asked, version);
    }

    fn is_newer(&mut self, version: Version) {
        agree!(self.newest < Some(version), true, "{version} is later than {:?}", self.newest);
        agree!(version <= self.cache.version(), true, "{version} is a commit");
        self.newest = Some(version);
    }

    /// Does one step with both.
    pub fn step(&mut self, step: &Step) {
        match step {
            Step::Insert(key) => {
                let value = self.value();
                let version = self.cache.insert(*key, value);
                self.commit(&[(*key, Some((value, None)), true)], version);
            }
            Step::InsertFor(key, time) => {
                let value = self.value();
                let version = self.cache.insert_with_ttl(*key, value, units(*time));
                self.commit(&[(*key, Some((value, Some(*time))), true)], version);
            }
            Step::Remove(key) => {
                let removed = self.cache.remove(key);
                agree!(removed, self.model.remove(*key), "remove");
            }
            Step::Invalidate(key) => self.invalidate(*key),
            Step::InvalidateAll => {
                let version = self.cache.invalidate_all();
                self.is_newer(version);
                self.model.clear();
            }
            Step::Batch(writes) => self.batch(writes),
            Step::CompareAndSet(key, expected) => self.compare_and_set(*key, *expected),
            Step::Get(key) => {
                let found = self.cache.get(key);
                agree!(found, self.model.used(*key).map(|held| held.value), "get");
            }
            Step::GetVersioned(key) => {
                let found = self.cache.get_versioned(key);
                let held = self.model.used(*key);
                let found = found.map(|(value, version)| (value, Some(version)));
                agree!(found, held.map(|held| (held.value, held.version)), "get_versioned");
            }
            Step::GetMany(keys) => {
                let found = self.cache.get_many(keys.each_ref());
                let held = keys.map(|key| self.model.used(key).map(|held| held.value));
                agree!(found, held, "get_many");
            }
            Step::OpenView if self.views.len() < OPEN => {
                self.views.push((self.cache.view(), self.model.present()));
            }
            Step::CloseView(which) if !self.views.is_empty() => {
                let which = which % self.views.len();
                drop(self.views.swap_remove(which));
            }
            Step::ViewAt(which) if !self.views.is_empty() => {
                let (view, shown) = &self.views[which % self.views.len()];
                let shown = self.model.still_there(shown);
                match self.cache.view_at(view.version()) {
                    Some(again) => shows(&again, &shown, "view_at"),
                    None => fail("view_at found no view of a version that a view keeps".into()),
                }
            }
            Step::ViewNow => {
                // Before the first commit there is no version.
                if self.newest.is_some() {
                    match self.cache.view_at(self.cache.version()) {
                        Some(view) => shows(&view, &self.model.present(), "view_at now"),
                        None => fail("view_at found no view of the newest version".into()),
                    }
                }
            }
            Step::Lease(key) if self.leases.len() < OPEN => {
                self.leases.push(self.cache.lease(key));
                self.model.lease(*key);
            }
            Step::Fill(which) if !self.leases.is_empty() => {
                let which = which % self.leases.len();
                self.fill(which);
            }
            Step::GiveBack(which) if !self.leases.is_empty() => {
                let which = which % self.leases.len();
                drop(self.leases.remove(which));
                self.model.leases.remove(which);
            }
            Step::Load(key, loader) => self.load(*key, *loader),
            Step::Advance(time) => {
                self.clock.advance(units(*time));
                self.model.advance(*time);
            }
            Step::OpenView | Step::CloseView(_) | Step::ViewAt(_) => {}
            Step::Lease(_) | Step::Fill(_) | Step::GiveBack(_) => {}
        }
        self.compare();
    }

    /// Relations of a key that is absent are followed if the cache happens to know it yet; so it is handed over.
    fn invalidate(&mut self, key: u64) {
        let version = match self.settings.has_relations && self.model.get(key).is_none() {
            true => self.cache.batch().invalidate(key).commit(),
            false => self.cache.invalidate(&key),
        };
        self.commit(&[(key, None, true)], version);
    }

    fn batch(&mut self, writes: &[Write]) {
        let mut asked = Vec::new();
        for write in writes {
            asked.push(match *write {
                Write::Insert(key) => (key, Some((self.value(), None)), true),
                Write::InsertFor(key, time) => (key, Some((self.value(), Some(time))), true),
                Write::Remove(key) => (key, None, false),
                Write::Invalidate(key) => (key, None, true),
            });
        }
        let mut batch = self.cache.batch();
        for (key, wanted, follow) in &asked {
            batch = match *wanted {
                Some((value, None)) => batch.insert(*key, value),
                Some((value, Some(time))) => batch.insert_with_ttl(*key, value, units(time)),
                None if *follow => batch.invalidate(*key),
                None => batch.remove(*key),
            };
        }
        let version = batch.commit();
        self.commit(&asked, version);
    }

    fn compare_and_set(&mut self, key: u64, expected: Expected) {
        let held = self.model.get(key).and_then(|held| held.version);
        let expected = match expected {
            Expected::Right => held,
            Expected::Absent => None,
            Expected::Newest => self.newest,
        };
        let value = self.value();
        match self.cache.compare_and_set(key, expected, value) {
            Ok(version) => {
                agree!(expected, held, "compare_and_set succeeded with");
                self.commit(&[(key, Some((value, None)), true)], version);
            }
            Err(conflict) => {
                agree!(expected != held, true, "compare_and_set was refused with {expected:?}");
                agree!(conflict.found(), held, "compare_and_set found");
                agree!(conflict.into_value(), Some(value), "compare_and_set gave back");
            }
        }
    }

    fn fill(&mut self, which: usize) {
        let (value, lease) = (self.value(), self.leases.remove(which));
        let (key, is_outdated) = {
            let leased = self.model.leases.remove(which);
            (leased.key, leased.is_outdated)
        };
        let was_outdated = lease.is_outdated();
        match lease.fill(value) {
            Ok(version) => {
                agree!((is_outdated != Some(true), was_outdated), (true, false), "filled");
                self.is_newer(version);
                let wanted = Some((value, None));
                self.model.write(key, wanted, RemovalCause::Replaced, Some(version));
            }
            Err(refused) => {
                agree!((is_outdated != Some(false), was_outdated), (true, true), "refused");
                agree!(refused.into_value(), value, "a refused fill gave back");
            }
        }
    }

    fn load(&mut self, key: u64, loader: Loader) {
        let (value, other) = (self.value(), self.value());
        let held = self.model.used(key).map(|held| held.value);
        let (cache, mut inner) = (self.cache.clone(), None);
        let loaded = cache.try_get_with(key, || match loader {
            Loader::Plain => Ok(value),
            Loader::Inserts => {
                inner = Some(cache.insert(key, other));
                Ok(value)
            }
            Loader::Removes => {
                cache.remove(&key);
                Ok(value)
            }
            Loader::Fails => Err("failed"),
        });
        if let Some(held) = held {
            agree!((loaded, inner), (Ok(held), None), "a load of what is there");
            return;
        }
        let is_failure = matches!(loader, Loader::Fails);
        agree!(loaded.ok(), (!is_failure).then_some(value), "a load");
        match loader {
            Loader::Plain => {
                // Of which commit, only the entry knows, if it was not evicted at once.
                let found = self.cache.view().get_versioned(&key).map(|(_, version)| version);
                if let Some(version) = found {
                    self.is_newer(version);
                }
                self.model.write(key, Some((value, None)), RemovalCause::Replaced, found);
            }
            Loader::Inserts => {
                let version = inner.expect("it was called");
                self.commit(&[(key, Some((other, None)), true)], version);
            }
            Loader::Removes => {
                self.model.remove(key);
            }
            Loader::Fails => {}
        }
    }

    /// Everything that can be looked at without changing it.
    fn compare(&mut self) {
        self.listen();
        let is_told = self.settings.is_heard || self.settings.capacity.is_none();
        for key in 0..KEYS {
            let (there, is_held) = (self.cache.contains_key(&key), self.model.get(key).is_some());
            if is_held && !there && !is_told {
                self.model.lost(key); // evicted; not to come back
                continue;
            }
            agree!(there, is_held, "whether it contains {key}");
        }
        self.compare_sizes();
        shows(&self.cache.view(), &self.model.present(), "a view of now");
        for (view, shown) in &self.views {
            shows(view, shown, "a view");
        }
        for (lease, leased) in self.leases.iter().zip(&mut self.model.leases) {
            let is_outdated = lease.is_outdated();
            agree!(
                is_outdated,
                leased.is_outdated.unwrap_or(is_outdated),
                "a lease on {}",
                leased.key
            );
            if is_outdated {
                leased.is_outdated = Some(true);
            }
        }
        self.newest = self.newest.max(self.newest.map(|_| self.cache.version()));
    }

    /// What the listener heard is what has left.
    fn listen(&mut self) {
        if !self.settings.is_heard {
            return;
        }
        for (key, value, cause, version) in std::mem::take(&mut *self.heard.lock().unwrap()) {
            if !self.model.left(key, value, cause, version) {
                fail(format!("it is not so that {value} left {key} by {version}: {cause}"));
            }
        }
        if !self.model.leaves.is_empty() {
            fail(format!("nothing was heard of {:?}", self.model.leaves));
        }
    }

    fn compare_sizes(&self) {
        let weigh = |value: u64| if self.settings.is_weighed { weight(value).into() } else { 1 };
        let most: u64 = self.model.held.values().map(|held| weigh(held.value)).sum();
        let least: u64 = self.model.present().values().map(|held| weigh(held.value)).sum();
        let (size, len) = (self.cache.weighted_size(), self.cache.len());
        // What is over counts until it is swept out, which the listener tells.
        let least = if self.settings.is_heard { most } else { least };
        if !(least..=most).contains(&size) {
            fail(format!("weighted_size is {size}, not {least} to {most}"));
        }
        let (least, most) = (self.model.present().len(), self.model.held.len());
        let least = if self.settings.is_heard { most } else { least };
        if !(least..=most).contains(&len) {
            fail(format!("len is {len}, not {least} to {most}"));
        }
        if let Some(capacity) = self.settings.capacity
            && size > capacity
        {
            fail(format!("weighted_size is {size}, of {capacity}"));
        }
    }
}

/// The view shows this and nothing else.
fn shows<R: Reclaim>(view: &View<R>, shown: &Shown, what: &str) {
    for key in 0..KEYS {
        let expected = shown.get(&key).map(|held| (held.value, held.version));
        let found = view.get_versioned(&key).map(|(value, version)| (*value, Some(version)));
        agree!(found, expected, "{what}, key {key}");
    }
    let listed: BTreeMap<_, _> = view.iter().map(|(key, value)| (*key, *value)).collect();
    let expected: BTreeMap<_, _> = shown.iter().map(|(key, held)| (*key, held.value)).collect();
    agree!((view.len(), listed), (expected.len(), expected), "{what}, listed");
}
