//! Tests of the checker itself: hand-made histories. Each bad one is next to a good one that
//! differs in one detail.

use crate::history::check::check;
use crate::history::{Key, Op, Read, Seen, Value, What};

type Made = Op<u64>;

/// An operation of `thread` between two moments.
fn op(thread: usize, (start, end): (u64, u64), what: What<u64>) -> Made {
    Op { thread, start, end, what }
}

fn commit(version: u64, writes: &[(Key, Option<Value>)]) -> What<u64> {
    What::Commit { version, writes: writes.to_vec(), found: Vec::new() }
}

fn insert(version: u64, key: Key, value: Value) -> What<u64> {
    commit(version, &[(key, Some(value))])
}

fn set(version: u64, key: Key, found: Option<u64>, value: Value) -> What<u64> {
    let found = vec![(key, found.map_or(Seen::Absent, Seen::Version))];
    What::Commit { version, writes: vec![(key, Some(value))], found }
}

/// A transaction that saw these values; 0 stands for absent.
fn transact(version: u64, seen: &[(Key, Value)], writes: &[(Key, Value)]) -> What<u64> {
    let writes = writes.iter().map(|&(key, value)| (key, Some(value))).collect();
    What::Commit { version, writes, found: values(seen) }
}

fn remove(key: Key, value: Value) -> What<u64> {
    What::Remove { key, value }
}

/// A read that saw these values; 0 stands for absent.
fn read(seen: &[(Key, Value)]) -> What<u64> {
    What::Read(Read { seen: values(seen), version: None, historic: false })
}

fn view(version: u64, seen: &[(Key, Value)]) -> What<u64> {
    What::Read(Read { seen: values(seen), version: Some(version), historic: false })
}

fn view_at(version: u64, seen: &[(Key, Value)]) -> What<u64> {
    What::Read(Read { seen: values(seen), version: Some(version), historic: true })
}

fn values(seen: &[(Key, Value)]) -> Vec<(Key, Seen<u64>)> {
    let one = |value| if value == 0 { Seen::Absent } else { Seen::Value(value) };
    seen.iter().map(|&(key, value)| (key, one(value))).collect()
}

#[track_caller]
fn good(history: &[Made]) {
    if let Err(why) = check(history) {
        panic!("a good history was rejected: {why}");
    }
}

#[track_caller]
fn bad(history: &[Made], because: &str) {
    let why = check(history).expect_err("a bad history was accepted");
    assert!(why.contains(because), "rejected for another reason: {why}");
}

const CONTRADICT: &str = "contradict each other";

#[test]
fn torn_read_of_a_batch() {
    let writes = |seen: &[(Key, Value)]| {
        vec![
            op(0, (0, 1), commit(1, &[(1, Some(11)), (2, Some(12))])),
            op(0, (2, 9), commit(2, &[(1, Some(21)), (2, Some(22))])),
            op(1, (3, 4), read(seen)),
        ]
    };
    good(&writes(&[(1, 11), (2, 12)]));
    good(&writes(&[(1, 21), (2, 22)]));
    bad(&writes(&[(1, 21), (2, 12)]), "no state ever");
    bad(&writes(&[(1, 11), (2, 22)]), "no state ever");
}

#[test]
fn torn_read_of_a_batch_that_removes() {
    let writes = |seen: &[(Key, Value)]| {
        vec![
            op(0, (0, 1), insert(1, 1, 11)),
            op(0, (2, 9), commit(2, &[(1, None), (2, Some(22))])),
            op(0, (10, 19), commit(3, &[(1, Some(31)), (2, None)])),
            op(1, (3, 14), read(seen)),
        ]
    };
    good(&writes(&[(1, 0), (2, 22)]));
    good(&writes(&[(1, 31), (2, 0)]));
    bad(&writes(&[(1, 0), (2, 0)]), CONTRADICT);
    bad(&writes(&[(1, 31), (2, 22)]), "no state ever");
}

