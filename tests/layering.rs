//! Rules for the sources: a floor imports only floors below it, atomics come from one module, there
//! are no locks, and no file is too long.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// The floors, lowest first. All modules that are not listed are on the highest floor: the public
/// files.
const FLOORS: &[&[&str]] = &[
    &["sync", "memory", "version", "error", "removal"],
    &["reclaim", "pool", "queue"],
    &["chain", "index"],
    &["commit", "expiry", "metrics", "policy"],
    &["loading", "relation"],
    &["engine"],
];

/// Imports that are allowed within one floor. (The public files may all import each other.)
const NEIGHBOURS: &[(&str, &str)] =
    &[("sync", "memory"), ("version", "sync"), ("error", "version")];

/// Locks and other blocking types. Only `src/sync` may name them.
const LOCKS: &[&str] =
    &["Mutex", "RwLock", "Condvar", "Once", "OnceLock", "LazyLock", "spin_loop", "Backoff"];

const LONGEST: usize = 500;

fn floor(module: &str) -> usize {
    FLOORS.iter().position(|floor| floor.contains(&module)).unwrap_or(FLOORS.len())
}

/// A source file: its path below `src`, and its text.
struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        Self { path: path.into(), text: text.into() }
    }

    /// The top-level module to which the file belongs; `lib` for the root itself.
    fn module(&self) -> String {
        let first = self.path.iter().next().expect("a path has a first part");
        first.to_str().expect("plain names").trim_end_matches(".rs").to_owned()
    }

    /// How many `super` lead from the file's module to the root.
    fn depth(&self) -> usize {
        let parts = self.path.components().count();
        let names_its_folder = ["mod.rs", "lib.rs"].iter().any(|name| self.path.ends_with(name));
        parts - usize::from(names_its_folder)
    }

    fn is_test(&self) -> bool {
        let is_tests = |part: &std::ffi::OsStr| part == "tests" || part == "tests.rs";
        self.path.iter().any(is_tests)
    }
}

fn sources() -> Vec<Source> {
    fn walk(folder: &Path, root: &Path, found: &mut Vec<Source>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push(Source { path: path.strip_prefix(root).unwrap().into(), text });
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&root, &root, &mut found);
    assert!(found.len() > 20, "the sources were not found");
    found
}

/// The tokens of a source: words, and other characters one by one. Leaves out comments, literals,
/// and code that is compiled only for tests.
fn tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let rest = &chars[at..];
        at += match rest {
            ['/', '/', ..] => rest.iter().position(|&c| c == '\n').unwrap_or(rest.len()),
            ['/', '*', ..] => block_comment(rest),
            ['r', '"' | '#', ..] if raw_string(rest).is_some() => raw_string(rest).unwrap(),
            ['"', ..] => quoted(rest, '"'),
            ['\'', '\\', ..] => quoted(rest, '\''),
            ['\'', _, '\'', ..] => 3,
            [c, ..] if c.is_alphanumeric() || *c == '_' => {
                let is_word = |c: &char| c.is_alphanumeric() || *c == '_';
                let word: String = rest.iter().take_while(|c| is_word(c)).collect();
                let length = word.chars().count();
                tokens.push(word);
                length
            }
            [c, ..] => {
                if !c.is_whitespace() {
                    tokens.push(c.to_string());
                }
                1
            }
            [] => unreachable!("`at` is below the length"),
        };
    }
    without_tests(&tokens)
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    at
}

/// The length of a raw string, if one begins here.
fn raw_string(rest: &[char]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|&&c| c == '#').count();
    (rest.get(1 + hashes) == Some(&'"')).then(|| {
        let end: Vec<char> = std::iter::once('"').chain((0..hashes).map(|_| '#')).collect();
        let body = 2 + hashes;
        let length = rest[body..].windows(end.len()).position(|window| window == end);
        length.map_or(rest.len(), |length| body + length + end.len())
    })
}

/// The length of a literal that ends with `quote`.
fn quoted(rest: &[char], quote: char) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// Leaves out each item under a `#[cfg(..test..)]`.
fn without_tests(tokens: &[String]) -> Vec<String> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let attribute = bracketed(tokens, at + 1);
        let is_test = tokens[at..].starts_with(&["#", "[", "cfg"].map(String::from))
            && attribute.iter().any(|token| token == "test");
        if is_test {
            at += 1 + attribute.len();
            // The item ends with its first block, or with a semicolon before any block.
            while at < tokens.len() && tokens[at] != ";" && tokens[at] != "{" {
                at += bracketed(tokens, at).len().max(1);
            }
            at += bracketed(tokens, at).len().max(1);
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

/// The tokens from an opening bracket to its closing bracket. Empty if there is no bracket at
/// `from`.
fn bracketed(tokens: &[String], from: usize) -> &[String] {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(from) {
        match token.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return if at > from { &tokens[from..=at] } else { &[] };
        }
    }
    &[]
}

