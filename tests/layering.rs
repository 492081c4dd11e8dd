//! Rules for the sources. The rooms stand on floors, and a floor uses only floors below it. The
//! floor plan of `docs/architecture.md`, the modules of `lib.rs` and the folders are one list. No
//! files of a room use each other in a cycle. A type's name means one thing. Atomics come from one
//! room, there are no locks, and no file is too long. Each promise has witnesses, and each planted
//! defect.

#[path = "layering/contract.rs"]
mod contract;
#[path = "layering/defects.rs"]
mod defects;
#[path = "layering/graph.rs"]
mod graph;
#[path = "layering/source.rs"]
mod source;

use graph::{Graph, Use};
use source::{Source, imports, sources, tokens};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// Uses that are allowed within one floor.
const NEIGHBOURS: &[(&str, &str)] =
    &[("sync", "memory"), ("version", "sync"), ("error", "version")];

/// Names that several types share, with the reason.
const SHARED_NAMES: &[(&str, &str)] = &[
    ("Entry", "users know the public one by this name; the other is a write in a descriptor"),
    ("Reset", "a helper within a function; nobody else can name it"),
    ("$", "macros make types of the names that they are given"),
];

/// Locks and other blocking types. Only `src/sync` may name them.
const LOCKS: &[&str] =
    &["Mutex", "RwLock", "Condvar", "Once", "OnceLock", "LazyLock", "spin_loop", "Backoff"];

const LONGEST: usize = 500;

/// The rooms by floors, the lowest first.
type Floors = Vec<Vec<String>>;

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The floor plan of a text like `docs/architecture.md`: in the block after `src/`, each room is
/// the first word of a line that is indented by two or six spaces, after the floor's name.
fn floor_plan(text: &str) -> Floors {
    let block = text.split("src/\n").nth(1).expect("there is a floor plan");
    let mut floors = Floors::new();
    for line in block.lines().take_while(|line| line.starts_with("  ")) {
        let mut words = line.split_whitespace();
        let Some(mut word) = words.next() else { continue };
        if word.starts_with('F') && word[1..].parse::<usize>().is_ok() {
            floors.push(Vec::new());
            word = words.next().expect("a floor has a room");
        } else if !line.starts_with("      ") || line.starts_with("       ") {
            continue; // the rest of a description
        }
        let room = word.trim_end_matches('/').trim_end_matches(".rs");
        floors.last_mut().expect("a floor has begun").push(room.to_owned());
    }
    floors
}

/// The modules that a text like `lib.rs` declares, by the groups that blank lines make.
fn declared(text: &str) -> Floors {
    let mut groups = vec![Vec::new()];
    for line in text.lines() {
        let line = line.strip_prefix("pub ").unwrap_or(line);
        if let Some(module) = line.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';')) {
            groups.last_mut().unwrap().push(module.to_owned());
        } else if line.is_empty() {
            groups.push(Vec::new());
        }
    }
    groups.retain(|group| !group.is_empty());
    groups
}

fn floors() -> Floors {
    floor_plan(&read("docs/architecture.md"))
}

/// Whether a room may use another one.
fn may_use(floors: &Floors, user: &str, used: &str) -> bool {
    let floor = |room: &str| floors.iter().position(|floor| floor.iter().any(|it| it == room));
    user == used || user == "lib" || floor(used) < floor(user) || NEIGHBOURS.contains(&(user, used))
}

