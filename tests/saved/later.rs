//! Promise: a cache that is restored while it is in use shows each group of the file whole or not
//! at all, and nothing that is older than what happened to the cache since.

use super::{Builder, Folder, SECOND, Texts, golden, saved, small, text};
use coeval::{Cache, ManualClock, RestoreError, RestoreReport, Restoring, Terms, Version};
use std::cell::{Cell, RefCell};
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

type Numbers = Cache<u64, u64>;

fn later(builder: Builder, file: &[u8]) -> (Texts, Restoring<u64, String>) {
    builder.restore_later_from(Cursor::new(file.to_vec())).unwrap()
}

fn whole(builder: Builder, file: &[u8]) -> (Texts, RestoreReport) {
    let (cache, restoring) = later(builder, file);
    let report = restoring.run().unwrap();
    (cache, report)
}

fn in_batch(cache: &Texts, keys: impl IntoIterator<Item = u64>) -> Version {
    let mut batch = cache.batch_mut();
    keys.into_iter().for_each(|key| _ = batch.insert(key, text(key)));
    batch.commit()
}

/// The entries of a cache, in the order of their keys.
fn entries(cache: &Texts) -> Vec<(u64, String)> {
    let mut entries: Vec<_> = cache.iter().collect();
    entries.sort_unstable();
    entries
}

/// The numbers of entries that are there after each step.
fn steps(cache: &Texts, mut restoring: Restoring<u64, String>) -> Vec<usize> {
    let mut steps = Vec::new();
    while restoring.step().unwrap() {
        steps.push(cache.len());
        assert_eq!(restoring.report().restored, cache.len() as u64);
    }
    steps
}

#[test]
fn hits_are_served_after_the_first_block() {
    let cache = Cache::builder().max_capacity(400).build();
    // About 5 KiB each, so that a block has a dozen.
    (0..400).for_each(|key| _ = cache.insert(key, text(key) + &"y".repeat(5 << 10)));
    (0..3).for_each(|_| (100..110).for_each(|key| _ = cache.get(&key)));
    let (file, order) = (saved(&cache), cache.hottest(400));
    let (again, mut restoring) = later(Cache::builder().max_capacity(400), &file);
    assert!(again.is_empty());
    assert!(restoring.step().unwrap());
    assert!((1..20).contains(&again.len()), "one block was read: {}", again.len());
    assert!(order[..again.len()].iter().all(|key| again.get(key) == cache.get(key)));
    assert!((100..110).all(|key| again.contains_key(&key)));
    // It can be written meanwhile, too.
    again.insert(1_000, text(1_000));
    let steps = std::iter::repeat_with(|| restoring.step().unwrap()).take_while(|more| *more);
    assert!(steps.count() > 20);
    assert_eq!((restoring.report().left_out, again.len()), (1, 400), "it evicts nothing");
    assert!(again.contains_key(&1_000) && restoring.report().is_whole());
}

#[test]
fn it_restores_what_the_whole_form_does() {
    let clock = ManualClock::new();
    let builder = || Cache::builder().max_capacity(200).manual_clock(&clock);
    let cache = builder().build();
    (0..150).for_each(|key| _ = cache.insert(key, text(key)));
    in_batch(&cache, 100..120);
    cache.insert_with_ttl(1, text(1), SECOND);
    cache.insert_with_ttl(2, text(2), SECOND * 3);
    cache.insert_tagged(3, text(3), &["tag".into()]);
    let mut batch = cache.batch_mut();
    batch.insert_with(4, text(4), Terms::new().time_to_idle(SECOND * 3).tags(["tag", "other"]));
    batch.insert_with(5, text(5), Terms::new().time_to_live(SECOND));
    batch.commit();
    (0..3).for_each(|_| (20..30).for_each(|key| _ = cache.get(&key)));
    let file = saved(&cache);
    let (one, report) = builder().restore_from(&file[..]).unwrap();
    let (other, mut later) = whole(builder(), &file);
    later.age = report.age;
    assert_eq!((later, entries(&other)), (report, entries(&one)));
    assert_eq!(other.weighted_size(), one.weighted_size());
    let mut hot = other.hottest(10);
    hot.sort_unstable();
    assert_eq!(hot, (20..30).collect::<Vec<_>>());
    for key in 0..150 {
        assert_eq!(other.time_to_live_left(&key), one.time_to_live_left(&key), "{key}");
    }
    clock.advance(SECOND * 2);
    assert_eq!((other.get(&1), other.get(&5), other.get(&2)), (None, None, Some(text(2))));
    other.invalidate_tag("other");
    assert_eq!((other.get(&4), other.get(&3)), (None, Some(text(3))));
    other.invalidate_tag("tag");
    assert_eq!(other.get(&3), None);
    // A smaller cache gets the hottest ones.
    let (small, report) = whole(Cache::builder().max_capacity(10).manual_clock(&clock), &file);
    assert_eq!((report.restored, report.left_out, small.len()), (10, 140, 10));
    assert!((20..30).all(|key| small.contains_key(&key)));
}