/// The top-level modules that a source names.
fn imports(source: &Source) -> Vec<String> {
    let tokens = tokens(&source.text);
    let is_path =
        |at: usize| tokens[at.min(tokens.len())..].starts_with(&[":", ":"].map(String::from));
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        // `crate::`, or as many `super::` as lead to the root.
        let supers = (0..).take_while(|&n| {
            tokens.get(at + 3 * n).is_some_and(|token| token == "super") && is_path(at + 3 * n + 1)
        });
        let after = match (token.as_str(), supers.count()) {
            ("crate", _) if is_path(at + 1) => at + 3,
            ("super", count) if count >= source.depth() => at + 3 * count,
            _ => continue,
        };
        if tokens[after] == "{" {
            // A group: take the first word, and each word after a comma on the group's own level.
            let group = bracketed(&tokens, after);
            let mut depth = 0;
            for pair in group.windows(2) {
                match pair[0].as_str() {
                    "{" => depth += 1,
                    "}" => depth -= 1,
                    _ => {}
                }
                if depth == 1 && (pair[0] == "{" || pair[0] == ",") {
                    found.push(pair[1].clone());
                }
            }
        } else {
            found.push(tokens[after].clone());
        }
    }
    found
}

/// The forbidden imports of some sources, one per line.
fn upward_imports(sources: &[Source]) -> String {
    let modules: BTreeMap<String, usize> =
        sources.iter().map(|source| (source.module(), floor(&source.module()))).collect();
    let mut wrong = String::new();
    for source in sources.iter().filter(|source| !source.is_test()) {
        let importer = source.module();
        for imported in imports(source) {
            let Some(&below) = modules.get(&imported) else { continue };
            let above = modules[&importer];
            let may = imported == importer
                || below < above
                || above == FLOORS.len()
                || NEIGHBOURS.contains(&(importer.as_str(), imported.as_str()));
            if !may {
                writeln!(wrong, "{}: imports {imported}", source.path.display()).unwrap();
            }
        }
    }
    wrong
}

/// Locks, and atomics that do not come from `crate::sync`, one per line.
fn locks_and_foreign_atomics(sources: &[Source]) -> String {
    let mut wrong = String::new();
    let in_sync = |source: &&Source| source.module() == "sync";
    for source in sources.iter().filter(|source| !source.is_test() && !in_sync(source)) {
        let tokens = tokens(&source.text);
        for (at, token) in tokens.iter().enumerate() {
            let is_lock = LOCKS.contains(&token.as_str());
            // `std::sync::atomic`, alone or in a group.
            let from = tokens[..at].iter().rposition(|token| token == "use" || token == ";");
            let path: Vec<&str> =
                tokens[from.unwrap_or(0)..at].iter().map(|t| t.as_str()).collect();
            let is_foreign = token == "atomic"
                && ["std", "core", "crossbeam_utils"].iter().any(|name| path.contains(name));
            if is_lock || is_foreign {
                writeln!(wrong, "{}: names {token}", source.path.display()).unwrap();
            }
        }
    }
    wrong
}

#[test]
fn a_floor_imports_only_floors_below_it() {
    let wrong = upward_imports(&sources());
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn atomics_come_from_sync_and_there_are_no_locks() {
    let wrong = locks_and_foreign_atomics(&sources());
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn no_file_is_too_long() {
    for source in sources() {
        let lines = source.text.lines().count();
        assert!(lines <= LONGEST, "{}: {lines} lines", source.path.display());
    }
}

/// The checks above find violations.
#[test]
fn the_checks_find_violations() {
    let good = r#"
        //! Mutex, crate::engine, std::sync::atomic
        use crate::{pool::{Pool, os}, sync::AtomicPtr}; /* crate::engine /* nested */ */
        const TEXT: &str = "crate::engine Mutex"; const QUOTE: char = '"';
        fn f<'a>(_: &'a str) { super::helper() }
        #[cfg(all(test, not(coeval_loom)))]
        mod tests { use crate::engine::E; use std::sync::Mutex; fn f() {} }
        #[cfg(test)] #[path = "x.rs"] mod more;
    "#;
    let others = || ["sync/mod.rs", "pool/mod.rs", "engine/mod.rs", "index/mod.rs", "lib.rs"];
    let with = |path: &str, text: &str| -> Vec<Source> {
        let others = others().into_iter().map(|path| Source::new(path, ""));
        others.chain([Source::new(path, text)]).collect()
    };
    for path in ["chain/record.rs", "chain/mod.rs", "chain/a/b.rs"] {
        assert_eq!(upward_imports(&with(path, good)), "");
        assert_eq!(locks_and_foreign_atomics(&with(path, good)), "");
        assert_eq!(upward_imports(&with("chain/tests.rs", "use crate::engine::E;")), "");
        for bad in
            ["use crate::engine::E;", "use crate::{sync::{A, B}, index::X};", "crate::index::f()"]
        {
            assert_ne!(upward_imports(&with(path, bad)), "", "{path} {bad}");
        }
    }
    assert_ne!(upward_imports(&with("chain/mod.rs", "use super::index::X;")), "");
    assert_ne!(upward_imports(&with("chain/record.rs", "use super::super::index::X;")), "");
    assert_eq!(upward_imports(&with("chain/record.rs", "use super::index::X;")), "");
    for bad in [
        "use std::sync::Mutex;",
        "use std::sync::{Arc, atomic::AtomicU64};",
        "static X: std::sync::atomic::AtomicU64 = 0;",
    ] {
        assert_ne!(locks_and_foreign_atomics(&with("chain/mod.rs", bad)), "", "{bad}");
        assert_eq!(locks_and_foreign_atomics(&with("sync/mod.rs", bad)), "", "{bad}");
    }
}
