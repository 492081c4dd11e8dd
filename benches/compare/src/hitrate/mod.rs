//! Hit ratios. Every request of a recorded trace is a look-up and, on a miss, an insertion. The
//! cache is empty at first, and its capacity counts entries.
//!
//! The bounded caches are compared with exact LRU and FIFO, and with the clairvoyant optimum
//! (Belady's, which may decline to insert a key). The hit ratios of these three on the traces are
//! known; `--check` compares them with the known values first.

mod contestants;
mod exact;
mod files;
mod plot;
mod report;

use std::{
    collections::HashMap,
    fmt, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    sync::mpsc,
};

use self::files::{Known, Listed};
use crate::{
    cli::HitrateArgs,
    machine, progress,
    stores::Hasher,
    trace::{TraceError, read_keys},
};

/// The policies and caches, in the order of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contestant {
    /// coeval.
    Coeval,
    /// Least recently used, exactly.
    Lru,
    /// First in, first out.
    Fifo,
    /// moka, which does its housekeeping when it decides to.
    Moka,
    /// moka with housekeeping after each insertion.
    MokaExact,
    /// quick_cache.
    QuickCache,
    /// Belady's optimum, with bypass.
    Opt,
}

impl Contestant {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Coeval,
        Self::Lru,
        Self::Fifo,
        Self::Moka,
        Self::MokaExact,
        Self::QuickCache,
        Self::Opt,
    ];
    /// The policies whose hit ratios are known.
    const EXACT: [Self; 3] = [Self::Lru, Self::Fifo, Self::Opt];
    /// The policies and caches with which coeval is compared.
    const PEERS: [Self; 4] = [Self::Lru, Self::Moka, Self::MokaExact, Self::QuickCache];

    /// The name in tables and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Coeval => "coeval",
            Self::Lru => "LRU",
            Self::Fifo => "FIFO",
            Self::Moka => "moka",
            Self::MokaExact => "moka-exact",
            Self::QuickCache => "quick_cache",
            Self::Opt => "OPT",
        }
    }

    /// The number of requests that hit.
    fn hits(self, trace: &Trace, capacity: usize) -> u64 {
        match self {
            Self::Coeval => contestants::coeval(&trace.keys, capacity),
            Self::Lru => exact::lru(&trace.ids, trace.unique, capacity),
            Self::Fifo => exact::fifo(&trace.ids, trace.unique, capacity),
            Self::Moka => contestants::moka(&trace.keys, capacity, false),
            Self::MokaExact => contestants::moka(&trace.keys, capacity, true),
            Self::QuickCache => contestants::quick_cache(&trace.keys, capacity),
            Self::Opt => exact::opt(&trace.ids, trace.unique, capacity),
        }
    }
}

/// A trace, with its keys also as consecutive numbers from zero.
struct Trace {
    name: String,
    keys: Vec<u64>,
    ids: Vec<u32>,
    unique: usize,
}

impl Trace {
    fn read(name: &str, path: &Path) -> Result<Self, TraceError> {
        let keys = read_keys(path)?;
        let mut numbers: HashMap<u64, u32, Hasher> = HashMap::default();
        let mut number = |key: &u64| {
            let next = numbers.len() as u32;
            *numbers.entry(*key).or_insert(next)
        };
        let ids = keys.iter().map(&mut number).collect();
        Ok(Self { name: name.to_owned(), ids, unique: numbers.len(), keys })
    }
}

/// The results of one trace at one capacity.
struct Cell {
    trace: String,
    capacity: usize,
    /// The hit ratios of those that took part, in their order.
    ratios: Vec<f64>,
}

/// Runs the requested measurement. Returns how many known hit ratios were not reproduced.
///
/// # Errors
/// If a file cannot be read or written.
pub fn run(args: &HitrateArgs) -> Result<u64, Error> {
    if let Some(path) = &args.check {
        return check(path);
    }
    let cells = match (&args.trace, &args.traces) {
        (Some(path), _) => {
            let name = files::trace_name(path);
            measure(&Trace::read(&name, path)?, &args.capacity, &Contestant::ALL)
        }
        (None, Some(dir)) => {
            let mut cells = Vec::new();
            for Listed { name, capacities } in files::index(dir)? {
                let trace = Trace::read(&name, &files::trace_path(dir, &name))?;
                cells.extend(measure(&trace, &capacities, &Contestant::ALL));
            }
            cells
        }
        (None, None) => unreachable!("one of the two is required"),
    };
    let dir = args.traces.as_deref().or_else(|| args.trace.as_ref()?.parent());
    let known = dir.and_then(|dir| files::known(&dir.join(files::KNOWN)).ok()).unwrap_or_default();
    print!("{}", report::tables(&cells, &known));
    if let Some(out) = &args.out {
        report::write(out, &cells)?;
    }
    Ok(0)
}

