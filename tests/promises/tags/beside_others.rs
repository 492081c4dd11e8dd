//! Tags that are invalidated while other threads write, load and read.

use super::{Cache, tags};
use crate::common::random::{Random, run_seed};
use crate::common::{StopOnDrop, disturb, on_every_reclaimer, store, stress, together, within};
use coeval::Tag;
use coeval::reclaim::Reclaim;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

const KEYS: u64 = 4;

/// All keys have one tag, and are loaded from a source that only grows. No look-up after an
/// invalidation returns a value that was read before it.
fn no_reader_gets_a_stale_value<R: Reclaim>() {
    disturb();
    let cache: Cache<R> = store();
    let tag = &tags(["all"]);
    (0..KEYS).for_each(|key| _ = cache.insert_tagged(key, 0, tag));
    let (source, told, left) = (AtomicU64::new(0), AtomicU64::new(0), AtomicUsize::new(4));
    let (seed, failed) = (run_seed(), AtomicBool::new(false));
    let read = |random: &mut Random| {
        let (key, told) = (random.below(KEYS), told.load(SeqCst));
        let found = match random.below(6) {
            0 => cache.get(&key),
            1 => cache.view().get(&key).copied(),
            2 => cache.get_many([&key, &0])[0],
            3 => {
                _ = cache.tag(key, &tags(["another"]));
                cache.get(&key)
            }
            _ => Some(cache.get_with(key, || {
                let value = source.load(SeqCst);
                random.one_in(4).then(std::thread::yield_now);
                value
            })),
        };
        assert!(
            found.is_none_or(|found| found >= told),
            "{found:?} after the invalidation for {told}"
        );
    };
    let write = |random: &mut Random| {
        let value = source.fetch_add(1, SeqCst) + 1;
        if random.one_in(3) {
            // Not older than what was told, because no other thread writes.
            (0..KEYS).for_each(|key| _ = cache.insert_tagged(key, value, tag));
        } else {
            cache.invalidate_tag(&tag[0]);
        }
        told.store(value, SeqCst);
    };
    within(Duration::from_secs(600), "readers beside an invalidation", || {
        together(5, |thread| {
            let mut random = Random::new(seed ^ (thread as u64) << 32);
            if thread == 4 {
                while left.load(SeqCst) > 0 && !failed.load(SeqCst) {
                    write(&mut random);
                }
                return;
            }
            let panicked = StopOnDrop(&failed);
            (0..stress(5_000, 100_000, 2_500_000)).for_each(|_| read(&mut random));
            left.fetch_sub(1, SeqCst);
            std::mem::forget(panicked);
        });
    });
}

/// One tag and two keys that have it, each set anew by itself. A reader of both at one instant sees
/// neither, one that is newer than the invalidation, or both.
fn all_values_of_a_tag_end_at_once<R: Reclaim>() {
    disturb();
    let cache: Cache<R> = store();
    let (tag, done) = (Tag::from(1), AtomicBool::new(false));
    let rounds = stress(3_000, 50_000, 1_000_000);
    within(Duration::from_secs(600), "an invalidation beside readers", || {
        together(3, |thread| {
            let _stopped = StopOnDrop(&done);
            if thread == 0 {
                for round in 0..rounds {
                    cache.insert_tagged(0, round, std::slice::from_ref(&tag));
                    cache.insert_tagged(1, round, std::slice::from_ref(&tag));
                    cache.invalidate_tag(&tag);
                }
                return;
            }
            while !done.load(SeqCst) {
                let [first, second] = match thread {
                    1 => cache.get_many([&0, &1]),
                    _ => {
                        let view = cache.view();
                        [view.get(&0).copied(), view.get(&1).copied()]
                    }
                };
                assert!(second.is_none() || first == second, "{first:?} beside {second:?}");
            }
        });
    });
}

/// Each thread has its own keys. All keys have the same few tags, which come and go with them. A
/// thread that has invalidated a tag finds none of its own keys that had the tag.
fn tags_that_come_and_go<R: Reclaim>() {
    disturb();
    let cache: Cache<R> = store();
    let seed = run_seed();
    within(Duration::from_secs(600), "tags that come and go", || {
        together(4, |thread| {
            let mut random = Random::new(seed ^ (thread as u64) << 32);
            for round in 0..stress(10_000, 200_000, 2_000_000) {
                let (key, number) = (thread as u64 * 4 + random.below(4), random.below(3));
                cache.insert_tagged(key, round, &[Tag::from(number)]);
                if random.one_in(2) {
                    cache.invalidate_tag(number);
                    assert_eq!(cache.get(&key), None, "it had the tag");
                }
                cache.remove(&key);
            }
        });
    });
}

on_every_reclaimer!(
    no_reader_gets_a_stale_value,
    all_values_of_a_tag_end_at_once,
    tags_that_come_and_go
);
