//! The bars, which are the purpose of the comparison, as data, and how far a run reached each one.

mod list;

use serde::Serialize;

use super::results::{Results, Row};

/// One figure of the tables: workload, metric and variant.
#[derive(Clone, Copy, Debug)]
pub struct At(pub &'static str, pub &'static str, pub &'static str);

/// The figure by which coeval's figure is divided.
#[derive(Clone, Copy, Debug)]
pub enum Against {
    /// The same figure of that store.
    Store(&'static str),
    /// The best of the same figures of these stores.
    BestOf(&'static [&'static str]),
    /// Another figure of that store.
    Other(&'static str, At),
    /// None: the figure is not a ratio.
    Nothing,
}

/// The value that the ratio must have.
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
    /// The claim in words.
    pub claim: &'static str,
    /// `coeval`, or one of its variants.
    pub who: &'static str,
    /// Its figure.
    pub ours: At,
    /// The figure that it is compared with.
    pub against: Against,
    /// The value that it must have.
    pub must: Must,
}

use Against::{BestOf, Nothing, Other, Store};
use Must::{AtLeast, AtMost};

pub use list::BARS;

/// The result of a run for one bar.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Reached {
    pub claim: &'static str,
    /// `≥ 1.5`.
    pub bar: String,
    pub reached: Option<f64>,
    /// The smallest and the largest ratio of the rounds, each to the same round of the other store.
    pub rounds: Option<[f64; 2]>,
    pub met: Option<bool>,
    /// The peer in the denominator of the ratio.
    pub against: Option<String>,
}

/// All bars, as far as the results include them.
pub fn reached(results: &Results) -> Vec<Reached> {
    BARS.iter().map(|bar| bar.reached(results)).collect()
}

impl Bar {
    fn reached(&self, results: &Results) -> Reached {
        let find = |At(workload, metric, variant), store: &str| {
            results.find(workload, metric, variant, store)
        };
        let ours = find(self.ours, self.who);
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

/// The smallest and the largest of the ratios of single rounds.
fn spread(ours: &Row, other: &Row) -> Option<[f64; 2]> {
    let pairs = ours.rounds.iter().zip(&other.rounds);
    let ratios: Vec<f64> = pairs.filter_map(|(ours, other)| ratio(*ours, *other)).collect();
    let least = ratios.iter().copied().min_by(f64::total_cmp)?;
    Some([least, ratios.iter().copied().max_by(f64::total_cmp)?])
}

#[cfg(test)]
mod tests {
    use super::{
        list::{BOUNDED, CONSISTENT, LOCK_FREE, PEERS},
        *,
    };
    use crate::{
        compare::results::{Figure, Unit, sum_up},
        stores::{NAMES, promises},
        workloads::Workload,
    };
    use clap::ValueEnum;

    const AT: At = At("get-zipf", "operations", "zipf, 2 thr");
    const FAST: Bar = Bar {
        claim: "",
        who: "coeval",
        ours: AT,
        against: BestOf(&["papaya", "moka"]),
        must: AtLeast(1.5),
    };

    fn results(unit: Unit, stores: &[(&str, [f64; 2])]) -> Results {
        let figures = |values: &[f64; 2]| {
            values.iter().map(|v| Figure::new(AT.1, AT.2, unit, *v)).collect::<Vec<_>>()
        };
        let stores: Vec<_> = stores.iter().map(|(store, v)| (*store, figures(v))).collect();
        Results { rows: sum_up(AT.0, &stores), absent: Vec::new() }
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
    fn the_shortest_time_is_the_best() {
        let bar = Bar { must: AtMost(1.0), ..FAST };
        let stores = [("coeval", [30.0, 30.0]), ("papaya", [60.0, 60.0]), ("moka", [20.0, 20.0])];
        let reached = bar.reached(&results(Unit::Nanoseconds, &stores));
        assert_eq!((reached.reached, reached.met), (Some(1.5), Some(false)));
    }

    #[test]
    fn an_unmeasured_bar_is_neither_met_nor_missed() {
        let reached = FAST.reached(&results(Unit::PerSecond, &[("coeval", [1.0, 1.0])]));
        assert_eq!((reached.reached, reached.met), (None, None));
        let bar = Bar { against: Nothing, must: AtMost(0.0), ..FAST };
        let reached = bar.reached(&results(Unit::Percent, &[("coeval", [0.0, 0.0])]));
        assert_eq!((reached.reached, reached.met), (Some(0.0), Some(true)));
    }

    #[test]
    fn bars_name_existing_workloads_and_stores() {
        let names: Vec<String> = Workload::value_variants().iter().map(|w| w.name()).collect();
        for Bar { ours: At(workload, ..), who, claim, .. } in BARS {
            let workload = workload.trim_end_matches(", grown");
            assert!(names.iter().any(|name| name == workload), "{claim}");
            assert!(NAMES.contains(who), "{claim}");
        }
        for list in [PEERS, LOCK_FREE, BOUNDED, CONSISTENT] {
            assert!(list.iter().all(|store| NAMES.contains(store)));
        }
        assert!(BOUNDED.iter().all(|store| promises(store).unwrap().bounded));
        assert!(CONSISTENT.iter().all(|store| promises(store).unwrap().consistent_group_read));
    }
}
