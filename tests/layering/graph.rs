//! Which file uses which, by imports' targets and by method calls, and where that goes in a cycle.

use crate::source::{Source, tokens};
use std::collections::{BTreeMap, BTreeSet};

/// What stands before a call that is counted. Calls on other things may be calls of the standard
/// library's methods of the same name.
const RECEIVERS: &[&str] = &["self", "Self", "engine", "store", "cache", "observers"];

/// Items of the sources, each with the only file that defines it, and the files that use it.
pub struct Graph<'s> {
    files: Vec<(&'s Source, Vec<String>)>,
    /// By name. Names that several files define are left out.
    functions: BTreeMap<String, usize>,
    types: BTreeMap<String, usize>,
    /// Names of types that several files define, with these files.
    pub ambiguous: BTreeMap<String, BTreeSet<String>>,
}

/// A use of one file by another, and the name that is used.
pub struct Use {
    pub by: usize,
    pub of: usize,
    pub name: String,
    /// A call, as opposed to a type that is named.
    pub is_call: bool,
}

impl<'s> Graph<'s> {
    pub fn new(sources: &'s [Source]) -> Self {
        let files: Vec<_> = sources
            .iter()
            .filter(|source| !source.is_test())
            .map(|source| (source, tokens(&source.text)))
            .collect();
        let (mut functions, mut types) = (BTreeMap::new(), BTreeMap::new());
        for (file, (_, tokens)) in files.iter().enumerate() {
            for pair in tokens.windows(2) {
                let names = match pair[0].as_str() {
                    "fn" => &mut functions,
                    "struct" | "enum" | "trait" | "union" => &mut types,
                    _ => continue,
                };
                names.entry(pair[1].clone()).or_insert_with(BTreeSet::new).insert(file);
            }
        }
        let path = |file: &usize| files[*file].0.path.display().to_string();
        let ambiguous = types.iter().filter(|(_, files)| files.len() > 1);
        let ambiguous =
            ambiguous.map(|(name, files)| (name.clone(), files.iter().map(path).collect()));
        Self {
            ambiguous: ambiguous.collect(),
            functions: only(functions),
            types: only(types),
            files,
        }
    }

    pub fn source(&self, file: usize) -> &'s Source {
        self.files[file].0
    }

    /// All uses of one file by another.
    pub fn uses(&self) -> Vec<Use> {
        let mut uses = Vec::new();
        for (by, (_, tokens)) in self.files.iter().enumerate() {
            for at in 0..tokens.len() {
                let name = &tokens[at];
                let of_type = self.types.get(name).filter(|_| !is_variant(tokens, at));
                let of = of_type.or_else(|| {
                    let function = self.functions.get(name);
                    function.filter(|_| is_call(tokens, at))
                });
                if let Some(&of) = of.filter(|of| **of != by) {
                    let is_call = of_type.is_none();
                    uses.push(Use { by, of, name: name.clone(), is_call });
                }
            }
        }
        uses
    }

    /// Whether a file declares a room, or a part of one, and hands its items on.
    fn is_door(&self, source: &Source) -> bool {
        let folder = source.path.with_extension("");
        source.path.ends_with("mod.rs")
            || self
                .files
                .iter()
                .any(|(other, _)| other.path.starts_with(&folder) && other.path != source.path)
    }

    /// The cycles among the files of each room, one per line. A door stands in no cycle.
    pub fn cycles(&self) -> String {
        let mut edges: BTreeMap<usize, BTreeMap<usize, String>> = BTreeMap::new();
        for Use { by, of, name, .. } in self.uses() {
            let (one, other) = (self.source(by), self.source(of));
            let is_room = one.module() == other.module();
            if is_room && !self.is_door(one) && !self.is_door(other) {
                edges.entry(by).or_default().entry(of).or_insert(name);
            }
        }
        let mut found = String::new();
        for &from in edges.keys() {
            for (&to, name) in &edges[&from] {
                if reaches(&edges, to, from) {
                    let path = |file| self.source(file).path.display();
                    found += &format!("{} uses {name} of {}\n", path(from), path(to));
                }
            }
        }
        found
    }
}

/// Whether the token names a variant of a type, or an item of one, and no type.
fn is_variant(tokens: &[String], at: usize) -> bool {
    at >= 3 && tokens[at - 1] == ":" && tokens[at - 3].starts_with(char::is_uppercase)
}

/// Whether the token is the name of a method that is called on one of the receivers.
fn is_call(tokens: &[String], at: usize) -> bool {
    let token = |back: usize| at.checked_sub(back).map_or("", |at| tokens[at].as_str());
    let receiver = match (token(1), token(2)) {
        (".", receiver) => receiver,
        (":", ":") => token(3),
        _ => return false,
    };
    let is_called = match tokens.get(at + 1).map(String::as_str) {
        Some("(") => true,
        Some(":") => tokens.get(at + 3).is_some_and(|token| token == "<"),
        _ => false,
    };
    is_called && RECEIVERS.contains(&receiver)
}

fn only(names: BTreeMap<String, BTreeSet<usize>>) -> BTreeMap<String, usize> {
    let one = |(name, files): (String, BTreeSet<usize>)| match files.len() {
        1 => files.first().map(|file| (name, *file)),
        _ => None,
    };
    names.into_iter().filter_map(one).collect()
}

fn reaches(edges: &BTreeMap<usize, BTreeMap<usize, String>>, from: usize, to: usize) -> bool {
    let (mut todo, mut seen) = (vec![from], BTreeSet::new());
    while let Some(file) = todo.pop() {
        if file == to {
            return true;
        }
        if seen.insert(file) {
            todo.extend(edges.get(&file).into_iter().flat_map(|of| of.keys()));
        }
    }
    false
}
