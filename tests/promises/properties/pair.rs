//! A cache and its model, which run the same steps.

use super::compare::{agree, fail, shows};
use super::model::{Asked, Model};
use super::program::{Expected, KEYS, Meanwhile, Settings, Step, Write, related, units, weight};
use super::state::{Stamp, State};
use coeval::reclaim::Reclaim;
use coeval::{Cache, ManualClock, RemovalCause, Repair, Tag, Version};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::rc::Rc;
use std::sync::{Arc, Mutex};

/// With a fixed hasher, every run of a program evicts the same entries.
pub type Hasher = BuildHasherDefault<DefaultHasher>;
pub type Store<R> = Cache<u64, u64, Hasher, R>;
pub type View<R> = coeval::View<u64, u64, Hasher, R>;
type Lease<R> = coeval::Lease<u64, u64, Hasher, R>;
type Event = (u64, u64, RemovalCause, Version);

/// The most views, and the most leases, that are open at once.
const OPEN: usize = 4;

/// An open view, what it must show, and the time at which it was opened.
pub struct Open<R: Reclaim> {
    pub view: View<R>,
    pub shown: Rc<State>,
    pub opened: u64,
}

pub struct Pair<R: Reclaim> {
    pub cache: Store<R>,
    pub model: Model,
    clock: ManualClock,
    pub heard: Arc<Mutex<Vec<Event>>>,
    pub views: Vec<Open<R>>,
    /// In the order of the model's leases.
    pub leases: Vec<Lease<R>>,
    pub newest: Option<Version>,
    /// The newest stamp and version at the last comparison.
    pub compared: (Stamp, Option<Version>),
    /// The value of the next write. Every value is unique.
    next: u64,
    /// The numbers of fills and of refused fills when they were last noted.
    pub fills: (u64, u64),
}

fn as_tags(numbers: &[u64]) -> Vec<Tag> {
    numbers.iter().map(|number| Tag::from(*number)).collect()
}

fn build<R: Reclaim>(
    settings: &Settings,
    clock: &ManualClock,
    heard: &Arc<Mutex<Vec<Event>>>,
) -> Store<R> {
    let mut builder = Cache::builder().manual_clock(clock);
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
    if let Some(time) = settings.refresh_after {
        builder = builder.refresh_after(units(time));
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
        let heard = Arc::clone(heard);
        builder = builder.eviction_listener(move |key, value, cause, version| {
            heard.lock().unwrap().push((*key, value, cause, version));
        });
    }
    builder.hasher(Hasher::default()).reclaimer::<R>().build()
}

impl<R: Reclaim> Pair<R> {
    pub fn new(settings: &Settings) -> Self {
        let (clock, heard) = (ManualClock::new(), Arc::default());
        let cache = build(settings, &clock, &heard);
        let (model, views, leases) = (Model::new(settings.clone()), Vec::new(), Vec::new());
        let (newest, compared, next, fills) = (None, (0, None), 0, (0, 0));
        Self { cache, model, clock, heard, views, leases, newest, compared, next, fills }
    }

