//! The command line.

use std::{
    ffi::OsString,
    fmt::Display,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    str::FromStr,
};

use lexopt::{
    Arg::{Long, Short, Value},
    Parser, ValueExt,
};

use crate::{race::group::MOST_RELATED, random::SEED};

/// The requested action.
#[derive(Debug)]
pub enum Command {
    /// Run the race.
    Race(RaceArgs),
    /// Print this text.
    Print(String),
}

/// The settings of the race.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct RaceArgs {
    pub runs: usize,
    pub widen: u64,
    pub related: usize,
    pub readers: usize,
    pub writers: usize,
    pub trace: Option<PathBuf>,
    pub rounds: usize,
    pub window: u64,
    pub seed: u64,
    pub json: bool,
    pub out: Option<PathBuf>,
}

/// Where the report goes without `--out`.
const REPORT: &str = "target/race-report";

impl RaceArgs {
    /// The folder for the report, if one is written.
    pub fn report(&self) -> Option<&Path> {
        let usual = (!self.json).then_some(Path::new(REPORT));
        self.out.as_deref().or(usual)
    }
}

impl Default for RaceArgs {
    fn default() -> Self {
        Self {
            runs: 1000,
            widen: 50,
            related: 4,
            readers: 1,
            writers: 1,
            trace: None,
            rounds: 3,
            window: 600,
            seed: SEED,
            json: false,
            out: None,
        }
    }
}

const HELP: &str = "\
The race that coeval grew from, before and after, and what it costs; in less than two minutes.

Usage: coeval-bench [race] [OPTIONS]

Options:
      --runs <N>        Races of each kind [default: 1000]
      --widen <MICROS>  Microseconds between the two steps, where they are widened [default: 50]
      --related <N>     Related entries of each key [default: 4]
      --readers <N>     Threads that read [default: 1]
      --writers <N>     Threads that write, each to groups of its own [default: 1]
      --trace <FILE>    Take the groups from a recorded trace (.keys.zst: a zstd stream of
                        little-endian u64 keys)
      --rounds <N>      Rounds in which the caches take turns at full speed [default: 3]
      --window <MILLIS> Length of a window at full speed, in milliseconds [default: 600]
      --seed <N>        Seed of everything random
      --out <DIR>       Write a page with pictures into this directory [default:
                        target/race-report, with --json none]
      --json            Print one JSON document and nothing else
  -h, --help            Print help
  -V, --version         Print version

The comparison with other stores, and hit ratios, are a program of their own, which takes minutes
to compile:
cargo run --release -p coeval-compare -- --help
So is the near cache beside other ways to read a Valkey or Redis:
cargo run --release -p coeval-redis --example bench

Exit status: 0 when all is well, 1 when coeval showed a group whose members do not belong together,
2 when the arguments or the trace are no good.";

/// Parses the words after the program's name.
///
/// # Errors
/// If they are invalid.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Command, lexopt::Error> {
    let mut parser = Parser::from_args(words);
    let mut args = RaceArgs::default();
    let mut first = true;
    while let Some(arg) = parser.next()? {
        match arg {
            Long("runs") => args.runs = number(&mut parser, "runs", 1..=1_000_000)?,
            Long("widen") => args.widen = number(&mut parser, "widen", 0..=1_000_000)?,
            Long("related") => args.related = number(&mut parser, "related", 1..=MOST_RELATED)?,
            Long("readers") => args.readers = number(&mut parser, "readers", 1..=256)?,
            Long("writers") => args.writers = number(&mut parser, "writers", 1..=256)?,
            Long("trace") => args.trace = Some(parser.value()?.into()),
            Long("rounds") => args.rounds = number(&mut parser, "rounds", 1..=1000)?,
            Long("window") => args.window = number(&mut parser, "window", 1..=600_000)?,
            Long("seed") => args.seed = number(&mut parser, "seed", 0..=u64::MAX)?,
            Long("out") => args.out = Some(parser.value()?.into()),
            Long("json") => args.json = true,
            Short('h') | Long("help") => return Ok(Command::Print(HELP.to_owned())),
            Short('V') | Long("version") => {
                let version = concat!("coeval-bench ", env!("CARGO_PKG_VERSION"));
                return Ok(Command::Print(version.to_owned()));
            }
            Value(word) if first => subcommand(&word.string()?)?,
            other => return Err(other.unexpected()),
        }
        first = false;
    }
    Ok(Command::Race(args))
}

/// Checks the first word, if it is not an option. The error for a command of another program names
/// that.
fn subcommand(word: &str) -> Result<(), lexopt::Error> {
    let now = match word {
        "race" => return Ok(()),
        "compare" => "cargo run --release -p coeval-compare -- [OPTIONS]",
        "hitrate" => "cargo run --release -p coeval-compare -- hitrate [OPTIONS]",
        "near" => "cargo run --release -p coeval-redis --example bench -- [DIR]",
        _ => return Err(format!("there is no '{word}' here; see --help").into()),
    };
    Err(format!("'{word}' is in a program of its own: {now}").into())
}

/// A number within `range`. The error states the range.
fn number<T: FromStr + PartialOrd + Display>(
    parser: &mut Parser,
    option: &str,
    range: RangeInclusive<T>,
) -> Result<T, lexopt::Error> {
    let (least, most) = (range.start(), range.end());
    let number = parser.value()?.string()?.parse().ok();
    number
        .filter(|number| range.contains(number))
        .ok_or_else(|| format!("--{option} must be a whole number from {least} to {most}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(words: &[&str]) -> String {
        parse(words.iter().map(OsString::from)).expect_err("nonsense was accepted").to_string()
    }

    #[test]
    fn options_have_their_documented_effect() {
        let words = ["race", "--runs", "20", "--widen=0", "--json", "--trace", "t", "--seed", "7"];
        let Ok(Command::Race(args)) = parse(words.map(OsString::from)) else { panic!("no race") };
        assert_eq!((args.runs, args.widen, args.json, args.seed), (20, 0, true, 7));
        assert_eq!((args.trace, args.rounds), (Some(PathBuf::from("t")), 3));
    }

    #[test]
    fn nonsense_is_refused() {
        for words in [
            ["--readers", "0"],
            ["--writers", "0"],
            ["--runs", "0"],
            ["--related", "17"],
            ["--widen", "-1"],
            ["--readers", "many"],
        ] {
            let error = error(&words);
            assert!(error.contains(words[0]) && error.contains(" to "), "{error}");
        }
        assert!(error(&["--runs"]).contains("--runs"));
        assert!(error(&["--runs", "5", "race"]).contains("race"));
    }

    #[test]
    fn other_commands_name_their_place() {
        assert!(error(&["compare", "--quick"]).contains("-p coeval-compare -- [OPTIONS]"));
        assert!(error(&["hitrate"]).contains("-p coeval-compare -- hitrate"));
        assert!(error(&["near"]).contains("-p coeval-redis --example bench"));
        assert!(error(&["rase"]).contains("rase"));
    }

    #[test]
    fn the_help_states_the_defaults() {
        let RaceArgs { runs, widen, related, readers, writers, rounds, window, .. } =
            RaceArgs::default();
        for (option, default) in [
            ("--runs", runs as u64),
            ("--widen", widen),
            ("--related", related as u64),
            ("--readers", readers as u64),
            ("--writers", writers as u64),
            ("--rounds", rounds as u64),
            ("--window", window),
        ] {
            let line = HELP.lines().find(|line| line.contains(&format!("{option} <")));
            assert!(line.unwrap().ends_with(&format!("[default: {default}]")), "{option}");
        }
    }
}
