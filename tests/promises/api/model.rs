//! Random single-threaded sequences of operations, against a model that keeps its whole past.

use crate::common::random::{Random, run_seed};
use crate::common::{Store, on_every_reclaimer, store, stress};
use coeval::Version;
use coeval::reclaim::Reclaim;
use std::collections::BTreeMap;

/// The expected content of a cache: the value of each key, and the version that wrote it.
type State = BTreeMap<u64, (String, Version)>;
type View<R> = coeval::View<u64, String, coeval::RandomState, R>;

struct Pair<R: Reclaim> {
    cache: Store<u64, String, R>,
    state: State,
    newest: Option<Version>,
    /// How many values were cleared and may not have been swept yet.
    cleared: u64,
    views: Vec<(View<R>, State)>,
    random: Random,
    written: u64,
}

fn agrees_with_the_model<R: Reclaim>() {
    let mut seeds = Random::new(run_seed());
    for _ in 0..stress(60, 1_000, 50_000) {
        let seed = seeds.next();
        let result = std::panic::catch_unwind(|| {
            let random = Random::new(seed);
            let (cache, views) = (store::<u64, String, R>(), Vec::new());
            let (state, newest, written, cleared) = (State::new(), None, 0, 0);
            let mut pair = Pair { cache, state, newest, views, random, written, cleared };
            let keys = [1, 4, 30, 500][pair.random.below(4) as usize];
            for _ in 0..300 {
                pair.step(keys);
            }
            pair.compare(keys);
        });
        if let Err(panic) = result {
            println!("the sequence of seed {seed} failed");
            std::panic::resume_unwind(panic);
        }
    }
}

impl<R: Reclaim> Pair<R> {
    fn step(&mut self, keys: u64) {
        let key = self.random.below(keys);
        match self.random.below(100) {
            0..25 => {
                let value = self.value();
                let version = self.cache.insert(key, value.clone());
                self.commit(version, vec![(key, Some(value))]);
            }
            25..35 => {
                let removed = self.cache.remove(&key);
                let held = self.state.remove(&key);
                assert_eq!(removed, held.map(|(value, _)| value));
                if removed.is_some() {
                    let version = self.cache.version();
                    assert!(self.newest < Some(version), "a removal is a commit");
                    self.newest = Some(version);
                }
            }
            35..40 => {
                let version = self.cache.invalidate(&key);
                self.commit(version, vec![(key, None)]);
            }
            40..55 => self.batch(keys),
            55..70 => self.compare_and_set(key),
            70 => {
                self.cleared += self.state.len() as u64;
                let version = self.cache.invalidate_all();
                self.commit(version, self.state.keys().map(|key| (*key, None)).collect());
            }
            71..80 => self.views.push((self.cache.view(), self.state.clone())),
            80..88 => {
                if !self.views.is_empty() {
                    let at = self.random.below(self.views.len() as u64) as usize;
                    self.views.swap_remove(at);
                }
            }
            _ => self.compare(keys),
        }
        self.read(key, keys);
    }

    fn value(&mut self) -> String {
        self.written += 1;
        format!("value {}", self.written)
    }

    fn commit(&mut self, version: Version, writes: Vec<(u64, Option<String>)>) {
        assert!(self.newest < Some(version), "{version} after {:?}", self.newest);
        // For each value that was cleared, the cache may have made one commit of its own, to sweep
        // it; no other.
        let own = self.cache.version().get() - version.get();
        assert!(own <= self.cleared, "{own} commits after {version}, {} cleared", self.cleared);
        self.cleared -= own;
        self.newest = Some(version);
        for (key, value) in writes {
            match value {
                Some(value) => self.state.insert(key, (value, version)),
                None => self.state.remove(&key),
            };
        }
    }

    fn batch(&mut self, keys: u64) {
        let (mut batch, mut writes) = (self.cache.batch(), Vec::new());
        let (mut random, written) = (self.random.clone(), &mut self.written);
        for _ in 0..random.below(10) {
            let key = random.below(keys);
            let value = (!random.one_in(3)).then(|| {
                *written += 1;
                format!("value {written}")
            });
            batch = match &value {
                Some(value) => batch.insert(key, value.clone()),
                None if random.one_in(2) => batch.remove(key),
                None => batch.invalidate(key),
            };
            writes.push((key, value));
        }
        if random.one_in(5) || writes.is_empty() {
            drop(batch);
        } else {
            let version = batch.commit();
            self.commit(version, writes);
        }
        self.random = random;
    }

    fn compare_and_set(&mut self, key: u64) {
        let held = self.state.get(&key).map(|(_, version)| *version);
        let expected = match self.random.below(4) {
            0 => None,
            1 => self.newest,
            _ => held,
        };
        let value = self.value();
        match self.cache.compare_and_set(key, expected, value.clone()) {
            Ok(version) => {
                assert_eq!(expected, held, "the set should have been refused");
                self.commit(version, vec![(key, Some(value))]);
            }
            Err(conflict) => {
                assert_ne!(expected, held, "the set should have succeeded");
                assert_eq!(conflict.found(), held);
                assert_eq!(conflict.into_value(), Some(value));
            }
        }
    }

    fn read(&mut self, key: u64, keys: u64) {
        let held = self.state.get(&key);
        assert_eq!(self.cache.get_versioned(&key), held.cloned());
        assert_eq!(self.cache.get(&key).as_ref(), held.map(|(value, _)| value));
        assert_eq!(self.cache.pin().get(&key), held.map(|(value, _)| value));
        assert_eq!(self.cache.contains_key(&key), held.is_some());
        assert_eq!(self.cache.len(), self.state.len());
        assert_eq!(self.cache.is_empty(), self.state.is_empty());
        let three = [key, self.random.below(keys), self.random.below(keys)];
        let expected = three.map(|key| self.state.get(&key).map(|(value, _)| value.clone()));
        assert_eq!(self.cache.get_many(three.each_ref()), expected);
    }

    /// Compares everything, as of now and in every view.
    fn compare(&mut self, keys: u64) {
        let now = self.cache.view();
        for (view, state) in self.views.iter().chain([&(now, self.state.clone())]) {
            for key in 0..keys {
                let held = state.get(&key).map(|(value, version)| (value, *version));
                assert_eq!(view.get_versioned(&key), held);
                assert_eq!(view.get(&key), held.map(|(value, _)| value));
                assert_eq!(view.contains_key(&key), held.is_some());
            }
            let listed: BTreeMap<_, _> = view.iter().collect();
            assert_eq!((view.len(), view.iter().count()), (state.len(), state.len()));
            assert!(listed.into_iter().eq(state.iter().map(|(key, (value, _))| (key, value))));
            let same = self.cache.view_at(view.version()).expect("a view of it is kept");
            assert_eq!((same.version(), same.len()), (view.version(), state.len()));
        }
    }
}

on_every_reclaimer!(agrees_with_the_model);
