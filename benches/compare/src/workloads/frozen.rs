//! Reads and writes beside two writers that overwrite without a pause. A signal stops these writers
//! at random instructions, for 100 ms at a time. The same work runs without the stops.
//!
//! Two readers have a read due each 100 µs, and a writer has an overwrite due each 200 µs. Times
//! run from when the operation was due, so waiting behind a stopped writer counts in full. The
//! figures include the time that a thread takes to wake up. Without the stops this time is longer,
//! because the two writers take both cores.
//!
//! A stop may also hit the allocator. glibc gives each thread its own arena, up to eight per core,
//! but memory returns to the arena that it came from. A thread may therefore wait for one that was
//! stopped inside `malloc`, whatever the store does.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use super::{Ready, Settings, one_thread_only, points::filled};
use crate::{
    compare::results::{Figure, Unit},
    freeze::{self, Target},
    measure::{How, Outcome, Role},
    random::Random,
    stores::{Family, Reader, Store},
};

const READERS: Role = Role { threads: 2, how: How::Schedule(Duration::from_micros(100)) };
const WRITERS: Role = Role { threads: 1, how: How::Schedule(Duration::from_micros(200)) };
const VICTIMS: usize = 2;
/// How long a victim is stopped, and the longest time between two stops.
const STOP: Duration = Duration::from_millis(100);
const GO: Duration = Duration::from_millis(20);
const KEYS: u64 = 1 << 16;
/// The shortest window that includes several stops.
const LEAST: Duration = Duration::from_millis(600);

/// Runs the same work with and without the stops.
pub fn entrant<F: Family>(settings: &Arc<Settings>) -> Ready {
    if !F::SHARED {
        return Err(one_thread_only());
    }
    if !crate::machine::CAN_FREEZE {
        return Err("this system cannot stop a thread".to_owned());
    }
    let settings = Arc::clone(settings);
    let store: F::Map<u64, u64> = filled(&settings, KEYS);
    Ok(Box::new(move || {
        let mut figures = Vec::new();
        for (stops, variant) in [(false, "running"), (true, "frozen")] {
            let (outcome, inside) = beside_victims(&store, &settings, stops);
            let (read, write) = (outcome.reads.latency.summary(), outcome.writes.latency.summary());
            let nanos =
                |metric, value| Figure::new(metric, variant, Unit::Nanoseconds, value as f64);
            figures.extend([
                nanos("read p99.9", read.p999),
                nanos("read max", read.max),
                nanos("write p99.9", write.p999),
                nanos("write max", write.max),
            ]);
            if stops {
                let stops =
                    Figure::new("stops inside a write", variant, Unit::Count, inside as f64);
                figures.push(stops);
            }
        }
        figures
    }))
}

/// Runs the measured readers and writer beside the victims. Returns also how often a victim was
/// stopped inside a write.
fn beside_victims<S: Store<u64, u64>>(
    store: &S,
    settings: &Settings,
    stops: bool,
) -> (Outcome, u64) {
    let over = AtomicBool::new(false);
    let over = &over;
    let (enrolled, victims) = mpsc::channel::<Target>();
    thread::scope(|scope| {
        for victim in 0..VICTIMS {
            let enrolled = enrolled.clone();
            scope.spawn(move || {
                let (member, target) = freeze::enrol().expect("this system can freeze");
                enrolled.send(target).expect("the receiver is kept");
                let mut random = Random::new(settings.seed, 300 + victim as u64);
                while !over.load(Ordering::Relaxed) {
                    let (key, value) = (random.below(KEYS), random.next());
                    member.begin_write();
                    store.insert(key, value);
                    member.end_write();
                }
            });
        }
        let victims: Vec<Target> = victims.iter().take(VICTIMS).collect();
        for (i, &target) in victims.iter().enumerate().filter(|_| stops) {
            scope.spawn(move || {
                let mut random = Random::new(settings.seed, 400 + i as u64);
                while !over.load(Ordering::Relaxed) {
                    thread::sleep(GO.mul_f64(random.unit()));
                    target.freeze(STOP);
                }
            });
        }
        let outcome = measured(store, settings);
        over.store(true, Ordering::Relaxed);
        (outcome, victims.iter().map(|target| target.freezes().inside_a_write).sum())
    })
}

fn measured<S: Store<u64, u64>>(store: &S, settings: &Settings) -> Outcome {
    let mut window = settings.window(0, 0, How::Count);
    (window.readers, window.writers) = (READERS, WRITERS);
    window.length = window.length.max(LEAST);
    // Warm-up has no stops, and the victims warm up enough.
    window.warm_up = Duration::ZERO;
    window.run_timed(
        |i| {
            let mut random = Random::new(settings.seed, 100 + i as u64);
            let mut reader = store.reader();
            move || {
                std::hint::black_box(reader.get(&random.below(KEYS)));
            }
        },
        |i| {
            let mut random = Random::new(settings.seed, 200 + i as u64);
            move || store.insert(random.below(KEYS), random.next())
        },
    )
}
