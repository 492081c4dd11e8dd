//! How many entries a second come back, and when the first hit is served.

use crate::{Folder, spread};
use coeval::{Builder, Cache};
use coeval_bench::machine;
use std::path::Path;
use std::time::Instant;

const ENTRIES: u64 = 1 << 20;
const ROUNDS: usize = 15;

type Numbers = Cache<u64, u64>;

pub fn run() {
    println!(
        "{ENTRIES} entries of u64, {ROUNDS} restores each: least, median and greatest\n\n\
         | entries of one commit | bound | restore, M/s | by processor time | first hit, ms | \
         restore_later, M/s | by processor time | first hit, ms |\n|--:|---|---|---|---|---|---|---|"
    );
    let folder = Folder::new();
    for (group, is_bounded) in [(1, false), (1, true), (2, false), (2, true), (16, false)] {
        let builder = || match is_bounded {
            true => Numbers::builder().max_capacity(ENTRIES),
            false => Numbers::builder(),
        };
        let file = folder.file("cache");
        save(&builder().build(), group, &file);
        let all = [whole, later].map(|restore| {
            let rounds: Vec<_> = (0..ROUNDS).map(|_| restore(builder(), &file)).collect();
            let of = |part: fn(&Taken) -> f64| spread(rounds.iter().map(part).collect());
            let show = |of: [f64; 3], digits| of.map(|one| format!("{one:.digits$}")).join(" ");
            let rate = |seconds: f64| ENTRIES as f64 / seconds / 1e6;
            let rates = [of(|taken| taken.all), of(|taken| taken.processor)];
            let [all, processor] = rates.map(|[least, half, most]| [most, half, least].map(rate));
            [show(all, 2), show(processor, 2), show(of(|taken| taken.first * 1e3), 1)]
        });
        let bound = if is_bounded { "yes" } else { "no" };
        println!("| {group} | {bound} | {} |", all.concat().join(" | "));
    }
}

fn save(cache: &Numbers, group: u64, file: &Path) {
    for first in (0..ENTRIES).step_by(group as usize) {
        let mut batch = cache.batch_mut();
        (first..first + group).for_each(|key| _ = batch.insert(key, key));
        batch.commit();
    }
    cache.save(file).expect("saved");
}

/// The seconds until all entries were there, those that the restoring thread has spent on a
/// processor, and those until the first hit.
struct Taken {
    all: f64,
    processor: f64,
    first: f64,
}

/// The time that this thread has spent on a processor.
fn processor() -> f64 {
    machine::thread_time().expect("a system that tells it").as_secs_f64()
}

fn whole(builder: Builder<u64, u64>, file: &Path) -> Taken {
    let (begin, before) = (Instant::now(), processor());
    let (cache, report) = builder.restore(file).expect("restored");
    let (all, processor) = (begin.elapsed().as_secs_f64(), processor() - before);
    assert_eq!((report.restored, cache.get(&7)), (ENTRIES, Some(7)));
    Taken { all, processor, first: begin.elapsed().as_secs_f64() }
}

/// The same, with a thread that restores, and another one that uses the cache meanwhile.
fn later(builder: Builder<u64, u64>, file: &Path) -> Taken {
    let begin = Instant::now();
    let (cache, restoring) = builder.restore_later(file).expect("restored");
    let restoring = std::thread::spawn(|| {
        let report = restoring.run().expect("restored");
        (Instant::now(), processor(), report.restored)
    });
    let (mut key, mut first) = (1_u64, None);
    while !restoring.is_finished() {
        key = key.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
        if cache.get(&((key >> 33) % ENTRIES)).is_some() {
            first.get_or_insert_with(|| begin.elapsed().as_secs_f64());
        }
    }
    let (end, processor, restored) = restoring.join().expect("no panic");
    assert_eq!(restored, ENTRIES);
    Taken { all: (end - begin).as_secs_f64(), processor, first: first.expect("a hit") }
}
