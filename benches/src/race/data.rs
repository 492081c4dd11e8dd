//! The results of the race as JSON.

use super::{
    cost::Cost,
    report::{RaceRow, Report, Settings},
    timeline::Timeline,
};
use crate::{json::Json, latency::Summary};

/// Everything that `--json` prints.
pub fn json(report: &Report) -> Json {
    let Report { settings, races, timeline, coeval_timeline, cost, frozen, coeval_mixed_reads } =
        report;
    Json::Object(vec![
        ("settings", settings.into()),
        ("races", races.iter().collect()),
        ("timeline", timeline.as_ref().into()),
        ("coeval_timeline", coeval_timeline.as_ref().into()),
        ("cost", cost.iter().collect()),
        ("frozen", frozen.iter().collect()),
        ("coeval_mixed_reads", (*coeval_mixed_reads).into()),
    ])
}

/// An object of fields of `$of` under their own names.
macro_rules! object {
    ($of:ident: $($field:ident),* $(; $name:ident = $value:expr)* $(,)?) => {
        Json::Object(vec![
            $((stringify!($field), Json::from($of.$field.clone())),)*
            $((stringify!($name), Json::from($value)),)*
        ])
    };
}

impl From<&Settings> for Json {
    fn from(settings: &Settings) -> Self {
        object! {
            settings: runs, widen_micros, related, readers, writers, groups, keys_from, rounds,
            window_millis,
            freeze_in_races_millis, freeze_in_windows_millis, seed, machine, cores
        }
    }
}

impl From<&RaceRow> for Json {
    fn from(row: &RaceRow) -> Self {
        object! {
            row: cache, condition, runs, failed_runs, failed_percent, reads, mixed_reads, freezes,
            freezes_inside_a_write, first_failure
        }
    }
}

impl From<&Timeline> for Json {
    fn from(timeline: &Timeline) -> Self {
        let lines = timeline.lines.iter();
        let lines = lines.map(|line| object!(line: micros, thread, event, detail)).collect();
        let seen = timeline.seen.iter().copied().collect();
        Self::Object(vec![("lines", lines), ("seen", seen)])
    }
}

impl From<&Cost> for Json {
    fn from(cost: &Cost) -> Self {
        object! {
            cost: cache, reads_per_second, writes_per_second, mixed_reads, freezes;
            read = &cost.read; write = &cost.write;
            rounds = cost
                .rounds
                .iter()
                .map(|round| round.iter().copied().collect::<Json>())
                .collect::<Json>()
        }
    }
}

impl From<&Summary> for Json {
    fn from(summary: &Summary) -> Self {
        object! {
            summary: samples, p50, p99, p999, p9999, max, corrected_p99, corrected_p999,
            corrected_p9999
        }
    }
}
