//! Fills a cache from a dump of its source while the cache is already in use: `cargo run --example
//! warm_start`.

use coeval::Cache;
use std::sync::atomic::{AtomicU64, Ordering};

const PRODUCTS: u64 = 50_000;

/// A source that can be dumped, read key by key, and changed.
struct Source {
    prices: Vec<AtomicU64>,
    reads: AtomicU64,
}

impl Source {
    fn read(&self, product: u64) -> u64 {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.prices[product as usize].load(Ordering::SeqCst)
    }

    /// Changes a price and tells the cache.
    fn change(&self, cache: &Cache<u64, u64>, product: u64, price: u64) {
        self.prices[product as usize].store(price, Ordering::SeqCst);
        cache.insert(product, price);
    }
}

fn main() {
    let prices = (0..PRODUCTS).map(|product| AtomicU64::new(product * 100)).collect();
    let source = Source { prices, reads: AtomicU64::new(0) };
    let cache: Cache<u64, u64> = Cache::builder().initial_capacity(PRODUCTS as usize).build();

    // A dump of the current source. It lacks every tenth product.
    let dump: Vec<_> = (0..PRODUCTS)
        .filter(|product| product % 10 != 0)
        .map(|product| (product, source.prices[product as usize].load(Ordering::SeqCst)))
        .collect();

    // Prices change before and during the import of the dump.
    (0..500).for_each(|product| source.change(&cache, product, 1));
    let filled = std::thread::scope(|scope| {
        let warm = scope.spawn(|| cache.prewarm(dump));
        (500..1_000).for_each(|product| source.change(&cache, product, 1));
        warm.join().unwrap()
    });
    println!("{filled} entries of the dump were stored; {} keys hold a price", cache.len());
    for product in 0..1_000 {
        assert_eq!(cache.get(&product), Some(1), "older than a write");
    }

    // Products that the dump lacks are loaded on demand.
    let sum: u64 =
        (0..PRODUCTS).map(|product| cache.get_with(product, || source.read(product))).sum();
    let expected: u64 = source.prices.iter().map(|price| price.load(Ordering::SeqCst)).sum();
    let reads = source.reads.load(Ordering::Relaxed);
    println!("all {PRODUCTS} products were requested: {reads} were loaded one by one");
    assert_eq!((sum, cache.len() as u64), (expected, PRODUCTS));
    assert!(reads <= PRODUCTS / 10);
    println!("\n{}", cache.stats());
}
