//! The tables beside the traces: which there are, and what is known of them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::Error;

/// The table of known hit ratios.
pub const KNOWN: &str = "hit_ratios.tsv";
const INDEX: &str = "index.tsv";
const ENDING: &str = ".keys.zst";

/// A trace of the index, and the capacities that it lists.
pub struct Listed {
    pub name: String,
    pub capacities: Vec<usize>,
}

/// A known hit ratio, as it is written.
pub struct Known {
    pub trace: String,
    pub capacity: usize,
    pub policy: String,
    pub ratio: String,
}

/// The file of a trace.
pub fn trace_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}{ENDING}"))
}

/// What to call a trace.
pub fn trace_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.strip_suffix(ENDING).unwrap_or(&name).to_owned()
}

/// The traces that the index lists.
pub fn index(dir: &Path) -> Result<Vec<Listed>, Error> {
    let path = dir.join(INDEX);
    let [name, sizes] = ["name", "suggested_cache_sizes"];
    let rows = table(&path, &[name, sizes], |[name, sizes]| {
        let capacities: Result<Vec<usize>, _> = sizes.split(',').map(str::parse).collect();
        let capacities = capacities.map_err(|_| format!("{sizes:?} are not sizes"))?;
        Ok(Listed { name: name.to_owned(), capacities })
    })?;
    Ok(rows)
}

/// What is known.
pub fn known(path: &Path) -> Result<Vec<Known>, Error> {
    let columns = ["trace", "capacity", "policy", "hit_ratio"];
    table(path, &columns, |[trace, capacity, policy, ratio]| {
        let capacity = capacity.parse().map_err(|_| format!("{capacity:?} is not a capacity"))?;
        let [trace, policy, ratio] = [trace, policy, ratio].map(str::to_owned);
        Ok(Known { trace, capacity, policy, ratio })
    })
}

/// The rows of a file of columns between tabs, with these columns picked by their heads.
fn table<const N: usize, R>(
    path: &Path,
    columns: &[&str; N],
    row: impl Fn([&str; N]) -> Result<R, String>,
) -> Result<Vec<R>, Error> {
    let fail = |why: String| Error::Table(path.to_owned(), why);
    let text =
        fs::read_to_string(path).map_err(|error| fail(format!("cannot be read: {error}")))?;
    let mut lines = text.lines();
    let heads: Vec<&str> = lines.next().unwrap_or_default().split('\t').collect();
    let mut places = [0; N];
    for (place, column) in places.iter_mut().zip(columns) {
        let found = heads.iter().position(|head| head == column);
        *place = found.ok_or_else(|| fail(format!("has no column {column:?}")))?;
    }
    let mut rows = Vec::new();
    for (number, line) in lines.enumerate().filter(|(_, line)| !line.is_empty()) {
        let cells: Vec<&str> = line.split('\t').collect();
        let picked = places.map(|place| cells.get(place).copied().unwrap_or_default());
        rows.push(row(picked).map_err(|why| fail(format!("line {}: {why}", number + 2)))?);
    }
    Ok(rows)
}
