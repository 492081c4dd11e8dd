//! The comparison with other stores, which take turns, and its results.

pub mod bars;
pub mod child;
pub mod plan;
pub mod results;
mod turns;

use std::{
    error::Error,
    io::{self, Write},
};

use self::results::{Results, Row};
use crate::{
    cli::CompareArgs,
    machine,
    output::{self, head::Head},
    trace,
};

/// Runs the requested comparison and prints it. Returns how many of `coeval`'s rows of torn reads
/// are not zero.
///
/// # Errors
/// If the trace cannot be read, or the results cannot be written.
pub fn run(args: &CompareArgs) -> Result<u64, Box<dyn Error>> {
    if let Some(path) = &args.trace {
        // Each store's process reads the trace itself. This call reports errors in it early.
        trace::read_keys(path)?;
    }
    let items = plan::items(args);
    let head = Head::new(args, &items);
    if let Some(dir) = &args.out {
        output::prepare(dir)?;
    }
    if !args.json {
        say(&head.to_string());
        say(&estimate(&items));
    }
    let mut all = Results::default();
    for item in &items {
        let results = turns::run(item);
        if !args.json {
            say(&output::tables::of_workload(&results));
        }
        all.extend(results);
    }
    let bars = bars::reached(&all);
    if args.json {
        say(&output::data::json(&head, &all, &bars));
    } else {
        say(&output::tables::bars(&bars));
    }
    if let Some(dir) = &args.out {
        output::write(dir, &head, &all, &bars)?;
    }
    let torn = |row: &&Row| row.metric == "torn" && row.store.starts_with("coeval");
    Ok(all.rows.iter().filter(torn).filter(|row| row.most > 0.0).count() as u64)
}

/// An estimate of the duration.
fn estimate(items: &[plan::Item]) -> String {
    let estimate = plan::estimate(items);
    let [least, most] = [estimate.start(), estimate.end()].map(|time| time.as_secs());
    let [least, most, unit] = match most {
        0..100 => [least, most, 1],
        _ => [least / 60, most.div_ceil(60), 60],
    };
    let unit = if unit == 1 { "seconds" } else { "minutes" };
    format!("{} workloads, {least} to {most} {unit}\n", items.len())
}

fn say(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// The default numbers of threads: one, and one per core.
pub fn usual_threads() -> Vec<usize> {
    let mut threads = vec![1, machine::cores()];
    threads.dedup();
    threads
}