#[test]
fn groups_are_of_one_new_version() {
    let cache = Texts::new();
    (0..100).for_each(|key| _ = cache.insert(key, text(key)));
    in_batch(&cache, 10..20);
    in_batch(&cache, [30, 70]);
    let (file, last) = (saved(&cache), cache.version());
    let (again, restoring) = later(Cache::builder(), &file);
    assert_eq!(again.version(), last);
    let view = again.view();
    let report = restoring.run().unwrap();
    assert_eq!((report.restored, report.version, report.superseded), (100, last, 0));
    assert!((0..100).all(|key| view.get(&key).is_none()), "an open view does not change");
    let version = |key: u64| again.get_versioned(&key).unwrap().1;
    assert!((0..100).all(|key| version(key) > last));
    assert!((10..20).all(|key| version(key) == version(10)));
    assert_eq!(version(30), version(70));
    let mut versions: Vec<_> = (0..100).map(version).collect();
    versions.sort_unstable();
    versions.dedup();
    assert_eq!(versions.len(), 100 - 9 - 1);
}

/// Without a bound there is no order of heat, and the newest groups come first.
#[test]
fn groups_come_early() {
    let cache = Texts::new();
    for first in (0..1_000).step_by(10) {
        let mut batch = cache.batch_mut();
        (first..first + 10).for_each(|key| _ = batch.insert(key, "y".repeat(1 << 10)));
        batch.commit();
    }
    let (again, mut restoring) = later(Cache::builder(), &saved(&cache));
    restoring.step().unwrap();
    let some = again.len() as u64;
    assert!((50..70).contains(&some) && some.is_multiple_of(10), "{some}");
    assert!((1_000 - some..1_000).all(|key| again.contains_key(&key)));
    assert_eq!(restoring.run().unwrap().restored, 1_000);
}

/// Something that happens to a key, and whether it leaves a value.
type Change = (fn(&Texts, u64), bool);

#[test]
fn what_happens_meanwhile_takes_precedence() {
    let clock = ManualClock::new();
    let cache = Cache::builder().manual_clock(&clock).build();
    (0..200).for_each(|key| _ = cache.insert(key, text(key)));
    (50..90).step_by(2).for_each(|key| _ = in_batch(&cache, [key, key + 1]));
    let file = saved(&cache);
    let new = || "new".to_owned();
    let changes: [Change; 10] = [
        (|cache, key| _ = cache.insert(key, "new".to_owned()), true),
        (|cache, key| assert_eq!(cache.remove(&key), None), false),
        (|cache, key| _ = cache.invalidate(&key), false),
        (|cache, key| _ = cache.batch().remove(key).commit(), false),
        (|cache, key| _ = cache.get_with(key, || "new".to_owned()), true),
        (|cache, key| _ = cache.compare_and_set(key, None, "new".to_owned()).unwrap(), true),
        (|cache, key| _ = (cache.insert(key, "new".to_owned()), cache.remove(&key)), false),
        (|cache, key| _ = cache.insert_with_ttl(key, "new".to_owned(), SECOND), false),
        (|cache, key| _ = cache.atomically(|tx| tx.remove(key)).unwrap(), false),
        (|cache, key| _ = cache.entry(key).or_insert("new".to_owned()), true),
    ];
    // Once with the records at hand, and once after they have ended.
    for collects in [false, true] {
        let (again, restoring) = later(Cache::builder().manual_clock(&clock), &file);
        for (change, at) in changes.iter().zip(0..) {
            change.0(&again, at);
            change.0(&again, 50 + 2 * at);
        }
        clock.advance(SECOND * 2);
        if collects {
            (0..4).for_each(|_| _ = again.collect());
        }
        let report = restoring.run().unwrap();
        for ((_, leaves), at) in changes.iter().zip(0..) {
            let expected = leaves.then(new);
            assert_eq!(again.get(&at), expected, "change {at}, {collects}");
            assert_eq!(again.get(&(50 + 2 * at)), expected, "change {at}, {collects}");
            assert_eq!(again.get(&(51 + 2 * at)), None, "the group of {at}, {collects}");
        }
        // Others may share a mark with one that was removed.
        assert_eq!(report.superseded + report.restored, 200);
        assert!((30..36).contains(&report.superseded), "{report}");
        let others = (10..50).chain(70..200);
        let there = others.filter(|key| again.get(key) == Some(text(*key)));
        assert_eq!(there.count() as u64, report.restored);
    }
}

