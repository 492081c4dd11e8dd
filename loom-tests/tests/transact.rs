//! Claim: a transaction commits only if everything that it has read is unchanged when it commits,
//! including keys that it does not write. The witness that it puts on such a key goes again. A head
//! does not come back while a thread remembers it.
//!
//! The models run the commit protocol alone, and the whole cache.
#![cfg(any(coeval_loom, coeval_internals))]
#![allow(clippy::undocumented_unsafe_blocks)]

use coeval::internals::commit::{Descriptor, Expected, Precondition, withdraw};
use coeval::internals::reclaim::{Garbage, Reclaim};
use coeval::internals::version::State;
use coeval::{Tag, Transaction, Version};
use loom_tests::loom::sync::atomic::{AtomicBool, Ordering::Relaxed};
use loom_tests::loom::thread;
use loom_tests::with_one_order;
use loom_tests::{Exact, Hash, Keys, NONE, Scheme, Shared, Small, explore, leak, must_fail};
use std::convert::Infallible;
use std::ptr;
use std::sync::Arc;

type Tx<'t> = Transaction<'t, usize, u32, Hash, Scheme>;

fn cache() -> Arc<Small> {
    Arc::new(coeval::Cache::builder().hasher(Hash).reclaimer::<Scheme>().build())
}

fn spawn<T: 'static>(
    cache: &Arc<Small>,
    run: impl FnOnce(&Small) -> T + 'static,
) -> thread::JoinHandle<T> {
    let cache = Arc::clone(cache);
    thread::spawn(move || run(&cache))
}

