//! `coeval-bench`: see `coeval-bench --help`.

use std::{error::Error, process::ExitCode};

use clap::Parser;
use coeval_bench::{
    cli::{Cli, Command, CompareArgs, HitrateArgs, RaceArgs},
    compare, hitrate, race,
};

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        None => race(&RaceArgs::default()),
        Some(Command::Race(args)) => race(&args),
        Some(Command::Compare(args)) => compare(&args),
        Some(Command::Hitrate(args)) => hitrate(&args),
        Some(Command::Child) => child(),
    };
    match outcome {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// How many mixed groups `coeval` showed, or known hit ratios were not met, or why nothing was run.
type Outcome = Result<u64, Box<dyn Error>>;

fn race(args: &RaceArgs) -> Outcome {
    Ok(race::run(args)?)
}

fn compare(args: &CompareArgs) -> Outcome {
    compare::run(args)
}

fn hitrate(args: &HitrateArgs) -> Outcome {
    Ok(hitrate::run(args)?)
}

fn child() -> Outcome {
    compare::child::work()?;
    Ok(0)
}
