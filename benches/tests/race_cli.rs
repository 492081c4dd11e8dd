//! Tests of the command line of the race.

use std::{
    path::PathBuf,
    process::{Command, Output},
};

use ruzstd::encoding::{CompressionLevel, compress_to_vec};

fn bench(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coeval-bench"));
    // By default, the report goes to `target` in this folder.
    command.current_dir(env!("CARGO_TARGET_TMPDIR")).args(args).output().unwrap()
}

/// Runs a small race: `more` follows arguments that keep it short.
fn short_race(more: &[&str]) -> Output {
    let short = ["race", "--runs", "20", "--rounds", "1", "--window", "20"];
    bench(&[&short, more].concat())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn file(name: &str, content: &[u8]) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, content).unwrap();
    path
}

fn trace_of(keys: u64) -> Vec<u8> {
    let bytes: Vec<u8> = (0..keys).flat_map(|key| (key % 50).to_le_bytes()).collect();
    compress_to_vec(&*bytes, CompressionLevel::Fastest)
}

#[test]
fn a_race_prints_its_story_and_succeeds() {
    let output = short_race(&["--widen", "2000"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let story = text(&output.stdout);
    for part in ["two-step", "locked", "coeval", "[OLD]", "update start", "never showed a mixed"] {
        assert!(story.contains(part), "{part} is missing in:\n{story}");
    }
    assert!(output.stderr.is_empty(), "a progress bar was drawn where there is no terminal");
}

#[test]
fn a_report_is_one_self_contained_page() {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("race-pictures");
    let output = short_race(&["--widen", "2000", "--out", dir.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let page = std::fs::read_to_string(dir.join("index.html")).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("prefers-color-scheme"));
    let figures = page.matches("<figure>").count();
    assert!(figures >= 5 && page.matches("<figcaption>").count() == figures, "{figures}");
    assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    for part in ["writer-0", "OLD", "microseconds", "percent of all runs", "operations a second"] {
        assert!(page.contains(part), "{part} is missing");
    }
    let outside = page.replace("http://www.w3.org/2000/svg", "");
    for link in ["http:", "https:", "src=", "href=", "url(", "@import", "<script"] {
        assert!(!outside.contains(link), "{link}");
    }
}

#[test]
fn a_report_that_cannot_be_written_is_status_2() {
    let output = short_race(&["--out", "/dev/null/x"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("/dev/null/x cannot be written"));
}

#[test]
fn json_is_one_document() {
    let output = short_race(&["--json", "--readers", "2", "--writers", "2", "--widen", "2000"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["coeval_mixed_reads"], 0);
    assert_eq!(report["settings"]["writers"], 2);
    assert!(report["timeline"]["lines"].is_array() && report["timeline"]["seen"].is_array());
    assert!(report["races"].as_array().unwrap().len() >= 8);
    assert!(report["cost"][0]["reads_per_second"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_trace_drives_the_groups() {
    let path = file("good.keys.zst", &trace_of(1000));
    let output = short_race(&["--json", "--trace", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["settings"]["groups"], 50);
}

#[test]
fn a_bad_trace_is_refused_with_status_2() {
    let good = trace_of(1000);
    let odd = compress_to_vec(&[0u8; 21][..], CompressionLevel::Fastest);
    let cases: [(&str, PathBuf, &str); 5] = [
        ("missing", PathBuf::from("no/such.keys.zst"), "cannot be read"),
        ("empty", file("empty.keys.zst", b""), "holds no keys"),
        ("text", file("text.keys.zst", b"1,2,3\n"), "not a zstd stream"),
        ("cut", file("cut.keys.zst", &good[..good.len() / 2]), "truncated"),
        ("odd", file("odd.keys.zst", &odd), "5 bytes are left over"),
    ];
    for (name, path, message) in cases {
        let output = short_race(&["--trace", path.to_str().unwrap()]);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{name}: {stderr}");
        assert!(stderr.contains(message), "{name}: {stderr}");
        assert!(stderr.contains(path.to_str().unwrap()), "{name}: {stderr}");
        assert!(output.stdout.is_empty(), "{name} printed a part of a story");
    }
}

#[test]
fn nonsense_is_refused_with_status_2() {
    for args in [
        &["race", "--readers", "0"][..],
        &["race", "--related", "99"],
        &["race", "--runs", "-5"],
        &["race", "--trace"],
        &["rase"],
    ] {
        let output = bench(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(text(&output.stderr).contains("error"), "{args:?}");
    }
    let path = file("one.keys.zst", &trace_of(1));
    let output = short_race(&["--writers", "2", "--trace", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("fewer writers"));
}

#[test]
fn former_commands_name_their_new_place() {
    let output = bench(&["compare", "--quick"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("cargo run --release -p coeval-compare -- "));
}

#[test]
fn help_names_everything() {
    let output = bench(&["race", "--help"]);
    assert_eq!(output.status.code(), Some(0));
    let help = text(&output.stdout);
    let options =
        ["--runs", "--widen", "--related", "--readers", "--writers", "--trace", "--json", "--out"];
    for option in options {
        assert!(help.contains(option), "{option} is missing in:\n{help}");
    }
}
