//! `docs/evidence.md` and `docs/guarantees.md`: each promise has a row with a number, each row a
//! promise, and witnesses that exist.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A row of the evidence: its number, its promise, and its witnesses.
pub struct Row {
    pub number: usize,
    pub promise: (String, String),
    pub witnesses: Vec<String>,
}

/// The promises of a text like `docs/guarantees.md`: what stands in bold at the beginning of a list
/// item, with its section. The section on limits promises nothing.
pub fn promises(text: &str) -> Vec<(String, String)> {
    let (mut section, mut found) = (String::new(), Vec::new());
    let lines: Vec<&str> = text.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        if let Some(title) = line.strip_prefix("##") {
            section = title.trim_start_matches('#').trim().to_owned();
        }
        if let Some(begun) = line.strip_prefix("- **").filter(|_| section != "Limits") {
            let rest = lines[at + 1..].join(" ");
            let whole = format!("{begun} {rest}");
            let bold = whole.split("**").next().expect("a split has a first part");
            let words: Vec<&str> = bold.split_whitespace().collect();
            found.push((section.clone(), words.join(" ")));
        }
    }
    found
}

/// The rows of a text like `docs/evidence.md`.
pub fn rows(text: &str) -> Vec<Row> {
    let (mut section, mut found) = (String::new(), Vec::new());
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            section = title.to_owned();
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, number, promise, witnesses, _] = cells[..] else { continue };
        let Ok(number) = number.parse() else { continue };
        let witnesses = witnesses.split(", ").map(|witness| witness.trim_matches('`').to_owned());
        let promise = (section.clone(), promise.to_owned());
        found.push(Row { number, promise, witnesses: witnesses.collect() });
    }
    found
}

/// What is wrong with rows, as evidence for promises; nothing, if `is_there` knows all witnesses.
pub fn gaps(
    promises: &[(String, String)],
    rows: &[Row],
    is_there: impl Fn(&str) -> bool,
) -> Vec<String> {
    let (mut wrong, mut counts) = (Vec::new(), BTreeMap::new());
    promises.iter().for_each(|promise| *counts.entry(promise).or_insert(0) += 1);
    for (at, row) in rows.iter().enumerate() {
        let what = format!("row {} ({})", row.number, row.promise.1);
        if row.number != at + 1 {
            wrong.push(format!("{what} is the {}th row", at + 1));
        }
        match counts.get_mut(&row.promise) {
            Some(count) => *count -= 1,
            None => wrong.push(format!("{what} is no promise of its section")),
        }
        let missing = |witness: &&String| *witness != "limit" && !is_there(witness);
        for witness in row.witnesses.iter().filter(missing) {
            wrong.push(format!("{what}: there is no test `{witness}`"));
        }
    }
    for ((section, promise), count) in counts {
        if count != 0 {
            wrong.push(format!("{section}: `{promise}` has {} rows", 1 - count));
        }
    }
    wrong
}

/// Whether a witness exists: a test, or a module with tests.
pub fn is_there(witness: &str) -> bool {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut parts: Vec<&str> = witness.split("::").collect();
    let base = match parts[0] {
        "loom" => root.join("loom-tests/tests"),
        _ => root.join("tests"),
    };
    if parts[0] == "loom" {
        // A packed crate has no models.
        if !base.exists() {
            return true;
        }
        parts.remove(0);
    }
    let module = |parts: &[&str]| files(&base.join(parts.iter().collect::<PathBuf>()), true);
    if module(&parts).iter().any(|text| text.contains("#[test]") || text.contains("on_every_")) {
        return true;
    }
    let (name, above) = parts.split_last().expect("a split has a last part");
    let folder = base.join(above.iter().collect::<PathBuf>());
    !above.is_empty() && files(&folder, false).iter().any(|text| is_test(text, name))
}

/// The sources of a module: its own, and those of the modules in it if these count.
fn files(module: &Path, with_inner: bool) -> Vec<String> {
    let mut paths =
        vec![module.with_extension("rs"), module.join("mod.rs"), module.join("main.rs")];
    if with_inner && let Ok(folder) = module.read_dir() {
        paths.extend(folder.map(|entry| entry.unwrap().path()));
    }
    paths.iter().filter_map(|path| std::fs::read_to_string(path).ok()).collect()
}

/// Whether a source has this test.
fn is_test(text: &str, name: &str) -> bool {
    let Some((before, _)) = text.split_once(&format!("fn {name}(")) else {
        return text.contains(&format!("fn {name}<")) && is_listed(text, name);
    };
    let attributes = before.rsplit("\n\n").next().unwrap_or_default();
    attributes.contains("#[test]") || is_listed(text, name)
}

/// Whether `on_every_reclaimer!` makes tests of it.
fn is_listed(text: &str, name: &str) -> bool {
    let lists = text.split("on_every_reclaimer!(").skip(1);
    let lists = lists.filter_map(|list| list.split(')').next());
    lists.flat_map(|list| list.split(',')).any(|listed| listed.trim() == name)
}