#[test]
fn a_value_that_was_evicted_meanwhile_does_not_return_in_an_older_form() {
    let cache = Texts::new();
    (0..20).for_each(|key| _ = cache.insert(key, text(key)));
    let file = saved(&cache);
    let (again, restoring) = later(Cache::builder().max_capacity(20), &file);
    (0..5).for_each(|key| _ = again.insert(key, "newer".to_owned()));
    again.resize(0);
    (0..4).for_each(|_| _ = again.collect());
    assert!(again.is_empty(), "they were evicted");
    again.resize(20);
    let report = restoring.run().unwrap();
    assert_eq!(report.superseded + report.restored, 20);
    // Others may share a mark with one that was evicted.
    assert!((5..8).contains(&report.superseded), "{report}");
    assert!((0..5).all(|key| !again.contains_key(&key)));
}

#[test]
fn what_was_cleared_or_lost_its_tag_does_not_return() {
    let cache = Texts::new();
    cache.insert_tagged(1, text(1), &["tag".into()]);
    cache.insert(2, text(2));
    let mut batch = cache.batch_mut();
    batch.insert_with(3, text(3), Terms::new().tags(["tag"]));
    batch.insert(4, text(4)).insert(5, text(5));
    batch.commit();
    cache.insert(6, text(6));
    let file = saved(&cache);
    let (again, restoring) = later(Cache::builder(), &file);
    again.invalidate_tag("tag");
    let report = restoring.run().unwrap();
    assert_eq!((report.restored, report.superseded), (2, 4));
    assert_eq!(entries(&again), [(2, text(2)), (6, text(6))]);
    let (again, mut restoring) = later(Cache::builder(), &file);
    again.invalidate_all();
    again.insert(7, text(7));
    while restoring.step().unwrap() {}
    assert_eq!((restoring.report().restored, restoring.report().superseded), (0, 6));
    assert_eq!(entries(&again), [(7, text(7))]);
    // Afterwards nothing is noted any more.
    again.remove(&1);
    assert!(!restoring.step().unwrap());
}

/// Things happen to a key right before its record is held, and right before the marks are looked
/// at.
#[cfg(coeval_internals)]
#[test]
fn what_happens_within_the_restore_of_a_group_takes_precedence() {
    let cache = Texts::new();
    in_batch(&cache, [1, 2]);
    cache.insert_tagged(3, text(3), &["tag".into()]);
    let file = saved(&cache);
    let changes: [fn(&Texts); 6] = [
        |cache| assert_eq!(cache.remove(&1), None),
        |cache| _ = cache.invalidate(&1),
        |cache| _ = cache.batch().remove(1).commit(),
        |cache| _ = (cache.insert(1, text(9)), cache.remove(&1), cache.collect()),
        |cache| _ = cache.insert(1, text(9)),
        |cache| _ = cache.invalidate_tag("tag"),
    ];
    for step in [&["restore.to_hold"], &["restore.held"]] {
        for (number, change) in changes.into_iter().enumerate() {
            let (again, restoring) = later(Cache::builder(), &file);
            // The commit of keys 1 and 2 is the older one, and so it comes last.
            let (other, mut restoring) = (again.clone(), restoring);
            let happens = number == 5;
            let act = move || change(&other);
            match happens {
                true => super::steps::at(step, act),
                false => super::steps::at(step, move || super::steps::at(step, act)),
            }
            while restoring.step().unwrap() {}
            assert_eq!(super::steps::left(), 0, "{step:?}, change {number}");
            let newer = (number == 4).then(|| text(9));
            let (first, third) =
                if happens { (Some(text(1)), None) } else { (newer, Some(text(3))) };
            let second = happens.then(|| text(2));
            let found = [1, 2, 3].map(|key| again.get(&key));
            assert_eq!(found, [first, second, third], "{step:?}, change {number}");
        }
    }
}

