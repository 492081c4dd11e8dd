//! Promise: keys and values have the alignment that their types require, up to a page.

use crate::common::{Store, on_every_reclaimer, store};
use coeval::reclaim::Reclaim;
use std::hash::Hash;
use std::time::Duration;

/// A type that converts from a number and back.
trait Numbered: Clone + PartialEq + Send + Sync + 'static {
    fn new(number: u64) -> Self;

    /// Checks the alignment, and returns the number.
    fn number(&self) -> u64;
}

impl Numbered for u64 {
    fn new(number: u64) -> Self {
        number
    }

    fn number(&self) -> u64 {
        *self
    }
}

macro_rules! aligned {
    ($($name:ident $align:literal)+) => {$(
        #[derive(Clone, PartialEq, Eq, Hash)]
        #[repr(align($align))]
        struct $name(u64, Box<u64>);

        impl Numbered for $name {
            fn new(number: u64) -> Self {
                Self(number, Box::new(number))
            }

            fn number(&self) -> u64 {
                assert_eq!(std::ptr::from_ref(self).addr() % $align, 0, "aligned to {}", $align);
                assert_eq!(self.0, *self.1);
                self.0
            }
        }
    )+};
}

aligned!(To16 16 To64 64 To128 128 To256 256 To1024 1024 To4096 4096);

/// Uses every way in which a value enters or leaves a cache.
fn use_all<K: Numbered + Hash + Eq, V: Numbered, R: Reclaim>(
    cache: &Store<K, V, R>,
    keys: u64,
    is_bounded: bool,
) {
    let key = K::new;
    let check = |number: u64, least: u64| {
        let pinned = cache.pin();
        match pinned.get(&key(number)) {
            Some(value) => assert!(value.number() >= least),
            None => assert!(is_bounded, "{number} is present"),
        }
    };
    for round in 0..3 {
        for number in 0..keys {
            cache.insert(key(number), V::new(number + round));
            check(number, number + round);
        }
    }
    for first in (0..keys).step_by(4) {
        let batch = (first..first + 4)
            .fold(cache.batch(), |batch, number| batch.insert(key(number), V::new(number + 3)));
        batch.commit();
        (first..first + 4).for_each(|number| check(number, number + 3));
    }
    for number in 0..keys / 4 {
        assert_eq!(cache.get_with(key(number), || V::new(number + 3)).number(), number + 3);
        cache.insert_tagged(key(number), V::new(number + 4), &["tag".into()]);
        cache.insert_with_ttl(key(keys + number), V::new(number), Duration::from_secs(3600));
        check(keys + number, number);
        let derived = cache.derive(key(2 * keys + number), |scope| {
            V::new(scope.get(&key(number)).map_or(7, |value| value.number()))
        });
        assert!(derived.number() >= 7.min(number + 4));
        check(2 * keys + number, 0);
        let (_, version) = match cache.get_versioned(&key(number)) {
            Some(found) => found,
            None => continue,
        };
        assert!(cache.compare_and_set(key(number), Some(version), V::new(number + 5)).is_ok());
        check(number, number + 5);
        let written = cache.transact(|tx| {
            let before = tx.get(&key(number)).map_or(0, |value| value.number());
            tx.insert(key(number), V::new(before + 1));
            Ok::<_, std::convert::Infallible>(())
        });
        assert!(written.is_ok());
        check(number, 1);
    }
    let view = cache.view();
    for (key, value) in view.iter() {
        assert!(key.number() <= 3 * keys && value.number() <= 3 * keys + 5);
    }
    cache.invalidate_tag("tag");
    for number in 0..keys {
        cache.remove(&key(number)).iter().for_each(|value| assert!(value.number() >= number));
    }
    assert!(cache.get(&key(0)).is_none());
    assert!(!view.is_empty() && view.iter().all(|(_, value)| value.number() <= 3 * keys + 5));
    drop(view);
    cache.invalidate_all();
    for number in 0..keys {
        cache.insert(key(number), V::new(number));
        check(number, number);
    }
}

fn all_of<K: Numbered + Hash + Eq, V: Numbered, R: Reclaim>() {
    let keys = 400;
    use_all::<K, V, R>(&store(), keys, false);
    let builder = || coeval::Cache::builder().reclaimer::<R>();
    use_all::<K, V, R>(&builder().max_capacity(keys / 3).build(), keys, true);
    // Here the cache has room for all entries from the beginning.
    use_all::<K, V, R>(&builder().initial_capacity(3 * keys as usize).build(), keys, false);
    use_all::<K, V, R>(&store(), 4, false);
}

fn values_are_aligned<R: Reclaim>() {
    all_of::<u64, To128, R>();
    all_of::<u64, To4096, R>();
}

fn keys_are_aligned<R: Reclaim>() {
    all_of::<To128, u64, R>();
}

fn keys_and_values_are_aligned<R: Reclaim>() {
    all_of::<To1024, To256, R>();
}

on_every_reclaimer!(values_are_aligned, keys_are_aligned, keys_and_values_are_aligned,);

#[test]
fn all_alignments_are_kept() {
    type R = coeval::reclaim::Asymmetric;
    all_of::<u64, To64, R>();
    all_of::<u64, To256, R>();
    all_of::<u64, To1024, R>();
    all_of::<To16, To128, R>();
    all_of::<To256, To64, R>();
    all_of::<To4096, To4096, R>();
}
