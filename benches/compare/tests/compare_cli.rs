//! Tests of the command line of the comparison.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn compare(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coeval-compare"));
    command.args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

const SHORT: [&str; 6] = ["--seconds", "0.02", "--rounds", "2", "--keys", "2000"];

/// All workloads except those with ten million keys, or with windows that cannot be shortened.
const WORKLOADS: &str = "get-uniform,get-zipf,get-held,get-string,sizes,overwritten,overwrite,\
    read-heavy,exchange,rapid-grow,get-put,ycsb,batch8,group-read8,groups,group-latency,stale";

#[test]
fn every_short_workload_gives_figures_and_files() {
    let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("compare");
    let stores = ["--stores", "coeval,rwlock,std", "--workload", WORKLOADS, "--threads", "1,2"];
    let args = [&SHORT[..], &stores, &["--out", out.to_str().unwrap()]];
    let output = compare(&args.concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let tables = text(&output.stdout);
    let json = std::fs::read(out.join("results.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let results = json["results"].as_array().unwrap();
    for workload in WORKLOADS.split(',') {
        assert!(tables.contains(workload), "{workload} is missing in:\n{tables}");
        assert!(results.iter().any(|row| row["workload"] == workload), "{workload}");
    }
    for row in results {
        assert_eq!(row["rounds"].as_array().unwrap().len(), 2, "{row}");
        let torn = row["metric"] == "torn" && row["median"] != 0.0;
        assert!(!torn, "torn reads where there can be none: {row}");
    }
    let absent = json["absent"].as_array().unwrap();
    assert!(absent.iter().all(|absent| absent["store"] == "std"), "{absent:?}");
    let csv = std::fs::read_to_string(out.join("results.csv")).unwrap();
    assert_eq!(csv.lines().count(), results.len() + 1);
    let pictures = ["get-zipf.svg", "batch8.svg", "group-read8.svg", "torn.svg", "ycsb-b.svg"];
    for file in ["index.html", "tables.txt", "tables.md", "readme.md"].iter().chain(&pictures) {
        assert!(out.join(file).metadata().unwrap().len() > 100, "{file}");
    }
    stored_results_can_be_drawn_again(&out, &pictures);
}

fn stored_results_can_be_drawn_again(stored: &Path, pictures: &[&str]) {
    let again = stored.join("again");
    let tables = stored.join("tables.md");
    let output = compare(&["draw", tables.to_str().unwrap(), "--out", again.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let page = std::fs::read_to_string(again.join("index.html")).unwrap();
    assert_eq!(page.matches("<figure>").count(), page.matches("<figcaption>").count());
    for picture in pictures {
        let [old, new] =
            [stored, &again].map(|dir| std::fs::read_to_string(dir.join(picture)).unwrap());
        // The tables have three digits. That moves a bar by less than a pixel, but the axis may end
        // at another number, and two bars may change places. The words are the same.
        let words = |svg: &str| -> Vec<String> {
            let texts = svg.split("</text>").filter_map(|part| part.rsplit('>').next());
            let words = texts.filter(|text| text.starts_with(char::is_alphabetic));
            let mut words: Vec<_> = words.map(str::to_owned).collect();
            words.sort();
            words
        };
        assert!(words(&old).len() > 2, "{picture}: {:?}", words(&old));
        assert_eq!(words(&old), words(&new), "{picture}");
    }
    let nothing = compare(&["draw", "Cargo.toml", "--out", again.to_str().unwrap()]);
    assert_eq!(nothing.status.code(), Some(2));
    assert!(text(&nothing.stderr).contains("Cargo.toml has no tables"));
}

#[test]
fn memory_is_measured_in_processes_of_its_own() {
    let args = [&SHORT[..], &["--workload", "memory,memory-overwrite", "--stores", "coeval,std"]];
    let output = compare(&[&args.concat()[..], &["--cap", "1", "--json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let churned = json["results"].as_array().unwrap().iter();
    let churned: Vec<_> = churned.filter(|row| row["metric"] == "keys churned").collect();
    assert_eq!(churned.len(), 2);
    assert!(churned.iter().all(|row| row["median"].as_f64().unwrap() > 1000.0));
}

#[test]
fn a_store_that_cannot_take_part_says_why() {
    let args = ["--workload", "get-held,replay", "--stores", "coeval,dashmap"];
    let output = compare(&[&SHORT[..], &args].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let tables = text(&output.stdout);
    assert!(tables.contains("get-held, dashmap: has no guard to hold"), "{tables}");
    assert!(tables.contains("replay, coeval: no --trace was given"), "{tables}");
}

#[test]
fn only_bounded_stores_run_full_caches() {
    let workloads = "get-bounded,evict,evict-latency";
    let args = ["--stores", "coeval,quick_cache,rwlock", "--workload", workloads, "--rounds", "1"];
    let output = compare(&[&args[..], &SHORT[..2], &SHORT[4..], &["--json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let results = json["results"].as_array().unwrap();
    for (workload, metric) in
        [("get-bounded", "gets"), ("evict", "held"), ("evict-latency", "insert max")]
    {
        for store in ["coeval", "quick_cache"] {
            let is = |row: &&serde_json::Value| {
                row["workload"] == workload && row["metric"] == metric && row["store"] == store
            };
            let row = results.iter().find(is).unwrap_or_else(|| panic!("{workload}, {store}"));
            assert!(row["median"].as_f64().unwrap() > 0.0, "{row}");
        }
    }
    let kept = results.iter().find(|row| row["metric"] == "missing" && row["store"] == "coeval");
    assert_eq!(kept.unwrap()["median"], 0.0);
    let absent = json["absent"].as_array().unwrap();
    assert!(absent.iter().all(|absent| absent["reason"] == "cannot be bounded"), "{absent:?}");
    assert_eq!(absent.len(), 3);
}

#[test]
fn a_store_that_takes_too_long_is_excluded() {
    let args = ["--workload", "large", "--stores", "std", "--limit", "1", "--rounds", "1"];
    let output = compare(&args);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let tables = text(&output.stdout);
    assert!(tables.contains("large, std: gave no answer within 1 s, and was killed"), "{tables}");
}

#[test]
fn nonsense_is_refused_with_status_2() {
    for args in [
        &["--stores", "redis"][..],
        &["--workload", "sort"],
        &["--threads", "0"],
        &["--seconds", "NaN"],
        &["--rounds", "0"],
        &["--keys", "7"],
        &["--quick", "--workload", "batch8"],
        &["--grown"],
        &["--workload", "replay", "--trace", "/no/such/file"],
    ] {
        let output = compare(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(text(&output.stderr).contains("error"), "{args:?}");
    }
    let blocked =
        [&SHORT[..], &["--workload", "batch8", "--stores", "std", "--out", "/dev/null/x"]];
    let output = compare(&blocked.concat());
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("cannot be written"));
}
