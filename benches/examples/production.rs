//! Figures of a service's life: its source is down, it is saved, and it starts anew.
//!
//! ```sh
//! cargo run --release -p coeval-bench --features saved --example production -- restore
//! ```
//!
//! - `restore`: how many entries a second come back, and when the first hit is served.
//! - `writes`: how long single writes take.
//! - `writers`: how long writes take beside a save, and beside a thread that writes as many bytes.
//! - `restart TRACE`: the hit ratio of a recorded trace before and after restarts.
//! - `outage`: a source that is down for 30 seconds at 5,000 requests a second.
//!
//! On a shared machine, run each several times.

#[path = "production/outage.rs"]
mod outage;
#[path = "production/restart.rs"]
mod restart;
#[path = "production/restore.rs"]
mod restore;
#[path = "production/writers.rs"]
mod writers;
#[path = "production/writes.rs"]
mod writes;

use std::path::PathBuf;

/// A folder that is removed with this.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("coeval-figures-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        Self(folder)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The least, the median and the greatest of these numbers.
fn spread(mut numbers: Vec<f64>) -> [f64; 3] {
    numbers.sort_by(f64::total_cmp);
    [numbers[0], numbers[numbers.len() / 2], numbers[numbers.len() - 1]]
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["restore"] => restore::run(),
        ["writes"] => writes::run(),
        ["writers"] => writers::run(),
        ["restart", trace] => restart::run(trace.as_ref()),
        ["outage"] => outage::run(),
        _ => panic!("restore, writes, writers, restart TRACE, or outage"),
    }
}
