//! The inverse of `markdown::document`: reads its tables, so that they can be drawn again.

use std::{fmt, fs, io, path::Path};

use crate::compare::results::{BASELINE, Results, Row, Unit};

/// The content of a document.
#[derive(Debug, Default)]
pub struct Document {
    /// The machine, versions and settings.
    pub notes: Vec<String>,
    /// The promises of each store, as text.
    pub promises: String,
    /// The table of the bars, with the headings first.
    pub bars: Vec<Vec<String>>,
    /// The figures, to the number of digits in the document. The rounds are not in it.
    pub results: Results,
}

/// Why a document could not be read.
#[derive(Debug)]
pub enum Error {
    /// The file cannot be read.
    Io(io::Error),
    /// The file has no figures.
    Empty,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "cannot be read: {error}"),
            Self::Empty => write!(f, "has no tables of a comparison"),
        }
    }
}

impl std::error::Error for Error {}

/// Reads `tables.md`, or a document that includes it.
///
/// # Errors
/// If the file cannot be read or has no tables of a comparison.
pub fn read(path: &Path) -> Result<Document, Error> {
    let document = parse(&fs::read_to_string(path).map_err(Error::Io)?);
    if document.results.rows.is_empty() { Err(Error::Empty) } else { Ok(document) }
}

fn parse(text: &str) -> Document {
    let mut document = Document::default();
    let (mut section, mut heads): (&str, Vec<String>) = ("", Vec::new());
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            section = heading;
        } else if let Some(cells) = cells(line) {
            match section {
                "The bars" => document.bars.push(cells),
                _ if cells[0] == "store" => heads = cells,
                _ => document.results.rows.extend(rows(section, &heads, &cells)),
            }
        } else if section == "What it was taken on" {
            match line.strip_prefix("- ") {
                Some(note) => document.notes.push(note.to_owned()),
                None if !line.starts_with("```") => document.promises += &format!("{line}\n"),
                None => {}
            }
        }
    }
    document
}

/// The cells of a table row. `None` for the line below the headings, or any other line.
fn cells(line: &str) -> Option<Vec<String>> {
    let line = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    let is_rule = line.starts_with("---");
    (!is_rule).then(|| line.split('|').map(|cell| cell.trim().to_owned()).collect())
}

/// The figures of one store.
fn rows(workload: &str, heads: &[String], cells: &[String]) -> Vec<Row> {
    let mut rows = Vec::new();
    for (head, cell) in heads.iter().zip(cells).skip(1) {
        let Some((unit, median, spread)) = figure(cell) else { continue };
        let (metric, variant) = head.split_once(", ").unwrap_or((head, ""));
        let store = cells[0].clone();
        let ratio =
            cell.split_once(" · ").and_then(|(_, ratio)| ratio.trim_end_matches('×').parse().ok());
        let ratio = if store == BASELINE { Some(1.0) } else { ratio };
        rows.push(Row {
            workload: workload.to_owned(),
            metric: metric.to_owned(),
            variant: variant.to_owned(),
            store,
            unit,
            median,
            least: median * (1.0 - spread),
            most: median * (1.0 + spread),
            ratio_to_coeval: ratio,
            rounds: Vec::new(),
        });
    }
    rows
}

/// `12.3 M/s ± 4 % · 0.56×`: its unit, the value in it, and the spread as a share.
fn figure(cell: &str) -> Option<(Unit, f64, f64)> {
    let (value, rest) = cell.split_once(" ± ").unwrap_or((cell, ""));
    let spread: f64 = rest.split(' ').next()?.parse().unwrap_or(0.0);
    let (number, unit) = value.split_once(' ').unwrap_or((value, ""));
    let (number, unit) = match number.strip_suffix("/s") {
        Some(number) => (number, "/s"),
        None => (number, unit),
    };
    let number: f64 = number.parse().ok()?;
    let (unit, factor) = match unit {
        "/s" => (Unit::PerSecond, 1.0),
        "k/s" => (Unit::PerSecond, 1e3),
        "M/s" => (Unit::PerSecond, 1e6),
        "ns" => (Unit::Nanoseconds, 1.0),
        "µs" => (Unit::Nanoseconds, 1e3),
        "ms" => (Unit::Nanoseconds, 1e6),
        "s" => (Unit::Nanoseconds, 1e9),
        "%" => (Unit::Percent, 1.0),
        "B" => (Unit::Bytes, 1.0),
        "MiB" => (Unit::Bytes, f64::from(1 << 20)),
        "" => (Unit::Count, 1.0),
        _ => return None,
    };
    Some((unit, number * factor, spread / 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        compare::results::{Figure, sum_up},
        output::{markdown, tables::value},
    };

    #[test]
    fn a_written_document_is_read_back() {
        let figures = vec![
            Figure::new("operations", "zipf, 2 thr", Unit::PerSecond, 28.4e6),
            Figure::new("operations", "few", Unit::PerSecond, 812.0),
            Figure::new("operations", "some", Unit::PerSecond, 80_700.0),
            Figure::new("read p99.99", "one after the other", Unit::Nanoseconds, 63_400.0),
            Figure::new("read max", "one after the other", Unit::Nanoseconds, 7.9e6),
            Figure::new("torn", "8", Unit::Percent, 0.006),
            Figure::new("memory an entry", "from empty", Unit::Bytes, 66.8),
            Figure::new("growth", "", Unit::Bytes, 629.5 * f64::from(1 << 20)),
            Figure::new("overwrites", "", Unit::Count, 9_264_448.0),
        ];
        let rows = sum_up("get-zipf, grown", &[("coeval", figures.clone()), ("papaya", figures)]);
        let results = Results { rows, absent: Vec::new() };
        let read =
            parse(&format!("# Title\n\n## get-zipf, grown\n{}", markdown::of_workload(&results)));
        assert_eq!(read.results.rows.len(), results.rows.len());
        for row in &results.rows {
            let again = read.results.find(&row.workload, &row.metric, &row.variant, &row.store);
            let again = again.unwrap_or_else(|| panic!("{row:?} is missing"));
            assert_eq!((again.unit, value(again)), (row.unit, value(row)));
        }
    }

    #[test]
    fn notes_promises_and_bars_are_unchanged() {
        let text = "## What it was taken on\n- a machine\n\n\
            ```text\n  store  batch\n```\n\n## The bars\n\
                    | coeval against | bar |\n|---|--:|\n| papaya | ≥ 1 |\n";
        let document = parse(text);
        assert_eq!(document.notes, ["a machine"]);
        assert!(document.promises.contains("  store  batch\n"));
        assert_eq!(document.bars, [["coeval against", "bar"], ["papaya", "≥ 1"]]);
    }

    #[test]
    fn dashes_are_no_figures() {
        assert!(figure("–").is_none() && figure("").is_none());
        assert_eq!(figure("812/s ± 2 %"), Some((Unit::PerSecond, 812.0, 0.02)));
    }
}
