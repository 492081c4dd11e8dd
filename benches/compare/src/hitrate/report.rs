//! Tables and files of hit ratios.

use std::{fmt::Write, fs, path::Path};

use super::{Cell, Contestant, Error, files::Known, plot};
use crate::table::Table;

/// Columns of other simulators, where known.
const OTHERS: [&str; 3] = ["libCacheSim:S3FIFO", "libCacheSim:ARC", "libCacheSim:Sieve"];

fn percent(ratio: f64) -> String {
    format!("{:.2}", ratio * 100.0)
}

/// The table of all results, with means, and a comparison of coeval with its peers.
pub fn tables(cells: &[Cell], known: &[Known]) -> String {
    let heads = ["trace", "capacity"].into_iter().map(str::to_owned);
    let names = Contestant::ALL.iter().map(|contestant| contestant.name().to_owned());
    let others = OTHERS.iter().map(|name| name.trim_start_matches("libCacheSim:").to_owned());
    let last = ["to the best peer".to_owned()];
    let mut table = Table::new(heads.chain(names).chain(others).chain(last));
    for cell in cells {
        let mut row = vec![cell.trace.clone(), cell.capacity.to_string()];
        row.extend(cell.ratios.iter().map(|ratio| percent(*ratio)));
        row.extend(OTHERS.iter().map(|policy| {
            let is = |row: &&Known| {
                row.trace == cell.trace && row.capacity == cell.capacity && row.policy == *policy
            };
            let known = known.iter().find(is).and_then(|row| row.ratio.parse().ok());
            known.map_or_else(String::new, percent)
        }));
        row.push(format!("{:+.2}", gain(cell) * 100.0));
        table.row(row);
    }
    let mut row = vec!["mean".to_owned(), String::new()];
    row.extend(Contestant::ALL.iter().map(|contestant| percent(mean(cells, *contestant))));
    table.row(row);
    let mut text =
        format!("Hit ratios in percent, in entries, from an empty cache.\n{NOTES}\n{table}");
    let _ = writeln!(text, "\n{}", verdict(cells));
    text
}

const NOTES: &str = "\
coeval: the cache, which keeps its bound. moka: housekeeping when it sees fit, which holds some
entries more than the capacity in between; moka-exact: run_pending_tasks() after each insertion.
quick_cache: its own number of shards.
S3FIFO, ARC, Sieve: libCacheSim's, where the table beside the traces has them.
";

fn ratio(cell: &Cell, contestant: Contestant) -> f64 {
    let place = Contestant::ALL.iter().position(|other| *other == contestant);
    place.and_then(|place| cell.ratios.get(place)).copied().unwrap_or(f64::NAN)
}

fn mean(cells: &[Cell], contestant: Contestant) -> f64 {
    cells.iter().map(|cell| ratio(cell, contestant)).sum::<f64>() / cells.len() as f64
}

/// coeval's hit ratio minus that of the best peer of this row.
fn gain(cell: &Cell) -> f64 {
    let best = Contestant::PEERS.iter().map(|peer| ratio(cell, *peer)).fold(0.0, f64::max);
    ratio(cell, Contestant::Coeval) - best
}

fn verdict(cells: &[Cell]) -> String {
    let means = Contestant::PEERS.map(|peer| (mean(cells, peer), peer.name()));
    let best = means.into_iter().max_by(|a, b| a.0.total_cmp(&b.0)).expect("there are peers");
    let worst = cells.iter().min_by(|a, b| gain(a).total_cmp(&gain(b))).expect("there are cells");
    format!(
        "The mean is {:+.2} points from that of the best single peer ({}); where it is furthest \
         behind the best\npeer of a cell, by {:+.2} points ({} at {}).",
        (mean(cells, Contestant::Coeval) - best.0) * 100.0,
        best.1,
        gain(worst) * 100.0,
        worst.trace,
        worst.capacity,
    )
}

/// Writes `hitrate.tsv`, and a plot for each trace.
pub fn write(out: &Path, cells: &[Cell]) -> Result<(), Error> {
    let fail = |path: &Path, error| Error::Output(path.to_owned(), error);
    fs::create_dir_all(out).map_err(|error| fail(out, error))?;
    let mut text = String::from("trace\tcapacity\tpolicy\thit_ratio\n");
    for cell in cells {
        for contestant in Contestant::ALL {
            let (name, ratio) = (contestant.name(), ratio(cell, contestant));
            let _ = writeln!(text, "{}\t{}\t{name}\t{ratio:.6}", cell.trace, cell.capacity);
        }
    }
    let path = out.join("hitrate.tsv");
    fs::write(&path, text).map_err(|error| fail(&path, error))?;
    for of_trace in cells.chunk_by(|a, b| a.trace == b.trace) {
        plot::draw(out, of_trace)?;
    }
    Ok(())
}
