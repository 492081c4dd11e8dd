//! Which workloads run, with which stores, and for how long: the requested ones, or all of them in
//! less than 25 minutes on two cores, or a few in less than two minutes.

use std::{ops::RangeInclusive, time::Duration};

use crate::{
    cli::CompareArgs,
    stores::NAMES,
    workloads::{Settings, Workload},
};

/// One workload to run.
#[derive(Clone, Debug)]
pub struct Item {
    /// The workload.
    pub workload: Workload,
    /// The stores that take part.
    pub stores: Vec<&'static str>,
    /// How often each store takes its turn.
    pub rounds: usize,
    /// The settings of the workload.
    pub settings: Settings,
    /// A store that does not answer for this long is excluded.
    pub limit: Duration,
}

/// A line of a plan: the window in seconds, the rounds, and any special settings.
#[derive(Clone, Copy, Debug)]
struct Line {
    workload: Workload,
    seconds: f64,
    rounds: usize,
    who: Who,
    grown: bool,
}

/// The stores of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Everybody,
    /// `coeval` on its default backend only.
    OneCoeval,
    /// The same, and `coeval` with a bound.
    WithBounded,
    Few(&'static [&'static str]),
}

const fn line(workload: Workload, seconds: f64, rounds: usize, who: Who) -> Line {
    Line { workload, seconds, rounds, who, grown: false }
}

const fn grown(workload: Workload, seconds: f64, rounds: usize, who: Who) -> Line {
    Line { workload, seconds, rounds, who, grown: true }
}

/// Inserting ten million keys takes long, and `sizes` includes all other stores.
const AT_TEN_MILLION: Who = Who::Few(&["coeval", "papaya", "dashmap", "quick_cache", "std"]);

/// Of the bounded stores, those that evict within microseconds.
const CACHES: Who = Who::Few(&["coeval", "moka", "mini-moka", "quick_cache", "foyer"]);

/// The full plan.
const FULL: &[Line] = &[
    line(Workload::GetUniform, 0.15, 5, Who::Everybody),
    line(Workload::GetZipf, 0.15, 5, Who::Everybody),
    grown(Workload::GetZipf, 0.15, 2, Who::OneCoeval),
    line(Workload::GetHeld, 0.15, 4, Who::Everybody),
    line(Workload::GetString, 0.1, 2, Who::OneCoeval),
    line(Workload::Sizes, 0.1, 2, Who::OneCoeval),
    line(Workload::Large, 0.15, 2, AT_TEN_MILLION),
    line(Workload::Overwritten, 0.1, 2, Who::OneCoeval),
    line(Workload::Overwrite, 0.1, 3, Who::Everybody),
    line(Workload::ReadHeavy, 0.15, 3, Who::OneCoeval),
    line(Workload::Exchange, 0.15, 3, Who::OneCoeval),
    line(Workload::RapidGrow, 0.1, 3, Who::OneCoeval),
    grown(Workload::RapidGrow, 0.1, 3, Who::OneCoeval),
    line(Workload::GetPut, 0.1, 3, Who::WithBounded),
    line(Workload::Ycsb, 0.1, 3, Who::WithBounded),
    line(Workload::GetBounded, 0.1, 3, CACHES),
    line(Workload::Evict, 0.1, 3, CACHES),
    line(Workload::EvictLatency, 0.3, 3, CACHES),
    line(Workload::Batch8, 0.15, 5, Who::Everybody),
    line(Workload::GroupRead8, 0.15, 5, Who::Everybody),
    line(Workload::Groups, 0.08, 2, Who::OneCoeval),
    line(Workload::GroupLatency, 0.3, 3, Who::Everybody),
    line(Workload::Crowd, 0.5, 3, Who::OneCoeval),
    line(Workload::Frozen, 0.6, 2, Who::OneCoeval),
    line(Workload::Stale, 0.1, 2, Who::OneCoeval),
    line(Workload::Replay, 0.06, 2, Who::OneCoeval),
    line(Workload::Memory, 0.1, 1, Who::Everybody),
    line(Workload::MemoryOverwrite, 0.1, 1, Who::OneCoeval),
];

/// The seconds of a phase of `memory-overwrite` in these plans.
const CAP: u64 = 2;

const SHORT_LIST: Who = Who::Few(&[
    "coeval",
    "papaya",
    "papaya-entry",
    "dashmap",
    "concread",
    "evmap",
    "moka",
    "quick_cache",
    "std",
]);

/// The quick plan: the most important workloads.
const QUICK: &[Line] = &[
    line(Workload::GetZipf, 0.05, 2, SHORT_LIST),
    line(Workload::ReadHeavy, 0.05, 2, SHORT_LIST),
    line(Workload::Batch8, 0.05, 2, SHORT_LIST),
    line(Workload::GroupRead8, 0.05, 2, SHORT_LIST),
    line(Workload::Stale, 0.05, 1, SHORT_LIST),
    line(Workload::Memory, 0.05, 1, SHORT_LIST),
];

/// The keys of the quick plan, unless the command line sets others.
const QUICK_KEYS: u64 = 1 << 17;

impl Item {
    /// The name in the tables.
    pub fn name(&self) -> String {
        let name = self.workload.name();
        let both = self.workload == Workload::Memory;
        if self.settings.grown && !both { format!("{name}, grown") } else { name }
    }

