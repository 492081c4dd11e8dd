//! Readers that begin at different times, beside writers of one key each, and beside transfers.

use super::{Cache, Tx, X, Y, commit, once, two_entries};
use crate::common::{on_every_reclaimer, store};
use coeval::reclaim::Reclaim;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::scope;

/// A long fork: two readers see two writes in different orders. Each reader is a view and a
/// transaction that are open while the writes are made.
fn no_two_readers_disagree<R: Reclaim>() {
    for order in [[X, Y], [Y, X]] {
        let cache = two_entries::<R>();
        let [one, other] = order;
        let before = cache.view();
        let (seen, _) = commit(&cache, |first| {
            // Its version is fixed by its first read.
            assert_eq!(first.get(&3), None);
            cache.insert(one, 1);
            let between = cache.view();
            let (seen, _) = commit(&cache, |second| {
                assert_eq!(second.get(&3), None);
                cache.insert(other, 2);
                second.get_many([&one, &other])
            });
            let other_before = if other == X { 10 } else { 20 };
            assert_eq!(seen, [Some(1), Some(other_before)]);
            assert_eq!(between.get_many([&one, &other]).map(Option::<&u64>::copied), seen);
            cache.insert(one, 10 * one);
            cache.insert(other, 10 * other);
            first.get_many([&X, &Y])
        });
        assert_eq!(seen, [Some(10), Some(20)]);
        assert_eq!(before.get_many([&X, &Y]).map(Option::<&u64>::copied), seen);
    }
}

/// Two transactions that write a key each, between the steps of two readers on threads of their
/// own.
fn no_two_threads_disagree<R: Reclaim>() {
    let cache = two_entries::<R>();
    scope(|scope| {
        let reader = |keys: [u64; 2]| {
            let (go, wait): (Sender<()>, Receiver<()>) = channel();
            let (ready, is_ready) = channel();
            let cache = &cache;
            let thread = scope.spawn(move || {
                commit(cache, |tx| {
                    let first = tx.get(&keys[0]);
                    ready.send(()).unwrap();
                    wait.recv().unwrap();
                    [first, tx.get(&keys[1])]
                })
            });
            is_ready.recv().unwrap();
            (go, thread)
        };
        let (go_one, one) = reader([X, Y]);
        commit(&cache, |tx| tx.insert(Y, 2));
        let (go_other, other) = reader([Y, X]);
        commit(&cache, |tx| tx.insert(X, 1));
        go_one.send(()).unwrap();
        go_other.send(()).unwrap();
        assert_eq!(one.join().unwrap(), ([Some(10), Some(20)], 1));
        assert_eq!(other.join().unwrap(), ([Some(2), Some(10)], 1));
    });
}

const ACCOUNTS: [u64; 3] = [1, 2, 3];

fn accounts<R: Reclaim>() -> Cache<R> {
    let cache = store();
    cache.insert_many(ACCOUNTS.map(|account| (account, 100)));
    cache
}

fn transfer<R: Reclaim>(tx: &mut Tx<'_, R>, from: u64, to: u64, amount: u64) {
    tx.update(from, |held| held - amount).unwrap();
    tx.update(to, |held| held + amount).unwrap();
}

/// The sum of all accounts as each kind of reader finds it; the last one is a derived value.
fn sums<R: Reclaim>(cache: &Cache<R>) -> [u64; 4] {
    let sum = |found: [Option<u64>; 3]| found.into_iter().flatten().sum();
    [
        sum(cache.get_many(ACCOUNTS.each_ref())),
        cache.view().iter().filter(|(key, _)| **key < 10).map(|(_, held)| *held).sum(),
        commit(cache, |tx| sum(tx.get_many(ACCOUNTS.each_ref()))).0,
        cache.derive(10, |scope| ACCOUNTS.iter().filter_map(|account| scope.get(account)).sum()),
    ]
}

/// Transfers between three accounts, one in the midst of the other, and audits between all steps.
fn money_is_never_in_between<R: Reclaim>() {
    let (cache, first) = (accounts::<R>(), once());
    let audit = || assert_eq!(sums(&cache), [300; 4]);
    let before = cache.view();
    audit();
    let (_, runs) = commit(&cache, |outer| {
        let held = outer.get(&1).unwrap();
        outer.insert(1, held - 10);
        if first() {
            audit();
            commit(&cache, |inner| {
                transfer(inner, 2, 3, 20);
                audit();
            });
            audit();
            commit(&cache, |inner| transfer(inner, 3, 1, 5));
        }
        let held = outer.get(&2).unwrap();
        outer.insert(2, held + 10);
        audit();
    });
    assert_eq!(runs, 2);
    audit();
    let held = cache.get_many(ACCOUNTS.each_ref());
    assert_eq!(held, [Some(95), Some(90), Some(115)]);
    assert_eq!(before.get_many(ACCOUNTS.each_ref()), [Some(&100); 3]);
}

/// A transfer that is given up, or panics, between its two writes.
fn half_a_transfer_is_none<R: Reclaim>() {
    let cache = accounts::<R>();
    let given_up = cache.transact(|tx| {
        tx.update(1, |held| held - 10);
        assert_eq!(sums(&cache), [300; 4]);
        Err::<(), _>("no such account")
    });
    assert!(given_up.is_err());
    let halves = std::panic::AssertUnwindSafe(|| {
        commit(&cache, |tx| {
            tx.update(1, |held| held - 10);
            panic!("between two writes");
        })
    });
    assert!(std::panic::catch_unwind(halves).is_err());
    assert_eq!(sums(&cache), [300; 4]);
    assert_eq!(cache.get(&1), Some(100));
}

on_every_reclaimer!(
    no_two_readers_disagree,
    no_two_threads_disagree,
    money_is_never_in_between,
    half_a_transfer_is_none,
);
