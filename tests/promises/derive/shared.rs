//! Within one derivation each key is derived once, and one commit at its end sets all keys.

use super::{Cache, Scoped};
use crate::common::{on_every_reclaimer, store};
use coeval::ManualClock;
use coeval::reclaim::Reclaim;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

fn a_diamond<R: Reclaim>() {
    let (cache, runs) = (store::<u64, u64, R>(), Cell::new(0));
    cache.insert(1, 1);
    let shared = |scope: &mut Scoped<'_, R>| {
        scope.derive(101, |scope| {
            runs.set(runs.get() + 1);
            scope.get(&1).unwrap()
        })
    };
    let top = || {
        cache.derive(100, |scope| {
            let left = scope.derive(102, |scope| shared(scope) + 1);
            let right = scope.derive(103, |scope| shared(scope) + 2);
            assert_eq!((scope.get(&101), scope.get(&102)), (Some(left - 1), Some(left)));
            left + right
        })
    };
    let before = cache.version();
    assert_eq!((top(), runs.get()), (5, 1));
    let all = [100, 101, 102, 103];
    let versions = all.map(|key| cache.get_versioned(&key).unwrap().1);
    assert!(versions[0] > before && versions.iter().all(|version| *version == versions[0]));
    assert_eq!(cache.version(), versions[0], "by one commit");
    assert_eq!(cache.get_many(all.each_ref()), [Some(5), Some(1), Some(2), Some(3)]);
    assert_eq!((cache.stats().loads, cache.stats().loads_refused), (4, 0));
    let view = cache.view();
    cache.insert(1, 11);
    assert_eq!(cache.get_many(all.each_ref()), [None; 4]);
    assert_eq!(all.map(|key| view.get(&key).copied()), [Some(5), Some(1), Some(2), Some(3)]);
    assert_eq!((top(), runs.get(), cache.get(&100)), (25, 2, Some(25)));
    assert_eq!(cache.stats().recomputed, 4);
    // One of the keys is written. Values derived from it end, and the others stay.
    cache.insert(102, 0);
    assert_eq!(cache.get_many(all.each_ref()), [None, Some(11), Some(0), Some(13)]);
}

fn fibonacci<R: Reclaim>() {
    fn number<R: Reclaim>(scope: &mut Scoped<'_, R>, n: u64, runs: &Cell<u64>) -> u64 {
        scope.derive(1_000 + n, |scope| made(scope, n, runs))
    }
    fn made<R: Reclaim>(scope: &mut Scoped<'_, R>, n: u64, runs: &Cell<u64>) -> u64 {
        runs.set(runs.get() + 1);
        match n {
            0 | 1 => scope.get(&n).unwrap(),
            _ => number(scope, n - 1, runs) + number(scope, n - 2, runs),
        }
    }
    let (cache, runs) = (store::<u64, u64, R>(), Cell::new(0));
    cache.batch().insert(0, 0).insert(1, 1).commit();
    assert_eq!(cache.derive(1_022, |scope| made(scope, 22, &runs)), 17_711);
    assert_eq!(runs.get(), 23);
    assert!((0..=22).all(|n| cache.contains_key(&(1_000 + n))));
    cache.insert(0, 2);
    assert!((2..=22).all(|n| !cache.contains_key(&(1_000 + n))));
    cache.derive(1_022, |scope| made(scope, 22, &runs));
    assert_eq!(runs.get(), 23 + 22, "all but the one that is made from key 1 alone");
}

/// A graph of derivations of several levels, with a count of how often each key was derived.
struct Graph<R: Reclaim> {
    cache: Cache<R>,
    made: RefCell<BTreeMap<u64, u64>>,
}

const FORWARDS: u64 = 20;
const PRICES: u64 = 200;
const REPORT: u64 = 1_000;

impl<R: Reclaim> Graph<R> {
    /// Keys 0 to 19 are rates, 100 to 119 forwards, 200 to 399 prices, ten of each forward.
    fn new() -> Self {
        let cache: Cache<R> = store();
        (0..FORWARDS).for_each(|at| _ = cache.insert(at, at * 1_000));
        Self { cache, made: RefCell::default() }
    }

    fn count(&self, key: u64) {
        *self.made.borrow_mut().entry(key).or_default() += 1;
    }

    fn forward(&self, scope: &mut Scoped<'_, R>, at: u64) -> u64 {
        scope.derive(100 + at, |scope| {
            self.count(100 + at);
            scope.get(&at).unwrap() / 100
        })
    }

    fn price(&self, scope: &mut Scoped<'_, R>, at: u64) -> u64 {
        scope.derive(200 + at, |scope| {
            self.count(200 + at);
            self.forward(scope, at % FORWARDS) / 10 + at
        })
    }

    /// The report, derived from all prices. If `first`, the forwards are derived before them.
    fn report(&self, first: bool) -> u64 {
        self.cache.derive(REPORT, |scope| {
            self.count(REPORT);
            if first {
                (0..FORWARDS).for_each(|at| _ = self.forward(scope, at));
            }
            (0..PRICES).map(|at| self.price(scope, at)).sum()
        })
    }

