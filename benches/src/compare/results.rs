//! Figures of single rounds, and what becomes of them: medians, spread, ratios to `coeval`.

use std::collections::HashMap;

use serde::Serialize;

use crate::measure::median;

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Operations a second: more is better.
    PerSecond,
    /// Less is better, as in all that follow.
    Nanoseconds,
    /// Of memory.
    Bytes,
    /// Of all reads.
    Percent,
    /// How many.
    Count,
}

/// One figure of one round of one store.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Figure {
    pub metric: &'static str,
    pub variant: String,
    pub unit: Unit,
    pub value: f64,
}

impl Figure {
    /// A figure.
    pub fn new(metric: &'static str, variant: &str, unit: Unit, value: f64) -> Self {
        Self { metric, variant: variant.to_owned(), unit, value }
    }
}

/// All rounds of one figure of one store.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct Row {
    pub workload: &'static str,
    pub metric: &'static str,
    pub variant: String,
    pub store: String,
    pub unit: Unit,
    pub median: f64,
    pub least: f64,
    pub most: f64,
    /// This store's median divided by `coeval`'s; none where that is missing or 0.
    pub ratio_to_coeval: Option<f64>,
    pub rounds: Vec<f64>,
}

impl Row {
    /// How far the rounds lie apart, in percent of the median.
    pub fn spread_percent(&self) -> f64 {
        if self.median == 0.0 { 0.0 } else { 100.0 * (self.most - self.least) / self.median }
    }
}

/// The store that the others are measured against.
pub const BASELINE: &str = "coeval";

/// The figures of all rounds of a workload: each store's, in the order of the stores.
pub fn sum_up(workload: &'static str, figures: &[(String, Vec<Figure>)]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for (store, figures) in figures {
        for Figure { metric, variant, unit, value } in figures {
            let same = |row: &&mut Row| {
                row.store == *store && row.metric == *metric && row.variant == *variant
            };
            match rows.iter_mut().find(same) {
                Some(row) => row.rounds.push(*value),
                None => rows.push(Row {
                    workload,
                    metric,
                    variant: variant.clone(),
                    store: store.clone(),
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
    let baseline: HashMap<(&'static str, String), f64> = rows
        .iter()
        .filter(|row| row.store == BASELINE)
        .map(|row| ((row.metric, row.variant.clone()), row.median))
        .collect();
    for row in rows {
        let base = baseline.get(&(row.metric, row.variant.clone())).copied();
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
        let figures = [
            ("papaya".to_owned(), rounds([5.0, 6.0, 4.0])),
            (BASELINE.to_owned(), rounds([10.0, 12.0, 8.0])),
        ];
        let rows = sum_up("get-zipf", &figures);
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].ratio_to_coeval, Some(0.5));
        assert_eq!((rows[1].median, rows[1].least, rows[1].most), (10.0, 8.0, 12.0));
        assert_eq!(rows[1].spread_percent(), 40.0);
    }
}
