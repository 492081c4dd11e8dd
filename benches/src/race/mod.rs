//! The race that `coeval` grew from: update a key, then invalidate its related entries.

pub mod coeval;
pub mod contestant;
pub mod cost;
mod data;
pub mod group;
mod lanes;
pub mod locked;
mod page;
mod pictures;
pub mod report;
pub mod runs;
pub mod timeline;
pub mod two_step;

use std::{
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

use self::{
    coeval::{Coeval, Relation},
    contestant::Contestant,
    cost::{Cost, Sample},
    group::{Groups, Way},
    locked::Locked,
    report::{RaceRow, Report, Settings},
    runs::Tally,
    timeline::Timeline,
    two_step::TwoStep,
};
use crate::{
    cli::RaceArgs,
    machine,
    progress::{self, Bar},
    trace,
};

/// The number of groups without a trace.
const GROUPS: u64 = 4096;
/// The number of requests, from a trace or generated. All their groups are filled before the clock
/// starts.
const REQUESTS: usize = 1 << 18;
/// How long a writer is frozen in a run, and in a window.
const FREEZE_RUN: Duration = Duration::from_millis(2);
const FREEZE_WINDOW: Duration = Duration::from_millis(50);

/// Why the race did not run, or its report was not written.
#[derive(Debug)]
pub enum Refusal {
    /// The report cannot be written.
    Report(PathBuf, io::Error),
    /// The trace is invalid.
    Trace(trace::TraceError),
    /// There are fewer groups than writers; each writer needs a group of its own.
    TooFewGroups {
        /// The distinct keys.
        groups: usize,
        /// The writers.
        writers: usize,
    },
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Report(path, error) => write!(f, "{} cannot be written: {error}", path.display()),
            Self::Trace(error) => error.fmt(f),
            Self::TooFewGroups { groups, writers } => write!(
                f,
                "{writers} writers need {writers} groups, but the trace has {groups} distinct \
                keys; ask for fewer writers"
            ),
        }
    }
}

impl std::error::Error for Refusal {}

/// The results of the runs.
#[derive(Default)]
struct Races {
    rows: Vec<RaceRow>,
    /// A failure of the two-step cache.
    failure: Option<Timeline>,
    /// A read of coeval beside an update.
    whole: Option<Timeline>,
}

/// A race in progress: its arguments, its groups, and its progress.
struct Race<'a> {
    args: &'a RaceArgs,
    groups: Groups,
    bar: Bar,
}

/// Runs and prints everything. Returns the number of mixed groups that `coeval` showed.
pub fn run(args: &RaceArgs) -> Result<u64, Refusal> {
    let groups = groups(args)?;
    let race = Race { args, groups, bar: progress::bar() };
    let settings = race.settings();
    race.say(&settings.head());

    race.say(&report::races());
    let Races { rows: races, failure: timeline, whole: coeval_timeline } = race.races();
    race.say(&report::freezes(&races));
    race.say(&report::failure(timeline.as_ref()));
    let cost = race.cost();
    race.say(&report::cost(&cost, &race.cost_heading()));
    let frozen = race.frozen_cost();
    if !frozen.is_empty() {
        race.say(&report::frozen(&frozen, &race.frozen_heading()));
    }
    race.bar.clear();

    let mixed_in_races = races.iter().filter(|row| row.cache.starts_with("coeval"));
    let mixed_in_windows = cost.iter().chain(&frozen).filter(|row| row.cache.starts_with("coeval"));
    let coeval_mixed_reads = mixed_in_races.map(|row| row.mixed_reads).sum::<u64>()
        + mixed_in_windows.map(|row| row.mixed_reads).sum::<u64>();
    let report =
        Report { settings, races, timeline, coeval_timeline, cost, frozen, coeval_mixed_reads };
    race.say(&report::verdict(&report));
    if args.json {
        let _ = writeln!(std::io::stdout(), "{}", data::json(&report));
    }
    if let Some(dir) = args.report() {
        let path = page::write(dir, &report).map_err(|error| Refusal::Report(dir.into(), error))?;
        race.say(&format!("A report with pictures: {}", path.display()));
    }
    Ok(coeval_mixed_reads)
}

fn groups(args: &RaceArgs) -> Result<Groups, Refusal> {
    let groups = match &args.trace {
        None => Groups::zipf(GROUPS, REQUESTS, args.related, args.seed),
        Some(path) => {
            let mut keys = trace::read_keys(path).map_err(Refusal::Trace)?;
            keys.truncate(REQUESTS);
            Groups::from_keys(&keys, args.related)
        }
    };
    if groups.count() < args.writers {
        return Err(Refusal::TooFewGroups { groups: groups.count(), writers: args.writers });
    }
    Ok(groups)
}

