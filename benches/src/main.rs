//! `coeval-bench`: see `coeval-bench --help`.

use std::process::ExitCode;

use clap::Parser;
use coeval_bench::{
    cli::{Cli, Command},
    race,
};

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        None => race::run(&Default::default()),
        Some(Command::Race(args)) => race::run(&args),
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
