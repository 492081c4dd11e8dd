//! Tests of the index, with entries that can be condemned and sealed, and with a simple, slow
//! reclamation scheme.

mod collide;
mod concurrent;
mod support;

use support::*;

use super::{Index, Indexed};
use crate::reclaim::Reclaim;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

#[test]
fn inserted_keys_are_found_and_no_others() {
    let map = TestMap::with_capacity(0);
    let guard = map.scheme.pin();
    for key in 0..5000 {
        assert!(map.insert(&guard, key));
        assert!(!map.insert(&guard, key));
    }
    for key in 0..5000 {
        assert_eq!(map.find(&guard, key).map(|item| item.key), Some(key));
        assert!(map.find(&guard, key + 5000).is_none());
    }
}

#[test]
fn a_million_entries_fit_in_the_planned_table() {
    let map = TestMap::with_capacity(1 << 20);
    let guard = map.scheme.pin();
    assert_eq!(map.index.homes(&guard), 1 << 18);
    for key in 0..1 << 20 {
        assert!(map.insert(&guard, key));
    }
    assert_eq!(map.index.homes(&guard), 1 << 18);
    assert!(map.index.bytes(&guard) < (1 << 24) + 4096, "a second table was made");
}

#[test]
fn the_smallest_table_is_small() {
    let map = TestMap::with_capacity(0);
    assert!(map.index.bytes(&map.scheme.pin()) <= 1024);
}

/// Random inserts, removals and look-ups, compared with a `HashMap`, for many keys and for few,
/// with good hashes and with bad ones.
#[test]
fn the_index_behaves_like_a_hash_map() {
    for (keys, hash_bits) in [(50, 32), (3000, 32), (3000, 4), (300, 0), (20_000, 32)] {
        let map = TestMap::with_hash_bits(0, hash_bits);
        let mut model: HashMap<u64, *const Item> = HashMap::new();
        let mut random = Random(keys ^ hash_bits as u64);
        for round in 0..40_000u64 {
            let key = random.below(keys);
            let guard = map.scheme.pin();
            match random.below(if round % 20_000 < 10_000 { 5 } else { 9 }) {
                0..=2 => assert_eq!(map.insert(&guard, key), !model.contains_key(&key)),
                3 => {}
                _ => {
                    if let Some(item) = map.find(&guard, key) {
                        assert!(item.condemn());
                        map.remove_later(&guard, item);
                        drop(guard);
                        map.scheme.collect();
                        assert!(map.find(&map.scheme.pin(), key).is_none());
                        model.remove(&key);
                        continue;
                    }
                }
            }
            let found = map.find(&guard, key).map(|item| item as *const Item);
            let expected = *model.entry(key).or_insert(found.unwrap_or(std::ptr::null()));
            if expected.is_null() {
                model.remove(&key);
            }
            assert_eq!(found, (!expected.is_null()).then_some(expected));
        }
        let guard = map.scheme.pin();
        for key in 0..keys {
            assert_eq!(map.find(&guard, key).is_some(), model.contains_key(&key));
        }
        let mut all = map.iterate(&guard);
        all.sort_unstable();
        let mut expected: Vec<u64> = model.keys().copied().collect();
        expected.sort_unstable();
        assert_eq!(all, expected);
    }
}

#[test]
fn equal_hashes_work_and_take_bounded_memory() {
    let map = TestMap::with_hash_bits(0, 0);
    let guard = map.scheme.pin();
    for key in 0..2000 {
        assert!(map.insert(&guard, key));
        assert!(!map.insert(&guard, key / 2));
    }
    assert!((0..2000).all(|key| map.find(&guard, key).is_some()));
    assert!(map.find(&guard, 2000).is_none());
    assert_eq!(map.iterate(&guard).len(), 2000);
    assert!(map.index.bytes(&guard) < 2000 * 64 * 8);
}

/// Fresh keys are inserted and old ones removed: tables are rebuilt again and again, in one size.
#[test]
fn endless_churn_needs_bounded_memory() {
    let map = TestMap::with_capacity(0);
    let mut largest = 0;
    for key in 0..300_000u64 {
        let guard = map.scheme.pin();
        assert!(map.insert(&guard, key));
        if key >= 1000 {
            let old = map.find(&guard, key - 1000).expect("present");
            assert!(old.condemn());
            map.remove_later(&guard, old);
        }
        largest = largest.max(map.index.bytes(&guard));
        drop(guard);
        map.scheme.collect();
    }
    // 512 buckets, and as many again while they are moved.
    assert!(largest <= 2 * 1024 * 64, "{largest} bytes for 1000 entries");
    assert_eq!(map.iterate(&map.scheme.pin()).len(), 1000);
}

