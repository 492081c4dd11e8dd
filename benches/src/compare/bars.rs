//! What the comparison is read for: each bar as data, and how far a run reached it.

use serde::Serialize;

use super::results::{Results, Row};

/// One figure of the tables: workload, metric, variant.
#[derive(Clone, Copy, Debug)]
pub struct At(pub &'static str, pub &'static str, pub &'static str);

/// What `coeval`'s figure is divided by.
#[derive(Clone, Copy, Debug)]
pub enum Against {
    /// The same figure of that store.
    Store(&'static str),
    /// The best of the same figures of these stores.
    BestOf(&'static [&'static str]),
    /// Another figure of that store.
    Other(&'static str, At),
    /// Nothing: it stands for itself.
    Nothing,
}

/// What the ratio must be.
#[derive(Clone, Copy, Debug)]
pub enum Must {
    /// More is better.
    AtLeast(f64),
    /// Less is better.
    AtMost(f64),
}

/// One bar.
#[derive(Clone, Copy, Debug)]
pub struct Bar {
    /// In words.
    pub claim: &'static str,
    /// `coeval`'s figure.
    pub ours: At,
    /// What it is compared with.
    pub against: Against,
    /// The bar.
    pub must: Must,
}

const fn bar(claim: &'static str, ours: At, against: Against, must: Must) -> Bar {
    Bar { claim, ours, against, must }
}

use Against::{BestOf, Nothing, Other, Store};
use Must::{AtLeast, AtMost};

/// Peers with all keys in one table and no policy, and those that are caches.
const PEERS: &[&str] = &[
    "papaya",
    "flurry",
    "scc",
    "dashmap",
    "sharded",
    "rwlock",
    "arcswap-imbl",
    "evmap",
    "concread",
    "concread-arc",
    "moka",
    "mini-moka",
    "quick_cache",
    "foyer",
    "stretto",
    "scc-cache",
];
/// Peers whose readers take no lock, and whose writers take none but while a table grows.
const LOCK_FREE: &[&str] = &["papaya", "arcswap-imbl"];
/// Peers that can be bounded.
const BOUNDED: &[&str] =
    &["concread-arc", "moka", "mini-moka", "quick_cache", "foyer", "stretto", "scc-cache"];
/// Peers whose reads of a group show one moment, of any keys.
const CONSISTENT: &[&str] = &["rwlock", "arcswap-imbl", "evmap", "concread", "concread-arc"];

/// Two threads, uniform and Zipf.
const U1: At = At("get-uniform", "operations", "uniform, 1 thr");
const U2: At = At("get-uniform", "operations", "uniform, 2 thr");
const Z1: At = At("get-zipf", "operations", "zipf, 1 thr");
const Z2: At = At("get-zipf", "operations", "zipf, 2 thr");
const HELD_U2: At = At("get-held", "operations", "uniform, 2 thr");
const HELD_Z2: At = At("get-held", "operations", "zipf, 2 thr");

/// All bars.
pub const BARS: &[Bar] = &[
    bar("get, Zipf, 2 threads, papaya", Z2, Store("papaya"), AtLeast(1.5)),
    bar("get, uniform, 2 threads, papaya", U2, Store("papaya"), AtLeast(1.5)),
    bar("get, Zipf, 2 threads, dashmap", Z2, Store("dashmap"), AtLeast(1.2)),
    bar("get, uniform, 2 threads, dashmap", U2, Store("dashmap"), AtLeast(1.2)),
    bar("get, Zipf, 2 threads, moka", Z2, Store("moka"), AtLeast(5.0)),
    bar("get, uniform, 2 threads, moka", U2, Store("moka"), AtLeast(5.0)),
    bar("get, Zipf, 2 threads, quick_cache", Z2, Store("quick_cache"), AtLeast(2.0)),
    bar("get, uniform, 2 threads, quick_cache", U2, Store("quick_cache"), AtLeast(2.0)),
    bar("get, Zipf, 1 thread, papaya", Z1, Store("papaya"), AtLeast(1.5)),
    bar("get, uniform, 1 thread, papaya", U1, Store("papaya"), AtLeast(1.5)),
    bar("get, Zipf, 1 thread, dashmap", Z1, Store("dashmap"), AtLeast(1.0)),
    bar("get, uniform, 1 thread, dashmap", U1, Store("dashmap"), AtLeast(1.0)),
    bar("held pin, Zipf, 2 threads, papaya held", HELD_Z2, Store("papaya"), AtLeast(1.0)),
    bar("held pin, uniform, 2 threads, papaya held", HELD_U2, Store("papaya"), AtLeast(1.0)),
    bar("held pin, Zipf, 2 threads, a plain HashMap", HELD_Z2, Store("std"), AtLeast(0.6)),
    bar("held pin, uniform, 2 threads, a plain HashMap", HELD_U2, Store("std"), AtLeast(0.6)),
    bar(
        "get among 1,000 keys, 1 thread, papaya",
        At("sizes", "gets", "1000 keys, 1 thr"),
        Store("papaya"),
        AtLeast(1.0),
    ),
    bar(
        "get among 10,000 keys, 1 thread, papaya",
        At("sizes", "gets", "10000 keys, 1 thr"),
        Store("papaya"),
        AtLeast(1.0),
    ),
    bar(
        "get among 100,000 keys, 1 thread, papaya",
        At("sizes", "gets", "100000 keys, 1 thr"),
        Store("papaya"),
        AtLeast(1.0),
    ),
    bar(
        "get among 10,000,000 keys, 1 thread, papaya",
        At("large", "gets", "10000000 keys, 1 thr"),
        Store("papaya"),
        AtLeast(1.0),
    ),
    bar(
        "get, keys written once: the same keys overwritten twice, 1 thread",
        At("overwritten", "gets", "written once, 1 thr"),
        Other("coeval", At("overwritten", "gets", "overwritten twice, 1 thr")),
        AtMost(1.2),
    ),
    bar(
        "get, keys written once: the same keys overwritten twice, 2 threads",
        At("overwritten", "gets", "written once, 2 thr"),
        Other("coeval", At("overwritten", "gets", "overwritten twice, 2 thr")),
        AtMost(1.2),
    ),
    bar(
        "read-heavy, 2 threads, the best peer",
        At("read-heavy", "operations", "2 thr"),
        BestOf(PEERS),
        AtLeast(1.2),
    ),
    bar(
        "exchange, 2 threads, the best lock-free peer",
        At("exchange", "operations", "2 thr"),
        BestOf(LOCK_FREE),
        AtLeast(1.0),
    ),
    bar(
        "rapid grow, 2 threads, the best lock-free peer",
        At("rapid-grow", "operations", "2 thr"),
        BestOf(LOCK_FREE),
        AtLeast(1.0),
    ),
    bar(
        "rapid grow from empty, 2 threads, the best lock-free peer",
        At("rapid-grow, grown", "operations", "2 thr"),
        BestOf(LOCK_FREE),
        AtLeast(1.0),
    ),
    bar(
        "YCSB B, 1 KiB, 2 threads, the best bounded peer",
        At("ycsb", "operations", "B, 2 thr"),
        BestOf(BOUNDED),
        AtLeast(1.2),
    ),
    bar(
        "batch of 8, 1 thread, concread",
        At("batch8", "batches", "1 thr"),
        Store("concread"),
        AtLeast(20.0),
    ),
    bar(
        "batch of 8, 1 thread, evmap publishing each",
        At("batch8", "batches", "1 thr"),
        Store("evmap"),
        AtLeast(3.0),
    ),
    bar(
        "batch of 8, 1 thread, papaya's eight unrelated inserts",
        At("batch8", "batches", "1 thr"),
        Store("papaya"),
        AtLeast(1.0),
    ),
    bar(
        "batch of 8, 2 threads, papaya's eight unrelated inserts",
        At("batch8", "batches", "2 thr"),
        Store("papaya"),
        AtLeast(1.0),
    ),
    bar(
        "consistent read of 8 beside a writer, the best consistent peer",
        At("group-read8", "reads", "1 reader + 1 writer"),
        BestOf(CONSISTENT),
        AtLeast(3.0),
    ),
    bar(
        "p99.99 of a read, 32 threads, one after the other, the best peer",
        At("crowd", "read p99.99", "one after the other"),
        BestOf(PEERS),
        AtMost(1.0),
    ),
    bar(
        "p99.99 of a read, 32 threads, on schedule, the best peer",
        At("crowd", "read p99.99", "on schedule"),
        BestOf(PEERS),
        AtMost(1.0),
    ),
    bar(
        "p99.9 of a read while a writer is frozen: while none is",
        At("frozen", "read p99.9", "frozen"),
        Other("coeval", At("frozen", "read p99.9", "running")),
        AtMost(1.2),
    ),
    bar(
        "p99.9 of a write while a writer is frozen: while none is",
        At("frozen", "write p99.9", "frozen"),
        Other("coeval", At("frozen", "write p99.9", "running")),
        AtMost(1.2),
    ),
    bar(
        "torn reads of 8, percent",
        At("group-read8", "torn", "1 reader + 1 writer"),
        Nothing,
        AtMost(0.0),
    ),
    bar("torn reads of 64, percent", At("groups", "torn", "64 keys"), Nothing, AtMost(0.0)),
    bar("stale after an invalidation, percent", At("stale", "stale", ""), Nothing, AtMost(0.0)),
    bar(
        "bytes an entry, grown from empty, quick_cache",
        At("memory", "memory an entry", "from empty"),
        Store("quick_cache"),
        AtMost(1.3),
    ),
];

/// How a run stands to a bar.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Reached {
    pub claim: &'static str,
    /// `≥ 1.5`.
    pub bar: String,
    pub reached: Option<f64>,
    /// The least and the most of the rounds, each against the same round of the other.
    pub rounds: Option<[f64; 2]>,
    pub met: Option<bool>,
    /// The peer that the ratio is to.
    pub against: Option<String>,
}

/// All bars, as far as the results tell.
pub fn reached(results: &Results) -> Vec<Reached> {
    BARS.iter().map(|bar| bar.reached(results)).collect()
}

impl Bar {
    fn reached(&self, results: &Results) -> Reached {
        let find = |At(workload, metric, variant), store: &str| {
            results.find(workload, metric, variant, store)
        };
        let ours = find(self.ours, "coeval");
        let other = match self.against {
            Store(store) => find(self.ours, store),
            Other(store, at) => find(at, store),
            BestOf(stores) => self.best(stores.iter().filter_map(|store| find(self.ours, store))),
            Nothing => None,
        };
        let (reached, rounds) = match (ours, other, self.against) {
            (Some(ours), None, Nothing) => (Some(ours.most), Some([ours.least, ours.most])),
            (Some(ours), Some(other), _) => (ratio(ours.median, other.median), spread(ours, other)),
            _ => (None, None),
        };
        let met = reached.map(|reached| match self.must {
            AtLeast(bar) => reached >= bar,
            AtMost(bar) => reached <= bar,
        });
        let against = other.map(|row| row.store.clone());
        Reached { claim: self.claim, bar: self.must.to_string(), reached, rounds, met, against }
    }

    fn best<'a>(&self, rows: impl Iterator<Item = &'a Row>) -> Option<&'a Row> {
        let by_median = |a: &&Row, b: &&Row| a.median.total_cmp(&b.median);
        match self.must {
            AtLeast(_) => rows.max_by(by_median),
            AtMost(_) => rows.min_by(by_median),
        }
    }
}