#[test]
fn stale_read_after_a_commit_returned() {
    let at = |start, end| {
        vec![
            op(0, (0, 1), insert(1, 1, 11)),
            op(0, (2, 5), insert(2, 1, 21)),
            op(1, (start, end), read(&[(1, 11)])),
        ]
    };
    good(&at(5, 7)); // The call was at the moment of the return, so it is not certainly later.
    good(&at(3, 9));
    bad(&at(6, 7), CONTRADICT);
}

#[test]
fn stale_absence_after_a_commit_returned() {
    let at = |start| vec![op(0, (2, 5), insert(1, 1, 11)), op(1, (start, 9), read(&[(1, 0)]))];
    good(&at(4));
    bad(&at(6), "");
}

#[test]
fn a_thread_reads_new_then_old() {
    let reads = |first, second| {
        vec![
            op(0, (0, 1), insert(1, 1, 11)),
            op(0, (2, 9), insert(2, 1, 21)),
            op(1, (3, 4), read(&[(1, first)])),
            op(1, (4, 5), read(&[(1, second)])),
        ]
    };
    good(&reads(11, 21));
    bad(&reads(21, 11), CONTRADICT);
}

#[test]
fn a_view_that_changes() {
    let view = |seen: &[(Key, Value)]| {
        vec![
            op(0, (0, 1), insert(1, 1, 11)),
            op(1, (2, 3), view(1, seen)),
            op(0, (4, 9), insert(2, 1, 21)),
        ]
    };
    good(&view(&[(1, 11), (1, 11)]));
    bad(&view(&[(1, 11), (1, 21)]), "no state ever");
    bad(&view(&[(1, 21)]), "no state ever");
}

#[test]
fn a_view_that_shows_another_version_than_it_says() {
    let view = |version, value| {
        vec![
            op(0, (0, 1), insert(1, 1, 11)),
            op(0, (2, 8), insert(2, 1, 21)),
            op(1, (3, 7), view(version, &[(1, value)])),
        ]
    };
    good(&view(1, 11));
    good(&view(2, 21));
    bad(&view(1, 21), "no state ever");
    bad(&view(2, 11), "no state ever");
}

#[test]
fn a_view_that_was_opened_after_a_commit_and_does_not_show_it() {
    let view = |start| {
        vec![
            op(0, (0, 1), insert(1, 1, 11)),
            op(0, (2, 5), insert(2, 1, 21)),
            op(1, (start, 9), view(1, &[(1, 11)])),
        ]
    };
    good(&view(4));
    bad(&view(6), CONTRADICT);
}

#[test]
fn a_view_of_the_past() {
    let view = |version, value| {
        vec![
            op(0, (0, 1), insert(1, 1, 11)),
            op(0, (2, 5), insert(2, 1, 21)),
            op(1, (6, 9), view_at(version, &[(1, value)])),
        ]
    };
    good(&view(1, 11));
    good(&view(2, 21));
    bad(&view(1, 21), "no state ever");
    // Shows a version that is assigned only later.
    let mut early = view(2, 21);
    early[2] = op(1, (0, 1), view_at(2, &[(1, 21)]));
    bad(&early, CONTRADICT);
}

#[test]
fn readers_that_disagree_about_the_order_of_two_writes() {
    let readers = |second: [(Key, Value); 2]| {
        vec![
            op(0, (0, 20), insert(1, 1, 11)),
            op(1, (0, 20), insert(2, 2, 12)),
            op(2, (1, 2), read(&[(1, 11)])),
            op(2, (3, 4), read(&[(2, 0)])),
            op(3, (1, 2), read(&[second[0]])),
            op(3, (3, 4), read(&[second[1]])),
        ]
    };
    good(&readers([(1, 11), (2, 12)]));
    good(&readers([(2, 0), (1, 11)]));
    bad(&readers([(2, 12), (1, 0)]), ""); // Independent reads of independent writes.
}

#[test]
fn a_lost_update() {
    let updates = |second: u64| {
        vec![
            op(0, (0, 1), insert(1, 1, 11)),
            op(0, (2, 9), set(2, 1, Some(1), 21)),
            op(1, (2, 9), set(3, 1, Some(second), 31)),
        ]
    };
    good(&updates(2));
    bad(&updates(1), "an update was lost");
}

