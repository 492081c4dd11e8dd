//! The cost of operations as one quantity grows, in instructions that callgrind counts.
//!
//! docs/guarantees.md says what the cost of each operation depends on. Each row here takes one
//! operation and one quantity, at n, 4 n and 16 n, and compares the instructions of one operation
//! with the promise. No row depends on time, so the verdict is the same on any machine.
//!
//! `ci/slopes.sh` runs all rows; `ci/slopes.sh TEXT` runs those whose name contains the text.
//! `cargo test` checks only that each operation of the table has a row, because valgrind may not be
//! installed.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

#[path = "slopes/counter.rs"]
mod counter;
#[path = "slopes/crossed.rs"]
mod crossed;
#[path = "slopes/derived.rs"]
mod derived;
#[path = "slopes/face.rs"]
mod face;
#[path = "slopes/loads.rs"]
mod loads;
#[path = "slopes/observed.rs"]
mod observed;
#[path = "slopes/production.rs"]
mod production;
#[path = "slopes/reads.rs"]
mod reads;
#[path = "slopes/row.rs"]
mod row;
#[path = "slopes/watching.rs"]
mod watching;
#[path = "slopes/writes.rs"]
mod writes;

use row::Row;
use std::collections::BTreeSet;

fn rows() -> Vec<Row> {
    let derived = [derived::rows(), face::rows(), watching::rows()].concat();
    [reads::rows(), writes::rows(), loads::rows(), derived, production::rows()].concat()
}

/// Names that other rows cover: `par_*` add the thread pool of another crate, and nested `derive`
/// measures `Scope`. `entry` does nothing by itself.
const ELSEWHERE: [&str; 4] = ["par_iter", "par_prewarm", "Scope", "entry(k)"];

/// The operations in the first column of the table, without the text around a method's name.
fn promised() -> BTreeSet<String> {
    let table = include_str!("../docs/guarantees.md");
    let names =
        table.lines().filter(|line| line.starts_with("| ") && line.matches(" | ").count() == 3);
    let first_columns = names.filter_map(|line| line.split('|').nth(1));
    let quoted = |column: &'static str| column.split('`').skip(1).step_by(2);
    first_columns.flat_map(quoted).map(|name| row::method(name).to_string()).collect()
}

#[test]
fn every_operation_of_the_table_has_a_row() {
    let measured: BTreeSet<String> = rows().iter().map(|row| row.operation.to_string()).collect();
    let is_elsewhere = |name: &str| {
        let is_compiled = match name {
            "save" | "save_to" | "Builder::restore" | "restore_from" => cfg!(feature = "serde"),
            "Builder::restore_later" | "restore_later_from" => cfg!(feature = "serde"),
            "Restoring::step" | "run" => cfg!(feature = "serde"),
            "Exporter::update" | "load_durations" => cfg!(feature = "metrics"),
            _ => cfg!(feature = "async") || !name.contains("_async"),
        };
        ELSEWHERE.contains(&name) || !is_compiled
    };
    let is_missing = |name: &String| !measured.contains(name) && !is_elsewhere(name);
    let missing: Vec<String> = promised().into_iter().filter(is_missing).collect();
    assert!(missing.is_empty(), "no row measures {missing:?}");
}

#[test]
fn a_verdict_tells_one_slope_from_another() {
    use row::Grows::{Linear, Logarithmic, Not};
    for (costs, fits) in [
        ([100., 100., 100.], [true, true, true]),
        ([100., 120., 140.], [true, true, true]),
        ([100., 150., 200.], [false, true, true]),
        ([100., 400., 1_600.], [false, false, true]),
        ([100., 1_600., 25_600.], [false, false, false]),
        ([100., 900., 8_000.], [false, false, false]),
    ] {
        let verdicts = [Not, Logarithmic, Linear].map(|grows| grows.allows(costs));
        assert_eq!(verdicts, fits, "{costs:?}");
    }
}

#[test]
#[ignore = "needs valgrind; ci/slopes.sh runs it"]
fn costs_grow_as_promised() {
    if counter::is_counting() {
        return counter::run(&rows());
    }
    let filter = std::env::var("COEVAL_SLOPES").unwrap_or_default();
    let wrong = counter::report(&rows(), &filter);
    assert!(wrong.is_empty(), "these cost more than promised:\n{}", wrong.join("\n"));
}

#[test]
#[ignore = "needs valgrind and optimized code; ci/slopes.sh runs it"]
fn few_files_are_crossed() {
    if counter::is_counting() {
        return crossed::OPERATIONS.iter().for_each(|(.., run)| run());
    }
    let wrong = crossed::report();
    assert!(wrong.is_empty(), "more files than docs/decisions.md says:\n{}", wrong.join("\n"));
}

#[test]
#[ignore = "needs valgrind and optimized code; ci/slopes.sh runs it"]
fn watched_operations_cost_no_more() {
    if counter::is_counting() {
        return observed::run();
    }
    let wrong = observed::report();
    assert!(wrong.is_empty(), "these cost too much if they are watched:\n{}", wrong.join("\n"));
}

#[test]
fn crossed_files_are_counted() {
    let output = "fl=(1) src/a.rs\nfn=(1) f\n1 9000\ncfi=(2) src/b.rs\ncalls=1 2\n3 9000\n\
        fi=(2)\n2 4000\nfe=(3) src/sync/c.rs\n4 9000\nfi=(2)\n+1 1000\nfe=(4) /x/std.rs\n* 9000\n\
        fl=(5) src/d.rs\n1 4999\n";
    assert_eq!(crossed::crossed(output), ["a.rs", "b.rs"]);
}
