//! The results of the race as pictures.

use super::{
    cost::Cost,
    report::{RaceRow, Report},
};
use crate::{
    latency::Summary,
    picture::{Axis, Bar, Bars, Side, Svg, Tone, WIDTH, width_of},
    table::{rate, round, time},
};

fn is_ours(name: &str) -> bool {
    name.starts_with("coeval")
}

/// A bar for each kind of race: the share of its runs that failed.
pub fn failures(rows: &[RaceRow]) -> Svg {
    let bar = |row: &RaceRow| Bar {
        name: row.name(),
        value: row.failed_percent,
        label: format!("{:.1} %", row.failed_percent),
        note: format!("{} of {} runs", row.failed_runs, row.runs),
        tone: Tone::Bad,
        ours: is_ours(&row.cache),
    };
    let bars = Bars {
        title: "Runs in which a reader saw a mixed group".to_owned(),
        notes: Vec::new(),
        axis: "failed runs, percent of all runs of that kind".to_owned(),
        bars: rows.iter().map(bar).collect(),
        logarithmic: false,
    };
    bars.draw(|percent| format!("{percent} %"))
}

/// A bar for each cache: its operations per second.
pub fn rates(title: &str, rows: &[Cost], of: fn(&Cost) -> f64) -> Svg {
    let bar = |row: &Cost| Bar {
        name: row.cache.clone(),
        value: of(row),
        label: format!("{}/s", rate(of(row))),
        note: match row.mixed_reads {
            0 => String::new(),
            mixed => format!("{mixed} mixed"),
        },
        tone: if is_ours(&row.cache) { Tone::Ours } else { Tone::Other },
        ours: is_ours(&row.cache),
    };
    let mut bars: Vec<Bar> = rows.iter().map(bar).collect();
    bars.sort_by(|a, b| b.value.total_cmp(&a.value));
    let (title, axis) = (title.to_owned(), "operations a second".to_owned());
    Bars { title, notes: Vec::new(), axis, bars, logarithmic: false }
        .draw(|tick| round(&rate(tick)))
}

/// For each cache, one line without freezes and one with them: the median, p99.9, and the longest
/// read, on a logarithmic scale. The line is red if p99.9 is more than half a freeze.
pub fn latencies(report: &Report) -> Svg {
    let Report { cost, frozen, settings, .. } = report;
    let held_up = settings.freeze_in_windows_millis * 1e6 / 2.0;
    let title = "Reads while a writer is frozen, and while none is";
    let (top, row) = (78.0, 23.0);
    let group = if frozen.is_empty() { 36.0 } else { 60.0 };
    let bottom = top + group * cost.len() as f64;
    let mut svg = Svg::new(title, bottom + 48.0);
    svg.text([12.0, 24.0], Side::Start, "title", title);
    legend(&mut svg, 50.0);
    let all = || cost.iter().chain(frozen).map(|cost| cost.read);
    let least = all().map(|read| read.p50).min().unwrap_or(1);
    let most = all().map(|read| read.max.max(read.corrected_p999)).max().unwrap_or(1);
    let ends = [270.0, WIDTH - 30.0];
    let axis = Axis::logarithmic(least as f64, most as f64, ends);
    let label =
        "time of a read of a whole group (each line on the right is ten times the one before)";
    axis.draw(&mut svg, [top - 10.0, bottom], label, |nanos| round(&time(nanos as u64)));
    for (i, calm) in cost.iter().enumerate() {
        let y = top + group * i as f64 + 12.0;
        let class = if is_ours(&calm.cache) { "strong" } else { "" };
        svg.text([12.0, y + 5.0], Side::Start, class, &calm.cache);
        let tone = if is_ours(&calm.cache) { "ours" } else { "other" };
        svg.text([258.0, y + 5.0], Side::End, "soft", "no freeze");
        spread(&mut svg, &axis, y, &calm.read, tone);
        if let Some(frozen) = frozen.iter().find(|frozen| frozen.cache == calm.cache) {
            svg.text([258.0, y + row + 5.0], Side::End, "soft", "writer frozen");
            let held_up = frozen.read.corrected_p999 as f64 > held_up;
            spread(&mut svg, &axis, y + row, &frozen.read, if held_up { "bad" } else { tone });
        }
    }
    svg
}

fn legend(svg: &mut Svg, y: f64) {
    svg.dot([20.0, y - 4.0], 5.0, "other");
    svg.text([32.0, y], Side::Start, "soft", "median");
    svg.diamond([110.0, y - 4.0], 7.0, "other");
    let corrected = "p99.9, with the reads that a stalled reader would have issued meanwhile";
    svg.text([124.0, y], Side::Start, "soft", corrected);
    let x = 124.0 + width_of(corrected, "") - 16.0;
    svg.line([x, y - 11.0], [x, y + 3.0], "other");
    svg.text([x + 10.0, y], Side::Start, "soft", "longest");
}

fn spread(svg: &mut Svg, axis: &Axis, y: f64, read: &Summary, class: &str) {
    let at = |nanos: u64| axis.at(nanos as f64);
    svg.line([at(read.p50), y], [at(read.max), y], class);
    svg.line([at(read.max), y - 7.0], [at(read.max), y + 7.0], class);
    svg.dot([at(read.p50), y], 5.0, class);
    svg.diamond([at(read.corrected_p999), y], 7.0, class);
}