/// The forbidden imports and calls of some sources, one per line.
fn upward_uses(floors: &Floors, sources: &[Source]) -> String {
    let rooms: Vec<String> = sources.iter().map(Source::module).collect();
    let mut wrong = String::new();
    for source in sources.iter().filter(|source| !source.is_test()) {
        for imported in imports(source) {
            let is_room = rooms.contains(&imported);
            if is_room && !may_use(floors, &source.module(), &imported) {
                writeln!(wrong, "{}: imports {imported}", source.path.display()).unwrap();
            }
        }
    }
    let graph = Graph::new(sources);
    // Types are named by imports; what calls need is hidden behind methods.
    for Use { by, of, name, .. } in graph.uses().into_iter().filter(|of| of.is_call) {
        let (by, of) = (graph.source(by), graph.source(of));
        if !may_use(floors, &by.module(), &of.module()) {
            let (by, of) = (by.path.display(), of.path.display());
            writeln!(wrong, "{by}: uses {name} of {of}").unwrap();
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
fn the_plan_the_crate_and_the_folders_are_one_list() {
    let plan = floors();
    let crate_root = read("src/lib.rs");
    let root = crate_root.split("\n/// What models and tests").next().unwrap();
    let sorted = |floors: &Floors| -> Floors {
        let mut floors = floors.clone();
        floors.iter_mut().for_each(|floor| floor.sort());
        floors
    };
    assert_eq!(sorted(&declared(root)), sorted(&plan), "lib.rs, and docs/architecture.md");
    let mut rooms: Vec<String> = sources().iter().map(Source::module).collect();
    rooms.retain(|room| room != "lib");
    rooms.sort();
    rooms.dedup();
    let mut planned = plan.concat();
    planned.sort();
    assert_eq!(rooms, planned, "the folders, and docs/architecture.md");
}

#[test]
fn a_floor_uses_only_floors_below_it() {
    let wrong = upward_uses(&floors(), &sources());
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn no_files_of_a_room_use_each_other_in_a_cycle() {
    let sources = sources();
    let cycles = Graph::new(&sources).cycles();
    assert!(cycles.is_empty(), "\n{cycles}");
}

#[test]
fn a_types_name_means_one_thing() {
    let sources = sources();
    let mut ambiguous: BTreeMap<_, _> = Graph::new(&sources).ambiguous;
    ambiguous.retain(|name, _| SHARED_NAMES.iter().all(|(shared, _)| shared != name));
    assert!(ambiguous.is_empty(), "{ambiguous:#?}");
}

#[test]
fn the_root_has_few_files() {
    let is_at_root = |source: &&Source| source.path.components().count() == 1;
    let sources = sources();
    let at_root: Vec<_> = sources.iter().filter(is_at_root).map(|source| &source.path).collect();
    assert!(at_root.len() <= 6, "{at_root:?}");
}

/// The table of `docs/architecture.md` has each file of the engine, of the store and of what lies
/// between.
#[test]
fn each_file_of_the_upper_floors_is_described() {
    let text = read("docs/architecture.md");
    for source in sources() {
        let rooms = ["store", "dependencies", "engine", "api"];
        let name = source.path.file_name().unwrap().to_str().unwrap();
        if rooms.contains(&source.module().as_str()) && name != "mod.rs" && !source.is_test() {
            assert!(text.contains(&format!("`{name}`")), "{}", source.path.display());
        }
    }
}

/// The names in the table "What does a key hold?" of a text like `docs/architecture.md`, each with
/// the file of its row.
fn answers(text: &str) -> Vec<(String, String)> {
    let section = text.split("### What does a key hold?").nth(1).expect("there is the section");
    let section = section.split("\n## ").next().unwrap();
    let (mut found, mut file) = (Vec::new(), String::new());
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        if let Some(path) = cells[2].strip_prefix("`src/") {
            file = path.trim_end_matches('`').to_owned();
        }
        let names = cells[1].split('`').skip(1).step_by(2);
        let name = |name: &str| name.rsplit(':').next().unwrap().to_owned();
        found.extend(names.map(|of| (name(of), file.clone())));
    }
    found
}

/// The functions of a source that are told of a key or of a record.
fn functions_of_keys(source: &Source) -> Vec<String> {
    let tokens = tokens(&source.text);
    let functions = (0..tokens.len()).filter(|at| tokens[*at] == "fn");
    let is_of_key = |at: &usize| {
        let signature = tokens[*at..].iter().take_while(|token| *token != "{" && *token != ";");
        let signature: Vec<&String> = signature.collect();
        signature
            .windows(2)
            .any(|pair| ["key", "keys", "record"].contains(&pair[0].as_str()) && pair[1] == ":")
    };
    functions.filter(is_of_key).map(|at| tokens[at + 1].clone()).collect()
}

/// At most this many functions answer "what does a key hold?".
const ANSWERS: usize = 15;

#[test]
fn few_functions_say_what_a_key_holds() {
    let listed = answers(&read("docs/architecture.md"));
    assert!(listed.len() <= ANSWERS, "{} functions: {listed:?}", listed.len());
    let sources = sources();
    for (name, file) in &listed {
        let source = sources.iter().find(|source| source.path == Path::new(file));
        let of_keys = functions_of_keys(source.unwrap_or_else(|| panic!("there is no {file}")));
        assert!(of_keys.contains(name), "{file} has no {name}");
    }
    // Files that are about nothing else.
    let files = [
        "engine/read.rs",
        "engine/read_many.rs",
        "engine/brief_view.rs",
        "store/read.rs",
        "dependencies/lookup.rs",
        "commit/resolve.rs",
    ];
    for file in files {
        let source = sources.iter().find(|source| source.path == Path::new(file)).unwrap();
        for name in functions_of_keys(source) {
            let is_listed = listed.contains(&(name.clone(), file.to_owned()));
            assert!(is_listed, "{name} of {file} is not listed in docs/architecture.md");
        }
    }
}

#[test]
fn atomics_come_from_sync_and_there_are_no_locks() {
    let wrong = locks_and_foreign_atomics(&sources());
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// Unsafe code is left where memory is made, published and freed.
#[test]
fn the_store_and_the_engine_have_few_unsafe_blocks() {
    let is_of = |source: &Source| ["store", "engine"].contains(&source.module().as_str());
    let sources = sources().into_iter().filter(is_of);
    let blocks: usize = sources.map(|source| source.text.matches("unsafe {").count()).sum();
    assert!((50..=150).contains(&blocks), "{blocks} unsafe blocks");
}

#[test]
fn no_file_is_too_long() {
    for source in sources() {
        let lines = source.text.lines().count();
        assert!(lines <= LONGEST, "{}: {lines} lines", source.path.display());
    }
}

#[test]
fn each_promise_has_witnesses() {
    let promises = contract::promises(&read("docs/guarantees.md"));
    let rows = contract::rows(&read("docs/evidence.md"));
    assert!(promises.len() > 50, "the promises were not found");
    let gaps = contract::gaps(&promises, &rows, contract::is_there);
    assert!(gaps.is_empty(), "docs/evidence.md:\n{}", gaps.join("\n"));
}

/// A promise without a row, a row without a promise, and a witness that is not there are found.
#[test]
fn each_defect_has_a_witness() {
    let sources = defects::all_text(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let defects = defects::defects(&sources);
    assert!(defects.len() > 100, "the defects were not found");
    let text = read("docs/planted.md");
    assert_eq!(defects::gaps(&defects, &text), [""; 0]);
    let (unfound, sentence) = defects::sums(&text);
    assert_eq!(defects::excused(&text), unfound, "why no test finds them");
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains(&sentence), "docs/planted.md is to say: {sentence}");
    assert!(text.contains(&format!("hold {} defects", defects.len())), "{}", defects.len());
    assert!(text.contains(&format!("these {} change", unfound.len())), "{}", unfound.len());
}

#[test]
fn sums_of_the_table_of_defects_are_right() {
    let rows = "| `a.b` | `m` | – | – | – |\n| `c.d` | – | `threads::t` | 7 | 0.1 |\n\
                | `e.f` | – | `checked::x::sourced` | 7 | 0.1 |\n| `a.b` | a reason |\n";
    let (unfound, sentence) = defects::sums(rows);
    assert!(sentence.starts_with("2 of the 3 are found"), "{sentence}");
    assert!(sentence.contains("0 by histories, 1 by old values, 0 by what"), "{sentence}");
    assert_eq!(defects::excused(rows), unfound);
    assert!(defects::excused("| `a.b` | `m` | – | – | – |\n| `c.d` |  |\n").is_empty());
}

#[test]
fn gaps_in_the_table_of_defects_are_found() {
    let defects = defects::defects("if mutant(\"a.b\") || planted( \"c.d\") {}");
    let good = "| `a.b` | `m` | – | – | – |\n| `c.d` | – | `t` | 7 | 0.1 |\n";
    assert_eq!(defects::gaps(&defects, good), [""; 0]);
    for (bad, why) in [
        ("| `c.d` | – | `t` | 7 | 0.1 |\n", "a.b has no row"),
        (&good.replace("`m`", "–"), "a.b is found by nothing"),
        (&good.replace("0.1", "–"), "c.d: a test, and in how many seconds it finds it"),
        (&format!("{good}| `e.f` | `m` | – | – | – |\n"), "e.f is no defect of the sources"),
        (&format!("{good}| `a.b` | `m` | – | – | – |\n"), "a.b has two rows"),
    ] {
        assert_eq!(defects::gaps(&defects, bad), [why]);
    }
}

#[test]
fn gaps_in_the_evidence_are_found() {
    let promises = contract::promises(
        "# All\n## One\n- **Two\n  words.** More.\n- plain\n## Limits\n- **None.**",
    );
    assert_eq!(promises, [("One".to_owned(), "Two words.".to_owned())]);
    let gaps = |number, section, promise, witness| {
        let text =
            format!("## {section}\n| number | x | y |\n| {number} | {promise} | `{witness}` |");
        contract::gaps(&promises, &contract::rows(&text), |witness| witness == "a::b").len()
    };
    assert_eq!(gaps(1, "One", "Two words.", "a::b"), 0);
    assert_eq!(gaps(1, "One", "Two words.", "limit"), 0);
    assert_eq!(gaps(2, "One", "Two words.", "a::b"), 1);
    assert_eq!(gaps(1, "One", "Two words.", "a::c"), 1);
    assert_eq!(gaps(1, "Two", "Two words.", "a::b"), 2);
    assert_eq!(gaps(1, "One", "Three words.", "a::b"), 2);
    assert_eq!(contract::gaps(&promises, &[], |_| true).len(), 1);
    for there in ["layering::each_promise_has_witnesses", "promises::anomalies", "loom::leases"] {
        assert!(contract::is_there(there), "{there}");
    }
    for missing in ["layering::no_such", "layering::read", "promises::no_such", "loom::no_such"] {
        assert!(!contract::is_there(missing), "{missing}");
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
    let plan = floors();
    let upward_uses = |sources: &[Source]| upward_uses(&plan, sources);
    let with = |path: &str, text: &str| -> Vec<Source> {
        let others = others().into_iter().map(|path| Source::new(path, ""));
        others.chain([Source::new(path, text)]).collect()
    };
    for path in ["chain/record.rs", "chain/mod.rs", "chain/a/b.rs"] {
        assert_eq!(upward_uses(&with(path, good)), "");
        assert_eq!(locks_and_foreign_atomics(&with(path, good)), "");
        assert_eq!(upward_uses(&with("chain/tests.rs", "use crate::engine::E;")), "");
        for bad in
            ["use crate::engine::E;", "use crate::{sync::{A, B}, index::X};", "crate::index::f()"]
        {
            assert_ne!(upward_uses(&with(path, bad)), "", "{path} {bad}");
        }
    }
    assert_ne!(upward_uses(&with("chain/mod.rs", "use super::index::X;")), "");
    assert_ne!(upward_uses(&with("chain/record.rs", "use super::super::index::X;")), "");
    assert_eq!(upward_uses(&with("chain/record.rs", "use super::index::X;")), "");
    for bad in [
        "use std::sync::Mutex;",
        "use std::sync::{Arc, atomic::AtomicU64};",
        "static X: std::sync::atomic::AtomicU64 = 0;",
    ] {
        assert_ne!(locks_and_foreign_atomics(&with("chain/mod.rs", bad)), "", "{bad}");
        assert_eq!(locks_and_foreign_atomics(&with("sync/mod.rs", bad)), "", "{bad}");
    }
}

/// A function that is told of a key is found, and so is its row.
#[test]
fn functions_of_keys_are_read() {
    let text = "fn one<Q>(&self, key: &Q) {} fn two(at: u8) { f(key: 1) } fn three(record: R);";
    assert_eq!(functions_of_keys(&Source::new("a.rs", text)), ["one", "three"]);
    let table = "### What does a key hold?\n| `A::one`, `two` | `src/a.rs` | x |\n\
        | `B::c` | the same | y |\n## End\n| `no` | z | x |";
    let found = [("one", "a.rs"), ("two", "a.rs"), ("c", "a.rs")];
    assert_eq!(answers(table), found.map(|(name, file)| (name.to_owned(), file.to_owned())));
}

/// The floor plan and the crate's modules are read as they are written.
#[test]
fn floors_are_read() {
    let plan = "text\n```\nsrc/\n  F0  sync/   the only\n\
        \x20             more\n\x20     version.rs  `V`\n\
        \x20 F1  pool/\n```\n";
    let rooms = |floors: &[&[&str]]| -> Floors {
        floors.iter().map(|floor| floor.iter().map(|room| room.to_string()).collect()).collect()
    };
    assert_eq!(floor_plan(plan), rooms(&[&["sync", "version"], &["pool"]]));
    let root = "// x\nmod sync;\nmod version;\n\npub mod pool;\n\npub use a::B;\n";
    assert_eq!(declared(root), rooms(&[&["sync", "version"], &["pool"]]));
}

/// A cycle of two files by calls, and one of types, are found; a call that only looks like one is
/// not.
#[test]
fn cycles_are_found() {
    let cycles = |texts: [&str; 2]| {
        let sources = [Source::new("store/a.rs", texts[0]), Source::new("store/b.rs", texts[1])];
        Graph::new(&sources).cycles()
    };
    let calls = ["fn one() { self.other(); }", "fn other() { Self::one(); }"];
    assert_eq!(cycles(calls).lines().count(), 2, "{}", cycles(calls));
    assert_eq!(cycles(["struct A(B);", "struct B(Box<A>);"]).lines().count(), 2);
    assert_eq!(cycles(["fn one() { self.other(); }", "fn other() { list.one(); }"]), "");
    assert_eq!(cycles(["struct A(B);", "struct B;"]), "");
    let sources = [Source::new("store/a.rs", "struct A;"), Source::new("pool/b.rs", "enum A {}")];
    assert_eq!(Graph::new(&sources).ambiguous.len(), 1);
}
