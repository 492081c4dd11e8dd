//! Caches with room for next to nothing, whose listener hears of each value that leaves, once.

use crate::common::random::Random;
use crate::common::turns::in_turns;
use crate::common::{alone, on_every_reclaimer, stress};
use crate::operations::Fixed;
use crate::orders;
use coeval::reclaim::{Asymmetric, Reclaim};
use coeval::{Loaded, ManualClock, Tag, Terms};
use std::any::TypeId;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A value has its weight in the low bits, and a number of its own in the others.
type Cache<R> = coeval::Cache<u64, u64, Fixed, R>;

const WEIGHT: u64 = 16;
/// Marks a value that its maker may keep for itself: a load that was overtaken is not set.
const LOADED: u64 = 1 << 60;
const TAG: u64 = 1;

/// One thread, and the values that it has set.
struct Worker<'c, R: Reclaim> {
    cache: &'c Cache<R>,
    random: Random,
    capacity: u64,
    next: u64,
    set: Vec<u64>,
}

impl<'c, R: Reclaim> Worker<'c, R> {
    fn new(cache: &'c Cache<R>, random: Random, capacity: u64, number: u64) -> Self {
        Self { cache, random, capacity, next: number << 32, set: Vec::new() }
    }

    /// A value that no other write has.
    fn value(&mut self) -> u64 {
        self.next += WEIGHT;
        self.next + 1 + self.random.below(self.capacity)
    }

    /// One operation by chance.
    fn act(&mut self) {
        let (key, value, cache) = (self.random.below(8), self.value(), self.cache);
        match self.random.below(20) {
            0..3 => _ = cache.insert(key, value),
            3 => _ = cache.insert_tagged(key, value, &[Tag::from(TAG)]),
            4 => _ = cache.upsert(key, |_| value),
            5 => {
                let view = cache.view();
                cache.insert(key, value);
                drop(view);
            }
            6 => {
                let done = cache.transact(|tx| {
                    tx.get(&(key + 1));
                    tx.insert(key, value);
                    Ok::<_, Infallible>(())
                });
                done.expect("it has no errors");
            }
            7 => {
                let (second, terms) = (self.value(), Terms::new().time_to_live(Duration::ZERO));
                cache.batch().insert(key, value).insert_with(key + 1, second, terms).commit();
                self.set.push(second);
            }
            8 => {
                if cache.lease(&key).fill(value).is_err() {
                    return;
                }
            }
            9 => {
                let before = cache.get_versioned(&key).map(|(_, version)| version);
                if cache.compare_and_set(key, before, value).is_err() {
                    return;
                }
            }
            other @ 10..13 => return self.load(key, LOADED | value, other),
            other => return self.take_away(key, other),
        }
        self.set.push(value);
    }

    fn load(&mut self, key: u64, value: u64, how: u64) {
        let (cache, other) = (self.cache, (key + 1) % 8);
        match how {
            10 => _ = cache.get_with(key, || value),
            11 => _ = cache.get_with_terms(key, || Loaded::new(value).tags([&Tag::from(TAG)])),
            // The key of another one, so that nobody derives a value from itself.
            _ => _ = cache.derive(100 + key, |scope| scope.get(&other).map_or(value, |_| value)),
        }
    }

    fn take_away(&mut self, key: u64, what: u64) {
        let cache = self.cache;
        match what {
            13 | 14 => _ = cache.remove(&key),
            15 if clears::<R>() => _ = cache.invalidate_all(),
            16 => _ = cache.invalidate_tag(TAG),
            17 => _ = cache.invalidate(&key),
            18 => _ = cache.maintain(2),
            _ => _ = (cache.get(&key), cache.get_many([&key, &(key + 1)])),
        }
    }
}

/// Whether the listener hears at rest of what was cleared. It hears of that when the record is
/// reclaimed, and the other backends keep what threads that have ended have retired.
fn clears<R: Reclaim>() -> bool {
    TypeId::of::<R>() == TypeId::of::<Asymmetric>()
}

/// Runs two or three threads with a few operations each. Returns the values that they have set.
fn run<R: Reclaim>(cache: &Cache<R>, capacity: u64, random: &mut Random) -> Vec<u64> {
    let mut first = Worker::new(cache, Random::new(random.next()), capacity, 1);
    (0..capacity).for_each(|_| first.act());
    let set = Mutex::new(first.set);
    let (threads, seed) = (2 + random.below(2) as usize, random.next());
    in_turns(Random::new(random.next()), threads, |own| {
        let number = own as u64 + 2;
        let mut worker = Worker::new(cache, Random::new(seed ^ number), capacity, number);
        (0..1 + worker.random.below(4)).for_each(|_| worker.act());
        set.lock().unwrap().append(&mut worker.set);
    });
    set.into_inner().unwrap()
}

/// One cache, and the order of steps that this seed makes.
fn one_order<R: Reclaim>(seed: u64) {
    let mut random = Random::new(seed);
    let (capacity, is_weighed) = (1 + random.below(6), random.one_in(2));
    let (clock, gone) = (ManualClock::new(), Arc::new(Mutex::new(Vec::new())));
    let note = Arc::clone(&gone);
    let mut builder = coeval::Cache::<u64, u64>::builder()
        .manual_clock(&clock)
        .max_capacity(capacity)
        .eviction_listener(move |_, value, _, _| note.lock().unwrap().push(value));
    if is_weighed {
        builder = builder.weigher(|_, value| (*value % WEIGHT) as u32);
    }
    let cache: Cache<R> = builder.hasher(Fixed::default()).reclaimer::<R>().build();
    let mut set = run(&cache, capacity, &mut random);
    // What has ended, by its time or by its tag, counts until it is swept out.
    clock.advance(Duration::from_secs(1));
    while cache.maintain(100) {}
    let here: Vec<u64> = cache.view().iter().map(|(_, value)| *value).collect();
    let weight = here.iter().map(|value| if is_weighed { value % WEIGHT } else { 1 }).sum();
    let sums = (cache.len(), cache.weighted_size());
    assert_eq!(sums, (here.len(), weight), "entries and weight, seed {seed}");
    assert!(weight <= capacity, "{weight} of {capacity} at rest, seed {seed}");
    let mut found = [&here[..], &gone.lock().unwrap()].concat();
    found.sort_unstable();
    set.sort_unstable();
    assert!(found.is_sorted_by(|one, next| one < next), "{found:?} has one twice, seed {seed}");
    found.retain(|value| value & LOADED == 0);
    assert_eq!(found, set, "here or gone, and set; seed {seed}");
}

fn tight_caches_in_turns<R: Reclaim>() {
    let _alone = alone();
    orders(stress(3_000, 100_000, 10_000_000)).for_each(one_order::<R>);
}

on_every_reclaimer!(tight_caches_in_turns);
