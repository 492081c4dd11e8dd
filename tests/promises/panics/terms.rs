//! A panic of the weigher, or of the policy that decides when entries expire, in a write of new
//! keys: nothing of the write is left, and no record either, which would keep its key.

use crate::common::{Store, on_every_reclaimer};
use coeval::reclaim::Reclaim;
use coeval::{Expiry, Op, Terms};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

type Key = Arc<str>;
type Cache<R> = Store<Key, u64, R>;

/// The value that the weigher, or the policy, does not take.
const BAD: u64 = 13;

thread_local! {
    /// The key that the relation writes.
    static COUNTED: RefCell<Option<Key>> = const { RefCell::new(None) };
}

struct Refuses;

impl Expiry<Key, u64> for Refuses {
    fn expire_after_create(&self, _key: &Key, value: &u64) -> Option<Duration> {
        assert_ne!(*value, BAD, "on purpose");
        None
    }
}

fn caches<R: Reclaim>() -> [Cache<R>; 2] {
    let builder = || {
        coeval::Cache::<Key, u64>::builder().reclaimer::<R>().related(|key: &Key, related| {
            if let Some(of) = key.strip_prefix("bad relation of ") {
                // Records keep the key that the test counts.
                let counted = COUNTED.with_borrow(|key| key.clone()).expect("the test has set it");
                assert_eq!(&*counted, of);
                related.insert(counted, BAD);
            }
        })
    };
    let weigher = |_: &Key, value: &u64| {
        assert_ne!(*value, BAD, "on purpose");
        1
    };
    [builder().weigher(weigher).build(), builder().expire_after(Refuses).build()]
}

/// A write of a new key, which panics, and its name.
type Write<R> = (&'static str, fn(&Cache<R>, Key));

fn writes<R: Reclaim>() -> [Write<R>; 11] {
    [
        ("insert", |cache, key| _ = cache.insert(key, BAD)),
        ("batch", |cache, key| {
            let batch = cache.batch().insert("first".into(), 1).insert(key, BAD);
            batch.insert("last".into(), 1).commit();
        }),
        ("batch, with terms", |cache, key| {
            let terms = Terms::new().tags(["tag"]);
            cache.batch().insert_with(key, BAD, terms).commit();
        }),
        ("insert_many", |cache, key| _ = cache.insert_many([(key, BAD)])),
        ("atomically", |cache, key| _ = cache.atomically(|tx| tx.insert(key.clone(), BAD))),
        ("atomically, with terms", |cache, key| {
            let terms = || Terms::new().time_to_idle(Duration::from_secs(1));
            _ = cache.atomically(|tx| tx.insert_with(key.clone(), BAD, terms()));
        }),
        ("compare_and_set", |cache, key| _ = cache.compare_and_set(key, None, BAD)),
        ("upsert", |cache, key| _ = cache.upsert(key, |_| BAD)),
        ("entry, with terms", |cache, key| {
            let terms = Terms::new().tags(["tag"]);
            let _ = cache.entry(key).terms(terms).and_compute_with(|_| Op::Put(BAD));
        }),
        ("get_with", |cache, key| _ = cache.get_with(key, || BAD)),
        ("relation", |cache, key| {
            cache.insert(format!("bad relation of {key}").into(), 1);
        }),
    ]
}

fn a_panic_about_the_terms_leaves_no_record<R: Reclaim>() {
    for cache in caches::<R>() {
        cache.insert("old".into(), 1);
        for (name, write) in writes::<R>() {
            let key: Key = format!("key of {name}").into();
            COUNTED.set(Some(key.clone()));
            let act = AssertUnwindSafe(|| write(&cache, key.clone()));
            assert!(catch_unwind(act).is_err(), "{name}");
            COUNTED.set(None);
            cache.collect();
            assert_eq!(Arc::strong_count(&key), 1, "{name}: a record keeps the key");
            assert_eq!((cache.len(), cache.get(&key)), (1, None), "{name}");
            cache.insert(key.clone(), 1);
            assert_eq!(cache.remove(&key), Some(1), "{name}");
            cache.collect();
        }
    }
}

on_every_reclaimer!(a_panic_about_the_terms_leaves_no_record);
