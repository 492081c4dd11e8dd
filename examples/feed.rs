//! A user, and the profile and the feed that show the user: `cargo run --example feed`.
//!
//! The two pages are made of the user. Whoever renames the user ends the pages in the same commit,
//! so nobody sees the new name beside an old page.

use coeval::Cache;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

struct Site {
    /// Stands for a database.
    names: Mutex<HashMap<u64, String>>,
    cache: Cache<String, String>,
}

impl Site {
    fn new() -> Self {
        let cache = Cache::builder()
            .max_capacity(10_000)
            .related(|key: &String, related| {
                if let Some(id) = key.strip_prefix("user:") {
                    related.invalidate(format!("profile:{id}")).invalidate(format!("feed:{id}"));
                }
            })
            .build();
        Self { names: Mutex::default(), cache }
    }

    /// The user, the profile and the feed. If one is absent, one caller makes all three, and one
    /// commit sets them.
    fn pages(&self, id: u64) -> [String; 3] {
        let keys = ["user", "profile", "feed"].map(|kind| format!("{kind}:{id}"));
        self.cache.get_many_with(keys, || {
            let name = self.names.lock().unwrap_or_else(PoisonError::into_inner)[&id].clone();
            let profile = format!("{name}'s profile");
            let feed = format!("what {name} wrote");
            [name, profile, feed]
        })
    }

    fn rename(&self, id: u64, name: &str) {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).insert(id, name.into());
        self.cache.invalidate(&format!("user:{id}"));
    }
}

fn main() {
    let site = Site::new();
    site.rename(7, "Ada");
    assert_eq!(site.pages(7), ["Ada", "Ada's profile", "what Ada wrote"]);

    // A request that shows several things reads them from one view.
    let request = site.cache.view();
    site.rename(7, "Ada L.");
    assert_eq!(request.get("feed:7").map(String::as_str), Some("what Ada wrote"));
    assert_eq!(site.cache.get("feed:7"), None, "it ended with the old name");
    assert_eq!(site.pages(7), ["Ada L.", "Ada L.'s profile", "what Ada L. wrote"]);

    // Readers beside a writer: whatever they see was made of one name.
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            for _ in 0..1_000 {
                let [name, profile, feed] = site.pages(7);
                assert_eq!(
                    (profile, feed),
                    (format!("{name}'s profile"), format!("what {name} wrote"))
                );
            }
        });
        let mut renames = 0;
        while !reader.is_finished() {
            renames += 1;
            site.rename(7, &format!("Ada {renames}"));
        }
        println!("1,000 requests beside {renames} renames: every page fits its user");
    });
}
