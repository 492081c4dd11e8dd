//! Results for eyes and for programs.

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

/// The results could not be written, or not be read again.
#[derive(Debug)]
pub enum OutputError {
    /// Nothing can be written there.
    Write(PathBuf, io::Error),
    /// Nothing can be drawn from that.
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

/// Makes the folder, before time is spent on what could not be kept.
///
/// # Errors
/// When that is not possible.
pub fn prepare(dir: &Path) -> Result<(), OutputError> {
    fs::create_dir_all(dir).map_err(|error| OutputError::Write(dir.to_owned(), error))
}

/// Writes all files into `dir`: `index.html`, `tables.txt`, `tables.md`, `readme.md`, `results.json`,
/// `results.csv` and the pictures for which there are figures.
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

/// Draws again what the tables in `file` say: the page and the pictures, into `dir`.
///
/// # Errors
/// When the file cannot be read, or says nothing, or the folder cannot be written.
pub fn draw(file: &Path, dir: &Path) -> Result<(), OutputError> {
    let document = read_back::read(file).map_err(|e| OutputError::Read(file.to_owned(), e))?;
    prepare(dir)?;
    save(dir, drawn(&document))
}

/// The page and the pictures, with the names of their files.
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
