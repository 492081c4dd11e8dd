//! How long writes take beside a save. Windows take turns: nothing beside the writer; a thread that
//! writes as many bytes to the same disk and computes as much, which knows no cache; and a save.
//! What a save has kept is given back in the next window, with nothing beside the writer.

use crate::{Folder, spread};
use coeval::Cache;
use coeval_bench::latency::{Latency, Summary};
use coeval_bench::random::{Random, SEED};
use std::fs::File;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const ENTRIES: u64 = 1 << 20;
const BYTES: usize = 1024;
const ROUNDS: usize = 12;
/// The length of a window with nothing beside the writer.
const ALONE: Duration = Duration::from_secs(3);
/// The time from one write to the next; 0: none. A service writes at its own pace.
const PACES: [Duration; 2] = [Duration::from_micros(50), Duration::ZERO];

type Texts = Cache<u64, String>;

/// What runs beside the writer, in the order of the windows.
const BESIDE: [&str; 3] = ["nothing", "as many bytes, no cache", "a save"];

fn value(key: u64) -> String {
    format!("{key:016x}").repeat(BYTES / 16)
}

pub fn run() {
    let (folder, cache) = (Folder::new(), Texts::new());
    (0..ENTRIES).for_each(|key| _ = cache.insert(key, value(key)));
    for pace in PACES {
        println!(
            "\n{ENTRIES} entries of {BYTES} bytes; one writer, a write every {pace:?}; {ROUNDS} rounds; \
             nanoseconds: least, median and greatest of the windows\n\n\
             | beside the writer | p50 | p99 | p99.9 | p99.9 by that of the window before \
             |\n|---|---|---|---|---|"
        );
        let mut windows = [const { Vec::new() }; 3];
        for _ in 0..ROUNDS {
            windows[0].push(write_beside(&cache, pace, || thread::sleep(ALONE)));
            let save = || _ = cache.save(folder.file("cache")).expect("saved");
            windows[1].push(write_beside(&cache, pace, || copy(&folder)));
            windows[2].push(write_beside(&cache, pace, save));
        }
        let base: Vec<f64> = windows[0].iter().map(|alone| alone.p999 as f64).collect();
        for (name, windows) in BESIDE.into_iter().zip(&windows) {
            let show = |part: fn(&Summary) -> u64| {
                spread(windows.iter().map(|window| part(window) as f64).collect())
                    .map(|one| format!("{one:.0}"))
                    .join(" ")
            };
            let times = windows.iter().zip(&base).map(|(window, base)| window.p999 as f64 / base);
            let times = spread(times.collect()).map(|one| format!("{one:.2}")).join(" ");
            let (p50, p99, p999) = (show(|w| w.p50), show(|w| w.p99), show(|w| w.p999));
            println!("| {name} | {p50} | {p99} | {p999} | {times} |");
        }
    }
}

/// Writes to random keys while `beside` runs. Returns how long the writes took.
fn write_beside(cache: &Texts, pace: Duration, beside: impl FnOnce() + Send) -> Summary {
    let (stop, mut latency) = (AtomicBool::new(false), Latency::default());
    thread::scope(|scope| {
        scope.spawn(|| {
            beside();
            stop.store(true, Ordering::Relaxed);
        });
        let mut random = Random::new(SEED, 7);
        let mut next = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            let key = random.below(ENTRIES);
            let value = value(key);
            // It waits busily, because a thread that sleeps measures the scheduler.
            while Instant::now() < next {
                std::hint::spin_loop();
            }
            let begin = Instant::now();
            cache.insert(key, value);
            let end = Instant::now();
            latency.record(end - begin);
            next = end + pace;
        }
    });
    latency.summary()
}

/// Makes as many bytes as the cache has, and writes them to a file, as a save does.
fn copy(folder: &Folder) {
    let mut file = File::create(folder.file("copy")).expect("a file");
    let mut block = Vec::new();
    for key in 0..ENTRIES {
        block.extend(value(key).into_bytes());
        if block.len() >= 64 << 10 {
            file.write_all(&block).expect("written");
            block.clear();
        }
    }
    file.sync_all().expect("on the disk");
}
