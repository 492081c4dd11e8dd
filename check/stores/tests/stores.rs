//! No anomaly in stores that promise transactions; real ones in stores that are used key by key.
//! `COEVAL_CHECK_TRANSACTIONS` sets how many transactions each thread makes (1,000 by default).

use coeval::reclaim::{Asymmetric, CrossbeamEpoch, Reclaim, Seize};
use coeval_check::linear::linearizable_keys;
use coeval_check::{Anomaly, Checker, Recorder, Report};
use coeval_check_stores::{Dash, Held, Locked, Mixed, Moka, Store, Transact, Views, Work, record};
use std::sync::Arc;

fn work(seed: u64) -> Work {
    let transactions = match std::env::var("COEVAL_CHECK_TRANSACTIONS") {
        Ok(number) => number.parse().expect("COEVAL_CHECK_TRANSACTIONS is a number"),
        Err(_) => 1_000,
    };
    Work { threads: 4, transactions, seed }
}

fn report(store: &dyn Store, work: Work) -> Report {
    let report = Checker::new().check(&record(store, work)).expect("it is well-formed");
    assert!(report.dependencies() > work.transactions as usize, "too little was seen");
    report
}

#[track_caller]
fn assert_clean(store: &dyn Store) {
    let report = report(store, work(1));
    assert!(report.is_clean(), "{}: {report}", store.name());
}

fn coeval_is_clean<R: Reclaim>() {
    assert_clean(&Transact::<R>::default());
    assert_clean(&Views::<R>::default());
    assert_clean(&Mixed::<R>::default());
}

#[test]
fn coeval_on_the_default_backend() {
    coeval_is_clean::<Asymmetric>();
}

#[test]
fn coeval_on_crossbeam_epoch() {
    coeval_is_clean::<CrossbeamEpoch>();
}

#[test]
fn coeval_on_seize() {
    coeval_is_clean::<Seize>();
}

#[test]
fn a_map_that_is_locked_for_each_transaction() {
    assert_clean(&Locked::default());
}

/// Repeats until all of these were seen.
#[track_caller]
fn assert_shows<S: Store + Default>(expected: &[Anomaly]) {
    let mut missing = expected.to_vec();
    for seed in 1..200 {
        let report = report(&S::default(), Work { transactions: 500, ..work(seed) });
        missing.retain(|anomaly| !report.has(*anomaly));
        if missing.is_empty() {
            return;
        }
    }
    panic!("{} never showed {missing:?}", S::default().name());
}

#[test]
fn dashmap_key_by_key_has_no_transactions() {
    assert_shows::<Dash>(&[Anomaly::LostUpdate, Anomaly::G1c, Anomaly::GSingle]);
}

#[test]
fn moka_key_by_key_has_no_transactions() {
    assert_shows::<Moka>(&[Anomaly::LostUpdate, Anomaly::G1c, Anomaly::GSingle]);
}

/// Runs single reads, writes and removals of two keys on four threads, and judges each key.
fn assert_linearizable(
    read: impl Fn(u64) -> Option<Held> + Sync,
    write: impl Fn(u64, Held) + Sync,
    remove: impl Fn(u64) + Sync,
) {
    let recorder = Recorder::new();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (mut log, read, write, remove) = (recorder.log(), &read, &write, &remove);
            scope.spawn(move || {
                for at in 0..2_000 {
                    let (key, mut tx) = (at % 2, log.begin());
                    match (at / 2 + thread) % 4 {
                        0 => {
                            write(key, Arc::new(vec![at * 4 + thread]));
                            tx.write(key, at * 4 + thread);
                        }
                        1 if at % 3 == 0 => {
                            remove(key);
                            tx.remove(key);
                        }
                        _ => tx.read(key, read(key).map(|held| held[0])),
                    }
                    tx.commit();
                }
            });
        }
    });
    let (refused, too_hard) = linearizable_keys(&recorder.history());
    assert!(refused.is_empty() && too_hard.is_empty(), "{refused:?} {too_hard:?}");
}

#[test]
fn each_key_by_itself_is_linearizable() {
    let map = dashmap::DashMap::new();
    assert_linearizable(
        |key| map.get(&key).map(|held: dashmap::mapref::one::Ref<'_, u64, Held>| held.clone()),
        |key, held| _ = map.insert(key, held),
        |key| _ = map.remove(&key),
    );
    let cache = moka::sync::Cache::builder().build();
    assert_linearizable(
        |key| cache.get(&key),
        |key, held| cache.insert(key, held),
        |key| cache.invalidate(&key),
    );
    let cache = coeval::Cache::new();
    assert_linearizable(
        |key| cache.get(&key),
        |key, held| _ = cache.insert(key, held),
        |key| _ = cache.remove(&key),
    );
}
