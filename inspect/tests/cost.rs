//! What one viewer costs the process that shows the page, in the largest cache whose hottest keys
//! are shown without being asked for. Takes a minute: `cargo test --release -p coeval-inspect --test
//! cost -- --ignored --nocapture`. Needs curl, which stands for the viewer.
#![cfg(target_os = "linux")]

use coeval::Cache;
use coeval_inspect::Inspector;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

const ENTRIES: u64 = 200_000;
const MEASURED: Duration = Duration::from_secs(30);
/// How often the page asks for the hottest keys.
const HOTTEST: Duration = Duration::from_secs(5);

/// The time that this process has spent on processors, without its children.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks = |at: usize| fields[at].parse::<u64>().unwrap();
    Duration::from_millis((ticks(11) + ticks(12)) * 10) // a hundred ticks a second
}

fn ask(at: SocketAddr, what: &str) -> Child {
    let url = format!("http://{at}/api/0/{what}");
    let mut command = Command::new("curl");
    command.args(["-sN", "-H", "x-coeval: 1", &url]).stdout(Stdio::null());
    command.spawn().expect("curl")
}

/// The share of one processor that this process takes.
fn share(rest: impl Fn()) -> f64 {
    let before = processor_time();
    let periods = MEASURED.as_secs() / HOTTEST.as_secs();
    for _ in 0..periods {
        rest();
        thread::sleep(HOTTEST);
    }
    (processor_time() - before).as_secs_f64() / MEASURED.as_secs_f64()
}

#[test]
#[ignore = "takes a minute, and needs curl"]
fn one_viewer_takes_at_most_a_hundredth_of_a_processor() {
    let cache: Cache<u64, u64> = Cache::builder().name("large").max_capacity(ENTRIES).build();
    (0..ENTRIES).for_each(|key| _ = cache.insert(key, key));
    cache.collect();
    let at = SocketAddr::from(([127, 0, 0, 1], 9610));
    let inspector = Inspector::new().watch(&cache);
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(inspector.serve(at))
    });
    thread::sleep(Duration::from_secs(1));
    let alone = share(|| ());
    let mut viewer = ask(at, "stream");
    let watched = share(|| _ = ask(at, "hottest").wait());
    let _ = viewer.kill();
    let _ = viewer.wait();
    let percent = |share: f64| share * 100.0;
    println!(
        "{ENTRIES} entries, {MEASURED:?}: {:.2} % of a processor without a viewer, {:.2} % with one",
        percent(alone),
        percent(watched)
    );
    assert!(alone < 0.001, "nothing is done when nobody looks");
    assert!(watched <= 0.01, "one viewer costs more than a hundredth of a processor");
}
