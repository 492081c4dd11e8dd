//! The tables beside the traces: an index, and known hit ratios.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::Error;

/// The table of known hit ratios.
pub const KNOWN: &str = "hit_ratios.tsv";
const INDEX: &str = "index.tsv";
const ENDING: &str = ".keys.zst";

/// A trace in the index, and its capacities.
pub struct Listed {
    pub name: String,
    pub capacities: Vec<usize>,
}

/// A known hit ratio, as text.
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

/// The display name of a trace.
pub fn trace_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.strip_suffix(ENDING).unwrap_or(&name).to_owned()
}

/// The traces in the index.
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

/// The known hit ratios.
pub fn known(path: &Path) -> Result<Vec<Known>, Error> {
    let columns = ["trace", "capacity", "policy", "hit_ratio"];
    table(path, &columns, |[trace, capacity, policy, ratio]| {
        let capacity = capacity.parse().map_err(|_| format!("{capacity:?} is not a capacity"))?;
        let [trace, policy, ratio] = [trace, policy, ratio].map(str::to_owned);
        Ok(Known { trace, capacity, policy, ratio })
    })
}

/// The rows of a tab-separated file, with these columns, selected by their headings.
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
