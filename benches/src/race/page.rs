//! The results of the race as one page.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    cost::Cost,
    lanes, pictures,
    report::{self, RaceRow, Report},
};
use crate::{
    picture::page::Page,
    table::{rate, time},
};

/// The name of the file.
const FILE: &str = "index.html";

/// Writes the page into `dir`, which is created if necessary. Returns the path of the page.
///
/// # Errors
/// If the page cannot be written.
pub fn write(dir: &Path, report: &Report) -> io::Result<PathBuf> {
    fs::create_dir_all(dir)?;
    let path = dir.join(FILE);
    fs::write(&path, html(report))?;
    Ok(path)
}

fn html(report: &Report) -> String {
    let mut page = Page::new("A key and its related entries: the race");
    let defect = if report.coeval_mixed_reads == 0 { "verdict" } else { "verdict defect" };
    page.paragraph("", INTRODUCTION);
    page.paragraph(defect, report::verdict(report).trim_end());
    page.paragraph("note", report.settings.head().trim_end());
    timelines(&mut page, report);
    races(&mut page, report);
    cost(&mut page, report);
    frozen(&mut page, report);
    page.html()
}

const INTRODUCTION: &str = "\
A cache holds a key and entries that belong to it: a user and the pages that show the user. An \
update sets the key and then invalidates the entries that belong to it. A reader in between sees \
the new key beside old entries. Everything on this page was recorded in one run.";

fn timelines(page: &mut Page, report: &Report) {
    page.heading("Before: one failure, as it was recorded");
    match &report.timeline {
        Some(timeline) => {
            let window = Some("the key is new, its related entries are still old");
            let svg = lanes::draw("Two steps: set, then invalidate", timeline, window);
            page.figure(
                &svg,
                "A writer of the two-step cache sets the key and then invalidates the related \
                entries; the read falls between the two, and returns values of different age.",
            );
        }
        None => {
            page.paragraph(
                "",
                "The two-step cache did not fail in this run; try more runs or readers.",
            );
        }
    }
    if let Some(timeline) = &report.coeval_timeline {
        page.heading("After: a read beside a commit of coeval");
        let svg = lanes::draw("One commit", timeline, None);
        page.figure(
            &svg,
            "The same update with coeval: the key and its related entries change in one step, so a \
            read beside it returns the whole old group or the whole new one; entries that the new \
            key has invalidated are absent.",
        );
    }
}

fn races(page: &mut Page, report: &Report) {
    page.heading("Failures by cache");
    page.figure(
        &pictures::failures(&report.races),
        "The share of runs in which some reader saw the new key beside a related entry of another \
        generation: two steps fail, the more the further apart they are; a lock and coeval never \
        do.",
    );
    let head = ["cache", "runs", "failed", "reads", "mixed", "freezes", "inside a write"];
    let row = |row: &RaceRow| {
        let figures = [row.reads, row.mixed_reads, row.freezes, row.freezes_inside_a_write];
        let mut cells = vec![row.name(), row.runs.to_string(), row.failed_runs.to_string()];
        cells.extend(figures.map(|figure| figure.to_string()));
        cells
    };
    page.table(&table(&head, report.races.iter().map(row)));
}

fn cost(page: &mut Page, report: &Report) {
    page.heading("What it costs");
    page.figure(
        &pictures::rates("Reads of a whole group", &report.cost, |row| row.reads_per_second),
        "Groups read a second at full speed, beside writers at full speed; longer is better. The \
        label of a cache that shows mixed groups states their number.",
    );
    page.figure(
        &pictures::rates(
            "Updates, with the refill of what they invalidated",
            &report.cost,
            |row| row.writes_per_second,
        ),
        "Updates a second in the same windows; longer is better. An update of coeval is one commit \
        and the refill another, and both are atomic; this is the price of atomicity.",
    );
    let head =
        ["cache", "reads/s", "writes/s", "read p50", "p99.9", "max", "write p50", "p99.9", "max"];
    let row = |row: &Cost| {
        let mut cells =
            vec![row.cache.clone(), rate(row.reads_per_second), rate(row.writes_per_second)];
        let times = [&row.read, &row.write].map(|all| [all.p50, all.p999, all.max].map(time));
        cells.extend(times.into_iter().flatten());
        cells
    };
    page.table(&table(&head, report.cost.iter().map(row)));
    page.paragraph("note", report::WHY_A_LOCK_WRITES_FASTER);
}

fn frozen(page: &mut Page, report: &Report) {
    if report.frozen.is_empty() {
        return;
    }
    page.heading("While a writer is frozen");
    let freeze = format!(
        "Times of reads while a writer is stopped by a signal for {} ms, again and again, wherever \
        it is, and while none is, on a scale of powers of ten; further to the left is better; red \
        where p99.9 is more than half a freeze.",
        report.settings.freeze_in_windows_millis
    );
    page.figure(&pictures::latencies(report), &freeze);
    let head = ["cache", "reads/s", "read p50", "p99.9", "corrected", "longest", "freezes"];
    let row = |row: &Cost| {
        let read = &row.read;
        let mut cells = vec![row.cache.clone(), rate(row.reads_per_second)];
        cells.extend([read.p50, read.p999, read.corrected_p999, read.max].map(time));
        cells.push(row.freezes.to_string());
        cells
    };
    page.table(&table(&head, report.frozen.iter().map(row)));
}

fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Vec<Vec<String>> {
    let head = head.iter().map(|cell| (*cell).to_owned()).collect();
    std::iter::once(head).chain(rows).collect()
}