/// Whoever has removed a key never sees it again, and nobody sees a part of a group.
#[test]
fn removals_race_with_a_restore() {
    const GROUPS: u64 = 2_000;
    let cache = Numbers::new();
    for group in 0..GROUPS {
        let mut batch = cache.batch_mut();
        (0..3).for_each(|member| _ = batch.insert(member * GROUPS + group, group));
        batch.commit();
    }
    let file = cache.save_to(Vec::new()).unwrap().0;
    let (mut restored, mut rounds) = (0, 0);
    while rounds < 4 || restored == 0 && rounds < 100 {
        let builder = Numbers::builder();
        let (again, restoring) = builder.restore_later_from(Cursor::new(file.clone())).unwrap();
        let (stop, removed) = (AtomicBool::new(false), AtomicU64::new(u64::MAX));
        let report = std::thread::scope(|scope| {
            scope.spawn(|| {
                for group in (0..GROUPS).rev() {
                    let key = group % 3 * GROUPS + group;
                    match group % 2 {
                        0 => _ = again.remove(&key),
                        _ => _ = again.invalidate(&key),
                    }
                    assert_eq!(again.get(&key), None);
                    removed.store(group, Ordering::Release);
                }
            });
            scope.spawn(|| {
                let mut group = 0;
                while !stop.load(Ordering::Relaxed) {
                    group = (group + 7) % GROUPS;
                    let keys = [group, GROUPS + group, 2 * GROUPS + group];
                    let own = (group % 3) as usize;
                    let is_removed = removed.load(Ordering::Acquire) <= group;
                    let seen = again.get_many(keys.each_ref());
                    let [one, other] = [1, 2].map(|at| seen[(own + at) % 3].as_ref());
                    assert_eq!(one, other, "two members that nobody removes");
                    assert!(seen[own].is_none() || one.is_some(), "it is there before the others");
                    assert!(seen[own].is_none() || !is_removed, "it returned");
                }
            });
            let report = restoring.run().unwrap();
            stop.store(true, Ordering::Relaxed);
            report
        });
        assert!(report.is_whole());
        assert_eq!(report.restored + report.superseded, 3 * GROUPS);
        assert!((0..GROUPS).all(|group| !again.contains_key(&(group % 3 * GROUPS + group))));
        restored += report.restored;
        rounds += 1;
    }
}

#[test]
fn damaged_files_are_restored_as_in_the_whole_form() {
    let check = |cache: &Texts, file: &[u8]| {
        let one = Builder::default().restore_from(file);
        let other = Builder::default().restore_later_from(Cursor::new(file.to_vec()));
        match (one, other) {
            (Ok((one, report)), Ok((again, restoring))) => {
                let mut later = restoring.run().unwrap();
                later.age = report.age;
                assert_eq!(later, report);
                assert_eq!(entries(&again), entries(&one));
                assert!(
                    entries(&again).iter().all(|(key, value)| &cache.get(key).unwrap() == value)
                );
            }
            (Err(one), Err(other)) => assert_eq!(one.to_string(), other.to_string()),
            (one, other) => panic!("{one:?}, {other:?}"),
        }
    };
    let cache = Texts::new();
    (0..8).for_each(|key| _ = cache.insert(key, text(key)));
    in_batch(&cache, 3..6);
    let file = saved(&cache);
    (0..=file.len()).for_each(|length| check(&cache, &file[..length]));
    for bit in 0..file.len() * 8 {
        let mut broken = file.clone();
        broken[bit / 8] ^= 1 << (bit % 8);
        check(&cache, &broken);
    }
    let (cache, file) = small();
    check(&cache, &file[..file.len() / 2]);
    let mut broken = file.clone();
    broken[file.len() / 2] ^= 4;
    check(&cache, &broken);
}

