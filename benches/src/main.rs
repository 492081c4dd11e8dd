//! `coeval-bench`: see `coeval-bench --help`.

use std::{error::Error, process::ExitCode};

use coeval_bench::{
    cli::{self, Command},
    race,
};

fn main() -> ExitCode {
    match run() {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Runs the request. Returns how many mixed groups `coeval` showed, or the error that prevented the
/// run.
fn run() -> Result<u64, Box<dyn Error>> {
    match cli::parse(std::env::args_os().skip(1))? {
        Command::Race(args) => Ok(race::run(&args)?),
        Command::Print(text) => {
            println!("{text}");
            Ok(0)
        }
    }
}