#[test]
fn a_set_that_should_have_failed() {
    let inserted =
        |found| vec![op(0, (0, 1), insert(1, 1, 11)), op(0, (2, 3), set(2, 1, found, 21))];
    good(&inserted(Some(1)));
    bad(&inserted(None), "it was present");
    let removed = |found| {
        let mut history = inserted(found);
        history.insert(1, op(1, (1, 9), remove(1, 11)));
        history
    };
    good(&removed(None));
    bad(&removed(Some(1)), "it was absent");
}

#[test]
fn a_set_that_should_have_succeeded() {
    let refused = |expected, found| {
        let what = What::Refused { key: 1, expected, found };
        vec![op(0, (0, 1), insert(1, 1, 11)), op(0, (2, 5), insert(2, 1, 21)), op(1, (3, 4), what)]
    };
    good(&refused(Some(1), Some(2)));
    good(&refused(None, Some(1)));
    bad(&refused(Some(1), Some(1)), "what it expected");
    bad(&refused(Some(1), None), "");
}

#[test]
fn phantoms_after_everything_was_invalidated() {
    let after = |seen: &[(Key, Value)], start| {
        vec![
            op(0, (0, 1), commit(1, &[(1, Some(11)), (2, Some(12))])),
            op(0, (2, 5), What::Clear { version: 2 }),
            op(1, (start, 9), read(seen)),
        ]
    };
    good(&after(&[(1, 0), (2, 0)], 3));
    good(&after(&[(1, 11), (2, 12)], 3));
    good(&after(&[(1, 0), (2, 0)], 6));
    bad(&after(&[(1, 11)], 6), CONTRADICT);
    bad(&after(&[(1, 11), (2, 0)], 3), CONTRADICT);
}

#[test]
fn commits_whose_versions_contradict_time() {
    let versions = |first, second| {
        vec![op(0, (0, 1), insert(first, 1, 11)), op(1, (2, 3), insert(second, 2, 12))]
    };
    good(&versions(1, 2));
    bad(&versions(2, 1), CONTRADICT);
    bad(&versions(1, 1), "bear one version");
}

#[test]
fn values_from_nowhere() {
    let history = |what| vec![op(0, (0, 1), insert(1, 1, 11)), op(1, (2, 3), what)];
    bad(&history(read(&[(1, 99)])), "never committed");
    bad(&history(remove(1, 99)), "never committed");
    let at = |version| {
        let seen = vec![(1, Seen::At(11, version))];
        vec![
            op(0, (0, 1), insert(1, 1, 11)),
            op(0, (2, 3), insert(2, 2, 12)),
            op(1, (4, 5), What::Read(Read { seen, version: None, historic: false })),
        ]
    };
    good(&at(1));
    bad(&at(2), "not written at that version");
}

#[test]
fn removes_take_a_value_once() {
    let twice = |second| {
        vec![op(0, (0, 1), insert(1, 1, 11)), op(0, (2, 9), remove(1, 11)), op(1, (2, 9), second)]
    };
    good(&twice(read(&[(1, 0)])));
    good(&twice(read(&[(1, 11)])));
    bad(&twice(remove(1, 11)), "two removes");
}

#[test]
fn reads_around_a_remove() {
    let reads = |first, second| {
        vec![
            op(0, (0, 1), insert(1, 1, 11)),
            op(0, (2, 9), remove(1, 11)),
            op(1, (3, 4), read(&[(1, first)])),
            op(2, (5, 6), read(&[(1, second)])),
        ]
    };
    good(&reads(11, 11));
    good(&reads(11, 0));
    good(&reads(0, 0));
    bad(&reads(0, 11), CONTRADICT);
    let after = |value| {
        let mut history = reads(11, 11);
        history.push(op(0, (10, 11), read(&[(1, value)])));
        history
    };
    good(&after(0));
    bad(&after(11), CONTRADICT);
}