/// A group of which the file has lost a member is restored without it, by one commit.
#[test]
fn a_group_with_a_lost_member_is_restored_at_the_end() {
    let cache = Texts::new();
    // One block for each entry.
    let mut batch = cache.batch_mut();
    (0..5).for_each(|key| _ = batch.insert(key, text(key) + &"y".repeat(64 << 10)));
    batch.commit();
    let mut file = saved(&cache);
    let middle = file.len() / 2;
    file[middle] ^= 1;
    let (again, restoring) = later(Cache::builder(), &file);
    let steps = steps(&again, restoring);
    assert_eq!((steps.last(), again.len()), (Some(&0), 4));
    let versions: Vec<_> = (0..5).filter_map(|key| Some(again.get_versioned(&key)?.1)).collect();
    assert!(versions.iter().all(|version| *version == versions[0]));
}

/// Nobody knows which entries of an old file belong together before all of it was read.
#[test]
fn an_old_file_is_restored_after_it_was_read() {
    let clock = ManualClock::new();
    for (format, steps) in [(1, [0, 0].as_slice()), (2, &[4, 4]), (3, &[4, 4])] {
        let file = std::fs::read(golden(format)).unwrap();
        let builder = Cache::builder().schema("golden").manual_clock(&clock);
        let (again, restoring) = later(builder, &file);
        assert_eq!(self::steps(&again, restoring), steps, "format {format}");
        let version = |key| again.get_versioned(&key).unwrap().1;
        assert_eq!((again.len(), version(2)), (4, version(3)));
    }
}

#[test]
fn errors_come_at_once_or_with_the_step() {
    let folder = Folder::new("later");
    let begin = || Texts::builder().schema("texts").restore_later(folder.file());
    assert!(matches!(begin(), Err(RestoreError::Io(_))));
    std::fs::write(folder.file(), saved(&Texts::new())).unwrap();
    assert!(matches!(begin(), Err(RestoreError::Schema { .. })));
    let cache = Texts::builder().schema("texts").build();
    (0..3_000).for_each(|key| _ = cache.insert(key, text(key)));
    cache.save(folder.file()).unwrap();
    assert_eq!(begin().unwrap().1.run().unwrap().restored, 3_000);

    /// Fails after some bytes.
    struct Fails(Cursor<Vec<u8>>);
    impl std::io::Read for Fails {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            match self.0.read(buffer)? {
                0 => Err(std::io::Error::other("the disk is gone")),
                some => Ok(some),
            }
        }
    }
    let file = Fails(Cursor::new(saved(&cache)[..50_000].to_vec()));
    let builder = Texts::builder().schema("texts");
    let error = builder.restore_later_from(file).and_then(|(_, restoring)| restoring.run());
    assert!(matches!(error, Err(RestoreError::Io(_))), "{error:?}");
}

#[test]
fn a_restore_that_is_dropped_restores_no_more() {
    let (_, file) = small();
    let (again, mut restoring) = later(Cache::builder(), &file);
    restoring.step().unwrap();
    let some = again.len();
    assert!(format!("{restoring:?}").contains("restored"));
    drop(restoring);
    assert!((1..42).contains(&some) && again.len() == some);
    again.insert(100, text(100));
    again.remove(&100);
    assert_eq!(again.len(), some);
}

/// A member that is not restored itself, because it has expired or because there is no room for it,
/// counts nevertheless: the others must not stand beside what was written in its place.
#[test]
fn a_member_that_is_not_restored_counts_too() {
    let clock = ManualClock::new();
    let builder = || Cache::builder().max_capacity(20).manual_clock(&clock);
    let cache = builder().build();
    let terms = || Terms::new().time_to_live(SECOND);
    for first in (0..8).step_by(2) {
        let mut batch = cache.batch_mut();
        batch.insert_with(first, text(first), terms()).insert(first + 1, text(first + 1));
        batch.commit();
    }
    in_batch(&cache, 8..20);
    (0..3).for_each(|_| (8..15).for_each(|key| _ = cache.get(&key)));
    let file = saved(&cache);
    // They expire while the file is read.
    let (again, restoring) = later(builder(), &file);
    again.insert(0, "new".to_owned());
    again.remove(&2);
    let lease = again.lease(&4);
    clock.advance(SECOND * 2);
    let report = restoring.run().unwrap();
    assert_eq!((report.expired, report.superseded, report.restored), (4, 3, 13), "{report}");
    assert_eq!([0, 1, 3, 5].map(|key| again.contains_key(&key)), [true, false, false, false]);
    assert!((8..20).all(|key| again.get(&key) == Some(text(key))) && again.contains_key(&7));
    assert!(lease.fill(text(4)).is_ok());
    // There is no room for the coldest ones.
    let (again, restoring) = later(builder().max_capacity(10), &file);
    again.insert(19, "new".to_owned());
    let report = restoring.run().unwrap();
    assert!((8..19).all(|key| !again.contains_key(&key)), "{report}");
    assert_eq!(again.get(&19), Some("new".to_owned()));
}