    /// An estimate of the duration on a machine like the one that the numbers below come from.
    fn estimate(&self) -> Duration {
        let threads = self.settings.threads.len() as f64;
        let window = self.settings.length.as_secs_f64() * 1.2;
        let at_least = |seconds: f64| window.max(1.2 * seconds);
        let million = self.settings.keys as f64 / f64::from(1 << 20);
        let cap = self.settings.cap as f64;
        // The seconds to prepare a store, and those of a round.
        let (ready, round) = match self.workload {
            Workload::GetUniform | Workload::GetZipf => (0.6 * million, threads * window),
            Workload::GetHeld => (0.4 * million, threads * window),
            Workload::GetString => (0.4, 2.0 * threads * window),
            Workload::Sizes => (1.0, 4.0 * threads * window),
            Workload::Large => (0.2, 5.0 + threads * window),
            Workload::Overwritten => (2.3 * million, 2.0 * threads * window),
            Workload::Overwrite => (0.6 * million, 2.0 * threads * window),
            Workload::ReadHeavy | Workload::Exchange => (1.3 * million, threads * window),
            Workload::RapidGrow => (0.1, threads * (0.2 * million).min(4.0 * window)),
            Workload::GetPut => (0.2, 3.0 * threads * window),
            Workload::Ycsb => (0.6, 5.0 * threads * window),
            Workload::GetBounded => (2.0 * million, 4.0 * threads * window),
            Workload::Evict => (2.5 * million, 0.5 + 2.0 * threads * window),
            Workload::EvictLatency => (0.2, window + at_least(1.25)),
            Workload::Batch8 => (0.1, threads * window),
            Workload::GroupRead8 => (0.1, 2.0 * window),
            Workload::Groups => (0.1, 8.0 * window),
            Workload::GroupLatency => (0.1, window),
            Workload::Crowd => (0.1, 2.0 * at_least(0.5)),
            Workload::Frozen => (0.1, 2.0 * at_least(0.6)),
            Workload::Stale => (0.1, 0.1),
            Workload::Replay => (0.2, 8.0 * threads * window),
            Workload::Memory => (0.0, 1.5 * million),
            Workload::MemoryOverwrite => (0.0, 1.6 * cap),
        };
        let stores = self.stores.len() as f64;
        Duration::from_secs_f64(stores * (ready + self.rounds as f64 * round))
    }
}

/// The requested items.
pub fn items(args: &CompareArgs) -> Vec<Item> {
    let (lines, cap) = match (args.workload.as_slice(), args.quick) {
        ([], true) => (QUICK.to_vec(), CAP),
        ([], false) => (FULL.to_vec(), CAP),
        (asked, _) => {
            let as_asked = |workload: &Workload| Line {
                grown: args.grown,
                ..line(*workload, 1.0, 3, Who::Everybody)
            };
            (asked.iter().map(as_asked).collect(), 300)
        }
    };
    let without_trace = |line: &Line| {
        line.workload == Workload::Replay && args.trace.is_none() && args.workload.is_empty()
    };
    let lines = lines.into_iter().filter(|line| !without_trace(line));
    lines.map(|line| item(args, line, cap)).collect()
}

fn item(args: &CompareArgs, line: Line, cap: u64) -> Item {
    let concerned = |name: &&'static str| match line.who {
        Who::Everybody => true,
        Who::OneCoeval => !name.starts_with("coeval-"),
        Who::WithBounded => !name.starts_with("coeval-") || *name == "coeval-bounded",
        Who::Few(names) => names.contains(name),
    };
    let asked = |name: &&'static str| args.stores.iter().any(|asked| asked == name);
    let wanted =
        |name: &&'static str| if args.stores.is_empty() { concerned(name) } else { asked(name) };
    let once = line.workload == Workload::MemoryOverwrite && args.rounds.is_none();
    let keys = if args.quick { QUICK_KEYS } else { 1 << 20 };
    Item {
        workload: line.workload,
        stores: NAMES.iter().copied().filter(wanted).collect(),
        rounds: args.rounds.unwrap_or(if once { 1 } else { line.rounds }),
        settings: Settings {
            threads: args.threads(),
            length: Duration::from_secs_f64(args.seconds.unwrap_or(line.seconds)),
            keys: args.keys.unwrap_or(keys),
            grown: line.grown,
            cpu_time: args.cpu_time,
            seed: args.seed,
            cap: args.cap.unwrap_or(cap),
            trace: args.trace.clone(),
            capacity: args.capacity,
        },
        limit: Duration::from_secs(args.limit),
    }
}

/// A rough estimate of the total duration.
pub fn estimate(items: &[Item]) -> RangeInclusive<Duration> {
    let all: Duration = items.iter().map(Item::estimate).sum();
    all.mul_f64(0.8)..=all.mul_f64(1.25)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    fn args(words: &[&str]) -> CompareArgs {
        CompareArgs::of(words)
    }

    #[test]
    fn by_default_every_workload_runs_in_less_than_25_minutes() {
        let items = items(&args(&["--threads", "1,2", "--trace", "t"]));
        for workload in Workload::value_variants() {
            assert!(items.iter().any(|item| item.workload == *workload), "{workload:?}");
        }
        assert!(*estimate(&items).end() < Duration::from_secs(25 * 60), "{:?}", estimate(&items));
    }

    #[test]
    fn quick_is_quick() {
        let items = items(&args(&["--quick", "--threads", "1,2"]));
        assert!(*estimate(&items).end() < Duration::from_secs(100), "{:?}", estimate(&items));
    }

    #[test]
    fn the_requested_workloads_run() {
        let asked = ["--workload", "memory,batch8", "--stores", "std,coeval", "--seconds", "0.5"];
        let items = items(&args(&asked));
        assert_eq!(items.len(), 2);
        assert_eq!(items[0].workload, Workload::Memory);
        assert_eq!(items[1].stores, ["coeval", "std"]);
        assert_eq!(items[1].settings.length, Duration::from_millis(500));
        assert_eq!(items[1].rounds, 3);
    }
}