#[test]
fn removes_between_the_same_two_commits_have_an_order() {
    // Two removes, and two readers that see them in one order or in both.
    let readers = |second: [(Key, Value); 2]| {
        vec![
            op(0, (0, 1), commit(1, &[(1, Some(11)), (2, Some(12))])),
            op(0, (2, 20), remove(1, 11)),
            op(1, (2, 20), remove(2, 12)),
            op(2, (3, 4), read(&[(1, 0), (2, 12)])),
            op(3, (3, 4), read(&second)),
            op(3, (21, 22), commit(9, &[(1, Some(91)), (2, Some(92))])),
        ]
    };
    good(&readers([(1, 0), (2, 12)]));
    good(&readers([(1, 0), (2, 0)]));
    good(&readers([(1, 11), (2, 12)]));
    bad(&readers([(1, 11), (2, 0)]), CONTRADICT);
}

#[test]
fn a_remove_is_ordered_by_later_reads() {
    // The remove returned before the second commit was called, so no later read saw its key.
    let seen = |seen: &[(Key, Value)]| {
        vec![
            op(0, (0, 1), insert(1, 1, 11)),
            op(0, (2, 3), remove(1, 11)),
            op(0, (4, 5), insert(3, 2, 32)),
            op(1, (0, 9), read(seen)),
        ]
    };
    good(&seen(&[(1, 11), (2, 0)]));
    good(&seen(&[(1, 0), (2, 0)]));
    good(&seen(&[(1, 0), (2, 32)]));
    bad(&seen(&[(1, 11), (2, 32)]), CONTRADICT);
}

#[test]
fn absences_that_were_never_simultaneous() {
    // Key 1 is absent before version 2 and from 4 on, key 2 between 2 and 4.
    let history = |seen: &[(Key, Value)], start| {
        vec![
            op(0, (0, 1), insert(1, 2, 12)),
            op(0, (2, 3), commit(2, &[(1, Some(21)), (2, None)])),
            op(0, (4, 5), insert(3, 3, 33)),
            op(0, (6, 7), commit(4, &[(1, None), (2, Some(42))])),
            op(1, (start, 20), read(seen)),
        ]
    };
    good(&history(&[(1, 0), (2, 12)], 0));
    good(&history(&[(1, 0), (3, 33)], 0));
    good(&history(&[(2, 0), (3, 33)], 0));
    bad(&history(&[(1, 0), (2, 0), (3, 33)], 0), "no place");
    bad(&history(&[(2, 0)], 8), "");
}

#[test]
fn a_transaction_whose_reads_changed_before_it_committed() {
    let seen = |first, second| {
        vec![
            op(0, (0, 1), insert(1, 1, 11)),
            op(1, (0, 9), transact(3, &[(1, first), (2, second)], &[(2, 32)])),
            op(0, (2, 9), insert(2, 1, 21)),
        ]
    };
    good(&seen(21, 0));
    bad(&seen(11, 0), "no state ever");
    bad(&seen(0, 0), "");
    bad(&seen(21, 22), "set a present key");
}

#[test]
fn two_transactions_that_each_write_the_others_reads() {
    let skewed = |second| {
        vec![
            op(0, (0, 1), commit(1, &[(1, Some(11)), (2, Some(12))])),
            op(1, (2, 9), transact(2, &[(1, 11)], &[(2, 22)])),
            op(2, (2, 9), transact(3, &[(2, second)], &[(1, 31)])),
        ]
    };
    good(&skewed(22));
    bad(&skewed(12), "no state ever");
}

#[test]
fn a_transaction_that_read_a_removed_value() {
    let takes = |removed: (u64, u64), seen| {
        vec![
            op(0, (0, 1), insert(1, 1, 11)),
            op(0, removed, remove(1, 11)),
            op(1, (3, 6), transact(2, &[(1, seen)], &[(2, 22)])),
        ]
    };
    good(&takes((2, 9), 11));
    good(&takes((2, 9), 0));
    bad(&takes((7, 9), 0), "");
    bad(&takes((1, 2), 11), CONTRADICT);
}
