//! The figures of single rounds, and their summaries: medians, spreads, and ratios to `coeval`.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::{measure::median, stores::NAMES};

/// The unit of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Operations per second: more is better.
    PerSecond,
    /// Less is better, as for all units that follow.
    Nanoseconds,
    /// Bytes of memory.
    Bytes,
    /// A share of all reads, loads or requests.
    Percent,
    /// A count.
    Count,
}

/// One figure of one round of one store.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Figure {
    pub metric: String,
    pub variant: String,
    pub unit: Unit,
    pub value: f64,
}

impl Figure {
    /// A figure.
    pub fn new(metric: &str, variant: &str, unit: Unit, value: f64) -> Self {
        Self { metric: metric.to_owned(), variant: variant.to_owned(), unit, value }
    }
}

/// All rounds of one figure of one store.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct Row {
    pub workload: String,
    pub metric: String,
    pub variant: String,
    pub store: String,
    pub unit: Unit,
    pub median: f64,
    pub least: f64,
    pub most: f64,
    /// This store's median divided by `coeval`'s; `None` if that is missing or 0.
    pub ratio_to_coeval: Option<f64>,
    pub rounds: Vec<f64>,
}

impl Row {
    /// The spread of the rounds, in percent of the median.
    pub fn spread_percent(&self) -> f64 {
        if self.median == 0.0 { 0.0 } else { 100.0 * (self.most - self.least) / self.median }
    }
}

/// A store that did not take part in a workload, or did not complete it.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct Absent {
    pub workload: String,
    pub store: String,
    pub reason: String,
}

/// The results of one or more workloads.
#[derive(Clone, Debug, Default, Serialize)]
#[allow(missing_docs)]
pub struct Results {
    pub rows: Vec<Row>,
    pub absent: Vec<Absent>,
}

impl Results {
    /// Adds the results of another workload.
    pub fn extend(&mut self, more: Self) {
        self.rows.extend(more.rows);
        self.absent.extend(more.absent);
    }

    /// The names of the workloads, in order.
    pub fn workloads(&self) -> Vec<String> {
        let rows = self.rows.iter().map(|row| row.workload.clone());
        distinct(rows.chain(self.absent.iter().map(|absent| absent.workload.clone())))
    }

    /// The results of one workload.
    pub fn of(&self, workload: &str) -> Self {
        let rows = self.rows.iter().filter(|row| row.workload == workload).cloned();
        let absent = self.absent.iter().filter(|absent| absent.workload == workload).cloned();
        Self { rows: rows.collect(), absent: absent.collect() }
    }

    /// The row of that name.
    pub fn find(&self, workload: &str, metric: &str, variant: &str, store: &str) -> Option<&Row> {
        self.rows.iter().find(|row| {
            row.store == store
                && row.workload == workload
                && row.metric == metric
                && row.variant == variant
        })
    }

    /// The stores with rows, in the order of the tables.
    pub fn stores(&self) -> Vec<&'static str> {
        let present = |name: &&&str| self.rows.iter().any(|row| row.store == **name);
        NAMES.iter().filter(present).copied().collect()
    }
}

/// The distinct values, in order of appearance.
pub fn distinct<T: PartialEq>(values: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut seen = Vec::new();
    for value in values {
        if !seen.contains(&value) {
            seen.push(value);
        }
    }
    seen
}

/// The store with which the others are compared.
pub const BASELINE: &str = "coeval";

/// Sums up the figures of all rounds of a workload, in the order of the stores.
pub fn sum_up(workload: &str, figures: &[(&str, Vec<Figure>)]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for (store, figures) in figures {
        for Figure { metric, variant, unit, value } in figures {
            let same = |row: &&mut Row| {
                row.store == *store && row.metric == *metric && row.variant == *variant
            };
            match rows.iter_mut().find(same) {
                Some(row) => row.rounds.push(*value),
                None => rows.push(Row {
                    workload: workload.to_owned(),
                    metric: metric.clone(),
                    variant: variant.clone(),
                    store: (*store).to_owned(),
                    unit: *unit,
                    median: 0.0,
                    least: 0.0,
                    most: 0.0,
                    ratio_to_coeval: None,
                    rounds: vec![*value],
                }),
            }
        }
    }
    for row in &mut rows {
        row.median = median(&row.rounds);
        row.least = row.rounds.iter().copied().fold(f64::INFINITY, f64::min);
        row.most = row.rounds.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    }
    relate(&mut rows);
    rows
}

fn relate(rows: &mut [Row]) {
    let baseline: HashMap<(String, String), f64> = rows
        .iter()
        .filter(|row| row.store == BASELINE)
        .map(|row| ((row.metric.clone(), row.variant.clone()), row.median))
        .collect();
    for row in rows {
        let base = baseline.get(&(row.metric.clone(), row.variant.clone())).copied();
        row.ratio_to_coeval = base.filter(|base| *base > 0.0).map(|base| row.median / base);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ratios() {
        let rounds = |values: [f64; 3]| {
            values.map(|value| Figure::new("reads", "1 thread", Unit::PerSecond, value)).to_vec()
        };
        let figures = [("papaya", rounds([5.0, 6.0, 4.0])), (BASELINE, rounds([10.0, 12.0, 8.0]))];
        let rows = sum_up("get-zipf", &figures);
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].ratio_to_coeval, Some(0.5));
        assert_eq!((rows[1].median, rows[1].least, rows[1].most), (10.0, 8.0, 12.0));
        assert_eq!(rows[1].spread_percent(), 40.0);
    }
}
