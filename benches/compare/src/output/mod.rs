//! Results for eyes and for programs.

pub mod data;
pub mod head;
mod markdown;
mod plots;
pub mod tables;
mod versions;

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use self::head::Head;
use crate::compare::{bars::Reached, results::Results};

/// The results could not be written.
#[derive(Debug)]
pub struct OutputError {
    path: PathBuf,
    error: io::Error,
}

impl fmt::Display for OutputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot be written: {}", self.path.display(), self.error)
    }
}

impl std::error::Error for OutputError {}

/// Makes the folder, before time is spent on what could not be kept.
///
/// # Errors
/// When that is not possible.
pub fn prepare(dir: &Path) -> Result<(), OutputError> {
    fs::create_dir_all(dir).map_err(|error| OutputError { path: dir.to_owned(), error })
}

/// Writes all files into `dir`: `tables.txt`, `tables.md`, `readme.md`, `results.json`, `results.csv` and
/// the plots for which there are figures.
///
/// # Errors
/// When one of them cannot be written.
pub fn write(
    dir: &Path,
    head: &Head,
    results: &Results,
    bars: &[Reached],
) -> Result<(), OutputError> {
    let mut text = format!("{head}\n");
    for workload in results.workloads() {
        text += &tables::of_workload(&results.of(&workload));
    }
    text += &tables::bars(bars);
    let mut files = vec![
        ("tables.txt", text),
        ("tables.md", markdown::document(head, results, bars)),
        ("readme.md", markdown::short(results)),
        ("results.json", data::json(head, results, bars)),
        ("results.csv", data::csv(results)),
    ];
    files.extend(plots::all(results));
    for (name, content) in files {
        let path = dir.join(name);
        fs::write(&path, content).map_err(|error| OutputError { path, error })?;
    }
    Ok(())
}
