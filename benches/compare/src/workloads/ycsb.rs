//! YCSB's core workloads on 65,536 records of 1 KiB, with u64 keys and a scrambled Zipf 0.99
//! distribution. A read copies the record, and an update writes a whole new record.
//!
//! A: half reads, half updates. B: 5 % updates. C: reads. D: 5 % inserts of new records, and reads
//! of recent ones (Zipf from the newest backwards); beyond 81,920 records the oldest are
//! overwritten, so that memory stays bounded. F: half reads, half read-modify-writes, which are a
//! get and an insert in every store.

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    Ready, Settings,
    points::filled,
    streams::{Cursor, Distribution, STREAM},
};
use crate::{
    compare::results::{Figure, Unit},
    measure::How,
    random::{Random, zipf_ranks},
    stores::{Family, Kilobyte, Reader, Store, Value},
};

const RECORDS: u64 = 1 << 16;
const RING: u64 = RECORDS / 4 * 5;

/// The percentage of writes, and their kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Update(u64),
    ReadModifyWrite(u64),
    Latest(u64),
}

const WORKLOADS: [(&str, Kind); 5] = [
    ("A", Kind::Update(50)),
    ("B", Kind::Update(5)),
    ("C", Kind::Update(0)),
    ("D", Kind::Latest(5)),
    ("F", Kind::ReadModifyWrite(50)),
];

type Records<F> = <F as Family>::Map<u64, Kilobyte>;

/// The stores of the workloads.
struct Tables<F: Family> {
    records: Records<F>,
    /// The store of D.
    ring: Records<F>,
    newest: AtomicU64,
    scattered: Vec<Vec<u32>>,
    ranks: Vec<Vec<u32>>,
}

/// The workload that the module describes.
pub fn entrant<F: Family>(settings: &Arc<Settings>) -> Ready {
    let settings = Arc::clone(settings);
    let records = RECORDS.min(settings.keys);
    let most = settings.threads.iter().copied().max().unwrap_or(1);
    let ranks = |thread| {
        let mut random = Random::new(settings.seed, 0xD + thread as u64);
        zipf_ranks(records, STREAM, &mut random)
    };
    let tables = Tables::<F> {
        records: filled(&settings, records),
        ring: filled(&settings, RING),
        newest: AtomicU64::new(RING),
        scattered: Distribution::Zipf.streams(&settings, records, most),
        ranks: (0..most).map(ranks).collect(),
    };
    Ok(Box::new(move || {
        let mut figures = Vec::new();
        for (name, kind) in WORKLOADS {
            for &threads in &settings.threads {
                let writes = kind != Kind::Update(0);
                if writes && threads > 1 && !F::SHARED {
                    continue;
                }
                let rate = match kind {
                    Kind::Latest(share) => latest(&settings, &tables, threads, share),
                    _ => on_records(&settings, &tables, threads, kind),
                };
                let variant = format!("{name}, {threads} thr");
                figures.push(Figure::new("operations", &variant, Unit::PerSecond, rate));
            }
        }
        figures
    }))
}

fn on_records<F: Family>(
    settings: &Settings,
    tables: &Tables<F>,
    threads: usize,
    kind: Kind,
) -> f64 {
    let store = &tables.records;
    let (share, reads_first) = match kind {
        Kind::Update(share) | Kind::Latest(share) => (share, false),
        Kind::ReadModifyWrite(share) => (share, true),
    };
    let outcome = settings.window(threads, 0, How::Count).run(
        |i| {
            let (mut reader, mut cursor) = (store.reader(), Cursor::new(&tables.scattered[i]));
            let mut random = Random::new(settings.seed, 0xA + i as u64);
            move || {
                let key = cursor.next();
                let dice = random.next();
                if dice % 100 >= share {
                    black_box(reader.get(&key));
                } else if reads_first {
                    let mut record = reader.get(&key).unwrap_or_else(|| Kilobyte::of(key));
                    record.touch(dice);
                    store.insert(key, record);
                } else {
                    store.insert(key, Kilobyte::of(dice));
                }
            }
        },
        |_| || (),
    );
    outcome.reads.rate
}

fn latest<F: Family>(settings: &Settings, tables: &Tables<F>, threads: usize, share: u64) -> f64 {
    let (store, newest) = (&tables.ring, &tables.newest);
    let outcome = settings.window(threads, 0, How::Count).run(
        |i| {
            let (mut reader, mut cursor) = (store.reader(), Cursor::new(&tables.ranks[i]));
            let mut random = Random::new(settings.seed, 0xA + i as u64);
            move || {
                let dice = random.next();
                if dice % 100 >= share {
                    // The number may be slightly ahead of the insert. Then the read misses, or
                    // finds an old record.
                    let recent = newest.load(Ordering::Relaxed) - 1 - cursor.next();
                    black_box(reader.get(&(recent % RING)));
                } else {
                    let next = newest.fetch_add(1, Ordering::Relaxed);
                    store.insert(next % RING, Kilobyte::of(dice));
                }
            }
        },
        |_| || (),
    );
    outcome.reads.rate
}
