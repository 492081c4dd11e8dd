//! Claim: overlapping batches, with any pattern of helping, are each decided once and installed
//! once in every key, lose no version, and end. A concurrent reader finds a batch in all of its
//! keys or in none.
//!
//! Readers in this file read one key after the other, each at its newest version. Every batch
//! writes both keys. So a reader that has seen a batch in one key must find that batch, or a later
//! one, in the key that it reads next.
#![cfg(any(coeval_loom, coeval_internals))]
#![allow(clippy::undocumented_unsafe_blocks)]

use coeval::internals::commit::Descriptor;
use coeval::internals::version::State;
use loom_tests::loom::thread;
use loom_tests::with_one_order;
use loom_tests::{Keys, Shared, explore, must_fail};

/// Checks that each version of each commit is in its chain exactly once, with the outcome of the
/// commit.
fn assert_complete<const N: usize>(
    keys: &Keys<u32, N>,
    commits: &[(Shared<Descriptor<usize, u32>>, State)],
) {
    keys.assert_ordered();
    for &(commit, outcome) in commits {
        assert!(outcome.is_committed());
        for entry in unsafe { &*commit.get() }.entries() {
            let key = *unsafe { &*entry.record }.key();
            let chain = keys.chain(key);
            let found: Vec<_> = chain.iter().filter(|(n, _)| n.get() == entry.node).collect();
            assert_eq!(found.len(), 1, "a version was lost");
            assert_eq!(found[0].1, outcome, "decided twice");
        }
    }
}

/// Runs batches of these keys, each in a thread of its own.
fn overlapping<const N: usize, const T: usize>(preemptions: usize, batches: [&'static [usize]; T]) {
    explore(preemptions, move || {
        let keys = Keys::<u32, N>::new();
        // All batches are described first, so all but one begin with an outdated guess of the
        // heads.
        let commits = std::array::from_fn::<_, T, _>(|number| {
            keys.describe(batches[number].iter().map(|&key| (key, Some(number as u32))), vec![])
        });
        let threads = commits.map(|commit| thread::spawn(move || (commit, keys.run(commit))));
        let commits = threads.map(|thread| thread.join().unwrap());
        assert_complete(keys, &commits);
    });
}

/// A ring of three batches: each meets each other one in a different key.
const RING: [&[usize]; 3] = [&[0, 1], &[1, 2], &[0, 2]];

/// The batches of a ring, of which the first `begun` have installed their first version. The second
/// batch is then in the way of the first, and the first is in the way of the third. The outcomes
/// are copied when all batches have ended, except where a helper copies one earlier.
fn ring(begun: usize) -> impl Fn() + Send + Sync + 'static {
    move || {
        let keys = Keys::<u32, 3>::new();
        let commits =
            RING.map(|batch| keys.describe(batch.iter().map(|&key| (key, Some(0))), vec![]));
        for commit in &commits[..begun] {
            let first = &unsafe { &*commit.get() }.entries()[0];
            let record = unsafe { &*first.record };
            assert!(record.install(record.head(), first.node));
        }
        let threads = commits.map(|commit| thread::spawn(move || keys.help(commit)));
        let decided = threads.map(|thread| thread.join().unwrap());
        let outcomes = commits.map(|commit| keys.run(commit));
        assert_eq!(decided, outcomes, "decided twice");
        assert_complete(keys, &std::array::from_fn::<_, 3, _>(|at| (commits[at], outcomes[at])));
    }
}

/// If loads may return outdated values, a ring is too large to be explored completely.
#[test]
fn three_batches_in_a_ring_in_one_order() {
    with_one_order(|| explore(1, ring(0)));
}

#[test]
fn three_batches_in_a_ring_that_have_begun_in_one_order() {
    with_one_order(|| explore(2, ring(2)));
}

#[test]
#[ignore = "not complete after minutes; LOOM_SECONDS sets the time limit"]
fn three_batches_in_a_ring() {
    explore(2, ring(0));
}

#[test]
fn defect_ready_before_all_of_a_ring_are_installed() {
    must_fail("commit.ready_early", "a version was lost", || {
        with_one_order(|| explore(1, ring(2)))
    });
}

#[test]
fn two_batches_of_two() {
    overlapping::<2, 2>(2, [&[0, 1], &[0, 1]]);
}

#[test]
fn two_batches_of_three() {
    overlapping::<3, 2>(1, [&[0, 1, 2], &[0, 1, 2]]);
}

#[test]
fn two_batches_that_meet_in_the_last_key() {
    overlapping::<3, 2>(2, [&[0, 2], &[1, 2]]);
}

#[test]
#[ignore = "takes minutes"]
fn three_commits_of_one_key() {
    overlapping::<1, 3>(1, [&[0], &[0], &[0]]);
}

/// Two helpers of a commit whose first guess is outdated, and a concurrent write.
fn helpers_beside_a_write() {
    explore(3, || {
        let keys = Keys::<u32, 1>::new();
        keys.write(0, Some(0));
        let commit = keys.describe([(0, Some(1))], vec![]);
        keys.write(0, Some(2));
        let helper = thread::spawn(move || keys.run(commit));
        let other = thread::spawn(move || {
            keys.write(0, Some(3));
            keys.run(commit)
        });
        let outcome = other.join().unwrap();
        assert_eq!(helper.join().unwrap(), outcome, "decided twice");
        assert_complete(keys, &[(commit, outcome)]);
        assert_eq!(keys.chain(0).len(), 4, "a version was lost");
    });
}

#[test]
fn helpers_lose_nothing() {
    helpers_beside_a_write();
}

/// A batch of two keys, and a thread that reads `first` and then the other key. Before that, the
/// thread helps that batch, runs a batch of its own, or does nothing.
fn reader_beside(preemptions: usize, first: usize, before: Option<usize>) {
    explore(preemptions, move || {
        let keys = Keys::<u32, 2>::new();
        keys.write(0, Some(0));
        keys.write(1, Some(0));
        let batch = |number| keys.describe([(0, Some(number)), (1, Some(number))], vec![]);
        let commits = [batch(1), batch(2)];
        let writer = thread::spawn(move || keys.run(commits[0]));
        let reader = thread::spawn(move || {
            before.map(|commit| keys.run(commits[commit]));
            let (_, one) = keys.newest(first).unwrap();
            let (_, other) = keys.newest(1 - first).unwrap();
            let batched = one > 2; // 1 and 2 are single writes
            assert!(!batched || other >= one, "a batch was torn: {one}, {other}");
        });
        reader.join().unwrap();
        writer.join().unwrap();
        keys.assert_ordered();
    });
}

#[test]
fn a_reader_beside_a_batch() {
    reader_beside(2, 0, None);
    reader_beside(2, 1, None);
}

#[test]
fn a_reader_beside_two_batches() {
    reader_beside(1, 0, Some(1));
    reader_beside(1, 1, Some(1));
}

#[test]
fn a_reader_that_helped() {
    reader_beside(2, 0, Some(0));
    reader_beside(2, 1, Some(0));
}

#[test]
fn defect_going_on_without_prev() {
    must_fail("commit.ignore_failed_prev", "a version was lost", helpers_beside_a_write);
}

#[test]
fn defect_ready_before_all_are_installed() {
    must_fail("commit.ready_early", "torn", || reader_beside(2, 0, None));
}

#[test]
fn defect_the_hint_does_not_synchronize() {
    must_fail("commit.relaxed_hint", "torn", || reader_beside(2, 0, Some(0)));
}
