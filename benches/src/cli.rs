//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, value_parser};

use crate::{race::group::MOST_RELATED, random::SEED};

/// The race that coeval grew from, and its comparison with other stores.
///
/// Without a subcommand: the race with its default settings, in less than two minutes.
#[derive(Debug, Parser)]
#[command(name = "coeval-bench", version, after_help = AFTER)]
pub struct Cli {
    /// What to run.
    #[command(subcommand)]
    pub command: Option<Command>,
}

const AFTER: &str = "\
Exit status: 0 when all is well, 1 when coeval showed a group whose members do not belong together, \
2 when the arguments or the trace are no good.";

/// What can be run.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Race an update of a key and its related entries against readers
    Race(RaceArgs),
}

/// The settings of the race.
#[derive(Clone, Debug, Args)]
pub struct RaceArgs {
    /// Races of each kind
    #[arg(long, value_name = "N", default_value = "1000", value_parser = size(1, 1_000_000))]
    pub runs: usize,
    /// Delay between the two steps, in microseconds, where the window is widened
    #[arg(long, value_name = "MICROS", default_value_t = 50, value_parser = value_parser!(u64).range(0..=1_000_000))]
    pub widen: u64,
    /// Related entries of each key
    #[arg(long, value_name = "N", default_value = "4", value_parser = size(1, MOST_RELATED))]
    pub related: usize,
    /// Threads that read
    #[arg(long, value_name = "N", default_value = "1", value_parser = size(1, 256))]
    pub readers: usize,
    /// Threads that write, each to groups of its own
    #[arg(long, value_name = "N", default_value = "1", value_parser = size(1, 256))]
    pub writers: usize,
    /// Take the groups from a recorded trace (.keys.zst: a zstd stream of little-endian u64 keys)
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Rounds in which the caches take turns at full speed
    #[arg(long, value_name = "N", default_value = "3", value_parser = size(1, 1000))]
    pub rounds: usize,
    /// Length of a window at full speed, in milliseconds
    #[arg(long, value_name = "MILLIS", default_value_t = 600, value_parser = value_parser!(u64).range(1..=600_000))]
    pub window: u64,
    /// Seed of everything random
    #[arg(long, value_name = "N", default_value_t = SEED)]
    pub seed: u64,
    /// Print one JSON document and nothing else
    #[arg(long)]
    pub json: bool,
}

impl Default for RaceArgs {
    fn default() -> Self {
        #[derive(Parser)]
        struct Only {
            #[command(flatten)]
            args: RaceArgs,
        }
        Only::parse_from(["race"]).args
    }
}

/// A number in `least..=most`, with an error that states the range.
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
        assert_eq!(RaceArgs::default().runs, 1000);
    }

    #[test]
    fn nonsense_is_refused() {
        for line in [
            ["--readers", "0"],
            ["--writers", "0"],
            ["--runs", "0"],
            ["--related", "17"],
            ["--widen", "-1"],
            ["--readers", "many"],
        ] {
            let line = ["coeval-bench", "race"].into_iter().chain(line);
            Cli::try_parse_from(line).expect_err("a nonsensical value was accepted");
        }
    }
}
