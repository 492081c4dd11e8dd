//! Claim: no reader sees a derived value whose inputs had changed before the reader looked. This
//! holds for single look-ups, for a look-up of several keys, for a view, and for a derivation in
//! progress. A derived value that is visible again, because its input was derived anew with an
//! equal result, is not mistaken for a value that was superseded in between.
//!
//! The models run the whole cache, on the asymmetric backend.
#![cfg(any(coeval_loom, coeval_internals))]

use loom_tests::loom::thread;
use loom_tests::with_one_order;
use loom_tests::{Hash, Scheme, Small, explore, explore_steps, must_fail};
use std::sync::Arc;

type Scope<'s> = coeval::Scope<'s, usize, u32, Hash, Scheme>;

/// Key 0 is set, key 1 is derived from key 0, and key 2 from key 1.
fn half(scope: &mut Scope<'_>) -> u32 {
    scope.get(&0).unwrap() / 2
}

fn next(scope: &mut Scope<'_>) -> u32 {
    scope.get(&1).unwrap() + 1
}

/// A cache where key 0 is 4, and key 1 is 2.
fn world() -> Arc<Small> {
    let cache: Small = coeval::Cache::builder().hasher(Hash).reclaimer::<Scheme>().build();
    cache.insert(0, 4);
    cache.derive(1, half);
    Arc::new(cache)
}

/// Runs `reader` beside a write of key 0.
fn beside_a_write(preemptions: usize, reader: fn(&Small)) {
    explore(preemptions, move || {
        let cache = world();
        let writer = thread::spawn({
            let cache = Arc::clone(&cache);
            move || {
                cache.batch().insert(0, 6).insert(3, 1).commit();
            }
        });
        let reader = thread::spawn({
            let cache = Arc::clone(&cache);
            move || reader(&cache)
        });
        reader.join().unwrap();
        writer.join().unwrap();
        let derived = cache.get(&1);
        assert!(derived.is_none_or(|derived| derived == 3), "out of date at rest: {derived:?}");
    });
}

/// Looks at both keys with one look-up.
fn looks_at_both(cache: &Small) {
    let [input, derived] = cache.get_many([&0, &1]);
    check(input, derived);
}

/// Looks at both keys in a view.
fn views_both(cache: &Small) {
    let view = cache.view();
    check(view.get(&0).copied(), view.get(&1).copied());
}

/// Derives the key again. Afterwards the cache holds the derived value or nothing.
fn derives(cache: &Small) {
    cache.remove(&1);
    let before = cache.get(&0).unwrap();
    let derived = cache.derive(1, half);
    assert!(derived >= before / 2, "older than an earlier read");
}

fn check(input: Option<u32>, derived: Option<u32>) {
    let fits = derived.is_none_or(|derived| derived == input.unwrap() / 2);
    assert!(fits, "{derived:?} beside {input:?}");
}

#[test]
fn look_ups_beside_a_write() {
    beside_a_write(3, |cache| {
        let input = cache.get(&0);
        let derived = cache.get(&1);
        assert!(
            derived.is_none_or(|derived| derived >= input.unwrap() / 2),
            "older than its input"
        );
    });
}

#[test]
fn one_look_up_of_several_beside_a_write() {
    beside_a_write(1, looks_at_both);
}

#[test]
#[ignore = "takes minutes"]
fn one_look_up_of_several_beside_a_write_at_length() {
    beside_a_write(2, looks_at_both);
}

#[test]
fn a_view_beside_a_write() {
    beside_a_write(1, views_both);
}

#[test]
#[ignore = "takes minutes"]
fn a_view_beside_a_write_at_length() {
    beside_a_write(2, views_both);
}

#[test]
fn a_derivation_beside_a_write() {
    with_one_order(|| beside_a_write(1, derives));
}

#[test]
#[ignore = "takes minutes"]
fn a_derivation_beside_a_write_at_length() {
    with_one_order(|| beside_a_write(2, derives));
}

/// One thread derives key 1. When it has read key 0, another thread changes key 0 and then also
/// wants key 1.
fn a_second_caller(preemptions: usize) {
    explore(preemptions, || {
        let cache: Arc<Small> =
            Arc::new(coeval::Cache::builder().hasher(Hash).reclaimer::<Scheme>().build());
        cache.insert(0, 4);
        let mut second = None;
        cache.derive(1, |scope| {
            let value = half(scope);
            let cache = Arc::clone(&cache);
            second = Some(thread::spawn(move || {
                cache.insert(0, 6);
                let derived = cache.derive(1, half);
                assert_eq!(derived, 3, "a value from before the change is returned after it");
            }));
            value
        });
        second.expect("spawned by the first").join().unwrap();
        assert_eq!(cache.get(&1), Some(3));
    });
}

#[test]
fn a_caller_after_a_change_gets_a_value_derived_after_it() {
    with_one_order(|| a_second_caller(2));
}

#[test]
fn defect_sharing_an_invisible_value() {
    must_fail("derive.unchecked", "a value from before the change", || {
        with_one_order(|| a_second_caller(2));
    });
}

/// Key 2 expires as key 0 is written. A thread sets key 2, and then derives key 1, which comes out
/// equal. The expired value of key 2 would become visible again if the write did not supersede it.
fn superseded_while_expired(preemptions: usize) {
    explore_steps(preemptions, || {
        let cache = world();
        cache.derive(2, next);
        cache.insert(0, 5);
        let writer = thread::spawn({
            let cache = Arc::clone(&cache);
            move || {
                cache.insert(2, 9);
                cache.derive(1, half);
            }
        });
        let reader = thread::spawn(move || {
            let found = cache.get(&2);
            let is_right = found.is_none_or(|found| found == 9);
            assert!(is_right, "visible again after it was superseded: {found:?}");
        });
        reader.join().unwrap();
        writer.join().unwrap();
    });
}

#[test]
fn a_value_superseded_while_expired_stays_invisible() {
    with_one_order(|| superseded_while_expired(2));
}

#[test]
fn defect_looking_at_nested_inputs_as_they_are_now() {
    must_fail("derive.nested_now", "visible again after it was superseded", || {
        with_one_order(|| superseded_while_expired(2));
    });
}