    pub fn value(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Processes the commit of an operation that has just returned.
    pub fn commit(&mut self, asked: Vec<Asked>, version: Version) {
        self.is_newer(version);
        self.model.commit(asked, version);
    }

    pub fn is_newer(&mut self, version: Version) {
        agree!(self.newest < Some(version), true, "{version} is later than {:?}", self.newest);
        agree!(version <= self.cache.version(), true, "{version} is a commit");
        self.newest = Some(version);
    }

    /// Runs one step on both.
    pub fn step(&mut self, step: &Step) {
        let opens_one = matches!(step, Step::Derive(..) | Step::Monitor(_) | Step::Transact(..));
        self.model.is_viewed = opens_one || !self.views.is_empty();
        match step {
            Step::Insert(key) => self.insert(*key),
            Step::InsertFor(key, time) => {
                let value = self.value();
                let version = self.cache.insert_with_ttl(*key, value, units(*time));
                self.commit(vec![Asked::set(*key, value).kept_for(*time)], version);
            }
            Step::InsertTagged(key, tags) => {
                let value = self.value();
                let version = self.cache.insert_tagged(*key, value, &as_tags(tags));
                self.commit(vec![Asked { tags: tags.clone(), ..Asked::set(*key, value) }], version);
            }
            Step::Tag(key, tags) => {
                let version = self.cache.tag(*key, &as_tags(tags));
                self.is_newer(version);
                self.model.tag(*key, tags, version);
            }
            Step::InvalidateTag(tag) => self.invalidate_tag(*tag),
            Step::Remove(key) => self.remove(*key),
            Step::Invalidate(key) => self.invalidate(*key),
            Step::InvalidateAll => self.invalidate_all(),
            Step::Batch(writes) => self.batch(writes),
            Step::Transact(reads, writes, meanwhile) => self.transact(*reads, writes, *meanwhile),
            Step::CompareAndSet(key, expected) => self.compare_and_set(*key, *expected),
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
            Step::Load(key, loader, meanwhile) => self.load(*key, *loader, *meanwhile),
            Step::Derive(key, meanwhile) => self.derive(*key, *meanwhile),
            Step::Prewarm(keys) => self.prewarm(keys),
            Step::Monitor(repairs) => self.monitor(*repairs),
            Step::Advance(time) => {
                self.clock.advance(units(*time));
                self.model.advance(*time);
            }
            step => self.look(step),
        }
        self.compare();
    }

    /// Runs one of the steps that write nothing.
    fn look(&mut self, step: &Step) {
        match step {
            Step::Get(key) => {
                let found = self.cache.get(key);
                agree!(found, self.model.used(*key).map(|held| held.value), "get");
                self.use_all();
            }
            Step::GetVersioned(key) => {
                let found = self.cache.get_versioned(key);
                let held = self.model.used(*key);
                let found = found.map(|(value, version)| (value, Some(version)));
                agree!(found, held.map(|held| (held.value, held.version)), "get_versioned");
                self.use_all();
            }
            Step::GetMany(keys) => {
                let found = self.cache.get_many(keys.each_ref());
                let held = keys.map(|key| self.model.used(key).map(|held| held.value));
                agree!(found, held, "get_many");
                self.use_all();
            }
            Step::OpenView if self.views.len() < OPEN => {
                let shown = Rc::new(self.model.state.clone());
                self.views.push(Open { view: self.cache.view(), shown, opened: self.model.now });
            }
            Step::CloseView(which) if !self.views.is_empty() => {
                let which = which % self.views.len();
                drop(self.views.swap_remove(which));
            }
            Step::ViewAt(which) if !self.views.is_empty() => {
                self.look_at(self.views[which % self.views.len()].view.version(), "view_at");
            }
            // Before the first commit there is no version.
            Step::ViewNow if self.newest.is_some() => {
                self.look_at(self.cache.version(), "view_at now");
            }
            _ => {}
        }
    }

    /// Looks at a view of this version, which is the newest or kept by other views. It must show
    /// what the last of those shows.
    fn look_at(&self, version: Version, what: &str) {
        let Some(again) = self.cache.view_at(version) else { fail(format!("{what}: none")) };
        let same = self.views.iter().filter(|open| open.view.version() == version);
        match same.max_by_key(|open| open.opened) {
            Some(Open { shown, opened, .. }) => shows(&again, &shown.all(*opened), what),
            None => shows(&again, &self.model.present(), what),
        }
    }

    /// Called after a look-up that counts as a use. For a value that has ended, the model cannot
    /// tell which of its inputs were read, so all values are used. Called also before a look-up
    /// that may replace others, because views that show those extend their life.
    pub fn use_all(&mut self) {
        if self.model.settings.has_ties && self.model.settings.time_to_idle.is_some() {
            for key in 0..KEYS {
                agree!(self.cache.get(&key), self.model.get(key).map(|held| held.value), "get");
            }
            self.model.all_used();
        }
    }

    /// Does what another thread does during a load.
    pub fn meanwhile(&mut self, meanwhile: Option<Meanwhile>) {
        match meanwhile {
            None => return,
            Some(Meanwhile::Insert(key)) => self.insert(key),
            Some(Meanwhile::Remove(key)) => self.remove(key),
            Some(Meanwhile::InvalidateTag(tag)) => self.invalidate_tag(tag),
            Some(Meanwhile::InvalidateAll) => self.invalidate_all(),
        }
        self.hear();
    }

    fn insert(&mut self, key: u64) {
        let value = self.value();
        let version = self.cache.insert(key, value);
        self.commit(vec![Asked::set(key, value)], version);
    }

    fn remove(&mut self, key: u64) {
        let removed = self.cache.remove(&key);
        agree!(removed, self.model.remove(key), "remove");
    }

    fn invalidate_tag(&mut self, tag: u64) {
        let version = self.cache.invalidate_tag(tag);
        self.is_newer(version);
        self.model.invalidate_tag(tag);
    }

    fn invalidate_all(&mut self) {
        let version = self.cache.invalidate_all();
        self.is_newer(version);
        self.model.clear();
        if self.model.settings.has_ties {
            // Processes the expiry at once. Otherwise the model could not tell whether a value
            // derived from the absence of the key ends at that time.
            for key in 0..KEYS {
                drop(self.cache.lease(&key));
                self.model.claim(key);
            }
            self.newest = Some(self.cache.version());
        }
    }

    /// The relations of an absent key are followed only if the cache still knows the key, so this
    /// passes the key by value.
    fn invalidate(&mut self, key: u64) {
        let is_absent = self.model.get(key).is_none();
        if is_absent && self.model.settings.has_relations {
            let version = self.cache.batch().invalidate(key).commit();
            return self.commit(vec![Asked::unset(key, true)], version);
        }
        let version = self.cache.invalidate(&key);
        if is_absent {
            self.is_newer(version);
            self.model.remove(key);
        } else {
            self.commit(vec![Asked::unset(key, true)], version);
        }
    }

    fn batch(&mut self, writes: &[Write]) {
        let (cache, mut asked) = (self.cache.clone(), Vec::new());
        let mut batch = cache.batch();
        for write in writes {
            batch = match *write {
                Write::Insert(key) => {
                    asked.push(Asked::set(key, self.value()));
                    batch.insert(key, self.next)
                }
                Write::InsertFor(key, time) => {
                    asked.push(Asked::set(key, self.value()).kept_for(time));
                    batch.insert_with_ttl(key, self.next, units(time))
                }
                Write::Remove(key) => {
                    asked.push(Asked::unset(key, false));
                    batch.remove(key)
                }
                Write::Invalidate(key) => {
                    asked.push(Asked::unset(key, true));
                    batch.invalidate(key)
                }
            };
        }
        let version = batch.commit();
        self.commit(asked, version);
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
                if expected.is_none() {
                    // A value that had ended is removed first, by a commit of its own.
                    self.model.remove(key);
                }
                self.commit(vec![Asked::set(key, value)], version);
            }
            Err(conflict) => {
                agree!(expected != held, true, "compare_and_set was refused with {expected:?}");
                agree!(conflict.found(), held, "compare_and_set found");
                agree!(conflict.into_value(), Some(value), "compare_and_set gave back");
            }
        }
    }

    /// Each pair of a key and an older related key is a mismatch. A repair removes the related key,
    /// once.
    fn monitor(&mut self, repairs: bool) {
        let present = self.model.present();
        let mut older = Vec::new();
        for (key, held) in &present {
            let group = match self.model.settings.has_relations {
                true => group(*key),
                false => Vec::new(),
            };
            let is_older =
                |other: &u64| present.get(other).is_some_and(|it| it.version < held.version);
            older.extend(group.into_iter().filter(is_older));
        }
        let mismatches = older.len() as u64;
        let mut monitor = self.cache.monitor().on_mismatch(move |_| match repairs {
            true => Repair::Invalidate,
            false => Repair::Leave,
        });
        let report = monitor.step(1_000_000);
        agree!((report.keys, report.rounds), (present.len() as u64, 1), "what a monitor saw");
        agree!(report.mismatches, mismatches, "what a monitor found");
        older.sort_unstable();
        older.dedup();
        let repaired = if repairs { older.len() as u64 } else { 0 };
        agree!(report.repaired, repaired, "what a monitor repaired");
        for key in older.into_iter().filter(|_| repairs) {
            self.model.next();
            self.model.write(key, None, RemovalCause::Related, None);
        }
    }
}

/// The keys that a write of `key` also writes.
fn group(key: u64) -> Vec<u64> {
    let (mut group, mut at) = (vec![key], 0);
    while at < group.len() {
        let others = related(group[at]).iter().map(|(other, _)| *other);
        let more: Vec<_> = others.filter(|other| !group.contains(other)).collect();
        group.extend(more);
        at += 1;
    }
    group.split_off(1)
}
