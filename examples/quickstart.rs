//! The features of the cache, in a few lines each: `cargo run --example quickstart`.

use coeval::{Cache, RemovalCause};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

fn main() {
    let evicted = Arc::new(AtomicU64::new(0));
    let count = evicted.clone();
    let cache: Cache<String, String> = Cache::builder()
        .max_capacity(1_000)
        .time_to_live(Duration::from_secs(60))
        .eviction_listener(move |_key, _value, cause, _version| {
            if cause == RemovalCause::Size {
                count.fetch_add(1, Ordering::Relaxed);
            }
        })
        .build();

    // Write and read one entry.
    let first = cache.insert("greeting".into(), "hello".into());
    assert_eq!(cache.get("greeting").as_deref(), Some("hello"));
    println!("greeting, since {first}: {}", cache.get("greeting").unwrap());

    // Write several entries in one commit. No reader sees one of them without the other.
    let both = cache.batch().insert("width".into(), "3".into()).insert("height".into(), "4".into());
    let version = both.commit();
    let [width, height] = cache.get_many(["width", "height"]);
    println!("{version} brought width {width:?} and height {height:?} together");
    assert_eq!((width.as_deref(), height.as_deref()), (Some("3"), Some("4")));

    // A view keeps showing one version of the whole cache.
    let view = cache.view();
    cache.insert("width".into(), "30".into());
    cache.remove("height");
    assert_eq!(view.get("width").map(String::as_str), Some("3"));
    println!("the view of {} still holds {} entries", view.version(), view.len());
    drop(view);

    // Set a value only if no other write came first.
    let conflict = cache.compare_and_set("greeting".into(), Some(version), "hi".into());
    println!("set only if it is still at {version}: {}", conflict.as_ref().unwrap_err());
    assert!(cache.compare_and_set("greeting".into(), Some(first), "hi".into()).is_ok());

    // An absent value is loaded by one caller for all callers that want it.
    let loads = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let load = || {
                    loads.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(20));
                    "from the source".to_string()
                };
                assert_eq!(cache.get_with("slow".into(), load), "from the source");
            });
        }
    });
    println!("8 threads wanted one slow value: {loads:?} load");
    assert_eq!(loads.into_inner(), 1);

    // The threads that write keep the bound.
    for n in 0..5_000 {
        cache.insert(format!("entry {n}"), n.to_string());
    }
    println!("5,000 more: {} entries, {} evicted", cache.len(), evicted.load(Ordering::Relaxed));
    assert_eq!(cache.len(), 1_000);

    println!("\n{}", cache.stats());
}