#[test]
fn a_table_shrinks_when_few_entries_are_left() {
    let map = TestMap::with_capacity(0);
    for key in 0..100_000 {
        assert!(map.insert(&map.scheme.pin(), key));
    }
    let full = map.index.bytes(&map.scheme.pin());
    map.index.shrink(&map.scheme.pin());
    assert_eq!(map.index.bytes(&map.scheme.pin()), full);
    for key in 100..100_000 {
        map.remove(key);
    }
    let guard = map.scheme.pin();
    for _ in 0..2 {
        map.index.shrink(&guard);
        while map.index.assist(&map.scheme, &guard) {}
    }
    assert!(map.index.bytes(&guard) < full / 100);
    assert!((0..100).all(|key| map.find(&guard, key).is_some()));
}

/// An equality that panics leaves neither an entry nor a reserved slot.
#[test]
fn a_panic_in_equality_leaves_no_trace() {
    let map = TestMap::with_hash_bits(0, 0);
    let guard = map.scheme.pin();
    for key in 0..5 {
        assert!(map.insert(&guard, key));
    }
    let before = map.index.bytes(&guard);
    for key in 100..200 {
        let item = map.item(key);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            // SAFETY: nothing is published, so the entry need not stay valid.
            let _ = unsafe { map.index.insert(&map.scheme, &guard, 0, item, |_| panic!("eq")) };
        }));
        assert!(outcome.is_err());
        // SAFETY: as above; made by `item`.
        unsafe { map.index.memory().put_back(item.cast()) };
        assert!(map.find(&guard, key).is_none());
    }
    // A reserved slot would be missing now: six entries fit into one bucket.
    assert!(map.insert(&guard, 5));
    assert_eq!(map.index.bytes(&guard), before);
    assert_eq!(map.iterate(&guard).len(), 6);
}

/// An insert that meets a condemned entry revives it. One that meets a sealed entry replaces it.
#[test]
fn condemned_entries_are_revived_and_sealed_ones_skipped() {
    let map = TestMap::with_capacity(0);
    let guard = map.scheme.pin();
    assert!(map.insert(&guard, 7));
    let first = map.find(&guard, 7).expect("present");
    assert!(first.condemn());
    assert!(!map.insert(&guard, 7));
    assert!(!first.seal(), "the insert removed the mark");
    assert!(map.insert(&guard, 8));
    let first = map.find(&guard, 8).expect("present");
    assert!(first.condemn() && first.seal());
    assert!(map.find(&guard, 8).is_none());
    assert!(map.insert(&guard, 8));
    let second = map.find(&guard, 8).expect("present");
    assert!(!std::ptr::eq(first, second));
    // SAFETY: sealed; then released when no earlier guard is live; and freed by the test.
    unsafe {
        map.index.unlink(&guard, first.into());
        assert!(std::ptr::eq(second, map.find(&guard, 8).expect("present")));
        let first = std::ptr::from_ref(first).cast_mut();
        drop(guard);
        let guard = map.scheme.pin();
        let first = std::ptr::NonNull::new(first).expect("not null");
        map.index.release(&guard, first);
        map.index.memory().give(first.cast());
        let mut all = map.iterate(&guard);
        all.sort_unstable();
        assert_eq!(all, [7, 8]);
    }
}

#[test]
fn prefetching_changes_nothing() {
    let map = TestMap::with_capacity(0);
    let guard = map.scheme.pin();
    for key in 0..100 {
        map.index.prefetch(&guard, map.hash(key));
        let _ = map.index.candidate(&guard, map.hash(key));
        assert!(map.insert(&guard, key));
        let _ = map.index.candidate(&guard, map.hash(key));
    }
    assert_eq!(map.iterate(&guard).len(), 100);
}

#[test]
fn any_number_of_parts_makes_up_the_whole() {
    let map = TestMap::with_capacity(0);
    let guard = map.scheme.pin();
    for key in 0..3000 {
        assert!(map.insert(&guard, key));
    }
    for homes in [1, 2, 64, 1024, 1 << 16] {
        let mut all = Vec::new();
        let mut next = 0;
        while next < homes {
            next = map.index.entries_of(&guard, homes, next..homes, &mut all);
        }
        let mut keys: Vec<u64> = all.iter().map(|item| item.key).collect();
        keys.sort_unstable();
        assert!(keys.into_iter().eq(0..3000), "{homes} parts");
    }
}

#[test]
fn an_index_can_be_sent_and_shared() {
    fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Index<Item, Grace>>();
    let _ = <Item as Indexed>::hash;
}
