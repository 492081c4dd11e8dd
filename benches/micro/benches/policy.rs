//! The eviction policy: an insertion that evicts, and the queue of the policy, with and without
//! contention. The queue is not public: `RUSTFLAGS="--cfg coeval_internals"` adds its part.
#![allow(missing_docs)] // criterion_group! generates items without docs

use coeval::Cache;
use criterion::{Criterion, criterion_group, criterion_main};

fn admission(criterion: &mut Criterion) {
    const CAPACITY: u64 = 10_000;
    let cache = Cache::builder().max_capacity(CAPACITY).build();
    let mut next = 0_u64;
    criterion.bench_function("insert and evict, 10,000 entries", |b| {
        b.iter(|| {
            cache.insert(next, next);
            next += 1;
        });
    });
}

#[cfg(coeval_internals)]
mod queue {
    use coeval::internals::queue::{Handle, Queue, Queued};
    use criterion::Criterion;
    use std::hint::black_box;
    use std::sync::Barrier;
    use std::time::{Duration, Instant};

    /// The time that `threads` threads take for `times` calls of `each` in all.
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

    pub(crate) fn queue(criterion: &mut Criterion) {
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
}

#[cfg(coeval_internals)]
criterion_group!(benches, queue::queue, admission);
#[cfg(not(coeval_internals))]
criterion_group!(benches, admission);
criterion_main!(benches);