impl Race<'_> {
    /// Prints a section, unless the only output is a JSON document.
    fn say(&self, text: &str) {
        if !self.args.json {
            self.bar.suspend(|| {
                let _ = writeln!(std::io::stdout(), "{text}");
            });
        }
    }

    fn settings(&self) -> Settings {
        Settings {
            runs: self.args.runs,
            widen_micros: self.args.widen,
            related: self.args.related,
            readers: self.args.readers,
            writers: self.args.writers,
            groups: self.groups.count(),
            keys_from: match &self.args.trace {
                Some(path) => path.display().to_string(),
                None => "a scrambled Zipf 0.99".to_owned(),
            },
            rounds: self.args.rounds,
            window_millis: self.args.window,
            freeze_in_races_millis: FREEZE_RUN.as_secs_f64() * 1e3,
            freeze_in_windows_millis: FREEZE_WINDOW.as_secs_f64() * 1e3,
            seed: self.args.seed,
            machine: machine::model(),
            cores: machine::cores(),
        }
    }

    fn widen(&self) -> Duration {
        Duration::from_micros(self.args.widen)
    }

    /// Runs the races, thousands of runs.
    fn races(&self) -> Races {
        let (none, widen, related) = (Duration::ZERO, self.widen(), self.args.related);
        let slow = format!("widened by {} µs", self.args.widen);
        let frozen = format!("writer frozen for {} ms", FREEZE_RUN.as_millis());
        let mut races = Races::default();
        let mut row = |cache: &str, condition: &str, tally: Tally| {
            let row = RaceRow::of(cache, condition, &tally);
            self.say(&report::race(&row));
            races.rows.push(row);
            // Keeps the first timeline of each, which is from a run that is not widened, if there
            // is one.
            if cache.starts_with("coeval") {
                races.whole = races.whole.take().or(tally.whole);
            } else {
                races.failure = races.failure.take().or(tally.timeline);
            }
        };
        row("two-step", "", self.race("two-step", &TwoStep::new(none), None));
        row("two-step", &slow, self.race("two-step", &TwoStep::new(widen), None));
        row("locked", "", self.race("locked", &Locked::new(none), None));
        row("locked", &slow, self.race("locked", &Locked::new(widen), None));
        let relations = [
            ("coeval, invalidating", Relation::Invalidate),
            ("coeval, rewriting", Relation::Rewrite),
        ];
        for (name, relation) in relations {
            let make = |widen| Coeval::new(relation, related, widen);
            row(name, "", self.race(name, &make(none), None));
            row(name, &slow, self.race(name, &make(widen), None));
            if machine::CAN_FREEZE {
                row(name, &frozen, self.race(name, &make(none), Some(FREEZE_RUN)));
            }
        }
        races
    }

    fn race<C: Contestant>(&self, name: &str, cache: &C, freeze: Option<Duration>) -> Tally {
        self.bar.begin(self.args.runs as u64);
        self.bar.set_message(format!("racing: {name}"));
        let plan = runs::Plan {
            groups: &self.groups,
            runs: self.args.runs,
            readers: self.args.readers,
            writers: self.args.writers,
            freeze,
            seed: self.args.seed,
        };
        runs::race(cache, plan, || self.bar.inc())
    }

    /// Measures the windows at full speed. The caches take turns, round by round.
    fn cost(&self) -> Vec<Cost> {
        self.windows(None)
    }

    fn frozen_cost(&self) -> Vec<Cost> {
        if machine::CAN_FREEZE { self.windows(Some(FREEZE_WINDOW)) } else { Vec::new() }
    }

    fn windows(&self, freeze: Option<Duration>) -> Vec<Cost> {
        let two_step = self.filled(TwoStep::new(Duration::ZERO));
        let locked = self.filled(Locked::new(Duration::ZERO));
        let coeval =
            self.filled(Coeval::new(Relation::Invalidate, self.args.related, Duration::ZERO));
        type Entrant<'a> = (&'a str, Box<dyn Fn(bool) -> Sample + 'a>);
        let entrants: Vec<Entrant<'_>> = vec![
            ("two-step, plain gets", Box::new(|t| self.window(&two_step, Way::Gets, t, freeze))),
            ("locked", Box::new(|t| self.window(&locked, Way::GetMany, t, freeze))),
            ("coeval, plain gets", Box::new(|t| self.window(&coeval, Way::Gets, t, freeze))),
            ("coeval, get_many", Box::new(|t| self.window(&coeval, Way::GetMany, t, freeze))),
            ("coeval, view", Box::new(|t| self.window(&coeval, Way::View, t, freeze))),
        ];
        self.bar.begin((self.args.rounds * entrants.len()) as u64);
        let mut samples = vec![(Vec::new(), Vec::new()); entrants.len()];
        for round in 0..self.args.rounds {
            for turn in 0..entrants.len() {
                let which = (round + turn) % entrants.len();
                self.bar.set_message(format!("at full speed: {}", entrants[which].0));
                samples[which].0.push(entrants[which].1(false));
                samples[which].1.push(entrants[which].1(true));
                self.bar.inc();
            }
        }
        let rows = entrants.iter().zip(&samples);
        rows.map(|((name, _), (counted, timed))| cost::sum_up(name, counted, timed)).collect()
    }

    fn filled<C: Contestant>(&self, cache: C) -> C {
        for place in 0..self.groups.count() as u32 {
            cache.load(self.groups.group(place), self.groups.generation(place));
        }
        cache
    }

    fn window<C: Contestant>(
        &self,
        cache: &C,
        way: Way,
        timed: bool,
        freeze: Option<Duration>,
    ) -> Sample {
        let length = Duration::from_millis(self.args.window);
        let plan = cost::Plan {
            groups: &self.groups,
            readers: self.args.readers,
            writers: self.args.writers,
            length,
            warm_up: length / 10,
            seed: self.args.seed,
        };
        cost::window(cache, way, plan, timed, freeze)
    }

    fn cost_heading(&self) -> String {
        format!(
            "At full speed. A read is a whole group, a write an update and the refill of what it \
            invalidated;\n\
             median of {} rounds in turn, {} ms each.",
            self.args.rounds, self.args.window
        )
    }

    fn frozen_heading(&self) -> String {
        format!(
            "The same while a writer is stopped by a signal for {} ms, again and again.",
            FREEZE_WINDOW.as_millis()
        )
    }
}
