//! Tables and pictures of what was measured.

use crate::measure::{Figures, Notice, Rate, Torn};
use crate::picture::page::Page;
use crate::picture::{Bar, Bars, Svg, Tone};
use crate::table::{Table, rate, round, time};
use std::io;
use std::path::Path;

pub fn print(version: &str, figures: &Figures) {
    println!("\n{version}");
    for rows in tables(figures) {
        let mut rows = rows.into_iter();
        let mut table = Table::new(rows.next().unwrap_or_default());
        rows.for_each(|row| table.row(row));
        println!("\n{table}");
    }
}

/// Writes a page with everything, and each picture by itself.
pub fn write(folder: &Path, version: &str, figures: &Figures) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut page = Page::new(&format!("A near cache over {version}"));
    let pictures = [
        ("near-reads", reads(version, &figures.rates)),
        ("near-torn", torn(version, &figures.torn)),
        ("near-notice", notices(version, &figures.notices)),
    ];
    for ((file, svg), table) in pictures.iter().zip(tables(figures)) {
        std::fs::write(folder.join(format!("{file}.svg")), svg.alone())?;
        page.figure(svg, "");
        page.table(&table);
    }
    std::fs::write(folder.join("index.html"), page.html())
}

fn tables(figures: &Figures) -> [Vec<Vec<String>>; 3] {
    let row = |cells: &[&str]| cells.iter().map(|&cell| cell.to_owned()).collect();
    let mut rates = vec![row(&["one task", "a second"])];
    rates.extend(figures.rates.iter().map(|it| row(&[it.name, &rate(it.per_second)])));
    let heads = ["beside a writer", "group reads", "torn", "races", "torn", "stale after it"];
    let mut torn = vec![row(&heads)];
    torn.extend(figures.torn.iter().map(|it| {
        let figures = [it.reads, it.torn, it.rounds, it.torn_rounds, it.stale];
        let figures = figures.map(grouped);
        let [reads, torn, rounds, torn_rounds, stale] = figures.each_ref().map(String::as_str);
        row(&[it.name, reads, torn, rounds, torn_rounds, stale])
    }));
    let mut notices = vec![row(&["from a write to its notice", "p50", "p99.9"])];
    notices.extend(figures.notices.iter().map(|it| {
        let [median, worst] = [it.median, it.worst_of_a_thousand].map(time);
        row(&[it.name, &median, &worst])
    }));
    [rates, torn, notices]
}

/// With a comma before each three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let parts: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|part| std::str::from_utf8(part).unwrap_or_default())
        .collect();
    parts.join(",")
}

fn tone(is_ours: bool) -> Tone {
    if is_ours { Tone::Ours } else { Tone::Other }
}

fn reads(version: &str, rates: &[Rate]) -> Svg {
    let bar = |it: &Rate| Bar {
        name: it.name.to_owned(),
        value: it.per_second,
        label: rate(it.per_second),
        note: String::new(),
        tone: tone(it.is_ours),
        ours: it.is_ours,
    };
    let bars = Bars {
        title: format!("Reads of one key, {version}"),
        notes: vec!["One task, one read after the other. Further right is better.".to_owned()],
        axis: "reads a second".to_owned(),
        bars: rates.iter().map(bar).collect(),
        logarithmic: true,
    };
    bars.draw(|tick| round(&rate(tick)))
}

/// What must not happen is in red.
fn torn(version: &str, all: &[Torn]) -> Svg {
    let bar = |it: &Torn, what: &str, [some, of]: [u64; 2]| Bar {
        name: format!("{}: {what}", it.name),
        value: some as f64 / of.max(1) as f64 * 100.0,
        label: format!("{} of {}", grouped(some), grouped(of)),
        note: String::new(),
        tone: if some > 0 { Tone::Bad } else { tone(it.is_ours) },
        ours: it.is_ours,
    };
    let both = |it: &Torn| {
        [
            bar(it, "torn", [it.torn, it.reads]),
            bar(it, "torn in a race", [it.torn_rounds, it.rounds]),
            bar(it, "stale after it", [it.stale, it.rounds]),
        ]
    };
    let bars = Bars {
        title: format!("Two keys that are always equal on the server, {version}"),
        notes: vec![
            "Reads of both that differ, beside a writer. What is stale tears all later reads."
                .to_owned(),
            "Races, each with keys of its own: a write beside a read, and a look when all is quiet."
                .to_owned(),
        ],
        axis: "percent".to_owned(),
        bars: all.iter().flat_map(both).collect(),
        logarithmic: false,
    };
    bars.draw(|tick| format!("{tick}"))
}

fn notices(version: &str, all: &[Notice]) -> Svg {
    let bar = |it: &Notice, which: &str, nanos: u64| Bar {
        name: format!("{}, {which}", it.name),
        value: nanos as f64,
        label: time(nanos),
        note: String::new(),
        tone: tone(it.is_ours),
        ours: it.is_ours,
    };
    let both = |it: &Notice| [bar(it, "p50", it.median), bar(it, "p99.9", it.worst_of_a_thousand)];
    let bars = Bars {
        title: format!("From a write on the server to its absence here, {version}"),
        notes: vec![
            "From before the write is sent. 10,000 writes. Further left is better.".to_owned(),
        ],
        axis: "time".to_owned(),
        bars: all.iter().flat_map(both).collect(),
        logarithmic: true,
    };
    bars.draw(|tick| round(&time(tick as u64)))
}
