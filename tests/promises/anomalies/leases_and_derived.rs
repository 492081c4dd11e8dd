//! Anomalies by way of a lease, and by way of a value that was derived from others.

use super::{Cache, Tx, X, Y, commit, once, two_entries};
use crate::common::on_every_reclaimer;
use coeval::reclaim::Reclaim;

/// A lost update by way of a lease: what was read from the source before a transaction wrote the
/// key does not replace what it wrote, whichever of the two was begun first.
fn a_fill_does_not_undo_a_transaction<R: Reclaim>() {
    let cache = two_entries::<R>();
    cache.remove(&X);
    let lease = cache.lease(&X);
    let from_source = 10;
    commit(&cache, |tx| {
        tx.get(&X);
        tx.insert(X, 11);
    });
    assert!(lease.is_outdated());
    assert_eq!(lease.fill(from_source).unwrap_err().into_value(), 10);
    assert_eq!(cache.get(&X), Some(11));

    // The lease is taken within the transaction, and outlives it.
    cache.remove(&X);
    let (lease, _) = commit(&cache, |tx| {
        tx.insert(X, 12);
        cache.lease(&X)
    });
    assert_eq!(lease.fill(from_source).unwrap_err().into_value(), 10);
    assert_eq!(cache.get(&X), Some(12));
}

/// A fill is a write: a transaction that had found the key absent is tried again.
fn a_transaction_does_not_undo_a_fill<R: Reclaim>() {
    let (cache, first) = (two_entries::<R>(), once());
    cache.remove(&X);
    let (seen, runs) = commit(&cache, |tx| {
        let seen = tx.get(&X);
        if first() {
            cache.lease(&X).fill(10).unwrap();
        }
        tx.insert(X, seen.unwrap_or(0) + 1);
        seen
    });
    assert_eq!((seen, runs, cache.get(&X)), (Some(10), 2, Some(11)));
}

/// A transaction that only reads the key does not outdate a lease, and one that is given up does
/// not.
fn a_lease_outlives_what_does_not_write<R: Reclaim>() {
    let cache = two_entries::<R>();
    cache.remove(&X);
    let lease = cache.lease(&X);
    commit(&cache, |tx| {
        let seen = tx.get(&X);
        tx.insert(3, seen.unwrap_or(0));
    });
    let given_up = cache.transact(|tx| {
        tx.insert(X, 9);
        Err::<(), _>(())
    });
    assert!(given_up.is_err());
    assert!(lease.fill(10).is_ok());
    assert_eq!(cache.get(&X), Some(10));
}

const SUM: u64 = 10;

/// x and y together, derived.
fn sum<R: Reclaim>(cache: &Cache<R>) -> u64 {
    cache.derive(SUM, |scope| scope.get(&X).unwrap_or(0) + scope.get(&Y).unwrap_or(0))
}

/// Write skew by way of a derived value: two transactions see the sum only, and each takes from
/// another of its inputs.
fn no_write_skew_through_a_derived_value<R: Reclaim>() {
    for (mine, theirs) in [(X, Y), (Y, X)] {
        let (cache, first) = (two_entries::<R>(), once());
        sum(&cache);
        // A value whose inputs have changed is absent. Then a transaction reads these.
        let look = |tx: &mut Tx<'_, R>| match tx.get(&SUM) {
            Some(sum) => sum,
            None => tx.get_many([&X, &Y]).into_iter().flatten().sum(),
        };
        let (took, runs) = commit(&cache, |outer| {
            let seen = look(outer);
            if first() {
                let (took, runs) = commit(&cache, |inner| {
                    let takes = look(inner) == 30;
                    if takes {
                        inner.insert(theirs, 0);
                    }
                    takes
                });
                assert_eq!((took, runs), (true, 1));
            }
            if seen == 30 {
                outer.insert(mine, 0);
            }
            seen == 30
        });
        assert_eq!((took, runs), (false, 2));
        assert_eq!(sum(&cache), 10 * mine);
    }
}

/// The same where the outer transaction has read nothing but the derived value.
fn a_derived_value_alone_is_enough<R: Reclaim>() {
    let (cache, first) = (two_entries::<R>(), once());
    sum(&cache);
    let (seen, runs) = commit(&cache, |outer| {
        let seen = outer.get(&SUM);
        if first() {
            commit(&cache, |inner| inner.insert(Y, 0));
        }
        outer.insert(3, seen.unwrap_or(0));
        seen
    });
    assert_eq!((seen, runs, cache.get(&3)), (None, 2, Some(0)));
}

/// A derived value and its inputs are of one age in every transaction, whenever it was derived.
fn a_derived_value_agrees_with_its_inputs<R: Reclaim>() {
    let cache = two_entries::<R>();
    sum(&cache);
    let (seen, runs) = commit(&cache, |outer| {
        let before = outer.get(&X);
        cache.insert(X, 11);
        assert_eq!(sum(&cache), 31);
        commit(&cache, |inner| {
            let [x, y, sum] = inner.get_many([&X, &Y, &SUM]);
            assert_eq!((x, y, sum), (Some(11), Some(20), Some(31)));
        });
        (before, outer.get_many([&Y, &SUM]))
    });
    assert_eq!((seen, runs), ((Some(10), [Some(20), Some(30)]), 1));
}

/// A derivation that a transaction overtakes is not cached with what it read before.
fn a_derivation_does_not_undo_a_transaction<R: Reclaim>() {
    let (cache, first) = (two_entries::<R>(), once());
    let derived = cache.derive(SUM, |scope| {
        let x = scope.get(&X).unwrap_or(0);
        if first() {
            commit(&cache, |tx| {
                tx.insert(X, 11);
                tx.insert(Y, 19);
            });
        }
        x + scope.get(&Y).unwrap_or(0)
    });
    assert_eq!(derived, 30, "10 and 20, or 11 and 19, and never 10 and 19");
    assert_eq!(sum(&cache), 30);
    cache.insert(X, 0);
    assert_eq!(sum(&cache), 19);
}

on_every_reclaimer!(
    a_fill_does_not_undo_a_transaction,
    a_transaction_does_not_undo_a_fill,
    a_lease_outlives_what_does_not_write,
    no_write_skew_through_a_derived_value,
    a_derived_value_alone_is_enough,
    a_derived_value_agrees_with_its_inputs,
    a_derivation_does_not_undo_a_transaction,
);
