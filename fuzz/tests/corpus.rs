//! The committed corpus passes, as an ordinary test.

use std::path::Path;

/// Runs each file of the corpus, and each of its beginnings at some lengths.
fn run(name: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        target(&bytes);
        (0..bytes.len()).step_by(bytes.len() / 7 + 1).for_each(|end| target(&bytes[..end]));
        files += 1;
    }
    assert!(files >= 3, "{name}: {files} files");
}

#[test]
fn operations() {
    run("operations", coeval_fuzz::operations);
}

#[test]
fn saved() {
    run("saved", coeval_fuzz::saved);
}

#[test]
fn history() {
    run("history", coeval_fuzz::history);
}