/// Compares the exact policies with the known hit ratios.
fn check(path: &Path) -> Result<u64, Error> {
    let path = if path.is_dir() { path.join(files::KNOWN) } else { path.to_owned() };
    let known = files::known(&path)?;
    let dir = path.parent().unwrap_or(Path::new("."));
    let of_exact = |row: &Known| Contestant::EXACT.iter().any(|c| c.name() == row.policy);
    let mut names: Vec<&str> = known.iter().map(|row| row.trace.as_str()).collect();
    names.dedup();
    let (mut rows, mut wrong) = (0, 0);
    for name in names {
        let trace = Trace::read(name, &files::trace_path(dir, name))?;
        let of_trace: Vec<&Known> =
            known.iter().filter(|row| row.trace == name && of_exact(row)).collect();
        let mut capacities: Vec<usize> = of_trace.iter().map(|row| row.capacity).collect();
        capacities.dedup();
        let cells = measure(&trace, &capacities, &Contestant::EXACT);
        for row in of_trace {
            let cell = cells.iter().find(|cell| cell.capacity == row.capacity);
            let place = Contestant::EXACT.iter().position(|c| c.name() == row.policy);
            let found = cell.zip(place).map_or(f64::NAN, |(cell, place)| cell.ratios[place]);
            rows += 1;
            if format!("{found:.6}") != row.ratio {
                wrong += 1;
                println!(
                    "{name} {}: {} is {found:.6}, not {}",
                    row.capacity, row.policy, row.ratio
                );
            }
        }
    }
    println!(
        "{} of {rows} hit ratios of {} are met to the last digit",
        rows - wrong,
        path.display()
    );
    if rows == 0 {
        return Err(Error::Table(path, "has no rows of LRU, FIFO or OPT".to_owned()));
    }
    Ok(wrong)
}

/// The hit ratios of a trace, on all processors.
fn measure(trace: &Trace, capacities: &[usize], contestants: &[Contestant]) -> Vec<Cell> {
    let bar = progress::bar();
    bar.begin((capacities.len() * contestants.len()) as u64);
    bar.set_message(trace.name.clone());
    let jobs: Vec<(usize, usize)> = (0..capacities.len())
        .flat_map(|capacity| (0..contestants.len()).map(move |contestant| (capacity, contestant)))
        .collect();
    let next = AtomicUsize::new(0);
    let (send, receive) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..machine::cores() {
            let (send, next, jobs, bar) = (send.clone(), &next, &jobs, &bar);
            scope.spawn(move || {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let hits = contestants[job.1].hits(trace, capacities[job.0]);
                    let _ = send.send((*job, hits as f64 / trace.keys.len() as f64));
                    bar.inc();
                }
            });
        }
    });
    drop(send);
    bar.clear();
    let mut cells: Vec<Cell> = capacities
        .iter()
        .map(|capacity| Cell {
            trace: trace.name.clone(),
            capacity: *capacity,
            ratios: vec![f64::NAN; contestants.len()],
        })
        .collect();
    for ((capacity, contestant), ratio) in receive {
        cells[capacity].ratios[contestant] = ratio;
    }
    cells
}

/// An error that prevents a measurement. Prints as one line that names the file.
#[derive(Debug)]
pub enum Error {
    /// A trace.
    Trace(TraceError),
    /// A table beside the traces.
    Table(PathBuf, String),
    /// A file of results.
    Output(PathBuf, io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trace(error) => error.fmt(f),
            Self::Table(path, why) => write!(f, "{}: {why}", path.display()),
            Self::Output(path, error) => write!(f, "{} cannot be written: {error}", path.display()),
        }
    }
}

impl std::error::Error for Error {}

impl From<TraceError> for Error {
    fn from(error: TraceError) -> Self {
        Self::Trace(error)
    }
}
