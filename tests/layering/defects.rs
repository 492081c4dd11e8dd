//! `docs/planted.md`: the table names each defect of the sources, and each has a model or a test.

use std::collections::BTreeSet;
use std::path::Path;

/// Each literal that is the first argument of a call of one of these functions.
pub fn defects(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for call in ["mutant(", "planted(", "too_early(", "unless("] {
        for (at, _) in text.match_indices(call) {
            let literal = text[at + call.len()..].trim_start().strip_prefix('"');
            let name = literal.and_then(|rest| rest.split('"').next());
            found.extend(name.map(str::to_owned));
        }
    }
    found
}

/// The text of all Rust files below a folder.
pub fn all_text(folder: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text += &all_text(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text += &std::fs::read_to_string(&path).unwrap();
        }
    }
    text
}

/// The defects without a test, and how many a test of each kind finds, as a sentence. In a text like
/// `docs/planted.md`.
pub fn sums(text: &str) -> (BTreeSet<String>, String) {
    let (mut unfound, mut kinds) = (BTreeSet::new(), [0; 6]);
    for line in text.lines() {
        let cells: Vec<&str> = line.split(" | ").collect();
        let [name, _, test, _, _] = cells[..] else { continue };
        let Some(name) = name.strip_prefix("| `") else { continue };
        let kind = match test {
            "–" => {
                unfound.insert(name.trim_end_matches('`').to_owned());
                continue;
            }
            _ if test.ends_with("::sourced`") => 1,
            _ if test.ends_with("::kept`") => 5,
            _ if test.starts_with("`checked::") => 0,
            _ if test.starts_with("`threads::") => 3,
            _ if test.starts_with("`unit::") => 4,
            _ => 2,
        };
        kinds[kind] += 1;
    }
    let [histories, old, properties, models, rooms, kept] = kinds;
    let found: usize = kinds.iter().sum();
    let sentence = format!(
        "{found} of the {} are found at run time, each within 60 seconds: {histories} by \
         histories, {old} by old values, {kept} by what was left over, {properties} by property \
         tests, {models} by models on real threads, {rooms} by tests of single rooms.",
        found + unfound.len()
    );
    (unfound, sentence)
}

/// The defects for which such a text gives a reason why no test finds them: `` | `name` | why | ``.
pub fn excused(text: &str) -> BTreeSet<String> {
    let row = |line: &str| {
        let (name, why) = line.strip_prefix("| `")?.strip_suffix(" |")?.split_once("` | ")?;
        (!why.is_empty() && !why.contains(" | ")).then(|| name.to_owned())
    };
    text.lines().filter_map(row).collect()
}

/// What is wrong with the table of a text like `docs/planted.md`.
pub fn gaps(defects: &BTreeSet<String>, text: &str) -> Vec<String> {
    let (mut wrong, mut named) = (Vec::new(), BTreeSet::new());
    for line in text.lines() {
        let cells: Vec<&str> = line.split(" | ").collect();
        let [name, model, test, operations, seconds] = cells[..] else { continue };
        let Some(name) = name.strip_prefix("| `").and_then(|rest| rest.strip_suffix('`')) else {
            continue;
        };
        if !named.insert(name.to_owned()) {
            wrong.push(format!("{name} has two rows"));
        }
        if model == "–" && test == "–" {
            wrong.push(format!("{name} is found by nothing"));
        }
        if (test == "–") != (seconds == "– |") || test == "–" && operations != "–" {
            wrong.push(format!("{name}: a test, and in how many seconds it finds it"));
        }
    }
    let difference = |one: &BTreeSet<String>, other: &BTreeSet<String>, what: &str| {
        one.difference(other).map(|name| format!("{name} {what}")).collect::<Vec<_>>()
    };
    wrong.extend(difference(defects, &named, "has no row"));
    wrong.extend(difference(&named, defects, "is no defect of the sources"));
    wrong
}
