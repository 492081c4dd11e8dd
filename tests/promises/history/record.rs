//! The recorder: threads that run random operations on a cache and record what they saw.

use super::{Key, Op, Read, Seen, Value, What};
use crate::common::random::Random;
use crate::common::{Store, together};
use coeval::Version;
use coeval::reclaim::Reclaim;
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Instant;

/// A value that carries a number.
pub trait Payload: Clone + Send + Sync + 'static {
    fn new(value: Value) -> Self;
    fn read(&self) -> Value;
}

/// Fits into the room of a record.
impl Payload for u64 {
    fn new(value: Value) -> Self {
        value
    }
    fn read(&self) -> Value {
        *self
    }
}

/// Owns memory, and detects a read during or after its release.
#[derive(Clone)]
pub struct Large(Box<[Value; 6]>);

impl Payload for Large {
    fn new(value: Value) -> Self {
        Self(Box::new([value; 6]))
    }
    fn read(&self) -> Value {
        assert!(self.0.iter().all(|part| *part == self.0[0]), "torn value {:?}", self.0);
        self.0[0]
    }
}

/// A plan of what the threads do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub threads: usize,
    pub ops: usize,
    /// Recorded keys are below this number.
    pub keys: Key,
    /// Whether keys have the relations of [`related`].
    pub relations: bool,
    /// Whether threads also insert keys that are not recorded, so that the cache grows.
    pub growth: bool,
}

/// The relations of a plan: the key that a write of `key` invalidates. They chain: 0 → 1 → 3.
pub fn related(key: Key) -> Option<Key> {
    match key % 4 {
        0 => Some(key + 1),
        1 => Some(key + 2),
        _ => None,
    }
}

/// Runs a plan on a cache and returns the history. The cache must be empty, because the history
/// does not explain earlier contents.
pub fn run<V: Payload, R: Reclaim>(
    cache: &Store<Key, V, R>,
    plan: Plan,
    seed: u64,
) -> Vec<Op<Version>> {
    let began = Instant::now();
    let all = Mutex::new(Vec::new());
    together(plan.threads, |thread| {
        let random = Random::new(seed ^ (thread as u64) << 32);
        let mut recorder = Recorder {
            cache,
            plan,
            thread,
            random,
            began,
            written: 0,
            known: HashMap::new(),
            ops: Vec::with_capacity(plan.ops),
        };
        let mut view = None;
        for _ in 0..plan.ops {
            recorder.step(&mut view);
        }
        all.lock().unwrap().append(&mut recorder.ops);
    });
    all.into_inner().unwrap()
}

struct Recorder<'a, V: Payload, R: Reclaim> {
    cache: &'a Store<Key, V, R>,
    plan: Plan,
    thread: usize,
    random: Random,
    began: Instant,
    written: u64,
    /// The last version of each key that this thread saw.
    known: HashMap<Key, Option<Version>>,
    ops: Vec<Op<Version>>,
}

/// A view in use: the index of the history entry that collects its reads, and the view.
type Open<W> = Option<(usize, W)>;

