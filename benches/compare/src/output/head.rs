//! The machine and settings of a run, and the promises of each store.

use std::{fmt, fs};

use serde::Serialize;

use super::versions;
use crate::{
    cli::CompareArgs,
    compare::{plan::Item, results::distinct},
    machine,
    stores::{self, Promises},
    table::Table,
};

/// The machine, versions and settings of a run.
#[derive(Debug, Serialize)]
pub struct Head {
    machine: String,
    cores: usize,
    kernel: String,
    load_average_at_start: String,
    allocator: &'static str,
    hasher: &'static str,
    rates_are_per: &'static str,
    seed: u64,
    trace: Option<String>,
    threads: Vec<usize>,
    versions: Vec<(&'static str, &'static str)>,
    stores: Vec<(&'static str, Promises)>,
    workloads: Vec<Run>,
}

/// The settings of a workload's rounds.
#[derive(Debug, Serialize)]
struct Run {
    workload: String,
    keys: u64,
    rounds: usize,
    window_seconds: f64,
}

impl Head {
    /// Collects them from the system and the arguments.
    pub fn new(args: &CompareArgs, items: &[Item]) -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let promises = |name: &'static str| Some((name, stores::promises(name)?));
        let present = distinct(items.iter().flat_map(|item| item.stores.clone()));
        let run = |item: &Item| Run {
            workload: item.name(),
            keys: item.settings.keys,
            rounds: item.rounds,
            window_seconds: item.settings.length.as_secs_f64(),
        };
        let trace = args.trace.as_deref().and_then(|path| path.file_name());
        Self {
            machine: machine::model(),
            cores: machine::cores(),
            kernel: read("/proc/sys/kernel/osrelease"),
            load_average_at_start: read("/proc/loadavg"),
            allocator: "the system's",
            hasher: "foldhash fast, fixed seed (concread: its own foldhash, random seed)",
            rates_are_per: items.first().map_or("second", |item| item.settings.clock().second()),
            seed: args.seed,
            trace: trace.map(|name| name.to_string_lossy().into_owned()),
            threads: args.threads(),
            versions: versions::all(),
            stores: present.into_iter().filter_map(promises).collect(),
            workloads: items.iter().map(run).collect(),
        }
    }

    /// Machine, versions and settings, one line each.
    pub fn lines(&self) -> Vec<String> {
        let versions = self.versions.iter().map(|(name, version)| format!("{name} {version}"));
        let threads: Vec<String> = self.threads.iter().map(usize::to_string).collect();
        let mut lines = vec![
            format!("{}, {} cores, kernel {}", self.machine, self.cores, self.kernel),
            format!("load average when it began: {}", self.load_average_at_start),
            format!("allocator: {}; hasher: {}", self.allocator, self.hasher),
            versions.collect::<Vec<_>>().join(", "),
            format!(
                "threads {}; rates per {}; seed {:#x}",
                threads.join(", "),
                self.rates_are_per,
                self.seed
            ),
        ];
        lines.extend(self.trace.as_ref().map(|trace| format!("trace {trace}")));
        lines.extend(self.runs());
        lines
    }

    /// One line for all workloads with the same settings.
    fn runs(&self) -> Vec<String> {
        let how = |run: &Run| {
            let Run { keys, rounds, window_seconds, .. } = run;
            format!("{rounds} rounds in turn, windows of {window_seconds} s, {keys} keys: ")
        };
        let alike = distinct(self.workloads.iter().map(how));
        let names = |line: &String| {
            let same = self.workloads.iter().filter(|run| how(run) == *line);
            same.map(|run| run.workload.as_str()).collect::<Vec<_>>().join(", ")
        };
        alike.iter().map(|line| format!("{line}{}", names(line))).collect()
    }

    /// The promises of each store.
    pub fn promises(&self) -> Table {
        let heads =
            ["store", "atomic batch", "consistent group", "bounded", "loader", "who may block"];
        let mut table = Table::new(heads);
        let yes = |yes| if yes { "yes" } else { "no" };
        for (name, promises) in &self.stores {
            table.row([
                *name,
                yes(promises.atomic_batch),
                yes(promises.consistent_group_read),
                yes(promises.bounded),
                promises.loader.unwrap_or("none"),
                promises.blocks,
            ]);
        }
        table
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.lines() {
            writeln!(f, "{line}")?;
        }
        write!(f, "\n{}", self.promises())
    }
}
