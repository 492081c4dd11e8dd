//! `coeval-compare`: see `coeval-compare --help`.

use std::{error::Error, process::ExitCode};

use clap::Parser;
use coeval_compare::{
    cli::{Cli, Command, DrawArgs},
    compare, hitrate, output,
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        None => compare::run(&cli.compare),
        Some(Command::Hitrate(args)) => hitrate::run(&args).map_err(Into::into),
        Some(Command::Draw(args)) => draw(&args),
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

/// The number of defects: torn rows of `coeval`, or known hit ratios that were not reproduced. Or
/// the error that prevented the run.
type Outcome = Result<u64, Box<dyn Error>>;

fn draw(args: &DrawArgs) -> Outcome {
    output::draw(&args.tables, &args.out)?;
    Ok(0)
}

fn child() -> Outcome {
    compare::child::work()?;
    Ok(0)
}
