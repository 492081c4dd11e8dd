//! The results of the race as text and as JSON.

use std::fmt::Write;

use super::{cost::Cost, runs::Tally, timeline::Timeline};
use crate::table::{self, Table, rate, time};

/// Everything that `race --json` prints.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Report {
    pub settings: Settings,
    pub races: Vec<RaceRow>,
    /// One failure of the two-step cache.
    pub timeline: Option<Timeline>,
    /// A read of coeval beside an update.
    pub coeval_timeline: Option<Timeline>,
    pub cost: Vec<Cost>,
    /// The cost with a writer frozen repeatedly; empty if threads cannot be frozen.
    pub frozen: Vec<Cost>,
    /// The number of mixed groups that `coeval` showed in all of the above. Anything but 0 is a
    /// defect.
    pub coeval_mixed_reads: u64,
}

/// The settings of the race.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Settings {
    pub runs: usize,
    pub widen_micros: u64,
    pub related: usize,
    pub readers: usize,
    pub writers: usize,
    pub groups: usize,
    pub keys_from: String,
    pub rounds: usize,
    pub window_millis: u64,
    pub freeze_in_races_millis: f64,
    pub freeze_in_windows_millis: f64,
    pub seed: u64,
    pub machine: String,
    pub cores: usize,
}

/// One cache in one kind of race.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct RaceRow {
    pub cache: String,
    pub condition: String,
    pub runs: usize,
    pub failed_runs: usize,
    pub failed_percent: f64,
    pub reads: u64,
    pub mixed_reads: u64,
    pub freezes: u64,
    pub freezes_inside_a_write: u64,
    pub first_failure: Option<String>,
}

impl RaceRow {
    /// The row for a tally.
    pub fn of(cache: &str, condition: &str, tally: &Tally) -> Self {
        Self {
            cache: cache.to_owned(),
            condition: condition.to_owned(),
            runs: tally.runs,
            failed_runs: tally.failed_runs,
            failed_percent: 100.0 * tally.failed_runs as f64 / tally.runs.max(1) as f64,
            reads: tally.reads,
            mixed_reads: tally.mixed_reads,
            freezes: tally.freezes.all,
            freezes_inside_a_write: tally.freezes.inside_a_write,
            first_failure: tally.first_failure.map(|mixed| mixed.to_string()),
        }
    }

    /// The name of the cache, and the kind of race.
    pub fn name(&self) -> String {
        match self.condition.as_str() {
            "" => self.cache.clone(),
            condition => format!("{}, {condition}", self.cache),
        }
    }
}

impl Settings {
    /// The lines above the tables.
    pub fn head(&self) -> String {
        format!(
            "A key with {} related entries; {}, {}; {} groups from {}.\n\
             {} on {} cores, seed {:#x}.\n",
            self.related,
            count(self.readers, "reader"),
            count(self.writers, "writer"),
            self.groups,
            self.keys_from,
            self.machine,
            self.cores,
            self.seed,
        )
    }
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// An explanation of the races, and the headings of their table. The rows are printed as they
/// complete.
pub fn races() -> String {
    let head = table::head(&["cache", "runs", "failed", "share", "reads", "mixed"], &RACES);
    format!(
        "A run is one update raced by readers. It failed if a reader saw the new value of the key\n\
         beside a related entry of another generation.\n\n{}",
        head.trim_end()
    )
}

/// The widths of its columns.
const RACES: [usize; 6] = [44, 7, 7, 7, 9, 8];

/// A row of that table.
pub fn race(row: &RaceRow) -> String {
    let cells = [
        row.name(),
        row.runs.to_string(),
        row.failed_runs.to_string(),
        format!("{:.1} %", row.failed_percent),
        row.reads.to_string(),
        row.mixed_reads.to_string(),
    ];
    table::line(&cells, &RACES)
}

/// How many freezes hit a write.
pub fn freezes(rows: &[RaceRow]) -> String {
    let mut text = String::new();
    for row in rows.iter().filter(|row| row.freezes > 0) {
        let RaceRow { cache, freezes, freezes_inside_a_write, .. } = row;
        let _ = writeln!(
            text,
            "\n  {cache}: {freezes_inside_a_write} of {freezes} freezes hit the writer inside a \
             write."
        );
    }
    text
}

/// One failure, as a log.
pub fn failure(timeline: Option<&Timeline>) -> String {
    match timeline {
        Some(timeline) => format!("One failure of the two-step cache:\n\n{timeline}"),
        None => "The two-step cache did not fail; try more runs or readers.\n".to_owned(),
    }
}

/// Why the cache with the lock has the fastest writes.
pub const WHY_A_LOCK_WRITES_FASTER: &str = "\
The lock writes faster because its readers wait: its writer overwrites the earlier values,
which coeval keeps for those who read them.";

/// The table of the costs of each cache.
pub fn cost(rows: &[Cost], heading: &str) -> String {
    let mut table = Table::new([
        "cache",
        "reads/s",
        "writes/s",
        "read p50",
        "p99.9",
        "max",
        "write p50",
        "p99.9",
        "max",
        "mixed",
    ]);
    for row in rows {
        table.row([
            row.cache.clone(),
            rate(row.reads_per_second),
            rate(row.writes_per_second),
            time(row.read.p50),
            time(row.read.p999),
            time(row.read.max),
            time(row.write.p50),
            time(row.write.p999),
            time(row.write.max),
            row.mixed_reads.to_string(),
        ]);
    }
    format!("{heading}\n\n{table}\n{WHY_A_LOCK_WRITES_FASTER}\n")
}

/// The table of the costs with a writer frozen. A stall counts for all the reads that it held up.
pub fn frozen(rows: &[Cost], heading: &str) -> String {
    let mut table =
        Table::new(["cache", "reads/s", "read p99.9", "corrected", "longest", "freezes", "mixed"]);
    for row in rows {
        table.row([
            row.cache.clone(),
            rate(row.reads_per_second),
            time(row.read.p999),
            time(row.read.corrected_p999),
            time(row.read.max),
            row.freezes.to_string(),
            row.mixed_reads.to_string(),
        ]);
    }
    format!(
        "{heading}\n\n{table}\n  corrected: p99.9 counting the reads that a stalled \
         reader would have issued meanwhile.\n"
    )
}

/// The last line: the verdict.
pub fn verdict(report: &Report) -> String {
    match report.coeval_mixed_reads {
        0 => "coeval never showed a mixed group.\n".to_owned(),
        mixed => format!("DEFECT: coeval showed {mixed} mixed groups.\n"),
    }
}