/// The result of a transaction and its version, unless each attempt was disturbed.
fn transact<T>(cache: &Small, body: impl Fn(&mut Tx<'_>) -> T) -> Option<(T, Version)> {
    let committed = cache.transact(|tx| Ok::<_, Infallible>(body(tx)));
    committed.ok().map(|committed| (committed.value, committed.version))
}

/// Two transactions each write their key if the key of the other is absent. The cache knows the
/// keys, because leases hold them, or it knows nothing of them.
fn each_reads_the_others_write(preemptions: usize, are_known: bool) {
    explore(preemptions, move || {
        let cache = cache();
        let leases = are_known.then(|| [0, 1].map(|key| cache.lease(&key)));
        let step = |mine: usize, other: usize| {
            move |cache: &Small| {
                transact(cache, |tx| {
                    if tx.get(&other).is_none() {
                        tx.insert(mine, 1);
                    }
                });
            }
        };
        let (one, two) = (spawn(&cache, step(0, 1)), spawn(&cache, step(1, 0)));
        one.join().unwrap();
        two.join().unwrap();
        let [first, second] = cache.get_many([&0, &1]);
        assert!(first.is_none() || second.is_none(), "each committed without seeing the other");
        drop(leases);
    });
}

#[test]
fn there_is_no_write_skew() {
    with_one_order(|| each_reads_the_others_write(0, true));
}

#[test]
fn there_is_no_write_skew_between_unknown_keys() {
    with_one_order(|| each_reads_the_others_write(0, false));
}

#[test]
#[ignore = "takes half a minute"]
fn there_is_no_write_skew_between_unknown_keys_at_length() {
    with_one_order(|| each_reads_the_others_write(1, false));
}

#[test]
#[ignore = "takes minutes"]
fn there_is_no_write_skew_at_length() {
    with_one_order(|| each_reads_the_others_write(1, true));
}

#[test]
fn defect_reading_without_witnesses() {
    let kind = "each committed without seeing the other";
    must_fail("transact.reads_unwitnessed", kind, || each_reads_the_others_write(2, true));
}

#[test]
fn defect_reading_unknown_keys_unchecked() {
    let kind = "each committed without seeing the other";
    must_fail("transact.unknown_unchecked", kind, || each_reads_the_others_write(2, false));
}

/// A transaction finds no record of a key, beside a write of that key.
fn beside_a_write_of_an_unknown_key() {
    explore(2, || {
        let cache = cache();
        let reader = spawn(&cache, |cache| {
            transact(cache, |tx| {
                let found = tx.get(&0);
                tx.insert(1, 1);
                found
            })
        });
        let other = spawn(&cache, |cache| cache.insert(0, 7));
        let (read, written) = (reader.join().unwrap(), other.join().unwrap());
        if let Some((found, version)) = read {
            assert_eq!(
                found.is_some(),
                written < version,
                "{found:?} at {version}, written at {written}"
            );
        }
    });
}

#[test]
fn an_unknown_key_that_is_written_meanwhile() {
    beside_a_write_of_an_unknown_key();
}

#[test]
fn defect_passing_by_writes_of_unknown_keys() {
    let kind = "written at";
    must_fail("transact.unknown_unchecked", kind, beside_a_write_of_an_unknown_key);
}

/// A transaction reads a tagged value, beside an invalidation of the tag.
fn beside_an_invalidation() {
    explore(2, || {
        let cache = cache();
        cache.insert_tagged(0, 1, &[Tag::from(7)]);
        let reader = spawn(&cache, |cache| {
            transact(cache, |tx| {
                let found = tx.get(&0);
                tx.insert(1, 1);
                found
            })
        });
        let other = spawn(&cache, |cache| cache.invalidate_tag(7));
        let (read, ended) = (reader.join().unwrap(), other.join().unwrap());
        if let Some((found, version)) = read {
            assert_eq!(
                found.is_some(),
                version < ended,
                "{found:?} at {version}, ended at {ended}"
            );
        }
    });
}

#[test]
fn a_tag_that_is_invalidated_meanwhile() {
    beside_an_invalidation();
}

#[test]
fn defect_passing_by_tags() {
    must_fail("transact.tags_undemanded", "ended at", beside_an_invalidation);
}

/// Two commits, each of which demands that the key that the other one writes is unchanged.
fn commits_that_demand_each_others_keys(preemptions: usize) {
    explore(preemptions, || {
        let keys = Keys::<u32, 2>::new();
        let precondition =
            |entry| vec![Expected { entry, precondition: Precondition::UnchangedSince(0) }];
        let one = keys.describe_all([(0, Some(Some(1))), (1, None)], precondition(1));
        let two = keys.describe_all([(0, None), (1, Some(Some(2)))], precondition(0));
        let threads = [one, two].map(|commit| thread::spawn(move || keys.run(commit)));
        let outcomes = threads.map(|thread| thread.join().unwrap());
        let made = outcomes.map(State::is_committed);
        assert!(made[0] != made[1], "exactly one of the two must be made: {made:?}");
        assert_eq!(
            [0, 1].map(|key| keys.newest(key).is_some()),
            made,
            "a witness must not be visible"
        );
        keys.assert_ordered();
    });
}

#[test]
fn of_two_commits_that_demand_each_others_keys_one_is_made() {
    commits_that_demand_each_others_keys(3);
}

/// An aborted commit that is helped, beside one with a witness. The witness is withdrawn when its
/// commit is decided: a grace period later, or at once.
fn a_late_helper_beside_a_withdrawal(preemptions: usize, has_grace: bool) {
    explore(preemptions, move || {
        let keys = Keys::<u32, 1>::new();
        keys.write(0, Some(1));
        let precondition =
            |since| vec![Expected { entry: 0, precondition: Precondition::UnchangedSince(since) }];
        let aborted = keys.describe([(0, Some(2))], precondition(0));
        let with_witness = keys.describe_all([(0, None)], precondition(1));
        let node = Shared(unsafe { &*aborted.get() }.entries()[0].node);
        let scheme: &Exact = unsafe { &*leak(Exact::new()) };
        let is_retired: &AtomicBool = unsafe { &*leak(AtomicBool::new(false)) };
        let note = move |retired| {
            if retired == node.get() {
                is_retired.store(true, Relaxed);
            }
        };
        let owner = thread::spawn(move || {
            let _guard = scheme.pin();
            assert!(keys.run_and(aborted, note).is_aborted());
        });
        let helper = thread::spawn(move || {
            let _guard = scheme.pin();
            keys.help_and(aborted, note);
        });
        let transaction = thread::spawn(move || {
            let guard = scheme.pin();
            assert!(keys.run_and(with_witness, note).is_committed());
            if has_grace {
                let object = with_witness.get().cast();
                let context = ptr::from_ref(keys).cast();
                unsafe { scheme.retire(&guard, Garbage { object, context, reclaim: withdrawn }) };
            } else {
                unsafe { withdrawn(with_witness.get().cast(), ptr::from_ref(keys).cast()) };
            }
        });
        for thread in [owner, helper, transaction] {
            thread.join().unwrap();
        }
        scheme.collect();
        let top = keys.records[0].head().node();
        assert!(!is_retired.load(Relaxed) || top != node.get(), "on top again, though retired");
        assert_eq!(keys.newest(0).map(|(value, _)| *value), Some(1));
    });
}

unsafe fn withdrawn(commit: *mut (), keys: *const ()) {
    let (commit, keys) =
        unsafe { (&*commit.cast::<Descriptor<usize, u32>>(), &*keys.cast::<Keys<u32, 1>>()) };
    unsafe { withdraw(keys.records[0], commit.entries()[0].node) };
}

#[test]
fn a_remembered_head_does_not_come_back() {
    a_late_helper_beside_a_withdrawal(1, true);
}

#[test]
#[ignore = "takes minutes"]
fn a_remembered_head_does_not_come_back_at_length() {
    a_late_helper_beside_a_withdrawal(2, true);
}

#[test]
fn a_witness_must_not_be_withdrawn_at_once() {
    must_fail(NONE, "on top again", || a_late_helper_beside_a_withdrawal(2, false));
}

/// A transaction has read key 0, and another thread writes key 0 before or after the witness is
/// withdrawn.
fn beside_a_writer() {
    with_one_order(|| {
        explore(1, || {
            let cache =
                Arc::new(coeval::Cache::builder().hasher(Hash).reclaimer::<Exact>().build());
            cache.insert(0, 7);
            let (mine, others) = (Arc::clone(&cache), Arc::clone(&cache));
            let reader = thread::spawn(move || {
                let committed = mine.transact(|tx| {
                    let found = tx.get(&0);
                    tx.insert(1, found.unwrap());
                    Ok::<_, Infallible>(())
                });
                drop(committed);
                mine.insert(2, 0);
            });
            let writer = thread::spawn(move || {
                others.insert(0, 8);
                assert_eq!(others.get(&0), Some(8), "a withdrawn version replaced it");
            });
            reader.join().unwrap();
            writer.join().unwrap();
            cache.insert(2, 1);
            assert_eq!(cache.get(&0), Some(8), "a withdrawn version replaced it");
        });
    });
}

#[test]
fn a_write_that_supersedes_a_witness_stays() {
    beside_a_writer();
}
