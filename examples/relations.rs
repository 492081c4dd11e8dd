//! A user, and a profile and a feed that are derived from it: `cargo run --example relations`.
//!
//! If a cache learns of a new name in two steps, set and then invalidate, it shows the new user
//! beside the old profile in between. And a profile that is read before the change and cached after
//! it stays. With relations, neither happens.

use coeval::Cache;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The number of the user's change that an entry reflects.
type Age = u64;

fn main() {
    in_two_steps();
    by_relations();
    an_overtaken_load();
}

/// What any cache shows when a change takes two steps.
fn in_two_steps() {
    let cache: Cache<&str, Age> = Cache::new();
    cache.batch().insert("user", 1).insert("profile", 1).commit();
    cache.insert("user", 2);
    let seen = cache.get_many(["user", "profile"]);
    cache.invalidate(&"profile");
    println!("in two steps, between them: user and profile {seen:?}");
    assert_eq!(seen, [Some(2), Some(1)], "a new user beside an old profile");
}

/// The same as one commit, with concurrent readers.
fn by_relations() {
    let cache: Cache<String, Age> = Cache::builder()
        .related(|key: &String, related| {
            if let Some(id) = key.strip_prefix("user:") {
                related.invalidate(format!("profile:{id}")).invalidate(format!("feed:{id}"));
            }
        })
        .build();
    let source = AtomicU64::new(1);
    let (done, reads, derived) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    for key in ["profile:7", "feed:7"] {
                        cache.get_with(key.into(), || {
                            derived.fetch_add(1, Ordering::Relaxed);
                            source.load(Ordering::SeqCst)
                        });
                    }
                    let [user, profile, feed] = cache.get_many(["user:7", "profile:7", "feed:7"]);
                    for related in [profile, feed].into_iter().flatten() {
                        assert!(Some(related) >= user, "a new user beside an older entry");
                    }
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(300) {
            let age = source.fetch_add(1, Ordering::SeqCst) + 1;
            cache.insert("user:7".into(), age);
            std::thread::sleep(Duration::from_micros(20));
        }
        done.store(true, Ordering::Relaxed);
    });
    let (reads, derived) = (reads.into_inner(), derived.into_inner());
    println!(
        "by relations: {} changes, {reads} reads of the three, {derived} loaded again,",
        source.into_inner()
    );
    println!("  and never a user beside a profile or feed that is older");
    assert!(reads > 0);
}

/// A load that a change overtakes.
fn an_overtaken_load() {
    let cache: Cache<&str, Age> = Cache::new();
    let source = AtomicU64::new(1);
    let loaded = cache.get_with("profile", || {
        let read = source.load(Ordering::SeqCst);
        // Before this load returns, the user changes, and the cache learns of it.
        source.store(2, Ordering::SeqCst);
        cache.invalidate(&"profile");
        read
    });
    println!(
        "a load that was overtaken: its caller got {loaded}, cached is {:?},",
        cache.get("profile")
    );
    assert_eq!((loaded, cache.get("profile")), (1, None));
    let again = cache.get_with("profile", || source.load(Ordering::SeqCst));
    println!("  and the next caller got {again}");
    assert_eq!((again, cache.stats().loads_refused), (2, 1));
}
