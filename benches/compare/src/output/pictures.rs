//! Pictures of the most important figures: for each figure, a ranking of the stores with their
//! promises.

use coeval_bench::picture::{Bar, Bars, Svg, Tone};

use super::tables::{ratio, value};
use crate::{
    compare::results::{BASELINE, Results, Row, Unit, distinct},
    stores::promises,
    table::{rate, round, time},
};

/// A picture of one figure.
#[derive(Clone, Copy, Debug)]
struct Subject {
    /// The file name, without its extension.
    file: &'static str,
    title: &'static str,
    workload: &'static str,
    metric: &'static str,
    /// A prefix of the variant. The last match counts, which has the most threads or entries.
    variant: &'static str,
    /// A sentence about the operation.
    about: &'static str,
    /// Whether stores that do not keep groups whole are marked by their colour.
    groups: bool,
}

const SUBJECTS: [Subject; 11] = [
    Subject {
        file: "get-zipf",
        title: "Look-ups, some keys much more popular than others",
        workload: "get-zipf",
        metric: "operations",
        variant: "zipf",
        about: "Single look-ups of keys that are all there, Zipf 0.99.",
        groups: false,
    },
    Subject {
        file: "get-uniform",
        title: "Look-ups, all keys as popular",
        workload: "get-uniform",
        metric: "operations",
        variant: "uniform",
        about: "Single look-ups of keys that are all there: mostly waiting for memory.",
        groups: false,
    },
    Subject {
        file: "read-heavy",
        title: "98 % look-ups, 1 % insertions, 1 % removals",
        workload: "read-heavy",
        metric: "operations",
        variant: "",
        about: "conc-map-bench's mix of look-ups and a few writes.",
        groups: false,
    },
    Subject {
        file: "batch8",
        title: "Batches of eight writes",
        workload: "batch8",
        metric: "batches",
        variant: "1 thr",
        about: "Overwrites of groups of eight: one atomic batch where the store has them, else \
        eight single writes.",
        groups: true,
    },
    Subject {
        file: "group-read8",
        title: "Reads of eight beside a writer of the eight",
        workload: "group-read8",
        metric: "reads",
        variant: "1 reader + 1 writer",
        about: "Groups of eight read while they are overwritten: at one instant where the store \
        can, else key by key.",
        groups: true,
    },
    Subject {
        file: "torn",
        title: "Torn reads of large groups",
        workload: "groups",
        metric: "torn",
        variant: "64 keys",
        about: "The share of reads that returned members of different writes.",
        groups: true,
    },
    Subject {
        file: "crowd",
        title: "p99.99 of a look-up, 24 readers beside 8 writers",
        workload: "crowd",
        metric: "read p99.99",
        variant: "one after the other",
        about: "The slowest one in ten thousand look-ups, each timed by itself, one after the \
        other.",
        groups: false,
    },
    Subject {
        file: "crowd-on-schedule",
        title: "p99.99 of a look-up that is due at a fixed time",
        workload: "crowd",
        metric: "read p99.99",
        variant: "on schedule",
        about: "The same, timed from when each look-up was due, so that waiting counts.",
        groups: false,
    },
    Subject {
        file: "ycsb-b",
        title: "YCSB B: 95 % reads and 5 % updates of 1 KiB",
        workload: "ycsb",
        metric: "operations",
        variant: "B",
        about: "Records of 1 KiB, each read and written as a whole, Zipf 0.99.",
        groups: false,
    },
    Subject {
        file: "evict",
        title: "Insertions into a full cache",
        workload: "evict",
        metric: "inserts",
        variant: "",
        about: "New keys without a pause, so that each insertion evicts.",
        groups: false,
    },
    Subject {
        file: "memory",
        title: "Memory an entry",
        workload: "memory",
        metric: "memory an entry",
        variant: "from empty",
        about: "What the process grows by for each entry of two 8-byte words, grown from an empty \
        store.",
        groups: false,
    },
];

/// Stores that are named wherever they took part.
const NAMED: [&str; 10] = [
    BASELINE,
    "papaya",
    "dashmap",
    "rwlock",
    "arcswap-imbl",
    "evmap",
    "concread",
    "moka",
    "quick_cache",
    "foyer",
];

/// The meaning of the words beside the bars.
const WORDS: &str = "tears: reads of several keys may mix ages · waits: may wait for a stopped \
thread · evicts: can be bounded";

