//! Promise: a chain of consequences of an operation, as long as the data makes it, takes a bounded
//! amount of the stack. Relations that do not end are reported.

use crate::common::{IS_SLOW, Store, on_a_small_stack, on_every_reclaimer};
use coeval::reclaim::Reclaim;
use coeval::{Cache, RemovalCause};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, Weak};

const LENGTH: u64 = if IS_SLOW { 20_000 } else { 100_000 };

/// The message of the panic of `act`.
fn message(act: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(act)).expect_err("it panics");
    panic.downcast_ref::<String>().expect("with a message").clone()
}

type Home<K, V, R> = Arc<OnceLock<Store<K, V, R>>>;

/// A cache that its own listener can use.
fn listened<R: Reclaim>(
    listener: impl Fn(&Store<u64, u64, R>, u64, RemovalCause) + Send + Sync + 'static,
) -> Home<u64, u64, R> {
    let home: Home<u64, u64, R> = Arc::default();
    let known: Weak<_> = Arc::downgrade(&home);
    let listener = move |key: Arc<u64>, _, cause, _| {
        if let Some(home) = known.upgrade() {
            listener(home.get().unwrap(), *key, cause);
        }
    };
    assert!(home.set(Cache::builder().eviction_listener(listener).reclaimer().build()).is_ok());
    home
}

fn removals_by_a_listener_are_reported_in_a_loop<R: Reclaim>() {
    on_a_small_stack(|| {
        let heard = Arc::new(AtomicU64::new(0));
        let home = listened::<R>({
            let heard = Arc::clone(&heard);
            move |cache, key, cause| {
                assert_eq!(cause, RemovalCause::Explicit);
                heard.fetch_add(1, Relaxed);
                cache.remove(&(key + 1));
                assert!(key % 1000 != 7, "a call that panics");
            }
        });
        let cache = home.get().unwrap();
        (0..LENGTH).for_each(|key| _ = cache.insert(key, key));
        cache.remove(&0);
        assert!(cache.is_empty(), "{} are left", cache.len());
        assert_eq!(heard.load(Relaxed), LENGTH, "all values are reported, though some calls panic");
    });
}

fn removals_by_listeners_of_two_caches_are_reported_in_a_loop<R: Reclaim>() {
    on_a_small_stack(|| {
        let second: Home<u64, u64, R> = Arc::default();
        let first = listened::<R>({
            let second = Arc::clone(&second);
            move |_, key, _| _ = second.get().unwrap().remove(&key)
        });
        let known = Arc::downgrade(&first);
        let back = move |key: Arc<u64>, _, _, _| {
            if let Some(first) = known.upgrade() {
                first.get().unwrap().remove(&(*key + 1));
            }
        };
        let other = Cache::builder().eviction_listener(back).reclaimer().build();
        assert!(second.set(other).is_ok());
        let (first, second) = (first.get().unwrap(), second.get().unwrap());
        for key in 0..LENGTH {
            first.insert(key, key);
            second.insert(key, key);
        }
        first.remove(&0);
        assert_eq!((first.len(), second.len()), (0, 0));
    });
}

/// The place that holds a cache of such values.
type HomeOfNext<R> = OnceLock<Store<u64, Arc<Next<R>>, R>>;

/// A value that removes the next one when it is dropped.
struct Next<R: Reclaim>(u64, Weak<HomeOfNext<R>>);

impl<R: Reclaim> Drop for Next<R> {
    fn drop(&mut self) {
        if let Some(home) = self.1.upgrade()
            && let Some(cache) = home.get()
        {
            cache.invalidate(&(self.0 + 1));
        }
    }
}

fn a_chain_of_destructors_that_each_remove_the_next<R: Reclaim>() {
    on_a_small_stack(|| {
        let home: Arc<HomeOfNext<R>> = Arc::default();
        assert!(home.set(Cache::builder().reclaimer().build()).is_ok());
        let cache = home.get().unwrap();
        for key in 0..LENGTH {
            cache.insert(key, Arc::new(Next(key, Arc::downgrade(&home))));
        }
        cache.invalidate(&0);
        // Each drop happens in the collection of what was removed before.
        (0..LENGTH)
            .for_each(|_| _ = cache.insert(u64::MAX, Arc::new(Next(u64::MAX - 1, Weak::new()))));
        drop(home);
    });
}

