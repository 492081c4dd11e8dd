//! Claim: for each defect that the library can simulate, a model fails with it. The table in
//! `loom-tests/README.md` names all of them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A defect, the file of models, and the test in that file that must fail with the defect.
type Row = (String, String, String);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The path and the text of each Rust file below a folder.
fn files(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
    found
}

/// Each literal that is the first argument of a call of `function`, and the text before the call.
fn first_arguments<'t>(text: &'t str, function: &str) -> Vec<(&'t str, &'t str)> {
    let call = format!("{function}(");
    text.match_indices(&call)
        .filter_map(|(at, _)| {
            let literal = text[at + call.len()..].trim_start().strip_prefix('"')?;
            Some((&text[..at], &literal[..literal.find('"')?]))
        })
        .collect()
}

fn in_the_library() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (_, text) in files(&root().join("src")) {
        for function in ["mutant", "too_early", "unless"] {
            let arguments = first_arguments(&text, function);
            found.extend(arguments.into_iter().map(|(_, defect)| defect.to_owned()));
        }
    }
    assert!(found.len() > 20, "the sources were not found");
    found
}

fn in_the_models() -> BTreeSet<Row> {
    let mut found = BTreeSet::new();
    for (path, text) in files(&root().join("loom-tests/tests")) {
        let model = path.file_stem().unwrap().to_str().unwrap();
        for (before, defect) in first_arguments(&text, "must_fail") {
            let test = &before[before.rfind("\nfn ").expect("called by a test") + 4..];
            let test = &test[..test.find('(').unwrap()];
            found.insert((defect.into(), model.into(), test.into()));
        }
    }
    found
}

/// The rows of the table: `` | `defect` | `model`: `test` | ``.
fn in_the_table() -> BTreeSet<Row> {
    let text = fs::read_to_string(root().join("loom-tests/README.md")).unwrap();
    let row = |line: &str| {
        let (defect, rest) = line.strip_prefix("| `")?.split_once("` | `")?;
        let (model, test) = rest.strip_suffix("` |")?.split_once("`: `")?;
        Some((defect.to_owned(), model.to_owned(), test.to_owned()))
    };
    text.lines().filter_map(row).collect()
}

#[test]
fn each_defect_has_a_model_that_fails() {
    let seen: BTreeSet<String> = in_the_models().into_iter().map(|(defect, ..)| defect).collect();
    assert_eq!(in_the_library(), seen);
}

#[test]
fn the_table_is_complete() {
    let (models, table) = (in_the_models(), in_the_table());
    let missing: Vec<_> = models.difference(&table).collect();
    let too_much: Vec<_> = table.difference(&models).collect();
    assert!(
        missing.is_empty() && too_much.is_empty(),
        "missing {missing:?}, too much {too_much:?}"
    );
}
