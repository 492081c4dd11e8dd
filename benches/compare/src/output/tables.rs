//! Tables for the terminal.

use std::fmt::Write;

use crate::{
    compare::{
        bars::Reached,
        results::{Results, Row, Unit, distinct},
    },
    table::{Table, rate, time},
};

/// The most columns of figures in one table.
const WIDTH: usize = 4;

/// A column: a metric and a variant.
pub type Column = (String, String);

/// The tables of one workload: rates and sizes with their spread and the ratio to `coeval`, then
/// latencies and shares. Each store has a row, and each metric and variant a column. A list of
/// absent stores with the reasons follows.
pub fn of_workload(results: &Results) -> String {
    let mut text = String::new();
    let (wide, narrow) = split(results);
    let workloads = results.workloads();
    let Some(name) = workloads.first() else { return text };
    for columns in columns(&wide).chunks(WIDTH) {
        let _ = writeln!(text, "{name} (median of the rounds, ± half their spread)\n");
        let _ = writeln!(text, "{}", table(&wide, columns, &["±", "× coeval"], related_cells));
    }
    for columns in columns(&narrow).chunks(WIDTH + 1) {
        let _ = writeln!(text, "{name} (median of the rounds)\n");
        let _ = writeln!(text, "{}", table(&narrow, columns, &[], |row| vec![value(row)]));
    }
    for absent in &results.absent {
        let _ = writeln!(text, "  –  {name}, {}: {}", absent.store, absent.reason);
    }
    if !results.absent.is_empty() {
        text.push('\n');
    }
    text
}

/// Splits the rows into those that are compared with `coeval`'s, and those that are not.
pub fn split(results: &Results) -> (Vec<&Row>, Vec<&Row>) {
    results.rows.iter().partition(|row| matches!(row.unit, Unit::PerSecond | Unit::Bytes))
}

/// The columns for which there are figures.
pub fn columns(rows: &[&Row]) -> Vec<Column> {
    distinct(rows.iter().map(|row| (row.metric.clone(), row.variant.clone())))
}

/// The heading of a column.
pub fn title((metric, variant): &Column) -> String {
    if variant.is_empty() { metric.clone() } else { format!("{metric}, {variant}") }
}

/// One table. The columns `beside` follow each column of figures.
fn table(
    rows: &[&Row],
    columns: &[Column],
    beside: &[&str],
    cells_of: fn(&Row) -> Vec<String>,
) -> Table {
    let head = |column: &Column| {
        std::iter::once(title(column)).chain(beside.iter().map(|beside| (*beside).to_owned()))
    };
    let heads = columns.iter().flat_map(head);
    let mut table = Table::new(std::iter::once("store".to_owned()).chain(heads));
    for store in distinct(rows.iter().map(|row| row.store.clone())) {
        let mut cells = vec![store.clone()];
        for (metric, variant) in columns {
            let is = |row: &&&Row| {
                row.store == store && row.metric == *metric && row.variant == *variant
            };
            match rows.iter().find(is) {
                Some(row) => cells.extend(cells_of(row)),
                None => {
                    cells.push("–".to_owned());
                    cells.extend(beside.iter().map(|_| String::new()));
                }
            }
        }
        table.row(cells);
    }
    table
}

/// The median, with its unit.
pub fn value(row: &Row) -> String {
    match row.unit {
        Unit::PerSecond => format!("{}/s", rate(row.median)),
        Unit::Nanoseconds => time(row.median as u64),
        Unit::Percent => format!("{:.3} %", row.median),
        Unit::Bytes if row.median.abs() < 1e4 => format!("{:.1} B", row.median),
        Unit::Bytes => format!("{:.1} MiB", row.median / f64::from(1 << 20)),
        Unit::Count => format!("{}", row.median),
    }
}

fn related_cells(row: &Row) -> Vec<String> {
    vec![value(row), half_spread(row), ratio(row.ratio_to_coeval)]
}

/// Half the spread of the rounds.
pub fn half_spread(row: &Row) -> String {
    format!("{:.0} %", row.spread_percent() / 2.0)
}

/// A ratio in three digits, or an empty cell.
pub fn ratio(ratio: Option<f64>) -> String {
    match ratio {
        None => String::new(),
        Some(ratio) if ratio >= 9.995 => format!("{ratio:.1}"),
        Some(ratio) => format!("{ratio:.2}"),
    }
}

/// The bars and the results.
pub fn bars(bars: &[Reached]) -> String {
    let mut table = Table::new(BAR_HEADS);
    for bar in bars.iter().filter(|bar| bar.reached.is_some()) {
        table.row(bar_cells(bar));
    }
    let missing = bars.iter().filter(|bar| bar.reached.is_none()).count();
    let mut text = format!("bars\n\n{table}");
    if missing > 0 {
        let _ = writeln!(text, "\n  {missing} more were not measured in this run");
    }
    text
}

/// The headings of the columns of the bars.
pub const BAR_HEADS: [&str; 6] =
    ["coeval against", "bar", "reached", "in single rounds", "", "against"];

/// The cells of one bar.
pub fn bar_cells(bar: &Reached) -> [String; 6] {
    let rounds = bar.rounds.map_or_else(String::new, |[least, most]| {
        format!("{}–{}", ratio(Some(least)), ratio(Some(most)))
    });
    let met = match bar.met {
        Some(true) => "met",
        Some(false) => "missed",
        None => "not measured",
    };
    let against = bar.against.clone().unwrap_or_default();
    [bar.claim.to_owned(), bar.bar.clone(), ratio(bar.reached), rounds, met.to_owned(), against]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::results::{Absent, Figure, sum_up};

    #[test]
    fn an_unsupported_workload_is_a_dash_with_a_reason() {
        let figure = |variant, value| Figure::new("gets", variant, Unit::PerSecond, value);
        let all = vec![figure("1 thr", 2e6), figure("2 thr", 4e6)];
        let rows = sum_up("get", &[("coeval", all), ("std", vec![figure("1 thr", 1e6)])]);
        let gone = ("get".to_owned(), "evmap".to_owned(), "crashed".to_owned());
        let absent = vec![Absent { workload: gone.0, store: gone.1, reason: gone.2 }];
        let text = of_workload(&Results { rows, absent });
        let std = text.lines().find(|line| line.trim_start().starts_with("std")).unwrap();
        assert!(std.contains("1.00 M/s") && std.contains("0.50") && std.ends_with('–'), "{text}");
        assert!(text.contains("–  get, evmap: crashed"), "{text}");
    }

    #[test]
    fn a_missed_bar_says_so() {
        let reached = Reached {
            claim: "c",
            bar: "≥ 2".to_owned(),
            reached: Some(1.234),
            rounds: Some([1.0, 12.34]),
            met: Some(false),
            against: Some("papaya".to_owned()),
        };
        assert_eq!(bar_cells(&reached), ["c", "≥ 2", "1.23", "1.00–12.3", "missed", "papaya"]);
        assert!(bars(&[Reached { reached: None, ..reached }]).contains("1 more were not measured"));
    }
}
