//! Others' reads and writes while two writers are stopped by a signal at random instructions.
//!
//! A stop may fall into the allocator too. glibc gives each thread an arena of its own, up to eight a
//! core, but memory is given back to the arena that it came from: a thread may then wait for one that
//! was stopped inside `malloc`, whatever the store does.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use super::{
    Entrant, Settings,
    results::{Figure, Unit},
};
use crate::{
    freeze::{self, Target},
    measure::Outcome,
    random::Random,
    stores::{Reader, Store},
};

const READERS: usize = 2;
const WRITERS: usize = 1;
const VICTIMS: usize = 2;
/// How long a victim is stopped, and how long it runs in between, at most.
const STOP: Duration = Duration::from_millis(200);
const GO: Duration = Duration::from_millis(20);
const KEYS: u64 = 1 << 16;

/// The same work with and without the stops. None where threads cannot be frozen.
pub fn entrant<S: Store + 'static>(settings: &Arc<Settings>) -> Option<Entrant> {
    if !S::SHARED || !crate::machine::CAN_FREEZE {
        return None;
    }
    let settings = Arc::clone(settings);
    let store = S::with_capacity(KEYS as usize);
    store.fill(0..KEYS);
    Some(Box::new(move || {
        let mut figures = Vec::new();
        for (stops, variant) in [(false, "running"), (true, "frozen")] {
            let outcome = beside_victims(&store, &settings, stops);
            let (read, write) = (outcome.reads.latency.summary(), outcome.writes.latency.summary());
            let nanos = |metric, value| Figure::new(metric, variant, Unit::Nanoseconds, value);
            figures.extend([
                nanos("read p99.9", read.p999 as f64),
                nanos("read max", read.max as f64),
                nanos("write p99.9", write.p999 as f64),
                nanos("write max", write.max as f64),
                Figure::new("reads", variant, Unit::PerSecond, outcome.reads.rate),
                Figure::new("writes", variant, Unit::PerSecond, outcome.writes.rate),
            ]);
        }
        figures
    }))
}

/// The measured readers and writer, beside victims that overwrite without pause.
fn beside_victims<S: Store>(store: &S, settings: &Settings, stops: bool) -> Outcome {
    let over = AtomicBool::new(false);
    let over = &over;
    let (enrolled, victims) = mpsc::channel::<Target>();
    thread::scope(|scope| {
        for victim in 0..VICTIMS {
            let enrolled = enrolled.clone();
            scope.spawn(move || {
                let member = freeze::enrol().expect("this system can freeze");
                enrolled.send(member.1).expect("the receiver is kept");
                let mut random = Random::new(settings.seed, 300 + victim as u64);
                while !over.load(Ordering::Relaxed) {
                    store.insert(random.below(KEYS), random.next());
                }
            });
        }
        for (i, target) in victims.iter().take(VICTIMS).enumerate() {
            if !stops {
                continue;
            }
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
        outcome
    })
}

fn measured<S: Store>(store: &S, settings: &Settings) -> Outcome {
    settings.window(READERS, WRITERS, true).run(
        |i| {
            let mut random = Random::new(settings.seed, 100 + i as u64);
            let mut reader = store.reader();
            move || {
                std::hint::black_box(reader.get(random.below(KEYS)));
            }
        },
        |i| {
            let mut random = Random::new(settings.seed, 200 + i as u64);
            move || store.insert(random.below(KEYS), random.next())
        },
    )
}