fn relations_of_50_000_keys_are_followed<R: Reclaim>() {
    on_a_small_stack(|| {
        let cache: Store<u64, u64, R> = Cache::builder()
            .related(|key: &u64, related| {
                if *key < 50_000 {
                    related.invalidate(key + 1);
                }
            })
            .reclaimer()
            .build();
        (0..50_001).for_each(|key| _ = cache.batch().insert(key, key).remove(key + 1).commit());
        cache.insert(1, 1);
        assert_eq!(cache.len(), 2, "the rest is gone by one commit");
    });
}

on_every_reclaimer!(
    removals_by_a_listener_are_reported_in_a_loop,
    removals_by_listeners_of_two_caches_are_reported_in_a_loop,
    a_chain_of_destructors_that_each_remove_the_next,
    relations_of_50_000_keys_are_followed,
    a_relation_that_writes_without_an_end_is_reported,
);

#[test]
fn relations_without_an_end_are_reported_and_nothing_is_written() {
    on_a_small_stack(|| {
        let endless = |key: &u64, related: &mut coeval::Related<u64, u64>| {
            related.insert(key + 1, 0);
        };
        let cache = Cache::builder().related(endless).build();
        let before = cache.version();
        let said = message(|| _ = cache.insert(5, 5));
        assert!(
            said.contains("the key 5") && said.contains("65536") && said.contains("max_related"),
            "{said}"
        );
        let said = message(|| _ = cache.batch().insert(7, 7).insert(8, 8).commit());
        assert!(said.contains("the key 7"), "{said}");
        let said = message(|| {
            let _ = cache.transact(|tx| {
                tx.insert(9, 9);
                Ok::<_, ()>(())
            });
        });
        assert!(said.contains("the key 9"), "{said}");
        assert!(cache.get_with(5, || 6) == 6 && cache.len() == 1, "a load follows no relations");
        let said = message(|| _ = cache.invalidate(&5));
        assert!(said.contains("the key 5"), "{said}");
        let said = message(|| {
            _ = cache.compare_and_set(5, None, 1).or(cache.compare_and_set(
                5,
                Some(cache.version()),
                1,
            ))
        });
        assert!(said.contains("the key 5"), "{said}");
        assert_eq!((cache.get(&5), cache.len()), (Some(6), 1));
        assert!(cache.version() > before);
    });
}

#[test]
fn a_bound_of_ones_own_and_a_closure_that_never_returns() {
    let few = Cache::builder()
        .related(|key: &u64, related| {
            (0..*key % 1000).for_each(|other| _ = related.insert(1000 + 1000 * other, 0))
        })
        .max_related(3)
        .build();
    few.batch().insert(1, 0).insert(2, 0).insert(3, 0).commit();
    assert_eq!(few.len(), 6, "three are no more than three");
    let said = message(|| _ = few.insert(4, 0));
    assert!(said.contains("more than 3"), "{said}");
    assert_eq!(few.len(), 6);
    let endless: Cache<Box<u8>, u64> = Cache::builder()
        .related(|key, related: &mut coeval::Related<Box<u8>, u64>| {
            loop {
                related.invalidate(key.clone());
            }
        })
        .build();
    let said = message(|| _ = endless.insert(Box::new(1), 1));
    assert!(said.contains("the key with hash 0x"), "{said}");
    assert!(endless.is_empty());
}

fn a_relation_that_writes_without_an_end_is_reported<R: Reclaim>() {
    on_a_small_stack(|| {
        let home: Home<u64, u64, R> = Arc::default();
        let known = Arc::downgrade(&home);
        let relation = move |key: &u64, _: &mut coeval::Related<u64, u64>| {
            if *key < 1_000_000
                && let Some(home) = known.upgrade()
            {
                home.get().unwrap().insert(key + 1, 0);
            }
        };
        assert!(home.set(Cache::builder().related(relation).reclaimer().build()).is_ok());
        let cache = home.get().unwrap();
        let said = message(|| _ = cache.insert(1, 1));
        assert!(said.contains("the key 65") && said.contains("64 deep"), "{said}");
        assert!(cache.is_empty(), "nothing was written");
        cache.insert(1_000_000 - 60, 1);
        assert_eq!(cache.len(), 61, "a few are written");
        assert!(catch_unwind(AssertUnwindSafe(|| cache.insert(1, 1))).is_err(), "once more");
    });
}
