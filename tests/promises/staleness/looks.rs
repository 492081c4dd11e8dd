//! The ways to read, and what readers must not see.

use super::Cache;
use super::world::{OF_PAIR, OWN, PAIR, SOME, Source, TWIN, pause};
use crate::common::random::Random;
use coeval::reclaim::Reclaim;
use coeval::{RandomState, Tag};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

type Scope<'s, R> = coeval::Scope<'s, usize, u64, RandomState, R>;

/// Reads a cache, and counts what readers must not see.
pub struct Watch<'c, R: Reclaim> {
    pub cache: &'c Cache<R>,
    pub source: Arc<Source>,
    /// Values older than what the cache had been told before the read began.
    pub stale: AtomicU64,
    /// Groups with members that do not belong together.
    pub torn: AtomicU64,
}

/// A group as of one instant: a key, its twin, and the values derived from them.
type Group = [Option<u64>; 5];

fn keys(key: usize) -> [usize; 5] {
    [key, key + TWIN, key + PAIR, key + OF_PAIR, key + OWN]
}

/// Two values as one.
fn both(first: Option<u64>, second: Option<u64>) -> u64 {
    let part = |value: Option<u64>| value.map_or(0, |value| value + 1);
    part(first) << 32 | part(second)
}

/// The two values that `both` joined.
fn parts(both: u64) -> [Option<u64>; 2] {
    [both >> 32, both & u64::from(u32::MAX)].map(|part| part.checked_sub(1))
}

/// Whether one value was written beside an old value of the other, which a write must end.
fn is_mixed([first, second]: [Option<u64>; 2]) -> bool {
    let (Some(first), Some(second)) = (first, second) else { return false };
    let (least, most) = (first.min(second), first.max(second));
    most % 2 == 1 && least < most - 1
}

impl<'c, R: Reclaim> Watch<'c, R> {
    pub fn new(cache: &'c Cache<R>, source: &Arc<Source>) -> Self {
        let (stale, torn) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { cache, source: Arc::clone(source), stale, torn }
    }

    /// Reads the number of a key, which takes a while.
    fn read(&self, key: usize, random: &mut Random) -> u64 {
        pause(random);
        let value = self.source.read(key);
        pause(random);
        value
    }

    fn check_fresh(&self, value: Option<u64>, told: u64) {
        if value.is_some_and(|value| value < told) {
            self.stale.fetch_add(1, SeqCst);
        }
    }

    fn check_whole(&self, is_whole: bool) {
        if !is_whole {
            self.torn.fetch_add(1, SeqCst);
        }
    }

    fn check_both(&self, both: [Option<u64>; 2], told: u64) {
        both.into_iter().for_each(|value| self.check_fresh(value, told));
        self.check_whole(!is_mixed(both));
    }

    fn check_group(&self, [key, twin, pair, of_pair, own]: Group, told: u64) {
        self.check_both([key, twin], told);
        let made = both(key, twin);
        self.check_whole([pair, of_pair].iter().flatten().all(|derived| *derived == made));
        self.check_fresh(own, told);
        self.check_whole(key.is_none() || own.is_none() || key == own);
    }

    /// Reads once, in a random way.
    pub fn look(&self, random: &mut Random) {
        let (cache, source) = (self.cache, &self.source);
        let key = random.below(source.len()) as usize;
        let told = source.told(key);
        let member = key + TWIN * random.below(2) as usize;
        let found = match random.below(14) {
            0 => cache.get(&member),
            1 => return self.check_group(cache.get_many(keys(key).each_ref()), told),
            2 => {
                let view = cache.view();
                return self.check_group(keys(key).map(|key| view.get(&key).copied()), told);
            }
            3 => {
                let lease = cache.lease(&member);
                let value = self.read(key, random);
                let _ = lease.fill(value);
                cache.get(&member)
            }
            // A load that fails, whatever it has read.
            4 => cache.load(member, || Err(self.read(key, random))).ok(),
            5 => {
                let made = cache.derive(key + PAIR, |scope| self.pair(scope, key, told));
                return self.check_both(parts(made), told);
            }
            6 => {
                let made = cache.derive(key + OF_PAIR, |scope| {
                    scope.derive(key + PAIR, |scope| self.pair(scope, key, told))
                });
                return self.check_both(parts(made), told);
            }
            7 | 8 => Some(cache.derive(key + OWN, |scope| {
                scope.get(&key).unwrap_or_else(|| self.read(key, random))
            })),
            9 if random.one_in(4) => {
                cache.tag(member, &[Tag::from(SOME)]);
                cache.get(&member)
            }
            _ => Some(cache.get_with(member, || self.read(key, random))),
        };
        self.check_fresh(found, told);
    }

    /// Derives one value from a key and its twin.
    fn pair(&self, scope: &mut Scope<'_, R>, key: usize, told: u64) -> u64 {
        let [first, second] = scope.get_many([&key, &(key + TWIN)]);
        self.check_both([first, second], told);
        both(first, second)
    }
}
