//! A web service over SQLite whose handlers load through the cache, and a load test against it.
//!
//! ```sh
//! cargo run -p async-service -- serve   # the service; then open http://127.0.0.1:8700/coeval
//! cargo run -p async-service            # the load test: it starts the service by itself
//! cargo run --release -p async-service -- load long
//! ```
//!
//! README.md, in the folder of this example, says what is to be seen.

mod database;
mod load;
mod pages;
mod prometheus;
mod routes;
mod rows;
mod service;
mod settings;

use settings::Settings;
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["serve", ref options @ ..] => match Settings::parse(options) {
            Ok(settings) => ended(service::run(settings).await),
            Err(wrong) => usage(&wrong),
        },
        [] | ["load"] => ended(load::run(load::Plan::SHORT).await),
        ["load", "long"] => ended(load::run(load::Plan::LONG).await),
        ["--help"] => usage(""),
        _ => usage("unknown arguments"),
    }
}

fn ended(result: std::io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage(wrong: &str) -> ExitCode {
    eprintln!("{wrong}\n\nasync-service [load [long]]\nasync-service serve [OPTION VALUE]...");
    eprintln!("{}", settings::OPTIONS);
    ExitCode::FAILURE
}