    /// How many keys of each level were derived since the last call.
    fn made(&self) -> [u64; 3] {
        let made = std::mem::take(&mut *self.made.borrow_mut());
        assert!(made.values().all(|times| *times == 1), "one was made twice: {made:?}");
        [100..200, 200..400, 1_000..1_001].map(|keys| made.range(keys).count() as u64)
    }

    fn expected(&self) -> u64 {
        let rate = |at: u64| self.cache.get(&(at % FORWARDS)).unwrap();
        (0..PRICES).map(|at| rate(at) / 1_000 + at).sum()
    }
}

fn a_pricing_graph<R: Reclaim>() {
    for first in [false, true] {
        let graph = Graph::<R>::new();
        assert_eq!(graph.report(first), graph.expected());
        assert_eq!(graph.made(), [FORWARDS, PRICES, 1]);
        for round in 1..30 {
            // One rate changes, and affects its forward and its ten prices.
            graph.cache.insert(round % FORWARDS, 50_000 * round);
            assert_eq!(graph.cache.get(&REPORT), None);
            assert_eq!(graph.report(first), graph.expected());
            assert_eq!(graph.made(), [1, PRICES / FORWARDS, 1], "round {round}");
            let report = graph.cache.get_versioned(&REPORT).expect("set by the derivation");
            // All rates change a little. The forwards come out equal, so the prices are valid
            // again. If a forward is known only as the input of its price, one price of each
            // forward must be derived to find that out.
            let mut batch = graph.cache.batch();
            for at in 0..FORWARDS {
                batch = batch.insert(at, graph.cache.get(&at).unwrap() / 100 * 100 + round);
            }
            batch.commit();
            assert_eq!(graph.report(first), graph.expected());
            let prices = if first { 0 } else { FORWARDS };
            assert_eq!(graph.made(), [FORWARDS, prices, 1], "round {round}");
            assert_eq!(graph.cache.get(&REPORT), Some(report.0));
            assert!((0..PRICES).all(|at| graph.cache.contains_key(&(200 + at))));
        }
    }
}

/// The inner value comes out equal. The outer value, which is read after it, is valid again without
/// a derivation.
fn the_cutoff_is_known_at_once<R: Reclaim>() {
    let (cache, runs) = (store::<u64, u64, R>(), Cell::new(0));
    let parity = |scope: &mut Scoped<'_, R>| scope.derive(101, |scope| scope.get(&1).unwrap() % 2);
    let word = |scope: &mut Scoped<'_, R>| {
        scope.derive(102, |scope| {
            runs.set(runs.get() + 1);
            1_000 + scope.get(&101).unwrap()
        })
    };
    cache.insert(1, 2);
    let top = |at: u64| {
        cache.derive(at, |scope| {
            let gone = scope.get(&102);
            parity(scope);
            if gone.is_none() { word(scope) } else { 0 }
        })
    };
    assert_eq!((top(200), runs.get()), (1_000, 1));
    assert_eq!(cache.get(&200), None, "derived from an absence that it ended itself");
    let first = cache.get_versioned(&102).unwrap();
    cache.insert(1, 4);
    assert_eq!(cache.get(&102), None);
    assert_eq!((top(201), runs.get()), (1_000, 1), "it is valid again");
    assert_eq!((cache.get_versioned(&102), cache.get(&201)), (Some(first), None));
    cache.insert(1, 5);
    let only = |at| cache.derive(at, |scope| parity(scope) + word(scope));
    assert_eq!((only(202), runs.get()), (1_002, 2));
    cache.insert(1, 7);
    let before = cache.get_versioned(&101);
    assert_eq!((before, only(203), runs.get()), (None, 1_002, 2));
    let found = cache.get_many([&101, &102, &202, &203]);
    assert_eq!(found, [Some(1), Some(1_001), Some(1_002), Some(1_002)]);
}

fn an_input_changes_midway<R: Reclaim>() {
    let cache = store::<u64, u64, R>();
    cache.batch().insert(1, 1).insert(2, 2).commit();
    let value = cache.derive(100, |scope| {
        let first = scope.derive(101, |scope| scope.get(&1).unwrap());
        cache.insert(1, 10);
        let second = scope.derive(102, |scope| scope.get(&1).unwrap() + scope.get(&2).unwrap());
        let other = scope.derive(103, |scope| scope.get(&2).unwrap());
        first + second + other
    });
    assert_eq!(value, 1 + 3 + 2, "all as of one version");
    assert_eq!(cache.get_many([&100, &101, &102, &103]), [None, None, None, Some(2)]);
    // The derivation's own key is written in the meantime.
    let value = cache.derive(100, |scope| {
        let first = scope.derive(101, |scope| scope.get(&1).unwrap());
        cache.insert(101, 7);
        first + scope.derive(104, |scope| scope.get(&101).unwrap()) + scope.get(&103).unwrap()
    });
    assert_eq!((value, cache.get_many([&100, &101, &104])), (22, [None, Some(7), None]));
    // Everything is cleared.
    cache.derive(105, |scope| {
        let value = scope.derive(106, |_| 1);
        cache.invalidate_all();
        value
    });
    assert_eq!(cache.get_many([&105, &106]), [None, None]);
}

