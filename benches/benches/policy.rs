//! The eviction policy: its queue, alone and contended, and an admission that evicts.
#![allow(missing_docs)] // what criterion_group! makes has none

use std::{
    cell::RefCell,
    hint::black_box,
    sync::Barrier,
    time::{Duration, Instant},
};

use coeval::policy::{
    Handle, Heat, Policy, Residents,
    queue::{Queue, Queued},
};
use criterion::{Criterion, criterion_group, criterion_main};

/// How long it takes so many threads to do `each` so many times in all.
fn together(threads: u64, times: u64, each: impl Fn(u64) + Sync) -> Duration {
    let barrier = Barrier::new(threads as usize + 1);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let (barrier, each) = (&barrier, &each);
                scope.spawn(move || {
                    barrier.wait();
                    (0..times / threads).for_each(|n| each(thread * times + n));
                })
            })
            .collect();
        barrier.wait();
        let begin = Instant::now();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        begin.elapsed()
    })
}

fn queue(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queue, push and pop");
    for threads in [1, 2, 8] {
        let queue = Queue::new(0);
        for n in 1..1000 {
            queue.push(Queued { handle: Handle::new(n * 2), stamp: 0 });
        }
        group.bench_function(format!("{threads} threads"), |b| {
            b.iter_custom(|times| {
                together(threads, times.max(threads), |n| {
                    queue.push(Queued { handle: Handle::new((n + 1000) * 2), stamp: 0 });
                    black_box(queue.pop());
                })
            });
        });
    }
}

/// Entries without hits, each used again when it has gone.
struct Entries {
    policy: Policy,
    heat: Vec<Heat>,
    free: RefCell<Vec<u64>>,
}

impl Residents for Entries {
    fn hash(&self, entry: Handle) -> u32 {
        (entry.bits() as u32).wrapping_mul(0x9E37_79B1)
    }

    fn is_live(&self, _: Handle) -> bool {
        true
    }

    fn heat(&self, entry: Handle) -> &Heat {
        &self.heat[(entry.bits() / 2) as usize]
    }

    fn evict(&self, _: Handle) -> bool {
        self.policy.discharge(1);
        true
    }

    fn release(&self, entry: Handle) {
        self.free.borrow_mut().push(entry.bits());
    }
}

fn admission(criterion: &mut Criterion) {
    const CAPACITY: u64 = 10_000;
    let entries = Entries {
        policy: Policy::counting(CAPACITY),
        heat: (0..=2 * CAPACITY).map(|_| Heat::new()).collect(),
        free: RefCell::new((1..=2 * CAPACITY).map(|n| n * 2).collect()),
    };
    criterion.bench_function("admission and eviction, 10,000 entries", |b| {
        b.iter(|| {
            let entry = entries.free.borrow_mut().pop().expect("the policy keeps its bound");
            entries.policy.charge(1);
            entries.policy.admit(&entries, Handle::new(entry));
        });
    });
}

criterion_group!(benches, queue, admission);
criterion_main!(benches);
