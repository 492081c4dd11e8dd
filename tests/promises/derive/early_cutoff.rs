//! A change that does not change a derived value ends nothing above that value.

use super::Cache;
use crate::common::{on_every_reclaimer, store};
use coeval::ManualClock;
use coeval::reclaim::Reclaim;
use std::cell::Cell;
use std::time::Duration;

/// Key 101 holds whether key 1 is even. Key 100 holds a word about that. The test counts how often
/// each is derived.
struct Parity<R: Reclaim> {
    cache: Cache<R>,
    parities: Cell<u64>,
    words: Cell<u64>,
}

impl<R: Reclaim> Parity<R> {
    fn new() -> Self {
        Self { cache: store(), parities: Cell::new(0), words: Cell::new(0) }
    }

    fn parity(&self) -> u64 {
        self.cache.derive(101, |scope| {
            self.parities.set(self.parities.get() + 1);
            scope.get(&1).unwrap() % 2
        })
    }

    fn word(&self) -> u64 {
        self.cache.derive(100, |scope| {
            self.words.set(self.words.get() + 1);
            1_000 + scope.get(&101).unwrap_or(500)
        })
    }

    fn made(&self) -> (u64, u64) {
        (self.parities.get(), self.words.get())
    }
}

fn an_equal_value_brings_the_rest_back<R: Reclaim>() {
    let it = Parity::<R>::new();
    it.cache.insert(1, 2);
    assert_eq!((it.parity(), it.word(), it.made()), (0, 1_000, (1, 1)));
    let first = it.cache.get_versioned(&100).unwrap().1;
    for round in 2..10 {
        it.cache.insert(1, round * 2);
        assert_eq!(it.cache.get_many([&100, &101]), [None, None]);
        let between = it.cache.view();
        assert_eq!(it.parity(), 0);
        assert_eq!(
            it.cache.get_versioned(&100),
            Some((1_000, first)),
            "it is valid again, unchanged"
        );
        assert_eq!(it.cache.get_many([&100, &101]), [Some(1_000), Some(0)]);
        assert_eq!((it.word(), it.made()), (1_000, (round, 1)));
        assert_eq!((between.get(&100), between.get(&101)), (None, None));
    }
    it.cache.insert(1, 5);
    assert_eq!((it.parity(), it.cache.get(&100)), (1, None));
    assert_eq!((it.word(), it.made()), (1_001, (10, 2)));
    assert_eq!(it.cache.stats().recomputed, 10, "nine times the parity, once the word");
}

/// An odd value between two even values: values derived from the first even value do not become
/// valid again.
fn there_and_back_again_is_a_change<R: Reclaim>() {
    let it = Parity::<R>::new();
    it.cache.insert(1, 2);
    assert_eq!((it.parity(), it.word()), (0, 1_000));
    it.cache.insert(1, 3);
    assert_eq!(it.parity(), 1);
    it.cache.insert(1, 4);
    assert_eq!(it.parity(), 0);
    assert_eq!(it.cache.get(&100), None);
    assert_eq!((it.word(), it.made()), (1_000, (3, 2)));
}

/// A value that a write has set is not a derivation, so no derivation carries it on.
fn a_write_between_is_a_change<R: Reclaim>() {
    let it = Parity::<R>::new();
    it.cache.insert(1, 2);
    assert_eq!((it.parity(), it.word()), (0, 1_000));
    it.cache.insert(101, 0);
    assert_eq!(it.cache.get(&100), None);
    it.cache.remove(&101);
    assert_eq!(it.parity(), 0);
    assert_eq!(it.cache.get(&100), None);
}

/// An expired value is forgotten, whether the cache has removed it yet or not.
fn its_own_deadline_is_a_change<R: Reclaim>() {
    for writes in [0, 100] {
        let (clock, second) = (ManualClock::new(), Duration::from_secs(1));
        let builder = coeval::Cache::builder().time_to_live(second).manual_clock(&clock);
        let cache: Cache<R> = builder.reclaimer::<R>().build();
        cache.insert_with_ttl(1, 2, Duration::MAX);
        cache.derive(101, |scope| scope.get(&1).unwrap() % 2);
        clock.advance(second / 2);
        let word = || cache.derive(100, |scope| 1_000 + scope.get(&101).unwrap());
        word();
        clock.advance(second / 2);
        assert_eq!(cache.get_many([&100, &101]), [None, None]);
        (0..writes).for_each(|key| _ = cache.insert(1_000 + key, key));
        assert_eq!(cache.derive(101, |scope| scope.get(&1).unwrap() % 2), 0);
        assert_eq!(cache.get(&100), None, "after {writes} writes");
        assert_eq!((word(), cache.get(&100)), (1_000, Some(1_000)));
    }
}

fn views_hold_several_carried_versions<R: Reclaim>() {
    let it = Parity::<R>::new();
    let mut views = Vec::new();
    for round in 1..30 {
        it.cache.insert(1, round * 2);
        views.push((it.cache.view(), None, None));
        it.parity();
        views.push((it.cache.view(), (round > 1).then_some(1_000), Some(0)));
        it.word();
        views.push((it.cache.view(), Some(1_000), Some(0)));
        for (view, word, parity) in &views {
            assert_eq!((view.get(&100).copied(), view.get(&101).copied()), (*word, *parity));
        }
        if round % 3 == 0 {
            views.remove(views.len() / 2);
        }
    }
}

on_every_reclaimer!(
    an_equal_value_brings_the_rest_back,
    there_and_back_again_is_a_change,
    a_write_between_is_a_change,
    its_own_deadline_is_a_change,
    views_hold_several_carried_versions,
);