impl<V: Payload, R: Reclaim> Recorder<'_, V, R> {
    fn now(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    /// Runs `call` and records when; `what` converts its result.
    fn record<T>(
        &mut self,
        call: impl FnOnce(&Self) -> T,
        what: impl FnOnce(&T) -> What<Version>,
    ) -> T {
        let start = self.now();
        let result = call(self);
        let end = self.now();
        let what = what(&result);
        self.ops.push(Op { thread: self.thread, start, end, what });
        result
    }

    fn key(&mut self) -> Key {
        self.random.below(self.plan.keys.into()) as Key
    }

    fn value(&mut self) -> Value {
        self.written += 1;
        (self.thread as u64) << 40 | self.written
    }

    fn step(&mut self, view: &mut Open<coeval::View<Key, V, coeval::RandomState, R>>) {
        match self.random.below(100) {
            0..14 => self.insert(),
            14..20 => self.remove(),
            20..23 => self.invalidate(),
            23..25 => self.clear(),
            25..41 => self.batch(),
            41..50 => self.get(),
            50..60 => self.get_versioned(),
            60..72 => self.get_many(),
            72..80 => self.compare_and_set(),
            80..88 => self.transact(),
            88..98 => self.use_view(view),
            _ => self.version(),
        }
        if self.plan.growth {
            let filler = 1_000 + self.random.below(1 << 20) as Key;
            self.cache.insert(filler, V::new(0));
        }
        if self.random.one_in(16) {
            std::thread::yield_now();
        }
    }

    /// All writes of a commit of `writes`, including those by relations.
    fn with_related(&self, mut writes: Vec<(Key, Option<Value>)>) -> Vec<(Key, Option<Value>)> {
        let mut next = 0;
        while self.plan.relations && next < writes.len() {
            if let Some(key) = related(writes[next].0)
                && writes.iter().all(|(other, _)| *other != key)
            {
                writes.push((key, None));
            }
            next += 1;
        }
        writes
    }

    fn insert(&mut self) {
        let (key, value) = (self.key(), self.value());
        let writes = self.with_related(vec![(key, Some(value))]);
        let version = self.record(
            |this| this.cache.insert(key, V::new(value)),
            |&version| What::Commit { version, writes, found: Vec::new() },
        );
        self.known.insert(key, Some(version));
    }

    fn remove(&mut self) {
        let key = self.key();
        self.record(
            |this| this.cache.remove(&key).map(|value| value.read()),
            |removed| match removed {
                Some(value) => What::Remove { key, value: *value },
                None => seen(vec![(key, Seen::Absent)]),
            },
        );
        self.known.insert(key, None);
    }

    fn invalidate(&mut self) {
        let key = self.key();
        let writes = self.with_related(vec![(key, None)]);
        self.record(
            // A look-up alone cannot ask for the relations of an absent key.
            |this| match this.plan.relations {
                true => this.cache.batch().invalidate(key).commit(),
                false => this.cache.invalidate(&key),
            },
            |&version| What::Commit { version, writes, found: Vec::new() },
        );
    }

    fn clear(&mut self) {
        // Otherwise all keys that are not recorded would have to come back.
        if !self.plan.growth || self.random.one_in(8) {
            self.record(|this| this.cache.invalidate_all(), |&version| What::Clear { version });
        }
    }

    fn batch(&mut self) {
        let mut writes: Vec<(Key, Option<Value>)> = Vec::new();
        let mut batch = self.cache.batch();
        for _ in 0..1 + self.random.below(6) {
            let key = self.key();
            writes.retain(|(other, _)| *other != key);
            if self.random.one_in(3) {
                writes.push((key, None));
                // With relations, `remove` and `invalidate` differ; see `with_related`.
                let remove = !self.plan.relations && self.random.one_in(2);
                batch = if remove { batch.remove(key) } else { batch.invalidate(key) };
            } else {
                let value = self.value();
                writes.push((key, Some(value)));
                batch = batch.insert(key, V::new(value));
            }
        }
        let writes = self.with_related(writes);
        self.record(
            |_| batch.commit(),
            |&version| What::Commit { version, writes, found: Vec::new() },
        );
    }

    fn get(&mut self) {
        let key = self.key();
        self.record(
            |this| this.cache.get(&key).map(|value| value.read()),
            |found| seen(vec![(key, found.map_or(Seen::Absent, Seen::Value))]),
        );
    }

    fn get_versioned(&mut self) {
        let key = self.key();
        let found = self.record(
            |this| this.cache.get_versioned(&key).map(|(value, version)| (value.read(), version)),
            |found| seen(vec![(key, at(*found))]),
        );
        self.known.insert(key, found.map(|(_, version)| version));
    }

    fn get_many(&mut self) {
        let keys: [Key; 4] = std::array::from_fn(|_| self.key());
        self.record(
            |this| this.cache.get_many(keys.each_ref()).map(|found| found.map(|v| v.read())),
            |found| {
                let each = |found: &Option<Value>| found.map_or(Seen::Absent, Seen::Value);
                seen(keys.into_iter().zip(found.iter().map(each)).collect())
            },
        );
    }

    fn compare_and_set(&mut self) {
        let key = self.key();
        // This thread's knowledge of the key may be old. Absent is a good guess now and then.
        let known = self.known.get(&key).copied().flatten();
        let expected = known.filter(|_| !self.random.one_in(4));
        let value = self.value();
        let writes = self.with_related(vec![(key, Some(value))]);
        let outcome = self.record(
            |this| this.cache.compare_and_set(key, expected, V::new(value)),
            |outcome| match outcome {
                &Ok(version) => {
                    let found = vec![(key, expected.map_or(Seen::Absent, Seen::Version))];
                    What::Commit { version, writes, found }
                }
                Err(conflict) => What::Refused { key, expected, found: conflict.found() },
            },
        );
        let now = match outcome {
            Ok(version) => Some(version),
            Err(conflict) => {
                let found = conflict.found();
                let back = conflict.into_value::<V>().expect("a conflict hands the value back");
                assert_eq!(back.read(), value);
                found
            }
        };
        self.known.insert(key, now);
    }

    /// Reads some keys, and writes some.
    fn transact(&mut self) {
        let mut reads: Vec<Key> = (0..self.random.below(4)).map(|_| self.key()).collect();
        reads.sort_unstable();
        reads.dedup();
        let mut writes: Vec<(Key, Option<Value>)> = Vec::new();
        for _ in 0..self.random.below(3) {
            let key = self.key();
            let value = (!self.random.one_in(3)).then(|| self.value());
            writes.retain(|(other, _)| *other != key);
            writes.push((key, value));
        }
        let all = self.with_related(writes.clone());
        let _ = self.record(
            |this| {
                this.cache.transact(|tx| {
                    let found = reads.iter().map(|key| (*key, tx.get(key).map(|v| v.read())));
                    let found: Vec<_> = found.collect();
                    for (key, value) in &writes {
                        match value {
                            Some(value) => tx.insert(*key, V::new(*value)),
                            None => tx.invalidate(*key),
                        }
                    }
                    Ok::<_, std::convert::Infallible>(found)
                })
            },
            |outcome| {
                // A transaction that was disturbed each time did not happen.
                let Ok(committed) = outcome else { return seen(Vec::new()) };
                let each = |found: Option<Value>| found.map_or(Seen::Absent, Seen::Value);
                let found = committed.value.iter().map(|(key, found)| (*key, each(*found)));
                let (version, found) = (committed.version, found.collect());
                match all.is_empty() {
                    true => {
                        What::Read(Read { seen: found, version: Some(version), historic: false })
                    }
                    false => What::Commit { version, writes: all, found },
                }
            },
        );
    }

    fn version(&mut self) {
        self.record(
            |this| this.cache.version(),
            |&version| {
                What::Read(Read { seen: Vec::new(), version: Some(version), historic: false })
            },
        );
    }

    /// Opens a view, reads through the open one, or closes it.
    fn use_view(&mut self, view: &mut Open<coeval::View<Key, V, coeval::RandomState, R>>) {
        let Some((entry, open)) = view.as_ref() else {
            *view = self.open_view();
            return;
        };
        let mut saw = Vec::new();
        if self.random.one_in(4) {
            let listed: HashMap<Key, Value> =
                open.iter().map(|(key, value)| (*key, value.read())).collect();
            assert_eq!(open.len(), open.iter().count(), "a view's length and its entries differ");
            for key in 0..self.plan.keys {
                saw.push((key, listed.get(&key).copied().map_or(Seen::Absent, Seen::Value)));
            }
        }
        for _ in 0..self.random.below(4) {
            let key = self.key();
            let found = open.get_versioned(&key).map(|(value, version)| (value.read(), version));
            assert_eq!(open.contains_key(&key), found.is_some());
            assert_eq!(open.get(&key).map(V::read), found.map(|found| found.0));
            saw.push((key, at(found)));
        }
        let What::Read(read) = &mut self.ops[*entry].what else { unreachable!("it is a view") };
        read.seen.append(&mut saw);
        if self.random.one_in(6) {
            *view = None;
        }
    }

    fn open_view(&mut self) -> Open<coeval::View<Key, V, coeval::RandomState, R>> {
        let wanted = self.random.one_in(4).then(|| {
            // A version of the recent past. It may be gone, and then there is no view.
            let known = self.known.values().flatten().min().copied();
            known.filter(|_| self.random.one_in(2)).unwrap_or_else(|| self.cache.version())
        });
        let start = self.now();
        let view = match wanted {
            Some(version) => self.cache.view_at(version)?,
            None => self.cache.view(),
        };
        let end = self.now();
        if let Some(wanted) = wanted {
            assert_eq!(view.version(), wanted, "view_at shows the version that was asked for");
        }
        let (version, historic) = (Some(view.version()), wanted.is_some());
        let what = What::Read(Read { seen: Vec::new(), version, historic });
        self.ops.push(Op { thread: self.thread, start, end, what });
        Some((self.ops.len() - 1, view))
    }
}

fn seen(seen: Vec<(Key, Seen<Version>)>) -> What<Version> {
    What::Read(Read { seen, version: None, historic: false })
}

fn at(found: Option<(Value, Version)>) -> Seen<Version> {
    found.map_or(Seen::Absent, |(value, version)| Seen::At(value, version))
}
