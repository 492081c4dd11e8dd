//! What the stores do. The header of each file says exactly what its workload does.
//!
//! A workload prepares a store in a process of its own (see `compare::child`), and returns an
//! [`Entrant`], which is called once per round.

pub mod crowd;
pub mod frozen;
pub mod full;
pub mod getput;
pub mod groups;
pub mod memory;
pub mod mixes;
pub mod overwritten;
pub mod points;
pub mod replay;
pub mod sizes;
pub mod stale;
pub mod streams;
pub mod strings;
pub mod ycsb;

use std::{path::PathBuf, sync::Arc, time::Duration};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::{
    compare::results::Figure,
    measure::{Clock, How, Role, Window},
    stores::{Family, Visit},
};

/// A store that is ready for a workload. Every call is a round.
pub type Entrant = Box<dyn FnMut() -> Vec<Figure>>;

/// An entrant, or the reason why the store cannot take part.
pub type Ready = Result<Entrant, String>;

/// The settings that all workloads share.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// The numbers of threads, for workloads that run with several.
    pub threads: Vec<usize>,
    /// The length of a window.
    pub length: Duration,
    /// The keys of the point workloads and of memory, and the entries of the larger full store.
    pub keys: u64,
    /// Whether stores grow from empty tables instead of reserving room.
    pub grown: bool,
    /// Whether rates are per second of the threads' processor time.
    pub cpu_time: bool,
    /// The seed of all random numbers.
    pub seed: u64,
    /// The seconds after which a phase of `memory-overwrite` ends even if it is incomplete.
    pub cap: u64,
    /// The recorded trace of `replay`.
    pub trace: Option<PathBuf>,
    /// The entries that a bounded store may hold in `replay`.
    pub capacity: Option<usize>,
}

impl Settings {
    fn window(&self, readers: usize, writers: usize, how: How) -> Window {
        let (length, clock) = (self.length, self.clock());
        let role = |threads| Role { threads, how };
        Window {
            readers: role(readers),
            writers: role(writers),
            warm_up: length / 5,
            length,
            clock,
        }
    }

    /// The clock for rates.
    pub fn clock(&self) -> Clock {
        if self.cpu_time { Clock::Cpu } else { Clock::Wall }
    }

    /// The number of entries for which a store reserves room.
    fn reserve(&self, entries: u64) -> usize {
        if self.grown { 0 } else { entries as usize }
    }

    /// Whether stores of this size do not fit in memory side by side, so that each is filled for
    /// its turn.
    fn refill(&self) -> bool {
        self.keys > 1 << 22
    }

    /// The numbers of threads with which a store of this kind can write.
    fn writing_threads<F: Family>(&self) -> impl Iterator<Item = usize> {
        let threads = self.threads.clone().into_iter();
        threads.filter(|threads| *threads == 1 || F::SHARED)
    }
}

/// The workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
pub enum Workload {
    /// Reads of uniformly random keys, a guard for each
    GetUniform,
    /// Reads of Zipf 0.99 keys, scattered, a guard for each
    GetZipf,
    /// Reads under one guard that is held
    GetHeld,
    /// Reads and overwrites with String keys
    GetString,
    /// Reads among 1 k, 10 k, 100 k and 2^20 keys
    Sizes,
    /// Reads among ten million keys
    Large,
    /// Reads of keys that were overwritten twice, and reads of keys written once
    Overwritten,
    /// Overwrites of present keys
    Overwrite,
    /// conc-map-bench: 98 % reads, 1 % inserts, 1 % removes
    ReadHeavy,
    /// conc-map-bench: 10 % reads, 40 % inserts, 40 % removes, 10 % updates
    Exchange,
    /// conc-map-bench: 5 % reads, 80 % inserts, 5 % removes, 10 % updates
    RapidGrow,
    /// Caffeine's GetPut: only reads; three reads for each write; only writes
    GetPut,
    /// YCSB A, B, C, D and F, values of 1 KiB
    Ycsb,
    /// Reads of a full bounded store, and reads of one without a bound
    GetBounded,
    /// Inserts of new keys into a full bounded store
    Evict,
    /// Latency of such inserts, on a schedule of eight threads
    EvictLatency,
    /// Eight overwrites of a group in one batch, where the store has batches
    Batch8,
    /// Reads of a group of eight, alone and beside a writer; torn reads are counted
    GroupRead8,
    /// Writes, and reads beside a writer, of groups of 1, 4, 16 and 64
    Groups,
    /// Latency of reads of a group, 8 readers beside 8 writers
    GroupLatency,
    /// Latency of reads with many more threads than cores, some of them writers
    Crowd,
    /// Reads and writes while two other writers are stopped by a signal
    Frozen,
    /// Loads in flight while their key is invalidated: how many of their values stay
    Stale,
    /// A recorded trace from several threads: hit ratio and throughput (needs --trace)
    Replay,
    /// Bytes per entry
    Memory,
    /// Memory growth under held contents and under churn
    MemoryOverwrite,
}

