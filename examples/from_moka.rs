//! A service that was written for moka, after the move: `cargo run --example from_moka`.
//!
//! What has changed is marked; all else is as it was. docs/migrating.md has the whole table.

use coeval::{Cache, Op, RemovalCause}; // was: use moka::{sync::Cache, notification::RemovalCause, ..};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[derive(Clone, Debug, PartialEq)]
struct Article {
    text: String,
    views: u64,
}

struct Service {
    articles: Cache<u32, Article>,
    reads: AtomicU64,
    evicted: Arc<AtomicU64>,
}

impl Service {
    fn new() -> Self {
        let evicted = Arc::new(AtomicU64::new(0));
        let count = evicted.clone();
        let articles = Cache::builder()
            .name("articles")
            .max_capacity(10_000)
            .weigher(|_, article: &Article| article.text.len() as u32)
            .time_to_live(Duration::from_secs(600))
            .time_to_idle(Duration::from_secs(60))
            // One more argument: the version of the commit. The listener hears of replaced values,
            // too, and here only evictions count.
            .eviction_listener(move |_key, _article, cause: RemovalCause, _version| {
                count.fetch_add(u64::from(cause.was_evicted()), Ordering::Relaxed);
            })
            .build();
        Self { articles, reads: AtomicU64::new(0), evicted }
    }

    /// Stands for a query.
    fn read(&self, id: u32) -> Result<Article, String> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let text = match id {
            0 => return Err("no such article".into()),
            id => format!("article {id}"),
        };
        Ok(Article { text, views: 0 })
    }

    fn article(&self, id: u32) -> Result<Article, Arc<String>> {
        self.articles.try_get_with(id, || self.read(id))
    }

    /// Counts a view. The closure may run again, if another thread writes the article meanwhile.
    fn view(&self, id: u32) {
        let _ = self.articles.entry(id).and_compute_with(|entry| match entry {
            Some(entry) => {
                let mut article = entry.into_value();
                article.views += 1;
                Op::Put(article)
            }
            None => Op::Nop,
        });
    }
}

fn main() {
    let service = Service::new();
    assert_eq!(service.article(1).map(|article| article.text), Ok("article 1".into()));
    assert!(service.article(1).is_ok() && service.article(0).is_err());
    assert_eq!(service.reads.load(Ordering::Relaxed), 2, "an error is not cached, a value is");

    std::thread::scope(|scope| {
        (0..4).for_each(|_| _ = scope.spawn(|| (0..100).for_each(|_| service.view(1))));
    });
    assert_eq!(service.articles.get(&1).map(|article| article.views), Some(400));

    for id in 2..5_000 {
        assert!(service.article(id).is_ok());
    }
    // Neither is put off: no `run_pending_tasks` is needed before one looks.
    assert!(service.articles.weighted_size() <= 10_000);
    assert!(service.evicted.load(Ordering::Relaxed) > 3_000);

    // Acts at once, and says how many it removed. No `support_invalidation_closures` is needed.
    let before = service.articles.len(); // was: entry_count()
    let removed = service.articles.invalidate_entries_if(|id, _article| id % 2 == 0);
    assert_eq!(service.articles.len() as u64, before as u64 - removed);
    println!(
        "{} articles, {} evicted, {removed} invalidated, {} reads",
        service.articles.len(),
        service.evicted.load(Ordering::Relaxed),
        service.reads.load(Ordering::Relaxed)
    );
}
