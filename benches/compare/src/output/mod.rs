//! Output of results, for people and for programs.

pub mod data;
pub mod head;
mod markdown;
mod page;
mod pictures;
mod read_back;
pub mod tables;
mod versions;

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use self::{head::Head, read_back::Document};
use crate::compare::{bars::Reached, results::Results};

/// Results could not be written, or could not be read back.
#[derive(Debug)]
pub enum OutputError {
    /// This path cannot be written.
    Write(PathBuf, io::Error),
    /// This file cannot be drawn.
    Read(PathBuf, read_back::Error),
}

impl fmt::Display for OutputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write(path, error) => write!(f, "{} cannot be written: {error}", path.display()),
            Self::Read(path, error) => write!(f, "{} {error}", path.display()),
        }
    }
}

impl std::error::Error for OutputError {}

/// Creates the folder, so that an invalid path is reported before the measurements.
///
/// # Errors
/// If the folder cannot be created.
pub fn prepare(dir: &Path) -> Result<(), OutputError> {
    fs::create_dir_all(dir).map_err(|error| OutputError::Write(dir.to_owned(), error))
}

/// Writes all files into `dir`: `index.html`, `tables.txt`, `tables.md`, `readme.md`,
/// `results.json`, `results.csv`, and the pictures for which there are figures.
///
/// # Errors
/// If a file cannot be written.
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
    let document = Document {
        notes: head.lines(),
        promises: head.promises().to_string(),
        bars: markdown::bars(bars),
        results: results.clone(),
    };
    let mut files = vec![
        ("tables.txt".to_owned(), text),
        ("tables.md".to_owned(), markdown::document(head, results, bars)),
        ("readme.md".to_owned(), markdown::short(results)),
        ("results.json".to_owned(), data::json(head, results, bars)),
        ("results.csv".to_owned(), data::csv(results)),
    ];
    files.extend(drawn(&document));
    save(dir, files)
}

/// Draws the page and the pictures from the tables in `file` again, into `dir`.
///
/// # Errors
/// If the file cannot be read or has no figures, or the folder cannot be written.
pub fn draw(file: &Path, dir: &Path) -> Result<(), OutputError> {
    let document = read_back::read(file).map_err(|e| OutputError::Read(file.to_owned(), e))?;
    prepare(dir)?;
    save(dir, drawn(&document))
}

/// The page and the pictures, with their file names.
fn drawn(document: &Document) -> Vec<(String, String)> {
    let pictures = pictures::all(&document.results);
    let page = ("index.html".to_owned(), page::html(document, &pictures));
    let alone = pictures.iter().map(|picture| (picture.file.clone(), picture.svg.alone()));
    alone.chain([page]).collect()
}

fn save(dir: &Path, files: Vec<(String, String)>) -> Result<(), OutputError> {
    for (name, content) in files {
        let path = dir.join(name);
        fs::write(&path, content).map_err(|error| OutputError::Write(path, error))?;
    }
    Ok(())
}