/// A picture, its file name, and a sentence about it.
#[derive(Debug)]
pub struct Picture {
    /// With its extension.
    pub file: String,
    /// The picture.
    pub svg: Svg,
    /// A sentence about the picture.
    pub caption: String,
}

/// The pictures for which there are figures.
pub fn all(results: &Results) -> Vec<Picture> {
    SUBJECTS.iter().filter_map(|subject| subject.draw(results)).collect()
}

impl Subject {
    fn draw(&self, results: &Results) -> Option<Picture> {
        let rows = results.rows.iter().filter(|row| {
            row.workload == self.workload
                && row.metric == self.metric
                && row.variant.starts_with(self.variant)
        });
        // Of several variants the last, because later ones have more entries.
        let variants = distinct(rows.clone().map(|row| row.variant.clone()));
        let variant = variants.into_iter().max_by_key(|variant| threads(variant))?;
        let rows: Vec<&Row> = rows.filter(|row| row.variant == variant).collect();
        let unit = rows.first()?.unit;
        let ranked = ranked(&rows, unit);
        let better = match unit {
            Unit::PerSecond => "Longer is better",
            Unit::Nanoseconds => "Further left is better",
            _ => "Shorter is better",
        };
        let logarithmic = unit == Unit::Nanoseconds;
        let red = if self.groups { "red, " } else { "" };
        let bars = Bars {
            title: format!("{} ({})", self.title, in_words(&variant)),
            notes: vec![format!("{} {}.", self.about, better), format!("{red}{WORDS}")],
            axis: axis(unit).to_owned(),
            bars: ranked.iter().map(|row| self.bar(row, results)).collect(),
            logarithmic,
        };
        let svg = bars.draw(|tick| match unit {
            Unit::PerSecond => round(&rate(tick)),
            Unit::Nanoseconds => round(&time(tick as u64)),
            _ => format!("{}", (tick * 1e6).round() / 1e6),
        });
        let more_stores = rows.len() > ranked.len();
        let others = if more_stores { " The other stores are in the tables." } else { "" };
        let caption = format!("{} {}{others}", self.about, standing(&ranked, unit));
        Some(Picture { file: format!("{}.svg", self.file), svg, caption })
    }

    fn bar(&self, row: &Row, results: &Results) -> Bar {
        let promises = promises(&row.store);
        let tears = promises.is_some_and(|promises| !promises.consistent_group_read);
        let waits = promises.is_some_and(|promises| !promises.blocks.starts_with("nowhere"));
        let evicts = promises.is_some_and(|promises| promises.bounded);
        let torn = results.find(&row.workload, "torn", &row.variant, &row.store);
        let torn = torn.filter(|torn| torn.metric != row.metric && torn.median > 0.0);
        let torn = torn.map(|torn| format!("{} torn", value(torn)));
        let words = [(tears, "tears"), (waits, "waits"), (evicts, "evicts")];
        let words = words.into_iter().filter(|(is, _)| *is).map(|(_, word)| word.to_owned());
        let note = torn.into_iter().chain(words).collect::<Vec<_>>().join(" · ");
        let ours = row.store.starts_with(BASELINE);
        let tone = match () {
            () if ours => Tone::Ours,
            () if self.groups && tears => Tone::Bad,
            () => Tone::Other,
        };
        let (name, label) = (row.store.clone(), value(row));
        Bar { name, value: row.median, label, note, tone, ours }
    }
}

/// A sentence about coeval's rank.
fn standing(ranked: &[&Row], unit: Unit) -> String {
    let Some(place) = ranked.iter().position(|row| row.store == BASELINE) else {
        return String::new();
    };
    let beside = if place == 0 { ranked.get(1) } else { ranked.first() };
    let (ours, Some(beside)) = (ranked[place], beside) else { return String::new() };
    let [least, most] = [ours.median.min(beside.median), ours.median.max(beside.median)];
    let (store, times) = (&beside.store, format!("{} times", ratio(Some(most / least))));
    match (place, unit) {
        _ if least == most => format!("coeval does as well as {store}."),
        _ if least <= 0.0 => format!("coeval is number {} of those shown.", place + 1),
        (0, Unit::PerSecond) => format!("coeval does {times} as many as {store}, the next."),
        (0, _) => format!("{store}, the next, has {times} as much as coeval."),
        (_, Unit::PerSecond) => {
            format!("coeval is number {} of those shown; {store} does {times} as many.", place + 1)
        }
        _ => format!("coeval is number {} of those shown, at {times} what {store} has.", place + 1),
    }
}

