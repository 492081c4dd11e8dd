//! Markdown output: the tables of `docs/benchmarks.md`, and a short one for the README.

use std::fmt::Write;

use super::{
    head::Head,
    tables::{BAR_HEADS, bar_cells, columns, half_spread, ratio, split, title, value},
};
use crate::compare::{
    bars::Reached,
    results::{Results, Row, distinct},
};

/// The most columns of figures in one table.
const WIDTH: usize = 6;

/// The whole document.
pub fn document(head: &Head, results: &Results, bars: &[Reached]) -> String {
    let mut text = String::from("## What it was taken on\n");
    for line in head.lines() {
        let _ = writeln!(text, "- {line}");
    }
    let _ = write!(text, "\n```text\n{}```\n\n", head.promises());
    text += "## The bars\n";
    let bars = self::bars(bars);
    text += &table(&bars[0], &bars[1..]);
    for workload in results.workloads() {
        let _ = write!(text, "\n## {workload}\n{}", of_workload(&results.of(&workload)));
    }
    text
}

/// The table of the bars, with the headings first.
pub fn bars(bars: &[Reached]) -> Vec<Vec<String>> {
    let rows = bars.iter().map(|bar| bar_cells(bar).to_vec());
    std::iter::once(BAR_HEADS.map(str::to_owned).to_vec()).chain(rows).collect()
}

/// The tables of one workload. Rates and sizes have the median, ± half the spread of the rounds,
/// and the ratio to `coeval`.
pub fn of_workload(results: &Results) -> String {
    let (related, plain) = split(results);
    let mut text = String::new();
    for (rows, cell) in [(related, related_cell as fn(&Row) -> String), (plain, value)] {
        for columns in columns(&rows).chunks(WIDTH) {
            let heads = std::iter::once("store".to_owned()).chain(columns.iter().map(title));
            let line = |store: &String| {
                let cells = columns.iter().map(|(metric, variant)| {
                    let is = |row: &&&Row| {
                        row.store == *store && row.metric == *metric && row.variant == *variant
                    };
                    rows.iter().find(is).map_or_else(|| "–".to_owned(), |row| cell(row))
                });
                std::iter::once(store.clone()).chain(cells).collect()
            };
            let stores = distinct(rows.iter().map(|row| row.store.clone()));
            let lines: Vec<Vec<String>> = stores.iter().map(line).collect();
            let _ = writeln!(text, "{}", table(&heads.collect::<Vec<_>>(), &lines));
        }
    }
    for absent in &results.absent {
        let _ = writeln!(text, "- {}: – ({})", absent.store, absent.reason);
    }
    text
}

fn related_cell(row: &Row) -> String {
    let ratio = match row.ratio_to_coeval {
        Some(_) => format!(" · {}×", ratio(row.ratio_to_coeval)),
        None => String::new(),
    };
    format!("{} ± {}{ratio}", value(row), half_spread(row))
}

fn table(heads: &[String], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let mut text = line(heads);
    text += &format!("|---|{}\n", "--:|".repeat(heads.len() - 1));
    rows.iter().for_each(|row| text += &line(row));
    text
}

/// The columns of the README: heading, workload, metric, variant.
const SHORT: [(&str, &str, &str, &str); 7] = [
    ("get, Zipf, 2 threads", "get-zipf", "operations", "zipf, 2 thr"),
    ("98/1/1 mix, 2 threads", "read-heavy", "operations", "2 thr"),
    ("batch of 8", "batch8", "batches", "1 thr"),
    ("read of 8 beside a writer", "group-read8", "reads", "1 reader + 1 writer"),
    ("of these torn", "group-read8", "torn", "1 reader + 1 writer"),
    ("p99.99 of a get, 32 threads", "crowd", "read p99.99", "one after the other"),
    ("bytes an entry", "memory", "memory an entry", "from empty"),
];

/// One table of the columns that were measured.
pub fn short(results: &Results) -> String {
    let measured = |column: &&(&str, &str, &str, &str)| {
        let (_, workload, metric, variant) = **column;
        results.stores().iter().any(|s| results.find(workload, metric, variant, s).is_some())
    };
    let columns: Vec<_> = SHORT.iter().filter(measured).collect();
    let heads = std::iter::once("store".to_owned());
    let heads: Vec<String> = heads.chain(columns.iter().map(|c| c.0.to_owned())).collect();
    let line = |store: &&str| {
        let cells = columns.iter().map(|(_, workload, metric, variant)| {
            let row = results.find(workload, metric, variant, store);
            row.map_or_else(|| "–".to_owned(), value)
        });
        std::iter::once((*store).to_owned()).chain(cells).collect()
    };
    let lines: Vec<Vec<String>> = results.stores().iter().map(line).collect();
    table(&heads, &lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::results::{Figure, Unit, sum_up};

    #[test]
    fn tables_are_markdown() {
        let figure =
            |value| vec![Figure::new("operations", "zipf, 2 thr", Unit::PerSecond, value); 2];
        let rows = sum_up("get-zipf", &[("coeval", figure(2e6)), ("std", figure(1e6))]);
        let results = Results { rows, absent: Vec::new() };
        assert_eq!(
            short(&results),
            "| store | get, Zipf, 2 threads |\n|---|--:|\n\
             | coeval | 2.00 M/s |\n| std | 1.00 M/s |\n"
        );
        let text = of_workload(&results);
        assert!(text.contains("| std | 1.00 M/s ± 0 % · 0.50× |"), "{text}");
    }
}
