//! A service saves its cache when it stops, and restores it when it starts: `cargo run --example
//! warm_start --features serde`.
//!
//! The source changes while the service is down. Afterwards the service applies these changes to the
//! restored cache, which is in use already.

use coeval::{Builder, Cache};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

const PRODUCTS: u64 = 50_000;

/// A source that can be read key by key, and knows what has changed since a given moment.
struct Source {
    prices: Vec<AtomicU64>,
    reads: AtomicU64,
}

impl Source {
    fn read(&self, product: u64) -> u64 {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.prices[product as usize].load(Ordering::SeqCst)
    }

    fn change(&self, product: u64, price: u64) {
        self.prices[product as usize].store(price, Ordering::SeqCst);
    }
}

/// The settings are those of the code, not of the file. The schema says which types the file has.
fn settings() -> Builder<u64, u64> {
    Cache::builder().max_capacity(PRODUCTS / 2).name("prices").schema("price in cents, 1")
}

fn load_all(cache: &Cache<u64, u64>, source: &Source, products: std::ops::Range<u64>) {
    for product in products {
        let price = cache.get_with(product, || source.read(product));
        assert_eq!(price, source.prices[product as usize].load(Ordering::SeqCst));
    }
}

/// The first run: nothing is saved yet, so all prices are loaded.
fn first_run(path: &Path, source: &Source) {
    let (cache, restored) = settings().restore_or_empty(path);
    println!("first run: {}", restored.expect_err("there is no file yet"));
    load_all(&cache, source, 0..PRODUCTS / 2);
    let saved = cache.save(path).expect("the folder can be written");
    println!("saved {} entries, {} bytes, as of {}", saved.entries, saved.bytes, saved.version);
}

/// The second run: the cache is warm, and the source is asked only for what has changed.
fn second_run(path: &Path, source: &Source, changed: impl Iterator<Item = u64>) {
    let (cache, report) = settings().restore(path).expect("the file was saved by the first run");
    println!("second run: {report}");
    assert!(report.is_whole() && report.restored == PRODUCTS / 2);
    changed.for_each(|product| _ = cache.invalidate(&product));
    load_all(&cache, source, 0..PRODUCTS / 2);
    println!("{}", cache.stats());
}

fn main() {
    let prices = (0..PRODUCTS).map(|product| AtomicU64::new(product * 100)).collect();
    let source = Source { prices, reads: AtomicU64::new(0) };
    let folder = std::env::temp_dir().join(format!("coeval-warm-start-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder can be made");
    let path = folder.join("prices.cache");

    first_run(&path, &source);
    let before = source.reads.load(Ordering::Relaxed);
    assert_eq!(before, PRODUCTS / 2);

    // While the service is down, some prices change.
    (0..500).for_each(|product| source.change(product, 1));
    second_run(&path, &source, 0..500);
    let reads = source.reads.load(Ordering::Relaxed) - before;
    println!("the second run read {reads} prices from the source");
    assert_eq!(reads, 500);
    std::fs::remove_dir_all(&folder).expect("the folder is this program's own");
}
