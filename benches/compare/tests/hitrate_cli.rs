//! Tests of the command line of the hit ratios.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use ruzstd::encoding::{CompressionLevel, compress_to_vec};

fn hitrate(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coeval-compare"));
    command.arg("hitrate").args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// A folder with one trace, a loop over ten keys, and its tables.
fn traces(name: &str, lru: &str) -> PathBuf {
    let folder = folder(name);
    let bytes: Vec<u8> = (0..1000u64).flat_map(|at| (at % 10).to_le_bytes()).collect();
    let packed = compress_to_vec(&*bytes, CompressionLevel::Fastest);
    fs::write(folder.join("looped.keys.zst"), packed).unwrap();
    let index = "name\tsuggested_cache_sizes\nlooped\t5,10\n";
    fs::write(folder.join("index.tsv"), index).unwrap();
    let known = format!(
        "trace\tcapacity\tpolicy\thit_ratio\nlooped\t5\tLRU\t{lru}\nlooped\t10\tFIFO\t0.990000\n\
         looped\t10\tOPT\t0.990000\nlooped\t10\tlibCacheSim:ARC\t0.990000\n"
    );
    fs::write(folder.join("hit_ratios.tsv"), known).unwrap();
    folder
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn known_hit_ratios_are_met_or_the_exit_status_is_one() {
    let good = hitrate(&["--check", path(&traces("hitrate-good", "0.000000"))]);
    assert_eq!(good.status.code(), Some(0), "{}", text(&good.stderr));
    assert!(text(&good.stdout).contains("3 of 3 hit ratios"));
    let folder = traces("hitrate-wrong", "0.000001");
    let wrong = hitrate(&["--check", path(&folder.join("hit_ratios.tsv"))]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(text(&wrong.stdout).contains("looped 5: LRU is 0.000000, not 0.000001"));
}

#[test]
fn all_traces_give_a_table_and_plots() {
    let (folder, out) = (traces("hitrate-all", "0.000000"), folder("hitrate-out"));
    let output = hitrate(&["--traces", path(&folder), "--out", path(&out)]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    for part in ["coeval", "LRU", "moka", "quick_cache", "OPT", "mean", "best single peer"] {
        assert!(table.contains(part), "{part} is missing in:\n{table}");
    }
    let ratios = fs::read_to_string(out.join("hitrate.tsv")).unwrap();
    assert!(ratios.contains("looped\t10\tcoeval\t0.990000") && ratios.lines().count() == 15);
    assert!(fs::read_to_string(out.join("looped.svg")).unwrap().starts_with("<svg"));
}

#[test]
fn one_trace_at_some_capacities() {
    let trace = traces("hitrate-one", "0.000000").join("looped.keys.zst");
    let output = hitrate(&["--trace", path(&trace), "--capacity", "3,20"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).lines().filter(|line| line.starts_with("  looped ")).count() == 2);
}

#[test]
fn missing_and_broken_files_are_named() {
    let folder = traces("hitrate-broken", "0.000000");
    let (broken, absent) = (folder.join("broken.keys.zst"), folder.join("absent"));
    fs::write(&broken, b"no zstd").unwrap();
    let cases: [&[&str]; 6] = [
        &["--trace", path(&absent), "--capacity", "5"],
        &["--trace", path(&broken), "--capacity", "5"],
        &["--traces", path(&absent)],
        &["--check", path(&absent)],
        &["--trace", path(&absent)],
        &[],
    ];
    for args in cases {
        let output = hitrate(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "{args:?}");
    }
    let output = hitrate(cases[1]);
    assert!(text(&output.stderr).contains("broken.keys.zst"), "{}", text(&output.stderr));
}