impl std::fmt::Display for Must {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            AtLeast(bar) => write!(f, "≥ {bar}"),
            AtMost(bar) => write!(f, "≤ {bar}"),
        }
    }
}

fn ratio(ours: f64, other: f64) -> Option<f64> {
    (other > 0.0).then(|| ours / other)
}

/// The ratios of the single rounds: the least and the most.
fn spread(ours: &Row, other: &Row) -> Option<[f64; 2]> {
    let pairs = ours.rounds.iter().zip(&other.rounds);
    let ratios: Vec<f64> = pairs.filter_map(|(ours, other)| ratio(*ours, *other)).collect();
    let least = ratios.iter().copied().min_by(f64::total_cmp)?;
    Some([least, ratios.iter().copied().max_by(f64::total_cmp)?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        compare::results::{Figure, Unit, sum_up},
        stores::{NAMES, promises},
        workloads::Workload,
    };
    use clap::ValueEnum;

    const FAST: Bar = bar("", Z2, BestOf(&["papaya", "moka"]), AtLeast(1.5));

    fn results(unit: Unit, stores: &[(&str, [f64; 2])]) -> Results {
        let figures = |values: &[f64; 2]| {
            values.iter().map(|v| Figure::new(Z2.1, Z2.2, unit, *v)).collect::<Vec<_>>()
        };
        let stores: Vec<_> = stores.iter().map(|(store, v)| (*store, figures(v))).collect();
        Results { rows: sum_up(Z2.0, &stores), absent: Vec::new() }
    }

    #[test]
    fn a_ratio_is_to_the_best_peer_and_has_a_spread() {
        let stores = [("coeval", [30.0, 34.0]), ("papaya", [10.0, 10.0]), ("moka", [20.0, 16.0])];
        let reached = FAST.reached(&results(Unit::PerSecond, &stores));
        assert_eq!(reached.against.as_deref(), Some("moka"));
        assert_eq!(reached.reached, Some(32.0 / 18.0));
        assert_eq!(reached.rounds, Some([1.5, 34.0 / 16.0]));
        assert_eq!((reached.met, reached.bar.as_str()), (Some(true), "≥ 1.5"));
    }

    #[test]
    fn of_times_the_least_is_the_best() {
        let bar = Bar { must: AtMost(1.0), ..FAST };
        let stores = [("coeval", [30.0, 30.0]), ("papaya", [60.0, 60.0]), ("moka", [20.0, 20.0])];
        let reached = bar.reached(&results(Unit::Nanoseconds, &stores));
        assert_eq!((reached.reached, reached.met), (Some(1.5), Some(false)));
    }

    #[test]
    fn what_was_not_measured_is_neither_met_nor_missed() {
        let reached = FAST.reached(&results(Unit::PerSecond, &[("coeval", [1.0, 1.0])]));
        assert_eq!((reached.reached, reached.met), (None, None));
        let bar = Bar { against: Nothing, must: AtMost(0.0), ..FAST };
        let reached = bar.reached(&results(Unit::Percent, &[("coeval", [0.0, 0.0])]));
        assert_eq!((reached.reached, reached.met), (Some(0.0), Some(true)));
    }

    #[test]
    fn bars_speak_of_workloads_and_stores_that_exist() {
        let names: Vec<String> = Workload::value_variants().iter().map(|w| w.name()).collect();
        for Bar { ours: At(workload, ..), claim, .. } in BARS {
            let workload = workload.trim_end_matches(", grown");
            assert!(names.iter().any(|name| name == workload), "{claim}");
        }
        for list in [PEERS, LOCK_FREE, BOUNDED, CONSISTENT] {
            assert!(list.iter().all(|store| NAMES.contains(store)));
        }
        assert!(BOUNDED.iter().all(|store| promises(store).unwrap().bounded));
        assert!(CONSISTENT.iter().all(|store| promises(store).unwrap().consistent_group_read));
    }
}
