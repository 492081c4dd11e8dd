//! Tables, JSON and CSV of a comparison, each beginning with what it was taken on.

use std::{fmt, fmt::Write, fs, path::Path};

use serde::Serialize;

use super::{
    OutputError, Settings,
    results::{Row, Unit},
};
use crate::{
    cli::CompareArgs,
    machine,
    stores::{self, Promises},
    table::{Table, rate, time},
};

/// What the figures were taken on.
#[derive(Debug, Serialize)]
pub struct Head {
    machine: String,
    cores: usize,
    kernel: String,
    load_average_at_start: String,
    allocator: &'static str,
    hasher: &'static str,
    seed: u64,
    keys: u64,
    rounds: usize,
    window_seconds: f64,
    rates_are_per: &'static str,
    versions: Vec<(&'static str, &'static str)>,
    stores: Vec<(&'static str, Promises)>,
}

impl Head {
    /// Asks the system.
    pub fn new(args: &CompareArgs, settings: &Settings, stores: &[&'static str]) -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let promises = |name: &&'static str| Some((*name, stores::promises(name)?));
        Self {
            machine: machine::model(),
            cores: machine::cores(),
            kernel: read("/proc/sys/kernel/osrelease"),
            load_average_at_start: read("/proc/loadavg"),
            allocator: "the system's",
            hasher: "foldhash fast, fixed seed (concread: its own)",
            seed: settings.seed,
            keys: settings.keys,
            rounds: args.rounds,
            window_seconds: args.seconds,
            rates_are_per: settings.clock.second(),
            versions: machine::versions(),
            stores: stores.iter().filter_map(promises).collect(),
        }
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, {} cores, kernel {}", self.machine, self.cores, self.kernel)?;
        writeln!(f, "load average when it began: {}", self.load_average_at_start)?;
        writeln!(f, "allocator: {}; hasher: {}", self.allocator, self.hasher)?;
        let versions = self.versions.iter().map(|(name, version)| format!("{name} {version}"));
        writeln!(f, "{}", versions.collect::<Vec<_>>().join(", "))?;
        writeln!(
            f,
            "{} keys u64 → u64, {} rounds in turn, windows of {} s, rates per {}, seed {:#x}\n",
            self.keys, self.rounds, self.window_seconds, self.rates_are_per, self.seed
        )?;
        let mut table =
            Table::new(["store", "atomic batch", "consistent group", "bounded", "who may block"]);
        let yes = |yes| if yes { "yes" } else { "no" };
        for (name, promises) in &self.stores {
            table.row([
                *name,
                yes(promises.atomic_batch),
                yes(promises.consistent_group_read),
                yes(promises.bounded),
                promises.blocks,
            ]);
        }
        write!(f, "{table}")
    }
}

/// The tables of one workload: rates and sizes with their spread and the ratio to `coeval`, then
/// latencies and shares. A row a store, a column a metric and variant.
pub fn tables(rows: &[Row]) -> String {
    let Some(first) = rows.first() else { return String::new() };
    let related = |row: &&Row| matches!(row.unit, Unit::PerSecond | Unit::Bytes);
    let (wide, narrow): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(related);
    let mut text = String::new();
    if !wide.is_empty() {
        let _ = writeln!(text, "{} (median of the rounds, ± half their spread)\n", first.workload);
        let _ = writeln!(text, "{}", table(&wide, &["", "±", "× coeval"], related_cells));
    }
    if !narrow.is_empty() {
        let _ = writeln!(text, "{} (median of the rounds)\n", first.workload);
        let _ = writeln!(text, "{}", table(&narrow, &[""], |row| vec![value(row)]));
    }
    text
}

/// One table; each column of figures takes `beside.len()` columns, the first headed by its name.
fn table(rows: &[&Row], beside: &[&str], cells_of: fn(&Row) -> Vec<String>) -> Table {
    let columns = distinct(rows, |row| (row.metric, row.variant.clone()));
    let head = |(metric, variant): &(&str, String)| {
        let comma = if variant.is_empty() { "" } else { ", " };
        let name = format!("{metric}{comma}{variant}");
        std::iter::once(name).chain(beside[1..].iter().map(|beside| (*beside).to_owned()))
    };
    let heads = columns.iter().flat_map(head);
    let mut table = Table::new(std::iter::once("store".to_owned()).chain(heads));
    for store in distinct(rows, |row| row.store.clone()) {
        let mut cells = vec![store.clone()];
        for (metric, variant) in &columns {
            let is = |row: &&&Row| {
                row.store == store && row.metric == *metric && row.variant == *variant
            };
            let missing = || vec![String::new(); beside.len()];
            cells.extend(rows.iter().find(is).map_or_else(missing, |row| cells_of(row)));
        }
        table.row(cells);
    }
    table
}

fn value(row: &Row) -> String {
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
    let ratio = row.ratio_to_coeval.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
    vec![value(row), format!("{:.0} %", row.spread_percent() / 2.0), ratio]
}

/// The distinct values of `of`, in order of appearance.
fn distinct<R, T: PartialEq>(rows: &[R], of: impl Fn(&R) -> T) -> Vec<T> {
    let mut seen = Vec::new();
    for value in rows.iter().map(of) {
        if !seen.contains(&value) {
            seen.push(value);
        }
    }
    seen
}

/// One document.
pub fn json(head: &Head, rows: &[Row]) -> String {
    #[derive(Serialize)]
    struct Document<'a> {
        taken_on: &'a Head,
        results: &'a [Row],
    }
    let document = Document { taken_on: head, results: rows };
    serde_json::to_string_pretty(&document).expect("results are plain data")
}

fn csv(rows: &[Row]) -> String {
    let mut text = String::from(
        "workload,metric,variant,store,unit,median,least,most,ratio_to_coeval,rounds\n",
    );
    for row in rows {
        let unit = serde_json::to_string(&row.unit).expect("a unit is a word");
        let ratio = row.ratio_to_coeval.map_or_else(String::new, |ratio| format!("{ratio:.4}"));
        let rounds: Vec<String> = row.rounds.iter().map(f64::to_string).collect();
        let _ = writeln!(
            text,
            "{},{},\"{}\",{},{},{},{},{},{ratio},{}",
            row.workload,
            row.metric,
            row.variant,
            row.store,
            unit.trim_matches('"'),
            row.median,
            row.least,
            row.most,
            rounds.join(";"),
        );
    }
    text
}

/// Writes `compare.txt`, `compare.json` and `compare.csv` into `dir`.
pub fn write_files(dir: &Path, head: &Head, rows: &[Row]) -> Result<(), OutputError> {
    let fail = |path: &Path, error| OutputError { path: path.to_owned(), error };
    fs::create_dir_all(dir).map_err(|error| fail(dir, error))?;
    let mut text = format!("{head}\n");
    for workload in distinct(rows, |row| row.workload) {
        let of: Vec<Row> = rows.iter().filter(|row| row.workload == workload).cloned().collect();
        text += &tables(&of);
    }
    let files =
        [("compare.txt", text), ("compare.json", json(head, rows)), ("compare.csv", csv(rows))];
    for (name, content) in files {
        let path = dir.join(name);
        fs::write(&path, content).map_err(|error| fail(&path, error))?;
    }
    Ok(())
}