/// `2 thr` in words.
fn in_words(variant: &str) -> String {
    match threads(variant) {
        1 => variant.replace("1 thr", "1 thread"),
        _ => variant.replace(" thr", " threads"),
    }
}

/// The number before `thr`, if there is one.
fn threads(variant: &str) -> usize {
    let words: Vec<&str> = variant.split(' ').collect();
    let at = words.iter().position(|word| *word == "thr").unwrap_or(0);
    at.checked_sub(1).and_then(|at| words[at].parse().ok()).unwrap_or(0)
}

/// The named stores and the best of the others, best first; all stores if there are few. Leaves out
/// `std` if there are several threads, because it has no synchronization.
fn ranked<'a>(rows: &[&'a Row], unit: Unit) -> Vec<&'a Row> {
    let more = unit == Unit::PerSecond;
    let mut rows: Vec<&Row> = rows.iter().copied().filter(|row| row.store != "std").collect();
    rows.sort_by(|a, b| {
        let order = a.median.total_cmp(&b.median);
        let order = if more { order.reverse() } else { order };
        order.then_with(|| (b.store == BASELINE).cmp(&(a.store == BASELINE)))
    });
    if rows.len() > NAMED.len() {
        let named = |row: &Row| NAMED.contains(&row.store.as_str());
        let other = |row: &&&Row| !named(row) && !row.store.starts_with(BASELINE);
        let best = rows.iter().find(other).map(|row| row.store.clone());
        rows.retain(|row| named(row) || Some(&row.store) == best.as_ref());
    }
    rows
}

fn axis(unit: Unit) -> &'static str {
    match unit {
        Unit::PerSecond => "operations a second",
        Unit::Nanoseconds => "time, each line on the right ten times the one before",
        Unit::Bytes => "bytes",
        Unit::Percent => "percent",
        Unit::Count => "number",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        compare::results::{Figure, sum_up},
        stores::NAMES,
        workloads::Workload,
    };
    use clap::ValueEnum;

    #[test]
    fn subjects_and_names_exist() {
        let names: Vec<String> = Workload::value_variants().iter().map(|w| w.name()).collect();
        for Subject { workload, .. } in SUBJECTS {
            assert!(names.iter().any(|name| name == workload), "{workload}");
        }
        assert!(NAMED.iter().all(|name| NAMES.contains(name)));
    }

    #[test]
    fn the_best_is_first_and_of_several_threads_the_most_are_shown() {
        let figures = |value| {
            let figure =
                |variant, value| Figure::new("operations", variant, Unit::PerSecond, value);
            vec![figure("zipf, 2 thr", value), figure("zipf, 1 thr", 10.0 * value)]
        };
        let stores: Vec<_> =
            NAMES.iter().enumerate().map(|(i, name)| (*name, figures(1e6 + i as f64))).collect();
        let results = Results { rows: sum_up("get-zipf", &stores), absent: Vec::new() };
        let pictures = all(&results);
        let [Picture { file, svg, caption }] = pictures.as_slice() else { panic!("{pictures:?}") };
        let svg = svg.alone();
        assert_eq!(file, "get-zipf.svg");
        assert!(svg.contains("(zipf, 2 threads)") && caption.contains("in the tables"), "{svg}");
        let at = |name: &str| svg.find(&format!(">{name}</text>"));
        // `scc-cache`, the last of all except `std`, is the best of the stores that are not named.
        assert!(at("scc-cache") < at("papaya") && at("papaya") < at("coeval"), "{svg}");
        assert!(at("std").is_none() && at("stretto").is_none() && at("coeval-view").is_none());
    }

    #[test]
    fn torn_reads_are_marked_and_counted() {
        let figures = |torn| {
            let at = "1 reader + 1 writer";
            let reads = Figure::new("reads", at, Unit::PerSecond, 1e6);
            vec![reads, Figure::new("torn", at, Unit::Percent, torn)]
        };
        let stores = [("coeval", figures(0.0)), ("papaya", figures(0.006))];
        let results = Results { rows: sum_up("group-read8", &stores), absent: Vec::new() };
        let svg = all(&results)[0].svg.inline();
        assert_eq!(in_words("B, 1 thr"), "B, 1 thread");
        assert!(svg.contains("0.006 % torn · tears") && !svg.contains("0.000 % torn"), "{svg}");
        assert!(svg.contains("class=\"bad\""), "{svg}");
    }
}
