//! A commit of two caches, and another thread's action in the middle of it. That thread has one of
//! the caches alone, and completes the commit in both.

use super::{Pair, pair};
use crate::common::on_every_reclaimer;
use crate::common::steps::at;
use coeval::ForeignCache;
use coeval::reclaim::Reclaim;

/// The steps before the commit is ready, in order.
const BEFORE: &[&str] = &["joint.prepared", "joint.before_install", "install.before_head"];

/// A look-up in the middle of the commit sees it in both caches or in none.
fn a_look_up_in_the_middle<R: Reclaim>() {
    for &step in BEFORE.iter().chain(&["install.installed", "joint.before_ready", "joint.ready"]) {
        let pair = pair::<R>();
        pair.set(1, 1);
        let (numbers, names) = (pair.numbers.clone(), pair.names.clone());
        let domain = pair.domain.clone();
        at(Box::leak(vec![step].into_boxed_slice()), move || {
            let other = Pair { domain, numbers, names };
            let one = (other.numbers.get(&1), other.names.get("1").map(|n| n.parse().unwrap()));
            assert_eq!(one.0, one.1, "at {step}");
            let shown = other.shown(1..2);
            assert_eq!(shown, [one], "at {step}");
            let is_ready = step == "joint.ready";
            assert_eq!(one.0 == Some(2), is_ready, "a look-up does not wait, at {step}");
        });
        let version = pair.set(1, 2);
        assert_eq!(pair.shown(1..2), [(Some(2), Some(2))]);
        assert_eq!(pair.numbers.get_versioned(&1), Some((2, version)));
    }
}

/// A writer of one of the caches completes the commit in both, and then writes.
fn a_write_in_the_middle<R: Reclaim>() {
    for &step in BEFORE.iter().chain(&["install.installed", "joint.before_ready", "joint.ready"]) {
        for of_numbers in [true, false] {
            let pair = pair::<R>();
            pair.set(1, 1);
            let other = Pair {
                domain: pair.domain.clone(),
                numbers: pair.numbers.clone(),
                names: pair.names.clone(),
            };
            at(Box::leak(vec![step].into_boxed_slice()), move || {
                match of_numbers {
                    true => other.numbers.insert(1, 3),
                    false => other.names.insert("1".into(), "3".into()),
                };
                let shown = other.shown(1..2)[0];
                let (mine, theirs) = if of_numbers { shown } else { (shown.1, shown.0) };
                assert_eq!(mine, Some(3));
                // The commit came first if its version was there, otherwise it comes later.
                assert!(theirs == Some(1) || theirs == Some(2), "{theirs:?} at {step}");
            });
            let version = pair.set(1, 2);
            let shown = pair.shown(1..2)[0];
            let mine = if of_numbers { shown.0 } else { shown.1 };
            let theirs = if of_numbers { shown.1 } else { shown.0 };
            assert_eq!(theirs, Some(2), "at {step}");
            let other_was_first = pair.numbers.get_versioned(&1).unwrap().1 == version
                && pair.names.get_versioned("1").unwrap().1 == version;
            assert_eq!(mine, Some(if other_was_first { 2 } else { 3 }), "at {step}");
        }
    }
}

/// A writer that changes what a transaction has read in another cache, in the middle of its commit,
/// either comes first, or after it. What was read is in the part that comes first, or last.
fn a_change_of_what_was_read_in_the_middle<R: Reclaim>() {
    for &step in &["joint.planned", "joint.prepared", "joint.before_ready", "joint.ready"] {
        for of_numbers in [true, false] {
            a_change_of_what_was_read::<R>(step, of_numbers);
        }
    }
}

/// The same at this step, with a transaction that has read one cache and writes the other one.
fn a_change_of_what_was_read<R: Reclaim>(step: &'static str, of_numbers: bool) {
    let pair = pair::<R>();
    pair.set(1, 1);
    let (numbers, names) = (pair.numbers.clone(), pair.names.clone());
    at(Box::leak(vec![step].into_boxed_slice()), move || {
        _ = match of_numbers {
            true => numbers.insert(1, 5),
            false => names.insert("1".into(), "5".into()),
        };
    });
    let mut runs = 0;
    let done = pair.domain.transact(|tx| {
        runs += 1;
        if of_numbers {
            let read = tx.of(&pair.numbers)?.get(&1).unwrap();
            tx.of(&pair.names)?.insert("1".into(), read.to_string().into());
            return Ok::<_, ForeignCache>(read);
        }
        let read = tx.of(&pair.names)?.get("1").unwrap().parse().unwrap();
        tx.of(&pair.numbers)?.insert(1, read);
        Ok(read)
    });
    let done = done.unwrap();
    let versions =
        [pair.numbers.get_versioned(&1).unwrap().1, pair.names.get_versioned("1").unwrap().1];
    let changed = versions[usize::from(!of_numbers)];
    assert_eq!(done.value == 5, changed < done.version, "at {step}");
    assert_eq!(runs, if done.value == 5 { 2 } else { 1 }, "at {step}");
    let both = pair.shown(1..2)[0];
    let written = if of_numbers { both.1 } else { both.0 };
    assert_eq!(written, Some(done.value));
}

/// A view of one cache is opened upon the place of a view that is opening: both show one instant.
fn a_view_upon_an_opening_one<R: Reclaim>() {
    for &step in &["view.counted", "view.announced", "joint_view.before_announced"] {
        let pair = pair::<R>();
        pair.set(1, 1);
        let other = Pair {
            domain: pair.domain.clone(),
            numbers: pair.numbers.clone(),
            names: pair.names.clone(),
        };
        at(Box::leak(vec![step].into_boxed_slice()), move || {
            let (number, name) = (other.numbers.view(), other.names.view());
            other.set(1, 2);
            let both = other.domain.view();
            other.set(1, 3);
            assert_eq!((number.get(&1), name.get("1").map(|name| &**name)), (Some(&1), Some("1")));
            assert_eq!(both.of(&other.numbers).unwrap().get(&1), Some(&2));
            assert_eq!(both.of(&other.names).unwrap().get("1").map(|name| &**name), Some("2"));
        });
        assert_eq!(pair.shown(1..2), [(Some(3), Some(3))], "at {step}");
        assert_eq!((pair.numbers.stats().views, pair.names.stats().views), (0, 0));
    }
}

on_every_reclaimer!(
    a_look_up_in_the_middle,
    a_write_in_the_middle,
    a_change_of_what_was_read_in_the_middle,
    a_view_upon_an_opening_one,
);
