//! Promise: no anomaly of isolation, each by the interleaving that is known for it. The steps of
//! the outer transaction go on within the closure of the inner one. The inner one commits first.
//!
//! The names are those of Adya (1999), of the *Hermitage* tests (G0 to G2, OTV, PMP, P4), and of
//! Elle. In all cases x is key 1 and holds 10, y is key 2 and holds 20, and no other key is there.

mod ended_reads;
mod leases_and_derived;
mod readers;

use crate::common::{Store, on_every_reclaimer, store};
use coeval::reclaim::Reclaim;
use coeval::{TransactError, Transaction};
use std::cell::Cell;

pub(crate) type Cache<R> = Store<u64, u64, R>;
pub(crate) type Tx<'c, R> = Transaction<'c, u64, u64, coeval::RandomState, R>;

pub(crate) const X: u64 = 1;
pub(crate) const Y: u64 = 2;

/// A cache in which x is 10 and y is 20.
pub(crate) fn two_entries<R: Reclaim>() -> Cache<R> {
    let cache = store();
    cache.batch().insert(X, 10).insert(Y, 20).commit();
    cache
}

/// Runs a transaction to its commit. Returns what it returned, and how often it ran.
pub(crate) fn commit<T, R: Reclaim>(
    cache: &Cache<R>,
    mut steps: impl FnMut(&mut Tx<'_, R>) -> T,
) -> (T, u32) {
    let mut runs = 0;
    let committed = cache.atomically(|tx| {
        runs += 1;
        steps(tx)
    });
    (committed.unwrap().value, runs)
}

/// True the first time.
pub(crate) fn once() -> impl Fn() -> bool {
    let is_first = Cell::new(true);
    move || is_first.replace(false)
}

/// x and y at one instant, as each kind of read shows them.
#[track_caller]
pub(crate) fn assert_holds<R: Reclaim>(cache: &Cache<R>, x: Option<u64>, y: Option<u64>) {
    assert_eq!(cache.get_many([&X, &Y]), [x, y]);
    let view = cache.view();
    assert_eq!([view.get(&X).copied(), view.get(&Y).copied()], [x, y]);
    assert_eq!(commit(cache, |tx| tx.get_many([&X, &Y])), ([x, y], 1));
}

/// G0, write cycle: two transactions write both keys, by turns.
fn g0_writes_do_not_mix<R: Reclaim>() {
    let (cache, first) = (two_entries::<R>(), once());
    let (_, runs) = commit(&cache, |outer| {
        outer.insert(X, 11);
        if first() {
            commit(&cache, |inner| {
                inner.insert(X, 12);
                outer.insert(Y, 21);
                inner.insert(Y, 22);
            });
            assert_holds(&cache, Some(12), Some(22));
        }
        outer.insert(Y, 21);
    });
    // It has read nothing, so nothing could have disturbed it.
    assert_eq!(runs, 1);
    assert_holds(&cache, Some(11), Some(21));
}

/// G1a, aborted read: nobody sees what a transaction wrote that was given up, at any time.
fn g1a_aborted_writes_are_not_seen<R: Reclaim>() {
    let cache = two_entries::<R>();
    let given_up = cache.transact(|outer| -> Result<(), &str> {
        outer.insert(X, 101);
        outer.remove(Y);
        assert_holds(&cache, Some(10), Some(20));
        let (read, runs) = commit(&cache, |inner| {
            let read = inner.get(&X).unwrap();
            inner.insert(3, read);
            read
        });
        assert_eq!((read, runs), (10, 1));
        Err("given up")
    });
    assert_eq!(given_up, Err(TransactError::Aborted("given up")));
    assert_holds(&cache, Some(10), Some(20));
    assert_eq!(cache.get(&3), Some(10));
}

/// G1b, intermediate read: nobody sees a value that its transaction wrote over.
fn g1b_intermediate_writes_are_not_seen<R: Reclaim>() {
    let cache = two_entries::<R>();
    let look = |x| {
        assert_holds(&cache, Some(x), Some(20));
        assert_eq!(commit(&cache, |inner| inner.get(&X)), (Some(x), 1));
    };
    commit(&cache, |outer| {
        outer.insert(X, 101);
        look(10);
        outer.insert(X, 11);
        look(10);
    });
    look(11);
}

/// G1c, circular information flow: of two transactions, each writes what the other one reads.
fn g1c_information_does_not_flow_in_a_circle<R: Reclaim>() {
    let (cache, first) = (two_entries::<R>(), once());
    let (y, runs) = commit(&cache, |outer| {
        outer.insert(X, 11);
        if first() {
            let (x, runs) = commit(&cache, |inner| {
                inner.insert(Y, 22);
                assert_eq!(outer.get(&Y), Some(20));
                inner.get(&X)
            });
            assert_eq!((x, runs), (Some(10), 1));
        }
        outer.get(&Y)
    });
    assert_eq!((y, runs), (Some(22), 2));
    assert_holds(&cache, Some(11), Some(22));
}

/// OTV, observed transaction vanishes: whoever has seen a commit sees all of it, and nothing of it
/// goes.
fn otv_an_observed_transaction_does_not_vanish<R: Reclaim>() {
    let cache = two_entries::<R>();
    let write = |x, y| {
        commit(&cache, |tx| {
            tx.insert(X, x);
            tx.insert(Y, y);
        })
    };
    write(11, 19);
    let view = cache.view();
    let (seen, runs) = commit(&cache, |reader| {
        let before = reader.get(&X);
        write(12, 18);
        [before, reader.get(&Y), reader.get(&X)]
    });
    assert_eq!((seen, runs), ([Some(11), Some(19), Some(11)], 1));
    assert_eq!([view.get(&X), view.get(&Y)], [Some(&11), Some(&19)]);
    assert_holds(&cache, Some(12), Some(18));
}

/// PMP, predicate-many-preceders: the same question has the same answer, new entries included.
fn pmp_no_entry_appears_between_two_reads<R: Reclaim>() {
    let (cache, first) = (two_entries::<R>(), once());
    let thirds = [&X, &Y, &3, &4];
    let view = cache.view();
    let (sums, runs) = commit(&cache, |outer| {
        let before: u64 = outer.get_many(thirds).into_iter().flatten().sum();
        if first() {
            commit(&cache, |inner| inner.insert(3, 30));
            cache.insert(4, 40);
        }
        let after: u64 = outer.get_many(thirds).into_iter().flatten().sum();
        assert_eq!(before, after);
        outer.insert(5, after);
        after
    });
    assert_eq!((sums, runs), (100, 2));
    assert_eq!((view.iter().count(), view.len(), cache.view().len()), (2, 2, 5));
}

/// PMP, for writes: what a transaction removes is what it has judged.
fn pmp_a_removal_by_value_removes_what_it_saw<R: Reclaim>() {
    let (cache, first) = (two_entries::<R>(), once());
    let (removed, _) = commit(&cache, |outer| {
        let twenty: Vec<u64> =
            [X, Y].into_iter().filter(|key| outer.get(key) == Some(20)).collect();
        if first() {
            commit(&cache, |inner| {
                inner.update(X, |x| x + 10);
                inner.update(Y, |y| y + 10);
            });
        }
        twenty.iter().for_each(|key| outer.remove(*key));
        twenty
    });
    assert_eq!(removed, [X]);
    assert_holds(&cache, None, Some(30));
}

/// P4, lost update.
fn p4_no_update_is_lost<R: Reclaim>() {
    type Change<R> = fn(&Cache<R>);
    let changes: [Change<R>; 6] = [
        |cache| _ = commit(cache, |inner| inner.update(X, |x| x + 1)),
        |cache| {
            commit(cache, |inner| {
                let x = inner.get(&X).unwrap();
                inner.insert(X, x + 1);
            });
        },
        |cache| {
            let (x, version) = cache.get_versioned(&X).unwrap();
            cache.compare_and_set(X, Some(version), x + 1).unwrap();
        },
        |cache| _ = cache.upsert(X, |x| x.map_or(0, |x| x + 1)),
        |cache| _ = cache.batch().insert(X, cache.get(&X).unwrap() + 1).commit(),
        |cache| _ = cache.insert(X, 11),
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let (cache, first) = (two_entries::<R>(), once());
        let (_, runs) = commit(&cache, |outer| {
            let x = outer.get(&X).unwrap();
            if first() {
                change(&cache);
            }
            outer.insert(X, x + 1);
        });
        assert_eq!((cache.get(&X), runs), (Some(12), 2), "{at}");
        // The other way round: the transaction commits between a read and a set.
        let (x, version) = cache.get_versioned(&X).unwrap();
        commit(&cache, |inner| inner.update(X, |x| x + 1));
        assert!(cache.compare_and_set(X, Some(version), x + 1).is_err(), "{at}");
        assert_eq!(cache.get(&X), Some(13), "{at}");
    }
}

/// G-single, read skew: a reader sees all of a commit or nothing of it; and a transaction that
/// writes by what it saw before such a commit is tried again.
fn g_single_reads_are_not_skewed<R: Reclaim>() {
    let (cache, first) = (two_entries::<R>(), once());
    let (seen, runs) = commit(&cache, |outer| {
        let x = outer.get(&X);
        if first() {
            commit(&cache, |inner| {
                inner.insert(X, 12);
                inner.insert(Y, 18);
            });
        }
        [x, outer.get(&Y)]
    });
    assert_eq!((seen, runs), ([Some(10), Some(20)], 1));

    let (cache, first) = (two_entries::<R>(), once());
    let (y, runs) = commit(&cache, |outer| {
        let x = outer.get(&X).unwrap();
        if first() {
            commit(&cache, |inner| {
                inner.insert(X, 12);
                inner.insert(Y, 18);
            });
        }
        let y = outer.get(&Y).unwrap();
        assert_eq!(x + y, 30);
        outer.remove(Y);
        y
    });
    assert_eq!((y, runs), (18, 2));
    assert_holds(&cache, Some(12), None);
}

/// G2-item, write skew: two transactions read both keys, and each writes another one.
fn g2_item_no_write_skew<R: Reclaim>() {
    let (cache, first) = (two_entries::<R>(), once());
    // Each takes 20 from one of them, if the two have 30 together.
    let take = |tx: &mut Tx<'_, R>, key| {
        let sum: u64 = tx.get_many([&X, &Y]).into_iter().flatten().sum();
        if sum >= 30 {
            tx.insert(key, 0);
        }
    };
    let (_, runs) = commit(&cache, |outer| {
        let sum: u64 = outer.get_many([&X, &Y]).into_iter().flatten().sum();
        if first() {
            commit(&cache, |inner| take(inner, Y));
        }
        if sum >= 30 {
            outer.insert(X, 0);
        }
    });
    assert_eq!(runs, 2);
    assert_holds(&cache, Some(10), Some(0));
}