#[test]
fn other_tags_matter_little() {
    let cache = Texts::new();
    (0..100).for_each(|key| _ = cache.insert_tagged(key, text(key), &[key.into()]));
    let (again, restoring) = later(Cache::builder(), &saved(&cache));
    (90..2_000_u64).for_each(|tag| _ = again.invalidate_tag(tag));
    let superseded = restoring.run().unwrap().superseded;
    assert!((10..15).contains(&superseded), "{superseded}");
}

thread_local! {
    /// What happens when a key is hashed next.
    static MEANWHILE: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
    /// Whether the hash of 2 panics.
    static IS_RUDE: Cell<bool> = const { Cell::new(false) };
}

/// A key whose hash function takes the time in which something else happens.
#[derive(Clone, PartialEq, Eq)]
struct Slow(u64);

impl serde::Serialize for Slow {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> serde::Deserialize<'de> for Slow {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u64::deserialize(deserializer).map(Self)
    }
}

impl std::hash::Hash for Slow {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
        assert!(self.0 != 2 || !IS_RUDE.get(), "a rude hash");
        if self.0 == 2
            && let Some(act) = MEANWHILE.take()
        {
            act();
        }
    }
}

/// A load of a key of a group may begin while the cache looks up the others.
#[test]
fn a_load_that_begins_while_its_group_is_put_together_takes_precedence() {
    let cache = Cache::<Slow, u64>::new();
    cache.insert_many([(Slow(1), 10), (Slow(2), 20), (Slow(3), 30)]);
    let file = cache.save_to(Vec::new()).unwrap().0;
    let builder = Cache::<Slow, u64>::builder();
    let (again, restoring) = builder.restore_later_from(Cursor::new(file)).unwrap();
    let leases = Rc::new(RefCell::new(Vec::new()));
    let (other, taken) = (again.clone(), leases.clone());
    let take = move || taken.borrow_mut().extend([1, 3].map(|key| other.lease(&Slow(key))));
    MEANWHILE.set(Some(Box::new(take)));
    let report = restoring.run().unwrap();
    assert_eq!((report.restored, report.superseded), (0, 3));
    for (lease, value) in leases.take().into_iter().zip([11, 31]) {
        assert!(lease.fill(value).is_ok(), "{value}");
    }
    assert_eq!([1, 2, 3].map(|key| again.get(&Slow(key))), [Some(11), None, Some(31)]);
}

/// What a panic of the user's `Hash` hits does not come again.
#[test]
fn a_hash_that_panics_does_not_end_a_restore() {
    let cache = Cache::<Slow, String>::new();
    // About 10 KiB each, so that a block has a few.
    (0..100).for_each(|key| _ = cache.insert(Slow(key), "y".repeat(10 << 10)));
    let file = cache.save_to(Vec::new()).unwrap().0;
    let builder = Cache::<Slow, String>::builder();
    let (again, mut restoring) = builder.restore_later_from(Cursor::new(file)).unwrap();
    IS_RUDE.set(true);
    let mut panics = 0;
    for _ in 0..100 {
        let step = catch_unwind(AssertUnwindSafe(|| restoring.step().unwrap()));
        panics += u64::from(step.is_err());
        if step.is_ok_and(|goes_on| !goes_on) {
            break;
        }
    }
    IS_RUDE.set(false);
    assert_eq!(panics, 1);
    assert!(again.len() >= 80, "{}", again.len());
    assert_eq!(again.get(&Slow(2)), None);
}
