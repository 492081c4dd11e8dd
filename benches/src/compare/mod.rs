//! The comparison with other stores: workloads, in which the stores take turns.

mod frozen;
mod groups;
pub mod memory;
mod output;
mod points;
mod results;

use std::{io::Write, path::PathBuf, sync::Arc, time::Duration};

use self::{
    points::Distribution,
    results::{Figure, Row, Unit},
};
use crate::{
    cli::CompareArgs,
    machine,
    measure::{Clock, Window},
    progress,
    stores::{self, Store, Visit},
};

/// A store made ready for a workload: every call is a round.
pub type Entrant = Box<dyn FnMut() -> Vec<Figure>>;

/// What all workloads share.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Numbers of threads where a workload is run with several.
    pub threads: Vec<usize>,
    /// Length of a window.
    pub length: Duration,
    /// Keys of the point workloads.
    pub keys: u64,
    /// What rates are measured by.
    pub clock: Clock,
    /// Seed of everything random.
    pub seed: u64,
    /// Seconds after which a phase of `memory-overwrite` ends, done or not.
    pub cap: u64,
}

impl Settings {
    fn window(&self, readers: usize, writers: usize, timed: bool) -> Window {
        let (length, clock) = (self.length, self.clock);
        Window { readers, writers, warm_up: length / 5, length, timed, clock }
    }

    /// Stores of this size do not fit side by side: each is filled for its turn.
    fn refill(&self) -> bool {
        self.keys > 1 << 22
    }
}

/// The workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[allow(missing_docs)]
pub enum Workload {
    /// Reads of uniformly random keys, a guard for each
    GetUniform,
    /// Reads of Zipf 0.99 keys, scattered, a guard for each
    GetZipf,
    /// Reads under one guard that is held
    GetHeld,
    /// Inserts over keys that are there
    Overwrite,
    /// Eight overwrites of a group in one batch, where the store has batches
    Batch8,
    /// Reads of a group of eight, alone and beside a writer; torn ones are counted
    GroupRead8,
    /// Latency of reads of a group, 8 readers beside 8 writers
    GroupLatency,
    /// Reads and writes while two other writers are stopped by a signal
    Frozen,
    /// Bytes an entry
    Memory,
    /// Growth under a held view and under churn (long; not among the default workloads)
    MemoryOverwrite,
    /// Reads among ten million keys (long; not among the default workloads)
    Large,
}

impl Workload {
    /// Those that are run when none is named.
    const USUAL: [Self; 9] = [
        Self::GetUniform,
        Self::GetZipf,
        Self::GetHeld,
        Self::Overwrite,
        Self::Batch8,
        Self::GroupRead8,
        Self::GroupLatency,
        Self::Frozen,
        Self::Memory,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::GetUniform => "get-uniform",
            Self::GetZipf => "get-zipf",
            Self::GetHeld => "get-held",
            Self::Overwrite => "overwrite",
            Self::Batch8 => "batch8",
            Self::GroupRead8 => "group-read8",
            Self::GroupLatency => "group-latency",
            Self::Frozen => "frozen",
            Self::Memory => "memory",
            Self::MemoryOverwrite => "memory-overwrite",
            Self::Large => "large",
        }
    }

    fn of_groups(self) -> bool {
        matches!(self, Self::Batch8 | Self::GroupRead8 | Self::GroupLatency)
    }
}

const BOTH: &[Distribution] = &[Distribution::Zipf, Distribution::Uniform];

/// Makes a store ready, where it can take part.
struct Enter<'a> {
    store: &'a str,
    workload: Workload,
    settings: &'a Arc<Settings>,
}

