//! The sources, and what is written in them.

use std::path::{Path, PathBuf};

/// A source file: its path below `src`, and its text.
pub struct Source {
    pub path: PathBuf,
    pub text: String,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        Self { path: path.into(), text: text.into() }
    }

    /// The top-level module to which the file belongs; `lib` for the root itself.
    pub fn module(&self) -> String {
        let first = self.path.iter().next().expect("a path has a first part");
        first.to_str().expect("plain names").trim_end_matches(".rs").to_owned()
    }

    /// How many `super` lead from the file's module to the root.
    pub fn depth(&self) -> usize {
        let parts = self.path.components().count();
        let names_its_folder = ["mod.rs", "lib.rs"].iter().any(|name| self.path.ends_with(name));
        parts - usize::from(names_its_folder)
    }

    pub fn is_test(&self) -> bool {
        let is_tests = |part: &std::ffi::OsStr| part == "tests" || part == "tests.rs";
        self.path.iter().any(is_tests)
    }
}

pub fn sources() -> Vec<Source> {
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
pub fn tokens(text: &str) -> Vec<String> {
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
pub fn bracketed(tokens: &[String], from: usize) -> &[String] {
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
pub fn imports(source: &Source) -> Vec<String> {
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