impl Workload {
    /// The name on the command line.
    pub fn name(self) -> String {
        let value = self.to_possible_value().expect("no workload is hidden");
        value.get_name().to_owned()
    }

    /// Whether it reads or writes whole groups.
    fn of_groups(self) -> bool {
        matches!(self, Self::Batch8 | Self::GroupRead8 | Self::Groups | Self::GroupLatency)
    }

    /// Whether every round needs a fresh process.
    pub fn in_fresh_processes(self) -> bool {
        matches!(self, Self::Memory | Self::MemoryOverwrite)
    }

    /// Prepares a store of kind `F`.
    fn ready<F: Family>(self, settings: &Arc<Settings>) -> Ready {
        if F::GROUPS_ONLY && !self.of_groups() {
            return Err("takes part in groups only".to_owned());
        }
        match self {
            Self::GetUniform => points::gets::<F>(settings, points::UNIFORM),
            Self::GetZipf => points::gets::<F>(settings, points::ZIPF),
            Self::GetHeld => points::held::<F>(settings, points::BOTH),
            Self::GetString => strings::entrant::<F>(settings),
            Self::Sizes => sizes::entrant::<F>(settings),
            Self::Large => sizes::large::<F>(settings),
            Self::Overwritten => overwritten::entrant::<F>(settings),
            Self::Overwrite => points::overwrites::<F>(settings, points::BOTH),
            Self::ReadHeavy => mixes::steady::<F>(settings, mixes::READ_HEAVY),
            Self::Exchange => mixes::steady::<F>(settings, mixes::EXCHANGE),
            Self::RapidGrow => mixes::growing::<F>(settings, mixes::RAPID_GROW),
            Self::GetPut => getput::entrant::<F>(settings),
            Self::Ycsb => ycsb::entrant::<F>(settings),
            Self::GetBounded => full::gets::<F>(settings),
            Self::Evict => full::inserts::<F>(settings),
            Self::EvictLatency => full::latency::<F>(settings),
            Self::Batch8 => groups::batches::<F>(settings),
            Self::GroupRead8 => groups::reads::<F>(settings),
            Self::Groups => groups::sizes::<F>(settings),
            Self::GroupLatency => groups::latency::<F>(settings),
            Self::Crowd => crowd::entrant::<F>(settings),
            Self::Frozen => frozen::entrant::<F>(settings),
            Self::Stale => stale::entrant::<F>(settings),
            Self::Replay => replay::entrant::<F>(settings),
            Self::Memory => memory::per_entry::<F>(settings),
            Self::MemoryOverwrite => memory::overwrite::<F>(settings),
        }
    }
}

/// Prepares a store.
#[derive(Clone, Copy, Debug)]
pub struct Enter<'a> {
    /// The workload.
    pub workload: Workload,
    /// The settings.
    pub settings: &'a Arc<Settings>,
}

impl Visit for Enter<'_> {
    type Output = Ready;

    fn visit<F: Family>(self) -> Ready {
        self.workload.ready::<F>(self.settings)
    }
}

/// Why a store without synchronization does not take part.
fn one_thread_only() -> String {
    "has no synchronization".to_owned()
}
