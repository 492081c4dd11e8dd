//! Random programs, beside a map whose entries have tags: after each step both show the same, and so does every view
//! that is still open.

use super::{Cache, Tag};
use crate::common::random::{Random, run_seed};
use crate::common::{on_every_reclaimer, store, stress};
use coeval::reclaim::Reclaim;
use coeval::{Lease, RandomState, View};
use std::collections::{BTreeMap, BTreeSet};

const KEYS: u64 = 6;
const TAGS: u64 = 4;

#[derive(Clone, Debug)]
struct Entry {
    value: u64,
    tags: BTreeSet<u64>,
    /// Its tags are kept for what is loaded in its place.
    has_ended: bool,
}

type Entries = BTreeMap<u64, Entry>;
/// What each key shows.
type Shown = [Option<u64>; KEYS as usize];
/// And what it is to show.
type Viewed<R> = (View<u64, u64, RandomState, R>, Shown);
/// Of which key, and whether it would be refused.
type Leased<R> = (u64, Lease<u64, u64, RandomState, R>, bool);

struct Pair<R: Reclaim> {
    cache: Cache<R>,
    model: Entries,
    views: Vec<Viewed<R>>,
    leases: Vec<Leased<R>>,
}

fn some_tags(random: &mut Random) -> BTreeSet<u64> {
    (0..random.below(4)).map(|_| random.below(TAGS)).collect()
}

fn as_tags(numbers: &BTreeSet<u64>) -> Vec<Tag> {
    numbers.iter().map(|number| Tag::from(*number)).collect()
}

impl<R: Reclaim> Pair<R> {
    fn shown(&self) -> Shown {
        let shown = |key| self.model.get(&key).filter(|entry| !entry.has_ended);
        std::array::from_fn(|key| shown(key as u64).map(|entry| entry.value))
    }

    /// Somebody wrote the key, or one of its tags was invalidated.
    fn outdate(&mut self, is_it: impl Fn(u64) -> bool) {
        self.leases.iter_mut().for_each(|(key, _, outdated)| *outdated |= is_it(*key));
    }

    fn write(&mut self, key: u64, value: Option<u64>, tags: BTreeSet<u64>) {
        self.outdate(|other| other == key);
        self.model.remove(&key);
        if let Some(value) = value {
            self.model.insert(key, Entry { value, tags, has_ended: false });
        }
    }

    fn fill(&mut self, key: u64, value: u64) {
        let tags = self.model.get(&key).map(|entry| entry.tags.clone()).unwrap_or_default();
        self.write(key, Some(value), tags);
    }

    fn end(&mut self, tag: u64) {
        let mut ended = BTreeSet::new();
        for (key, entry) in self.model.iter_mut().filter(|(_, entry)| entry.tags.contains(&tag)) {
            entry.has_ended = true;
            ended.insert(*key);
        }
        self.outdate(|key| ended.contains(&key));
    }

    fn step(&mut self, value: u64, random: &mut Random) {
        let (key, tags) = (random.below(KEYS), some_tags(random));
        let none = BTreeSet::new();
        match random.below(14) {
            0..3 => {
                self.cache.insert_tagged(key, value, &as_tags(&tags));
                self.write(key, Some(value), tags);
            }
            3 => {
                self.cache.insert(key, value);
                self.write(key, Some(value), none);
            }
            4 => {
                assert_eq!(self.cache.remove(&key), self.shown()[key as usize]);
                self.write(key, None, none);
            }
            5 => {
                let other = (key + 1) % KEYS;
                self.cache.batch().insert(key, value).remove(other).commit();
                self.write(key, Some(value), none.clone());
                self.write(other, None, none);
            }
            6 => {
                self.cache.tag(key, &as_tags(&tags));
                if let Some(entry) = self.model.get_mut(&key).filter(|entry| !entry.has_ended) {
                    entry.tags.extend(tags);
                    self.outdate(|other| other == key);
                }
            }
            7 if random.one_in(4) => {
                self.cache.invalidate_all();
                self.model.clear();
                self.outdate(|_| true);
            }
            7 | 8 => {
                let tag = random.below(TAGS);
                self.cache.invalidate_tag(tag);
                self.end(tag);
            }
            9 | 10 => {
                let loaded = self.cache.get_with(key, || value);
                let found = self.shown()[key as usize];
                assert_eq!(loaded, found.unwrap_or(value));
                if found.is_none() {
                    self.fill(key, value);
                }
            }
            11 if self.leases.len() < 4 => {
                self.leases.push((key, self.cache.lease(&key), false));
            }
            12 if !self.leases.is_empty() => {
                let which = random.below(self.leases.len() as u64) as usize;
                let (key, lease, outdated) = self.leases.swap_remove(which);
                assert_eq!(lease.fill(value).is_err(), outdated, "a fill of {key}");
                if !outdated {
                    self.fill(key, value);
                }
            }
            _ if self.views.len() < 4 => self.views.push((self.cache.view(), self.shown())),
            _ => {
                let which = random.below(self.views.len() as u64) as usize;
                drop(self.views.swap_remove(which));
            }
        }
    }

    fn compare(&self) {
        let shown = self.shown();
        let one_by_one = std::array::from_fn(|key| self.cache.get(&(key as u64)));
        assert_eq!(one_by_one, shown);
        assert_eq!(self.cache.get_many([&0, &1, &2, &3, &4, &5]), shown);
        for (view, shown) in &self.views {
            let found = std::array::from_fn(|key| view.get(&(key as u64)).copied());
            assert_eq!(found, *shown, "a view of {}", view.version());
            assert_eq!(view.iter().count(), shown.iter().flatten().count());
        }
    }
}

fn random_programs<R: Reclaim>() {
    let seed = run_seed();
    for program in 0..stress(60, 600, 20_000) {
        let mut random = Random::new(seed ^ program << 32);
        let (views, leases) = (Vec::new(), Vec::new());
        let mut pair: Pair<R> = Pair { cache: store(), model: Entries::new(), views, leases };
        for value in 0..300 {
            pair.step(value, &mut random);
            pair.compare();
        }
    }
}

on_every_reclaimer!(random_programs);
