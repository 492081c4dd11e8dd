//! Counts instructions: this program runs itself under callgrind, and tells callgrind when to
//! count.

use crate::row::Row;
use std::ffi::CString;
use std::path::Path;
use std::process::Command;

const CHILD: &str = "COEVAL_SLOPES_CHILD";

/// Requests to callgrind, with the numbers of its manual. Without valgrind they do nothing.
#[derive(Clone, Copy)]
enum Request {
    Zero = 1,
    DumpAt = 3,
    Start = 4,
    Stop = 5,
}

fn request(request: Request, argument: u64) {
    let tool = (u64::from(b'C') << 24) | (u64::from(b'T') << 16);
    let arguments = [tool + request as u64, argument, 0, 0, 0, 0];
    // SAFETY: this is valgrind's request sequence. Four rotations that cancel out, and an exchange
    // of a register with itself, change only rdx, which is declared. valgrind reads the six words
    // at rax.
    unsafe {
        std::arch::asm!(
            "rol rdi, 3", "rol rdi, 13", "rol rdi, 61", "rol rdi, 51", "xchg rbx, rbx",
            in("rax") arguments.as_ptr(), inout("rdx") 0_u64 => _, inout("rdi") 0_u64 => _,
        );
    }
}

/// Counts the instructions of `act`, which runs the operation `times` times.
pub fn count(times: u64, act: impl FnOnce()) {
    let label = CString::new(times.to_string()).unwrap();
    request(Request::Start, 0);
    request(Request::Zero, 0);
    act();
    request(Request::DumpAt, label.as_ptr().expose_provenance() as u64);
    request(Request::Stop, 0);
}

/// Whether this is the program under callgrind.
pub fn is_counting() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// Runs the rows that the parent process has selected.
pub fn run(rows: &[Row]) {
    let filter = std::env::var(CHILD).unwrap();
    for row in rows.iter().filter(|row| row.name().contains(&filter)) {
        row.sizes().into_iter().for_each(row.run);
    }
}

/// Prints the cost of each row at each size. Returns the rows that cost more than promised.
pub fn report(rows: &[Row], filter: &str) -> Vec<String> {
    let folder = tempfolder();
    run_self_under_callgrind(&folder, "costs_grow_as_promised", filter);
    let rows = rows.iter().filter(|row| row.name().contains(filter));
    let mut wrong = Vec::new();
    println!(
        "{:52} {:>8} {:>12} {:>12} {:>12}",
        "instructions an operation", "n", "n", "4 n", "16 n"
    );
    for (at, row) in rows.enumerate() {
        let costs = [0, 1, 2].map(|size| cost(&folder, 3 * at + size + 1));
        let [first, second, third] = costs;
        let verdict = if row.grows.allows(costs) { "" } else { " MORE THAN PROMISED" };
        let line = format!(
            "{:52} {:>8} {first:>12.0} {second:>12.0} {third:>12.0}  {:?}{verdict}",
            row.name(),
            row.from,
            row.grows,
        );
        println!("{line}");
        if !verdict.is_empty() {
            wrong.push(line);
        }
    }
    let _ = std::fs::remove_dir_all(folder);
    wrong
}

/// Runs one test of this program under callgrind. Returns what callgrind wrote at each of its first
/// `counts` counts.
pub fn output_of_self(test: &str, filter: &str, counts: usize) -> Vec<String> {
    let folder = tempfolder();
    run_self_under_callgrind(&folder, test, filter);
    let read = |number| std::fs::read_to_string(folder.join(format!("out.{number}")));
    let outputs = (1..=counts).map(|number| read(number).expect("a count")).collect();
    let _ = std::fs::remove_dir_all(&folder);
    outputs
}

/// Runs one test of this program under callgrind. Returns the instructions of one operation at each
/// of its first `counts` counts.
pub fn costs_of_self(test: &str, counts: usize) -> Vec<f64> {
    let folder = tempfolder();
    run_self_under_callgrind(&folder, test, "");
    let costs = (1..=counts).map(|number| cost(&folder, number)).collect();
    let _ = std::fs::remove_dir_all(&folder);
    costs
}

fn tempfolder() -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!(
        "coeval-slopes-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    folder
}

fn run_self_under_callgrind(folder: &Path, test: &str, filter: &str) {
    let out = format!("--callgrind-out-file={}", folder.join("out").display());
    let status = Command::new("valgrind")
        .args(["-q", "--tool=callgrind", "--instr-atstart=no", "--max-threads=2000", &out])
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", test, "--nocapture"])
        .env(CHILD, filter)
        .stdout(std::process::Stdio::null())
        .status()
        .expect("valgrind is installed");
    assert!(status.success(), "the program under callgrind failed: {status}");
}

/// The instructions of one operation, from count `number`.
fn cost(folder: &Path, number: usize) -> f64 {
    let path = folder.join(format!("out.{number}"));
    let text = std::fs::read_to_string(&path).expect("a count for each row and size");
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
    let times: f64 = field("desc: Trigger: Client Request:").parse().unwrap();
    field("totals:").parse::<f64>().unwrap() / times
}