/// Another caller derives the same key in the meantime; its value is as good.
fn another_caller_is_faster<R: Reclaim>() {
    let cache = store::<u64, u64, R>();
    cache.insert(1, 1);
    let value = cache.derive(100, |scope| {
        let left = scope.derive(101, |scope| scope.get(&1).unwrap());
        assert_eq!(cache.derive(101, |scope| scope.get(&1).unwrap()), 1);
        left + scope.derive(102, |scope| scope.get(&101).unwrap())
    });
    assert_eq!((value, cache.get_many([&100, &101, &102])), (2, [Some(2), Some(1), Some(1)]));
    assert_eq!(cache.stats().loads_refused, 0);
    cache.insert(1, 2);
    assert_eq!(cache.get_many([&100, &101, &102]), [None; 3]);
}

/// A panic leaves no derivation in progress, even if it is caught within one.
fn a_panic_within<R: Reclaim>() {
    let cache = store::<u64, u64, R>();
    cache.insert(1, 1);
    let panics = || {
        cache.derive(100, |scope| {
            scope.derive(101, |scope| scope.get(&1).unwrap());
            scope.derive(102, |_| panic!("on purpose"))
        })
    };
    assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
    assert_eq!((cache.get_many([&100, &101, &102]), cache.len()), ([None; 3], 1));
    let value = cache.derive(100, |scope| {
        let inner = || scope.derive(101, |_| panic!("on purpose"));
        assert!(catch_unwind(AssertUnwindSafe(inner)).is_err());
        scope.derive(101, |scope| scope.get(&1).unwrap())
    });
    assert_eq!((value, cache.get_many([&100, &101])), (1, [Some(1), Some(1)]));
    let cycle = || {
        cache.derive(200, |scope| {
            scope.derive(201, |_| 0);
            scope.derive(202, |scope| scope.derive(203, |scope| scope.derive(202, |_| 0)))
        })
    };
    assert!(catch_unwind(AssertUnwindSafe(cycle)).is_err());
    assert_eq!(cache.get_many([&200, &201, &202, &203]), [None; 4]);
}

/// Tags, deadlines, and writes that keep a value are honoured by values that one commit has set.
fn later_changes_of_values_set_together<R: Reclaim>() {
    let (clock, second) = (ManualClock::new(), Duration::from_secs(1));
    let builder = coeval::Cache::builder().manual_clock(&clock).time_to_live(10 * second);
    let cache: Cache<R> = builder.reclaimer::<R>().build();
    cache.insert_with_ttl(1, 1, Duration::MAX);
    let top = || {
        cache.derive(100, |scope| {
            10 + scope.derive(101, |scope| 10 + scope.derive(102, |scope| scope.get(&1).unwrap()))
        })
    };
    assert_eq!(top(), 21);
    cache.tag(100, &["top".into()]);
    assert_eq!(cache.get(&100), Some(21), "its bonds are unchanged");
    cache.tag(102, &["bottom".into()]);
    assert_eq!(cache.get_many([&100, &101, &102]), [Some(21), Some(11), Some(1)]);
    cache.invalidate_tag("bottom");
    assert_eq!(cache.get_many([&100, &101, &102]), [None; 3]);
    assert_eq!((top(), cache.get(&100)), (21, Some(21)));
    cache.invalidate_tag("top");
    assert_eq!(cache.get_many([&100, &101, &102]), [None, Some(11), Some(1)]);
    assert_eq!((top(), cache.get(&100)), (21, Some(21)));
    assert_eq!(cache.remove(&102), Some(1));
    for key in 0..3_000 {
        cache.insert(5_000 + key, key); // This forgets removed entries.
    }
    assert_eq!(cache.get_many([&100, &101, &102]), [None; 3]);
    assert_eq!((top(), cache.get(&100)), (21, Some(21)));
    let read = cache.transact(|tx| {
        tx.insert(2, 2);
        Ok::<_, ()>(tx.get(&100))
    });
    assert_eq!(read.unwrap().value, Some(21));
    clock.advance(10 * second);
    assert_eq!(cache.get_many([&100, &101, &102]), [None; 3]);
    assert_eq!((top(), cache.get(&100)), (21, Some(21)));
}

on_every_reclaimer!(
    a_diamond,
    fibonacci,
    a_pricing_graph,
    the_cutoff_is_known_at_once,
    an_input_changes_midway,
    another_caller_is_faster,
    a_panic_within,
    later_changes_of_values_set_together,
);
