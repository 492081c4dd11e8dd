//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, builder::PossibleValuesParser, value_parser};

use crate::{compare::usual_threads, random::SEED, stores::NAMES, workloads::Workload};

/// Compares coeval with other stores, which take turns.
///
/// Without --workload: everything, as planned, in less than 25 minutes on two cores.
#[derive(Debug, Parser)]
#[command(
    name = "coeval-compare",
    version,
    after_help = AFTER,
    args_conflicts_with_subcommands = true
)]
pub struct Cli {
    /// What to run instead of the comparison.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The settings of the comparison.
    #[command(flatten)]
    pub compare: CompareArgs,
}

const AFTER: &str = "\
Exit status: 0 when all is well, 1 when coeval showed a group whose members do not belong \
together, or a known hit ratio was not met, 2 when the arguments or the trace are no good.";

/// What can be run besides the comparison.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure hit ratios on recorded traces, next to other bounded caches and the optimum
    Hitrate(HitrateArgs),
    /// Draw the page and the pictures again from the tables of an earlier run
    Draw(DrawArgs),
    /// Run one store with one workload in this process (the comparison uses this)
    #[command(hide = true)]
    Child,
}

/// The settings of the comparison.
#[derive(Clone, Debug, Args)]
pub struct CompareArgs {
    /// Workloads, separated by commas [default: all, with their own windows and rounds]
    #[arg(long, value_name = "W,...", value_delimiter = ',', value_enum)]
    pub workload: Vec<Workload>,
    /// Without --workload: only the most important workloads and stores, in less than two minutes
    #[arg(long, conflicts_with = "workload")]
    pub quick: bool,
    /// Stores, separated by commas [default: all, or those that the plan names]
    #[arg(
        long,
        value_name = "S,...",
        value_delimiter = ',',
        value_parser = PossibleValuesParser::new(NAMES)
    )]
    pub stores: Vec<String>,
    /// Numbers of threads, separated by commas [default: 1, and one per core]
    #[arg(long, value_name = "N,...", value_delimiter = ',', value_parser = size(1, 256))]
    threads: Vec<usize>,
    /// Length of a window, in seconds [default: 1, or as planned]
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub seconds: Option<f64>,
    /// Rounds in which the stores take turns [default: 3, or as planned]
    #[arg(long, value_name = "N", value_parser = size(1, 1000))]
    pub rounds: Option<usize>,
    /// Keys of the point workloads and of memory, and entries of the larger store of evict
    /// [default: 2^20, or as planned]
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1000..=1 << 28))]
    pub keys: Option<u64>,
    /// Let tables grow from empty instead of reserving room (needs --workload; the plan has both)
    #[arg(long, requires = "workload")]
    pub grown: bool,
    /// Count operations per second of each thread's processor time. This is steadier on a busy
    /// machine, but does not see waiting (latencies do not change)
    #[arg(long)]
    pub cpu_time: bool,
    /// Recorded trace for replay (.keys.zst: a zstd stream of little-endian u64 keys)
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Entries that a bounded store may hold in replay [default: a tenth of the trace's keys]
    #[arg(long, value_name = "N", value_parser = size(1, 1 << 30))]
    pub capacity: Option<usize>,
    /// Seconds after which a phase of memory-overwrite ends even if it is incomplete [default: 300,
    /// or as planned]
    #[arg(long, value_name = "S", value_parser = value_parser!(u64).range(1..=86_400))]
    pub cap: Option<u64>,
    /// Seconds after which a store that does not answer is killed and excluded
    #[arg(
        long,
        value_name = "S",
        default_value_t = 900,
        value_parser = value_parser!(u64).range(1..=86_400)
    )]
    pub limit: u64,
    /// Write a page with pictures, tables (text, Markdown), results (JSON, CSV) and the pictures
    /// (SVG) into this directory
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Seed of all random numbers
    #[arg(long, value_name = "N", default_value_t = SEED)]
    pub seed: u64,
    /// Print one JSON document and nothing else
    #[arg(long)]
    pub json: bool,
}

impl CompareArgs {
    /// The settings for these command line words, which must be valid.
    #[cfg(test)]
    pub fn of(words: &[&str]) -> Self {
        #[derive(Parser)]
        struct Only {
            #[command(flatten)]
            args: CompareArgs,
        }
        Only::parse_from(["compare"].iter().chain(words)).args
    }

    /// The requested numbers of threads, in ascending order.
    pub fn threads(&self) -> Vec<usize> {
        let mut threads =
            if self.threads.is_empty() { usual_threads() } else { self.threads.clone() };
        threads.sort_unstable();
        threads.dedup();
        threads
    }
}

/// Which hit ratios to measure.
#[derive(Clone, Debug, Args)]
pub struct HitrateArgs {
    /// A recorded trace (.keys.zst: a zstd stream of little-endian u64 keys)
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present_any = ["traces", "check"],
        requires = "capacity"
    )]
    pub trace: Option<PathBuf>,
    /// Capacities in entries, separated by commas
    #[arg(
        long,
        value_name = "N,...",
        value_delimiter = ',',
        value_parser = size(1, 1 << 30),
        requires = "trace"
    )]
    pub capacity: Vec<usize>,
    /// All traces in DIR/index.tsv, at the capacities that it lists
    #[arg(long, value_name = "DIR", conflicts_with = "trace")]
    pub traces: Option<PathBuf>,
    /// Compare exact LRU, FIFO and the optimum with DIR/hit_ratios.tsv (or that file), to the last
    /// digit
    #[arg(long, value_name = "DIR", conflicts_with_all = ["trace", "traces", "out"])]
    pub check: Option<PathBuf>,
    /// Write hitrate.tsv, and a plot of each trace, into this directory
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// What to draw again.
#[derive(Clone, Debug, Args)]
pub struct DrawArgs {
    /// The tables.md of an earlier run
    #[arg(value_name = "FILE")]
    pub tables: PathBuf,
    /// Write index.html and the pictures (SVG) into this directory
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// Parses a sensible length for a window.
fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.01..=600.0).contains(&seconds) {
        Ok(seconds)
    } else {
        Err("must be between 0.01 and 600".to_owned())
    }
}

/// Parses a number in `least..=most`. The error states the range.
fn size(least: usize, most: usize) -> impl Fn(&str) -> Result<usize, String> + Clone {
    move |text| {
        let number: usize = text.parse().map_err(|_| "not a whole number".to_owned())?;
        if (least..=most).contains(&number) {
            Ok(number)
        } else {
            Err(format!("must be between {least} and {most}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
