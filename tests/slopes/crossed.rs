//! How many files an operation crosses: files of `src` of which it runs instructions, by the line
//! tables of the optimized program. `src/sync`, which wraps primitives, is not counted. A file
//! counts if every second operation runs an instruction of it.

use crate::counter::{count, output_of_self};
use crate::row::filled;
use std::collections::BTreeMap;
use std::hint::black_box;

const TIMES: u64 = 10_000;
const KEYS: u64 = 1_000;

/// The operations, and the most files that each may cross; see docs/decisions.md.
pub const OPERATIONS: [(&str, usize, fn()); 3] =
    [("get", 9, get), ("overwrite", 18, overwrite), ("batch of 8", 23, batch)];

fn get() {
    let cache = filled(KEYS);
    count(TIMES, || (0..TIMES).for_each(|n| _ = black_box(cache.get(&(n % KEYS)))));
}

fn overwrite() {
    let cache = filled(KEYS);
    let overwrite = |times| (0..times).for_each(|n| _ = cache.insert(n % KEYS, n));
    overwrite(TIMES); // Slots and lists have their size.
    count(TIMES, || overwrite(TIMES));
}

fn batch() {
    let cache = filled(KEYS);
    let keys = |n: u64| (0..8).map(move |at| (n + at * 37) % KEYS);
    let commit = |n| keys(n).fold(cache.batch(), |batch, key| batch.insert(key, n)).commit();
    (0..TIMES).for_each(|n| _ = commit(n));
    count(TIMES, || (0..TIMES).for_each(|n| _ = commit(n)));
}

/// Prints the files that each operation crosses. Returns the operations that cross too many.
pub fn report() -> Vec<String> {
    let outputs = output_of_self("few_files_are_crossed", "files", OPERATIONS.len());
    let mut wrong = Vec::new();
    for ((name, most, _), output) in OPERATIONS.iter().zip(outputs) {
        let files = crossed(&output);
        println!("{name}: {} files, at most {most}: {}", files.len(), files.join(" "));
        if files.len() > *most {
            wrong.push(format!("{name}: {} files", files.len()));
        }
    }
    wrong
}

/// The files of `src` that the operation of a callgrind output crosses.
pub fn crossed(output: &str) -> Vec<String> {
    let mut names: BTreeMap<&str, &str> = BTreeMap::new();
    let mut costs: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut file, mut is_call) = ("", false);
    for line in output.lines() {
        // A name is written once, after its number.
        let file_line = ["fl=", "fi=", "fe="].iter().find_map(|key| line.strip_prefix(key));
        let called = ["cfi=", "cfl="].iter().find_map(|key| line.strip_prefix(key));
        if let Some(text) = file_line.or(called) {
            let (number, name) = text.split_once(' ').unwrap_or((text, ""));
            if !name.is_empty() {
                names.insert(number, name);
            }
            if file_line.is_some() {
                file = names.get(number).copied().unwrap_or("");
            }
        } else if line.starts_with("calls=") {
            is_call = true; // The next line has the cost of the callee.
        } else if line.starts_with(|c: char| c.is_ascii_digit() || "+-*".contains(c)) {
            let cost = line.split(' ').nth(1).and_then(|cost| cost.parse::<u64>().ok());
            if !std::mem::take(&mut is_call) {
                *costs.entry(file).or_default() += cost.unwrap_or(0);
            }
        }
    }
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/");
    let of_src = |(file, cost): (&str, u64)| {
        let file = file.strip_prefix(root).unwrap_or(file).strip_prefix("src/")?;
        (cost >= TIMES / 2 && !file.starts_with("sync/")).then(|| file.to_owned())
    };
    costs.into_iter().filter_map(of_src).collect()
}
