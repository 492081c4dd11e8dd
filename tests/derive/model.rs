//! Random programs over a graph of derived keys, against what each of them would be if it were computed anew.

use super::Cache;
use crate::common::random::{Random, run_seed};
use crate::common::{Store, on_every_reclaimer, stress};
use coeval::reclaim::Reclaim;
use coeval::{ManualClock, Scope, View};
use std::time::Duration;

const INPUTS: u64 = 5;
const DERIVED: u64 = 12;
const FIRST: u64 = 100;

/// From which keys each derived key is made, how, and whether it derives them itself where they are absent.
struct Graph {
    of: Vec<(Vec<u64>, u64, bool)>,
}

/// What can be asked for the value of a key.
trait Source {
    fn get(&mut self, graph: &Graph, key: u64, derives: bool) -> Option<u64>;
}

impl Graph {
    fn random(random: &mut Random) -> Self {
        let of = (0..DERIVED).map(|at| {
            let key = |random: &mut Random| match at {
                1.. if random.one_in(2) => FIRST + random.below(at),
                _ => random.below(INPUTS),
            };
            let keys = (0..1 + random.below(4)).map(|_| key(random)).collect();
            (keys, random.pick(&[1, 2, 4, 1_000]), random.one_in(2))
        });
        Self { of: of.collect() }
    }

    /// What is made from the values of a key's inputs. Coarse, so that many changes make no difference.
    fn compute(&self, source: &mut impl Source, key: u64) -> u64 {
        let (keys, coarse, derives) = &self.of[(key - FIRST) as usize];
        let of = |key: &u64| source.get(self, *key, *derives).unwrap_or(17);
        keys.iter().map(of).fold(key, |sum, value| sum * 3 + value) % 100_000 / coarse
    }
}

impl<R: Reclaim> Source for Scope<'_, u64, u64, coeval::RandomState, R> {
    fn get(&mut self, graph: &Graph, key: u64, derives: bool) -> Option<u64> {
        if key < FIRST || !derives {
            return Scope::get(self, &key);
        }
        Some(self.derive(key, |scope| graph.compute(scope, key)))
    }
}

/// What the cache shows, as of a view: what it says of a derived key must be what comes of that.
struct Shown<'v, R: Reclaim>(&'v View<u64, u64, coeval::RandomState, R>);

impl<R: Reclaim> Source for Shown<'_, R> {
    fn get(&mut self, graph: &Graph, key: u64, derives: bool) -> Option<u64> {
        let shown = self.0.get(&key).copied();
        if key < FIRST || !derives {
            return shown;
        }
        Some(shown.unwrap_or_else(|| graph.compute(self, key)))
    }
}

/// Each derived value that is shown is what it would be if it were made now.
fn check<R: Reclaim>(graph: &Graph, view: &View<u64, u64, coeval::RandomState, R>) -> u64 {
    let shown = (FIRST..FIRST + DERIVED).filter_map(|key| Some((key, *view.get(&key)?)));
    shown
        .map(|(key, value)| {
            let anew = graph.compute(&mut Shown(view), key);
            assert_eq!(value, anew, "key {key}, {:?}", graph.of[(key - FIRST) as usize]);
            1
        })
        .sum()
}

fn step<R: Reclaim>(cache: &Cache<R>, graph: &Graph, clock: &ManualClock, random: &mut Random) {
    let (input, value) = (random.below(INPUTS), random.below(8));
    let derived = FIRST + random.below(DERIVED);
    match random.below(16) {
        0 | 1 => {
            cache.insert(input, value);
        }
        2 => {
            cache.batch().insert(input, value).insert(random.below(INPUTS), value).commit();
        }
        3 => drop(cache.remove(&input)),
        4 => {
            cache.invalidate(&input);
        }
        5 if random.one_in(4) => {
            cache.invalidate_all();
        }
        6 => {
            cache.insert_with_ttl(input, value, Duration::from_secs(random.below(20)));
        }
        7 => clock.advance(Duration::from_secs(random.below(5))),
        8 => drop(cache.remove(&derived)),
        9 => {
            cache.batch().remove(derived).insert(input, value).commit();
        }
        _ => {
            // Again, if what was over or cleared when it was read is taken away just then, or if what was absent was
            // derived on the way: both are changes.
            let lasts = (0..2 * (INPUTS + DERIVED)).any(|_| {
                let before = cache.view();
                let (known, version) = (cache.get(&derived), cache.version());
                let made = cache.derive(derived, |scope| graph.compute(scope, derived));
                match known {
                    Some(known) => assert_eq!((made, cache.version()), (known, version)),
                    None => assert_eq!(made, graph.compute(&mut Shown(&before), derived)),
                }
                cache.get(&derived) == Some(made)
            });
            assert!(lasts, "{derived} is never kept");
        }
    }
}

fn what_is_shown_is_what_would_be_made<R: Reclaim>() {
    let seed = run_seed();
    let mut found = 0;
    for program in 0..stress(150, 3_000, 30_000) {
        let random = &mut Random::new(seed ^ program);
        let (graph, clock) = (Graph::random(random), ManualClock::new());
        let cache: Store<u64, u64, R> =
            coeval::Cache::builder().manual_clock(&clock).reclaimer().build();
        let mut views = Vec::new();
        for _ in 0..120 {
            step(&cache, &graph, &clock, random);
            let view = cache.view();
            found += check(&graph, &view);
            for key in FIRST..FIRST + DERIVED {
                let now = view.get(&key).copied();
                assert_eq!((cache.get(&key), cache.get_many([&key])), (now, [now]));
                assert_eq!(cache.contains_key(&key), now.is_some());
            }
            if random.one_in(10) {
                let shown: Vec<_> = view.iter().map(|(key, value)| (*key, *value)).collect();
                views.push((view, shown));
            }
            if views.len() > 3 {
                let (view, shown) = views.remove(random.below(3) as usize);
                let mut again: Vec<_> = view.iter().map(|(key, value)| (*key, *value)).collect();
                again.sort_unstable();
                let mut shown = shown;
                shown.sort_unstable();
                assert_eq!(again, shown, "a view changed");
            }
        }
    }
    assert!(found > 1_000, "only {found} derived values were there to check");
}

on_every_reclaimer!(what_is_shown_is_what_would_be_made);
