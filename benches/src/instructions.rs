//! Counts instructions by callgrind. Examples of members include this file by its path: they run
//! themselves under valgrind, with an argument that says where their server is.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// How often an operation is done for one count.
const TIMES: u64 = 10_000;

/// How many rounds are timed.
const ROUNDS: u64 = 300;

/// One operation, which `run` does so many times.
pub struct Row<'r> {
    pub name: &'static str,
    pub run: &'r dyn Fn(u64),
}

/// What callgrind counts. It knows the function by its name.
#[inline(never)]
fn counted_operation(row: &Row<'_>) {
    (row.run)(TIMES);
}

/// Runs in the child: does each operation often, for the counts or, without valgrind, for the
/// times, which it prints.
pub fn measure(rows: &[Row<'_>]) {
    for row in rows {
        (row.run)(TIMES);
        counted_operation(row);
    }
    if std::env::var_os(COUNTS).is_some() {
        return rows.iter().for_each(|row| println!("{}", row.name));
    }
    let mut least = vec![f64::INFINITY; rows.len()];
    for _ in 0..ROUNDS {
        // In turn, so that a busy while of the machine meets all of them.
        for (least, row) in least.iter_mut().zip(rows) {
            let begin = Instant::now();
            (row.run)(TIMES);
            *least = least.min(begin.elapsed().as_secs_f64() / TIMES as f64);
        }
    }
    least.iter().for_each(|seconds| println!("{:.1}", seconds * 1e9));
}

const COUNTS: &str = "COEVAL_COUNTS_INSTRUCTIONS";

/// Runs this program again, with these arguments, under callgrind and without it, and prints what
/// each row takes, and how many times as much as the first one.
pub fn report(arguments: &[&str]) {
    let folder = std::env::temp_dir().join(format!("coeval-instructions-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let names = under_callgrind(&folder, arguments);
    let own = std::env::current_exe().expect("this program has a path");
    let times = lines(Command::new(own).args(arguments));
    let counts: Vec<f64> = (1..=names.len()).map(|row| count(&folder, row)).collect();
    println!("| | instructions | times | ns | times |\n|---|--:|--:|--:|--:|");
    let times: Vec<f64> = times.iter().map(|time| time.parse().expect("a time")).collect();
    for ((name, count), time) in names.iter().zip(&counts).zip(&times) {
        let (more, slower) = (count / counts[0], time / times[0]);
        println!("| {name} | {count:.0} | {more:.2} | {time:.1} | {slower:.2} |");
    }
    if std::env::var_os("KEEP").is_some() {
        println!("\n{}", folder.display());
    } else {
        let _ = std::fs::remove_dir_all(folder);
    }
}

fn under_callgrind(folder: &Path, arguments: &[&str]) -> Vec<String> {
    let mut valgrind = Command::new("valgrind");
    let out = format!("--callgrind-out-file={}", folder.join("out").display());
    valgrind.args(["-q", "--tool=callgrind", "--dump-instr=no", &out]);
    for option in ["toggle-collect", "dump-after", "zero-before"] {
        valgrind.arg(format!("--{option}=*counted_operation"));
    }
    let own = std::env::current_exe().expect("this program has a path");
    lines(valgrind.arg(own).args(arguments).env(COUNTS, "1"))
}

fn lines(command: &mut Command) -> Vec<String> {
    let output = command.stderr(std::process::Stdio::inherit()).output().expect("it can be run");
    assert!(output.status.success(), "{command:?}: {}", output.status);
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(str::to_owned).collect()
}

/// The instructions of one operation, of the dump with this number.
fn count(folder: &Path, number: usize) -> f64 {
    let path: PathBuf = folder.join(format!("out.{number}"));
    let text = std::fs::read_to_string(path).expect("a dump for each row");
    let total = text.lines().find_map(|line| line.strip_prefix("totals:")).expect("a total");
    total.trim().parse::<f64>().expect("a number") / TIMES as f64
}