impl Visit for Enter<'_> {
    type Output = Option<Entrant>;

    fn visit<S: Store + 'static>(self) -> Option<Entrant> {
        let Self { store, workload, settings } = self;
        if S::GROUPS_ONLY && !workload.of_groups() {
            return None;
        }
        match workload {
            Workload::GetUniform => Some(points::gets::<S>(settings, &[Distribution::Uniform])),
            Workload::GetZipf => Some(points::gets::<S>(settings, &[Distribution::Zipf])),
            Workload::GetHeld => points::held::<S>(settings, BOTH),
            Workload::Overwrite => Some(points::overwrites::<S>(settings, BOTH)),
            Workload::Batch8 => Some(groups::batches::<S>(settings)),
            Workload::GroupRead8 => Some(groups::reads::<S>(settings)),
            Workload::GroupLatency => groups::latency::<S>(settings),
            Workload::Frozen => frozen::entrant::<S>(settings),
            Workload::Memory => Some(memory::per_entry(store, settings)),
            Workload::MemoryOverwrite => Some(memory::overwrite(store, settings)),
            Workload::Large => {
                let keys = settings.keys.max(10_000_000);
                let large = Arc::new(Settings { keys, ..Settings::clone(settings) });
                Some(points::gets::<S>(&large, BOTH))
            }
        }
    }
}

/// Runs what was asked for and prints it; how many torn reads `coeval` showed, in rounds with any.
///
/// # Errors
/// When the results cannot be written.
pub fn run(args: &CompareArgs) -> Result<u64, OutputError> {
    let settings = Arc::new(Settings {
        threads: args.threads(),
        length: Duration::from_secs_f64(args.seconds),
        keys: args.keys,
        clock: if args.cpu_time { Clock::Cpu } else { Clock::Wall },
        seed: args.seed,
        cap: args.cap,
    });
    let stores = args.stores();
    let workloads =
        if args.workload.is_empty() { Workload::USUAL.to_vec() } else { args.workload.clone() };
    let head = output::Head::new(args, &settings, &stores);
    if !args.json {
        say(&head.to_string());
    }
    let mut rows = Vec::new();
    for workload in workloads {
        let of_workload = turns(workload, &stores, args.rounds, &settings);
        if !args.json {
            say(&output::tables(&of_workload));
        }
        rows.extend(of_workload);
    }
    if args.json {
        say(&output::json(&head, &rows));
    }
    if let Some(dir) = &args.out {
        output::write_files(dir, &head, &rows)?;
    }
    let torn = |row: &&Row| row.unit == Unit::Percent && row.store.starts_with("coeval");
    Ok(rows.iter().filter(torn).filter(|row| row.most > 0.0).count() as u64)
}

/// The stores take turns, in another order each round.
fn turns(
    workload: Workload,
    stores: &[&'static str],
    rounds: usize,
    settings: &Arc<Settings>,
) -> Vec<Row> {
    let bar = progress::bar();
    let mut entrants = Vec::new();
    for store in stores {
        bar.set_message(format!("{}: {store} is filled", workload.name()));
        bar.tick();
        let enter = Enter { store, workload, settings };
        if let Some(entrant) = stores::visit(store, enter).flatten() {
            entrants.push((*store, entrant, Vec::new()));
        }
    }
    let rounds = if workload == Workload::MemoryOverwrite { 1 } else { rounds };
    bar.set_length((rounds * entrants.len()) as u64);
    for round in 0..rounds {
        for turn in 0..entrants.len() {
            let count = entrants.len();
            let (store, entrant, figures) = &mut entrants[(round + turn) % count];
            bar.set_message(format!("{}: {store}", workload.name()));
            bar.tick();
            figures.extend(entrant());
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let figures: Vec<_> = entrants.into_iter().map(|(s, _, f)| (s.to_owned(), f)).collect();
    results::sum_up(workload.name(), &figures)
}

fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// The results could not be written.
#[derive(Debug)]
pub struct OutputError {
    path: PathBuf,
    error: std::io::Error,
}

impl std::fmt::Display for OutputError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} cannot be written: {}", self.path.display(), self.error)
    }
}

impl std::error::Error for OutputError {}

/// The numbers of threads when none are given: one, and one a core.
pub fn usual_threads() -> Vec<usize> {
    let mut threads = vec![1, machine::cores()];
    threads.dedup();
    threads
}