/// G2: the same with keys that are absent, as a predicate would find them.
fn g2_two_do_not_both_find_room<R: Reclaim>() {
    let (cache, first) = (two_entries::<R>(), once());
    let seats = [&3, &4];
    let (_, runs) = commit(&cache, |outer| {
        let is_free = outer.get_many(seats) == [None, None];
        if first() {
            commit(&cache, |inner| {
                assert_eq!(inner.get_many(seats), [None, None]);
                inner.insert(4, 1);
            });
        }
        if is_free {
            outer.insert(3, 1);
        }
    });
    assert_eq!((cache.get_many(seats), runs), ([None, Some(1)], 2));
}

/// G2 with two anti-dependencies, the anomaly of a transaction that only reads (Fekete, O'Neil and
/// O'Neil 2004): what a reader saw in between fixes the order of the other two.
fn g2_a_reader_makes_no_anomaly<R: Reclaim>() {
    let (cache, first) = (two_entries::<R>(), once());
    let reader = Cell::new([None, None]);
    let (seen, runs) = commit(&cache, |outer| {
        let seen = outer.get_many([&X, &Y]);
        if first() {
            commit(&cache, |inner| inner.update(Y, |y| y + 5));
            let (saw, runs) = commit(&cache, |inner| inner.get_many([&X, &Y]));
            assert_eq!(runs, 1);
            reader.set(saw);
        }
        outer.insert(X, 0);
        seen
    });
    assert_eq!(reader.get(), [Some(10), Some(25)]);
    // The reader saw y changed and x not: so the outer transaction comes after the change of y.
    assert_eq!((seen, runs), ([Some(10), Some(25)], 2));
    assert_holds(&cache, Some(0), Some(25));
}

on_every_reclaimer!(
    g0_writes_do_not_mix,
    g1a_aborted_writes_are_not_seen,
    g1b_intermediate_writes_are_not_seen,
    g1c_information_does_not_flow_in_a_circle,
    otv_an_observed_transaction_does_not_vanish,
    pmp_no_entry_appears_between_two_reads,
    pmp_a_removal_by_value_removes_what_it_saw,
    p4_no_update_is_lost,
    g_single_reads_are_not_skewed,
    g2_item_no_write_skew,
    g2_two_do_not_both_find_room,
    g2_a_reader_makes_no_anomaly,
);
